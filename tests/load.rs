//! Many connections: what is lost is counted, and memory is bounded.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::mpsc,
    thread,
    time::Instant,
};

use rustix::process::Signal;
use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, ConnectionId, Handshake, LossPlace, Record},
};
use tcp_trace_tests::{Load, Namespace, PATIENCE, Running, Tracer, tcp_trace};

fn port_filter(load: &Load) -> [String; 2] {
    ["--port".to_owned(), load.address().port().to_string()]
}

fn start(load: &Load, arguments: &[&str]) -> Tracer {
    let filter = port_filter(load);
    let all: Vec<_> = filter.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
    Tracer::start(&all)
}

#[test]
fn a_ring_buffer_of_a_page_loses_events_and_counts_each() {
    let load = Load::new();
    let tracer = start(&load, &["--ring-size", "4KiB"]);
    assert_eq!(load.run(4, 50, 20), 4_000);
    let lost = tracer.lost_in_kernel();
    assert!(lost > 0);
    // Reading it checks that the losses sum up to the total.
    let recording = tracer.stop();
    // What other traffic on this host loses meanwhile comes on top.
    assert!(recording.end.lost >= lost, "{} of {lost}", recording.end.lost);
    assert!(recording.losses().all(|loss| loss.place == LossPlace::Ring && loss.cpu.is_some()));
    // Whatever happened, each event of these connections was read or counted as lost: three segments and
    // three transitions at the least for each of the two ends.
    let least = 2 * 200 * 6;
    assert!(recording.end.events + recording.end.lost > least, "{:?}", recording.end);
}

#[test]
fn the_ring_buffer_that_is_the_default_loses_nothing_under_the_same_load() {
    let load = Load::new();
    let tracer = start(&load, &[]);
    assert_eq!(load.run(4, 50, 20), 4_000);
    tracer.wait_for_lines("connection", 400);
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        assert_eq!(recording.connections_of(role).len(), 200);
        assert_eq!(recording.http_of(role).len(), 4_000);
        assert!(recording.http_of(role).iter().all(|http| http.exchange.response.is_some()));
    }
}

#[test]
fn each_connection_of_a_churn_is_recorded_once_though_addresses_and_sockets_are_used_again() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5_000;
    const PORTS: usize = 1_000;
    let total = usize::try_from(THREADS * EACH).expect("it fits");
    let namespace = Namespace::new();
    // So few ports that each is used twenty times.
    namespace.set("ipv4/ip_local_port_range", "40000 40999");
    let load = namespace.run(Load::new);
    // All of it fits into the ring buffer, however slow the reader is.
    let tracer = start(&load, &["--ring-size", "256MiB"]);
    let began = Instant::now();
    namespace.run(|| load.run(THREADS, EACH, 0));
    println!("{} connections/s", u128::from(THREADS * EACH) * 1_000_000 / began.elapsed().as_micros());
    tracer.wait_for_lines("connection", 2 * total);
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    let mut lives: HashMap<ConnectionId, Vec<(State, State)>> = HashMap::new();
    for transition in recording.transitions() {
        assert!(!transition.gap, "{transition:?}");
        lives.entry(transition.connection.id).or_default().push((transition.old, transition.new));
    }
    let mut handshakes = HashSet::new();
    for (role, entered) in
        [(Role::Client, (State::Close, State::SynSent)), (Role::Server, (State::Listen, State::SynRecv))]
    {
        let ends = recording.connections_of(role);
        assert_eq!(ends.len(), total, "{role:?}");
        let ports: HashSet<u16> = ends.iter().map(|end| peer_port(end)).collect();
        assert!(ports.len() <= PORTS, "{} ports", ports.len());
        for end in ends {
            let expected = [entered, (entered.1, State::Established), (State::Established, State::Close)];
            assert_eq!(lives[&end.connection.id], expected, "{end:?}");
            assert!(end.seen_from_start && !end.open, "{end:?}");
            let handshake = end.handshake.expect("it was seen");
            assert_eq!(handshake.acknowledged, Some(true), "{end:?}");
            let numbers = (role, peer_port(end), handshake.syn_seq, handshake.syn_ack_seq);
            assert!(handshakes.insert(numbers), "two connections have the handshake of {end:?}");
        }
    }
    // Each client's handshake is one of a server's, and both know each other.
    let links: HashMap<_, _> = recording
        .connections()
        .map(|end| (end.connection.id, (end.peer_connection, end.handshake)))
        .collect();
    for client in recording.connections_of(Role::Client) {
        let peer = client.peer_connection.expect("it is on this host");
        let (back, handshake) = links[&peer];
        assert_eq!(back, Some(client.connection.id));
        let numbers = |handshake: Option<Handshake>| handshake.map(|h| (h.syn_seq, h.syn_ack_seq));
        assert_eq!(numbers(handshake), numbers(client.handshake));
    }
}

/// The port of the end that connected.
fn peer_port(end: &Connection) -> u16 {
    let network = end.connection.network.expect("it is known");
    if end.connection.role == Some(Role::Client) { network.local.port } else { network.peer.port }
}

/// The most memory that a process ever had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn two_hundred_thousand_connections_stay_below_300_mib() {
    const CONNECTIONS: u64 = 200_000;
    // What is not yet read of one batch fits into the ring buffer, however slow the reader is.
    const BATCH: u64 = 2_000;
    let load = Load::new();
    let filter = port_filter(&load);
    let mut command = tcp_trace();
    command.args(["record", "-o", "-"]).args(&filter).stdout(Stdio::piped());
    let mut tracer = Running::start(&mut command);
    // The lines are counted as they come: as a file they would take a gigabyte.
    let mut lines = BufReader::with_capacity(1 << 20, tracer.0.stdout.take().expect("it is piped")).lines();
    let mut next = move || lines.next().map(|line| line.expect("it prints text"));
    assert!(next().expect("a line").contains("session"));
    assert!(next().expect("a line").contains("ready"));
    let (batch_done, batches_done) = mpsc::channel();
    let counting = thread::spawn(move || {
        let (mut connections, mut http, mut last, mut losses) = (0, 0, String::new(), Vec::new());
        while let Some(line) = next() {
            if line.starts_with("{\"type\":\"connection\"") {
                connections += 1;
                if connections % (2 * BATCH) == 0 {
                    batch_done.send(()).expect("the test waits for it");
                }
            }
            http += u64::from(line.starts_with("{\"type\":\"http\""));
            if line.starts_with("{\"type\":\"loss\"") {
                losses.push(line.clone());
            }
            last = line;
        }
        (connections, http, losses, last)
    });
    for _ in 0..CONNECTIONS / BATCH {
        assert_eq!(load.run(2, BATCH / 2, 1), BATCH);
        batches_done.recv_timeout(PATIENCE).expect("each connection of the batch is reported at both ends");
    }
    let peak = peak_kib(tracer.pid());
    tracer.signal(Signal::INT);
    let (connections, http, losses, last) = counting.join().expect("it only counts");
    let Record::End(end) = serde_json::from_str(&last).expect("the last line is whole") else {
        panic!("{last}")
    };
    assert_eq!((end.connections, end.http), (connections, http));
    assert!(end.lost == 0 && losses.is_empty(), "{losses:?}");
    let listener = 1;
    assert_eq!((connections, http), (2 * CONNECTIONS + listener, 2 * CONNECTIONS));
    assert!(peak < 300 << 10, "{peak} KiB");
}
