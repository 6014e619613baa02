//! Objects that no socket call shows: what they hand out and take, and how much.

use proptest::prelude::*;

use super::*;

const OUT: Direction = Direction::Out;
const IN: Direction = Direction::In;

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

fn response(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What happens to a client's object, in turn, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The request is in the object, and then leaves.
    CallRequest,
    /// What it hands out of that.
    HandRequest,
    SendRequest,
    /// The response arrives, and then is in the object.
    ReceiveResponse,
    TakeResponse,
    CallResponse,
}

use Step::{CallRequest, CallResponse, HandRequest, ReceiveResponse, SendRequest, TakeResponse};

/// A connection on which one exchange passes.
struct Played {
    tls: Tls,
    request: Vec<u8>,
    response: Vec<u8>,
    sealed: [Vec<u8>; 2],
}

impl Played {
    fn new(mut tls: Tls, path: &str) -> Self {
        let (request, response) = (request(path), response("hi"));
        let sealed = [tls.seal(&request), tls.seal(&response)];
        Self { tls, request, response, sealed }
    }

    fn step(&mut self, host: &mut Host, step: Step) {
        let Self { tls, request, response, sealed } = self;
        match step {
            CallRequest => host.call(tls, OUT, request, false),
            HandRequest => host.ciphertext(tls, OUT, &sealed[0]),
            SendRequest => host.wire(tls, OUT, &sealed[0]),
            ReceiveResponse => host.wire(tls, IN, &sealed[1]),
            // It takes the header first.
            TakeResponse => host.ciphertext(tls, IN, &sealed[1][5..]),
            CallResponse => host.call(tls, IN, response, false),
        }
    }
}

#[test]
fn ciphertext_links_whichever_is_seen_first() {
    for (steps, expected) in [
        (&[HandRequest, CallRequest, SendRequest, ReceiveResponse, CallResponse][..], true),
        (&[CallRequest, SendRequest, HandRequest, ReceiveResponse, CallResponse], true),
        (&[CallRequest, SendRequest, ReceiveResponse, TakeResponse, CallResponse], true),
        (&[CallRequest, SendRequest, TakeResponse, CallResponse, ReceiveResponse], true),
        (&[CallRequest, SendRequest, ReceiveResponse, CallResponse], false),
    ] {
        let mut host = Host::new(Filter::default());
        let mut one = Played::new(host.tls(1, true), "/a");
        let mut other = Played::new(host.tls(2, true), "/b");
        for step in steps {
            one.step(&mut host, *step);
        }
        other.step(&mut host, SendRequest);
        host.tick(1);
        let expected: &[&str] = if expected { &["c1 /a 200 Ciphertext"] } else { &[] };
        assert_eq!(host.inside(), expected, "{steps:?}");
        host.finish();
        assert_eq!(host.pipeline.unlinked().objects, u64::from(expected.is_empty()), "{steps:?}");
    }
}

#[test]
fn a_server_is_linked_by_the_hello_that_it_takes() {
    let mut host = Host::new(Filter::default());
    let mut tls = host.connected(1, false, 500);
    let hello = tls.client_hello();
    host.wire(&mut tls, IN, &hello);
    host.ciphertext(&tls, IN, &hello);
    host.call(&mut tls, IN, &request("/a"), false);
    host.call(&mut tls, OUT, &response("hi"), false);
    host.tick(1);
    assert_eq!(host.inside(), ["c1 /a 200 Ciphertext"]);
}

#[test]
fn what_passed_on_two_connections_links_nothing() {
    let mut host = Host::new(Filter::default());
    let (mut one, mut other) = (Played::new(host.tls(1, true), "/a"), host.tls(2, true));
    one.step(&mut host, CallRequest);
    one.step(&mut host, SendRequest);
    host.wire(&mut other, OUT, &one.sealed[0]);
    one.step(&mut host, HandRequest);
    host.tick(1);
    assert_eq!(host.pipeline.unlinked().objects, 1);
}

