//! What the kernel lists of connections that no event reports: when it has to, and what follows from it.

use std::collections::HashMap;

use tcp_trace_model::{
    event::{Endpoints, State},
    record::Transition,
    time::Time,
};

use super::{Pipeline, output::Output};
use crate::conn::{Connection, Listed};

/// How long after a list the next one is due, in microseconds. Ticks and lists take their time too: what ends is to be
/// seen within a second.
const INTERVAL_US: u64 = 800_000;
/// Lists are made so seldom that they cost at most one part in this many of a processor.
const SHARE: u64 = 20;

/// A socket without a cookie of its own, as the kernel lists it (sock_diag).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSocket {
    /// Its addresses.
    pub endpoints: Endpoints,
    /// `TIME_WAIT`, `FIN_WAIT2`, or `SYN_RECV` for a half-open connection.
    pub state: State,
    /// What is left of its timer, in microseconds.
    pub expires_us: u64,
}

/// When lists are asked for.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// When those that have not come were asked for.
    asked: Option<Time>,
    /// When the next are due.
    next: Time,
}

impl Lists {
    fn is_due(&self, now: Time) -> bool {
        self.asked.is_none() && now >= self.next
    }

    fn over(&mut self, processor_us: u64) {
        if let Some(asked) = self.asked.take() {
            self.next = asked.after_micros(INTERVAL_US.max(processor_us.saturating_mul(SHARE)));
        }
    }
}

impl Pipeline {
    /// Asks for lists where they are needed and due.
    pub(super) fn ask_lists(&mut self, now: Time) {
        if !self.lists.is_due(now) {
            return;
        }
        let mut namespaces = Vec::new();
        self.unaccepted.namespaces(now, &mut namespaces);
        self.mini_sockets.namespaces(&mut namespaces);
        if namespaces.is_empty() {
            return;
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        self.lists.asked = Some(now);
        self.cx.out.push(Output::ListNamespaces(namespaces));
    }

    /// Takes the kernel's list of a namespace's mini-sockets and half-open connections, read between `from` and
    /// `to`.
    pub fn listed(&mut self, netns: u32, (from, to): (Time, Time), sockets: &[ListedSocket]) {
        let is_half_open = |socket: &&ListedSocket| socket.state == State::SynRecv;
        let half_open = sockets.iter().filter(is_half_open).map(|socket| socket.endpoints).collect();
        self.unaccepted.listed(
            netns,
            (from, to),
            &half_open,
            (&mut self.connections, &mut self.peers),
            &mut self.cx,
        );
        let listed: HashMap<Endpoints, Listed> = sockets
            .iter()
            .filter(|socket| !is_half_open(socket))
            .map(|socket| (socket.endpoints, Listed { state: socket.state, expires_us: socket.expires_us }))
            .collect();
        self.each_mini_socket(netns, |connection, endpoints| {
            connection.on_listed(from, to, listed.get(&endpoints).copied())
        });
    }

    /// Notes that a namespace's list cannot be read.
    pub fn not_listed(&mut self, netns: u32, now: Time) {
        self.each_mini_socket(netns, |connection, _| connection.on_not_listed(now));
    }

    /// Notes that each namespace was listed that an [`Output::ListNamespaces`] names, or cannot be; that took the kernel so
    /// much of a processor's time.
    pub fn lists_over(&mut self, processor_us: u64) {
        self.lists.over(processor_us);
    }

    fn each_mini_socket(
        &mut self,
        netns: u32,
        change: impl Fn(&mut Connection, Endpoints) -> Option<Transition>,
    ) {
        for (id, endpoints) in self.mini_sockets.of(netns) {
            self.change_mini_socket(id, |connection| change(connection, endpoints));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_due_about_once_a_second_and_cost_a_bounded_share_of_a_processor() {
        let at = |us: u64| Time(1_000_000_000).after_micros(us);
        let mut lists = Lists::default();
        assert!(lists.is_due(at(0)));
        lists.asked = Some(at(0));
        assert!(!lists.is_due(at(10 * INTERVAL_US)), "the last one has not come");
        lists.over(1);
        assert!(!lists.is_due(at(INTERVAL_US - 1)) && lists.is_due(at(INTERVAL_US)));
        lists.asked = Some(at(INTERVAL_US));
        lists.over(INTERVAL_US);
        assert!(!lists.is_due(at(SHARE * INTERVAL_US)) && lists.is_due(at((1 + SHARE) * INTERVAL_US)));
    }
}
