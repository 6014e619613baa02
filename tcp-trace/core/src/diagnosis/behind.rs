//! Exchanges that went wrong because another one behind them did: a process that was asked had asked a server itself meanwhile, and that
//! answered late, broke off or did not answer. The one behind is the root; by time and process, each with what fits it best. Where it is
//! not known which process it was, by time and target, if only one fits.

use std::collections::{HashMap, HashSet};

use tcp_trace_model::{
    event::Role,
    record::{Connection, Http, Process},
    time::Time,
};

use super::{
    exchange_findings::server_of,
    failed_exchanges::{FailedExchange, Fault, Stop},
    finding::{places, who_named},
    findings::ExchangeKey,
    history::History,
    upstreams::{is_get, target},
};
use crate::timeline::{Position, position};

/// The order in which a process gets the one end and makes the other is its own, and so are the moments at which that is seen. In
/// microseconds.
const SLACK_US: u64 = 10_000;
/// What broke off behind a process it passes on within this time, in microseconds.
const PASSED_ON_WITHIN_US: u64 = 1_000_000;
/// Who waits for what a cache gets for somebody else looks that often whether it is there, in microseconds: nginx's `proxy_cache_lock`.
const LOOKS_EACH_US: u64 = 600_000;
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
    /// When known.
    process: Option<&'a Process>,
    /// Its network namespace, when known.
    netns: Option<u32>,
    trouble: Trouble,
    from: Time,
    until: Time,
    /// Which of those that broke off it is, if it did.
    failed: Option<usize>,
}

impl End<'_> {
    fn pid(&self) -> Option<u32> {
        self.process.map(|process| process.pid)
    }

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

    /// Whether this may have waited for what its process had begun to ask for another one, that was `asked`, as caches do that ask
    /// once for all: it began meanwhile, and ended with that, or gave up before.
    fn may_wait_for(&self, behind: &Self, asked: &Self) -> bool {
        let is_same =
            self.trouble == Trouble::Slow && behind.trouble == Trouble::Slow && self.pid() == asked.pid();
        let is_meanwhile = asked.from <= self.from && self.from < behind.until;
        let together = self.until.min(behind.until).micros_since(self.from);
        is_same
            && is_meanwhile
            && is_get(self.http)
            && self.has_target_of(behind)
            && together >= self.took_us() / 2
            && self.until <= behind.until.after_micros(LOOKS_EACH_US)
            && (self.failed.is_some() || behind.until <= self.until.after_micros(SLACK_US))
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
        if let Some(pid) = end.pid() {
            spans.entry(pid).or_default().insert(end.key, (end.from, end.until));
        }
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
    /// Of a root: what went wrong before it, and the process that was asked for that. Caches ask once for several.
    before: HashMap<ExchangeKey, Vec<Before<'a>>>,
}

