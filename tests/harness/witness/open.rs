//! What is recorded of sockets that are open at the end, and what `ss` and /proc show of them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs, io,
    net::{IpAddr, Ipv6Addr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, ConnectionId},
    time::Time,
};

use super::Report;
use crate::{Recording, now, sockets::state_of_ss};

/// Network namespaces of tests, where they are mounted.
static NAMESPACES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Notes a namespace, to look at its sockets.
pub(crate) fn note_namespace(path: PathBuf) {
    NAMESPACES.lock().unwrap_or_else(PoisonError::into_inner).push(path);
}

/// Notes that a namespace goes away.
pub(crate) fn forget_namespace(path: &PathBuf) {
    NAMESPACES.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known != path);
}

/// The TCP sockets of this thread's namespace and of all that tests have made, by cookie; or why they are not known.
#[derive(Debug)]
pub(super) struct OpenSockets(Result<Listed, String>);

/// What was listed, and from when on.
#[derive(Debug)]
struct Listed {
    from: Time,
    /// Inode numbers of the namespaces.
    namespaces: HashSet<u64>,
    sockets: HashMap<u64, OpenSocket>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OpenSocket {
    /// As `ss` shows it.
    line: String,
    state: State,
    /// Inode number of its network namespace.
    netns: u64,
    /// Addresses and ports of its own end and the other.
    ends: [(IpAddr, u16); 2],
    /// Ids of the processes that have it open, as `ss` says and as descriptors in /proc are.
    pids: BTreeSet<u32>,
    /// Bytes that were received and not read; that were written and not acknowledged; that were not sent.
    receive_queue: u64,
    send_queue: u64,
    not_sent: u64,
    /// Payload that it sent, each time; what it sent again; what was acknowledged, with the SYN's and the FIN's numbers; what it
    /// received, with the FIN's.
    bytes_sent: u64,
    bytes_retrans: u64,
    bytes_acked: u64,
    bytes_received: u64,
    /// Segments that it sent again.
    retransmits: u64,
    is_mini: bool,
}

impl OpenSockets {
    pub(super) fn read() -> Self {
        // None of them goes away meanwhile.
        let noted = NAMESPACES.lock().unwrap_or_else(PoisonError::into_inner);
        let own = (PathBuf::from("/proc/thread-self/ns/net"), Command::new("ss"));
        let others = noted.iter().map(|path| {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", path.display())).args(["--", "ss"]);
            (path.clone(), command)
        });
        let from = now();
        let holders = holders();
        let (mut namespaces, mut sockets) = (HashSet::new(), HashMap::new());
        for (path, mut command) in std::iter::once(own).chain(others) {
            let shown = match command.arg("-tanpoieMOH").output() {
                // As in a VM of `cargo xtask kernels`.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Self(Err(format!("there is no {}", command.get_program().display())));
                }
                shown => shown.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")),
            };
            assert!(shown.status.success(), "{command:?}: {}", String::from_utf8_lossy(&shown.stderr));
            let netns = fs::metadata(&path).expect("a namespace has a file").ino();
            namespaces.insert(netns);
            let text = String::from_utf8_lossy(&shown.stdout).into_owned();
            sockets.extend(text.lines().filter_map(|line| parse(line, netns, &holders)));
        }
        Self(Ok(Listed { from, namespaces, sockets }))
    }
}

impl Listed {
    /// Whether a connection that is open would be listed. Of those in SYN_RECV, which may be half-open ones, none is.
    fn would_have(&self, summary: &Connection) -> bool {
        if summary.states.last().is_none_or(|span| span.state == State::SynRecv) {
            return false;
        }
        let netns = summary.connection.network.and_then(|network| network.netns);
        summary.opened < self.from && netns.is_some_and(|netns| self.namespaces.contains(&u64::from(netns)))
    }
}

/// The processes whose descriptors refer to sockets, by the sockets' inode numbers. Of each thread: the first one may have ended, and
/// then `/proc/PID/fd` is empty.
fn holders() -> HashMap<u64, BTreeSet<u32>> {
    // What ends meanwhile is not there.
    let listed = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let mut holders: HashMap<u64, BTreeSet<u32>> = HashMap::new();
    for process in listed(Path::new("/proc")) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let threads = listed(&process.path().join("task"));
        for descriptor in threads.flat_map(|thread| listed(&thread.path().join("fd")).collect::<Vec<_>>()) {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
                holders.entry(inode).or_default().insert(pid);
            }
        }
    }
    holders
}

