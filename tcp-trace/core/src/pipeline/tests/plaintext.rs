//! Plaintext of TLS libraries' calls: which connection it comes out of, and as what.

mod evidence;
mod taken;
mod world;

use tcp_trace_model::{
    event::TlsObject,
    record::{Http, Integrity, Outcome, Text, TlsLink, Unlinked},
};

use self::world::*;
use super::*;

impl Host {
    /// The exchanges of TLS, as `c1 /path status link`.
    fn inside(&self) -> Vec<String> {
        let of = |record: &Record| match record {
            Record::Http(Http { connection, exchange, .. }) => {
                let path = exchange.url.as_ref().map_or("?".into(), |url| shown(&url.path));
                let status = exchange.response.as_ref().map_or(0, |response| response.status_code);
                let link = exchange.tls.map(|tls| format!("{:?}", tls.link));
                Some(format!("{} {path} {status} {}", connection.id, link.unwrap_or_default()))
            }
            _ => None,
        };
        self.out.iter().filter_map(of).collect()
    }

    fn exchanges(&self) -> Vec<&Http> {
        let https = self.out.iter().filter_map(|record| match record {
            Record::Http(http) => Some(http),
            _ => None,
        });
        https.collect()
    }
}

fn shown(text: &Text) -> String {
    String::from_utf8_lossy(&text.0).into_owned()
}

#[test]
fn an_exchange_in_nested_calls_is_one_of_the_connection() {
    for is_client in [true, false] {
        let mut host = Host::new(Filter::default());
        let mut end = host.tls(1, is_client);
        let started = host.now;
        host.nested_exchange(&mut end, "/a");
        host.nested_exchange(&mut end, "/b");
        host.tls_close(&end);
        host.tick(1);
        host.finish();
        assert_eq!(host.inside(), ["c1 /a 200 NestedSyscall", "c1 /b 200 NestedSyscall"]);
        let [first, second] = host.exchanges()[..] else { panic!("{:?}", host.out) };
        assert_eq!((first.exchange.index, second.exchange.index), (0, 1));
        assert_eq!((first.exchange.reused, second.exchange.reused), (Some(false), Some(true)));
        assert!(first.exchange.timing.started > Time(started) && first.exchange.timing.stalls.is_none());
        let url = first.exchange.url.as_ref().unwrap();
        assert_eq!(url.scheme, Some("https".into()));
        let summary = host.summary("c1");
        assert_eq!(summary.protocol.as_deref(), Some("tls"));
        let decrypted = summary.decrypted.as_deref().unwrap();
        assert_eq!((decrypted.link, decrypted.protocol.as_deref()), (TlsLink::NestedSyscall, Some("http")));
        assert_eq!(summary.http.as_ref().map(|http| http.requests), Some(2));
        assert_eq!(host.pipeline.unlinked(), Unlinked::default());
        assert_eq!(host.lost, 0);
    }
}

#[test]
fn what_was_reported_when_its_call_began_is_linked_when_that_returns() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    host.call(&mut end, Direction::Out, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", false);
    host.call(&mut end, Direction::In, RESPONSE, false);
    host.tick(1);
    assert_eq!(host.inside(), [""; 0]);
    host.call_without_payload(&mut end, Direction::Out, 0);
    host.tick(1);
    assert_eq!(host.inside(), ["c1 /a 200 NestedSyscall"]);
    host.nested_exchange(&mut end, "/b");
    host.tick(1);
    assert_eq!(host.inside(), ["c1 /a 200 NestedSyscall", "c1 /b 200 NestedSyscall"]);
    assert_eq!((host.pipeline.unlinked(), host.lost), (Unlinked::default(), 0));
}

#[test]
fn frames_of_http_2_are_found_that_are_read_header_first() {
    let mut host = Host::new(Filter::default());
    let mut end = host.existing(1, 500);
    for stream in [5, 7] {
        let headers = [0, 0, 3, 1, 5, 0, 0, 0, stream];
        host.call(&mut end, Direction::Out, &headers, false);
        // GET, https, /
        host.call(&mut end, Direction::Out, &[0x82, 0x87, 0x84], false);
        let response = [&[0, 0, 1, 1, 5, 0, 0, 0, stream][..], &[0x88]].concat();
        host.nested(&mut end, Direction::In, &response);
    }
    // What is no more than a header, with a gap behind it.
    host.call(&mut end, Direction::Out, &[0, 0, 3, 1, 5, 0, 0, 0, 9], false);
    end.offsets[Direction::Out.index()] += 3;
    host.call(&mut end, Direction::Out, &[0, 0, 3, 1, 5, 0, 0, 0, 11], false);
    host.call(&mut end, Direction::Out, &[0x82, 0x87, 0x84], false);
    host.nested(&mut end, Direction::In, &[0, 0, 1, 1, 5, 0, 0, 0, 11, 0x88]);
    host.tick(1);
    let expected = ["c1 / 200 NestedSyscall", "c1 / 200 NestedSyscall", "c1 / 200 NestedSyscall"];
    assert_eq!(host.inside(), expected);
}

