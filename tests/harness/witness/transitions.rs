//! Recorded state changes, retransmits and resets, and the kernel's.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Bytes, Connection, ConnectionId, Filter, How, Network, Transition},
    time::Time,
};

use super::{
    Report,
    lives::{Change, Life, Uses},
};
use crate::Recording;

/// How exactly a time of the kernel's text, in microseconds, and one of the recording are on the same clock.
const CLOCK_US: u64 = 2_000;

/// One connection that is recorded, with its state changes but for those that the kernel does not report.
struct Recorded<'a> {
    summary: &'a Connection,
    path: Vec<(State, State)>,
    /// When the last of them was.
    last: Time,
    /// It says itself that something is missing or inferred.
    is_partial: bool,
}

/// Ports at both ends.
type Ports = (u16, u16);

/// Compares what was recorded of sockets `between` these times with what the kernel printed.
pub(super) fn compare(recording: &Recording, lives: &[Life], between: (Time, Time), report: &mut Report) {
    if recording.end.lost > 0 {
        let lost = recording.end.lost;
        report.uncompared.push(format!("transitions, retransmits and resets: {lost} events were lost"));
        return;
    }
    let mut by_ports: HashMap<Ports, Vec<usize>> = HashMap::new();
    for (index, life) in lives.iter().enumerate() {
        by_ports.entry((life.local_port, life.peer_port)).or_default().push(index);
    }
    let mut free = by_ports.clone();
    let mut pairs: Vec<(Recorded<'_>, usize)> = Vec::new();
    for recorded in all_recorded(recording).into_iter().filter(|recorded| !recorded.path.is_empty()) {
        let ports = ports_of(recorded.summary);
        let candidates = free.get_mut(&ports);
        let found = candidates.and_then(|candidates| take(candidates, lives, &recorded, between));
        // A connect that failed early may have had no port.
        let found = found.or_else(|| {
            let is_nameless = |of: &Ports| of.1 == ports.1 && (of.0 == 0 || ports.0 == 0) && *of != ports;
            let names: Vec<Ports> = free.keys().copied().filter(is_nameless).collect();
            names.into_iter().find_map(|name| take(free.get_mut(&name)?, lives, &recorded, between))
        });
        match found {
            Some(index) => pairs.push((recorded, index)),
            None => {
                let of_ports: Vec<_> = lives
                    .iter()
                    .filter(|life| life.peer_port == ports.1 && [0, ports.0].contains(&life.local_port))
                    .map(Life::describe)
                    .collect();
                report.faults.push(format!(
                    "{} {ports:?} has {}; the kernel printed {of_ports:#?}",
                    recorded.summary.connection.id,
                    described(&recorded.path),
                ));
            }
        }
    }
    for index in free.into_values().flatten() {
        unrecorded(&lives[index], &recording.session.filter, between, report);
    }
    for (recorded, index) in &pairs {
        report.compared_lives += 1;
        let life = &lives[*index];
        let others = by_ports.get(&(life.peer_port, life.local_port)).map(Vec::as_slice);
        let other = if let Some([other]) = others { Some(&lives[*other]) } else { None };
        figures(recorded, life, other, between, report);
    }
}

/// Every connection that had a socket, in order of birth.
fn all_recorded(recording: &Recording) -> Vec<Recorded<'_>> {
    let mut transitions: HashMap<ConnectionId, Vec<&Transition>> = HashMap::new();
    for transition in recording.transitions() {
        transitions.entry(transition.connection.id).or_default().push(transition);
    }
    let sockets = recording.connections().filter(|summary| summary.connection.id.half_open == 0);
    let sockets = sockets.filter(|summary| summary.connection.network.is_some());
    let mut all: Vec<_> = sockets
        .map(|summary| {
            let mut of = transitions.remove(&summary.connection.id).unwrap_or_default();
            of.pop_if(|last| last.old == State::TimeWait);
            of.pop_if(|last| is_swap(last.old, last.new));
            let is_inferred = |transition: &&Transition| {
                transition.gap || transition.estimated && transition.new != State::SynRecv
            };
            let is_partial = !summary.seen_from_start || of.iter().any(is_inferred);
            let last = of.last().map_or(summary.opened, |last| last.time);
            let path = of.iter().map(|transition| (transition.old, transition.new)).collect();
            Recorded { summary, path, last, is_partial }
        })
        .collect();
    all.sort_by_key(|recorded| recorded.summary.opened);
    all
}

/// Whether a mini-socket may take a socket's place with this change: what becomes of it, the tracepoint does not report.
fn is_swap(old: State, new: State) -> bool {
    matches!(old, State::FinWait2 | State::Closing) && matches!(new, State::TimeWait | State::Close)
}

fn ports_of(summary: &Connection) -> Ports {
    let network = summary.connection.network.expect("only those with addresses are compared");
    (network.local.port, network.peer.port)
}

