//! Exchanges that went wrong because another one behind them did: a process that was asked had asked a server itself meanwhile, and that
//! answered late, broke off or did not answer. The one behind is the root; by time and process, each with what fits it best.

use std::collections::{HashMap, HashSet};

use tcp_trace_model::{
    event::Role,
    record::{Http, Process},
    time::Time,
};

use super::{
    exchange_findings::server_of,
    failed_exchanges::{FailedExchange, Fault, Stop},
    finding::{places, who_named},
    findings::ExchangeKey,
    history::History,
};
use crate::timeline::{Position, position};

/// The order in which a process gets the one end and makes the other is its own, and so are the moments at which that is seen. In
/// microseconds.
const SLACK_US: u64 = 10_000;
/// What broke off behind a process it passes on within this time, in microseconds.
const PASSED_ON_WITHIN_US: u64 = 1_000_000;
/// Exchanges of a process that began before one of its own and are compared with that.
const COMPARED_MAX: usize = 1_000;

/// What went wrong, as those see it who wait for a process that waits itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It took long, or is still waited for.
    Slow,
    /// The response broke off.
    Cut,
    /// The connection ended in place of a response.
    Ended,
}

impl Trouble {
    fn of(fault: Fault) -> Self {
        match fault {
            Fault::NoResponse(Stop::GaveUp | Stop::Waiting, _) => Self::Slow,
            Fault::Cut(_) => Self::Cut,
            Fault::KeepaliveRace(..) | Fault::UsedAfterClose | Fault::Unread | Fault::NoResponse(..) => {
                Self::Ended
            }
        }
    }
}

/// An exchange that went wrong, at a process that was asked or at one that asked.
#[derive(Clone, Copy, Debug)]
struct End<'a> {
    http: &'a Http,
    key: ExchangeKey,
    process: &'a Process,
    trouble: Trouble,
    from: Time,
    until: Time,
    /// Which of those that broke off it is, if it did.
    failed: Option<usize>,
}

impl End<'_> {
    fn took_us(&self) -> u64 {
        self.until.micros_since(self.from)
    }

    /// Whether the targets are the same, or one is the end of the other: gateways add or leave out a prefix.
    fn has_target_of(&self, other: &Self) -> bool {
        let target = |it: &Self| it.http.exchange.request.as_ref().map(|it| it.target.0.clone());
        let (Some(own), Some(others)) = (target(self), target(other)) else { return false };
        let (short, long) = if own.len() < others.len() { (own, others) } else { (others, own) };
        short.len() > 1 && long.ends_with(&short)
    }

    /// Whether what went wrong behind a process may be why this did.
    fn may_be_from(&self, behind: &Self) -> bool {
        if behind.from <= self.from || behind.from > self.until || behind.key == self.key {
            return false;
        }
        match (self.trouble, behind.trouble) {
            // Who gives up ends what is behind him a moment later.
            (Trouble::Slow, Trouble::Slow) => {
                behind.took_us() >= self.took_us() / 2
                    && (self.failed.is_some() || behind.until <= self.until)
            }
            (Trouble::Cut, Trouble::Cut) | (Trouble::Ended, Trouble::Ended) => {
                behind.until <= self.until.after_micros(SLACK_US)
                    && self.until <= behind.until.after_micros(PASSED_ON_WITHIN_US)
            }
            _ => false,
        }
    }

    /// How far its beginning and its end are from those of what is behind it, in microseconds.
    fn distance_us(&self, behind: &Self) -> u64 {
        let (first, last) = (self.until.min(behind.until), self.until.max(behind.until));
        behind.from.micros_since(self.from).saturating_add(last.micros_since(first))
    }
}

/// Of these, those beside which their process had no other request, as far as that is remembered: then what it asked was for them.
fn alone(history: &History, asked: &[End<'_>], key: impl Fn(&Http) -> ExchangeKey) -> HashSet<ExchangeKey> {
    let mut spans = HashMap::<u32, HashMap<ExchangeKey, (Time, Time)>>::new();
    for end in asked {
        spans.entry(end.process.pid).or_default().insert(end.key, (end.from, end.until));
    }
    let remembered = history.lives().flat_map(|life| &life.exchanges).chain(history.exchanges().slow());
    for http in remembered.filter(|http| http.connection.role == Some(Role::Server)) {
        let pid = http.connection.process.as_deref().map(|process| process.pid);
        if let Some(spans) = pid.and_then(|pid| spans.get_mut(&pid)) {
            let from = http.exchange.timing.started;
            let until = from.after_micros(http.exchange.timing.total_us);
            let span = spans.entry(key(http)).or_insert((from, until));
            *span = (span.0.min(from), span.1.max(until));
        }
    }
    let mut alone = HashSet::new();
    for spans in spans.into_values() {
        let mut spans: Vec<_> = spans.into_iter().map(|(key, (from, until))| (from, until, key)).collect();
        spans.sort_unstable();
        let mut last = Time::default();
        for (at, (from, until, key)) in spans.iter().enumerate() {
            let is_last = spans.get(at + 1).is_none_or(|(next, ..)| next > until);
            alone.extend((*from > last && is_last).then_some(*key));
            last = last.max(*until);
        }
    }
    alone
}

/// What is behind an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root<'a> {
    /// Which.
    pub(super) key: ExchangeKey,
    /// Its number among those that broke off, if it did.
    pub(super) failed: Option<usize>,
    /// It, as the process saw it that waited for it.
    pub(super) http: &'a Http,
}

