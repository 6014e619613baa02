//! Plaintext that rustls takes at one time and sends at another, whose connections are at the same place one after the other.

use tcp_trace_model::event::{Passage, Plaintext, TlsLibrary};

use super::*;

const PLACE: TlsObject = TlsObject { pid: 500, address: 0x7ffc_1000, generation: 5 };

impl Host {
    /// Plaintext is taken at a place, behind so many bytes.
    fn taken(&mut self, place: TlsObject, direction: Direction, offset: usize, payload: &[u8]) {
        self.event(
            0,
            EventKind::Plaintext(Plaintext {
                object: place,
                library: TlsLibrary::Rustls,
                direction,
                offset: offset as u64,
                length: payload.len() as u32,
                payload,
                socket: None,
                is_late: false,
                passage: Passage::Taken,
            }),
        );
    }

    /// So many bytes that were taken at a place are sent on a connection, or on a socket that is not followed.
    fn sent(&mut self, tls: &mut Tls, place: TlsObject, length: usize, is_followed: bool) {
        let offset = tls.offsets[0];
        tls.offsets[0] += length as u64;
        self.event(
            place.address,
            EventKind::Plaintext(Plaintext {
                object: tls.object,
                library: TlsLibrary::Rustls,
                direction: Direction::Out,
                offset,
                length: length as u32,
                payload: b"",
                socket: is_followed.then_some(tls.cookie),
                is_late: false,
                passage: Passage::Sent(place.address),
            }),
        );
    }
}

#[test]
fn what_is_taken_is_of_the_connection_on_which_it_is_sent() {
    let mut host = Host::new(Filter::default());
    let mut ends = [host.tls(1, true), host.tls(2, true)];
    let mut taken = 0;
    for path in ["/a", "/b"] {
        for end in &mut ends {
            // In two calls, and then both are written.
            for part in [format!("GET {path} HTTP/1.1\r\n"), "Host: h\r\n\r\n".to_owned()] {
                host.taken(PLACE, Direction::Out, taken, part.as_bytes());
                taken += part.len();
            }
            let length = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n".len();
            let sealed = end.seal(&vec![0; length]);
            host.wire(end, Direction::Out, &sealed);
            host.sent(end, PLACE, length, true);
            host.nested(end, Direction::In, RESPONSE);
        }
    }
    host.finish();
    let expected = ["c1 /a", "c2 /a", "c1 /b", "c2 /b"].map(|said| format!("{said} 200 NestedSyscall"));
    assert_eq!(host.inside(), expected);
    assert_eq!((host.pipeline.unlinked(), host.lost), (Unlinked::default(), 0));
}

#[test]
fn what_is_taken_and_not_sent_is_counted() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    host.taken(PLACE, Direction::Out, 0, b"GET /a HTTP/1.1\r\n\r\n");
    host.sent(&mut end, PLACE, 19, false);
    assert_eq!(host.pipeline.unlinked(), Unlinked::default(), "its socket is not followed");
    host.taken(PLACE, Direction::Out, 19, b"GET /b HTTP/1.1\r\n\r\n");
    host.taken(PLACE, Direction::In, 0, b"hello");
    assert_eq!(host.pipeline.unlinked(), Unlinked { objects: 2, bytes: 24 });
    // Another connection is there, and what the one before was given was not sent.
    host.taken(TlsObject { generation: 6, ..PLACE }, Direction::Out, 0, b"GET /c HTTP/1.1\r\n\r\n");
    host.sent(&mut end, PLACE, 19, true);
    assert_eq!(host.pipeline.unlinked(), Unlinked { objects: 2, bytes: 24 });
    host.nested(&mut end, Direction::In, RESPONSE);
    host.finish();
    assert_eq!(host.inside().len(), 1, "{:?}", host.inside());
}

#[test]
fn of_what_is_taken_in_part_nothing_is_read() {
    let mut host = Host::new(Filter::default());
    let mut end = host.tls(1, true);
    host.taken(PLACE, Direction::Out, 5, b"/a HTTP/1.1\r\n\r\n");
    host.sent(&mut end, PLACE, 20, true);
    host.nested_exchange(&mut end, "/b");
    host.finish();
    assert_eq!(host.inside(), ["c1 /b 200 NestedSyscall"]);
}

#[test]
fn what_is_taken_is_bounded() {
    let mut host = Host::new(Filter::default());
    for number in 0..TAKEN_PLACES_MAX as u64 + 2 {
        let place = TlsObject { address: 0x1000 * number, ..PLACE };
        host.taken(place, Direction::Out, 0, b"x");
    }
    assert_eq!(host.lost, 2);
    let mut host = Host::new(Filter::default());
    let large = vec![0; TAKEN_BYTES_MAX / 16];
    for number in 0..17 {
        host.taken(PLACE, Direction::Out, number * large.len(), &large);
    }
    assert_eq!(host.lost, 1);
}