#[test]
fn another_process_has_other_connections() {
    let mut host = Host::new(Filter::default());
    // A relay passes on what it cannot read.
    let mut relay = host.tls_of(2, true, 700);
    let mut one = Played::new(host.tls(1, true), "/a");
    host.wire(&mut relay, OUT, &one.sealed[0]);
    for step in [SendRequest, HandRequest, CallRequest, CallResponse] {
        one.step(&mut host, step);
    }
    assert_eq!(host.inside(), ["c1 /a 200 Ciphertext"]);
}

#[test]
fn who_uses_the_socket_may_be_reported_behind_what_was_written() {
    let mut host = Host::new(Filter::default());
    let mut one = Played::new(host.tls_of(1, false, 700), "/a");
    one.tls.object.pid = 500;
    for step in [HandRequest, SendRequest] {
        one.step(&mut host, step);
    }
    host.event(one.tls.cookie, EventKind::Owner(owner(500, "worker")));
    host.call(&mut one.tls, IN, &request("/a"), false);
    host.call(&mut one.tls, OUT, &response("hi"), false);
    host.tick(0);
    host.tick(1);
    assert_eq!(host.inside(), ["c1 /a 200 Ciphertext"]);
}

#[test]
fn later_evidence_moves_an_object() {
    let mut host = Host::new(Filter::default());
    let mut one = Played::new(host.tls(1, true), "/a");
    let mut other = Played::new(host.tls(2, true), "/b");
    for step in [HandRequest, SendRequest, CallRequest, CallResponse] {
        one.step(&mut host, step);
    }
    // The same object from here on.
    other.tls.object = one.tls.object;
    other.tls.offsets = one.tls.offsets;
    host.nested_exchange(&mut other.tls, "/b");
    host.tick(1);
    assert_eq!(host.inside(), ["c1 /a 200 Ciphertext", "c2 /b 200 NestedSyscall"]);
}

#[test]
fn what_the_process_passes_on_moves_no_object() {
    use Again::{Connection, Owner, Record};
    #[derive(PartialEq)]
    enum Again {
        /// The record is seen on both connections before the object is linked.
        Record,
        /// The first connection has its object when the second passes it on.
        Connection,
        /// The same, and whose the second is becomes known later.
        Owner,
    }
    for again in [Record, Connection, Owner] {
        let mut host = Host::new(Filter::default());
        let mut relay = host.tls_of(2, true, if again == Owner { 700 } else { 500 });
        let mut one = Played::new(host.tls(1, false), "/a");
        // Its first record leaves before it has read anything.
        let settings = one.tls.seal(b"settings");
        host.ciphertext(&one.tls, OUT, &settings);
        if again != Record {
            host.call(&mut one.tls, OUT, b"", false);
        }
        host.wire(&mut one.tls, OUT, &settings);
        host.wire(&mut relay, OUT, &settings);
        if again == Owner {
            host.event(relay.cookie, EventKind::Owner(owner(500, "worker")));
        }
        host.tick(0);
        // Of the connection that has its object, records are noted no more.
        let more = one.tls.seal(b"more");
        host.ciphertext(&one.tls, OUT, &more);
        host.wire(&mut one.tls, OUT, &more);
        host.wire(&mut relay, OUT, &more);
        host.call(&mut one.tls, IN, &one.request.clone(), false);
        host.call(&mut one.tls, OUT, &one.response.clone(), false);
        host.tick(1);
        assert_eq!(host.inside(), ["c1 /a 200 Ciphertext"]);
    }
}

