//! The sockets that a recording leaves open, as a snapshot of its end.

use tcp_trace_model::{
    event::State,
    record::Connection,
    socket::{self, Family, Timer},
};

use super::{
    History,
    snapshot::{Holder, Process, Snapshot, Socket},
};

/// Stands for "some file", because recordings have no inode numbers.
const SOME_FILE: u32 = u32::MAX;

/// The snapshot. Queues, processes and states are what the summaries say; the kernel's own figures are not recorded.
pub fn snapshot(history: &History) -> Snapshot {
    let mut snapshot = Snapshot { time: history.to.unwrap_or_default(), ..Snapshot::default() };
    let mut open: Vec<_> = history.open().filter_map(|life| life.summary.as_deref()).collect();
    open.sort_by_key(|summary| summary.connection.id);
    for summary in open {
        if let Some(mut socket) = socket(summary) {
            if let Some(process) = &summary.connection.process {
                // A cgroup is known only where it was looked up in time; and a pid may be used again in another.
                let is_it = |known: &Process| {
                    let cgroups = known.cgroup.as_ref().zip(summary.cgroup.as_ref());
                    known.named.pid == process.pid && cgroups.is_none_or(|(one, other)| one == other)
                };
                let known = snapshot.processes.iter().position(is_it);
                let process = known.unwrap_or_else(|| {
                    let (named, cgroup) = ((**process).clone(), summary.cgroup.clone());
                    snapshot.processes.push(Process { named, cgroup, ..Process::default() });
                    snapshot.processes.len() - 1
                });
                if snapshot.processes[process].cgroup.is_none() {
                    snapshot.processes[process].cgroup.clone_from(&summary.cgroup);
                }
                let start = snapshot.holders.len() as u32;
                snapshot.holders.push(Holder { process: process as u32, fd: None });
                socket.holders = start..start + 1;
            }
            snapshot.sockets.push(socket);
        }
    }
    snapshot
}

fn socket(summary: &Connection) -> Option<Socket> {
    let (network, last) = (summary.connection.network?, summary.states.last()?);
    let endpoints = network.endpoints();
    let is_closed = summary.closed.is_some();
    let queue = summary.accept_queue.unwrap_or_default();
    let is_listener = last.state == State::Listen;
    let diag = socket::Socket {
        family: if endpoints.local.is_ipv4() { Family::Inet } else { Family::Inet6 },
        endpoints,
        state: last.state,
        cookie: summary.connection.id.cookie,
        timer: if is_closed { Timer::TimeWait } else { Timer::None },
        retransmits: 0,
        expires_ms: 0,
        rqueue: if is_listener { queue.length } else { summary.receive_queue },
        wqueue: if is_listener { queue.limit } else { 0 },
        uid: summary.connection.process.as_deref().map_or(0, |process| process.uid),
        inode: if is_closed { 0 } else { SOME_FILE },
        shutdown: None,
        cgroup: None,
        drops: is_listener.then_some(summary.syns_unanswered),
        info: None,
    };
    let netns = network.netns.unwrap_or_default();
    Some(Socket { netns, diag, entered: Some(last.entered), holders: 0..0, is_chosen: true })
}
