//! What is written fast is what serde writes, whatever the record is, and it is read back as it was.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use proptest::{collection, option, prelude::*};

use super::Lines;
use crate::{
    event::{Direction, Flags, Role, State, TlsLibrary},
    exchange::{Ended, Integrity, Message, Outcome, Part, WebSocket},
    fields::Fields,
    http2::{ErrorCode, Grpc, Http2Totals, Stream, StreamDetails},
    json,
    record::{
        AcceptQueue, Body, By, Bytes, Close, Connection, ConnectionId, ConnectionInfo, Container, Decrypted,
        Endpoint, Ends, Exchange, ExchangeTls, FirstBytes, FlagNames, Handshake, How, Http, HttpTotals,
        Network, NetworkType, Process, ProxyProtocol, Record, Request, Response, Segment, Server,
        ServerSource, Socks, Stacks, Stall, Stalls, StateSpan, Text, Timing, Tls, TlsLink, Transition, Url,
        User, Version, ZeroWindow, reader,
    },
    refusal::Refusal,
    time::Time,
};

fn number() -> BoxedStrategy<u64> {
    prop_oneof![0..12_u64, 90..1_100_u64, 9_990..10_010_u64, any::<u64>()].boxed()
}

fn time() -> BoxedStrategy<Time> {
    prop_oneof![any::<u64>(), 1_795_248_000_000_000_000..1_795_248_002_000_000_000_u64].prop_map(Time).boxed()
}

fn text() -> BoxedStrategy<Text> {
    prop_oneof![
        4 => "[ -~]{0,40}".prop_map(|text| Text::from(text.as_str())),
        1 => "\\PC*|[\\x00-\\x7f]*".prop_map(|text| Text::from(text.as_str())),
        1 => collection::vec(any::<u8>(), 0..20).prop_map(Text::from),
    ]
    .boxed()
}

fn connection() -> BoxedStrategy<ConnectionId> {
    (number(), 0..3_u32, 0..3_u32)
        .prop_map(|(cookie, incarnation, half_open)| ConnectionId {
            incarnation,
            ..ConnectionId::half_open(cookie, half_open)
        })
        .boxed()
}

fn role() -> BoxedStrategy<Option<Role>> {
    option::of(proptest::sample::select(vec![Role::Client, Role::Server, Role::Listener])).boxed()
}

fn endpoint() -> BoxedStrategy<Endpoint> {
    let v4 = any::<[u8; 4]>().prop_map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    (prop_oneof![v4, v6], any::<u16>()).prop_map(|(address, port)| Endpoint { address, port }).boxed()
}

fn network() -> BoxedStrategy<Network> {
    let kind = proptest::sample::select(vec![NetworkType::Ipv4, NetworkType::Ipv6]);
    let translated = (endpoint(), endpoint()).prop_map(|(local, peer)| Ends { local, peer });
    (kind, endpoint(), endpoint(), option::of(any::<u32>()), option::of(translated))
        .prop_map(|(kind, local, peer, netns, translated)| Network { kind, local, peer, netns, translated })
        .boxed()
}

fn process() -> BoxedStrategy<Option<Process>> {
    let process = (any::<u32>(), text(), option::of(text()), any::<u32>());
    option::of(process.prop_map(|(pid, name, executable, uid)| Process { pid, name, executable, uid }))
        .boxed()
}

fn state() -> BoxedStrategy<State> {
    (1..=11_u8).prop_map(|number| State::from_kernel(number).unwrap()).boxed()
}

fn info() -> BoxedStrategy<ConnectionInfo> {
    (connection(), role(), network(), process())
        .prop_map(|(id, role, network, process)| ConnectionInfo {
            id,
            role,
            network: Some(network),
            process: process.map(Arc::new),
            ..ConnectionInfo::default()
        })
        .boxed()
}

/// Only the line of an exchange says all of this.
fn info_of_http() -> BoxedStrategy<ConnectionInfo> {
    let container = ("[0-9a-f]{12}", option::of("[a-z-]{1,10}"))
        .prop_map(|(id, runtime)| Arc::new(Container { id, runtime }));
    (info(), option::of(container), option::of(connection()))
        .prop_map(|(info, container, peer_connection)| ConnectionInfo { container, peer_connection, ..info })
        .boxed()
}