#[test]
fn a_connection_that_was_there_before_is_linked_by_its_next_records() {
    for is_read_before in [true, false] {
        let mut host = Host::new(Filter::default());
        let mut tls = host.existing(1, 500);
        if is_read_before {
            // Nothing reads it, so that the kernel side is told to hand over nothing.
            let bytes = tls.seal(&[7; 100]);
            host.wire(&mut tls, IN, &bytes[7..]);
            let until = host.skips.iter().map(|skip| skip.until).collect::<Vec<_>>();
            assert!(until.last().is_none_or(Option::is_some), "{until:?}");
        }
        let mut one = Played::new(tls, "/a");
        one.tls.is_late = true;
        for step in [CallRequest, HandRequest, SendRequest, ReceiveResponse, CallResponse] {
            one.step(&mut host, step);
        }
        host.tick(1);
        assert_eq!(host.inside(), ["c1 /a 200 Ciphertext"]);
        host.finish();
        let summary = host.summary("c1");
        assert_eq!(summary.protocol.as_deref(), Some("tls"));
        assert_eq!(summary.first_bytes, None);
    }
}

#[test]
fn a_connection_that_is_first_seen_by_a_segment_is_linked_when_its_process_is_known() {
    let mut host = Host::new(Filter::default());
    let mut one = Played::new(host.unknown(1, 500), "/a");
    for step in [CallRequest, HandRequest, SendRequest] {
        one.step(&mut host, step);
    }
    host.event(one.tls.cookie, EventKind::Owner(owner(500, "worker")));
    for step in [ReceiveResponse, CallResponse] {
        one.step(&mut host, step);
    }
    host.tick(0);
    host.tick(1);
    assert_eq!(host.inside(), ["c1 /a 200 Ciphertext"]);
}

/// Calls that send, with the segments that leave.
fn send(host: &mut Host, tls: &mut Tls, lengths: &[usize]) {
    for length in lengths {
        let mut payload = request("/a");
        payload.truncate(payload.len() - 2);
        let fill = length - payload.len() - 6;
        payload.extend_from_slice(format!("X: {}\r\n", "x".repeat(fill.saturating_sub(1))).as_bytes());
        payload.extend_from_slice(b"\r\n");
        payload.truncate(*length);
        host.call(tls, OUT, &payload, false);
        let sealed = tls.seal(&payload);
        host.wire(tls, OUT, &sealed);
    }
}

#[test]
fn lengths_link_only_what_nothing_else_may_have_made() {
    for (one, other, expected) in [
        (&[100, 120, 140][..], &[100, 120, 141][..], true),
        (&[100, 120, 140], &[], true),
        // Both may be it.
        (&[100, 120, 140], &[100, 120, 140], false),
        // They tell nothing.
        (&[100, 100, 120], &[], false),
        (&[100, 120], &[], false),
    ] {
        let mut host = Host::new(Filter::default());
        let (mut first, mut second) = (host.tls(1, true), host.tls(2, true));
        second.object = TlsObject { address: 7, ..second.object };
        send(&mut host, &mut first, one);
        for length in other {
            let sealed = second.seal(&vec![0; *length]);
            host.wire(&mut second, OUT, &sealed);
        }
        host.tick(0);
        let id = host.pipeline.unlinked().objects;
        assert_eq!(id, u64::from(!expected), "{one:?} {other:?}");
        host.tick(1);
        host.finish();
        let link = host.summary("c1").decrypted.as_ref().map(|decrypted| decrypted.link);
        assert_eq!(link, expected.then_some(TlsLink::LengthSequence));
        assert_eq!(host.summary("c2").decrypted, None);
    }
}

#[test]
fn lengths_link_nothing_that_two_objects_may_have_made() {
    let mut host = Host::new(Filter::default());
    let (mut one, mut other) = (host.tls(1, true), host.tls(2, true));
    send(&mut host, &mut one, &[100, 120, 140]);
    // What it sends is not seen.
    for length in [100, 120, 140] {
        host.call(&mut other, OUT, &vec![b'x'; length], false);
    }
    host.tick(1);
    assert_eq!(host.pipeline.unlinked().objects, 2);
}

#[test]
fn lengths_link_nothing_where_some_connections_are_not_followed() {
    let mut host = Host::new(Filter { port: vec![443], ..Filter::default() });
    let mut first = host.tls(1, true);
    send(&mut host, &mut first, &[100, 120, 140]);
    host.tick(1);
    host.finish();
    assert_eq!(host.summary("c1").decrypted, None);
    // It may be of a connection that the filter leaves out.
    assert_eq!(host.pipeline.unlinked(), Unlinked::default());
}

