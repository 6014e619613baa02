//! Whether a connection's records come out: held back until the filter can judge it and its process is known.

use crate::{
    conn::Connection,
    record::{Filter, Record},
    time::Time,
};

/// Records that are held of one connection while the filter cannot judge it. Beyond that it counts as not
/// asked for: nothing will be learnt of it any more.
pub const HELD_RECORDS_MAX: usize = 256;
/// How long records wait for their process to become known, in microseconds, when the filter does not need
/// it: an accepted connection is named by its process's first read.
const PATIENCE_US: u64 = 100_000;

/// The gate of one connection.
#[derive(Debug)]
pub(super) enum Gate {
    /// Not decided.
    Undecided(Box<Held>),
    /// Asked for.
    Open,
    /// Not asked for.
    Shut,
}

/// What waits for the decision.
#[derive(Debug)]
pub(super) struct Held {
    since: Time,
    records: Vec<Record>,
}

impl Gate {
    pub(super) fn new(since: Time) -> Self {
        Self::Undecided(Box::new(Held { since, records: Vec::new() }))
    }

    pub(super) fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided(_))
    }

    pub(super) fn is_shut(&self) -> bool {
        matches!(self, Self::Shut)
    }

    /// Lets a record out, or holds or drops it.
    pub(super) fn pass(&mut self, record: Record, out: &mut Vec<Record>) {
        match self {
            Self::Open => out.push(record),
            Self::Shut => {}
            Self::Undecided(held) if held.records.len() < HELD_RECORDS_MAX => held.records.push(record),
            Self::Undecided(_) => *self = Self::Shut,
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
        let Self::Undecided(held) = self else {
            return;
        };
        match filter.judge(connection.facts()) {
            Some(true) => {
                let is_known = connection.owner().is_some()
                    && connection.endpoints().is_some_and(|endpoints| endpoints.local.port() != 0);
                if is_known || is_final || now.micros_since(held.since) >= PATIENCE_US {
                    let held = std::mem::take(&mut held.records);
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