fn transition() -> BoxedStrategy<Record> {
    let times = (time(), option::of(number()), any::<bool>(), any::<bool>());
    (times, info(), (state(), state()), option::of("\\PC{0,12}"))
        .prop_map(|((time, in_old_us, estimated, gap), info, (old, new), reason)| {
            Record::Transition(Transition {
                time,
                connection: Arc::new(info),
                old,
                new,
                in_old_us,
                estimated,
                gap,
                reason,
            })
        })
        .boxed()
}

/// A value or, more seldom, another one.
fn seldom<T: Clone + std::fmt::Debug + 'static>(usual: T, seldom: T) -> BoxedStrategy<T> {
    prop_oneof![3 => Just(usual), 1 => Just(seldom)].boxed()
}

fn summary() -> BoxedStrategy<Record> {
    let span = (state(), time(), option::of(number()), any::<bool>()).prop_map(
        |(state, entered, duration_us, estimated)| StateSpan { state, entered, duration_us, estimated },
    );
    let (by, how) =
        ([By::Local, By::Peer, By::Both, By::None], [How::Fin, How::Rst, How::Timeout, How::Refused]);
    let how = [&how[..], &[How::Error, How::Abandoned, How::Open, How::Unknown]].concat();
    let close = (
        proptest::sample::select(by.to_vec()),
        proptest::sample::select(how),
        option::of("\\PC{0,12}"),
        option::of(any::<u32>()),
    )
        .prop_map(|(by, how, reason, unacknowledged)| {
            let process_ended = reason.is_some();
            Close { by, how, reason, process_ended, unacknowledged }
        });
    let small = || prop_oneof![Just(0), any::<u32>()];
    let handshake = (option::of(small()), option::of(number()), small(), option::of(any::<bool>())).prop_map(
        |(syn_seq, rtt_us, syn_retransmits, acknowledged)| Handshake {
            syn_seq,
            syn_ack_seq: syn_seq.filter(|number| number % 2 == 0),
            rtt_us,
            syn_retransmits,
            syn_ack_retransmits: syn_retransmits / 2,
            acknowledged,
        },
    );
    let http = (number(), number(), "\\PC{0,12}").prop_map(|(requests, surplus, protocol)| HttpTotals {
        requests,
        surplus,
        protocol,
    });
    let owned = || option::of("\\PC{0,12}");
    let from = (info(), any::<bool>(), option::of(connection()), owned(), owned(), seldom(0, 7_u32));
    let times = ([time(), time(), time()], number(), any::<[bool; 5]>(), collection::vec(span, 0..4));
    let ends = (option::of(handshake), close, option::of(http), [number(), number(), number()]);
    let counts = ([small(), small(), small(), small()], option::of(any::<u32>()), owned());
    (from, times, ends, counts)
        .prop_map(|(from, times, ends, counts)| {
            let (connection, has_network, peer_connection, cgroup, unit, few) = from;
            let ([time, opened, closed], duration_us, [is_open, seen_from_start, mptcp, is_rare, is_known], states) =
                times;
            let (handshake, close, http, [sent, received, retransmits]) = ends;
            let ([receive_queue, half_open_unrecorded, syns_unanswered, users_unrecorded], srtt_us, protocol) =
                counts;
            let network = connection.network.filter(|_| has_network);
            let user = User { time, process: Process::default() };
            let ends = Endpoint { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 7 };
            let rare = Connection {
                server: Some(Server { address: "x".to_owned(), source: ServerSource::Sni }),
                users: vec![user],
                bytes_before: Some(Bytes { sent: few.into(), received: sent }),
                refused: [(Refusal::Paws, few.into())].into_iter().collect(),
                container: Some(Container { id: "x".to_owned(), runtime: cgroup.clone() }),
                zero_window: Some(ZeroWindow { local_us: 1, peer_us: sent }),
                accept_queue: Some(AcceptQueue { length: 1, limit: few }),
                first_bytes: Some(FirstBytes { sent: None, received: Some(Text::from("x")) }),
                proxy_protocol: Some(ProxyProtocol { version: 2, source: Some(ends), destination: None }),
                http2: Some(Box::new(Http2Totals { concurrent_max: few, ..Http2Totals::default() })),
                socks: Some(Socks { version: 5, host: Text::from("x"), port: 7 }),
                decrypted: Some(Box::new(Decrypted {
                    link: TlsLink::Ciphertext,
                    library: TlsLibrary::OpenSsl,
                    protocol: cgroup.clone(),
                })),
                tls: Some(Box::new(Tls { cipher: Some("x".into()), ..Tls::default() })),
                stacks: Some(Stacks::default()),
                ..Connection::default()
            };
            Record::Connection(Box::new(Connection {
                time,
                connection: Arc::new(ConnectionInfo { network, ..connection }),
                peer_connection,
                to_itself: mptcp && is_known,
                mptcp,
                users_unrecorded,
                cgroup,
                unit,
                opened,
                closed: (!is_open).then_some(closed),
                duration_us: is_known.then_some(duration_us),
                ends: is_known.then_some(closed),
                seen_from_start,
                open: is_open,
                states,
                handshake,
                close,
                bytes: Bytes { sent, received },
                retransmits,
                receive_queue,
                srtt_us,
                cwnd: srtt_us.map(|us| us / 2),
                half_open_unrecorded,
                syns_unanswered,
                answer_protocol: protocol.clone().filter(|_| is_known),
                protocol,
                http,
                ..if is_rare { rare } else { Connection::default() }
            }))
        })
        .boxed()
}

