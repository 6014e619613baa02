//! What the server of a connection is called, and the DNS that a connection carries.

use super::Connection;
use crate::{
    dns::{Resolved, StreamMessage, Streams},
    event::{Role, Segment},
    record::{Server, ServerSource},
    time::Time,
};

/// What is known of names.
#[derive(Debug, Default)]
pub(super) struct ServerName {
    resolved: Option<Resolved>,
    host: Option<String>,
    dns: Option<Box<Streams>>,
}

impl ServerName {
    pub(super) fn give_up_holes(&mut self) {
        if let Some(dns) = &mut self.dns {
            dns.give_up_holes();
        }
    }
}

impl Connection {
    /// Notes the lookup that this connection follows.
    pub fn learn_resolved(&mut self, resolved: Resolved) {
        self.server_name.resolved = Some(resolved);
    }

    /// The lookup that it follows.
    pub fn resolved(&self) -> Option<&Resolved> {
        self.server_name.resolved.as_ref()
    }

    /// Notes the host that an HTTP request names, once.
    pub fn learn_host(&mut self, host: &str) {
        if self.server_name.host.is_none() {
            self.server_name.host = Some(host.to_owned());
        }
    }

    /// What the server is called, as recorded.
    pub(super) fn server(&self) -> Option<Server> {
        let ServerName { resolved, host, .. } = &self.server_name;
        let resolved = resolved.as_ref().map(|resolved| (&resolved.name, ServerSource::Dns));
        let (address, source) = resolved.or(host.as_ref().map(|host| (host, ServerSource::Host)))?;
        Some(Server { address: address.clone(), source })
    }

    /// Whether it carries DNS, of which all payload is needed.
    pub fn carries_dns(&self) -> bool {
        self.server_name.dns.as_ref().is_some_and(|dns| !dns.is_over())
    }

    /// Hands a segment's payload to the DNS parser; the other end is a DNS server. Gives the messages that are
    /// complete.
    pub fn feed_dns(&mut self, time: Time, segment: &Segment<'_>) -> Vec<StreamMessage> {
        let mut messages = Vec::new();
        if self.role != Some(Role::Client) {
            return messages;
        }
        if self.server_name.dns.is_none() {
            // Where messages begin is known only from the handshake.
            let Some((out, incoming)) = self.initial_sequences() else { return messages };
            let first = [out, incoming].map(|sequence| sequence.wrapping_add(1));
            self.server_name.dns = Some(Box::new(Streams::new(first)));
        }
        if let Some(dns) = &mut self.server_name.dns {
            dns.payload(segment.direction, segment.sequence, segment.payload, time, &mut messages);
        }
        messages
    }
}