/// What went wrong before a root.
#[derive(Clone, Copy, Debug)]
struct Before<'a> {
    key: ExchangeKey,
    http: &'a Http,
    process: Option<&'a Process>,
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
            let end = |of: &'a Connection| End {
                http: it.http,
                key: key(it.http),
                process: of.connection.process.as_deref(),
                netns: of.connection.network.and_then(|network| network.netns),
                trouble: Trouble::of(it.fault),
                from: it.http.exchange.timing.started,
                until: it.http.exchange.timing.started.after_micros(it.waited_us(now)),
                failed: Some(at),
            };
            asked.extend(it.server().map(end));
            asking.extend(it.client().map(end));
        }
        for http in history.exchanges().slow() {
            let timing = &http.exchange.timing;
            let process = http.connection.process.as_deref();
            let netns = history.life_of(http.connection.id).and_then(|life| life.network()?.netns);
            let until = timing.started.after_micros(timing.total_us);
            let (from, trouble, failed) = (timing.started, Trouble::Slow, None);
            let end = End { http, key: key(http), process, netns, trouble, from, until, failed };
            // What a network loses in front of a process is not what that waits for.
            let waited = || timing.wait_us.is_some_and(|us| us >= timing.total_us / 2);
            match http.connection.role {
                Some(Role::Server) if waited() => asked.push(end),
                Some(Role::Client) => asking.push(end),
                _ => {}
            }
        }
        let alone = alone(history, &asked, key);
        let mut behind = Self::of(asked.clone(), asking.clone(), &alone);
        behind.add_waiting(history, &asked, &asking);
        behind
    }

    fn of(mut asked: Vec<End<'a>>, mut asking: Vec<End<'a>>, alone: &HashSet<ExchangeKey>) -> Self {
        // A process that asks itself has nothing behind it.
        let served: HashSet<_> = asked.iter().map(|end| (end.key, end.pid())).collect();
        asking.retain(|end| end.process.is_none() || !served.contains(&(end.key, end.pid())));
        asking.sort_by_key(|end| (end.from, end.key));
        asked.sort_by_key(|end| (end.from, end.key));
        let mut by_pid = HashMap::<u32, Vec<End<'a>>>::new();
        let mut by_netns = HashMap::<Option<u32>, Vec<End<'a>>>::new();
        for end in asked {
            end.pid().into_iter().for_each(|pid| by_pid.entry(pid).or_default().push(end));
            by_netns.entry(end.netns).or_default().push(end);
        }
        let mut behind = Self::default();
        // What is known first.
        let (known, unknown): (Vec<_>, Vec<_>) = asking.into_iter().partition(|end| end.process.is_some());
        for root in &known {
            let all = root.pid().and_then(|pid| by_pid.get(&pid)).map_or(&[][..], Vec::as_slice);
            let fits = earlier(all, root).filter(|end| {
                let is_its = end.has_target_of(root) || alone.contains(&end.key);
                is_its && end.may_be_from(root) && !behind.roots.contains_key(&end.key)
            });
            if let Some(end) = fits.min_by_key(|end| (!end.has_target_of(root), end.distance_us(root))) {
                behind.add(root, end);
            }
        }
        for root in &unknown {
            behind.add_only(&by_netns, root, |_| true);
        }
        for root in &known {
            if behind.before.contains_key(&root.key) {
                continue;
            }
            behind.add_only(&by_netns, root, |end| end.process.is_none());
        }
        behind
    }

    /// Adds that this is behind the only one with its target in its network namespace that it may be behind.
    fn add_only(
        &mut self,
        by_netns: &HashMap<Option<u32>, Vec<End<'a>>>,
        root: &End<'a>,
        is_candidate: impl Fn(&End<'_>) -> bool,
    ) {
        let all = by_netns.get(&root.netns).map_or(&[][..], Vec::as_slice);
        let mut fits = earlier(all, root).filter(|end| {
            let is_its = is_candidate(end) && end.has_target_of(root) && end.may_be_from(root);
            is_its && !self.roots.contains_key(&end.key)
        });
        if let (Some(end), None) = (fits.next(), fits.next()) {
            let end = *end;
            self.add(root, &end);
        }
    }

    fn add(&mut self, root: &End<'a>, end: &End<'a>) {
        self.roots.insert(end.key, Root { key: root.key, failed: root.failed, http: root.http });
        let before = Before { key: end.key, http: end.http, process: end.process };
        self.before.entry(root.key).or_default().push(before);
    }

    /// Adds requests that waited for what their process had asked for another one: it asked for nothing with their target meanwhile.
    fn add_waiting(&mut self, history: &'a History, asked: &[End<'a>], asking: &[End<'a>]) {
        let by_key: HashMap<_, &End<'a>> = asked.iter().map(|end| (end.key, end)).collect();
        let mut found = Vec::new();
        for root in asking.iter().filter(|root| root.process.is_some()) {
            let Some(first) = self.before.get(&root.key).and_then(|it| by_key.get(&it.first()?.key)) else {
                continue;
            };
            let is_waiting = |end: &&End<'a>| {
                !self.roots.contains_key(&end.key) && end.key != root.key && end.may_wait_for(root, first)
            };
            found.extend(asked.iter().filter(is_waiting).map(|end| (*root, *end)));
        }
        if found.is_empty() {
            return;
        }
        let mut own = HashMap::<_, Vec<Time>>::new();
        let all = history.lives().flat_map(|life| &life.exchanges).chain(history.exchanges().slow());
        for http in all.filter(|http| http.connection.role == Some(Role::Client)) {
            let process = http.connection.process.as_deref();
            if let (Some(process), Some(target)) = (process, target(http)) {
                own.entry((process.pid, target)).or_default().push(http.exchange.timing.started);
            }
        }
        for (root, end) in found {
            let times = end.pid().zip(target(root.http)).and_then(|it| own.get(&it));
            let has_own =
                times.is_some_and(|times| times.iter().any(|time| end.from <= *time && *time <= end.until));
            if !has_own && !self.roots.contains_key(&end.key) {
                self.add(&root, &end);
            }
        }
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
        let place = |it: Before<'_>| format!("{} at {}", who_named(it.process), server_of(it.http));
        places(keys.flat_map(|key| self.all_before(key)).map(place))
    }

    /// All that went wrong before a root, the nearest first.
    fn all_before(&self, key: ExchangeKey) -> Vec<Before<'a>> {
        let mut all: Vec<_> = self.before.get(&key).cloned().unwrap_or_default();
        let mut at = 0;
        // What is before another began earlier, so that this ends.
        while let Some(next) = all.get(at) {
            all.extend(self.before.get(&next.key).into_iter().flatten().copied());
            at += 1;
        }
        all
    }
}

/// The ends that began before this one, the last first, as many as are compared.
fn earlier<'b, 'a>(all: &'b [End<'a>], root: &End<'_>) -> impl Iterator<Item = &'b End<'a>> {
    all[..all.partition_point(|end| end.from < root.from)].iter().rev().take(COMPARED_MAX)
}

#[cfg(test)]
#[path = "behind_tests.rs"]
mod tests;