/// A line of `ss -tanpoieMOH`, with the socket's cookie; `None` of MPTCP sockets, and of half-open connections.
fn parse(line: &str, netns: u64, holders: &HashMap<u64, BTreeSet<u32>>) -> Option<(u64, OpenSocket)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let ["tcp", state, receive_queue, send_queue, local, peer, ..] = fields.as_slice() else { return None };
    let state = state_of_ss(state).filter(|state| *state != State::SynRecv)?;
    let value = |name: &str| fields.iter().find_map(|field| field.strip_prefix(name));
    let parsed = |value: &str| value.parse::<u64>().unwrap_or_else(|error| panic!("{error}: {line}"));
    let number = |name: &str| value(name).map_or(0, parsed);
    let cookie = u64::from_str_radix(value("sk:")?, 16).expect("a number");
    let users = line.split("pid=").skip(1);
    let users = users.filter_map(|rest| rest.split(',').next()?.parse().ok());
    let descriptors = holders.get(&number("ino:")).into_iter().flatten().copied();
    let socket = OpenSocket {
        line: fields[1..6].join(" "),
        state,
        netns,
        ends: [local, peer].map(|end| endpoint(end)),
        pids: users.chain(descriptors).collect(),
        receive_queue: parsed(receive_queue),
        send_queue: parsed(send_queue),
        not_sent: number("notsent:"),
        bytes_sent: number("bytes_sent:"),
        bytes_retrans: number("bytes_retrans:"),
        bytes_acked: number("bytes_acked:"),
        bytes_received: number("bytes_received:"),
        // Those that are not acknowledged, and all.
        retransmits: value("retrans:").map_or(0, |both| parsed(both.split('/').next_back().unwrap_or(both))),
        is_mini: state == State::TimeWait || line.contains("timer:(timewait"),
    };
    Some((cookie, socket))
}

/// `127.0.0.1:80`, `[::1]:80`, `127.0.0.1%lo:80`, `[fe80::1]%eth0:80`, `*:*`.
fn endpoint(text: &str) -> (IpAddr, u16) {
    let (address, port) = text.rsplit_once(':').unwrap_or_else(|| panic!("no port: {text}"));
    let address = address.split_once('%').map_or(address, |(address, _device)| address);
    let address = match address.trim_matches(['[', ']']) {
        "*" => Ipv6Addr::UNSPECIFIED.into(),
        address => address.parse::<IpAddr>().unwrap_or_else(|error| panic!("{error}: {text}")),
    };
    let port = if port == "*" { 0 } else { port.parse().unwrap_or_else(|error| panic!("{error}: {text}")) };
    (address.to_canonical(), port)
}

/// Compares what is recorded of open sockets with what was shown before the session ended and after; what changed between is not.
pub(super) fn compare(
    recording: &Recording,
    (before, after): (&OpenSockets, &OpenSockets),
    report: &mut Report,
) {
    let (before, after) = match (&before.0, &after.0) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(why), _) | (_, Err(why)) => {
            report.uncompared.push(format!("sockets that are open at the end: {why}"));
            return;
        }
    };
    let mut last: HashMap<u64, &Connection> = HashMap::new();
    for summary in recording.connections().filter(|summary| summary.connection.id.half_open == 0) {
        let ConnectionId { cookie, incarnation, .. } = summary.connection.id;
        let known = last.entry(cookie).or_insert(summary);
        if known.connection.id.incarnation < incarnation {
            *known = summary;
        }
    }
    for (cookie, summary) in last {
        let id = summary.connection.id;
        let shown = |cookie| (before.sockets.get(&cookie), after.sockets.get(&cookie));
        match shown(cookie) {
            (Some(socket), Some(same)) if socket == same => {
                report.compared_open += 1;
                let other = summary.peer_connection.map(|other| shown(other.cookie));
                let other = match other {
                    Some((Some(other), Some(same))) if other == same => Some(other),
                    _ => None,
                };
                open_socket(summary, socket, other, recording.end.lost, report);
            }
            (None, None) if !summary.open => {}
            (None, None) if recording.end.lost == 0 && before.would_have(summary) => {
                report.faults.push(format!("{id} is recorded as open; ss shows nothing: {summary:?}"));
            }
            (before, after) => {
                let [before, after] =
                    [before, after].map(|socket| socket.map_or("nothing", |socket| socket.line.as_str()));
                report.uncompared.push(format!("the end of {id}: ss showed {before}, then {after}"));
            }
        }
    }
}

