//! Filters that the eBPF programs apply: what is selected is recorded as without a filter, and the rest costs nothing.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tcp_trace_model::{
    event::Role,
    record::{Connection, ConnectionId, Outcome, Process},
};
use tcp_trace_tests::{
    AccessLogLine, Cgroup, Load, Namespace, Nginx, OUTPUT, Recording, Running, Tracer, curl, free_port,
    output, stay_on_one_cpu, translate, wait_for,
};

/// Makes requests on one connection, and says how many responses it read to their ends.
const KEEP_ALIVE: &str = "import http.client, sys\n\
    c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n\
    n = 0\n\
    for i in range(int(sys.argv[2])):\n\
    \tc.request('GET', '/echo/keep-alive')\n\
    \tn += c.getresponse().read().startswith(b'you asked for')\n\
    c.close()\n\
    print(n)";

/// A master that accepts, and a worker of another name for each connection that reads and answers.
const FORKING: &str = "import os, socket, sys\n\
    l = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
    print('listening', flush=True)\n\
    for i in range(int(sys.argv[2])):\n\
    \tc, _ = l.accept()\n\
    \tif os.fork() == 0:\n\
    \t\topen('/proc/self/comm', 'w').write('worker')\n\
    \t\tr = c.recv(9999)\n\
    \t\twhile r:\n\
    \t\t\tc.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')\n\
    \t\t\tr = c.recv(9999)\n\
    \t\tc.close()\n\
    \t\tos._exit(0)\n\
    \tc.close()\n\
    \tos.wait()";

/// A process without its executable, which is there only if it was looked up in time.
fn process(process: &Option<Arc<Process>>) -> Option<(u32, String, u32)> {
    process.as_ref().map(|process| (process.pid, process.name.printable().to_string(), process.uid))
}

/// What is recorded of a connection, without what depends on the moment and on what else is recorded.
fn told(recording: &Recording, of: &Connection) -> String {
    let states: Vec<_> = of.states.iter().map(|span| span.state).collect();
    let exchanges: Vec<_> = recording
        .http_on(of.connection.id)
        .map(|http| {
            (
                http.exchange.index,
                (
                    http.exchange.request.clone(),
                    http.exchange.informational.clone(),
                    http.exchange.response.clone(),
                ),
                http.exchange.outcome,
                process(&http.connection.process),
            )
        })
        .collect();
    let segments = recording.untimed_segments(of.connection.id);
    let handshake = of.handshake.as_ref().map(|handshake| (handshake.syn_seq, handshake.acknowledged));
    format!(
        "{:#?}",
        (
            (
                of.connection.role,
                of.connection.network,
                process(&of.connection.process),
                &of.cgroup,
                &of.server,
                of.seen_from_start,
                of.open
            ),
            (states, recording.life(of.connection.id), handshake, segments),
            (&of.close, of.bytes, of.retransmits, &of.http, exchanges),
        )
    )
}

fn description_of_each(
    recording: &Recording,
    is_asked_for: impl Fn(&Connection) -> bool,
) -> BTreeMap<ConnectionId, String> {
    let asked_for = recording.connections().filter(|connection| is_asked_for(connection));
    asked_for.map(|connection| (connection.connection.id, told(recording, connection))).collect()
}

/// Fails unless a recording with a filter has exactly what the one without has of the selected connections.
fn assert_same_of(
    what: &str,
    all: &Recording,
    filtered: &Recording,
    is_asked_for: impl Fn(&Connection) -> bool,
) {
    let asked_for = selected_and_same(what, all, filtered, is_asked_for);
    assert!(asked_for > 0, "{what}: nothing is selected, which proves nothing");
}

/// The same if that may be none: returns how many connections are selected.
fn selected_and_same(
    what: &str,
    all: &Recording,
    filtered: &Recording,
    is_asked_for: impl Fn(&Connection) -> bool,
) -> usize {
    let expected = description_of_each(all, is_asked_for);
    let found = description_of_each(filtered, |_| true);
    for (id, expected) in &expected {
        assert_eq!(found.get(id), Some(expected), "{what}: {id}");
    }
    assert_eq!(found.len(), expected.len(), "{what}: {:?}", found.keys());
    assert_eq!((filtered.end.lost, all.end.lost), (0, 0), "{what}");
    expected.len()
}

