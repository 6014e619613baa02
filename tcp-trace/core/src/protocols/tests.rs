//! Which layer reads what.

use tcp_trace_model::{event::Role, record::TlsOutcome};

use super::*;

/// Plays bytes to what a connection begins with, seen from the client.
struct Played {
    layer: Layer,
    offsets: [u64; 2],
    found: Found,
}

fn start() -> Start {
    Start { from_start: [true; 2], ..Start::of_role(Some(Role::Client)) }
}

impl Played {
    fn new(start: Start) -> Self {
        Self { layer: Layer::first(start), offsets: [0; 2], found: Found::default() }
    }

    /// Lines `> bytes` from the client and `< bytes` from the server, cut into pieces of so many bytes.
    fn play(conversation: &[(char, &[u8])], size: usize) -> Self {
        let mut played = Self::new(start());
        for (side, bytes) in conversation {
            let direction = if *side == '>' { Direction::Out } else { Direction::In };
            bytes.chunks(size).for_each(|piece| played.bytes(direction, piece));
        }
        played
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8]) {
        let offset = self.offsets[direction.index()];
        let chunk = Chunk::Bytes { offset, bytes, time: Time(0) };
        let mut cx = Cx::new(false, &mut self.found);
        self.layer.input(direction, chunk, &mut cx);
        self.offsets[direction.index()] += bytes.len() as u64;
    }

    fn is_opaque(&self) -> bool {
        matches!(self.layer, Layer::Opaque)
    }

    /// Targets of the exchanges with their index, and the protocol.
    fn told(&self) -> String {
        let exchanges = self.found.exchanges.iter().map(|exchange| {
            let target = exchange
                .request
                .as_ref()
                .map_or("-".into(), |request| String::from_utf8_lossy(&request.target.0).into_owned());
            format!("{} {target}, ", exchange.index)
        });
        let answer = self.found.answer.map(|answer| format!(", answered in {answer}")).unwrap_or_default();
        format!("{}{}{answer}", exchanges.collect::<String>(), self.found.protocol.unwrap_or("-"))
    }
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const CONNECT: &[u8] = b"CONNECT h:80 HTTP/1.1\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
const HELLO: &[u8] = b"\x16\x03\x01\x00\x05\x01\0\0\x01\x03";

