//! The sockets that a recording leaves open, as a snapshot of its end.

use tcp_trace_model::{
    event::State,
    record::{Connection, KernelSocket, Process as Named},
    socket::{self, Family, Timer},
};

use super::{
    History,
    snapshot::{Holder, Process, Snapshot, Socket},
};

/// Stands for "some file", because recordings have no inode numbers.
const SOME_FILE: u32 = u32::MAX;

/// The snapshot. It has what the kernel said of each socket as the recording ended, and where the recording does not have that
/// (earlier versions did not write it), what the summaries say.
pub fn snapshot(history: &History) -> Snapshot {
    let mut snapshot =
        Snapshot { time: history.to.unwrap_or_default(), is_recorded: true, ..Snapshot::default() };
    // What is closed and goes on for a while (TIME_WAIT, an orphan's FIN_WAIT2) the kernel still has.
    let goes_on = |summary: &&Connection| summary.open || summary.ends > history.to;
    let summaries = history.lives().filter_map(|life| life.summary.as_deref());
    let mut open: Vec<_> = summaries.filter(goes_on).collect();
    open.sort_by_key(|summary| summary.connection.id);
    for summary in &open {
        if let Some(mut socket) = socket(summary) {
            let start = snapshot.holders.len() as u32;
            if let Some(process) = summary.connection.process.as_deref().filter(|_| !socket.has_no_file()) {
                let process = owner(&mut snapshot, summary, process);
                snapshot.holders.push(Holder { process, fd: None });
            }
            socket.holders = start..snapshot.holders.len() as u32;
            snapshot.sockets.push(socket);
        }
    }
    add_sharers(&mut snapshot, &open);
    snapshot
}

/// Index of the process of a connection, which is added if it is not there.
fn owner(snapshot: &mut Snapshot, summary: &Connection, process: &Named) -> u32 {
    // A cgroup is known only where it was looked up in time; and a pid may be used again in another.
    let is_it = |known: &Process| {
        let cgroups = known.cgroup.as_ref().zip(summary.cgroup.as_ref());
        known.named.pid == process.pid && cgroups.is_none_or(|(one, other)| one == other)
    };
    let known = snapshot.processes.iter().position(is_it);
    let index = known.unwrap_or_else(|| {
        snapshot.processes.push(Process { named: process.clone(), ..Process::default() });
        snapshot.processes.len() - 1
    });
    if let Some(known) = snapshot.processes.get_mut(index) {
        known.cgroup = known.cgroup.take().or_else(|| summary.cgroup.clone());
        if let Some(socket) = &summary.socket {
            known.state = known.state.or(socket.process_state);
            known.files = known.files.max(socket.open_files.unwrap_or_default());
            known.files_limit = known.files_limit.or(socket.open_files_limit);
        }
    }
    index as u32
}

/// Adds the further processes that have a socket open, of which the recording may say more elsewhere.
fn add_sharers(snapshot: &mut Snapshot, open: &[&Connection]) {
    for index in 0..snapshot.sockets.len() {
        let id = snapshot.sockets[index].connection();
        let at = open.partition_point(|summary| summary.connection.id < id);
        let listed = open.get(at).and_then(|summary| summary.socket.as_deref());
        let Some(KernelSocket { also_open_in, .. }) = listed.filter(|it| !it.also_open_in.is_empty()) else {
            continue;
        };
        let own = snapshot.sockets[index].holders.clone();
        let mut holders: Vec<_> =
            snapshot.holders.get(own.start as usize..own.end as usize).unwrap_or_default().to_vec();
        for pid in also_open_in {
            let known = snapshot.processes.iter().position(|process| process.named.pid == *pid);
            let process = known.unwrap_or_else(|| {
                let named = Named { pid: *pid, ..Named::default() };
                snapshot.processes.push(Process { named, ..Process::default() });
                snapshot.processes.len() - 1
            });
            holders.push(Holder { process: process as u32, fd: None });
        }
        let start = snapshot.holders.len() as u32;
        snapshot.holders.extend(holders);
        snapshot.sockets[index].holders = start..snapshot.holders.len() as u32;
    }
}

fn socket(summary: &Connection) -> Option<Socket> {
    let (network, last) = (summary.connection.network?, summary.states.last()?);
    let endpoints = network.endpoints();
    let is_listener = last.state == State::Listen;
    let listed = summary.socket.as_deref().cloned().unwrap_or_else(|| as_summarised(summary, is_listener));
    let diag = socket::Socket {
        family: if endpoints.local.is_ipv4() { Family::Inet } else { Family::Inet6 },
        endpoints,
        state: last.state,
        cookie: summary.connection.id.cookie,
        timer: listed.timer.unwrap_or(Timer::None),
        retransmits: listed.timer_retransmits,
        expires_ms: listed.timer_expires_ms,
        rqueue: listed.receive_queue,
        wqueue: listed.send_queue,
        uid: summary.connection.process.as_deref().map_or(0, |process| process.uid),
        inode: if listed.no_file { 0 } else { SOME_FILE },
        shutdown: listed.shutdown,
        cgroup: None,
        drops: is_listener.then_some(summary.syns_unanswered),
        info: listed.tcp_info,
    };
    let netns = network.netns.unwrap_or_default();
    Some(Socket { netns, diag, entered: Some(last.entered), holders: 0..0, is_chosen: true })
}

/// What a summary says of a socket where the kernel's word was not recorded.
fn as_summarised(summary: &Connection, is_listener: bool) -> KernelSocket {
    let is_closed = summary.closed.is_some();
    let state = summary.states.last().map(|span| span.state);
    let queue = summary.accept_queue.unwrap_or_default();
    // A summary does not say whether the peer's FIN was read: unread data was not, and neither was what came behind it.
    let unread = match state {
        Some(State::CloseWait) if summary.receive_queue > 0 => summary.receive_queue.saturating_add(1),
        _ => summary.receive_queue,
    };
    KernelSocket {
        receive_queue: if is_listener { queue.length } else { unread },
        send_queue: if is_listener { queue.limit } else { 0 },
        // What nobody has used yet has not been accepted, or does not say so.
        no_file: is_closed || state == Some(State::SynRecv),
        timer: is_closed.then_some(Timer::TimeWait),
        timer_expires_ms: summary.ends.map_or(0, |ends| milliseconds(ends.micros_since(summary.time))),
        // Of a half-open connection the timer is that of its SYN+ACK.
        timer_retransmits: match (state, summary.handshake) {
            (Some(State::SynRecv), Some(handshake)) => {
                u8::try_from(handshake.syn_ack_retransmits).unwrap_or(u8::MAX)
            }
            _ => 0,
        },
        ..KernelSocket::default()
    }
}

fn milliseconds(us: u64) -> u32 {
    u32::try_from(us / 1_000).unwrap_or(u32::MAX)
}
