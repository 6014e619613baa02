//! Messages as servers send them, lookups as resolvers make them, and bytes that are neither.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use tcp_trace_model::{
    event::{Direction, Endpoints, Owner, ProcessKey},
    lookup::{Answer, Outcome, Question, Transport},
    time::Time,
};

use super::*;
use crate::stream::Chunk;

const COOKIE: u64 = 77;

/// A message by hand: header, one question of class IN, and answers that are given in wire format.
fn message(id: u16, flags: u16, name: &str, kind: u16, answers: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [id, flags, 1, u16::try_from(answers.len()).unwrap(), 0, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(wire(name));
    bytes.extend([kind.to_be_bytes(), 1_u16.to_be_bytes()].concat());
    for (name, kind, data) in answers {
        bytes.extend_from_slice(name);
        bytes.extend([kind.to_be_bytes(), 1_u16.to_be_bytes()].concat());
        bytes.extend(300_u32.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

/// A name as labels with their lengths.
fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const ASKED: u16 = 0x0100;
const ANSWERED: u16 = 0x8180;
/// A pointer to the question's name (RFC 1035, section 4.1.4).
const NAME: &[u8] = &[0xc0, 12];

fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    message(id, ASKED, name, kind, &[])
}

fn ipv4(id: u16, name: &str) -> Vec<u8> {
    message(id, ANSWERED, name, A, &[(NAME, A, &[192, 0, 2, 1])])
}

/// A resolver's socket, fed a millisecond apart.
#[derive(Default)]
struct Resolver {
    lookups: Lookups,
    ms: u64,
    over: Vec<Lookup>,
}

impl Resolver {
    fn now(&self) -> Time {
        Time(1_000_000_000 + self.ms * 1_000_000)
    }

    fn pass(&mut self, direction: Direction, bytes: &[u8]) {
        self.pass_of(SocketAddr::from(([192, 0, 2, 53], 53)), direction, bytes);
    }

    /// The same to or from this server.
    fn pass_of(&mut self, peer: SocketAddr, direction: Direction, bytes: &[u8]) {
        self.ms += 1;
        let endpoints = Endpoints { local: SocketAddr::from(([192, 0, 2, 9], 40000)), peer };
        let source = Source {
            cookie: COOKIE,
            endpoints,
            netns: Some(1),
            transport: Transport::Udp,
            connection: None,
            owner: None,
        };
        let now = self.now();
        self.lookups.message(now, source, direction, (bytes, bytes.len()), &mut self.over);
    }

    fn ask(&mut self, bytes: &[u8]) {
        self.pass(Direction::Out, bytes);
        self.lookups.owner(COOKIE, &owner(7), &mut self.over);
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.pass(Direction::In, bytes);
    }

    fn wait(&mut self, ms: u64) {
        self.ms += ms;
        self.lookups.tick(self.now(), &mut self.over);
    }

    /// Name, outcome, microseconds and answers of what is over.
    fn told(&self) -> Vec<(String, Outcome, Option<u64>, usize)> {
        let told = |lookup: &Lookup| {
            let name = lookup.question.as_ref().map_or("-".to_owned(), |question| question.name.clone());
            (name, lookup.outcome, lookup.duration_us, lookup.answers.len())
        };
        self.over.iter().map(told).collect()
    }
}

fn owner(pid: u32) -> Owner {
    let key = ProcessKey { started: u64::from(pid) * 100, ..ProcessKey::default() };
    Owner { key, ..Owner::new(pid, "getent") }
}

#[test]
fn a_message_is_told_in_presentation_format() {
    let bytes = message(
        7,
        ANSWERED,
        "www.Example.com",
        A,
        &[(NAME, CNAME, &wire("a b.example.net")), (&wire("a b.example.net"), A, &[192, 0, 2, 1])],
    );
    let message = parse(&bytes).unwrap();
    let asked = Question { name: "www.Example.com".to_owned(), kind: "A".to_owned() };
    assert_eq!((message.id, message.is_response, message.question.as_ref()), (7, true, Some(&asked)));
    let answer = |name: &str, kind: &str, data: &str| Answer {
        name: name.to_owned(),
        kind: kind.to_owned(),
        ttl: 300,
        data: data.to_owned(),
    };
    assert_eq!(
        message.answers,
        [
            answer("www.Example.com", "CNAME", r"a\ b.example.net"),
            answer(r"a\ b.example.net", "A", "192.0.2.1")
        ]
    );
    assert_eq!((message.rcode.as_str(), message.error), ("NOERROR", None));
    assert_eq!(parse(&question(1, "", A)).unwrap().question.unwrap().name, ".");
    let odd = parse(&question(1, "\u{1b}[31m", 65280)).unwrap().question.unwrap();
    assert_eq!((odd.name.as_str(), odd.kind.as_str()), (r"\027[31m", "TYPE65280"));
}

#[test]
fn the_code_and_the_answers_tell_the_outcome() {
    let v6 = [0; 16];
    for (flags, answers, expected) in [
        (ANSWERED, vec![(NAME, A, &[192, 0, 2, 1][..])], Outcome::Ok),
        (ANSWERED, vec![], Outcome::NoData),
        (ANSWERED, vec![(NAME, AAAA, &v6[..])], Outcome::NoData),
        (ANSWERED | 3, vec![], Outcome::Nxdomain),
        (ANSWERED | 2, vec![], Outcome::Servfail),
        (ANSWERED | 5, vec![], Outcome::Refused),
        (ANSWERED | 1, vec![], Outcome::Error),
        (ANSWERED | 0x0200, vec![], Outcome::Truncated),
        // An A record of three bytes.
        (ANSWERED, vec![(NAME, A, &[192, 0, 2][..])], Outcome::Malformed),
    ] {
        let mut resolver = Resolver::default();
        resolver.ask(&question(1, "example.com", A));
        resolver.answer(&message(1, flags, "example.com", A, &answers));
        let [(_, outcome, duration, _)] = resolver.told()[..] else { panic!("{:?}", resolver.told()) };
        assert_eq!((outcome, duration), (expected, Some(1_000)), "{flags:x} {answers:?}");
        assert_eq!(resolver.over[0].error.is_some(), expected == Outcome::Malformed);
    }
}

#[test]
fn answers_find_their_questions_by_transaction_and_question() {
    let mut resolver = Resolver::default();
    // A and AAAA at once, as glibc asks; the answers cross. Letters change their case.
    resolver.ask(&question(1, "example.com", A));
    resolver.ask(&question(2, "example.com", AAAA));
    resolver.answer(&message(2, ANSWERED, "EXAMPLE.com", AAAA, &[]));
    resolver.answer(&ipv4(1, "example.com"));
    // A second answer, one to another question, and one without a question.
    resolver.answer(&ipv4(1, "example.com"));
    resolver.ask(&question(3, "example.org", A));
    resolver.answer(&ipv4(3, "evil.example"));
    resolver.answer(&ipv4(4, "example.org"));
    let name = || "example.com".to_owned();
    assert_eq!(
        resolver.told(),
        [(name(), Outcome::NoData, Some(1_000), 0), (name(), Outcome::Ok, Some(3_000), 1)]
    );
    assert_eq!(resolver.over[0].owner, Some(owner(7)));
    resolver.answer(&ipv4(3, "example.org"));
    assert_eq!(resolver.over.len(), 3);
}

#[test]
fn a_question_that_is_sent_again_is_one_lookup() {
    let mut resolver = Resolver::default();
    resolver.ask(&question(1, "example.com", A));
    resolver.wait(9_000);
    resolver.ask(&question(1, "example.com", A));
    resolver.wait(9_000);
    assert!(resolver.over.is_empty(), "the time to wait begins anew");
    resolver.answer(&ipv4(1, "example.com"));
    assert_eq!((resolver.over[0].retransmits, resolver.over[0].duration_us), (1, Some(18_002_000)));
}

#[test]
fn no_answer_is_told_after_its_time_and_at_the_end() {
    let mut resolver = Resolver::default();
    resolver.ask(&question(1, "example.com", A));
    resolver.wait(ANSWER_TIMEOUT_US / 1_000 - 1);
    assert!(resolver.over.is_empty());
    resolver.wait(1);
    resolver.ask(&question(2, "example.org", A));
    resolver.lookups.events_lost();
    resolver.ask(&question(3, "example.net", A));
    resolver.lookups.finish(resolver.now(), &mut resolver.over);
    let outcomes: Vec<_> = resolver.told().into_iter().map(|(name, outcome, ..)| (name, outcome)).collect();
    assert_eq!(
        outcomes,
        [
            ("example.com".to_owned(), Outcome::NoAnswer),
            ("example.org".to_owned(), Outcome::Unseen),
            ("example.net".to_owned(), Outcome::NoAnswer),
        ]
    );
}

#[test]
fn a_lookup_waits_for_its_process_but_not_for_ever() {
    let mut resolver = Resolver::default();
    for (id, is_told) in [(1, true), (2, false)] {
        resolver.pass(Direction::Out, &question(id, "example.com", A));
        resolver.answer(&ipv4(id, "example.com"));
        assert!(resolver.over.is_empty());
        if is_told {
            resolver.lookups.owner(COOKIE, &owner(7), &mut resolver.over);
        } else {
            resolver.wait(OWNER_PATIENCE_US / 1_000);
        }
        let lookup = resolver.over.pop().expect("it is recorded");
        assert_eq!(lookup.owner.is_some(), is_told);
    }
}

#[test]
fn what_is_malformed_is_told_with_what_was_wrong() {
    let mut resolver = Resolver::default();
    resolver.ask(b"hello");
    resolver.ask(&question(1, "example.com", A)[..20]);
    resolver.answer(b"\0\x01");
    resolver.wait(1_000);
    let errors: Vec<_> = resolver.over.iter().map(|lookup| lookup.error.clone().unwrap()).collect();
    assert_eq!(errors[0], "5 bytes are too short for a DNS header");
    assert!(errors[1].starts_with("question: "), "{errors:?}");
    assert!(resolver.over.iter().all(|lookup| lookup.outcome == Outcome::Malformed));
    assert_eq!(errors.len(), 3);
}

#[test]
fn what_finds_no_room_is_counted() {
    let mut resolver = Resolver::default();
    for id in 0..=u16::try_from(OPEN_MAX).unwrap() {
        resolver.pass(Direction::Out, &question(id, "example.com", A));
    }
    assert_eq!((resolver.lookups.take_lost(), resolver.lookups.take_lost()), (1, 0));
}

/// The names of the lookup that gave this address to this process, `ms` after the last one.
fn found(resolver: &Resolver, pid: u32, address: &str, ms: u64) -> Option<String> {
    let mut names = Names::default();
    for (number, lookup) in (1..).zip(&resolver.over) {
        names.learn(lookup, number, Some(()));
    }
    let now = Time(resolver.now().0 + ms * 1_000_000);
    let address: IpAddr = address.parse().unwrap();
    let resolved = names.find(&owner(pid), address, now)?;
    assert_eq!((names.take(resolved.lookup), names.take(resolved.lookup)), (Some(()), None));
    let before = names.find(&owner(pid), address, now);
    names.tick(now);
    assert_eq!(names.find(&owner(pid), address, now), before, "what is young enough stays");
    Some(resolved.name)
}

#[test]
fn a_connect_follows_the_latest_lookup_of_its_process_through_aliases() {
    let mut resolver = Resolver::default();
    let alias = wire("real.example");
    resolver.ask(&question(1, "www.example", A));
    let answers: [(&[u8], u16, &[u8]); 3] =
        [(NAME, CNAME, &alias), (&alias, A, &[192, 0, 2, 1]), (&wire("evil.example"), A, &[192, 0, 2, 66])];
    resolver.answer(&message(1, ANSWERED, "www.example", A, &answers));
    assert_eq!(found(&resolver, 7, "192.0.2.1", 10).as_deref(), Some("www.example"));
    assert_eq!(found(&resolver, 7, "::ffff:192.0.2.1", 10).as_deref(), Some("www.example"));
    assert_eq!(found(&resolver, 8, "192.0.2.1", 10), None, "another process");
    assert_eq!(found(&resolver, 7, "192.0.2.2", 10), None, "another address");
    assert_eq!(found(&resolver, 7, "192.0.2.66", 10), None, "not an answer to the question");
    assert_eq!(found(&resolver, 7, "192.0.2.1", LINK_US / 1_000).as_deref(), Some("www.example"));
    assert_eq!(found(&resolver, 7, "192.0.2.1", LINK_US / 1_000 + 1), None, "too old");
    resolver.ask(&question(2, "other.example", A));
    resolver.answer(&ipv4(2, "other.example"));
    assert_eq!(found(&resolver, 7, "192.0.2.1", 10).as_deref(), Some("other.example"));
}

#[test]
fn names_are_bounded() {
    let mut resolver = Resolver::default();
    resolver.ask(&question(1, "example.com", A));
    resolver.answer(&ipv4(1, "example.com"));
    let mut names = Names::default();
    for number in 0..=NAMES_MAX as u64 {
        let of = Lookup { owner: Some(owner(u32::try_from(number).unwrap())), ..resolver.over[0].clone() };
        names.learn(&of, number, Some(()));
    }
    let address = "192.0.2.1".parse().unwrap();
    let found = |pid| names.find(&owner(pid), address, resolver.now()).is_some();
    assert_eq!((found(0), found(1)), (false, true));
}

#[test]
fn messages_of_a_stream_have_their_length_before_them() {
    let (first, second) = (question(1, "example.com", A), question(2, "example.org", A));
    let framed =
        |message: &[u8]| [u16::try_from(message.len()).unwrap().to_be_bytes().as_slice(), message].concat();
    let bytes = [framed(&first), framed(&second)].concat();
    for size in [1, 2, 3, 30, 1000] {
        let (mut streams, mut messages) = (Streams::default(), Vec::new());
        for (number, piece) in bytes.chunks(size).enumerate() {
            let chunk = Chunk::Bytes { offset: (number * size) as u64, bytes: piece, time: Time(1) };
            streams.input(Direction::Out, chunk, &mut messages);
        }
        let out: Vec<_> = messages.into_iter().map(|message| message.bytes).collect();
        assert_eq!(out, [first.clone(), second.clone()], "in pieces of {size}");
    }
    // What is no DNS ends the direction.
    let (mut streams, mut messages) = (Streams::default(), Vec::new());
    for (offset, bytes) in [(0, &b"\0\x02hi"[..]), (4, &framed(&first))] {
        streams.input(Direction::In, Chunk::Bytes { offset, bytes, time: Time(1) }, &mut messages);
    }
    assert_eq!(messages.len(), 1);
}

#[test]
fn what_fuzzers_found_holds() {
    // Behind a message that is none nothing is read, also in the same segment.
    fuzz::stream(&[0; 4]);
    // A question whose name is a pointer to the header, where its answer differs.
    fuzz::message(
        &[&[0x16, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0xc0, 0, 0xdc, 0xb0, 0xaf][..], &[0; 90]].concat(),
    );
}

proptest! {
    #[test]
    fn what_fuzzers_run_holds_for_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::message(&bytes);
        fuzz::stream(&bytes);
    }

    #[test]
    fn changed_bytes_of_a_message_harm_nobody(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        kind in 0..300_u16,
        data in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let answers: [(&[u8], u16, &[u8]); 2] = [(NAME, CNAME, &wire("real.example")), (NAME, kind, &data)];
        let mut bytes = message(1, ANSWERED, "www.example", A, &answers);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz::message(&bytes);
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        fuzz::stream(&[&length, &bytes[..], &length, &bytes[..]].concat());
        let mut resolver = Resolver::default();
        resolver.ask(&question(1, "www.example", A));
        resolver.answer(&bytes);
        resolver.wait(60_000);
        prop_assert!(!resolver.over.is_empty());
        for lookup in &resolver.over {
            for answer in &lookup.answers {
                prop_assert!(answer.name.is_ascii() && answer.data.len() <= 1024);
            }
        }
    }

    #[test]
    fn behind_missing_bytes_there_are_no_messages(
        before in prop::collection::vec(any::<u8>(), 0..100),
        behind in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let offset = before.len() as u64;
        let (mut whole, mut messages) = (Vec::new(), Vec::new());
        let chunk = |offset, bytes| Chunk::Bytes { offset, bytes, time: Time(1) };
        Streams::default().input(Direction::Out, chunk(0, &before), &mut whole);
        let mut streams = Streams::default();
        streams.input(Direction::Out, chunk(0, &before), &mut messages);
        streams.input(Direction::Out, Chunk::Gap { offset, length: 1, time: Time(1) }, &mut messages);
        streams.input(Direction::Out, chunk(offset + 1, &behind), &mut messages);
        prop_assert_eq!(messages, whole);
    }
}

#[test]
fn a_translated_question_is_answered_by_the_server_that_the_socket_asks() {
    let [asked, other, translated] = [1, 2, 3].map(|host| SocketAddr::from(([192, 0, 2, host], 53)));
    let mut resolver = Resolver::default();
    resolver.pass_of(translated, Direction::Out, &question(7, "a.test", A));
    resolver.pass_of(other, Direction::Out, &question(7, "a.test", A));
    resolver.pass_of(other, Direction::In, &ipv4(7, "a.test"));
    resolver.pass_of(asked, Direction::In, &ipv4(7, "b.test"));
    resolver.pass_of(asked, Direction::In, &ipv4(7, "a.test"));
    resolver.lookups.owner(COOKIE, &Owner::new(1, "curl"), &mut resolver.over);
    let peers: Vec<_> = resolver.over.iter().map(|lookup| lookup.source.endpoints.peer).collect();
    assert_eq!(peers, [other, asked]);
}