fn is_named(connection: &Connection, name: &str) -> bool {
    connection.connection.process.as_ref().is_some_and(|process| process.name.printable().to_string() == name)
}

fn pid(connection: &Connection) -> Option<u32> {
    connection.connection.process.as_ref().map(|process| process.pid)
}

fn keep_alive(mut python: Command, port: u16, requests: u32) -> u32 {
    let printed = output(python.args(["-c", KEEP_ALIVE, &port.to_string(), &requests.to_string()]));
    String::from_utf8_lossy(&printed.stdout).trim().parse().expect("it prints a number")
}

#[test]
fn connections_selected_by_process_are_recorded_as_without_a_filter() {
    // A tracer that ends before another would not have the end of a TIME_WAIT.
    stay_on_one_cpu();
    let (one, other) = (Nginx::start(free_port()), Nginx::start(free_port()));
    let ports = format!("{},{}", one.port(), other.port());
    let cgroup = Cgroup::new(&format!("tcp-trace-filters-{}/below", std::process::id()));
    let top = cgroup.path().trim_end_matches("/below").to_owned();
    // Nobody knows which of them will get something to do.
    let workers = one.workers();
    // At once, and when the programs decide: what they leave out must not depend on it.
    for are_older_known in [false, true] {
        let start = |arguments: &[&str]| Tracer::start(&[&["--port", &ports], arguments].concat());
        let all = start(&[]);
        let [first, second] = workers.map(|worker| start(&["--pid", &worker.to_string()]));
        let tracers = [
            ("pid", first),
            ("other pid", second),
            ("comm", start(&["--comm", "curl,no-such-name"])),
            ("server's comm", start(&["--comm", "nginx"])),
            ("cgroup", start(&["--cgroup", &top])),
            ("cgroup and comm", start(&["--cgroup", &top, "--comm", "curl"])),
        ];
        if are_older_known {
            tracers.iter().for_each(|(_, tracer)| tracer.wait_until_older_are_known());
        }
        for number in 0..10 {
            let path = format!("/echo/{number}");
            curl(&["--output", "/dev/null", &one.url("127.0.0.1", &path), &one.url("127.0.0.1", &path)]);
            curl(&[&other.url("127.0.0.1", &path)]);
        }
        assert_eq!(keep_alive(Command::new("python3"), one.port(), 20), 20);
        assert_eq!(keep_alive(cgroup.command("python3"), other.port(), 20), 20);
        output(cgroup.command("curl").args(["--silent", &one.url("127.0.0.1", "/echo/cgroup")]));
        all.wait_for_lines("http", 2 * (30 + 40 + 1));
        all.wait_for_closed();
        let [by_pid, by_other, by_comm, by_server, by_cgroup, by_both] =
            tracers.map(|(name, tracer)| (name, tracer.stop()));
        let all = all.stop();
        let is_within =
            |connection: &Connection| connection.cgroup.as_deref().is_some_and(|path| path.starts_with(&top));
        let is = |(what, filtered): &(&str, Recording), is_asked_for: &dyn Fn(&Connection) -> bool| {
            assert_same_of(&format!("{what}, {are_older_known}"), &all, filtered, is_asked_for);
        };
        let of_workers = [by_pid, by_other].into_iter().zip(workers).map(|((what, filtered), worker)| {
            selected_and_same(what, &all, &filtered, |connection| pid(connection) == Some(worker))
        });
        assert!(of_workers.sum::<usize>() > 0, "one of them has answered");
        is(&by_comm, &|connection| is_named(connection, "curl"));
        is(&by_server, &|connection| is_named(connection, "nginx"));
        is(&by_cgroup, &is_within);
        is(&by_both, &|connection| is_within(connection) && is_named(connection, "curl"));
        assert_eq!(by_server.1.http_of(Role::Server).len(), 71);
        assert_eq!(by_cgroup.1.http_of(Role::Client).len(), 21);
    }
}

