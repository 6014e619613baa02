//! Which lookups stand above which ladder, and which above none.

use std::collections::{BTreeMap, HashSet};

use tcp_trace_core::timeline::{Side, Store};
use tcp_trace_model::record::{Dns, Resolved};

use super::model::Ladder;

/// How far apart the lookups of a name end that a process makes for one connection, in microseconds: it queries IPv4
/// and IPv6 addresses at the same time, and waits for either some seconds.
const TOGETHER_US: u64 = 5_000_000;
/// How many lookups that ended before and after one are looked at for others of its name.
const NEAR: u64 = 64;

/// The lookups of a session.
pub(super) struct Lookups<'a> {
    by_number: &'a BTreeMap<u64, Dns>,
    /// Those that a connection follows.
    followed: HashSet<u64>,
    shown: HashSet<u64>,
}

/// The lookup that a connection follows.
pub(super) struct Above<'a> {
    pub(super) dns: &'a Dns,
    pub(super) resolved: &'a Resolved,
    /// Lookups of the same name by the same process at that time, which no connection follows.
    pub(super) others: Vec<&'a Dns>,
}

impl<'a> Lookups<'a> {
    /// Those of a store, of which some were shown already.
    pub(super) fn new(store: &'a Store, mut shown: HashSet<u64>) -> Self {
        let by_number = store.lookups();
        let summaries = store.lives().filter_map(|life| life.summary.as_ref());
        let followed = summaries.filter_map(|summary| Some(summary.dns.as_ref()?.lookup)).collect();
        shown.retain(|number| by_number.contains_key(number));
        Self { by_number, followed, shown }
    }

    /// Which were shown.
    pub(super) fn into_shown(self) -> HashSet<u64> {
        self.shown
    }

    /// The lookup that a connection follows, if it is there.
    pub(super) fn of(&mut self, ladder: &Ladder<'a>) -> Option<Above<'a>> {
        let resolved = ladder.end(Side::Client)?.summary?.dns.as_ref()?;
        let dns = self.by_number.get(&resolved.lookup)?;
        let is_other = |other: &&Dns| {
            !self.followed.contains(&other.lookup)
                && !self.shown.contains(&other.lookup)
                && are_together(dns, other)
        };
        let near = dns.lookup.saturating_sub(NEAR)..=dns.lookup.saturating_add(NEAR);
        let others: Vec<_> = self.by_number.range(near).map(|(_, dns)| dns).filter(is_other).collect();
        self.shown.extend(others.iter().map(|other| other.lookup).chain([dns.lookup]));
        Some(Above { dns, resolved, others })
    }

    /// The lookups that were not given out.
    pub(super) fn rest(&self) -> impl Iterator<Item = &'a Dns> {
        let rest = self.by_number.iter().filter(|(number, _)| !self.shown.contains(number));
        rest.map(|(_, dns)| dns)
    }
}

/// Whether two lookups are of the same name, by the same process, at the same time.
fn are_together(one: &Dns, other: &Dns) -> bool {
    let name = |dns: &Dns| dns.question.as_ref().map(|question| question.name.to_ascii_lowercase());
    let pid = |dns: &Dns| dns.process.as_ref().map(|process| process.pid);
    let apart_us = one.time.micros_since(other.time).max(other.time.micros_since(one.time));
    name(one).is_some() && name(one) == name(other) && pid(one) == pid(other) && apart_us <= TOGETHER_US
}
