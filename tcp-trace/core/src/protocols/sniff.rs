//! Which protocol a connection's first bytes belong to.

use tcp_trace_model::{
    event::{Direction, Role},
    time::Time,
};

use super::{ClientHello, Layer, Step, Switch};
use crate::{http::HttpConnection, stream::Chunk};

/// What is known of a connection before its first byte is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sniff {
    /// What its local end is.
    pub role: Option<Role>,
    /// Whether the first byte of each direction is known, by [`Direction::index`].
    pub from_start: [bool; 2],
    /// When the connection was established, when known.
    pub established: Option<Time>,
}

/// `ContentType.handshake` (RFC 8446, section 5.1): the first byte of TLS, and of no HTTP/1.
const TLS_HANDSHAKE: u8 = 22;

impl Sniff {
    /// Which way the client's bytes go, when known.
    fn client(&self) -> Option<Direction> {
        match self.role {
            Some(Role::Client) => Some(Direction::Out),
            Some(Role::Server) => Some(Direction::In),
            _ => None,
        }
    }

    pub(super) fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>) -> Step<'a> {
        let client = self.client().filter(|client| *client == direction && self.from_start[client.index()]);
        let to = match (client, chunk) {
            (Some(client), Chunk::Bytes { bytes: [TLS_HANDSHAKE, ..], .. }) => {
                Layer::Tls(Box::new(ClientHello::new(client)))
            }
            _ => Layer::Http1(Box::new(self.http())),
        };
        Switch::from(to, chunk)
    }

    /// A parser that knows where each direction's bytes begin, if that was seen.
    fn http(&self) -> HttpConnection {
        let mut http = HttpConnection::new(self.role);
        if let Some(time) = self.established {
            http.established(time);
        }
        for direction in [Direction::Out, Direction::In] {
            if self.from_start[direction.index()] {
                http.start(direction);
            }
        }
        http
    }
}
