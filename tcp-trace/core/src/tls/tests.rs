//! Whole sessions, as they pass.

use proptest::prelude::*;
use tcp_trace_model::{
    record::{Tls, TlsClosing, TlsEnd, TlsOutcome},
    time::Time,
};

use super::{
    extensions::{ALPN, EARLY_DATA, KEY_SHARE, PRE_SHARED_KEY, SUPPORTED_VERSIONS},
    testing::{Hello, message, record, server_hello, vector},
    *,
};
use crate::stream::{Chunk, Need};

const AES_128: u16 = 0x1301;
const RANDOM: [u8; 32] = [7; 32];
/// Of a record with a Finished message, and with an alert, of [`AES_128`].
const FINISHED: usize = 53;
const ALERT: usize = 19;

/// What is played: an end and what it sends, a millisecond after what came before.
#[derive(Clone, Debug)]
enum Play {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Lost(TlsEnd, u64),
    Fin(TlsEnd),
}

use Play::{Client, Fin, Lost, Server};

/// Plays it in pieces of so many bytes; how it has ended, and when the handshake had.
fn play(plays: &[Play], size: usize, is_over: bool) -> (Option<Tls>, Option<u64>) {
    let (mut session, mut time, mut ended) = (Session::new(), Time(1_000_000_000), None);
    let started = time;
    let mut step = |session: &mut Session, end, chunk| {
        if let Progress::Ended(time) = session.input(end, chunk) {
            assert_eq!(ended.replace(time.micros_since(started)), None, "it ends once");
        }
    };
    let mut offsets = [0_u64; 2];
    for play in plays {
        let (end, bytes) = match play {
            Client(bytes) => (TlsEnd::Client, bytes),
            Server(bytes) => (TlsEnd::Server, bytes),
            Lost(end, length) => {
                step(&mut session, *end, Chunk::Gap { offset: 0, length: *length, time });
                continue;
            }
            Fin(end) => {
                step(&mut session, *end, Chunk::Fin { time });
                continue;
            }
        };
        for bytes in bytes.chunks(size) {
            let offset = &mut offsets[usize::from(end == TlsEnd::Server)];
            step(&mut session, end, Chunk::Bytes { offset: *offset, bytes, time });
            *offset += bytes.len() as u64;
        }
        time = time.after_micros(1_000);
    }
    if is_over {
        session.end();
    }
    (session.summary(true).map(|tls| *tls), ended)
}

fn versions() -> Vec<u8> {
    vector(1, &[3, 4, 3, 3])
}

fn client_1_3() -> Hello {
    Hello::default().name("a.example").with(SUPPORTED_VERSIONS, &versions())
}

fn server_1_3(more: &[(u16, &[u8])]) -> Vec<u8> {
    let share = [&[0, 0x1d][..], &vector(2, &[5; 32])].concat();
    let extensions: Vec<(u16, &[u8])> = [(SUPPORTED_VERSIONS, &[3, 4][..]), (KEY_SHARE, &share)]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    record(22, &message(2, &server_hello(&RANDOM, AES_128, &extensions)))
}

fn encrypted(length: usize) -> Vec<u8> {
    record(23, &vec![0xee; length])
}

fn change_cipher_spec() -> Vec<u8> {
    record(20, &[1])
}

/// A handshake of TLS 1.3 as OpenSSL writes it.
fn handshake_1_3() -> Vec<Play> {
    let flight = [server_1_3(&[]), change_cipher_spec(), encrypted(23), encrypted(900), encrypted(FINISHED)];
    vec![
        Client(client_1_3().sent()),
        Server(flight.concat()),
        Client([change_cipher_spec(), encrypted(FINISHED)].concat()),
    ]
}

