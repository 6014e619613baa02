//! Which lookup stands above which ladder, and which above none.

use std::collections::{BTreeMap, HashSet};

use super::model::{Ladder, Side};
use crate::record::{Dns, Record, Resolved};

/// The lookups of a session.
pub(super) struct Lookups<'a> {
    by_number: BTreeMap<u64, &'a Dns>,
    shown: HashSet<u64>,
}

/// The lookup that a connection follows.
pub(super) struct Above<'a> {
    pub(super) dns: &'a Dns,
    pub(super) resolved: &'a Resolved,
}

impl<'a> Lookups<'a> {
    pub(super) fn new(records: &'a [Record]) -> Self {
        let dns = records.iter().filter_map(|record| match record {
            Record::Dns(dns) => Some((dns.lookup, &**dns)),
            _ => None,
        });
        Self { by_number: dns.collect(), shown: HashSet::new() }
    }

    /// The lookup that a connection follows, if it is there.
    pub(super) fn of(&mut self, ladder: &Ladder<'a>) -> Option<Above<'a>> {
        let resolved = ladder.end(Side::Client)?.summary?.dns.as_ref()?;
        let dns = *self.by_number.get(&resolved.lookup)?;
        self.shown.insert(resolved.lookup);
        Some(Above { dns, resolved })
    }

    /// The lookups that were not given out.
    pub(super) fn rest(&self) -> impl Iterator<Item = &'a Dns> {
        let rest = self.by_number.iter().filter(|(number, _)| !self.shown.contains(number));
        rest.map(|(_, dns)| *dns)
    }
}
