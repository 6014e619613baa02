//! What the records of a trace or of a recording say: each connection's life, and how attempts to connect went.
//!
//! Bounded: lives are forgotten when there are too many, and counted.

use tcp_trace_model::{
    event::State,
    record::{ConnectionId, Filter, Record},
    time::Time,
};

use super::{attempts::Attempts, exchanges::Exchanges};
use crate::timeline::{Keep, Life, Store};

/// Bytes of memory of the lives that are kept.
pub const HISTORY_BYTES_MAX: usize = 256 << 20;
/// Exchanges that are kept of a connection: the last ones.
pub const EXCHANGES_MAX: usize = 2;
/// Segments that are kept of a connection: the first ones.
pub const SEGMENTS_MAX: usize = 12;
/// Transitions that are kept of a connection; no connection has that many.
pub const TRANSITIONS_MAX: usize = 12;

/// What was traced.
#[derive(Debug)]
pub struct History {
    store: Store,
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

impl Default for History {
    fn default() -> Self {
        Self {
            store: Store::new(Keep {
                transitions_max: TRANSITIONS_MAX,
                segments_max: SEGMENTS_MAX,
                exchanges_max: EXCHANGES_MAX,
                ..Keep::all(HISTORY_BYTES_MAX)
            }),
            attempts: Attempts::default(),
            exchanges: Exchanges::default(),
            forgotten: 0,
            is_narrowed: false,
            lost: 0,
            first_loss: None,
            from: None,
            to: None,
        }
    }
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
            Record::Transition(transition) => self.saw(transition.time),
            Record::Http(http) => {
                self.saw(http.time);
                self.exchanges.http(http);
            }
            Record::Connection(summary) => {
                self.saw(summary.time);
                self.attempts.connection(summary, self.store.life(summary.connection.id));
            }
            Record::Loss(loss) => {
                self.lost += loss.events;
                self.first_loss.get_or_insert(loss.time);
            }
            Record::End(end) => self.saw(end.time),
            Record::Segment(_) => {}
            Record::Dns(_) | Record::Finding(_) | Record::Unknown => return,
        }
        self.store.record(record);
        self.forgotten = self.store.evicted();
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
        let oldest = self.store.oldest_ended().and_then(|life| Some(life.summary.as_ref()?.time));
        self.forgotten == 0 || oldest.is_some_and(|oldest| oldest < time)
    }

    /// The lives that are remembered.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Lives whose summary has come.
    pub fn lives(&self) -> impl Iterator<Item = &Life> {
        self.store.lives().filter(|life| life.summary.is_some())
    }

    /// The life of a connection whose summary has come.
    pub fn life_of(&self, connection: ConnectionId) -> Option<&Life> {
        self.store.life(connection).filter(|life| life.summary.is_some())
    }

    /// Lives of connections that are open, or whose summary has not come.
    pub fn open(&self) -> impl Iterator<Item = &Life> {
        self.store.lives().filter(|life| !life.has_ended())
    }

    /// Lives of connections that have ended, the last ones.
    pub fn ended(&self) -> impl Iterator<Item = &Life> {
        self.store.lives().filter(|life| life.has_ended())
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
        let lives = (0..4).filter_map(|life| self.store.life(ConnectionId::of_socket(cookie, life)));
        { lives }.find(|life| !life.has_ended())
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
}
