//! What the records of a trace or of a recording say: each connection's life, and how attempts to connect went.
//!
//! Bounded: lives that have ended are forgotten when there are too many, the oldest first, and counted.

use std::collections::{HashMap, VecDeque};

use tcp_trace_model::{
    event::State,
    record::{Connection, ConnectionId, Filter, Http, Record, Segment, Transition},
    time::Time,
};

use super::{attempts::Attempts, exchanges::Exchanges};

/// Lives that are kept of connections that have ended.
pub const ENDED_MAX: usize = 10_000;
/// Lives of connections that are open.
pub const OPEN_MAX: usize = 200_000;
/// Exchanges that are kept of a connection: the last ones.
pub const EXCHANGES_MAX: usize = 2;
/// Segments that are kept of a connection: the first ones.
pub const SEGMENTS_MAX: usize = 12;
/// Transitions that are kept of a connection; no life has so many.
pub const TRANSITIONS_MAX: usize = 12;

/// What was traced.
#[derive(Debug, Default)]
pub struct History {
    open: HashMap<ConnectionId, Life>,
    ended: VecDeque<Life>,
    attempts: Attempts,
    exchanges: Exchanges,
    /// Lives that were forgotten.
    pub forgotten: u64,
    /// Whether a filter by ports or addresses left out connections of the processes that were traced.
    pub is_narrowed: bool,
    /// Events that were lost while it was traced.
    pub lost: u64,
    /// When that was noticed first.
    pub first_loss: Option<Time>,
    /// The first record's time.
    pub from: Option<Time>,
    /// The last record's time.
    pub to: Option<Time>,
}

/// What was recorded of one connection.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Its transitions, in order.
    pub transitions: Vec<Transition>,
    /// SYN, FIN and RST segments, the first ones.
    pub segments: Vec<Segment>,
    /// The last exchanges.
    pub exchanges: VecDeque<Http>,
    /// How many exchanges there were.
    pub exchange_count: u64,
    /// The summary, once it came.
    pub summary: Option<Box<Connection>>,
}

impl History {
    /// Takes one record.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Session(session) => {
                self.saw(session.time);
                self.filtered(&session.filter);
            }
            Record::Ready(ready) => self.saw(ready.time),
            Record::Transition(transition) => {
                self.saw(transition.time);
                if let Some(life) = self.life_mut(transition.connection)
                    && life.transitions.len() < TRANSITIONS_MAX
                {
                    life.transitions.push(transition.clone());
                }
            }
            Record::Segment(segment) => {
                if let Some(life) = self.life_mut(segment.connection)
                    && life.segments.len() < SEGMENTS_MAX
                {
                    life.segments.push(segment.clone());
                }
            }
            Record::Http(http) => self.http(http),
            Record::Connection(summary) => self.summary(summary),
            Record::Loss(loss) => {
                self.lost += loss.events;
                self.first_loss.get_or_insert(loss.time);
            }
            Record::End(end) => self.saw(end.time),
            Record::Dns(_) | Record::Finding(_) | Record::Unknown => {}
        }
    }

    /// Notes a filter that the records have passed.
    pub fn filtered(&mut self, filter: &Filter) {
        let Filter { port, local_port, peer_port, addr, .. } = filter;
        let has_ports = [port, local_port, peer_port].iter().any(|ports| !ports.is_empty());
        self.is_narrowed |= has_ports || !addr.is_empty();
    }

    /// Whether every connection that was there at this time or later is remembered.
    pub fn remembers_since(&self, time: Time) -> bool {
        // The oldest are forgotten first, in the order of their summaries.
        let oldest = self.ended.front().and_then(|life| Some(life.summary.as_ref()?.time));
        self.forgotten == 0 || oldest.is_some_and(|oldest| oldest < time)
    }

    /// Lives whose summary has come, by connection.
    pub fn lives(&self) -> HashMap<ConnectionId, &Life> {
        let all = self.ended.iter().chain(self.open.values());
        all.filter_map(|life| Some((life.summary.as_ref()?.connection, life))).collect()
    }

    /// Lives of connections that are open, or whose summary has not come.
    pub fn open(&self) -> impl Iterator<Item = (&ConnectionId, &Life)> {
        self.open.iter()
    }

    /// Lives of connections that have ended, the last ones.
    pub fn ended(&self) -> impl Iterator<Item = &Life> {
        self.ended.iter()
    }

    /// How attempts to connect went, and who closed first.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// What is known of all HTTP exchanges.
    pub fn exchanges(&self) -> &Exchanges {
        &self.exchanges
    }

    /// The life of the open connection with this cookie.
    pub fn life(&self, cookie: u64) -> Option<&Life> {
        // A socket that connects again after a failure has another name; its earlier ones have ended.
        (0..4).find_map(|life| self.open.get(&ConnectionId::of_socket(cookie, life)))
    }

    /// When the open connection with this cookie entered the state that it is in, if that was seen.
    pub fn entered(&self, cookie: u64, state: State) -> Option<Time> {
        let life = self.life(cookie)?;
        let last = life.transitions.last().filter(|last| last.new == state && !last.estimated);
        let span = || {
            let summary = life.summary.as_ref().filter(|summary| summary.seen_from_start)?;
            summary.states.last().filter(|span| span.state == state && !span.estimated)
        };
        last.map(|transition| transition.time).or_else(|| span().map(|span| span.entered))
    }

    fn saw(&mut self, time: Time) {
        self.from.get_or_insert(time);
        self.to = self.to.max(Some(time));
    }

    fn life_mut(&mut self, id: ConnectionId) -> Option<&mut Life> {
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&id) {
            self.forgotten += 1;
            return None;
        }
        Some(self.open.entry(id).or_default())
    }

    fn http(&mut self, http: &Http) {
        self.saw(http.time);
        self.exchanges.http(http);
        if let Some(life) = self.life_mut(http.connection) {
            life.exchange_count += 1;
            if life.exchanges.len() == EXCHANGES_MAX {
                life.exchanges.pop_front();
            }
            life.exchanges.push_back(http.clone());
        }
    }

    fn summary(&mut self, summary: &Connection) {
        self.saw(summary.time);
        let mut life = self.open.remove(&summary.connection).unwrap_or_default();
        self.attempts.connection(summary, &life);
        life.summary = Some(Box::new(summary.clone()));
        if summary.open {
            self.open.insert(summary.connection, life);
            return;
        }
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
            self.forgotten += 1;
        }
        self.ended.push_back(life);
    }
}
