//! The header that a proxy sends before a client's bytes: the PROXY protocol, versions 1 and 2
//! (haproxy.org/download/3.2/doc/proxy-protocol.txt). It says who the client is.

use std::net::{IpAddr, SocketAddr};

use tcp_trace_model::{event::Direction, network::Endpoint, record::ProxyProtocol, time::Time};

use super::{Cx, First, Guess, HeldBack, Layer, Protocol, Start, Step, Switch};
use crate::{http::HttpConnection, stream::Chunk};

/// What version 1 begins with: a line of text.
const V1: &[u8] = b"PROXY ";
/// The longest line of version 1, with its CRLF (section 2.1).
const V1_MAX: usize = 107;
/// What version 2 begins with (section 2.2).
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version with command, family, length.
const V2_FIXED: usize = 16;

/// A header that is not whole yet.
#[derive(Debug)]
pub struct Prefix {
    start: Start,
    bytes: Vec<u8>,
    /// Offset and time of the first byte.
    began: Option<(u64, Time)>,
}

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    /// A whole header of so many bytes.
    Whole(ProxyProtocol, usize),
    Partial,
    /// Something else.
    None,
}

impl Protocol for Prefix {
    fn guess(first: &First<'_>) -> Guess {
        if !first.is_client {
            return Guess::No;
        }
        match (Guess::begins(first.bytes, V1), Guess::begins(first.bytes, V2)) {
            (Guess::No, other) | (other, _) => other,
        }
    }

    fn new(start: Start) -> Self {
        Self { start, bytes: Vec::new(), began: None }
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        let is_client = self.start.client == Some(direction);
        if let Chunk::Bytes { offset, bytes, time } = chunk
            && is_client
        {
            self.began.get_or_insert((offset, time));
            let before = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            match header(&self.bytes) {
                Header::Partial => return Step::Stay,
                Header::Whole(header, length) => {
                    cx.found.proxy_protocol = Some(header);
                    // What came before was not whole, so the header ends in this chunk.
                    let rest = chunk.last((before + bytes.len()).saturating_sub(length));
                    return Step::Switch(Switch { to: Layer::first(self.start), held: Vec::new(), rest });
                }
                Header::None => self.bytes.truncate(before),
            }
        }
        // It is no header after all, but may be HTTP: PROXY can be a method.
        let held = self.began.zip(self.start.client).map(|((offset, time), direction)| HeldBack {
            direction,
            offset,
            bytes: std::mem::take(&mut self.bytes),
            time,
        });
        let to = Layer::Http1(Box::new(<HttpConnection as Protocol>::new(self.start)));
        Step::Switch(Switch { to, held: held.into_iter().collect(), rest: Some(chunk) })
    }
}