fn segment() -> BoxedStrategy<Record> {
    let numbers = (any::<u32>(), option::of(any::<u32>()), any::<u32>());
    let refused = option::of(prop::sample::select(Refusal::ALL));
    (time(), connection(), any::<(bool, u8, bool)>(), numbers, refused)
        .prop_map(|(time, connection, (is_out, flags, retransmit), (seq, ack, length), refused)| {
            Record::Segment(Segment {
                time,
                connection: Arc::new(ConnectionInfo::new(connection)),
                direction: if is_out { Direction::Out } else { Direction::In },
                flags: FlagNames(Flags(flags)),
                seq,
                ack,
                length,
                retransmit,
                refused,
            })
        })
        .boxed()
}

type Head = (Vec<(Text, Text)>, u64, u64);

fn head() -> BoxedStrategy<Head> {
    (collection::vec((text(), text()), 0..5), number(), number()).boxed()
}

fn messages() -> BoxedStrategy<Exchange> {
    let version = || (0..3_u8, 0..10_u8).prop_map(|(major, minor)| Version { major, minor });
    let fields =
        |fields: Vec<(Text, Text)>| fields.into_iter().map(|(name, value)| (name.0, value.0)).collect();
    let request = (text(), text(), head()).prop_map(move |(method, target, (headers, header_size, size))| {
        let version = None;
        Request { method, target, version, headers: fields(headers), header_size, body: Body { size } }
    });
    let response = (any::<u16>(), text(), head()).prop_map(
        move |(status_code, reason, (headers, header_size, size))| Response {
            status_code,
            reason,
            version: Some(Version::default()),
            headers: fields(headers),
            header_size,
            body: Body { size },
            place: 0..0,
        },
    );
    (
        (option::of(version()), version()),
        option::of(request),
        collection::vec(any::<u16>(), 0..3),
        option::of(response),
    )
        .prop_map(|((version, other), request, informational, response)| Exchange {
            request: request.map(|request| Request { version, ..request }),
            informational,
            response: response.map(|response| Response { version: Some(other), ..response }),
            ..Exchange::default()
        })
        .boxed()
}

fn timing() -> BoxedStrategy<Timing> {
    let phase = || option::of(number());
    (time(), [phase(), phase(), phase(), phase()], number(), any::<bool>())
        .prop_map(|(started, [send_us, wait_us, receive_us, idle_us], total_us, is_stalled)| Timing {
            started,
            send_us,
            wait_us,
            receive_us,
            total_us,
            idle_us,
            response_us: idle_us.map(|us| us / 2),
            expect_us: send_us.map(|us| us / 2),
            informational_us: wait_us.into_iter().collect(),
            stalls: is_stalled.then(|| Stalls {
                wait: Some(Stall { retransmits: 1, ..Stall::default() }),
                ..Stalls::default()
            }),
        })
        .boxed()
}

fn url() -> BoxedStrategy<Url> {
    (option::of(text()), option::of(text()), text(), option::of(text()))
        .prop_map(|(scheme, host, path, query)| Url { scheme, host, path, query })
        .boxed()
}