/// A handshake of TLS 1.2.
fn handshake_1_2() -> Vec<Play> {
    let certificates = vector(3, &vector(3, include_bytes!("example.der")));
    let alpn = vector(2, &vector(1, b"h2"));
    let hello = message(2, &server_hello(&RANDOM, 0xc02f, &[(ALPN, &alpn)]));
    let flight = [hello, message(11, &certificates), message(12, &[3, 0, 0x17, 1, 4]), message(14, &[])];
    vec![
        Client(Hello::default().name("a.example").sent()),
        // Records hold several messages, or parts of them.
        Server(flight.concat().chunks(400).flat_map(|part| record(22, part)).collect()),
        Client([record(22, &message(16, &[7; 66])), change_cipher_spec(), record(22, &[9; 40])].concat()),
        Server([record(22, &message(4, &[0; 9])), change_cipher_spec(), record(22, &[9; 40])].concat()),
    ]
}

const SIZES: [usize; 4] = [1, 7, 100, 100_000];

fn each_way(plays: &[Play], is_over: bool, check: impl Fn(Tls, Option<u64>)) {
    for size in SIZES {
        let (tls, ended) = play(plays, size, is_over);
        check(tls.unwrap(), ended);
    }
}

#[test]
fn tls_1_3_is_established_by_the_clients_finished() {
    let mut plays = handshake_1_3();
    plays.extend([
        Client(encrypted(120)),
        Server(encrypted(250)),
        Server([encrypted(4000), encrypted(ALERT)].concat()),
    ]);
    plays.extend([Fin(TlsEnd::Server), Client(encrypted(30)), Fin(TlsEnd::Client)]);
    each_way(&plays, true, |tls, ended| {
        assert_eq!((tls.outcome, ended), (TlsOutcome::Established, Some(2_000)));
        assert_eq!(tls.version.as_deref(), Some("1.3"));
        assert_eq!(tls.cipher.as_deref(), Some("TLS_AES_128_GCM_SHA256"));
        assert_eq!(tls.curve.as_deref(), Some("x25519"));
        assert_eq!((tls.resumed, tls.certificate, tls.next_protocol), (Some(false), None, None));
        let timing = tls.timing;
        assert_eq!((timing.server_hello_us, timing.handshake_us), (Some(1_000), Some(2_000)));
        assert_eq!((timing.server_us, timing.client_us), (1_000, 1_000));
        assert_eq!(timing.first_data_us, Some(3_000));
        let data = tls.data.unwrap();
        assert_eq!((data.sent.bytes, data.sent.records, data.sent.unread), (150, 2, 0));
        assert_eq!((data.received.bytes, data.received.records), (4_269, 3));
        assert_eq!(data.received.end, Some(TlsClosing::MaybeAlert));
        assert_eq!(data.sent.end, Some(TlsClosing::NoAlert));
    });
}

#[test]
fn tls_1_2_shows_the_certificate_the_protocol_and_when_it_is_established() {
    let mut plays = handshake_1_2();
    plays.extend([Client([record(23, &[1; 80]), record(21, &[1; 26])].concat()), Fin(TlsEnd::Client)]);
    plays.extend([Server(record(23, &[1; 800])[..300].to_vec()), Fin(TlsEnd::Server)]);
    each_way(&plays, true, |tls, ended| {
        assert_eq!((tls.outcome, ended), (TlsOutcome::Established, Some(3_000)));
        assert_eq!(tls.version.as_deref(), Some("1.2"));
        assert_eq!(tls.curve.as_deref(), Some("secp256r1"));
        assert_eq!(tls.next_protocol.unwrap().printable().to_string(), "h2");
        assert_eq!(tls.certificate.unwrap().names.len(), 3);
        assert_eq!((tls.timing.server_us, tls.timing.client_us), (2_000, 1_000));
        let alert = &tls.alerts[0];
        assert_eq!((alert.by, alert.name.as_deref(), alert.fatal), (TlsEnd::Client, None, None));
        let data = tls.data.unwrap();
        assert_eq!((data.sent.bytes, data.sent.end), (80, Some(TlsClosing::Alert)));
        assert_eq!((data.received.bytes, data.received.end), (0, Some(TlsClosing::Truncated)));
        assert!(!tls.incomplete);
    });
}

