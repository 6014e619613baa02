//! What the server of a connection is called, and the DNS that a connection carries.

use tcp_trace_model::{
    event::{Direction, Role, Segment},
    lookup::Resolved,
    record::{Server, ServerSource},
    time::Time,
};

use super::Connection;
use crate::{
    dns::{StreamMessage, Streams},
    reassembly::{Chunk, Reassembly},
    tls::{self, CLIENT_HELLO_MAX, Hello},
};

/// What is known of names.
#[derive(Debug, Default)]
pub(super) struct ServerName {
    /// `None` while there is nothing of it.
    told: Option<Box<Told>>,
    hello: HelloState,
}

/// Names, by who told them, and the streams that tell more.
#[derive(Debug, Default)]
struct Told {
    resolved: Option<Resolved>,
    host: Option<String>,
    sni: Option<String>,
    /// The beginning of the client's first message: all bytes in order so far. While [`HelloState::Partial`].
    hello: Option<Box<(Reassembly, Vec<u8>)>>,
    dns: Option<Box<Streams>>,
}

/// How far the client's first message is known, which may be a ClientHello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum HelloState {
    /// Nothing of it.
    #[default]
    Awaited,
    /// Its beginning.
    Partial,
    /// It is known what it is, or that this will not be known.
    Over,
}

impl ServerName {
    pub(super) fn give_up_holes(&mut self) {
        if let Some(dns) = self.told.as_mut().and_then(|told| told.dns.as_mut()) {
            dns.give_up_holes();
        }
    }
}

impl Connection {
    /// Notes the lookup that this connection follows.
    pub fn learn_resolved(&mut self, resolved: Resolved) {
        self.server_name.told.get_or_insert_default().resolved = Some(resolved);
    }

    /// The lookup that it follows.
    pub fn resolved(&self) -> Option<&Resolved> {
        self.server_name.told.as_ref()?.resolved.as_ref()
    }

    /// Whether an HTTP request has named the host.
    pub fn knows_host(&self) -> bool {
        self.server_name.told.as_ref().is_some_and(|told| told.host.is_some())
    }

    /// Notes the host that an HTTP request names, once.
    pub fn learn_host(&mut self, host: &str) {
        self.server_name.told.get_or_insert_default().host.get_or_insert_with(|| host.to_owned());
    }

    /// Notes the host that a ClientHello names.
    pub fn learn_sni(&mut self, host: &str) {
        self.server_name.told.get_or_insert_default().sni = Some(host.to_owned());
    }

    /// Whether the rest of the client's first message is awaited, of which all payload is needed.
    pub fn awaits_client_hello(&self) -> bool {
        self.server_name.hello == HelloState::Partial
    }

    /// Takes a segment that may belong to the client's first message; gives the name in it once that is there.
    pub fn feed_client_hello(&mut self, time: Time, segment: &Segment<'_>) -> Option<Vec<u8>> {
        let from_client = match self.role {
            Some(Role::Client) => Direction::Out,
            Some(Role::Server) => Direction::In,
            _ => return None,
        };
        if self.server_name.hello == HelloState::Over
            || segment.direction != from_client
            || segment.length == 0
        {
            return None;
        }
        self.server_name.hello = HelloState::Over;
        let partial = self.server_name.told.as_mut().and_then(|told| told.hello.take());
        let mut partial = match partial {
            Some(partial) => partial,
            None => {
                // Where the first message begins is known only from the handshake.
                let first = self.initial_sequences()?.0.wrapping_add(1);
                if segment.sequence == first && tls::server_name(segment.payload) == Hello::None {
                    return None;
                }
                let mut reassembly = Reassembly::default();
                reassembly.start(first);
                Box::new((reassembly, Vec::new()))
            }
        };
        let (reassembly, bytes) = &mut *partial;
        let mut is_whole = segment.payload.len() == segment.length as usize;
        reassembly.push(segment.sequence, segment.payload, time, |chunk| match chunk {
            Chunk::Bytes { bytes: more, .. } => bytes.extend_from_slice(more),
            Chunk::Gap { .. } | Chunk::Skipped { .. } => is_whole = false,
        });
        if !is_whole {
            return None;
        }
        match tls::server_name(bytes) {
            Hello::Named(name) => Some(name),
            Hello::Partial if bytes.len() + reassembly.held_bytes() < CLIENT_HELLO_MAX => {
                self.server_name.hello = HelloState::Partial;
                self.server_name.told.get_or_insert_default().hello = Some(partial);
                None
            }
            Hello::Partial | Hello::None => None,
        }
    }

    /// What the server is called, as recorded.
    pub(super) fn server(&self) -> Option<Server> {
        let Told { resolved, host, sni, .. } = self.server_name.told.as_deref()?;
        let resolved = resolved.as_ref().map(|resolved| (&resolved.name, ServerSource::Dns));
        let host = host.as_ref().map(|host| (host, ServerSource::Host));
        let sni = sni.as_ref().map(|sni| (sni, ServerSource::Sni));
        let (address, source) = resolved.or(host).or(sni)?;
        Some(Server { address: address.clone(), source })
    }

    /// Whether it carries DNS, of which all payload is needed.
    pub fn carries_dns(&self) -> bool {
        let told = self.server_name.told.as_ref();
        told.and_then(|told| told.dns.as_ref()).is_some_and(|dns| !dns.is_over())
    }

    /// Hands a segment's payload to the DNS parser; the other end is a DNS server. Gives the messages that are
    /// complete.
    pub fn feed_dns(&mut self, time: Time, segment: &Segment<'_>) -> Vec<StreamMessage> {
        let mut messages = Vec::new();
        if self.role != Some(Role::Client) {
            return messages;
        }
        // Where messages begin is known only from the handshake.
        let Some((out, incoming)) = self.initial_sequences() else { return messages };
        let streams = || Box::new(Streams::new([out, incoming].map(|sequence| sequence.wrapping_add(1))));
        let dns = self.server_name.told.get_or_insert_default().dns.get_or_insert_with(streams);
        dns.payload(segment.direction, segment.sequence, segment.payload, time, &mut messages);
        messages
    }
}
