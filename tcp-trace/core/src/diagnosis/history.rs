//! What the records of a trace or of a recording say: each connection's life, and how attempts to connect went.
//!
//! Bounded: lives are forgotten when there are too many, and counted.

use tcp_trace_model::{
    event::State,
    record::{ConnectionId, Filter, How, Http, Outcome, Record},
    time::Time,
};

use super::{attempts::Attempts, exchanges::Exchanges};
use crate::timeline::{Keep, Life, Pairs, Store};

/// Bytes of memory of the lives that are kept.
pub const HISTORY_BYTES_MAX: usize = 256 << 20;
/// A loss of events is noticed so much later at most, in microseconds.
const LOSS_NOTICED_US: u64 = 1_000_000;
/// Times of losses that are kept separately; later ones are one.
const LOSSES_MAX: usize = 10_000;
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
    /// When events may have been lost, in order: from and to.
    losses: Vec<(Time, Time)>,
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
                is_precious: has_failed,
                ..Keep::all(HISTORY_BYTES_MAX)
            }),
            attempts: Attempts::default(),
            exchanges: Exchanges::default(),
            forgotten: 0,
            is_narrowed: false,
            lost: 0,
            first_loss: None,
            losses: Vec::new(),
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
            Record::Tls(tls) => self.saw(tls.time),
            Record::Connection(summary) => {
                self.saw(summary.time);
                self.attempts.connection(summary, self.store.life(summary.connection.id));
            }
            Record::Loss(loss) => {
                self.lost += loss.events;
                self.first_loss.get_or_insert(loss.time);
                self.lost_at(loss.time);
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

    /// Whether no event had been lost at this time.
    pub(super) fn is_complete_until(&self, time: Time) -> bool {
        self.first_loss.is_none_or(|loss| time.after_micros(LOSS_NOTICED_US) < loss)
    }

    /// Whether events may have been lost while an exchange was under way.
    pub(super) fn may_lack_events_of(&self, http: &Http) -> bool {
        self.may_lack_events(http.exchange.timing.started, http.time)
    }

    /// How many exchanges that took long are not examined, because events may have been lost meanwhile.
    pub fn slow_unexamined(&self) -> usize {
        self.exchanges.slow().filter(|http| self.may_lack_events_of(http)).count()
    }

    /// Whether events may have been lost between these times.
    pub(super) fn may_lack_events(&self, from: Time, to: Time) -> bool {
        // A segment whose event was lost may have been one that was sent again within a second.
        self.losses.iter().any(|loss| loss.0 <= to && from <= loss.1.after_micros(LOSS_NOTICED_US))
    }

    /// Notes when a loss was noticed.
    fn lost_at(&mut self, time: Time) {
        let from = Time(time.0.saturating_sub(LOSS_NOTICED_US * 1_000));
        let is_full = self.losses.len() >= LOSSES_MAX;
        match self.losses.last_mut() {
            Some(last) if is_full || from <= last.1 => last.1 = last.1.max(time),
            _ => self.losses.push((from, time)),
        }
    }

    /// Whether every connection that was there at this time or later is remembered.
    pub fn remembers_since(&self, time: Time) -> bool {
        self.store.evicted_until().is_none_or(|until| until < time)
    }

    /// The lives that are remembered.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Lives whose summary has come.
    pub fn lives(&self) -> impl Iterator<Item = &Life> {
        self.store.lives().filter(|life| life.summary.is_some())
    }

    /// All exchanges that are remembered; some are there more than once.
    pub(super) fn remembered_exchanges(&self) -> impl Iterator<Item = &Http> {
        let Self { store, exchanges, .. } = self;
        let others = exchanges.slow().chain(exchanges.refused()).chain(exchanges.gateway_errors());
        store.lives().flat_map(|life| &life.exchanges).chain(others)
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

    /// How many connections have ended, each once where both ends were traced.
    pub fn ended_connections(&self) -> usize {
        Pairs::new(&self.store).iter().filter(|pair| pair.ends().any(Life::has_ended)).count()
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

/// Whether a connection failed, or one of its last exchanges did: causes are looked for there.
fn has_failed(life: &Life) -> bool {
    let is_failure = |how| matches!(how, How::Timeout | How::Refused | How::Error | How::Abandoned);
    let has_failed = life.summary.as_ref().is_some_and(|summary| is_failure(summary.close.how));
    let is_error = |http: &Http| {
        let status = http.exchange.response.as_ref().map(|response| response.status_code);
        http.exchange.outcome != Outcome::Ok || status >= Some(500)
    };
    has_failed || life.exchanges.iter().any(is_error)
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{
        event::Role,
        record::{By, Loss, LossPlace},
    };

    use super::*;
    use crate::diagnosis::testing_http::{at, exchange, id, life, summary};

    #[test]
    fn a_connection_between_two_ends_here_ends_once() {
        let mut history = History::default();
        let mut client = summary(Role::Client, By::Local, How::Fin);
        client.peer_connection = Some(id(Role::Server));
        life(&mut history, Vec::new(), Vec::new(), client);
        assert_eq!(history.ended_connections(), 1);
        life(&mut history, Vec::new(), Vec::new(), summary(Role::Server, By::Peer, How::Fin));
        assert_eq!((history.ended_connections(), history.ended().count()), (1, 2));
    }

    #[test]
    fn an_exchange_may_lack_events_that_were_lost_at_that_time() {
        let mut history = History::default();
        for ms in [10_000, 10_500, 30_000] {
            let place = LossPlace::Ring;
            history.record(&Record::Loss(Loss { time: at(ms), place, events: 1, cpu: None }));
        }
        assert_eq!(history.losses.len(), 2);
        for (started_ms, may_lack) in
            [(8_000, false), (9_100, true), (11_400, true), (11_600, false), (29_500, true)]
        {
            let http = exchange(Role::Client, 0, started_ms);
            assert_eq!(history.may_lack_events_of(&http), may_lack, "{started_ms}");
        }
    }
}
