//! The sockets that the kernel lists, against what `ss` says of them and what the process that made them knows.

#[path = "sock_diag/ss.rs"]
mod ss;

use std::{
    collections::HashSet,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Instant,
};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use serde::Deserialize;
use tcp_trace::kernel::{
    cgroup_paths::CgroupPaths,
    netns::{self, NetworkNamespace},
    process::{self, SocketOwners},
    sock_diag::{Dump, SockDiag, States},
};
use tcp_trace_model::{
    event::{Endpoints, State},
    socket::{Family, Socket, Timer},
};
use tcp_trace_tests::{Namespace, Running, require_root, stay_on_one_cpu, wait_for};

use self::ss::{Ages, Line};

/// The states of the sockets that the script keeps, in the order of their names, with how many there are.
const STATES: [(State, usize); 7] = [
    (State::CloseWait, 2),
    (State::Established, 2 + 1 + 2 + 2 + 2),
    (State::FinWait2, 2),
    (State::Listen, 3),
    (State::SynRecv, 1),
    (State::TimeWait, 1),
    (State::SynSent, 0),
];

/// What the script reports about its sockets.
#[derive(Deserialize)]
struct Made {
    ports: [u16; 3],
    time_wait: u64,
    orphan: u64,
}

/// The script, with its sockets made.
struct Sockets {
    process: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    made: Made,
    /// Cookies of the sockets that were there before. Ports come again while older connections are in TIME_WAIT.
    before: HashSet<u64>,
}