#[test]
fn each_worker_is_recorded_with_what_its_access_log_says() {
    const REQUESTS: usize = 60;
    let nginx = Nginx::start(free_port());
    let workers = nginx.workers();
    let tracers = workers.map(|worker| Tracer::start(&["--pid", &worker.to_string()]));
    tracers.iter().for_each(Tracer::wait_until_older_are_known);
    for number in 0..REQUESTS {
        curl(&[&nginx.url("127.0.0.1", &format!("/echo/{number}"))]);
    }
    let log = nginx.access_log(REQUESTS);
    assert!(log.iter().all(|line| workers.contains(&line.pid)), "{workers:?}");
    for (worker, tracer) in workers.into_iter().zip(tracers) {
        assert_is_logged(worker, tracer, &log);
    }
}

/// One worker's requests are recorded, and nothing else.
fn assert_is_logged(worker: u32, tracer: Tracer, log: &[AccessLogLine]) {
    let mut expected: Vec<_> =
        log.iter().filter(|line| line.pid == worker).map(|line| line.uri.clone()).collect();
    tracer.wait_for_lines("http", expected.len());
    let recording = tracer.stop();
    let mut found: Vec<_> = recording
        .http()
        .map(|http| http.exchange.request.as_ref().expect("requests are seen").target.printable().to_string())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(recording.http().all(|http| http.exchange.outcome == Outcome::Ok), "with their responses");
    assert!(recording.connections().all(|connection| pid(connection) == Some(worker)));
    let servers = recording.connections_of(Role::Server);
    assert!(servers.iter().filter(|server| server.seen_from_start).count() >= expected.len(), "whole lives");
}

#[test]
fn a_worker_that_its_master_accepts_for_is_distinguished_from_the_master() {
    stay_on_one_cpu();
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-c", FORKING, &port.to_string(), "2"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut master = Running::start(&mut command);
    let mut said = String::new();
    let output = master.0.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut said).expect("it prints text");
    assert_eq!(said, "listening\n");
    let start = |arguments: &[&str]| Tracer::start(&[&["--port", &port.to_string()], arguments].concat());
    let (all, of_worker) = (start(&[]), start(&["--comm", "worker"]));
    let of_master = start(&["--pid", &master.pid().to_string()]);
    [&all, &of_worker, &of_master].into_iter().for_each(Tracer::wait_until_older_are_known);
    for _ in 0..2 {
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        for _ in 0..3 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: worker\r\n\r\n").expect("it is open");
            client.read_exact(&mut [0; 40]).expect("it answers");
        }
    }
    all.wait_for_lines("http", 2 * 6);
    all.wait_for_closed();
    // Its listener is closed for all of them.
    assert!(master.0.wait().expect("it can be waited for").success());
    let (of_worker, of_master, all) = (of_worker.stop(), of_master.stop(), all.stop());
    assert_eq!(of_worker.http().count(), 6);
    assert_same_of("the worker", &all, &of_worker, |connection| is_named(connection, "worker"));
    assert_same_of("the master", &all, &of_master, |connection| pid(connection) == Some(master.pid()));
}

#[test]
fn a_network_namespace_is_selected_by_path_or_number() {
    stay_on_one_cpu();
    let (asked_for, other) = (Namespace::new(), Namespace::new());
    let (one, two) = (Nginx::start_in(&asked_for, 8080), Nginx::start_in(&other, 8080));
    let others = Others::start(&[]);
    let all = Tracer::start(&["--port", "8080"]);
    let by_path = Tracer::start(&["--netns", &asked_for.path()]);
    let by_number = Tracer::start(&["--netns", &format!("1,{}", asked_for.inode()), "--comm", "python3"]);
    let by_none = Tracer::start(&["--netns", &Namespace::new().path()]);
    [&all, &by_path, &by_number, &by_none].into_iter().for_each(Tracer::wait_until_older_are_known);
    for (namespace, nginx) in [(&asked_for, &one), (&other, &two)] {
        assert_eq!(keep_alive(namespace.command("python3"), 8080, 200), 200);
        assert_eq!(nginx.access_log(200).len(), 200);
    }
    all.wait_for_lines("http", 2 * 400);
    all.wait_for_closed();
    let (by_path, by_number, by_none) = (by_path.stop(), by_number.stop(), by_none.stop());
    let all = all.stop();
    let is_within = |connection: &Connection| {
        connection.connection.network.expect("it is known").netns == Some(asked_for.inode())
    };
    assert_same_of("by path", &all, &by_path, is_within);
    assert_same_of("by number", &all, &by_number, |connection| {
        is_within(connection) && is_named(connection, "python3")
    });
    assert_eq!(by_path.session.filter.netns, [asked_for.inode()]);
    assert_eq!(by_none.connections().count(), 0);
    assert!(by_none.end.events <= others.stop(), "{:?}", by_none.end);
}

