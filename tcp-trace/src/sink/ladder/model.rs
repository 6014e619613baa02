//! What a ladder shows: the rows of a connection, from the records of its one or two recorded ends.

use std::collections::{BTreeMap, HashMap};

use crate::{
    event::{Direction, Flags, Role, State},
    record::{Connection, ConnectionId, Endpoint, Http, Process, Record, Segment, Timing, Transition},
    time::Time,
};

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// The end that sent the SYN.
    Client,
    /// The end that was listening.
    Server,
}

impl Side {
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// What a row shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A side entered a state.
    State { old: State, new: State, in_old_us: Option<u64>, estimated: bool },
    /// A side sent a segment.
    Segment { flags: Flags, seq: u32, ack: Option<u32>, length: u32, retransmit: bool },
    /// The client sent a request.
    Request(Box<Http>),
    /// The server sent the response.
    Response(Box<Http>),
    /// Where the time of an exchange went, as the side saw it.
    Timing(Timing),
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) time: Time,
    /// Who did it.
    pub(super) side: Side,
    /// For segments: whether the other side was seen to receive it. `None` when that side is not traced.
    pub(super) arrived: Option<bool>,
    pub(super) event: Event,
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    /// By [`Side`]: the summary of each end that was recorded.
    pub(super) ends: [Option<Connection>; 2],
    pub(super) rows: Vec<Row>,
}

impl Ladder {
    pub(super) fn end(&self, side: Side) -> Option<&Connection> {
        self.ends[side.index()].as_ref()
    }

    /// A side's address, as either end knows it.
    pub(super) fn endpoint(&self, side: Side) -> Option<Endpoint> {
        let own = self.end(side).and_then(|end| end.network).map(|network| network.local);
        own.or_else(|| self.end(side.opposite()).and_then(|end| end.network).map(|network| network.peer))
    }

    pub(super) fn process(&self, side: Side) -> Option<&Process> {
        self.end(side)?.process.as_ref()
    }

    /// The initial sequence number of a side's direction.
    pub(super) fn initial_sequence(&self, side: Side) -> Option<u32> {
        self.ends.iter().flatten().filter_map(|end| end.handshake).find_map(|handshake| match side {
            Side::Client => handshake.syn_seq,
            Side::Server => handshake.syn_ack_seq,
        })
    }

    /// When it began, on any side.
    pub(super) fn opened(&self) -> Time {
        let opened = self.ends.iter().flatten().map(|end| end.opened).min();
        let first = self.rows.first().map(|row| row.time);
        opened.into_iter().chain(first).min().unwrap_or_default()
    }
}

/// Everything of one end.
#[derive(Default)]
struct Parts<'a> {
    transitions: Vec<&'a Transition>,
    segments: Vec<&'a Segment>,
    http: Vec<&'a Http>,
    summary: Option<&'a Connection>,
}

/// The ladders of all connections of a recording, in order of their beginning.
pub(super) fn ladders(records: &[Record]) -> Vec<Ladder> {
    let mut parts: BTreeMap<ConnectionId, Parts<'_>> = BTreeMap::new();
    for record in records {
        match record {
            Record::Transition(transition) => {
                parts.entry(transition.connection).or_default().transitions.push(transition);
            }
            Record::Segment(segment) => parts.entry(segment.connection).or_default().segments.push(segment),
            Record::Http(http) => parts.entry(http.connection).or_default().http.push(http),
            Record::Connection(summary) => {
                parts.entry(summary.connection).or_default().summary = Some(summary);
            }
            _ => {}
        }
    }
    let mut ladders = Vec::new();
    let mut servers = servers_by_handshake(&parts);
    let mut used = Vec::new();
    for part in parts.values().filter(|part| role(part) == Some(Role::Client)) {
        let server = part.summary.and_then(key).and_then(|key| servers.remove(&key));
        used.extend(server);
        ladders.push(ladder(Some(part), server.and_then(|id| parts.get(&id))));
    }
    for (id, part) in &parts {
        match role(part) {
            Some(Role::Server) if !used.contains(id) => ladders.push(ladder(None, Some(part))),
            // Seen from the middle, without a message that would tell: shown on the left.
            None if part.summary.is_some() => ladders.push(ladder(Some(part), None)),
            _ => {}
        }
    }
    ladders.sort_by_key(Ladder::opened);
    ladders
}

fn role(part: &Parts<'_>) -> Option<Role> {
    part.summary.and_then(|summary| summary.role)
}

