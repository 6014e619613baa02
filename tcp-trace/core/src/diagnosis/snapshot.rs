//! The facts of one moment: sockets, who has them, and the settings and counters of their network namespaces.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use tcp_trace_model::{
    event::{Owner, State},
    filter,
    record::{ConnectionId, Filter, Process as Named, ProcessState, Text},
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
    /// Who has them open: those of one socket side by side, the lowest process id first, and of a listener those first that seem to
    /// accept ([`Snapshot::put_acceptors_first`]).
    pub holders: Vec<Holder>,
    /// Processes that have sockets.
    pub processes: Vec<Process>,
    /// Network namespaces.
    pub networks: Vec<Network>,
    /// What could not be seen.
    pub blindspots: Blindspots,
    /// Whether it is the end of a recording.
    pub is_recorded: bool,
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
    /// What keeps it from running, if something does.
    pub state: Option<ProcessState>,
    /// Descriptors that it has open; 0 when not known.
    pub files: u64,
    /// How many it may have (RLIMIT_NOFILE).
    pub files_limit: Option<u64>,
    /// Path of its cgroup in the v2 hierarchy, when known.
    pub cgroup: Option<String>,
    /// The id of its parent, when known.
    pub parent: Option<u32>,
    /// How long ago it was started when the first socket was read, in milliseconds, when known; exec() does not count.
    pub age_ms: Option<u64>,
    /// Whether each of its threads waits for a time, a signal or a child process, so that none is about to use a socket; false where
    /// that is not known.
    pub sleeps: bool,
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
    /// `net.ipv4.tcp_tw_reuse`, where `net.ipv4.tcp_timestamps` allows it: 1 for all, 2 for loopback.
    pub reuses_time_wait: Option<u64>,
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

    /// The process that has a socket open; of several the one with the lowest id, and of a listener one that seems to accept.
    pub fn owner(&self, socket: &Socket) -> Option<&Process> {
        self.owners(socket).next().map(|(process, _)| process)
    }

    /// The network namespace of a socket.
    pub fn network(&self, netns: u32) -> Option<&Network> {
        self.networks.iter().find(|network| network.netns == netns)
    }

    /// Puts those first of the holders of each listener that seem to accept. A master that made the listener for its workers
    /// (prefork), and a manager that made it for a service (socket activation), have it open too.
    pub fn put_acceptors_first(&mut self) {
        let key = |socket: &Socket| (socket.netns, socket.diag.endpoints.local.port());
        let is_listener = |socket: &&Socket| socket.state() == State::Listen;
        let shared = |socket: &&Socket| socket.holders.len() > 1;
        let mut accepted: HashMap<_, HashSet<u32>> = self
            .sockets
            .iter()
            .filter(is_listener)
            .filter(shared)
            .map(|it| (key(it), HashSet::new()))
            .collect();
        if accepted.is_empty() {
            return;
        }
        for socket in self.sockets.iter().filter(|socket| socket.state() != State::Listen) {
            if let Some(holders) = accepted.get_mut(&key(socket)) {
                holders.extend(self.holders(socket).iter().map(|holder| holder.process));
            }
        }
        let mut holders = std::mem::take(&mut self.holders);
        for listener in self.sockets.iter().filter(is_listener).filter(shared) {
            let Range { start, end } = listener.holders;
            let Some(holders) = holders.get_mut(start as usize..end as usize) else { continue };
            let having: Vec<&Process> =
                holders.iter().filter_map(|holder| self.processes.get(holder.process as usize)).collect();
            let masters: HashSet<u32> =
                having.iter().filter_map(|one| self.master_of(one, &having)).collect();
            let has_accepted = |holder: &Holder| accepted[&key(listener)].contains(&holder.process);
            let is_master = |holder: &Holder| {
                let process = self.processes.get(holder.process as usize);
                process.is_some_and(|process| masters.contains(&process.named.pid))
            };
            // Stable: those that are alike stay in the order of their process ids.
            holders.sort_by_key(|holder| (!has_accepted(holder), is_master(holder)));
        }
        self.holders = holders;
    }

    /// The id of the one of these processes that made the listener for this one, if any: its parent, which runs the same program or is
    /// the first process. A parent that runs another program has left it a listener that it did not mean to.
    fn master_of(&self, process: &Process, holders: &[&Process]) -> Option<u32> {
        let parent = holders.iter().find(|holder| Some(holder.named.pid) == process.parent)?;
        let is_same =
            parent.named.executable.is_some() && parent.named.executable == process.named.executable;
        (is_same || parent.named.pid == 1).then_some(parent.named.pid)
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
            let connection = Some(ConnectionId::of_socket(socket.diag.cookie, 0));
            // The list says nothing of translation.
            let passes = |owner: Option<&Owner>| {
                let facts = filter::Facts { connection, endpoints, netns, owner, ..Default::default() };
                filter.judge_finally(facts)
            };
            let mut owners = self
                .owners(socket)
                .map(|(process, _)| filter::owner(&process.named, process.cgroup.as_deref()))
                .peekable();
            chosen.push(match owners.peek() {
                None => passes(None),
                Some(_) => owners.any(|owner| passes(Some(&owner))),
            });
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

    /// A listener that these have open, by their ids and those of their parents; which of them is named.
    fn named(holders: &[(u32, u32)], accepted_by: Option<u32>) -> u32 {
        let mut host = Host::new();
        let processes: Vec<_> = holders.iter().map(|(pid, _)| host.process(*pid, "server")).collect();
        for (process, (_, parent)) in host.snapshot.processes.iter_mut().zip(holders) {
            process.parent = Some(*parent);
            // The first process is the manager of all services.
            let program = if process.named.pid == 1 { "/sbin/init" } else { "/usr/bin/server" };
            process.named.executable = Some(program.into());
        }
        host.listener(Some(processes[0]), 0, 128);
        let further = processes[1..].iter().map(|process| Holder { process: *process, fd: Some(3) });
        host.snapshot.holders.extend(further);
        host.snapshot.sockets[0].holders.end += processes.len() as u32 - 1;
        if let Some(pid) = accepted_by {
            let owner = holders.iter().position(|(holder, _)| *holder == pid).unwrap();
            host.accepted(Some(processes[owner]), State::Established, 40_000);
        }
        host.snapshot.put_acceptors_first();
        host.snapshot.owner(&host.snapshot.sockets[0]).unwrap().named.pid
    }

    #[test]
    fn of_those_that_have_a_listener_the_one_is_named_that_accepts() {
        let prefork = [(70, 1), (71, 70), (72, 70)];
        assert_eq!(named(&prefork, None), 71);
        assert_eq!(named(&prefork, Some(72)), 72);
        assert_eq!(named(&prefork, Some(70)), 70, "the workers do something else");
        assert_eq!(named(&[(1, 0), (70, 1)], None), 70, "it was activated by its socket");
        assert_eq!(named(&[(70, 1), (80, 1)], None), 70);
        assert_eq!(named(&[(70, 1)], None), 70);
    }

    #[test]
    fn a_program_that_inherited_a_listener_does_not_accept() {
        let mut host = Host::new();
        let [server, helper] = [(7, "/bin/server"), (8, "/bin/sleep")].map(|(pid, program)| {
            let index = host.process(pid, "x");
            host.snapshot.processes[index as usize].named.executable = Some(program.into());
            index
        });
        host.snapshot.processes[helper as usize].parent = Some(7);
        host.listener(Some(server), 0, 128);
        host.snapshot.holders.push(Holder { process: helper, fd: Some(3) });
        host.snapshot.sockets[0].holders.end += 1;
        host.snapshot.put_acceptors_first();
        assert_eq!(host.snapshot.owner(&host.snapshot.sockets[0]).unwrap().named.pid, 7);
    }

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
