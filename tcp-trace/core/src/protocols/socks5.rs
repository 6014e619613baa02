//! The beginning of SOCKS5 (RFC 1928, RFC 1929): the client asks a proxy for a connection, and what follows is that.

use std::net::IpAddr;

use tcp_trace_model::{
    event::Direction,
    record::{Socks, Text},
    time::Time,
};

use super::{Cx, First, Guess, HeldBack, Layer, Protocol, Start, Step, Switch, opening::Opening};
use crate::{http::ConnectionEnd, stream::Chunk};

const VERSION: u8 = 5;
/// Method without authentication, and that with name and password.
const NO_AUTHENTICATION: u8 = 0;
const NAME_AND_PASSWORD: u8 = 2;
/// The command that asks for a connection, and the reply that grants it.
const CONNECT: u8 = 1;
const SUCCEEDED: u8 = 0;
/// Bytes of a direction that are held: more than a negotiation has, and a first segment behind it.
const HELD_MAX: usize = 128 << 10;

/// A negotiation that is not over yet.
#[derive(Debug)]
pub struct Socks5 {
    start: Start,
    client: Side,
    server: Side,
}

/// What one side has sent.
#[derive(Debug, Default)]
struct Side {
    bytes: Vec<u8>,
    /// Offset of the first byte.
    offset: Option<u64>,
    /// When the last byte came.
    time: Time,
}

/// How far a negotiation is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Partial,
    /// Granted, with so many bytes from the client and from the server.
    Granted(Socks, usize, usize),
    /// Refused, or not understood; whether it was SOCKS so far.
    Over {
        is_socks: bool,
    },
}

impl Protocol for Socks5 {
    fn guess(first: &First<'_>) -> Guess {
        if first.is_client && first.bytes[0] == VERSION { Guess::Yes } else { Guess::No }
    }

    fn new(start: Start) -> Self {
        Self { start, client: Side::default(), server: Side::default() }
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        let Chunk::Bytes { offset, bytes, time } = chunk else { return Step::to(Layer::Opaque) };
        let is_client = self.start.client == Some(direction);
        let side = if is_client { &mut self.client } else { &mut self.server };
        side.offset.get_or_insert(offset);
        side.bytes.extend_from_slice(bytes);
        side.time = time;
        let is_too_long = side.bytes.len() > HELD_MAX;
        match progress(&self.client.bytes, &self.server.bytes) {
            Progress::Partial if is_too_long => Step::to(Layer::Opaque),
            Progress::Partial => Step::Stay,
            Progress::Over { is_socks: true } => {
                cx.found.protocol = Some("socks5");
                Step::to(Layer::Opaque)
            }
            Progress::Over { is_socks: false } => self.opening().go_on(cx),
            Progress::Granted(socks, from_client, from_server) => {
                cx.found.protocol = Some("socks5");
                cx.found.socks = Some(socks);
                cx.found.is_tunnel = true;
                let client = self.start.client.unwrap_or(direction);
                let client_rest = self.client.rest(client, from_client);
                let server_rest = self.server.rest(client.opposite(), from_server);
                let start = Start { is_tunnel: true, ..self.start };
                let held = client_rest.into_iter().chain(server_rest).collect();
                Step::Switch(Switch { to: Layer::first(start), held, rest: None })
            }
        }
    }

    fn finish(&mut self, _: Time, _: ConnectionEnd, cx: &mut Cx<'_>) {
        self.opening().conclude(cx);
    }
}

impl Socks5 {
    /// What is known of the first bytes.
    fn opening(&self) -> Opening {
        let mut first: [&[u8]; 2] = [&[]; 2];
        let client = self.start.client.unwrap_or(Direction::Out);
        first[client.index()] = &self.client.bytes;
        first[client.opposite().index()] = &self.server.bytes;
        Opening::of(Some(client), first)
    }
}

impl Side {
    /// What came behind the negotiation.
    fn rest(&mut self, direction: Direction, used: usize) -> Option<HeldBack> {
        let bytes = self.bytes.split_off(used.min(self.bytes.len()));
        let offset = self.offset? + used as u64;
        (!bytes.is_empty()).then_some(HeldBack { direction, offset, bytes, time: self.time })
    }
}

/// Reads both sides from their beginning.
fn progress(client: &[u8], server: &[u8]) -> Progress {
    read(&mut Reader(client), &mut Reader(server), client.len(), server.len()).unwrap_or(Progress::Partial)
}