impl Sockets {
    fn make(mut python: Command, diag: &mut SockDiag) -> Self {
        require_root();
        let before = dump(diag, States::ALL).iter().map(|socket| socket.cookie).collect();
        // It has one in TIME_WAIT.
        stay_on_one_cpu();
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/sock_diag/sockets.py"));
        let mut process = Running::start(python.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let input = process.0.stdin.take().expect("it is piped");
        let mut output = BufReader::new(process.0.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the script says what it made");
        let made = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { process, input, output, made, before }
    }

    fn has(&self, cookie: u64, endpoints: Endpoints) -> bool {
        let ends = [endpoints.local, endpoints.peer];
        ends.iter().any(|end| self.made.ports.contains(&end.port())) && !self.before.contains(&cookie)
    }

    fn lines(&self, ss: Command) -> Vec<(Line, Ages)> {
        let mut lines = ss::lines(ss);
        lines.retain(|(line, _)| self.has(line.cookie, line.endpoints));
        lines
    }

    /// Completes the half-open connection; returns the cookie of its socket.
    fn complete(&mut self) -> u64 {
        self.input.write_all(b"data\n").expect("the script reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the script answers");
        line.trim().parse().expect("a cookie")
    }
}

fn dump(diag: &mut SockDiag, states: States) -> Vec<Socket> {
    let mut sockets = Vec::new();
    let dump = diag.dump(states, true, &mut |socket| sockets.push(socket)).expect("the kernel lists sockets");
    assert_eq!(dump, Dump { sockets: sockets.len() as u64, ..Dump::default() });
    sockets
}

fn entry_of(namespace: &Namespace) -> NetworkNamespace {
    let namespaces = netns::find().expect("/proc can be read");
    let of = |entry: &NetworkNamespace| entry.inode == namespace.inode();
    namespaces.found.into_iter().find(of).expect("a namespace that is mounted is found")
}

/// What is listed is what `ss` says, line by line, once all sockets are in their states and `ss` says the same before
/// and after.
fn assert_ss_agrees(diag: &mut SockDiag, ss: impl Fn() -> Command, sockets: &Sockets) -> Vec<Socket> {
    let (listed, before, after) = wait_for("all states, and ss to say the same twice", || {
        let before = sockets.lines(ss());
        let mut listed = dump(diag, States::ALL);
        let after = sockets.lines(ss());
        listed.retain(|socket| sockets.has(socket.cookie, socket.endpoints));
        let count = |state| listed.iter().filter(|socket| socket.state == state).count();
        let are_settled = STATES.into_iter().all(|(state, expected)| count(state) == expected);
        let is_same = before.iter().map(|(line, _)| line).eq(after.iter().map(|(line, _)| line));
        (are_settled && is_same).then_some((listed, before, after))
    });
    let mut ours: Vec<_> = listed.iter().map(|socket| (Line::of(socket), socket)).collect();
    ours.sort_by_key(|(line, _)| line.cookie);
    assert_eq!(ours.len(), before.len());
    for ((ours, socket), ((before, from), (_, to))) in ours.into_iter().zip(before.into_iter().zip(after)) {
        assert_eq!(ours, before);
        if let Some(info) = socket.info {
            assert!(
                (from.received..=to.received).contains(&info.last_data_recv_ms),
                "{from:?} {info:?} {to:?}"
            );
            assert!(
                (from.acknowledged..=to.acknowledged).contains(&info.last_ack_recv_ms),
                "{from:?} {info:?}"
            );
        }
    }
    listed
}

#[track_caller]
fn only(listed: &[Socket], is: impl Fn(&Socket) -> bool) -> Socket {
    let found: Vec<_> = listed.iter().filter(|socket| is(socket)).collect();
    let [socket] = found.as_slice() else { panic!("not one: {found:#?}") };
    **socket
}

/// What the process that made the sockets knows about them, and `ss` does not show.
fn assert_known(diag: &mut SockDiag, mut sockets: Sockets, listed: &[Socket]) {
    let time_wait = only(listed, |socket| socket.state == State::TimeWait);
    assert_eq!(time_wait.cookie, sockets.made.time_wait, "a mini-socket keeps the cookie");
    let orphan = only(listed, |socket| socket.state == State::FinWait2 && socket.inode == 0);
    assert_eq!(orphan.cookie, sockets.made.orphan, "so does that of a connection that no process has open");
    // The ACK of its FIN can come while close() still has the socket: then the kernel keeps it whole, with a timer.
    assert!(orphan.is_mini() || orphan.timer == Timer::KeepAlive, "{orphan:?}");
    assert!(time_wait.is_mini(), "{time_wait:?}");
    for waiting in [time_wait, orphan] {
        assert!((1..=60_000).contains(&waiting.expires_ms), "{waiting:?}");
    }
    assert!(!listed.iter().any(|socket| socket.is_mini() && socket.inode != 0));
    let unread = |bytes| only(listed, |socket| socket.state == State::CloseWait && socket.rqueue == bytes);
    assert_eq!((unread(1).shutdown, unread(7).shutdown), (Some(1), Some(1)), "the FIN counts 1");
    let mapped = |socket: &Socket| socket.family == Family::Inet6 && socket.endpoints.local.is_ipv4();
    assert_eq!(only(listed, mapped).uid, 65534);
    assert_owned(sockets.process.pid(), listed);
    for socket in listed.iter().filter(|socket| socket.state != State::Listen) {
        let found = diag.find(socket.endpoints, true).expect("the kernel looks sockets up");
        assert_eq!(found.map(|found| (found.cookie, found.state)), Some((socket.cookie, socket.state)));
    }
    let half_open = only(listed, |socket| socket.state == State::SynRecv);
    assert_eq!(sockets.complete(), half_open.cookie, "a half-open request hands its cookie on");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let endpoints = Endpoints { peer: nobody, ..half_open.endpoints };
    assert_eq!(
        diag.find(endpoints, false).expect("the kernel looks sockets up"),
        None,
        "a listener is not it"
    );
}

fn assert_owned(pid: u32, listed: &[Socket]) {
    let owners = SocketOwners::read().expect("/proc can be read");
    assert_eq!(owners.unreadable(), 0);
    let owned = listed.iter().filter(|socket| socket.inode != 0);
    assert_eq!(owned.clone().count(), listed.len() - 4, "2 that are closed, 1 half-open, 1 not accepted");
    let mut paths = CgroupPaths::open().expect("there is cgroup v2");
    let cgroup = process::cgroup(pid).expect("the script runs");
    for socket in owned {
        let owner = owners.of(socket.inode).unwrap_or_else(|| panic!("nobody has {socket:?}"));
        assert_eq!((owner.pid, owner.uid), (pid, 0));
        assert!(owner.name.starts_with(b"python"), "{owner:?}");
        assert_eq!(paths.path(socket.cgroup.expect("it has one")), Some(cgroup.as_str()));
    }
    let program = process::executable(pid).expect("the script runs");
    assert!(program.to_string_lossy().contains("python"), "{program:?}");
}

#[test]
fn sockets_of_the_own_namespace_are_those_that_ss_lists() {
    let mut diag = SockDiag::open().expect("there is sock_diag");
    let sockets = Sockets::make(Command::new("python3"), &mut diag);
    let listed = assert_ss_agrees(&mut diag, || Command::new("ss"), &sockets);
    assert_known(&mut diag, sockets, &listed);
}

#[test]
fn sockets_of_another_namespace_are_those_that_ss_lists() {
    let namespace = Namespace::new();
    let mut diag = entry_of(&namespace).sock_diag().expect("root may enter namespaces");
    let sockets = Sockets::make(namespace.command("python3"), &mut diag);
    let listed = assert_ss_agrees(&mut diag, || namespace.command("ss"), &sockets);
    assert_eq!(dump(&mut diag, States::ALL).len(), listed.len(), "nothing else is in the namespace");
    for (state, count) in STATES {
        assert_eq!(dump(&mut diag, States::from_iter([state])).len(), count, "{state:?}");
    }
    assert_known(&mut diag, sockets, &listed);
}

#[test]
fn without_privileges_other_namespaces_are_refused_and_the_own_one_is_not() {
    let namespace = Namespace::new();
    let other = entry_of(&namespace);
    let own = netns::find().expect("/proc can be read").found.swap_remove(0);
    let refused = thread::spawn(move || {
        let mut sets = capabilities(None).expect("they can be read");
        sets.effective.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, sets).expect("they can be given up");
        own.sock_diag().expect("the own namespace needs no privileges");
        other.sock_diag().map(|_| ()).map_err(|error| error.kind())
    });
    assert_eq!(refused.join().expect("nothing panics"), Err(io::ErrorKind::PermissionDenied));
}

/// Listeners, each with a backlog that is no longer than the smallest limit, and clients of each.
const LISTENERS: usize = 100;
const CLIENTS: usize = 100;

#[test]
fn many_sockets_are_listed_once_each() {
    require_root();
    let namespace = Namespace::new();
    let entry = entry_of(&namespace);
    let mut diag = entry.sock_diag().expect("root may enter namespaces");
    let enter = entry.clone();
    // A thread makes them in the namespace; they stay there.
    let kept = thread::spawn(move || {
        let file = enter.open().expect("root may open it");
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), None).expect("root may");
        (0..LISTENERS).map(|_| many()).collect::<Vec<_>>()
    });
    let kept = kept.join().expect("sockets can be made");
    let mut cookies = HashSet::new();
    for with_info in [false, true] {
        cookies.clear();
        let start = Instant::now();
        let dump = diag.dump(States::ALL, with_info, &mut |socket| {
            assert_eq!(socket.info.is_some(), with_info);
            cookies.insert(socket.cookie);
        });
        println!("{} sockets in {:?}, with_info {with_info}", cookies.len(), start.elapsed());
        let sockets = LISTENERS as u64 * (1 + 2 * CLIENTS as u64);
        assert_eq!(dump.expect("the kernel lists sockets"), Dump { sockets, ..Dump::default() });
        assert_eq!(cookies.len() as u64, sockets);
    }
    drop(kept);
}

/// A listener with clients that it does not accept.
fn many() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
    let address = listener.local_addr().expect("a bound socket has an address");
    let clients = (0..CLIENTS).map(|_| TcpStream::connect(address).expect("the backlog is long enough"));
    let clients = clients.collect();
    (listener, clients)
}