#[test]
fn http_2_is_found_by_its_preface() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    let block = [0x82, 0x87, 0x84]; // GET, https, /
    let request = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 3, 1, 5, 0, 0, 0, 1], &block].concat();
    let response = [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]].concat();
    host.nested(&mut end, Direction::Out, &request);
    host.nested(&mut end, Direction::In, &response);
    host.tick(1);
    assert_eq!(host.inside(), ["c1 / 200 NestedSyscall"]);
    assert_eq!(host.exchanges()[0].exchange.stream.as_ref().map(|stream| stream.id), Some(1));
    host.finish();
    let summary = host.summary("c1");
    assert!(summary.http2.is_some());
    assert_eq!(summary.decrypted.as_ref().unwrap().protocol.as_deref(), Some("http/2"));
}

#[test]
fn what_is_open_when_the_connection_ends_is_judged_by_its_end() {
    let request = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    let until_close = b"HTTP/1.1 200 OK\r\n\r\nabc";
    for (response, end, outcome, reason) in [
        (&b""[..], End::Peer, Outcome::NoResponse, Some("closed by the server before the response")),
        (b"", End::Reset, Outcome::Reset, Some("reset by the server before the response")),
        (cut, End::Peer, Outcome::Truncated, Some("closed by the server during the response")),
        (cut, End::Local, Outcome::Truncated, Some("closed by the client during the response")),
        (until_close, End::Peer, Outcome::Ok, None),
    ] {
        // The object is freed before the socket is closed, or the last call is seen after that.
        for order in ["free, close", "close, free", "close, read"] {
            let mut host = Host::new(Filter::default());
            let mut tls = host.tls(1, true);
            host.nested(&mut tls, Direction::Out, request);
            let sealed = tls.seal(response);
            if !response.is_empty() {
                host.wire(&mut tls, Direction::In, &sealed);
            }
            let call = |host: &mut Host, tls: &mut Tls| {
                if !response.is_empty() {
                    host.call(tls, Direction::In, response, true);
                }
            };
            if order != "close, read" {
                call(&mut host, &mut tls);
            }
            if order == "free, close" {
                host.free(&tls);
            }
            host.end(&mut tls, end);
            if order == "close, read" {
                call(&mut host, &mut tls);
            }
            if order != "free, close" {
                host.free(&tls);
            }
            host.tick(2);
            let [http] = host.exchanges()[..] else { panic!("{order}: {:?}", host.out) };
            assert_eq!(
                (http.exchange.outcome, http.exchange.reason.as_deref()),
                (outcome, reason),
                "{order}"
            );
        }
    }
}

#[test]
fn what_had_come_before_a_reset_can_be_read_behind_it() {
    let mut host = Host::new(Filter::default());
    let mut tls = host.tls(1, true);
    host.nested(&mut tls, Direction::Out, REQUEST);
    let sealed = tls.seal(RESPONSE);
    host.wire(&mut tls, Direction::In, &sealed);
    host.end(&mut tls, End::Reset);
    host.now += 300_000_000;
    host.tick(0);
    host.call(&mut tls, Direction::In, RESPONSE, false);
    assert_eq!(host.inside(), ["c1 /a 200 NestedSyscall"]);
    host.tick(1);
    assert_eq!(host.connections(), 1, "it is waited for no longer");
}

#[test]
fn a_late_object_is_read_from_its_next_request_on() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    end.is_late = true;
    host.nested(&mut end, Direction::In, b"the rest of a body");
    host.nested_exchange(&mut end, "/a");
    assert_eq!(host.inside(), ["c1 /a 200 NestedSyscall"]);
}

#[test]
fn what_is_skipped_of_a_body_is_no_gap() {
    let body = vec![b'x'; 200_000];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    // Calls that are skipped come without payload, or not at all.
    for is_told in [true, false] {
        let mut host = Host::new(Filter::default());
        let mut end = host.tls(1, true);
        host.nested(&mut end, Direction::Out, REQUEST);
        host.nested(&mut end, Direction::In, head.as_bytes());
        let until = (head.len() + body.len()) as u64;
        let skip = SkipPlaintext { object: end.object, direction: Direction::In, until: Some(until) };
        assert_eq!(host.plaintext_skips, [skip]);
        if is_told {
            for part in body.chunks(16_384) {
                host.call_without_payload(&mut end, Direction::In, part.len());
            }
        } else {
            end.offsets[1] = until;
        }
        host.nested_exchange(&mut end, "/b");
        let [first, second] = host.exchanges()[..] else { panic!("{:?}", host.out) };
        for http in [first, second] {
            let told = (http.exchange.integrity, http.exchange.outcome);
            assert_eq!(told, (Integrity::Complete, Outcome::Ok), "{is_told}");
        }
        assert_eq!(first.exchange.response.as_ref().unwrap().body.size, 200_000, "{is_told}");
    }
}

