//! What a ladder looks like, and the session that the tests draw.

mod columns;
mod head;
mod live;
mod lookups;
mod odd;

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Flags, Role, State},
    exchange::{Integrity, Outcome},
    record::{
        Body, By, Bytes, Close, Connection, ConnectionId, ConnectionInfo, Endpoint, Exchange, Fields,
        FlagNames, Handshake, How, Http, Network, NetworkType, Process, Request, Response, Segment, Timing,
        Transition, Version,
    },
    time::Time,
};

use super::*;

const START: u64 = 1_790_000_000_000_000_000;
const X: u32 = 1_598_938_749;
const Y: u32 = 2_044_270_846;

fn at(us: u64) -> Time {
    Time(START + us * 1_000)
}

fn is_client(id: u64) -> bool {
    id == 4101
}

fn network(id: u64) -> Network {
    let endpoint = |port| Endpoint { address: [127, 0, 0, 1].into(), port };
    let (local, peer) = if is_client(id) { (41352, 8080) } else { (8080, 41352) };
    Network {
        kind: NetworkType::Ipv4,
        local: endpoint(local),
        peer: endpoint(peer),
        netns: Some(1),
        translated: None,
    }
}

fn info(id: u64) -> Arc<ConnectionInfo> {
    let (pid, name) = if is_client(id) { (13838, "curl") } else { (812, "nginx") };
    Arc::new(ConnectionInfo {
        id: connection(id),
        role: Some(if is_client(id) { Role::Client } else { Role::Server }),
        network: Some(network(id)),
        process: Some(Arc::new(Process { pid, name: name.into(), ..Process::default() })),
        ..ConnectionInfo::default()
    })
}

fn connection(cookie: u64) -> ConnectionId {
    ConnectionId::of_socket(cookie, 0)
}

fn state(us: u64, id: u64, old: State, new: State, in_old_us: Option<u64>) -> Record {
    Record::Transition(Transition {
        time: at(us),
        connection: info(id),
        old,
        new,
        in_old_us,
        estimated: false,
        gap: false,
        reason: None,
    })
}

/// A segment that leaves `from` and arrives at the other end 3 us later.
fn segment(us: u64, from: u64, flags: Flags, seq: u32, ack: Option<u32>) -> [Record; 2] {
    let to = if is_client(from) { 4102 } else { 4101 };
    [(us, from, Direction::Out), (us + 3, to, Direction::In)].map(|(us, id, direction)| {
        Record::Segment(Segment {
            time: at(us),
            connection: info(id),
            direction,
            flags: FlagNames(flags),
            seq,
            ack,
            length: 0,
            retransmit: false,
            refused: None,
        })
    })
}

fn http(us: u64, id: u64) -> Record {
    Record::Http(Http {
        time: at(us + 900),
        connection: info(id),
        exchange: Box::new(Exchange {
            request: Some(Request {
                method: "GET".into(),
                target: "/a".into(),
                version: Some(Version::default()),
                headers: Fields::new(),
                header_size: 79,
                body: Body { size: 0 },
            }),
            response: Some(Response {
                status_code: 200,
                reason: "OK".into(),
                version: Some(Version::default()),
                headers: Fields::new(),
                header_size: 148,
                body: Body { size: 12 },
                place: 0..0,
            }),
            timing: Timing {
                started: at(us),
                send_us: Some(0),
                wait_us: Some(850),
                receive_us: Some(50),
                total_us: 900,
                ..Timing::default()
            },
            ..Exchange::default()
        }),
    })
}

fn summary(id: u64, by: By, how: How) -> Record {
    Record::Connection(Box::new(Connection {
        time: at(2000),
        connection: info(id),
        opened: if is_client(id) { at(0) } else { at(13) },
        closed: Some(at(1500)),
        duration_us: Some(1500),
        seen_from_start: true,
        open: false,
        states: vec![],
        handshake: Some(Handshake { syn_seq: Some(X), syn_ack_seq: Some(Y), ..Handshake::default() }),
        close: Close { by, how, ..Close::default() },
        bytes: if is_client(id) {
            Bytes { sent: 79, received: 160 }
        } else {
            Bytes { sent: 160, received: 79 }
        },
        ..Connection::default()
    }))
}

/// The exchange of the client's and the server's end, as a session would record it.
fn session() -> Vec<Record> {
    let (c, s) = (4101, 4102);
    let (syn_ack, fin) = (Flags::SYN.with(Flags::ACK), Flags::FIN.with(Flags::ACK));
    let mut records = vec![state(0, c, State::Close, State::SynSent, None)];
    records.extend(segment(10, c, Flags::SYN, X, None));
    records.push(state(13, s, State::Listen, State::SynRecv, None));
    records.extend(segment(18, s, syn_ack, Y, Some(X + 1)));
    records.push(state(22, c, State::SynSent, State::Established, Some(22)));
    records.extend(segment(25, c, Flags::ACK, X + 1, Some(Y + 1)));
    records.push(state(29, s, State::SynRecv, State::Established, Some(16)));
    records.extend([http(103, s), http(100, c)]);
    records.push(state(1100, c, State::Established, State::FinWait1, Some(1078)));
    records.extend(segment(1101, c, fin, X + 80, Some(Y + 161)));
    records.push(state(1105, s, State::Established, State::CloseWait, Some(1076)));
    records.push(state(1200, s, State::CloseWait, State::LastAck, Some(95)));
    records.extend(segment(1201, s, fin, Y + 161, Some(X + 81)));
    records.push(state(1206, c, State::FinWait1, State::FinWait2, Some(106)));
    records.extend(segment(1207, c, Flags::ACK, X + 81, Some(Y + 162)));
    records.push(state(1208, c, State::FinWait2, State::TimeWait, Some(2)));
    records.push(state(1212, s, State::LastAck, State::Close, Some(12)));
    records.extend([summary(c, By::Local, How::Fin), summary(s, By::Peer, How::Fin)]);
    records
}