#[test]
fn an_alert_before_the_end_fails_the_handshake() {
    let hello = || Client(client_1_3().sent());
    let unknown_ca = record(21, &[2, 48]);
    let certified = handshake_1_2()[1].clone();
    for (what, plays, by, name) in [
        (
            "by the server",
            vec![hello(), Server(record(21, &[2, 70]))],
            TlsEnd::Server,
            Some("protocol_version"),
        ),
        (
            "by the client of 1.2",
            vec![hello(), certified, Client(unknown_ca.clone())],
            TlsEnd::Client,
            Some("unknown_ca"),
        ),
        (
            "by OpenSSL's client of 1.3",
            vec![hello(), Server(server_1_3(&[])), Client(unknown_ca)],
            TlsEnd::Client,
            Some("unknown_ca"),
        ),
        ("encrypted", vec![hello(), Server(server_1_3(&[])), Client(encrypted(ALERT))], TlsEnd::Client, None),
        (
            "encrypted, by the server, about the client's certificate",
            vec![hello(), Server(server_1_3(&[])), Client(encrypted(600)), Server(encrypted(ALERT))],
            TlsEnd::Server,
            None,
        ),
    ] {
        each_way(&plays, true, |tls, ended| {
            assert_eq!(tls.outcome, TlsOutcome::Alert, "{what}");
            assert!(ended.is_some(), "{what}");
            let alert = &tls.alerts[0];
            assert_eq!((tls.alerts.len(), alert.by, alert.name.as_deref()), (1, by, name), "{what}");
            assert_eq!(tls.data, None, "{what}");
        });
    }
    // A warning does not end it.
    let mut warned = handshake_1_2();
    warned.insert(1, Server(record(21, &[1, 112])));
    each_way(&warned, true, |tls, _| {
        assert_eq!((tls.outcome, tls.alerts[0].fatal), (TlsOutcome::Established, Some(false)));
    });
}

#[test]
fn a_handshake_that_nothing_ends_says_how_far_it_came() {
    let hello = || Client(client_1_3().sent());
    for (plays, is_over, expected) in [
        (vec![hello()], false, TlsOutcome::Open),
        (vec![hello()], true, TlsOutcome::Closed),
        (vec![hello(), Fin(TlsEnd::Server)], false, TlsOutcome::Closed),
        (vec![hello(), Lost(TlsEnd::Server, 1)], true, TlsOutcome::Unknown),
        // What comes behind the loss need not begin with a record.
        (vec![hello(), Lost(TlsEnd::Server, 1), Server(b"HTTP".to_vec())], true, TlsOutcome::Unknown),
        (vec![hello(), Fin(TlsEnd::Client), Server(record(21, &[2, 70]))], true, TlsOutcome::Alert),
        (vec![hello(), Server(server_1_3(&[])), Lost(TlsEnd::Client, 9)], true, TlsOutcome::Unknown),
        // A certificate of the client perhaps, and perhaps all of its part.
        (vec![hello(), Server(server_1_3(&[])), Client(encrypted(600))], true, TlsOutcome::Unknown),
    ] {
        each_way(&plays, is_over, |tls, ended| {
            assert_eq!(tls.outcome, expected, "{plays:?}");
            assert!(ended.is_none() || tls.outcome != TlsOutcome::Open);
        });
    }
    // What a record of the handshake hides that was not seen is not guessed: only its length counts.
    let flight = [server_1_3(&[]), record(23, &[1; 900])[..5].to_vec()].concat();
    let plays = [
        hello(),
        Server(flight),
        Lost(TlsEnd::Server, 900),
        Server(encrypted(FINISHED)),
        Client(encrypted(FINISHED)),
    ];
    each_way(&plays, true, |tls, _| assert_eq!(tls.outcome, TlsOutcome::Established));
}

