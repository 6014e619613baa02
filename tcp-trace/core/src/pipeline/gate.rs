//! Whether a connection's records come out: held back until the filter can judge it and its process is known.

use tcp_trace_model::{
    record::{Filter, Record},
    time::Time,
};

use crate::conn::Connection;

/// Records that are held of one connection while the filter cannot judge it. Beyond that it counts as not
/// asked for: nothing will be learnt of it any more.
pub const HELD_RECORDS_MAX: usize = 256;
/// How long records wait for their process to become known, in microseconds, when the filter does not need
/// it: an accepted connection is named by its process's first read.
const PATIENCE_US: u64 = 100_000;

/// The gate of one connection.
#[derive(Debug)]
pub(super) enum Gate {
    /// Not decided, since when, and what waits for the decision.
    Undecided(Time, Vec<Record>),
    /// Asked for.
    Open,
    /// Not asked for.
    Shut,
}

impl Gate {
    pub(super) fn new(since: Time) -> Self {
        Self::Undecided(since, Vec::new())
    }

    pub(super) fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided(..))
    }

    pub(super) fn is_shut(&self) -> bool {
        matches!(self, Self::Shut)
    }

    /// Lets a record out, or holds or drops it.
    pub(super) fn pass(&mut self, record: Record, out: &mut Vec<Record>) {
        match self {
            Self::Open => out.push(record),
            Self::Shut => {}
            Self::Undecided(_, held) if held.len() < HELD_RECORDS_MAX => held.push(record),
            Self::Undecided(..) => *self = Self::Shut,
        }
    }

    /// Decides if it can be decided now; for the last time when `is_final`.
    pub(super) fn decide(
        &mut self,
        filter: &Filter,
        connection: &Connection,
        now: Time,
        is_final: bool,
        out: &mut Vec<Record>,
    ) {
        let Self::Undecided(since, held) = self else {
            return;
        };
        match filter.judge(connection.facts()) {
            Some(true) => {
                let is_known = connection.owner().is_some()
                    && connection.endpoints().is_some_and(|endpoints| endpoints.local.port() != 0);
                if is_known || is_final || now.micros_since(*since) >= PATIENCE_US {
                    let held = std::mem::take(held);
                    *self = Self::Open;
                    out.extend(held.into_iter().map(|record| completed(record, connection)));
                }
            }
            Some(false) => *self = Self::Shut,
            None if is_final => *self = Self::Shut,
            None => {}
        }
    }
}

/// Fills in what became known while the record was held.
fn completed(mut record: Record, connection: &Connection) -> Record {
    match &mut record {
        Record::Transition(transition) => {
            if let Some(network) = connection.network().filter(|_| transition.network.local.port == 0) {
                transition.network = network;
            }
            if transition.process.is_none() {
                transition.process = connection.process();
            }
        }
        Record::Http(http) if http.process.is_none() => http.process = connection.process(),
        _ => {}
    }
    record
}