#[test]
fn each_conversation_is_read_by_its_layers_however_it_is_cut() {
    for (name, conversation, expected) in [
        ("HTTP", &[('>', GET), ('<', OK)][..], "0 /a, http"),
        ("TLS", &[('>', HELLO), ('<', b"\x16\x03\x03")], "tls"),
        ("SSH", &[('<', b"SSH-2.0-OpenSSH\r\n"), ('>', b"SSH-2.0-x\r\n")], "ssh"),
        ("PROXY version 1", &[('>', V1), ('>', GET), ('<', OK)], "0 /a, http"),
        ("PROXY version 2", &[('>', V2_LOCAL), ('>', GET), ('<', OK)], "0 /a, http"),
        ("PROXY and TLS", &[('>', V1), ('>', HELLO)], "tls"),
        ("PROXY as a method", &[('>', b"PROXY /a HTTP/1.1\r\n\r\n"), ('<', OK)], "0 /a, http"),
        ("PROPFIND begins like it", &[('>', b"PROPFIND /a HTTP/1.1\r\n\r\n"), ('<', OK)], "0 /a, http"),
        ("empty lines before a request", &[('>', b"\r\n\r\n"), ('>', GET), ('<', OK)], "0 /a, http"),
        (
            "SOCKS5",
            &[
                ('>', b"\x05\x01\x00"),
                ('<', b"\x05\x00"),
                ('>', b"\x05\x01\x00\x01\xc0\x00\x02\x09\x00\x50"),
                ('<', b"\x05\x00\x00\x01\0\0\0\0\0\0"),
                ('>', GET),
                ('<', OK),
            ],
            "0 /a, http",
        ),
        (
            "CONNECT and HTTP",
            &[('>', CONNECT), ('<', CONNECTED), ('>', GET), ('<', OK)],
            "0 h:80, 1 /a, http",
        ),
        ("CONNECT and TLS", &[('>', CONNECT), ('<', CONNECTED), ('>', HELLO)], "0 h:80, tls"),
        (
            "CONNECT and TLS before the answer",
            &[('>', CONNECT), ('>', HELLO), ('<', CONNECTED)],
            "0 h:80, tls",
        ),
        (
            "CONNECT and HTTP before the answer, which comes with the inner one",
            &[('>', CONNECT), ('>', GET), ('<', CONNECTED), ('<', OK)],
            "0 h:80, 1 /a, http",
        ),
        (
            "CONNECT, and in the tunnel CONNECT",
            &[('>', CONNECT), ('<', CONNECTED), ('>', CONNECT), ('<', CONNECTED), ('>', GET), ('<', OK)],
            "0 h:80, 1 h:80, 2 /a, http",
        ),
        (
            "CONNECT, and the server speaks first",
            &[('>', CONNECT), ('<', CONNECTED), ('<', b"SSH-2.0-OpenSSH\r\n"), ('>', b"SSH-2.0-x\r\n")],
            "0 h:80, ssh",
        ),
        ("SMTP", &[('<', b"220 h ESMTP\r\n"), ('>', b"EHLO c\r\n"), ('<', b"250 h\r\n")], "smtp"),
        ("HTTP/2", &[('>', b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ('<', b"\0\0\x06\x04")], "http/2"),
        (
            "TLS to an HTTP server",
            &[('>', HELLO), ('<', b"HTTP/1.1 400 Bad Request\r\n")],
            "tls, answered in http",
        ),
    ] {
        for size in [1, 2, 7, 1000] {
            assert_eq!(Played::play(conversation, size).told(), expected, "{name}, pieces of {size}");
        }
    }
}

#[test]
fn an_answer_to_http_in_another_protocol_is_named() {
    for (answer, name) in [(&b"\x15\x03\x03\0\x02\x02\x46"[..], "tls"), (b"SSH-2.0-OpenSSH\r\n", "ssh")] {
        for size in [1, 2, 5, 1000] {
            let played = Played::play(&[('>', GET), ('<', answer)], size);
            assert_eq!(played.told(), format!("0 /a, http, answered in {name}"), "pieces of {size}");
        }
        if name == "ssh" {
            // The same, when the server greets first: the client's bytes come later.
            for (client, spoken) in [(GET, "http"), (HELLO, "tls")] {
                for size in [1, 7, 1000] {
                    let played = Played::play(&[('<', answer), ('>', client)], size);
                    assert_eq!(played.told(), format!("{spoken}, answered in ssh"), "pieces of {size}");
                }
            }
        }
    }
    let played = Played::play(&[('>', GET), ('<', b"<html>")], 1000);
    assert_eq!(played.told(), "0 /a, http");
}

#[test]
fn what_nothing_understands_is_not_needed() {
    for (bytes, answer) in [
        (&b"SSH-2.0-x\r\n"[..], &b"SSH-2.0-OpenSSH\r\n"[..]),
        (HELLO, b"\x16\x03\x03"),
        (&[0x99; 64], &[0x98; 64]),
    ] {
        let mut played = Played::new(start());
        played.bytes(Direction::Out, bytes);
        assert_eq!(played.layer.need(Direction::In), Need::All, "{bytes:?}");
        played.bytes(Direction::In, answer);
        assert!(played.is_opaque(), "{bytes:?}");
    }
}

#[test]
fn first_bytes_are_kept_where_nothing_is_recognised() {
    let end = ConnectionEnd::without_fin(crate::http::End::Fin);
    for (conversation, expected) in [
        (
            &[('>', &b"hello there, this is a line of more than 32 bytes\n"[..]), ('<', b"hi\n")][..],
            ["hello there, this is a line of m", "hi\n"],
        ),
        (&[('<', b"welcome\n")], ["", "welcome\n"]),
        (&[('>', b"PING"), ('<', b"+PONG\r\n")], ["PING", "+PONG\r\n"]),
        // Not even a line.
        (&[('>', b"PING")], ["PING", ""]),
        (&[('>', b"\x05\x01\0"), ('<', b"what?")], ["\x05\x01\0", "what?"]),
        (&[('>', b"PROX")], ["PROX", ""]),
        (&[('>', b"auth s3cret\r\n"), ('<', b"-ERR\r\n")], ["auth «redacted»", "-ERR\r\n"]),
    ] {
        for size in [1, 3, 1000] {
            let mut played = Played::play(conversation, size);
            played.layer.finish(Time(0), end, &mut Cx::new(false, &mut played.found));
            let first = played.found.first_bytes.unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(first, expected, "pieces of {size}");
            assert_eq!(played.found.protocol, None);
        }
    }
}

#[test]
fn tls_names_its_server_and_is_answered_in_tls_or_not() {
    let hello = crate::tls::testing::Hello::default().name("a.example").sent();
    let end = ConnectionEnd::without_fin(crate::http::End::Fin);
    for (answer, expected, outcome) in [
        (&b"\x15\x03\x03\0\x02\x02\x28"[..], "tls", TlsOutcome::Alert),
        (b"HTTP/1.1 400 Bad Request\r\n", "tls, answered in http", TlsOutcome::NotTls),
        (b"SSH-2.0-OpenSSH\r\n", "tls, answered in ssh", TlsOutcome::NotTls),
        (b"", "tls", TlsOutcome::Closed),
    ] {
        for size in [1, 7, 1000] {
            let mut played = Played::play(&[('>', &hello), ('<', answer)], size);
            let is_over = played.found.tls_handshake.is_some();
            assert_eq!(is_over, !answer.is_empty(), "{outcome:?}: the handshake ends with the answer");
            played.layer.finish(Time(0), end, &mut Cx::new(false, &mut played.found));
            assert_eq!(played.told(), expected, "pieces of {size}");
            assert_eq!(played.found.server_name.as_deref(), Some(&b"a.example"[..]));
            let (_, handshake) = played.found.tls_handshake.unwrap();
            assert_eq!((handshake.outcome, played.found.tls.unwrap().outcome), (outcome, outcome));
        }
    }
    // In a tunnel, another server than this connection's is meant.
    let tunnelled = Played::play(&[('>', CONNECT), ('<', CONNECTED), ('>', &hello)], 7);
    assert_eq!((tunnelled.found.server_name.as_deref(), tunnelled.found.protocol), (None, Some("tls")));
}

#[test]
fn what_is_said_of_the_way_is_kept() {
    let played = Played::play(&[('>', V1), ('>', GET)], 5);
    let said = played.found.proxy_protocol.unwrap();
    assert_eq!(said.source.unwrap().to_string(), "192.0.2.1:56324");
    assert!(!played.found.is_tunnel);
    let played = Played::play(&[('>', CONNECT), ('<', CONNECTED)], 5);
    assert!(played.found.is_tunnel);
}

#[test]
fn missing_bytes_of_a_beginning_are_survived() {
    for bytes in [&V1[..9], &V2_LOCAL[..7], b"\x05\x01", HELLO] {
        for chunk in [
            Chunk::Gap { offset: bytes.len() as u64, length: 3, time: Time(0) },
            Chunk::Elided { offset: bytes.len() as u64, length: 3, time: Time(0) },
            Chunk::Fin { time: Time(0) },
        ] {
            let mut played = Played::new(start());
            played.bytes(Direction::Out, bytes);
            let mut cx = Cx::new(false, &mut played.found);
            played.layer.input(Direction::Out, chunk, &mut cx);
            played.layer.finish(Time(0), ConnectionEnd::without_fin(crate::http::End::Fin), &mut cx);
            assert_eq!(played.found.exchanges.len(), 0, "{bytes:?} {chunk:?}");
        }
    }
}

/// What a peer sends decides how many headers there are: no number of them costs more than a few are worth.
#[test]
fn headers_without_end_are_not_read() {
    let bytes = b"PROXY UNKNOWN\r\n".repeat(20_000);
    assert!(Played::play(&[('>', &bytes)], bytes.len()).is_opaque());
    let few = [&b"PROXY UNKNOWN\r\n".repeat(5)[..], GET].concat();
    assert_eq!(Played::play(&[('>', &few), ('<', OK)], few.len()).told(), "0 /a, http");
}