#[test]
fn what_is_resumed_retried_and_sent_early_shows() {
    let early = || client_1_3().with(EARLY_DATA, &[]).with(PRE_SHARED_KEY, &[0]);
    let resumed =
        [Client(early().sent()), Client(encrypted(70)), Server(server_1_3(&[(PRE_SHARED_KEY, &[0, 0])]))];
    let rest = [Client([encrypted(21), encrypted(FINISHED)].concat())];
    each_way(&[&resumed[..], &rest].concat(), true, |tls, _| {
        assert_eq!((tls.outcome, tls.resumed), (TlsOutcome::Established, Some(true)));
        let early = tls.early_data.unwrap();
        assert_eq!((early.bytes, early.accepted), (70, None));
    });
    let rejected =
        [Client(early().sent()), Client(encrypted(70)), Server(server_1_3(&[])), Client(encrypted(FINISHED))];
    each_way(&rejected, true, |tls, _| {
        assert_eq!((tls.resumed, tls.early_data.unwrap().accepted), (Some(false), Some(false)));
    });
    // What the client sends as early data may be as long as a Finished.
    let accepted = server_1_3(&[(PRE_SHARED_KEY, &[0, 0])]);
    let long = [
        Client(early().sent()),
        Server(accepted.clone()),
        Client(encrypted(FINISHED)),
        Client(encrypted(70)),
    ];
    each_way(&long, true, |tls, ended| assert_eq!((tls.outcome, ended), (TlsOutcome::Unknown, None)));
    let padded = [Client(early().sent()), Server(accepted), Client(encrypted(21)), Client(encrypted(300))];
    each_way(&padded, true, |tls, _| assert_eq!(tls.outcome, TlsOutcome::Unknown));
    let retry_random: [u8; 32] = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
        0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
    ];
    let retry =
        server_hello(&retry_random, AES_128, &[(SUPPORTED_VERSIONS, &[3, 4]), (KEY_SHARE, &[0, 0x17])]);
    let mut retried = vec![Client(client_1_3().sent()), Server(record(22, &message(2, &retry)))];
    retried.extend(handshake_1_3());
    each_way(&retried, true, |tls, _| {
        assert_eq!((tls.outcome, tls.hello_retry_request), (TlsOutcome::Established, true));
        assert_eq!(tls.timing.server_hello_us, Some(1_000));
    });
    each_way(&handshake_1_2(), true, |tls, _| assert_eq!(tls.resumed, Some(false)));
    // TLS 1.2: the session id comes back, or not, and no certificate.
    for id in [[4; 32], [5; 32]] {
        let server = record(22, &message(2, &server_hello(&RANDOM, 0xc02f, &[])));
        let finished = || [change_cipher_spec(), record(22, &[9; 40])].concat();
        let resumed = [
            Client(Hello::default().session_id(&id).sent()),
            Server([server, finished()].concat()),
            Client(finished()),
        ];
        each_way(&resumed, true, |tls, _| {
            assert_eq!((tls.outcome, tls.resumed), (TlsOutcome::Established, Some(true)));
        });
    }
}

#[test]
fn of_bulk_only_the_number_of_bytes_is_needed() {
    let mut session = Session::new();
    let mut offset = 0;
    let mut send = |session: &mut Session, end, bytes: &[u8]| {
        session.input(end, Chunk::Bytes { offset, bytes, time: Time(1) });
        offset += bytes.len() as u64;
    };
    for play in handshake_1_3() {
        assert_eq!(session.need(TlsEnd::Server), Need::All);
        match play {
            Client(bytes) => send(&mut session, TlsEnd::Client, &bytes),
            Server(bytes) => send(&mut session, TlsEnd::Server, &bytes),
            Lost(..) | Fin(_) => {}
        }
    }
    for _ in 0..4 {
        assert_eq!(session.need(TlsEnd::Server), Need::All);
        send(&mut session, TlsEnd::Server, &encrypted(16_401));
    }
    assert_eq!(session.need(TlsEnd::Server), Need::From(u64::MAX));
    assert_eq!(session.need(TlsEnd::Client), Need::All);
    // It begins in a record.
    send(&mut session, TlsEnd::Server, &encrypted(16_401)[..1005]);
    let length = 10_000_000;
    session.input(TlsEnd::Server, Chunk::Elided { offset: 0, length, time: Time(1) });
    session.input(TlsEnd::Server, Chunk::Fin { time: Time(1) });
    let received = session.summary(true).unwrap().data.unwrap().received;
    assert_eq!((received.records, received.unread), (4, length + 1_000));
    assert_eq!((received.bytes, received.end), (4 * 16_401 + length + 1_000, None));
}

