//! Which name a process looked up before it connected to an address.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use tcp_trace_model::{event::Owner, lookup::Resolved, time::Time};

use super::{Lookup, message::addresses};

/// How long after its answer a lookup may be what a connect follows, in microseconds. Clients that keep answers
/// keep them for about so long.
pub const LINK_US: u64 = 60_000_000;
/// Lookups that are remembered at the same time; the oldest are forgotten, and no connection names them.
pub const NAMES_MAX: usize = 16_384;

/// Which process, for ever: its id and when it started.
type Who = (u32, u64);

/// The lookups of the last [`LINK_US`], by process and address. `T` is what is kept with each.
#[derive(Debug)]
pub struct Names<T> {
    /// By number.
    kept: VecDeque<Kept<T>>,
    /// The latest lookup that gave an address.
    latest: HashMap<(Who, IpAddr), u64>,
}

#[derive(Debug)]
struct Kept<T> {
    number: u64,
    ended: Time,
    who: Who,
    name: String,
    duration_us: u64,
    addresses: Vec<IpAddr>,
    value: Option<T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { kept: VecDeque::new(), latest: HashMap::new() }
    }
}

impl<T> Names<T> {
    /// Remembers a lookup that gave addresses to a known process. Numbers only grow.
    pub fn learn(&mut self, lookup: &Lookup, number: u64, value: Option<T>) {
        let (Some(question), Some(owner), Some(duration_us)) =
            (&lookup.question, &lookup.owner, lookup.duration_us)
        else {
            return;
        };
        let addresses = addresses(question, &lookup.answers);
        if addresses.is_empty() {
            return;
        }
        while self.kept.len() >= NAMES_MAX {
            self.forget_first();
        }
        let who = who(owner);
        for address in &addresses {
            self.latest.insert((who, *address), number);
        }
        let (ended, name) = (lookup.ended, question.name.clone());
        self.kept.push_back(Kept { number, ended, who, name, duration_us, addresses, value });
    }

    /// The latest lookup of this process that gave this address, not longer ago than [`LINK_US`].
    pub fn find(&self, owner: &Owner, address: IpAddr, now: Time) -> Option<Resolved> {
        let number = *self.latest.get(&(who(owner), address.to_canonical()))?;
        let kept = self.kept.get(self.position(number)?)?;
        let age_us = now.micros_since(kept.ended);
        (age_us <= LINK_US).then(|| Resolved {
            lookup: number,
            name: kept.name.clone(),
            duration_us: kept.duration_us,
            age_us,
        })
    }

    /// Takes what is kept with a lookup, once.
    pub fn take(&mut self, number: u64) -> Option<T> {
        let position = self.position(number)?;
        self.kept.get_mut(position)?.value.take()
    }

    /// Forgets what is too old.
    pub fn tick(&mut self, now: Time) {
        while self.kept.front().is_some_and(|kept| now.micros_since(kept.ended) > LINK_US) {
            self.forget_first();
        }
    }

    fn position(&self, number: u64) -> Option<usize> {
        self.kept.binary_search_by_key(&number, |kept| kept.number).ok()
    }

    fn forget_first(&mut self) {
        let Some(kept) = self.kept.pop_front() else { return };
        for address in kept.addresses {
            if self.latest.get(&(kept.who, address)) == Some(&kept.number) {
                self.latest.remove(&(kept.who, address));
            }
        }
    }
}

fn who(owner: &Owner) -> Who {
    (owner.pid, owner.key.started)
}
