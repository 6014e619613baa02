//! The facts of one moment: sockets, who has them, and the settings and counters of their network namespaces.

use std::{collections::HashSet, ops::Range};

use tcp_trace_model::{
    event::{Owner, State},
    filter,
    record::{ConnectionId, Filter, Process as Named, Text},
    socket,
    time::Time,
};

/// All sockets of a host at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was read.
    pub time: Time,
    /// The sockets.
    pub sockets: Vec<Socket>,
    /// Who has them open: those of one socket side by side, the lowest process id first.
    pub holders: Vec<Holder>,
    /// Processes that have sockets.
    pub processes: Vec<Process>,
    /// Network namespaces.
    pub networks: Vec<Network>,
    /// What could not be seen.
    pub blindspots: Blindspots,
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Inode number of its network namespace; 0 when it is not known.
    pub netns: u32,
    /// What the kernel says about it; from a recording, only what that contains.
    pub diag: socket::Socket,
    /// When it entered its state, if that was traced.
    pub entered: Option<Time>,
    /// Which of [`Snapshot::holders`] have it open.
    pub holders: Range<u32>,
    /// Whether it is selected. The others are kept because they may be the other end of a selected one, and to be
    /// counted.
    pub is_chosen: bool,
}

/// A descriptor that refers to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Index in [`Snapshot::processes`].
    pub process: u32,
    /// Number of the descriptor; `None` in a recording, which does not contain it.
    pub fd: Option<u32>,
}

/// A process that has sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Id, name, executable and user.
    pub named: Named,
    /// Its command line; empty when it could not be read.
    pub command: Vec<Text>,
    /// Descriptors that it has open; 0 when not known.
    pub files: u64,
    /// How many it may have (RLIMIT_NOFILE).
    pub files_limit: Option<u64>,
    /// Path of its cgroup in the v2 hierarchy, when known.
    pub cgroup: Option<String>,
}

/// A network namespace's settings, and counters since it was made. `None` is what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Inode number.
    pub netns: u32,
    /// `net.ipv4.ip_local_port_range`: first and last port.
    pub port_range: Option<(u16, u16)>,
    /// Ports of that range that are in `net.ipv4.ip_local_reserved_ports`.
    pub reserved_ports: u16,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub max_syn_backlog: Option<u64>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: Option<u64>,
    /// `net.ipv4.tcp_max_tw_buckets`.
    pub max_time_wait: Option<u64>,
    /// Counters of `/proc/net/netstat` and `/proc/net/snmp` that are used, by name without `TcpExt` or `Ip`.
    pub counters: Vec<(String, u64)>,
}

/// What could not be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blindspots {
    /// Processes that could not be looked into.
    pub processes: u64,
    /// Processes whose network namespace could not be seen.
    pub namespaces_of: u64,
    /// Network namespaces whose sockets could not be listed.
    pub namespaces: Vec<u32>,
    /// Whether a list was incomplete to the last.
    pub is_incomplete: bool,
    /// Sockets that could not be understood.
    pub malformed: u64,
    /// Descriptors that were not kept, because there were too many.
    pub holders: u64,
}

impl Socket {
    /// Its name in recordings.
    pub fn connection(&self) -> ConnectionId {
        ConnectionId::of_socket(self.diag.cookie, 0)
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.diag.state
    }

    /// Whether the application has closed it, or has not accepted it yet.
    pub fn has_no_file(&self) -> bool {
        self.diag.inode == 0
    }
}