/// Counts the events that no filter by port or process keeps away: lookups of names, and with a filter by process RSTs, which
/// other programs on this host may make at any time. Starts before, and ends after, what it is compared with.
struct Others(Tracer);

impl Others {
    fn start(arguments: &[&str]) -> Self {
        Self(Tracer::start(&[&["--peer-port", "1"], arguments].concat()))
    }

    fn stop(self) -> u64 {
        self.0.stop().end.events
    }
}

#[test]
fn excluded_connections_make_no_events() {
    const REQUESTS: u32 = 2_000;
    const CONNECTIONS: u64 = 40;
    let nginx = Nginx::start(free_port());
    let port = nginx.port().to_string();
    let cgroup = Cgroup::new(&format!("tcp-trace-events-{}", std::process::id()));
    for excluding in [["--pid", "1"], ["--comm", "no-such-name"], ["--cgroup", cgroup.path()]] {
        let others = Others::start(&excluding);
        // The port distinguishes the two ends: the server's is that of the listener too.
        let clients = Tracer::start(&[&["--peer-port", &port], &excluding[..]].concat());
        let servers = Tracer::start(&[&["--local-port", &port], &excluding[..]].concat());
        [&clients, &servers].into_iter().for_each(Tracer::wait_until_older_are_known);
        assert_eq!(keep_alive(Command::new("python3"), nginx.port(), REQUESTS), REQUESTS);
        for number in 0..CONNECTIONS {
            curl(&[&nginx.url("127.0.0.1", &format!("/echo/{number}"))]);
        }
        let (clients, servers) = (clients.stop(), servers.stop());
        assert_eq!((clients.connections().count(), servers.connections().count()), (0, 0), "{excluding:?}");
        let others = others.stop();
        println!(
            "{excluding:?}: {} and {} events, {others} of others",
            clients.end.events, servers.end.events
        );
        assert!(clients.end.events <= others, "{excluding:?}: they were never reported: {:?}", clients.end);
        // What passes until a process reads, and what ends a connection.
        let most = (CONNECTIONS + 1) * 16 + others;
        assert!(servers.end.events <= most, "{excluding:?}: {:?}", servers.end);
    }
}

/// Its clients reset each connection.
#[test]
fn resets_of_connections_that_ports_exclude_make_no_events() {
    const CONNECTIONS: u64 = 500;
    let load = Load::new();
    let tracer = Tracer::start(&["--port", &free_port().to_string()]);
    assert_eq!(load.run(1, CONNECTIONS, 1), CONNECTIONS);
    let recording = tracer.stop();
    assert_eq!(recording.connections().count(), 0);
    // Other programs on this host may have looked names up.
    assert!(recording.end.events < CONNECTIONS / 2, "{:?}", recording.end);
}

#[test]
fn a_cgroup_that_is_made_later_or_anew_is_recorded() {
    let nginx = Nginx::start(free_port());
    let path = format!("/tcp-trace-later-{}", std::process::id());
    let tracer = Tracer::start(&["--port", &nginx.port().to_string(), "--cgroup", &path]);
    tracer.wait_until_older_are_known();
    for number in 0..3 {
        let cgroup = Cgroup::new(&path);
        curl(&[&nginx.url("127.0.0.1", "/echo/stranger")]);
        output(cgroup.command("curl").args(["--silent", &nginx.url("127.0.0.1", "/echo/within")]));
        tracer.wait_for_lines("http", number + 1);
        wait_for("the cgroup to be removed", || std::fs::remove_dir(cgroup.folder()).ok());
    }
    let recording = tracer.stop();
    let targets: Vec<_> = recording
        .http()
        .map(|http| http.exchange.request.as_ref().expect("requests are seen").target.printable().to_string())
        .collect();
    assert_eq!(targets, ["/echo/within"; 3]);
    assert!(recording.connections().all(|connection| connection.cgroup.as_deref() == Some(path.as_str())));
}