#[test]
fn a_lost_call_is_a_gap() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    host.nested(&mut end, Direction::Out, REQUEST);
    host.nested(&mut end, Direction::In, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    end.offsets[1] += 100;
    host.nested_exchange(&mut end, "/b");
    let [first, second] = host.exchanges()[..] else { panic!("{:?}", host.out) };
    assert_eq!((first.exchange.integrity, second.exchange.integrity), (Integrity::Gap, Integrity::Complete));
}

#[test]
fn an_address_that_is_used_again_is_another_object() {
    let mut host = Host::new(Filter::default());
    let mut first = host.tls(1, true);
    host.nested_exchange(&mut first, "/a");
    let mut second = host.tls(2, true);
    second.object = TlsObject { generation: 2, ..first.object };
    host.nested_exchange(&mut second, "/b");
    assert_eq!(host.inside(), ["c1 /a 200 NestedSyscall", "c2 /b 200 NestedSyscall"]);
}

#[test]
fn what_nothing_links_is_counted() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    host.call(&mut end, Direction::Out, b"GET /a HTTP/1.1\r\n\r\n", false);
    assert_eq!(host.pipeline.unlinked(), Unlinked { objects: 1, bytes: 19 });
    host.free(&end);
    host.finish();
    assert_eq!(host.inside(), [""; 0]);
    assert_eq!(host.pipeline.unlinked(), Unlinked { objects: 1, bytes: 19 });
}

#[test]
fn a_socket_that_is_not_followed_is_not_missing() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    end.cookie = 77;
    for _ in 0..2 * WAITING_MAX {
        host.call(&mut end, Direction::Out, b"GET /a HTTP/1.1\r\n\r\n", true);
    }
    host.finish();
    assert_eq!((host.pipeline.unlinked(), host.lost), (Unlinked::default(), 0));
}

#[test]
fn a_callback_that_uses_another_socket_links_nothing_to_it() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    let mut end = host.tls(1, true);
    let own = std::mem::replace(&mut end.cookie, CLIENT);
    host.call(&mut end, Direction::Out, b"GET /a HTTP/1.1\r\n", true);
    end.cookie = own;
    host.nested(&mut end, Direction::Out, b"Host: h\r\n\r\n");
    host.nested(&mut end, Direction::In, RESPONSE);
    assert_eq!(host.inside(), ["c4101 /a 200 ", "c1 /a 200 NestedSyscall"]);
}

#[test]
fn an_object_moves_to_the_connection_that_its_calls_use() {
    let mut host = Host::new(Filter::default());
    let (mut first, mut second) = (host.tls(1, true), host.tls(2, true));
    host.nested_exchange(&mut first, "/a");
    (second.object, second.offsets) = (first.object, first.offsets);
    host.nested_exchange(&mut second, "/b");
    assert_eq!(host.inside(), ["c1 /a 200 NestedSyscall", "c2 /b 200 NestedSyscall"]);
}

