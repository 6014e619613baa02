//! Filters that the eBPF programs decide by process, cgroup and network namespace, on every kernel.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process,
};

use tcp_trace_model::event::Role;
use tcp_trace_tests::{Namespace, Tracer, accept, free_port};

const CONNECTIONS: usize = 50;

/// Connections whose ends this process has, each with a request and an answer.
fn talk(namespace: &Namespace, server: SocketAddr) {
    let listener = namespace.run(|| TcpListener::bind(server).expect("the namespace is this test's own"));
    for _ in 0..CONNECTIONS {
        let mut client = namespace.run(|| TcpStream::connect(server).expect("it listens"));
        let mut accepted = accept(&listener);
        client.write_all(b"ping").expect("it is open");
        accepted.read_exact(&mut [0; 4]).expect("four bytes come");
        accepted.write_all(b"pong").expect("it is open");
        client.read_exact(&mut [0; 4]).expect("four bytes come");
        drop(client);
        assert_eq!(accepted.read(&mut [0; 4]).expect("the end comes"), 0);
    }
}

#[test]
fn loopback_filters_keep_selected_connections_whole_and_nothing_else() {
    let namespace = Namespace::new();
    let server = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let port = server.port().to_string();
    let pid = process::id().to_string();
    let comm = fs::read_to_string("/proc/self/comm").expect("the process is there");
    let own = ["--pid", &pid, "--comm", comm.trim_end(), "--cgroup", "/", "--netns", &namespace.path()];
    let tracer = Tracer::start(&[&["--port", &port], &own[..], &["--stacks"]].concat());
    let others = [["--pid", "1"], ["--comm", "no-such-name"], ["--cgroup", "/no/such"], ["--netns", "1"]]
        .map(|other| Tracer::start(&[&["--port", &port], &other[..]].concat()));
    talk(&namespace, server);
    tracer.wait_for_lines("connection", CONNECTIONS);
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let ends = recording.connections_of(role);
        assert_eq!(ends.len(), CONNECTIONS, "{role:?}");
        for end in ends {
            let state = (end.seen_from_start, end.bytes.sent, end.bytes.received);
            assert_eq!(state, (true, 4, 4), "{end:#?}");
            assert_eq!(end.connection.process.as_ref().map(|process| process.pid), Some(process::id()));
        }
    }
    for other in others {
        let recording = other.stop();
        let connections: Vec<_> = recording.connections().collect();
        assert!(connections.is_empty(), "{:?}: {connections:#?}", recording.session.filter);
    }
}
