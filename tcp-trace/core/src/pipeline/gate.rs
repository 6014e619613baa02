//! Whether a connection's records come out: held back until the filter can judge it and its process is known.

use std::sync::Arc;

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    exchange::Exchange,
    record::{Filter, Http, Record, Segment, TlsHandshake, Transition},
    time::Time,
};

use super::output::Outputs;
use crate::conn::Connection;

/// Records that are held of one connection while the filter cannot judge it, or its process is not known. When there are
/// more, a connection that the filter selects waits for its process no longer; of another, further ones are dropped, and
/// counted as lost where it is selected in the end.
pub const HELD_RECORDS_MAX: usize = 256;
/// How long records wait for their process to become known, in microseconds, when the filter does not need
/// it: an accepted connection is named by its process's first read. So long, too, those of a response wait until its client
/// acknowledges it or resets the connection.
const PATIENCE_US: u64 = 100_000;
/// Emptied lists of records that are kept for the next.
const SPARE_MAX: usize = 64;

/// The gate of one connection.
#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    /// Records that were dropped while it was undecided, and events of the connection of which nothing is known.
    dropped: u32,
    /// Whether it is among those that have to decide.
    is_listed: bool,
}

#[derive(Debug)]
enum State {
    /// Not decided, since when, and what waits for the decision.
    Undecided(Time, Vec<Record>),
    /// Selected.
    Open,
    /// Selected, and a response that left is not acknowledged as far as was seen: since when, and what waits behind it.
    Unacknowledged(Time, Vec<Record>),
    /// Excluded.
    Shut,
}

