//! The lookups of a recording: chosen by themselves, or because a chosen connection follows them.

use std::collections::{BTreeMap, HashMap, HashSet};

use tcp_trace_model::record::{ConnectionId, Record};

/// Lines of lookups that are held, when a recording can be read only once, until a chosen connection says that it
/// follows them. Beyond that the oldest are left out, and counted.
const HELD_MAX: usize = 16_384;

/// What is known of lookups.
#[derive(Debug)]
pub(super) struct Lookups<L> {
    /// Which lookup a connection follows, until all are known.
    followed: HashMap<ConnectionId, u64>,
    wanted: HashSet<u64>,
    held: BTreeMap<u64, L>,
    left_out: u64,
}

impl<L> Default for Lookups<L> {
    fn default() -> Self {
        Self { followed: HashMap::new(), wanted: HashSet::new(), held: BTreeMap::new(), left_out: 0 }
    }
}

impl<L> Lookups<L> {
    /// Takes note of the lookup that a connection follows.
    pub(super) fn learn(&mut self, id: ConnectionId, record: &Record) {
        if let Some(number) = followed(record) {
            self.followed.insert(id, number);
        }
    }

    /// Every line was learnt.
    pub(super) fn settle(&mut self, is_chosen: impl Fn(ConnectionId) -> bool) {
        let followed = std::mem::take(&mut self.followed);
        self.wanted =
            followed.into_iter().filter(|(id, _)| is_chosen(*id)).map(|(_, number)| number).collect();
    }

    /// Whether a chosen connection follows a lookup.
    pub(super) fn is_wanted(&self, number: u64) -> bool {
        self.wanted.contains(&number)
    }

    /// Keeps the line of a lookup that is not selected by itself.
    pub(super) fn hold(&mut self, number: u64, line: L) {
        if self.held.len() >= HELD_MAX {
            self.held.pop_first();
            self.left_out += 1;
        }
        self.held.insert(number, line);
    }

    /// The line of the lookup that a chosen connection says it follows, once.
    pub(super) fn take_followed_by(&mut self, record: &Record) -> Option<L> {
        self.held.remove(&followed(record)?)
    }

    /// Lines that found no room.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn followed(record: &Record) -> Option<u64> {
    match record {
        Record::Connection(summary) => summary.dns.as_ref().map(|resolved| resolved.lookup),
        _ => None,
    }
}