fn print(records: &[Record]) -> String {
    let mut output = Vec::new();
    let mut ladder = Ladder::new(&mut output, TimeZone::UTC);
    for record in records {
        ladder.record(record).unwrap();
    }
    ladder.finish().unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn both_ends_are_one_diagram() {
    insta::assert_snapshot!(print(&session()), @"
    time     connect 22 us + idle 78 us + wait 850 us + receive 50 us = 1.00 ms
           ms  process            client                                  server
    2026-09-21 14:13:20.000 UTC   127.0.0.1:41352                 127.0.0.1:8080
        0.000  curl[13838]        │ SYN_SENT                                   │
        0.010  curl[13838]        ├─ SYN x=1598938749 ────────────────────────▶│
        0.013  nginx[812]         │                                   SYN_RECV │
        0.018  nginx[812]         │◀──────────── SYN+ACK y=2044270846 ack=x+1 ─┤
        0.022  curl[13838]        │ ESTABLISHED after 22 us                    │
        0.025  curl[13838]        ├─ ACK seq=x+1 ack=y+1 ─────────────────────▶│
        0.029  nginx[812]         │                    ESTABLISHED after 16 us │
        0.100  curl[13838]        ├─ GET /a ──────────────────────────────────▶│
        0.950  nginx[812]         │◀──────────────────────────── 200 OK, 12 B ─┤
        1.000  curl[13838]        │ send 0 us, wait 850 us, receive 50 us      │
        1.100  curl[13838]        │ FIN_WAIT1 after 1.08 ms                    │
        1.101  curl[13838]        ├─ FIN+ACK seq=x+80 ack=y+161 ──────────────▶│
        1.105  nginx[812]         │                   CLOSE_WAIT after 1.08 ms │
        1.200  nginx[812]         │                       LAST_ACK after 95 us │
        1.201  nginx[812]         │◀────────────── FIN+ACK seq=y+161 ack=x+81 ─┤
        1.206  curl[13838]        │ FIN_WAIT2 after 106 us                     │
        1.207  curl[13838]        ├─ ACK seq=x+81 ack=y+162 ──────────────────▶│
        1.208  curl[13838]        │ TIME_WAIT after 2 us, for 60 s             │
        1.212  nginx[812]         │                          CLOSE after 12 us │
    closed by the client after 1.50 ms; 79 B to the server, 160 B to the client
    ");
}

#[test]
fn one_end_alone_is_shown_with_what_it_saw() {
    let client: Vec<_> = session()
        .into_iter()
        .filter(|record| match record {
            Record::Transition(transition) => transition.connection.id == connection(4101),
            Record::Segment(segment) => segment.connection.id == connection(4101),
            Record::Http(http) => http.connection.id == connection(4101),
            Record::Connection(summary) => summary.connection.id == connection(4101),
            _ => true,
        })
        .collect();
    insta::assert_snapshot!(print(&client), @"
    time     connect 22 us + idle 78 us + wait 850 us + receive 50 us = 1.00 ms
           ms  process            client                                  server
    2026-09-21 14:13:20.000 UTC   127.0.0.1:41352    127.0.0.1:8080 (not traced)
        0.000  curl[13838]        │ SYN_SENT                                   │
        0.010  curl[13838]        ├─ SYN x=1598938749 ────────────────────────▶│
        0.021  (not traced)       │◀──────────── SYN+ACK y=2044270846 ack=x+1 ─┤
        0.022  curl[13838]        │ ESTABLISHED after 22 us                    │
        0.025  curl[13838]        ├─ ACK seq=x+1 ack=y+1 ─────────────────────▶│
        0.100  curl[13838]        ├─ GET /a ──────────────────────────────────▶│
        0.950  (not traced)       │◀──────────────────────────── 200 OK, 12 B ─┤
        1.000  curl[13838]        │ send 0 us, wait 850 us, receive 50 us      │
        1.100  curl[13838]        │ FIN_WAIT1 after 1.08 ms                    │
        1.101  curl[13838]        ├─ FIN+ACK seq=x+80 ack=y+161 ──────────────▶│
        1.204  (not traced)       │◀────────────── FIN+ACK seq=y+161 ack=x+81 ─┤
        1.206  curl[13838]        │ FIN_WAIT2 after 106 us                     │
        1.207  curl[13838]        ├─ ACK seq=x+81 ack=y+162 ──────────────────▶│
        1.208  curl[13838]        │ TIME_WAIT after 2 us, for 60 s             │
    closed by the client after 1.50 ms; 79 B to the server, 160 B to the client
    ");
}