/// `None` when more bytes are needed.
fn read(
    client: &mut Reader<'_>,
    server: &mut Reader<'_>,
    client_length: usize,
    server_length: usize,
) -> Option<Progress> {
    let not = Some(Progress::Over { is_socks: false });
    let refused = Some(Progress::Over { is_socks: true });
    // The methods that the client offers, and the one that the server takes.
    if client.byte()? != VERSION {
        return not;
    }
    let methods = client.byte()?;
    if methods == 0 {
        return not;
    }
    client.take(methods.into())?;
    if server.byte()? != VERSION {
        return not;
    }
    match server.byte()? {
        NO_AUTHENTICATION => {}
        NAME_AND_PASSWORD => {
            client.byte()?;
            for _ in 0..2 {
                let length = client.byte()?;
                client.take(length.into())?;
            }
            server.byte()?;
            if server.byte()? != 0 {
                return refused;
            }
        }
        _ => return refused,
    }
    let [version, command, _] = client.array()?;
    if version != VERSION || command != CONNECT {
        return refused;
    }
    let Some(host) = client.host()? else { return refused };
    let port = u16::from_be_bytes(client.array()?);
    let [version, reply, _] = server.array()?;
    if version != VERSION || reply != SUCCEEDED || server.host()?.is_none() {
        return refused;
    }
    server.array::<2>()?;
    let socks = Socks { version: VERSION, host: Text::from(host), port };
    Some(Progress::Granted(socks, client_length - client.0.len(), server_length - server.0.len()))
}

/// What is left to read; `None` of anything is that it has not come yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// An address by its type (RFC 1928, section 5): in text, or the name as it is. `Some(None)` for other types.
    fn host(&mut self) -> Option<Option<Vec<u8>>> {
        let text = |address: IpAddr| address.to_string().into_bytes();
        Some(match self.byte()? {
            1 => Some(text(IpAddr::from(self.array::<4>()?))),
            3 => {
                let length = self.byte()?;
                Some(self.take(length.into())?.to_vec())
            }
            4 => Some(text(IpAddr::from(self.array::<16>()?))),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GREETING: &[u8] = b"\x05\x01\x00";
    const ANSWER: &[u8] = b"\x05\x00";
    const REQUEST: &[u8] = b"\x05\x01\x00\x01\xc0\x00\x02\x09\x00\x50";
    const REPLY: &[u8] = b"\x05\x00\x00\x01\0\0\0\0\0\0";

    fn told(client: &[&[u8]], server: &[&[u8]]) -> String {
        match progress(&client.concat(), &server.concat()) {
            Progress::Partial => "partial".to_owned(),
            Progress::Over { is_socks } => format!("over {is_socks}"),
            Progress::Granted(socks, client, server) => {
                format!("{}:{} {client} {server}", socks.host.printable(), socks.port)
            }
        }
    }

    #[test]
    fn a_negotiation_ends_with_the_servers_reply() {
        let name = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb";
        let v6 = [b"\x05\x01\x00\x04", &[1; 16][..], b"\x00\x50"].concat();
        for (what, client, server, expected) in [
            ("IPv4", &[GREETING, REQUEST][..], &[ANSWER, REPLY][..], "192.0.2.9:80 13 12"),
            ("IPv6", &[GREETING, &v6], &[ANSWER, REPLY], "101:101:101:101:101:101:101:101:80 25 12"),
            ("a name", &[GREETING, name], &[ANSWER, REPLY], "example.com:443 21 12"),
            ("bytes behind it", &[GREETING, REQUEST, b"GET"], &[ANSWER, REPLY], "192.0.2.9:80 13 12"),
            (
                "with a password",
                &[b"\x05\x02\x00\x02", b"\x01\x01u\x02pw", REQUEST],
                &[b"\x05\x02", b"\x01\x00", REPLY],
                "192.0.2.9:80 20 14",
            ),
            ("a wrong password", &[GREETING, b"\x01\x01u\x02pw"], &[b"\x05\x02", b"\x01\x01"], "over true"),
            ("no method is acceptable", &[GREETING], &[b"\x05\xff"], "over true"),
            ("the connection is refused", &[GREETING, REQUEST], &[ANSWER, b"\x05\x05\x00"], "over true"),
            ("BIND", &[GREETING, b"\x05\x02\x00"], &[ANSWER], "over true"),
            ("something else", &[b"\x05\x00"], &[], "over false"),
            ("a server of something else", &[GREETING], &[b"220 "], "over false"),
        ] {
            assert_eq!(told(client, server), expected, "{what}");
        }
        for length in 0..REQUEST.len() {
            assert_eq!(told(&[GREETING, &REQUEST[..length]], &[ANSWER]), "partial");
        }
        for length in 0..REPLY.len() {
            assert_eq!(told(&[GREETING, REQUEST], &[ANSWER, &REPLY[..length]]), "partial");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(
            client in prop::collection::vec(any::<u8>(), 0..40),
            server in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let (client, server) = ([GREETING, &client].concat(), [ANSWER, &server].concat());
            if let Progress::Granted(_, from_client, from_server) = progress(&client, &server) {
                prop_assert!(from_client <= client.len() && from_server <= server.len());
            }
        }
    }
}