impl Snapshot {
    /// The descriptors that refer to a socket.
    pub fn holders(&self, socket: &Socket) -> &[Holder] {
        let Range { start, end } = socket.holders;
        self.holders.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The processes that have a socket open, with their descriptors.
    pub fn owners(&self, socket: &Socket) -> impl Iterator<Item = (&Process, Option<u32>)> {
        let holders = self.holders(socket).iter();
        holders.filter_map(|holder| Some((self.processes.get(holder.process as usize)?, holder.fd)))
    }

    /// The process that has a socket open; of several the one with the lowest id.
    pub fn owner(&self, socket: &Socket) -> Option<&Process> {
        self.owners(socket).next().map(|(process, _)| process)
    }

    /// The network namespace of a socket.
    pub fn network(&self, netns: u32) -> Option<&Network> {
        self.networks.iter().find(|network| network.netns == netns)
    }

    /// Notes which sockets are selected: those that the filter accepts for any of their processes.
    pub fn choose(&mut self, filter: &Filter) {
        if filter.is_empty() {
            return;
        }
        let mut chosen = Vec::with_capacity(self.sockets.len());
        for socket in &self.sockets {
            let endpoints = Some(socket.diag.endpoints);
            let netns = Some(socket.netns).filter(|netns| *netns != 0);
            // The list says nothing of translation.
            let translated = filter::Translated::No;
            let passes = |owner: Option<&Owner>| {
                filter.judge(filter::Facts { endpoints, translated, netns, owner }) == Some(true)
            };
            let mut owners = self
                .owners(socket)
                .map(|(process, _)| filter::owner(&process.named, process.cgroup.as_deref()));
            chosen.push(passes(None) || owners.any(|owner| passes(Some(&owner))));
        }
        for (socket, is_chosen) in self.sockets.iter_mut().zip(chosen) {
            socket.is_chosen = is_chosen;
        }
        self.choose_of_listeners();
    }
}

impl Snapshot {
    /// Sockets that no process has open belong to the listener with their port: half-open, not accepted, and closed
    /// connections.
    fn choose_of_listeners(&mut self) {
        let key = |socket: &Socket| (socket.netns, socket.diag.endpoints.local.port());
        let listeners =
            self.sockets.iter().filter(|socket| socket.is_chosen && socket.state() == State::Listen);
        let chosen: HashSet<_> = listeners.map(key).collect();
        for socket in &mut self.sockets {
            socket.is_chosen |= socket.has_no_file() && chosen.contains(&key(socket));
        }
    }
}

impl Network {
    /// A counter's value, if the kernel has it.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// How many ports a client can be given.
    pub fn ports(&self) -> Option<u64> {
        let (first, last) = self.port_range?;
        let all = u64::from(last.checked_sub(first)?) + 1;
        Some(all.saturating_sub(self.reserved_ports.into()))
    }

    /// Whether a client can be given this port.
    pub fn is_ephemeral(&self, port: u16) -> bool {
        self.port_range.is_some_and(|(first, last)| (first..=last).contains(&port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Host;

    #[test]
    fn sockets_are_chosen_by_network_namespace_and_cgroup() {
        let mut host = Host::new();
        let (api, web) = (host.process(7, "api"), host.process(8, "web"));
        for (owner, port, netns) in [(api, 1, 5), (web, 2, 5), (api, 3, 6), (web, 4, 0)] {
            host.accepted(Some(owner), State::Established, port).netns = netns;
        }
        let mut snapshot = host.snapshot;
        let mut chosen = |filter: Filter| -> Vec<u16> {
            snapshot.choose(&filter);
            let chosen = snapshot.sockets.iter().filter(|socket| socket.is_chosen);
            chosen.map(|socket| socket.diag.endpoints.peer.port()).collect()
        };
        let cgroup = |path: &str| Filter { cgroup: vec![path.to_owned()], ..Filter::default() };
        assert_eq!(chosen(Filter { netns: vec![5], ..Filter::default() }), [1, 2]);
        assert!(chosen(Filter { netns: vec![0], ..Filter::default() }).is_empty(), "that one is not known");
        assert_eq!(chosen(cgroup("/system.slice/api.service")), [1, 3]);
        assert_eq!(chosen(cgroup("/system.slice")), [1, 2, 3, 4]);
        assert_eq!(chosen(Filter { netns: vec![5], ..cgroup("/system.slice/web.service") }), [2]);
    }
}