/// Connects one socket twice, under two names: to a port on which nothing listens, and to one.
const TWICE: &str = "import socket, sys\n\
    def name(n): open('/proc/self/comm', 'w').write(n)\n\
    s = socket.socket()\n\
    name('first')\n\
    try: s.connect(('127.0.0.1', 1))\n\
    except ConnectionRefusedError: name('second')\n\
    s.connect(('127.0.0.1', int(sys.argv[1])))\n\
    s.sendall(b'GET /echo/twice HTTP/1.0\\r\\n\\r\\n')\n\
    while s.recv(9999): pass";

#[test]
fn a_socket_that_connects_again_is_judged_anew() {
    stay_on_one_cpu();
    let nginx = Nginx::start(free_port());
    let peers = format!("1,{}", nginx.port());
    for are_older_known in [false, true] {
        let start = |arguments: &[&str]| Tracer::start(&[&["--peer-port", &peers], arguments].concat());
        let (all, first, second) = (start(&[]), start(&["--comm", "first"]), start(&["--comm", "second"]));
        if are_older_known {
            [&all, &first, &second].into_iter().for_each(Tracer::wait_until_older_are_known);
        }
        output(Command::new("python3").args(["-c", TWICE, &nginx.port().to_string()]));
        all.wait_for_lines("http", 1);
        all.wait_for_closed();
        let (first, second, all) = (first.stop(), second.stop(), all.stop());
        let ids = |recording: &Recording| -> Vec<_> {
            recording.connections().map(|connection| connection.connection.id.to_string()).collect()
        };
        assert_same_of("first", &all, &first, |connection| is_named(connection, "first"));
        assert_same_of("second", &all, &second, |connection| is_named(connection, "second"));
        let ([one], [again]) = (&ids(&first)[..], &ids(&second)[..]) else { panic!("{first:?} {second:?}") };
        assert_eq!(again, &format!("{one}.1"));
    }
}

/// Connects from this local port, of which no TIME_WAIT stays.
fn connect_from(namespace: &Namespace, port: u16, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    let socket = namespace.run(|| socket(AddressFamily::INET, SocketType::STREAM, None)).expect("a socket");
    bind(&socket, &SocketAddr::from(([0, 0, 0, 0], port))).expect("the port is free");
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("it is a TCP socket");
    connect(&socket, &to).expect("it is listened to");
    socket.into()
}

#[test]
fn a_port_is_excluded_again_when_the_translated_socket_that_had_it_is_closed() {
    const EXCHANGES: u64 = 200;
    stay_on_one_cpu();
    let namespace = Namespace::new();
    translate(&namespace, &[&format!("{OUTPUT} tcp dport 80 redirect to :15001")]);
    let [redirected, other] = [15_001, 16_000].map(|port| {
        namespace.run(|| TcpListener::bind(("127.0.0.1", port))).expect("the namespace is the test's own")
    });
    let netns = namespace.inode().to_string();
    let tracer = Tracer::start(&["--netns", &netns, "--peer-port", "15001"]);
    let client = connect_from(&namespace, 30_123, ([127, 0, 0, 1], 80).into());
    let own = client.local_addr().expect("it is connected");
    drop((client, redirected.accept()));
    tracer.wait_for_lines("connection", 1);
    let mut client = connect_from(&namespace, 30_123, ([127, 0, 0, 1], 16_000).into());
    let (mut server, _) = other.accept().expect("the client is connected");
    for _ in 0..EXCHANGES {
        client.write_all(b"asked").expect("it is connected");
        server.read_exact(&mut [0; 5]).expect("it comes");
        server.write_all(b"answered").expect("it is connected");
        client.read_exact(&mut [0; 8]).expect("it comes");
    }
    drop(client);
    let recording = tracer.stop();
    let all: Vec<_> = recording.connections().collect();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].connection.network.expect("both ends are known").local, own.into());
    assert!(recording.end.events < EXCHANGES, "{:?}", recording.end);
}