fn header(bytes: &[u8]) -> Header {
    match Guess::begins(bytes, V2) {
        Guess::Yes => return version_2(bytes),
        Guess::Maybe => return Header::Partial,
        Guess::No => {}
    }
    let Some(end) = bytes.iter().take(V1_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_MAX { Header::Partial } else { Header::None };
    };
    match bytes[..end].strip_suffix(b"\r").and_then(version_1) {
        Some(header) => Header::Whole(header, end + 1),
        None => Header::None,
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 80`, or `PROXY UNKNOWN` and anything.
fn version_1(line: &[u8]) -> Option<ProxyProtocol> {
    let mut words = str::from_utf8(line).ok()?.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(ProxyProtocol { version: 1, source: None, destination: None });
    }
    let addresses: [IpAddr; 2] = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
    let ports: [u16; 2] = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
    let is_family = match family {
        "TCP4" => addresses.iter().all(IpAddr::is_ipv4),
        "TCP6" => addresses.iter().all(IpAddr::is_ipv6),
        _ => false,
    };
    if !is_family || words.next().is_some() {
        return None;
    }
    let end = |index: usize| Some(Endpoint { address: addresses[index], port: ports[index] });
    Some(ProxyProtocol { version: 1, source: end(0), destination: end(1) })
}

fn version_2(bytes: &[u8]) -> Header {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else { return Header::Partial };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Header::None,
    };
    let Some(addresses) = rest.get(..length) else { return Header::Partial };
    let ends = if is_local { None } else { ends(family, addresses) };
    let (source, destination) = ends.unzip();
    Header::Whole(ProxyProtocol { version: 2, source, destination }, V2_FIXED + length)
}

/// Source and destination of TCP over IPv4 and IPv6; others are not understood.
fn ends(family: u8, bytes: &[u8]) -> Option<(Endpoint, Endpoint)> {
    let port = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let end = |address: IpAddr, port| Endpoint::from(SocketAddr::new(address, port));
    match family {
        0x11 => {
            let address = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<4>()?));
            Some((end(address(0)?, port(8)?), end(address(4)?, port(10)?)))
        }
        0x21 => {
            let address = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<16>()?));
            Some((end(address(0)?, port(32)?), end(address(16)?, port(34)?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(bytes: &[u8]) -> String {
        match header(bytes) {
            Header::Partial => "partial".to_owned(),
            Header::None => "none".to_owned(),
            Header::Whole(ProxyProtocol { version, source, destination }, length) => {
                let end = |end: Option<Endpoint>| end.map_or("-".to_owned(), |end| end.to_string());
                format!("v{version} {} {} {length}", end(source), end(destination))
            }
        }
    }

    #[test]
    fn version_1_is_a_line() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n", "v1 192.0.2.1:56324 192.0.2.2:80 41"),
            ("PROXY TCP6 2001:db8::1 ::1 56324 80\r\nGET", "v1 [2001:db8::1]:56324 [::1]:80 37"),
            ("PROXY UNKNOWN\r\n", "v1 - - 15"),
            ("PROXY UNKNOWN any thing\r\n", "v1 - - 25"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80", "partial"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\n", "none"),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 56324 80\r\n", "none"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n", "none"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80 1\r\n", "none"),
            ("PROXY / HTTP/1.1\r\n", "none"),
            ("PRO", "partial"),
        ] {
            assert_eq!(told(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(told(format!("PROXY {}", "x".repeat(V1_MAX)).as_bytes()), "none");
    }

    #[test]
    fn version_2_has_its_length_before_it() {
        let with = |command: u8, family: u8, addresses: &[u8]| {
            let length = (addresses.len() as u16).to_be_bytes();
            [V2, &[command, family], &length, addresses, b"rest"].concat()
        };
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 0, 80];
        let v6 = [[1; 16], [2; 16]].concat();
        for (bytes, expected) in [
            (with(0x21, 0x11, &v4), "v2 192.0.2.1:56324 192.0.2.2:80 28"),
            (with(0x21, 0x11, &[&v4[..], b"TLV"].concat()), "v2 192.0.2.1:56324 192.0.2.2:80 31"),
            (
                with(0x21, 0x21, &[&v6[..], &v4[8..]].concat()),
                "v2 [101:101:101:101:101:101:101:101]:56324 [202:202:202:202:202:202:202:202]:80 52",
            ),
            (with(0x20, 0, &[]), "v2 - - 16"),
            (with(0x21, 0x31, &[0; 216]), "v2 - - 232"),
            (with(0x21, 0x11, &v4[..3]), "v2 - - 19"),
            (with(0x31, 0x11, &v4), "none"),
        ] {
            assert_eq!(told(&bytes), expected);
            let whole = bytes.len() - b"rest".len();
            assert!(expected == "none" || told(&bytes[..whole - 1]) == "partial");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), signature in 0..3_usize) {
            let bytes = [[&b""[..], V1, V2][signature], &bytes].concat();
            if let Header::Whole(_, length) = header(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(header(&bytes[..length]), header(&bytes));
            }
        }
    }
}
