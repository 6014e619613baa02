//! Whose a socket is that passes from one process to another: the programs say themselves which of them wrote.

use std::process::{Command, Stdio};

use tcp_trace_model::{
    event::Role,
    record::{Connection, Http, Outcome},
};
use tcp_trace_tests::{
    Cgroup, Folder, Namespace, Recording, Running, Script, Tracer, free_port, joined_namespaces, output,
    tcp_trace, wait_for, wait_for_listener,
};

/// The process ids in the bodies of the responses to that many requests in one connection.
fn request(server: &Script, count: usize) -> Vec<u32> {
    let url = server.url("/");
    let result = output(Command::new("curl").arg("--silent").args(vec![url; count]));
    let text = String::from_utf8(result.stdout).expect("they are numbers");
    text.lines().map(|line| line.parse().expect("it is a process id")).collect()
}

/// The processes of the server's exchanges, in order.
fn of_exchanges(recording: &Recording) -> Vec<Option<u32>> {
    recording.http_of(Role::Server).iter().map(|http| pid(http)).collect()
}

fn pid(http: &Http) -> Option<u32> {
    http.connection.process.as_ref().map(|process| process.pid)
}

/// The processes that used a connection, one after the other.
fn users(connection: &Connection) -> Vec<u32> {
    connection.users.iter().map(|user| user.process.pid).collect()
}

/// Records that many requests in a connection to a server of this kind, and what wrote the responses.
fn record(mode: &str, requests: usize, filter: &[&str]) -> (Script, Vec<u32>, Recording) {
    let server = Script::start_with("python3", "hand_over.py", &[mode]);
    let port = server.port().to_string();
    let tracer = Tracer::start(&[&["--port", &port], filter].concat());
    let wrote = request(&server, requests);
    assert_eq!(wrote.len(), requests);
    tracer.wait_for_lines("http", 2 * requests);
    tracer.wait_for_closed();
    (server, wrote, tracer.stop())
}

/// The recording of this many exchanges, all of a server with this process; none is its client's.
#[track_caller]
fn only_served_by(pid: u32, exchanges: usize, tracer: Tracer) -> Recording {
    tracer.wait_for_lines("http", exchanges);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(of_exchanges(&recording), vec![Some(pid); exchanges]);
    assert!(recording.http_of(Role::Client).is_empty());
    recording
}

/// The summary of the server's only connection.
fn server(recording: &Recording) -> &Connection {
    let [server] = recording.connections_of(Role::Server)[..] else { panic!("it is one") };
    server
}

#[test]
fn a_connection_that_is_handed_over_unread_is_its_readers() {
    let (acceptor, wrote, recording) = record("pass", 2, &[]);
    assert_ne!(wrote[0], acceptor.pid());
    assert_eq!(of_exchanges(&recording), [Some(wrote[0]), Some(wrote[1])]);
    assert!(server(&recording).users.is_empty(), "{:?}", server(&recording));
}

#[test]
fn an_acceptor_that_only_peeks_is_superseded_by_the_reader() {
    let (acceptor, wrote, recording) = record("peek", 1, &[]);
    assert_eq!(of_exchanges(&recording), [Some(wrote[0])]);
    let summary = server(&recording);
    assert_eq!(users(summary), [acceptor.pid(), wrote[0]]);
    assert!(summary.users[0].time < summary.users[1].time, "{summary:?}");
}

#[test]
fn each_exchange_names_the_process_that_answered_it() {
    let (acceptor, wrote, recording) = record("share", 2, &[]);
    assert_eq!(wrote[0], acceptor.pid());
    assert_eq!(of_exchanges(&recording), [Some(wrote[0]), Some(wrote[1])]);
    assert_eq!(users(server(&recording)), wrote);
}

#[test]
fn a_program_that_is_executed_for_a_connection_is_its_process() {
    let (_server, wrote, recording) = record("inetd", 1, &[]);
    assert_eq!(of_exchanges(&recording), [Some(wrote[0])]);
    let process = recording.http_of(Role::Server)[0].connection.process.clone().expect("it is known");
    assert_eq!(process.name.printable().to_string(), "bash");
}

#[test]
fn a_listener_is_that_of_the_process_that_has_it_open() {
    let script = Script::start_with("python3", "hand_over.py", &["inherit"]);
    let tracer = Tracer::start(&["--port", &script.port().to_string()]);
    tracer.wait_until_older_are_known();
    let wrote = request(&script, 1);
    tracer.wait_for_lines("http", 2);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(of_exchanges(&recording), [Some(wrote[0])]);
    let listener = recording.connections_of(Role::Listener)[0].connection.process.clone();
    assert_eq!(listener.map(|process| process.pid), Some(wrote[0]));
}