/// Takes out the life that a connection is: of those that fit exactly, or else, where the recording says that it has gaps, of those that
/// have what is recorded, the one that was nearest in time. The same ports may have had many.
fn take(
    candidates: &mut Vec<usize>,
    lives: &[Life],
    recorded: &Recorded<'_>,
    between: (Time, Time),
) -> Option<usize> {
    let is_partial = |life: &Life| recorded.is_partial && has_all(life, &recorded.path);
    let fitting = candidates.iter().enumerate().filter_map(|(at, index)| {
        let life = &lives[*index];
        let is_exact = is_whole(life, &recorded.path, between);
        let apart = life.changes.iter().map(|change| change.time.0.abs_diff(recorded.last.0)).min();
        (is_exact || is_partial(life)).then_some((!is_exact, apart, at))
    });
    let (.., at) = fitting.min()?;
    Some(candidates.remove(at))
}

/// Its changes that the recording should have under the same name.
fn changes(life: &Life) -> &[Change] {
    match life.changes.split_last() {
        Some((last, before)) if is_swap(last.old, last.new) => before,
        _ => &life.changes,
    }
}

/// Whether a path is all that happened to a socket between these times, and nothing else; of what happened before and after,
/// it may have the part next to it.
fn is_whole(life: &Life, path: &[(State, State)], between: (Time, Time)) -> bool {
    let changes = changes(life);
    let first = changes.partition_point(|change| change.time.0 < between.0.0);
    let last = changes.partition_point(|change| change.time.after_micros(CLOCK_US) <= between.1).max(first);
    (0..=first).any(|from| {
        let to = from + path.len();
        let is_there = to >= last && to <= changes.len();
        is_there && changes[from..to].iter().zip(path).all(|(change, path)| (change.old, change.new) == *path)
    })
}

/// Whether all changes of a life that are recorded as they are happened in this order, and others beside them.
fn has_all(life: &Life, path: &[(State, State)]) -> bool {
    let mut news = life.changes.iter().map(|change| change.new);
    path.iter()
        .filter(|(_, new)| life.changes.iter().any(|change| change.new == *new))
        .all(|(_, new)| news.by_ref().any(|kernel| kernel == *new))
}

/// A life of which nothing is recorded.
fn unrecorded(life: &Life, filter: &Filter, (from, to): (Time, Time), report: &mut Report) {
    let is_within = |change: &Change| {
        change.time >= from.after_micros(CLOCK_US) && change.time.after_micros(CLOCK_US) <= to
    };
    if !changes(life).iter().any(is_within) {
        return;
    }
    match selects(filter, life) {
        Some(true) => {
            let times: Vec<_> = life.changes.iter().map(|change| change.time.micros_since(from)).collect();
            report.faults.push(format!("not recorded: {}, {times:?} us after `ready`", life.describe()));
        }
        Some(false) => {}
        None => report.uncompared.push(format!("who is selected by other than ports: {}", life.describe())),
    }
}

/// Whether a filter selects a life, as far as its ports and IPv4 addresses tell.
fn selects(filter: &Filter, life: &Life) -> Option<bool> {
    let Filter { port, local_port, peer_port, addr, .. } = filter;
    let is_any = |ports: &[u16], of: &[u16]| ports.is_empty() || of.iter().any(|port| ports.contains(port));
    let ports = is_any(port, &[life.local_port, life.peer_port])
        && is_any(local_port, &[life.local_port])
        && is_any(peer_port, &[life.peer_port]);
    if !ports {
        return Some(false);
    }
    if is_by_others(filter) {
        return None;
    }
    if addr.is_empty() {
        return Some(true);
    }
    let (local, peer) = life.addresses?;
    Some([local, peer].into_iter().any(|address| addr.iter().any(|net| net.contains(IpAddr::V4(address)))))
}

/// Whether a filter selects by more than ports and addresses.
fn is_by_others(filter: &Filter) -> bool {
    let Filter { port, local_port, peer_port, addr, .. } = filter.clone();
    *filter != Filter { port, local_port, peer_port, addr, ..Filter::default() }
}

/// Whether some state changes have to be compared: they are recorded, nothing was lost, and ports alone select.
pub(super) fn are_due(recording: &Recording) -> bool {
    let filter = &recording.session.filter;
    let is_printed = |transition: &Transition| {
        transition.connection.id.half_open == 0
            && transition.old != State::TimeWait
            && !is_swap(transition.old, transition.new)
    };
    recording.end.lost == 0
        && filter.addr.is_empty()
        && !is_by_others(filter)
        && recording.transitions().any(is_printed)
}