#[test]
fn lengths_of_many_objects_are_compared_a_part_at_a_time() {
    const MANY: u16 = 150;
    let mut host = Host::new(Filter::default());
    let mut all: Vec<_> = (1..=MANY).map(|number| host.tls(number, true)).collect();
    for (number, tls) in (1..).zip(&mut all) {
        let length = 10 * number;
        send(&mut host, tls, &[100 + length, 300 + length, 500 + length]);
    }
    let mut unlinked = Vec::new();
    for _ in 0..4 {
        host.tick(0);
        unlinked.push(host.pipeline.unlinked().objects);
    }
    assert_eq!(unlinked, [86, 22, 0, 0]);
}

const STEPS: [Step; 5] = [CallRequest, HandRequest, SendRequest, ReceiveResponse, CallResponse];

/// Plays exchanges of so many connections in the order that `picks` says; which steps of each are seen, `is_seen` says.
fn play(count: u16, picks: &[usize], is_client: bool, is_seen: impl Fn(usize) -> bool) -> Host {
    let mut host = Host::new(Filter::default());
    let played = (1..=count).map(|number| {
        let tls = host.tls(number, is_client);
        (Played::new(tls, &format!("/{number}")), STEPS.into_iter())
    });
    let mut played: Vec<_> = played.collect();
    let (mut picks, mut number) = (picks.iter().copied().cycle(), 0);
    while !played.is_empty() {
        let pick = picks.next().unwrap_or_default() % played.len();
        let (one, steps) = &mut played[pick];
        match steps.next() {
            Some(step) if is_seen(number) => one.step(&mut host, step),
            Some(CallRequest) => one.tls.offsets[0] += one.request.len() as u64,
            Some(CallResponse) => one.tls.offsets[1] += one.response.len() as u64,
            Some(_) => {}
            None => {
                let (one, _) = played.remove(pick);
                host.free(&one.tls);
            }
        }
        number += 1;
    }
    host.tick(1);
    host.tick(1);
    host
}

#[test]
fn fifty_connections_of_one_thread_have_each_its_own_exchange() {
    let picks: Vec<usize> = (0..997).map(|number| number * 7_919 % 1_009).collect();
    let host = play(50, &picks, true, |_| true);
    let mut inside = host.inside();
    inside.sort_unstable();
    let mut expected: Vec<_> = (1..=50).map(|number| format!("c{number} /{number} 200 Ciphertext")).collect();
    expected.sort_unstable();
    assert_eq!(inside, expected);
    assert_eq!((host.pipeline.unlinked(), host.lost), (Unlinked::default(), 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_exchange_is_on_another_connection(
        count in 1..12_u16,
        picks in prop::collection::vec(any::<usize>(), 1..200),
        lost in prop::collection::hash_set(0..60_usize, 0..20),
    ) {
        let host = play(count, &picks, true, |number| !lost.contains(&number));
        for line in host.inside() {
            let mut words = line.split(' ');
            let (id, path) = (words.next().unwrap(), words.next().unwrap());
            prop_assert!(path == "?" || id[1..] == path[1..], "{}", line);
        }
    }
}

#[test]
fn http_2_of_an_object_that_is_linked_before_its_first_plaintext() {
    for is_late in [false, true] {
        let mut host = Host::new(Filter::default());
        let mut tls = host.connected(1, true, 500);
        tls.is_late = is_late;
        let hello = tls.client_hello();
        host.ciphertext(&tls, OUT, &hello);
        host.wire(&mut tls, OUT, &hello);
        let block = [0x82, 0x87, 0x84]; // GET, https, /
        let request = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 3, 1, 5, 0, 0, 0, 1], &block].concat();
        let response = [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]].concat();
        host.call(&mut tls, OUT, &request, false);
        host.call(&mut tls, IN, &response, false);
        host.tick(1);
        assert_eq!(host.inside(), ["c1 / 200 Ciphertext"], "{is_late}");
    }
}