#[test]
fn a_callback_that_uses_a_socket_without_tls_links_nothing_to_it() {
    for (first, expected) in [
        (&b"*1\r\n$4\r\nPING\r\n"[..], false),
        (b"\x01\x02\x03\x04 a protocol that nobody knows, and that says no more than this here", false),
        // It asks for TLS.
        (b"\0\0\0\x08\x04\xd2\x16\x2f", true),
    ] {
        let mut host = Host::new(Filter::default());
        let mut other = host.connected(2, true, 500);
        host.wire(&mut other, Direction::Out, first);
        let mut end = host.tls(1, true);
        let own = std::mem::replace(&mut end.cookie, other.cookie);
        host.call(&mut end, Direction::Out, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", true);
        host.call(&mut end, Direction::In, RESPONSE, true);
        end.cookie = own;
        host.nested_exchange(&mut end, "/b");
        let id = if expected { "c2" } else { "c1" };
        assert_eq!(host.inside(), [format!("{id} /a 200 NestedSyscall"), "c1 /b 200 NestedSyscall".into()]);
        host.finish();
        assert_eq!(host.summary("c2").decrypted.is_some(), expected);
    }
}

#[test]
fn a_connection_that_was_left_before_anything_was_read_has_nothing_decrypted() {
    let mut host = Host::new(Filter::default());
    let (mut first, mut second) = (host.tls(1, true), host.tls(2, true));
    host.nested(&mut first, Direction::In, b"");
    (second.object, second.offsets) = (first.object, first.offsets);
    host.nested_exchange(&mut second, "/b");
    host.finish();
    assert_eq!(host.summary("c1").decrypted, None);
    assert!(host.summary("c2").decrypted.is_some());
}

#[test]
fn an_object_in_place_of_another_has_its_connection() {
    let later = |object| TlsObject { generation: 2, ..object };
    let child = |object| TlsObject { pid: 501, ..object };
    for change in [&later as &dyn Fn(TlsObject) -> TlsObject, &child] {
        for count in [1, 3] {
            let mut host = Host::new(Filter::default());
            let mut end = host.tls(1, true);
            host.nested_exchange(&mut end, "/a");
            // That it is gone, nobody says.
            end.object = change(end.object);
            end.offsets = [0; 2];
            let paths = ["/b", "/c", "/d"];
            paths[..count].iter().for_each(|path| host.nested_exchange(&mut end, path));
            let expected = ["/a", "/b", "/c", "/d"].map(|path| format!("c1 {path} 200 NestedSyscall"));
            assert_eq!(host.inside(), expected[..=count]);
            assert_eq!((host.pipeline.unlinked(), host.lost), (Unlinked::default(), 0));
        }
    }
}

#[test]
fn exchanges_of_http_2_are_counted_on_behind_another_object() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let request = |id: u8| [&[0, 0, 3, 1, 5, 0, 0, 0, id][..], &[0x82, 0x87, 0x84]].concat();
    let response = |id: u8| [0, 0, 1, 1, 5, 0, 0, 0, id, 0x88];
    host.nested(&mut end, Direction::Out, &[PREFACE, &settings, &request(1)].concat());
    host.nested(&mut end, Direction::In, &[&settings[..], &response(1)].concat());
    end.object.generation = 2;
    (end.is_late, end.offsets) = (true, [0; 2]);
    for id in [3, 5] {
        host.nested(&mut end, Direction::Out, &request(id));
        host.nested(&mut end, Direction::In, &response(id));
    }
    host.tick(1);
    let told: Vec<_> =
        host.exchanges().iter().map(|http| (http.exchange.index, http.exchange.reused)).collect();
    assert_eq!(told, [(0, Some(false)), (1, Some(true)), (2, Some(true))]);
}

#[test]
fn what_waits_is_bounded_and_what_is_dropped_is_counted() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    let payload = vec![b'x'; 16 << 10];
    let calls = 17;
    for _ in 0..calls {
        host.call(&mut end, Direction::In, &payload, false);
    }
    assert_eq!((host.lost, host.pipeline.unlinked().objects), (0, 1), "it is of no connection");
    host.call(&mut end, Direction::In, b"y", true);
    // A call is more than its payload.
    assert_eq!((host.lost, host.pipeline.unlinked().objects), (2, 0));
    let calls = WAITING_BYTES_MAX / WAITING_MAX / 32;
    for address in 0..u64::try_from(calls).unwrap() {
        end.object.address = 0x10_0000 + address;
        end.offsets = [0; 2];
        for _ in 0..WAITING_MAX {
            host.call_without_socket(&mut end);
        }
    }
    let mut last = host.tls(2, true);
    host.call_without_socket(&mut last);
    host.call(&mut last, Direction::In, b"y", true);
    assert_eq!(host.lost, 3, "calls without payload take room, too");
}

#[test]
fn calls_of_what_has_no_socket_of_tcp_are_no_lost_events() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    let calls = 3 * WAITING_MAX as u64;
    (0..calls).for_each(|_| host.call_without_socket(&mut end));
    host.free(&end);
    host.finish();
    assert_eq!((host.lost, host.pipeline.unlinked()), (0, Unlinked { objects: 1, bytes: calls }));
}

#[test]
fn an_excluded_connection_has_no_plaintext() {
    let mut host = Host::new(Filter { port: vec![1], ..Filter::default() });
    let mut end = host.tls(1, true);
    host.nested_exchange(&mut end, "/a");
    let skips = [Direction::Out, Direction::In].map(|direction| SkipPlaintext {
        object: end.object,
        direction,
        until: Some(u64::MAX),
    });
    assert_eq!(host.plaintext_skips, skips);
    host.finish();
    assert_eq!(host.out, []);
    assert_eq!(host.pipeline.unlinked(), Unlinked::default());
}
