//! Histories of HTTP that tests make up: client `c1` at 10.0.0.9, and server `c2` at `SERVER`.
#![allow(clippy::unwrap_used, reason = "tests make them")]

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Endpoints, Flags, Role},
    record::{
        Body, By, Close, Connection, ConnectionId, ConnectionInfo, Ended, Exchange, Fields, FlagNames,
        Handshake, How, Http, Integrity, Message, Network, Outcome, Part, Process, Record, Request, Response,
        Segment, StateSpan, Timing, Version,
    },
    time::Time,
};

use super::History;

/// When it is judged.
pub const NOW: Time = Time(1_790_000_000_000_000_000);
/// The server's address and port.
pub const SERVER: &str = "10.0.0.1:8080";

/// So many milliseconds after the beginning of the history, which is 100 s before it is judged.
pub fn at(ms: u64) -> Time {
    Time(NOW.0 - 100_000_000_000 + ms * 1_000_000)
}

/// The connection of this end.
pub fn id(role: Role) -> ConnectionId {
    ConnectionId::of_socket(if role == Role::Client { 1 } else { 2 }, 0)
}

fn network(role: Role) -> Network {
    let (client, server) = ("10.0.0.9:50000".parse().unwrap(), SERVER.parse().unwrap());
    let ends = Endpoints { local: client, peer: server };
    Network::new(if role == Role::Client { ends } else { ends.reversed() }, None)
}

fn process(role: Role) -> Process {
    let (pid, name) = if role == Role::Client { (5, "client") } else { (6, "api") };
    Process { pid, name: name.into(), ..Process::default() }
}

/// What the records of this end's connection say of it.
pub fn info(role: Role) -> ConnectionInfo {
    ConnectionInfo {
        id: id(role),
        role: Some(role),
        network: Some(network(role)),
        process: Some(Arc::new(process(role))),
        ..ConnectionInfo::default()
    }
}

/// `POST /pay` → 200, complete, this position on its connection, that begins at this time and waits 10 ms.
pub fn exchange(role: Role, index: u64, started_ms: u64) -> Http {
    let body = Body { size: 100 };
    Http {
        time: at(started_ms + 10),
        connection: Arc::new(info(role)),
        exchange: Box::new(Exchange {
            index,
            request: Some(Request {
                method: "POST".into(),
                target: "/pay".into(),
                version: Some(Version::default()),
                headers: Fields::new(),
                header_size: 60,
                body,
            }),
            response: Some(Response {
                status_code: 200,
                reason: "OK".into(),
                version: Some(Version::default()),
                headers: Fields::new(),
                header_size: 40,
                body,
                place: 0..0,
            }),
            timing: Timing {
                started: at(started_ms),
                send_us: Some(0),
                wait_us: Some(10_000),
                receive_us: Some(0),
                total_us: 10_000,
                idle_us: Some(0),
                ..Timing::default()
            },
            reused: Some(index > 0),
            ..Exchange::default()
        }),
    }
}

/// The same without a response.
pub fn unanswered(role: Role, index: u64, started_ms: u64, outcome: Outcome) -> Http {
    let mut http = exchange(role, index, started_ms);
    http.exchange.response = None;
    (http.exchange.timing.wait_us, http.exchange.timing.receive_us) = (None, None);
    http.exchange.outcome = outcome;
    http.exchange.ended = Some(Ended { message: Message::Response, part: Part::None, offset: 0 });
    http
}

/// The same, of which 40 B of the response's body came and 60 did not.
pub fn cut(role: Role, outcome: Outcome) -> Http {
    let mut http = exchange(role, 0, 0);
    (http.exchange.outcome, http.exchange.integrity) = (outcome, Integrity::Truncated);
    http.exchange.ended = Some(Ended { message: Message::Response, part: Part::Body, offset: 40 });
    http.exchange.missing = Some(60);
    http
}

/// The summary of a connection that ended in this way, with a round trip of 20 ms.
pub fn summary(role: Role, by: By, how: How) -> Connection {
    let state = tcp_trace_model::event::State::Established;
    Connection {
        time: at(90_000),
        connection: Arc::new(info(role)),
        opened: at(0),
        states: vec![StateSpan { state, entered: at(0), duration_us: None, estimated: false }],
        handshake: Some(Handshake { rtt_us: Some(20_000), ..Handshake::default() }),
        close: Close { by, how, ..Close::default() },
        open: how == How::Open,
        ..Connection::default()
    }
}

/// A segment with these flags, past this end.
pub fn segment(role: Role, direction: Direction, flags: Flags, ms: u64) -> Record {
    Record::Segment(Segment {
        time: at(ms),
        connection: Arc::new(info(role)),
        direction,
        flags: FlagNames(flags),
        seq: 1,
        ack: Some(1),
        length: 0,
        retransmit: false,
        refused: None,
    })
}

/// One end's life: segments, exchanges, and the summary.
pub fn life_records(segments: Vec<Record>, exchanges: Vec<Http>, end: Connection) -> Vec<Record> {
    let exchanges = exchanges.into_iter().map(Record::Http);
    segments.into_iter().chain(exchanges).chain([Record::Connection(Box::new(end))]).collect()
}

/// Adds it to a history.
pub fn life(history: &mut History, segments: Vec<Record>, exchanges: Vec<Http>, end: Connection) {
    life_records(segments, exchanges, end).iter().for_each(|record| history.record(record));
}

/// A history of one end's life only.
pub fn lived(segments: Vec<Record>, exchanges: Vec<Http>, end: Connection) -> History {
    let mut history = History::default();
    life(&mut history, segments, exchanges, end);
    history
}

/// An exchange at one end that is answered with this status after this time.
pub fn answer(role: Role, status: u16, started_ms: u64, took_ms: u64) -> Http {
    let mut http = exchange(role, 0, started_ms);
    http.exchange.response.as_mut().unwrap().status_code = status;
    (http.exchange.timing.wait_us, http.exchange.timing.total_us) = (Some(took_ms * 1_000), took_ms * 1_000);
    http.time = at(started_ms + took_ms);
    http
}

/// A listener of a server that was closed at this millisecond.
pub fn closed_listener(ms: u64) -> Connection {
    let mut listener = summary(Role::Server, By::Local, How::Unknown);
    let info = Arc::make_mut(&mut listener.connection);
    (info.id, info.role) = (ConnectionId::of_socket(9, 0), Some(Role::Listener));
    listener.closed = Some(at(ms));
    listener
}
