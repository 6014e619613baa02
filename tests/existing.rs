//! Sockets opened before the tracer started: found with their processes, and followed from then on.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Connection, How},
};
use tcp_trace_tests::{
    Load, Namespace, PATIENCE, Running, Tracer, free_port, output, wait_for, wait_for_listener,
};

/// Accepts two connections, says so, reads nothing, and waits for its end.
const SERVER: &str = "import socket, sys, time\n\
    l = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
    a = [l.accept(), l.accept()]\n\
    print('accepted', flush=True)\n\
    time.sleep(600)";

struct Older {
    server: Running,
    port: u16,
    /// Closed while it is traced.
    closing: TcpStream,
    /// Open to the end, with data that the server does not read.
    staying: TcpStream,
}

fn older() -> Older {
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-c", SERVER, &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = Running::start(&mut command);
    wait_for_listener(Command::new("ss"), port, 1);
    let connect = || TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (closing, mut staying) = (connect(), connect());
    staying.write_all(b"hello").expect("it is open");
    let mut said = String::new();
    let stdout = server.0.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut said).expect("it prints text");
    assert_eq!(said, "accepted\n");
    Older { server, port, closing, staying }
}

/// What is recorded of the end that has a stream's address as its own, or as its peer's.
fn end_of<'a>(ends: &[&'a Connection], local: bool, address: SocketAddr) -> &'a Connection {
    let is_it = |end: &&&Connection| {
        let network = end.connection.network.expect("older sockets have addresses");
        let own = if local { network.local } else { network.peer };
        own == address.into()
    };
    ends.iter().find(is_it).unwrap_or_else(|| panic!("no end has {address}: {ends:#?}"))
}

#[test]
fn sockets_that_are_older_than_the_session_have_their_processes_and_are_followed() {
    let Older { server, port, closing, staying } = older();
    let closing_address = closing.local_addr().expect("it is connected");
    let staying_address = staying.local_addr().expect("it is connected");
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    drop(closing);
    // The server does not close: its end stays in CLOSE_WAIT, and the client's becomes an orphan.
    wait_for("the orphan", || {
        let text = tracer.text();
        text.contains("\"old\":\"FIN_WAIT1\",\"new\":\"FIN_WAIT2\"").then_some(())
    });
    let shown = output(Command::new("ss").args(["-Htan", &format!("( sport = :{port} )")]));
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    let shown = String::from_utf8(shown.stdout).expect("ss prints text");
    let states: Vec<&str> = shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(states.iter().filter(|state| **state == "CLOSE-WAIT").count(), 1, "{shown}");

    let all: Vec<&Connection> = recording.connections().collect();
    assert_eq!(all.len(), 5, "a listener and two ends of two connections: {all:#?}");
    assert!(all.iter().all(|end| !end.seen_from_start), "{all:#?}");
    let (this, python) = (std::process::id(), server.pid());
    let pid = |end: &Connection| end.connection.process.as_ref().map(|process| process.pid);

    let listener = recording.connections_of(Role::Listener)[0];
    assert_eq!((pid(listener), listener.open), (Some(python), true));
    assert_eq!(listener.accept_queue.map(|queue| queue.length), Some(0));

    let (client, accepted) = (end_of(&all, true, staying_address), end_of(&all, false, staying_address));
    assert_eq!((pid(client), pid(accepted)), (Some(this), Some(python)));
    assert_eq!(
        (client.peer_connection, accepted.peer_connection),
        (Some(accepted.connection.id), Some(client.connection.id))
    );
    assert_eq!(accepted.connection.role, Some(Role::Server), "a listener has its port");
    assert_eq!(accepted.receive_queue, 5, "the server reads nothing");
    for end in [client, accepted] {
        let states: Vec<State> = end.states.iter().map(|span| span.state).collect();
        assert_eq!((states.as_slice(), end.open), (&[State::Established][..], true));
        assert_eq!(end.duration_us, None, "nobody knows how old it is");
        assert_eq!((end.bytes.sent, end.bytes.received), (0, 0), "nothing passed since");
    }
    // What the client had written before.
    let before = |end: &Connection| end.bytes_before.map(|bytes| (bytes.sent, bytes.received));
    assert_eq!((before(client), before(accepted)), (Some((5, 0)), Some((0, 5))));

    let (client, accepted) = (end_of(&all, true, closing_address), end_of(&all, false, closing_address));
    assert_eq!((pid(client), pid(accepted)), (Some(this), Some(python)));
    assert_eq!(recording.life(client.connection.id), ["ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2"]);
    assert_eq!((client.close.by, client.close.how), (By::Local, How::Fin));
    assert!(client.ends.is_some(), "the orphan is there yet: {client:?}");
    assert_eq!(recording.life(accepted.connection.id), ["ESTABLISHED>CLOSE_WAIT"]);
    assert!(accepted.open);
    drop(staying);
}

#[test]
fn older_sockets_of_other_namespaces_are_found_too() {
    let namespace = Namespace::new();
    let listener = namespace.run(|| std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be had"));
    let port = listener.local_addr().expect("it is bound").port();
    let recording = Tracer::start(&["--port", &port.to_string()]).stop();
    let of_namespace: Vec<_> = recording
        .connections_of(Role::Listener)
        .into_iter()
        .filter(|end| end.connection.network.expect("it is known").netns == Some(namespace.inode()))
        .collect();
    let [found] = of_namespace.as_slice() else { panic!("one listener: {of_namespace:#?}") };
    assert_eq!(found.connection.process.as_ref().map(|process| process.pid), Some(std::process::id()));
}

/// Connections that are born and die while the programs are being attached are seen in parts.
#[test]
fn connections_that_end_while_the_tracer_starts_do_not_stay_open() {
    let load = Load::new();
    let port = load.address().port().to_string();
    // It ends also where the tracer does not start.
    let deadline = Instant::now() + PATIENCE;
    let is_ready = AtomicBool::new(false);
    let tracer = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_ready.load(Ordering::Acquire) && Instant::now() < deadline {
                load.run(2, 100, 1);
            }
            load.run(2, 100, 1);
        });
        let tracer = Tracer::start(&["--port", &port]);
        is_ready.store(true, Ordering::Release);
        tracer
    });
    tracer.wait_for_closed();
    drop(load);
    let recording = tracer.stop();
    let open: Vec<_> = recording.connections().filter(|end| end.open).collect();
    assert_eq!(open, Vec::<&Connection>::new());
}