#[test]
fn a_filter_by_process_finds_what_a_selected_process_took_over() {
    for mode in ["pass", "peek", "share"] {
        let server = Script::start_with("python3", "hand_over.py", &[mode]);
        let port = server.port().to_string();
        let tracer = Tracer::start(&["--port", &port, "--comm", "second-user"]);
        tracer.wait_until_older_are_known();
        let wrote = request(&server, 3);
        let second = *wrote.last().expect("they are three");
        let expected = if mode == "share" { 2 } else { 3 };
        let recording = only_served_by(second, expected, tracer);
        let [connection] = recording.connections_of(Role::Server)[..] else { panic!("{mode}") };
        assert_eq!(connection.seen_from_start, mode == "pass", "{mode}");
    }
}

#[test]
fn a_filter_by_process_finds_what_a_selected_program_took_over() {
    let server = Script::start_with("python3", "hand_over.py", &["pass"]);
    let port = server.port();
    // It connects as bash, and is python3 when it sends the requests.
    let exchanges = "import socket, sys
connection = socket.socket(fileno=7)
for _ in range(2):
    connection.sendall(b'GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n')
    connection.recv(1000)
sys.stdin.read()";
    let connect = format!("exec 7<>/dev/tcp/127.0.0.1/{port}; exec python3 -c \"$0\"");
    for (filter, lines) in [(["--comm", "python3"], 1), (["--port", port.to_string().as_str()], 4)] {
        let tracer = Tracer::start(&[&["--port", port.to_string().as_str()][..], &filter].concat());
        tracer.wait_until_older_are_known();
        let mut command = Command::new("bash");
        let mut client = Running::start(
            command.args(["-c", &connect, exchanges]).stdin(Stdio::piped()).stdout(Stdio::null()),
        );
        tracer.wait_for_lines("http", lines);
        drop(client.0.stdin.take());
        assert!(client.0.wait().expect("it can be waited for").success());
        tracer.wait_for_closed();
        let recording = tracer.stop();
        let https = recording.http_of(Role::Client);
        assert!(https.iter().all(|http| pid(http) == Some(client.pid())), "{https:?}");
        let process = https[https.len() - 1].connection.process.clone().expect("it is known");
        assert_eq!(process.name.printable().to_string(), "python3");
        assert_eq!(recording.connections_of(Role::Client).len(), 1);
    }
}

/// A server whose connections go to whoever comes to its Unix socket, and the arguments of the program that takes one and serves it.
fn offering(folder: &Folder) -> (Script, [String; 4]) {
    let path = folder.file("offers").to_str().expect("the path is text").to_owned();
    let server = Script::start_with("python3", "hand_over.py", &["offer", &path]);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/hand_over.py");
    let taker = [program.to_owned(), server.port().to_string(), "take".to_owned(), path];
    (server, taker)
}

#[test]
fn a_filter_by_cgroup_finds_a_connection_that_is_handed_into_it() {
    let (folder, cgroup) = (Folder::new(), Cgroup::new("tcp-trace-handed-over"));
    let (server, taker) = offering(&folder);
    let port = server.port().to_string();
    let tracer = Tracer::start(&["--port", &port, "--cgroup", cgroup.path()]);
    tracer.wait_until_older_are_known();
    let mut taking = Running::start(cgroup.command("python3").args(&taker));
    let wrote = request(&server, 2);
    assert_eq!(wrote, [taking.pid(); 2]);
    assert!(taking.0.wait().expect("it ends").success());
    only_served_by(wrote[0], 2, tracer);
}

#[test]
fn a_connection_that_is_handed_to_a_command_is_recorded() {
    let folder = Folder::new();
    let (server, taker) = offering(&folder);
    let [program, port, mode, path] = &taker;
    let tracer = Tracer::start(&["--port", port, "--", "python3", program, port, mode, path]);
    let wrote = request(&server, 2);
    only_served_by(wrote[0], 2, tracer);
}

#[test]
fn a_filter_by_cgroup_finds_a_service_that_its_socket_activates() {
    let (port, cgroup) = (free_port(), Cgroup::new("tcp-trace-activated"));
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/hand_over.py");
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec python3 {program} {port} activated",
        cgroup.folder().display()
    );
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &format!("127.0.0.1:{port}"), "sh", "-c", &script]);
    let server = Running::start(command.stdin(Stdio::null()).stderr(Stdio::null()));
    wait_for_listener(Command::new("ss"), port, 1);
    let tracer = Tracer::start(&["--port", &port.to_string(), "--cgroup", cgroup.path()]);
    tracer.wait_until_older_are_known();
    let url = format!("http://127.0.0.1:{port}/");
    let result = output(Command::new("curl").args(["--silent", &url, &url]));
    assert_eq!(String::from_utf8_lossy(&result.stdout), format!("{0}\n{0}\n", server.pid()));
    only_served_by(server.pid(), 2, tracer);
}

