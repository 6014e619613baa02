//! What layers find.

use tcp_trace_model::{
    event::Direction,
    http2::Http2Totals,
    record::{ProxyProtocol, Socks, Tls},
    time::Time,
};

use crate::{dns::StreamMessage, http::Exchanges};

/// What layers found. Whoever reads it takes it out.
#[derive(Debug, Default)]
pub struct Found {
    /// HTTP exchanges that are over.
    pub exchanges: Exchanges,
    /// DNS messages that are complete.
    pub messages: Vec<StreamMessage>,
    /// The name of the server in a ClientHello. Any bytes: nobody has checked them.
    pub server_name: Option<Vec<u8>>,
    /// What was seen of a TLS handshake that has ended, and when it did.
    pub tls_handshake: Option<(Time, Box<Tls>)>,
    /// What was seen of TLS in the end.
    pub tls: Option<Box<Tls>>,
    /// What a header of the PROXY protocol says.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Where a SOCKS server was asked to connect to.
    pub socks: Option<Socks>,
    /// Where the bytes of a direction begin that come behind the last response and are none.
    pub surplus: Option<(Direction, u64)>,
    /// What the protocol is called, once a layer is sure of it. The last one counts.
    pub protocol: Option<&'static str>,
    /// What the server answered with, where that is another protocol than the client's.
    pub answer: Option<&'static str>,
    /// The first bytes of both directions, by [`Direction::index`], of a protocol that
    /// is not known.
    pub first_bytes: Option<[Vec<u8>; 2]>,
    /// What is said of the connection's HTTP/2, once it is over.
    pub http2: Option<Box<Http2Totals>>,
    /// Whether what follows goes to another server, through this one.
    pub is_tunnel: bool,
}

impl Found {
    /// Whether there is something in it beside what is said of the connection.
    pub fn has_contents(&self) -> bool {
        !self.exchanges.is_empty()
            || !self.messages.is_empty()
            || self.server_name.is_some()
            || self.tls_handshake.is_some()
    }
}

/// What a layer may know and change beside its chunk.
#[derive(Debug)]
pub struct Cx<'a> {
    /// Whether something of the other direction is missing that may still come.
    pub is_other_incomplete: bool,
    /// Takes what the layer finds.
    pub found: &'a mut Found,
    /// Changes of layers so far, which the same chunk brought about.
    pub(super) switches: u8,
}

impl<'a> Cx<'a> {
    /// That of what was just seen.
    pub fn new(is_other_incomplete: bool, found: &'a mut Found) -> Self {
        Self { is_other_incomplete, found, switches: 0 }
    }
}