/// Compares what is counted of a connection; `other` is its other end, when only one socket of this host can be.
fn figures(
    recorded: &Recorded<'_>,
    life: &Life,
    other: Option<&Life>,
    between: (Time, Time),
    report: &mut Report,
) {
    let summary = recorded.summary;
    let id = summary.connection.id;
    addresses(summary, life, report);
    let is_within = |time: &&Time| **time >= between.0 && time.after_micros(CLOCK_US) <= between.1;
    if summary.connection.role == Some(Role::Listener) || recorded.is_partial {
        return;
    }
    let own = life.retransmits.iter().filter(is_within).count() as u64;
    if summary.retransmits < own {
        let found = summary.retransmits;
        report
            .faults
            .push(format!("{id} has {found} retransmits; the kernel printed {own}: {}", life.describe()));
    }
    if let Some(other) = other {
        let answers = summary.handshake.map_or(0, |handshake| u64::from(handshake.syn_ack_retransmits));
        let kernel = life.retransmits.len() + other.retransmits.len();
        let found = summary.retransmits.saturating_sub(answers);
        if kernel == 0 && life.failed_retransmits + other.failed_retransmits == 0 && found > 0 {
            report.faults.push(format!(
                "{id} has {found} retransmits; the kernel sent nothing again: {}",
                life.describe()
            ));
        } else if found > kernel as u64 {
            // What a queue of this host drops is sent again as new data.
            report
                .uncompared
                .push(format!("{found} retransmits of {id}, of which the kernel calls {kernel} so"));
        }
    }
    let is_reset = matches!(summary.close.how, How::Rst | How::Refused);
    let came = life.received_resets.iter().filter(is_within).count() > 0;
    if came && !is_reset && !summary.open {
        report.faults.push(format!("{id} is {:?}; an RST came: {}", summary.close, life.describe()));
    }
    // The text has no socket for the RST of a mini-socket (`tcp_v4_send_reset()`), and nothing of one that it gets
    // (`tcp_timewait_state_process()`).
    let has_become_mini_socket =
        life.changes.last().is_some_and(|last| (last.old, last.new) == (State::FinWait2, State::Close));
    let is_of_mini_socket = summary.close.reason.as_deref() == Some("TCP_TIMEWAIT_SOCKET")
        || summary.close.by == By::Peer && has_become_mini_socket;
    let was_reset =
        came || is_of_mini_socket || !life.received_resets.is_empty() || !life.sent_resets.is_empty();
    if is_reset && !was_reset {
        report.faults.push(format!(
            "{id} is {:?}; the kernel printed no RST: {}",
            summary.close,
            life.describe()
        ));
    }
    uses(recorded, life, report);
}

/// The addresses are the socket's own.
fn addresses(summary: &Connection, life: &Life, report: &mut Report) {
    let Some((local, peer)) = life.addresses else { return };
    let Network { local: own, peer: other, .. } = summary.connection.ends();
    // A socket has none before it connects, and loses it when that fails (`tcp_v4_connect()`).
    let is_so =
        |kernel: Ipv4Addr, recorded: IpAddr| kernel.is_unspecified() || recorded == IpAddr::V4(kernel);
    if !is_so(local, own.address) || !is_so(peer, other.address) {
        let id = summary.connection.id;
        report.faults.push(format!("{id} is from {own:?} to {other:?}; the kernel has {local} and {peer}"));
    }
}

/// Whose it is, and its bytes, as processes used it.
fn uses(recorded: &Recorded<'_>, life: &Life, report: &mut Report) {
    let summary = recorded.summary;
    let id = summary.connection.id;
    // Of an open socket /proc says whose it is. Below an MPTCP socket, which processes use, the kernel uses others.
    if summary.open || summary.mptcp || !life.uses.are_counted {
        return;
    }
    let Uses { processes, is_used, has_others, written, read, is_read_to_end, .. } = &life.uses;
    let pid = summary.connection.process.as_ref().map(|process| process.pid);
    let is_user = pid.map_or(*written + *read == 0, |pid| processes.contains(&pid));
    if *is_used && !has_others && !is_user {
        report.faults.push(format!("{id} is of {pid:?}; {processes:?} used it: {}", life.describe()));
    }
    let is_reset = !life.received_resets.is_empty() || !life.sent_resets.is_empty();
    if !life.has_beginning() || is_reset || summary.close.how != How::Fin {
        return;
    }
    // When the FIN is acknowledged, everything before it is.
    let is_acknowledged = life.changes.iter().any(|change| {
        change.new == State::FinWait2 || (change.old, change.new) == (State::LastAck, State::Close)
    });
    let Bytes { sent, received } = summary.bytes;
    if is_acknowledged && sent != *written {
        report.faults.push(format!("{id} sent {sent}; processes wrote {written}: {}", life.describe()));
    }
    if *is_read_to_end && received != *read {
        report.faults.push(format!("{id} received {received}; processes read {read}: {}", life.describe()));
    }
}

fn described(path: &[(State, State)]) -> String {
    let path: Vec<_> = path.iter().map(|(old, new)| format!("{}>{}", old.name(), new.name())).collect();
    path.join(" ")
}