impl Gate {
    pub(super) fn new(since: Time) -> Self {
        Self { state: State::Undecided(since, Vec::new()), dropped: 0, is_listed: true }
    }

    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided(..))
    }

    /// Whether records wait for something, so that it stays among those that have to decide.
    pub(super) fn has_to_decide(&mut self) -> bool {
        self.is_listed = matches!(self.state, State::Undecided(..) | State::Unacknowledged(..));
        self.is_listed
    }

    pub(super) fn is_shut(&self) -> bool {
        matches!(self.state, State::Shut)
    }

    /// Counts events of the connection as lost, where it is selected in the end.
    pub(super) fn lose(&mut self, events: u32) {
        if !self.is_shut() {
            self.dropped = self.dropped.saturating_add(events);
        }
    }

    /// What a selected connection has lost since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        let is_selected = matches!(self.state, State::Open | State::Unacknowledged(..));
        if is_selected { std::mem::take(&mut self.dropped).into() } else { 0 }
    }

    /// Lets a record of its connection out, or holds or drops it.
    #[inline]
    pub(super) fn pass(
        &mut self,
        record: Record,
        filter: &Filter,
        connection: &Connection,
        out: &mut Outputs,
    ) {
        match &mut self.state {
            State::Open => out.record(record),
            State::Shut => {}
            State::Undecided(_, held) | State::Unacknowledged(_, held) if held.len() < HELD_RECORDS_MAX => {
                held.push(record);
            }
            State::Unacknowledged(..) => {
                self.release(out);
                out.record(record);
            }
            State::Undecided(..) => self.pass_beyond(record, filter, connection, out),
        }
    }

    /// Takes a record for which there is no room.
    #[cold]
    fn pass_beyond(&mut self, record: Record, filter: &Filter, connection: &Connection, out: &mut Outputs) {
        if filter.judge(connection.facts()) == Some(true) {
            self.open(connection, out);
            out.record(record);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Holds what comes from now on, because the next record is of a response that is not acknowledged. True when it is not among
    /// those that have to decide.
    pub(super) fn hold(&mut self, now: Time, out: &mut Outputs) -> bool {
        if !matches!(self.state, State::Open) {
            return false;
        }
        self.state = State::Unacknowledged(now, out.spare.pop().unwrap_or_default());
        !std::mem::replace(&mut self.is_listed, true)
    }

    /// Goes on holding what it holds, because a response among it is not acknowledged.
    fn wait_on(&mut self, since: Time, connection: &Connection) {
        if let State::Undecided(_, held) = &mut self.state {
            let held = std::mem::take(held).into_iter();
            let held = held.map(|record| described(record, connection.info())).collect();
            self.state = State::Unacknowledged(since, held);
        }
    }

    /// Lets out what waits for an acknowledgment.
    pub(super) fn release(&mut self, out: &mut Outputs) {
        if let State::Unacknowledged(_, held) = &mut self.state {
            let mut held = std::mem::take(held);
            self.state = State::Open;
            held.drain(..).for_each(|record| out.record(record));
            if out.spare.len() < SPARE_MAX {
                out.spare.push(held);
            }
        }
    }

    /// The exchanges that wait.
    pub(super) fn held_exchanges(&mut self) -> impl Iterator<Item = &mut Exchange> {
        let held = match &mut self.state {
            State::Undecided(_, held) | State::Unacknowledged(_, held) => held.as_mut_slice(),
            State::Open | State::Shut => &mut [],
        };
        held.iter_mut().filter_map(|record| match record {
            Record::Http(http) => Some(&mut *http.exchange),
            _ => None,
        })
    }

    /// Lets out what waits, and whatever comes from now on.
    fn open(&mut self, connection: &Connection, out: &mut Outputs) {
        if let State::Undecided(_, held) = std::mem::replace(&mut self.state, State::Open) {
            held.into_iter().for_each(|record| out.record(described(record, connection.info())));
        }
    }

    /// Decides anew of what was excluded, because other addresses or another process of it became known that may be selected;
    /// true when it waits for a decision again. What was dropped before is not selected.
    pub(super) fn reconsider(&mut self, filter: &Filter, connection: &Connection, now: Time) -> bool {
        let may_pass = self.is_shut() && filter.judge(connection.facts()) != Some(false);
        if may_pass {
            *self = Self::new(now);
        }
        may_pass
    }

    /// Lets nothing out until the process is known, as at the beginning: what is over may be the first that a process did with the
    /// socket, and the kernel reports who wrote behind what was written. True when it is not among those that have to decide.
    pub(super) fn wait_for_process(&mut self, now: Time) -> bool {
        self.state = match &mut self.state {
            State::Open => State::Undecided(now, Vec::new()),
            State::Unacknowledged(since, held) => State::Undecided(*since, std::mem::take(held)),
            State::Undecided(..) | State::Shut => return false,
        };
        !std::mem::replace(&mut self.is_listed, true)
    }

    /// Decides if it can be decided now; for the last time when `is_final`.
    pub(super) fn decide(
        &mut self,
        filter: &Filter,
        connection: &Connection,
        now: Time,
        is_final: bool,
        out: &mut Outputs,
    ) {
        let since = match self.state {
            State::Undecided(since, _) => since,
            // What a socket that is closed had acknowledged is judged when its connection ends.
            State::Unacknowledged(since, _) => {
                if is_final || now.micros_since(since) >= PATIENCE_US && connection.has_socket() {
                    self.release(out);
                }
                return;
            }
            State::Open | State::Shut => return,
        };
        match filter.judge(connection.facts()) {
            Some(true) => {
                let ConnectionInfo { network, process, .. } = &**connection.info();
                let is_known = process.is_some() && network.is_some_and(|network| network.local.port != 0);
                if is_final || now.micros_since(since) >= PATIENCE_US {
                    self.open(connection, out);
                } else if is_known && connection.has_unacknowledged() {
                    self.wait_on(since, connection);
                } else if is_known {
                    self.open(connection, out);
                }
            }
            None if is_final && filter.judge_finally(connection.facts()) => self.open(connection, out),
            Some(false) => self.state = State::Shut,
            None if is_final => self.state = State::Shut,
            None => {}
        }
    }
}

/// Says of the connection what is known now. Whose it was then stays.
fn described(mut record: Record, info: &Arc<ConnectionInfo>) -> Record {
    match &mut record {
        Record::Transition(Transition { connection, .. })
        | Record::Segment(Segment { connection, .. })
        | Record::Tls(TlsHandshake { connection, .. })
        | Record::Http(Http { connection, .. }) => {
            let is_another = connection.process.is_some() && connection.process != info.process;
            *connection = match is_another {
                false => info.clone(),
                true => Arc::new(ConnectionInfo {
                    process: connection.process.clone(),
                    container: connection.container.clone(),
                    ..(**info).clone()
                }),
            };
        }
        _ => {}
    }
    record
}
