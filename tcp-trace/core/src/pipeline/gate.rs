//! Whether a connection's records come out: held back until the filter can judge it and its process is known.

use std::sync::Arc;

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    record::{Filter, Http, Record, Segment, Transition},
    time::Time,
};

use super::output::Outputs;
use crate::conn::Connection;

/// Records that are held of one connection while the filter cannot judge it, or its process is not known. Further ones
/// are dropped, and counted as lost where the connection is selected in the end.
pub const HELD_RECORDS_MAX: usize = 256;
/// How long records wait for their process to become known, in microseconds, when the filter does not need
/// it: an accepted connection is named by its process's first read.
const PATIENCE_US: u64 = 100_000;

/// The gate of one connection.
#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    /// Records that were dropped while it was undecided.
    dropped: u32,
}

#[derive(Debug)]
enum State {
    /// Not decided, since when, and what waits for the decision.
    Undecided(Time, Vec<Record>),
    /// Selected.
    Open,
    /// Excluded.
    Shut,
}

impl Gate {
    pub(super) fn new(since: Time) -> Self {
        Self { state: State::Undecided(since, Vec::new()), dropped: 0 }
    }

    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided(..))
    }

    pub(super) fn is_shut(&self) -> bool {
        matches!(self.state, State::Shut)
    }

    /// Records of a selected connection that were dropped since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        if matches!(self.state, State::Open) { std::mem::take(&mut self.dropped).into() } else { 0 }
    }

    /// Lets a record out, or holds or drops it.
    #[inline]
    pub(super) fn pass(&mut self, record: Record, out: &mut Outputs) {
        match &mut self.state {
            State::Open => out.record(record),
            State::Shut => {}
            State::Undecided(_, held) if held.len() < HELD_RECORDS_MAX => held.push(record),
            State::Undecided(..) => self.dropped = self.dropped.saturating_add(1),
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

    /// Decides if it can be decided now; for the last time when `is_final`.
    pub(super) fn decide(
        &mut self,
        filter: &Filter,
        connection: &Connection,
        now: Time,
        is_final: bool,
        out: &mut Outputs,
    ) {
        let State::Undecided(since, held) = &mut self.state else {
            return;
        };
        match filter.judge(connection.facts()) {
            Some(true) => {
                let ConnectionInfo { network, process, .. } = &**connection.info();
                let is_known = process.is_some() && network.is_some_and(|network| network.local.port != 0);
                if is_known || is_final || now.micros_since(*since) >= PATIENCE_US {
                    let held = std::mem::take(held);
                    self.state = State::Open;
                    held.into_iter().for_each(|record| out.record(described(record, connection.info())));
                }
            }
            Some(false) => self.state = State::Shut,
            None if is_final => self.state = State::Shut,
            None => {}
        }
    }
}

/// Says of the connection what is known now.
fn described(mut record: Record, info: &Arc<ConnectionInfo>) -> Record {
    match &mut record {
        Record::Transition(Transition { connection, .. })
        | Record::Segment(Segment { connection, .. })
        | Record::Http(Http { connection, .. }) => connection.clone_from(info),
        _ => {}
    }
    record
}
