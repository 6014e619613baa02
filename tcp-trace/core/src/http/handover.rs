//! What HTTP/1 leaves to the layers that come behind it.

use tcp_trace_model::{event::Direction, time::Time};

#[cfg(doc)]
use super::ANSWER_MAX;
use super::open::Open;

/// What follows a CONNECT that succeeded (RFC 9110, section 9.3.6): another protocol, in both directions.
#[derive(Debug)]
pub struct Tunnel {
    /// Which way the client's bytes go.
    pub client: Direction,
    /// What the client had sent before it had the answer, with the offset and the time of the first byte.
    pub held: Option<(u64, Vec<u8>, Time)>,
    /// Bytes of the chunk with the answer that come behind it.
    pub rest: usize,
    /// Exchanges before it.
    pub exchanges: u64,
    /// When the last of them ended.
    pub idle_since: Option<Time>,
}

/// A request of HTTP/1 that HTTP/2 answers, as its first stream (RFC 7540, section 3.2).
#[derive(Debug)]
pub struct Upgraded {
    pub(crate) open: Open,
    /// Which way requests go.
    pub client: Direction,
    /// Exchanges so far, this one included.
    pub exchanges: u64,
    /// When the last of them ended.
    pub idle_since: Option<Time>,
}

/// What is left to others.
#[derive(Debug)]
pub enum Handover {
    /// A CONNECT has succeeded: the parser has done its work.
    Tunnel(Box<Tunnel>),
    /// HTTP/2 follows, and answers the request that asked for it: the parser has done its work.
    Http2(Box<Tunnel>, Box<Upgraded>),
    /// These first bytes of both directions, by [`Direction::index`], are no HTTP: the parser has done its work.
    Other(Box<[Vec<u8>; 2]>),
    /// This came instead of a response. It comes again with more where it was shorter than [`ANSWER_MAX`].
    NoResponse(Box<[u8]>),
    /// From this offset on, what comes behind the last response is none.
    Surplus(u64),
}