#[test]
fn an_mptcp_connection_is_that_of_the_process_that_uses_the_mptcp_socket() {
    let server = Script::start_with("python3", "hand_over.py", &["mptcp"]);
    let port = server.port().to_string();
    let tracer = Tracer::start(&["--port", &port]);
    let client = "import socket, sys
connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
connection.connect(('127.0.0.1', int(sys.argv[1])))
for _ in range(2):
    connection.sendall(b'GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n')
    print(connection.recv(1000).split()[-1].decode())
";
    let result = output(Command::new("python3").args(["-c", client, &port]));
    let pids = String::from_utf8(result.stdout).expect("they are numbers");
    assert_eq!(pids, format!("{0}\n{0}\n", server.pid()));
    tracer.wait_for_lines("http", 4);
    let left = || output(Command::new("ss").args(["-MHtn", "state", "close-wait", "sport", "=", &port]));
    wait_for("the peer's close", || (!left().stdout.is_empty()).then_some(()));
    let of_server = format!(r#""pid":{}"#, server.pid());
    wait_for("the finding", || {
        let mut diagnose = tcp_trace();
        diagnose.args(["diagnose", "--port", &port, "--min-age", "1ms", "--format", "json"]);
        let text = String::from_utf8(diagnose.output().expect("it can be run").stdout).expect("it is JSON");
        let found = text.lines().find(|line| line.contains(r#""code":"close_wait""#))?;
        found.contains(&of_server).then_some(())
    });
    let recording = tracer.stop();
    assert_eq!(of_exchanges(&recording), [Some(server.pid()); 2]);
    for role in [Role::Server, Role::Client] {
        assert!(recording.connections_of(role)[0].mptcp, "{role:?}");
    }
}

/// Joins two namespaces by another pair of interfaces, 10.98.0.1 and 10.98.0.2, and lets MPTCP connect from there, too.
fn let_mptcp_join((client, server): (&Namespace, &Namespace)) {
    let peer = server.path();
    let pair = ["link", "add", "veth1", "type", "veth", "peer", "name", "veth1", "netns", &peer];
    output(client.command("ip").args(pair));
    for (namespace, host) in [(client, 1), (server, 2)] {
        let ip = |arguments: &[&str]| output(namespace.command("ip").args(arguments));
        ip(&["address", "add", &format!("10.98.0.{host}/24"), "dev", "veth1"]);
        ip(&["link", "set", "veth1", "up"]);
        ip(&["mptcp", "limits", "set", "subflow", "2", "add_addr_accepted", "2"]);
    }
    output(client.command("ip").args(["mptcp", "endpoint", "add", "10.98.0.1", "dev", "veth1", "subflow"]));
}

#[test]
fn each_subflow_of_an_mptcp_connection_is_that_of_the_process_that_uses_it() {
    const SERVER: &str = "import socket, sys
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
listener.bind(('10.99.0.2', int(sys.argv[1])))
listener.listen()
connection, _ = listener.accept()
while connection.recv(1000):
    connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\n\\r\\n' + b'x' * 100000)
";
    // It goes on until its connection has two subflows with data on them, as `ss` says.
    const CLIENT: &str = "import socket, subprocess, sys
connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
connection.connect(('10.99.0.2', int(sys.argv[1])))
def joined():
    command = ['ss', '-tnHi', 'state', 'established', 'dport', '=', sys.argv[1]]
    return subprocess.run(command, capture_output=True, text=True).stdout.count('bytes_received') == 2
while not joined():
    connection.sendall(b'GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n')
    answer = b''
    while not answer.endswith(b'\\r\\n\\r\\n' + b'x' * 100000):
        answer += connection.recv(1000000)
";
    let (client, server) = joined_namespaces();
    let_mptcp_join((&client, &server));
    let port = free_port().to_string();
    let tracer = Tracer::start(&["--port", &port]);
    let python = |namespace: &Namespace, program: &str| {
        let mut command = namespace.command("python3");
        Running::start(command.args(["-c", program, &port]).stdin(Stdio::null()))
    };
    let served = python(&server, SERVER);
    wait_for_listener(server.command("ss"), port.parse().expect("it is a number"), 1);
    let mut asks = python(&client, CLIENT);
    assert!(asks.0.wait().expect("it ends").success());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    for (role, process, addresses) in [
        (Role::Client, asks.pid(), ["10.99.0.1", "10.98.0.1"]),
        (Role::Server, served.pid(), ["10.99.0.1", "10.98.0.1"]),
    ] {
        let mut ends = recording.connections_of(role);
        ends.sort_by_key(|end| end.opened);
        assert_eq!(ends.len(), 2, "{ends:#?}");
        for (end, address) in ends.iter().zip(addresses) {
            let network = end.connection.ends();
            let client = if role == Role::Client { network.local } else { network.peer };
            assert_eq!(client.address.to_string(), address, "{end:#?}");
            assert!(end.mptcp, "{end:#?}");
            assert_eq!(end.connection.process.as_ref().map(|process| process.pid), Some(process), "{end:#?}");
            assert!(end.first_bytes.is_none(), "{end:#?}");
        }
        // The first subflow alone did not carry what came after the second.
        let outcomes = recording.http_of(role).into_iter().map(|http| http.exchange.outcome);
        assert!(
            outcomes.clone().all(|outcome| outcome != Outcome::Invalid),
            "{:?}",
            outcomes.collect::<Vec<_>>()
        );
    }
}
