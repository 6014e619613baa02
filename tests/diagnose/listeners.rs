//! Listeners whose process does not accept, and half-open connections.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with},
};
use tcp_trace_model::{event::Flags, record::Severity};
use tcp_trace_tests::{
    Diagnosis, Namespace, Script, TimeWindow, Wire, WireAddresses, assert_since, free_port, now, number,
    output, wait_for,
};

/// Begins to connect, and does not wait.
fn begin(port: u16) -> TcpStream {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("it can be had");
    let begun = connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port)));
    assert!(matches!(begun, Ok(()) | Err(Errno::INPROGRESS)));
    socket.into()
}

#[test]
fn a_full_accept_queue_is_reported_with_its_process() {
    let server = Script::start_with("python3", "stuck.py", &["none", "2"]);
    let from = now();
    let clients: Vec<_> = (0..6).map(|_| begin(server.port())).collect();
    let begun = TimeWindow { from, to: now() };
    let finding = Diagnosis::wait_for("accept_queue_full", server.port(), &[]);
    assert_eq!((finding.severity, finding.cause.as_deref()), (Severity::Critical, Some("full")));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(server.pid()));
    let shown = output(Command::new("ss").args(["-Hltn", &format!("sport = :{}", server.port())]));
    let shown = String::from_utf8(shown.stdout).expect("ss prints text");
    let columns: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(number(&finding, "waiting").to_string(), columns[1]);
    assert_eq!(number(&finding, "limit").to_string(), columns[2]);
    assert_since(number(&finding, "longest_wait_us"), begun, &finding);
    drop(clients);
}

#[test]
fn a_busy_worker_is_named_and_not_the_master_that_has_the_listener_open_too() {
    let server = Script::start_with("python3", "stuck.py", &["prefork", "2"]);
    let clients: Vec<_> = (0..7).map(|_| begin(server.port())).collect();
    let finding = Diagnosis::wait_for("accept_queue_full", server.port(), &[]);
    let pid = server.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    let worker: u32 = children.trim().parse().expect("it has one");
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(worker), "{finding:?}");
    assert!(finding.shared_with.iter().any(|process| process.pid == pid), "{finding:?}");
    drop(clients);
}

#[test]
fn connections_that_are_not_accepted_are_reported_before_the_queue_is_full() {
    let server = Script::start_with("python3", "stuck.py", &["none"]);
    let from = now();
    let connect = || TcpStream::connect(("127.0.0.1", server.port())).expect("there is room");
    let first = connect();
    let begun = TimeWindow { from, to: now() };
    // This client does not wait so long. It is connected: else its SYN+ACK would be answered with an RST.
    drop(connect());
    let finding = Diagnosis::wait_for("accept_stalled", server.port(), &["--min-age", "2s"]);
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(server.pid()));
    assert_eq!((number(&finding, "waiting"), number(&finding, "closed_by_their_clients")), (2, 1));
    assert_since(number(&finding, "longest_wait_us"), begun, &finding);
    drop(first);
}

#[test]
fn a_server_that_accepts_has_no_finding() {
    let server = Script::start_with("python3", "stuck.py", &["fine", "2"]);
    let clients: Vec<_> =
        (0..6).map(|_| TcpStream::connect(("127.0.0.1", server.port())).expect("it accepts")).collect();
    let is_accepted = || {
        let shown = output(Command::new("ss").args(["-Hltn", &format!("sport = :{}", server.port())]));
        String::from_utf8_lossy(&shown.stdout).split_whitespace().nth(1) == Some("0")
    };
    wait_for("all to be accepted", || is_accepted().then_some(()));
    Diagnosis::of_port(server.port(), &["--min-age", "1ms"]).expect_none();
    drop(clients);
}

/// The kernel runs the timer of a handshake whose client sends no data yet, and does not send its SYN+ACK again meanwhile.
#[test]
fn handshakes_that_wait_for_data_are_no_flood() {
    let server = Script::start_with("python3", "stuck.py", &["deferred"]);
    let clients: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port())).expect("it is connected for its client"))
        .collect();
    let half_open = || {
        let filter = format!("sport = :{}", server.port());
        let shown = output(Command::new("ss").args(["-Htno", "state", "syn-recv", &filter]));
        String::from_utf8(shown.stdout).expect("ss prints text")
    };
    let rounds = |shown: &str| {
        shown.lines().filter(|line| line.contains("timer:(on,") && line.contains(",0)")).count()
    };
    assert_eq!(rounds(&half_open()), clients.len(), "{}", half_open());
    // Its second timeout is over.
    let begun = Instant::now();
    wait_for("the timers to fire", || (begun.elapsed() > Duration::from_millis(3_500)).then_some(()));
    assert_eq!(rounds(&half_open()), clients.len(), "{}", half_open());
    Diagnosis::of_port(server.port(), &["--half-open", "20", "--min-age", "1s"]).expect_none();
    drop(clients);
}

/// SYNs from addresses that do not answer.
#[test]
fn half_open_connections_that_pile_up_are_reported() {
    let (namespace, addresses, port) = (Namespace::new(), WireAddresses::ipv4(), free_port());
    let wire = Wire::new(&namespace, addresses);
    let listener = namespace.run(|| TcpListener::bind((addresses.local, port))).expect("the port is free");
    let local = SocketAddr::new(addresses.local, port);
    for number in 0..20 {
        let mut syn = wire.peer(local, 2_000 + number).segment(Flags::SYN, b"");
        let std::net::IpAddr::V4(address) = addresses.remote else { panic!("IPv4") };
        let [a, b, c, _] = address.octets();
        syn.source = SocketAddr::from(([a, b, c, 10 + number as u8], 2_000 + number));
        wire.send(&syn);
    }
    Diagnosis::of_port(port, &[]).expect_none();
    let finding = Diagnosis::wait_for("syn_backlog", port, &["--half-open", "20"]);
    assert_eq!(finding.cause.as_deref(), Some("many_sources"));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert_eq!((number(&finding, "half_open"), number(&finding, "sources")), (20, 20));
    drop(listener);
}