/// All exchanges that went wrong because another one did.
#[derive(Debug, Default)]
pub(super) struct Behind<'a> {
    roots: HashMap<ExchangeKey, Root<'a>>,
    /// Of a root: what went wrong before it, and the process that was asked for that.
    before: HashMap<ExchangeKey, (ExchangeKey, &'a Http, &'a Process)>,
}

impl<'a> Behind<'a> {
    /// Of these; `at_client` says where an exchange is at the client's end.
    pub(super) fn new(
        history: &'a History,
        failed: &[FailedExchange<'a>],
        now: Time,
        at_client: impl Fn(Position) -> Position,
    ) -> Self {
        let key = |http: &Http| at_client(position(http));
        let (mut asked, mut asking) = (Vec::new(), Vec::new());
        for (at, it) in failed.iter().enumerate() {
            let end = |process| End {
                http: it.http,
                key: key(it.http),
                process,
                trouble: Trouble::of(it.fault),
                from: it.http.exchange.timing.started,
                until: it.http.exchange.timing.started.after_micros(it.waited_us(now)),
                failed: Some(at),
            };
            asked.extend(it.server().and_then(|server| server.connection.process.as_deref()).map(end));
            asking.extend(it.client().and_then(|client| client.connection.process.as_deref()).map(end));
        }
        for http in history.exchanges().slow() {
            let timing = &http.exchange.timing;
            let Some(process) = http.connection.process.as_deref() else { continue };
            let until = timing.started.after_micros(timing.total_us);
            let (from, trouble, failed) = (timing.started, Trouble::Slow, None);
            let end = End { http, key: key(http), process, trouble, from, until, failed };
            // What a network loses in front of a process is not what that waits for.
            let waited = || timing.wait_us.is_some_and(|us| us >= timing.total_us / 2);
            match http.connection.role {
                Some(Role::Server) if waited() => asked.push(end),
                Some(Role::Client) => asking.push(end),
                _ => {}
            }
        }
        let alone = alone(history, &asked, key);
        Self::of(asked, asking, &alone)
    }

    fn of(mut asked: Vec<End<'a>>, mut asking: Vec<End<'a>>, alone: &HashSet<ExchangeKey>) -> Self {
        // A process that asks itself has nothing behind it.
        let served: HashSet<_> = asked.iter().map(|end| (end.key, end.process.pid)).collect();
        asking.retain(|end| !served.contains(&(end.key, end.process.pid)));
        asking.sort_by_key(|end| (end.from, end.key));
        asked.sort_by_key(|end| (end.from, end.key));
        let mut by_pid = HashMap::<u32, Vec<End<'a>>>::new();
        asked.into_iter().for_each(|end| by_pid.entry(end.process.pid).or_default().push(end));
        let mut behind = Self::default();
        for root in asking {
            let all = by_pid.get(&root.process.pid).map_or(&[][..], Vec::as_slice);
            let earlier = &all[..all.partition_point(|end| end.from < root.from)];
            let fits = earlier.iter().rev().take(COMPARED_MAX).filter(|end| {
                let is_its = end.has_target_of(&root) || alone.contains(&end.key);
                is_its && end.may_be_from(&root) && !behind.roots.contains_key(&end.key)
            });
            if let Some(end) = fits.min_by_key(|end| (!end.has_target_of(&root), end.distance_us(&root))) {
                behind.roots.insert(end.key, Root { key: root.key, failed: root.failed, http: root.http });
                behind.before.insert(root.key, (end.key, end.http, end.process));
            }
        }
        behind
    }

    /// What is behind an exchange.
    pub(super) fn root(&self, key: ExchangeKey) -> Option<Root<'a>> {
        self.roots.get(&key).copied()
    }

    /// All that is behind an exchange, one behind the other.
    pub(super) fn roots(&self, key: ExchangeKey) -> impl Iterator<Item = Root<'a>> {
        // What is behind another began later, so this does not come back.
        std::iter::successors(self.root(key), |root| self.root(root.key))
    }

    /// The processes that passed on what went wrong with these, and for how many of those that asked them: `nginx (pid 7) at
    /// 10.0.0.1:80 (3)`.
    pub(super) fn passed_on(&self, keys: impl Iterator<Item = ExchangeKey>) -> Vec<String> {
        let before = |key| std::iter::successors(self.before.get(&key), |(key, ..)| self.before.get(key));
        let place = |(_, http, process): &(_, &Http, &Process)| {
            format!("{} at {}", who_named(Some(process)), server_of(http))
        };
        places(keys.flat_map(before).map(place))
    }
}

#[cfg(test)]
#[path = "behind_tests.rs"]
mod tests;