/// `other` is the other end's socket, if it is known too.
fn open_socket(
    summary: &Connection,
    shown: &OpenSocket,
    other: Option<&OpenSocket>,
    lost: u64,
    report: &mut Report,
) {
    let id = summary.connection.id;
    let Report { faults, uncompared, .. } = report;
    let mut check = |is_so: bool, what: String| {
        if !is_so {
            faults.push(format!("{id}: {what}: ss shows {shown:?}; recorded is {summary:?}"));
        }
    };
    let state = summary.states.last().map(|span| span.state);
    let is_state = state == Some(shown.state);
    if lost == 0 {
        check(is_state, format!("its state is {state:?}"));
        check(summary.open != shown.is_mini, "it is open".to_owned());
    }
    let process = summary.connection.process.as_ref().map(|process| process.pid);
    if !shown.pids.is_empty() && !shown.is_mini {
        check(process.is_some_and(|pid| shown.pids.contains(&pid)), format!("its process is {process:?}"));
    }
    if let Some(network) = summary.connection.network {
        let [own, other] = [network.local, network.peer].map(|end| (end.address, end.port));
        // A listener of both families has the address of neither.
        let is_any = |(address, port): (IpAddr, u16)| address.is_unspecified().then_some(port);
        let is_own =
            own == shown.ends[0] || is_any(own).is_some_and(|port| is_any(shown.ends[0]) == Some(port));
        let is_other = other == shown.ends[1] || shown.state == State::Listen;
        check(is_own && is_other, format!("it is from {own:?} to {other:?}"));
        let is_there = network.netns.is_none_or(|netns| u64::from(netns) == shown.netns);
        check(is_there, format!("its namespace is {:?}", network.netns));
    }
    if shown.is_mini || shown.state == State::Listen {
        return;
    }
    if let Some(socket) = &summary.socket {
        let queues = (u64::from(socket.receive_queue), u64::from(socket.send_queue));
        check(queues == (shown.receive_queue, shown.send_queue), format!("its queues are {queues:?}"));
        if let Some(info) = &socket.tcp_info {
            let sent = (info.bytes_sent, info.bytes_retrans, info.bytes_acked);
            check(
                sent == (shown.bytes_sent, shown.bytes_retrans, shown.bytes_acked),
                format!("it sent {sent:?}"),
            );
            check(
                info.bytes_received == shown.bytes_received,
                format!("it received {}", info.bytes_received),
            );
            let retransmits = u64::from(info.total_retrans);
            check(retransmits == shown.retransmits, format!("it has {retransmits} retransmits of its own"));
        }
    }
    if lost > 0 {
        return;
    }
    if !summary.seen_from_start && summary.bytes_before.is_none() {
        uncompared.push(format!("bytes of {id}: its beginning was not seen"));
        return;
    }
    let before = summary.bytes_before.unwrap_or_default();
    let [sent, received] = [summary.bytes.sent + before.sent, summary.bytes.received + before.received];
    // `rcv_nxt` moves by the FIN's number too.
    let fin = matches!(shown.state, State::CloseWait | State::LastAck | State::Closing);
    check(received + u64::from(fin) == shown.bytes_received, format!("it received {received}"));
    if shown.bytes_retrans == 0 {
        check(sent == shown.bytes_sent, format!("it sent {sent}"));
    }
    let has_sent_no_fin = matches!(shown.state, State::Established | State::CloseWait);
    if has_sent_no_fin && matches!(summary.connection.role, Some(Role::Client | Role::Server)) {
        // `snd_una` begins before a client's SYN, and behind that of a listener's child (`tcp_create_openreq_child()`).
        let syn = u64::from(summary.connection.role == Some(Role::Client));
        let next = (shown.bytes_acked + shown.send_queue).checked_sub(syn + shown.not_sent);
        check(Some(sent) == next, format!("it sent {sent}, and would send from {next:?} on"));
    }
    // At least as many as the kernel counts are not there: it counts those too that it could not send (`__tcp_retransmit_skb()`).
    if summary.seen_from_start && shown.retransmits == 0 && other.is_some_and(|other| other.retransmits == 0)
    {
        let retransmits = summary.retransmits;
        check(retransmits == 0, format!("it has {retransmits} retransmits; neither end sent anything again"));
    }
}