/// What both ends of a connection have in common: ports, and the sequence numbers of the handshake. Addresses
/// can differ between them by translation.
type Key = (u16, u16, u32, u32);

fn key(summary: &Connection) -> Option<Key> {
    let network = summary.network?;
    let handshake = summary.handshake?;
    let (client, server) = match summary.role? {
        Role::Server => (network.peer, network.local),
        _ => (network.local, network.peer),
    };
    Some((client.port, server.port, handshake.syn_seq?, handshake.syn_ack_seq?))
}

fn servers_by_handshake(parts: &BTreeMap<ConnectionId, Parts<'_>>) -> HashMap<Key, ConnectionId> {
    parts
        .iter()
        .filter(|(_, part)| role(part) == Some(Role::Server))
        .filter_map(|(id, part)| Some((key(part.summary?)?, *id)))
        .collect()
}

fn ladder(client: Option<&Parts<'_>>, server: Option<&Parts<'_>>) -> Ladder {
    let sides = [(Side::Client, client), (Side::Server, server)];
    let mut rows = Vec::new();
    for (side, part) in sides {
        let Some(part) = part else { continue };
        rows.extend(part.transitions.iter().map(|transition| state_row(side, transition)));
    }
    rows.extend(segment_rows(client, server));
    // The client's times of an exchange, where there are any: they are what the user waits for.
    let observer = sides.into_iter().find_map(|(side, part)| Some((side, part?)));
    if let Some((side, part)) = observer {
        rows.extend(part.http.iter().flat_map(|http| http_rows(side, http)));
    }
    rows.sort_by_key(|row| row.time);
    let summary = |part: Option<&Parts<'_>>| part.and_then(|part| part.summary).cloned();
    Ladder { ends: [summary(client), summary(server)], rows }
}

fn state_row(side: Side, transition: &Transition) -> Row {
    let Transition { time, old, new, in_old_us, estimated, .. } = *transition;
    Row { time, side, arrived: None, event: Event::State { old, new, in_old_us, estimated } }
}

/// One row per segment: where it was sent, with its arrival merged in; where it arrived, if only that was seen.
fn segment_rows(client: Option<&Parts<'_>>, server: Option<&Parts<'_>>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (sender, sent, received) in [(Side::Client, client, server), (Side::Server, server, client)] {
        let of = |part: Option<&Parts<'_>>, direction| -> Vec<Segment> {
            let segments = part.map(|part| part.segments.as_slice()).unwrap_or_default();
            segments
                .iter()
                .filter(|segment| segment.direction == direction)
                .map(|segment| (*segment).clone())
                .collect()
        };
        let mut arrivals = of(received, Direction::In);
        for segment in of(sent, Direction::Out) {
            let arrival = arrivals.iter().position(|arrival| is_same(arrival, &segment));
            if let Some(arrival) = arrival {
                arrivals.remove(arrival);
            }
            rows.push(segment_row(sender, &segment, received.map(|_| arrival.is_some())));
        }
        rows.extend(arrivals.iter().map(|arrival| segment_row(sender, arrival, Some(true))));
    }
    rows
}

fn is_same(a: &Segment, b: &Segment) -> bool {
    (a.flags, a.seq, a.ack, a.length) == (b.flags, b.seq, b.ack, b.length)
}

fn segment_row(side: Side, segment: &Segment, arrived: Option<bool>) -> Row {
    let Segment { time, flags, seq, ack, length, retransmit, .. } = segment.clone();
    Row { time, side, arrived, event: Event::Segment { flags: flags.0, seq, ack, length, retransmit } }
}

/// Request, response and timing of an exchange that `observer` saw.
fn http_rows(observer: Side, http: &Http) -> Vec<Row> {
    let Timing { started, send_us, wait_us, .. } = http.timing;
    let until_response = send_us.zip(wait_us).map_or(0, |(send, wait)| send + wait);
    let after = |us: u64| Time(started.0 + us * 1_000);
    let row = |time, side, event| Row { time, side, arrived: None, event };
    let mut rows = Vec::new();
    if http.http.request.is_some() {
        rows.push(row(started, Side::Client, Event::Request(Box::new(http.clone()))));
    }
    if http.http.response.is_some() {
        rows.push(row(after(until_response), Side::Server, Event::Response(Box::new(http.clone()))));
        rows.push(row(after(http.timing.total_us), observer, Event::Timing(http.timing.clone())));
    }
    rows
}