#[test]
fn what_is_not_tls_is_left_to_others() {
    let hello = client_1_3().sent();
    for (client, server, expected) in [
        (&b"\x16\x01"[..], &b""[..], Progress::NoHello),
        (b"\x16\x03\x01\x00\x05\x01\0\0\x01\x03", b"", Progress::NoHello),
        // A handshake message, but another one.
        (b"\x16\x03\x01\x00\x04\x02\0\0\0", b"", Progress::NoHello),
        (&hello, b"HTTP/1.1 400 Bad Request", Progress::OtherAnswer),
        (&hello, b"SSH-2.0-x", Progress::OtherAnswer),
    ] {
        let mut session = Session::new();
        let mut last =
            session.input(TlsEnd::Client, Chunk::Bytes { offset: 0, bytes: client, time: Time(1) });
        if !server.is_empty() {
            last = session.input(TlsEnd::Server, Chunk::Bytes { offset: 0, bytes: server, time: Time(1) });
        }
        assert_eq!(last, expected, "{client:?}");
    }
}

#[test]
fn a_fatal_alert_is_waited_for_once_wherever_its_record_is_cut() {
    // Its record is longer than it has to be.
    let plays = [Client(client_1_3().sent()), Server(record(21, &[2, 40, 0, 0]))];
    for size in [1, 7, 8, 1_000] {
        let timing = play(&plays, size, true).0.unwrap().timing;
        assert_eq!((timing.client_us, timing.server_us), (0, 1_000), "{size}");
    }
}

fn any_play() -> BoxedStrategy<Play> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    let end = || prop_oneof![Just(TlsEnd::Client), Just(TlsEnd::Server)];
    let records = prop_oneof![
        (20_u8..=24, bytes()).prop_map(|(kind, payload)| record(kind, &payload)),
        (0_u8..=20, bytes()).prop_map(|(kind, body)| record(22, &message(kind, &body))),
        prop_oneof![Just(FINISHED), Just(ALERT), 1_usize..99].prop_map(encrypted),
        Just(server_1_3(&[])),
        Just(change_cipher_spec()),
        bytes(),
    ];
    prop_oneof![
        6 => (end(), records).prop_map(|(end, bytes)| if end == TlsEnd::Client { Client(bytes) } else { Server(bytes) }),
        1 => (end(), 0..100_u64).prop_map(|(end, length)| Lost(end, length)),
        1 => end().prop_map(Fin),
    ]
    .boxed()
}

proptest! {
    /// Whatever passes, the outcome does not depend on how it is cut, and no byte counts twice.
    #[test]
    fn pieces_do_not_matter(plays in prop::collection::vec(any_play(), 0..12), size in 1_usize..70, known in 0..4_usize) {
        let all: Vec<_> = handshake_1_3().into_iter().take(known).chain(plays).collect();
        let whole = play(&all, 1_000_000, true);
        prop_assert_eq!(&play(&all, size, true), &whole);
        if let Some(data) = whole.0.and_then(|tls| tls.data) {
            let sent: usize = all.iter().map(|play| if let Client(bytes) = play { bytes.len() } else { 0 }).sum();
            let lost: u64 = all.iter().map(|play| if let Lost(_, length) = play { *length } else { 0 }).sum();
            prop_assert!(data.sent.bytes <= sent as u64 + lost);
        }
    }
}