fn http() -> BoxedStrategy<Record> {
    let outcome = (
        proptest::sample::select(vec![Integrity::Complete, Integrity::Truncated, Integrity::Gap]),
        proptest::sample::select(vec![
            Outcome::Ok,
            Outcome::NoResponse,
            Outcome::Reset,
            Outcome::Truncated,
            Outcome::Upgraded,
            Outcome::Invalid,
        ]),
        option::of("\\PC{0,12}"),
        option::of(number()),
    );
    let stream =
        option::of((any::<u32>(), any::<bool>(), any::<bool>()).prop_map(|(id, is_told, is_grpc)| {
            let goaway = is_told.then_some(ErrorCode(id));
            let grpc = is_grpc.then(|| Box::new(Grpc { timeout_us: goaway.map(|_| 7), ..Grpc::default() }));
            Box::new(Stream { id, details: StreamDetails { goaway, ..StreamDetails::default() }, grpc })
        }));
    let links = vec![TlsLink::NestedSyscall, TlsLink::Ciphertext, TlsLink::LengthSequence];
    let tls = option::of(proptest::sample::select(links).prop_map(|link| ExchangeTls { link }));
    let rest = (number(), option::of(any::<bool>()), any::<bool>(), any::<bool>(), stream, tls);
    ((time(), timing()), info_of_http(), messages(), option::of(url()), outcome, rest)
        .prop_map(|((time, timing), connection, messages, url, outcome, rest)| {
            let (integrity, outcome, reason, missing) = outcome;
            let (index, reused, has_ended, has_websocket, stream, tls) = rest;
            let ended = Ended { message: Message::Response, part: Part::Body, offset: 7 };
            let exchange = Exchange {
                index,
                url,
                timing,
                integrity,
                outcome,
                reason: reason.map(Into::into),
                ended: has_ended.then_some(ended),
                missing,
                reused,
                websocket: has_websocket.then(|| Box::new(WebSocket::default())),
                stream,
                tls,
                ..messages
            };
            Record::Http(Http { time, connection: Arc::new(connection), exchange: Box::new(exchange) })
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn frequent_lines_are_those_of_serde(record in prop_oneof![transition(), segment(), http(), summary()], room in 0..2_000_usize) {
        let expected = json::to_string(&record).unwrap() + "\n";
        let mut lines = Lines::default();
        lines.push(&record).unwrap();
        prop_assert_eq!(str::from_utf8(lines.bytes()).unwrap(), &expected);
        prop_assert!(lines.slow.is_empty(), "it had room");
        // Where there is no room, it is made.
        let mut lines = Lines::with_room(room);
        lines.push(&record).unwrap();
        lines.push(&record).unwrap();
        prop_assert_eq!(str::from_utf8(lines.bytes()).unwrap(), expected.repeat(2));
        let read = reader::parse(expected.trim_ascii_end().as_bytes());
        prop_assert_eq!(read, Ok(record.clone()));
        prop_assert_eq!(serde_json::from_str::<Record>(&expected).unwrap(), record, "as any line is read");
    }
}

#[test]
fn fields_are_plain_only_when_each_of_them_is() {
    let head = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n";
    let parts = [(&head[16..17], &head[19..20]), (&head[22..23], &head[25..26])];
    assert!(Fields::of_head(head, parts.into_iter()).are_plain());
    let quoted = b"A: \"\r\n\r\n";
    assert!(!Fields::of_head(quoted, [(&quoted[..1], &quoted[3..4])].into_iter()).are_plain());
    for (value, expected) in
        [("b", true), ("b\r\n c", false), ("\n", false), ("\t", false), ("\u{f6}", false)]
    {
        assert_eq!([("A", value)].into_iter().collect::<Fields>().are_plain(), expected, "{value:?}");
    }
}

#[test]
fn other_lines_are_written_too() {
    let mut lines = Lines::with_room(3);
    lines.push(&Record::Ready(crate::record::Ready { time: Time(7) })).unwrap();
    lines.push_raw(b"{}");
    let expected = "{\"type\":\"ready\",\"time\":\"1970-01-01T00:00:00.000000007Z\"}\n{}\n";
    assert_eq!(str::from_utf8(lines.bytes()).unwrap(), expected);
    lines.clear();
    assert_eq!(lines.bytes(), b"");
}
