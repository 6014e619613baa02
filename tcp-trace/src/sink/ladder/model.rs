//! What a ladder shows: the rows of a connection, from the records of its one or two recorded ends.

use tcp_trace_core::timeline::{Life, Pair, Side};
use tcp_trace_model::{
    event::{Direction, State},
    record::{
        Bytes, Connection, Endpoint, Http, Integrity, Network, Outcome, Process, Segment, Tls, TlsAlert,
        TlsEnd, Transition,
    },
    time::Time,
};

use super::segments::segment_rows;
use crate::sink::words_timing::mostly_wait;

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A side entered a state.
    State(&'a Transition),
    /// A side sent a segment.
    Segment(&'a Segment),
    /// The client began TLS.
    ClientHello(&'a Tls),
    /// The server chose, or requested another ClientHello.
    ServerHello(&'a Tls),
    /// A side sent an alert.
    Alert(&'a TlsAlert),
    /// The TLS handshake ended, as the side saw it.
    TlsEnd(&'a Tls),
    /// The client sent a request.
    Request(&'a Http),
    /// The server sent the response.
    Response(&'a Http),
    /// Where the time of an exchange went, as the side saw it.
    Timing(&'a Http),
    /// An exchange that did not go as it should, as the side saw it.
    Unusual(&'a Http),
    /// A whole exchange: which side sent the request is unknown.
    Exchange(&'a Http),
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) time: Time,
    /// Who did it.
    pub(super) side: Side,
    /// For segments: whether the other side was seen to receive it. `None` when that side is not traced.
    pub(super) arrived: Option<bool>,
    pub(super) event: Event<'a>,
}

/// A recorded end.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub(super) network: Option<Network>,
    pub(super) process: Option<&'a Process>,
    /// Absent when the recording stops before the connection does.
    pub(super) summary: Option<&'a Connection>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Ladder<'a> {
    /// By [`Side`]: each end that was recorded.
    ends: [Option<End<'a>>; 2],
    /// Whether it is known which side is the client. If not, they are placed as they come.
    pub(super) has_roles: bool,
    initial_sequences: [Option<u32>; 2],
    pub(super) opened: Time,
    pub(super) rows: Vec<Row<'a>>,
}

impl<'a> Ladder<'a> {
    pub(super) fn new(pair: &Pair<'a>) -> Self {
        let has_roles = pair.ends().any(|life| life.role().is_some());
        let mut rows = Vec::new();
        for (side, life) in [(Side::Client, pair.client), (Side::Server, pair.server)] {
            let transitions = life.map(|life| life.transitions.as_slice()).unwrap_or_default();
            rows.extend(transitions.iter().map(|transition| Row {
                time: transition.time,
                side,
                arrived: None,
                event: Event::State(transition),
            }));
        }
        rows.extend(segment_rows(pair));
        rows.extend(tls_rows(pair));
        rows.extend(pair.exchanges().into_iter().flat_map(|(side, http)| http_rows(side, http, has_roles)));
        // Ends report late (a server's SYN_RECV is known when its socket is). What happened in the same nanosecond
        // is put as cause before effect.
        rows.sort_by_key(|row| (row.time, order(row)));
        let end = |life: &'a Life| {
            let (network, process) = (life.network(), life.process());
            End { network, process, summary: life.summary.as_deref() }
        };
        Self {
            ends: [pair.client.map(end), pair.server.map(end)],
            has_roles,
            initial_sequences: [
                pair.ends().find_map(|life| life.initial_sequences().0),
                pair.ends().find_map(|life| life.initial_sequences().1),
            ],
            opened: pair.ends().map(|life| life.span().0).min().unwrap_or_default(),
            rows,
        }
    }

    pub(super) fn end(&self, side: Side) -> Option<&End<'a>> {
        self.ends[side as usize].as_ref()
    }

    /// A side's address, as either end knows it.
    pub(super) fn endpoint(&self, side: Side) -> Option<Endpoint> {
        let own = self.end(side).and_then(|end| end.network).map(|network| network.local);
        own.or_else(|| self.end(side.opposite()).and_then(|end| end.network).map(|network| network.peer))
    }

    /// Whether both sides are the same socket, which is connected to itself.
    pub(super) fn is_to_itself(&self) -> bool {
        self.ends.iter().flatten().any(|end| end.network.is_some_and(|network| network.is_to_itself()))
    }

    /// The initial sequence number of a side's direction.
    pub(super) fn initial_sequence(&self, side: Side) -> Option<u32> {
        self.initial_sequences[side as usize]
    }

    /// The side whose summary says how it ended, with that summary.
    pub(super) fn summary(&self) -> Option<(Side, &'a Connection)> {
        [Side::Client, Side::Server].into_iter().find_map(|side| Some((side, self.end(side)?.summary?)))
    }

    /// Whether an end was opened before the recording, according to its summary.
    pub(super) fn is_older(&self) -> bool {
        self.ends.iter().flatten().filter_map(|end| end.summary).any(|summary| !summary.seen_from_start)
    }

    /// Whether nothing happened on a connection that was there before: at most, its TIME_WAIT ended.
    pub(super) fn is_uneventful(&self) -> bool {
        let of_time_wait = |row: &Row<'_>| matches!(row.event, Event::State(transition) if transition.old == State::TimeWait);
        let has_carried = |summary: &Connection| summary.bytes != Bytes::default();
        self.is_older()
            && self.rows.iter().all(of_time_wait)
            && !self.ends.iter().flatten().filter_map(|end| end.summary).any(has_carried)
    }

    /// Whether a segment was sent whose arrival was not seen although the other end is traced.
    pub(super) fn has_unseen_arrival(&self) -> bool {
        self.rows.iter().any(|row| row.arrived == Some(false))
    }
}

/// Of rows with the same time: an arrival, the state that it causes, what is sent in that state.
fn order(row: &Row<'_>) -> u8 {
    match row.event {
        Event::Segment(segment) if segment.direction == Direction::In => 0,
        Event::State(_) => 1,
        Event::Segment(_)
        | Event::ClientHello(_)
        | Event::ServerHello(_)
        | Event::Alert(_)
        | Event::Request(_)
        | Event::Response(_)
        | Event::Exchange(_) => 2,
        Event::Timing(_) | Event::TlsEnd(_) => 3,
        Event::Unusual(_) => 4,
    }
}

/// Request, response and timing of an exchange that `observer` saw.
fn http_rows(observer: Side, http: &Http, has_roles: bool) -> Vec<Row<'_>> {
    let after = |us: u64| Time(http.exchange.timing.started.0.saturating_add(us.saturating_mul(1_000)));
    let row = |time, side, event| Row { time, side, arrived: None, event };
    let end = after(http.exchange.timing.total_us);
    if !has_roles {
        return vec![row(end, observer, Event::Exchange(http))];
    }
    // Without a request, the exchange begins with the response.
    let until_response = http.exchange.timing.until_response_us().unwrap_or_default();
    let mut rows = Vec::new();
    if http.exchange.request.is_some() {
        rows.push(row(http.exchange.timing.started, Side::Client, Event::Request(http)));
    }
    if http.exchange.response.is_some() {
        rows.push(row(after(until_response), Side::Server, Event::Response(http)));
    }
    let is_timed = http.exchange.response.is_some() || http.exchange.timing.stalls.is_some();
    if is_timed && mostly_wait(http).is_none() {
        rows.push(row(end, observer, Event::Timing(http)));
    }
    if http.exchange.outcome != Outcome::Ok
        || http.exchange.ended.is_some()
        || http.exchange.integrity != Integrity::Complete
    {
        rows.push(row(end, observer, Event::Unusual(http)));
    }
    rows
}

/// The handshake of TLS and its alerts, as one end saw them.
fn tls_rows<'a>(pair: &Pair<'a>) -> Vec<Row<'a>> {
    let seen =
        [(Side::Client, pair.client), (Side::Server, pair.server)].into_iter().find_map(|(side, life)| {
            let life = life?;
            Some((side, life.tls.as_ref()?, life.summary.as_ref().and_then(|summary| summary.tls.as_deref())))
        });
    let Some((observer, handshake, in_the_end)) = seen else { return Vec::new() };
    let tls = &*handshake.tls;
    let after = |us: u64| tls.timing.started.after_micros(us);
    let row = |time, side, event| Row { time, side, arrived: None, event };
    let mut rows = vec![row(tls.timing.started, Side::Client, Event::ClientHello(tls))];
    rows.extend(tls.timing.server_hello_us.map(|us| row(after(us), Side::Server, Event::ServerHello(tls))));
    // The summary knows those that came later.
    rows.extend(in_the_end.unwrap_or(tls).alerts.iter().map(|alert| {
        let side = if alert.by == TlsEnd::Client { Side::Client } else { Side::Server };
        row(alert.time, side, Event::Alert(alert))
    }));
    rows.push(row(tls.timing.handshake_us.map_or(handshake.time, after), observer, Event::TlsEnd(tls)));
    rows
}
