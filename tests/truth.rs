//! Recorded lives against independent witnesses: the kernel's own text of the tracepoint, and tshark.

use std::process::{Command, Stdio};

use tcp_trace_model::{
    event::{Direction, Role, State},
    record::{By, How},
};
use tcp_trace_tests::{
    Captured, Folder, KernelText, Nginx, Recording, Running, TOLERANCE_US, Tracer, Tshark, curl, free_port,
    output, stay_on_one_cpu, wait_for_listener,
};

/// One curl to nginx, recorded.
fn one_request(port: u16) -> Recording {
    stay_on_one_cpu();
    let nginx = Nginx::start(port);
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    curl(&[&nginx.url("127.0.0.1", "/echo/x")]);
    // The end that closed second; the other is in TIME_WAIT by then.
    tracer.wait_for_lines("connection", 1);
    tracer.stop()
}

#[test]
fn transitions_are_the_kernels_but_for_time_wait_and_the_time_of_syn_recv() {
    let port = free_port();
    let kernel = KernelText::start(port);
    let recording = one_request(port);
    let of_connection: Vec<_> = kernel.lines().into_iter().filter(|line| line.peer_port != 0).collect();
    let recorded: Vec<_> =
        recording.transitions().filter(|transition| transition.connection.ends().peer.port != 0).collect();
    assert_eq!(recorded.len(), of_connection.len(), "{of_connection:#?}");
    let mut apart = Vec::new();
    for line in &of_connection {
        // FIN_WAIT2 to CLOSE is the moment at which a mini-socket goes on as TIME_WAIT.
        let is_time_wait = line.old == "FIN_WAIT2" && line.new == "CLOSE";
        let new = if is_time_wait { "TIME_WAIT" } else { &line.new };
        let same = recorded.iter().find(|transition| {
            // The kernel's ports of a socket that is not bound yet, or no more, are 0.
            let is_port = |recorded: u16, kernel: u16| kernel == 0 || recorded == kernel;
            let network = transition.connection.ends();
            is_port(network.local.port, line.local_port)
                && is_port(network.peer.port, line.peer_port)
                && (transition.old.name(), transition.new.name()) == (line.old.as_str(), new)
        });
        let same = same.unwrap_or_else(|| panic!("not recorded: {line:?}"));
        if same.new != State::SynRecv {
            apart.push((line.time.0.abs_diff(same.time.0) / 1_000, line));
        }
    }
    // A pause of the machine may come between the two programs at some of them.
    apart.sort_by_key(|(us, _)| *us);
    let (longest, median) = (&apart[apart.len() - 1], &apart[apart.len() / 2]);
    assert!(longest.0 <= TOLERANCE_US && median.0 < 1_000, "{apart:#?}");
}

#[test]
fn a_server_enters_syn_recv_when_the_syn_comes() {
    let recording = one_request(free_port());
    let server = recording.connections_of(Role::Server)[0];
    let syn = recording.segments(server.connection.id)[0];
    assert_eq!(server.states[0].state, State::SynRecv);
    assert_eq!(server.states[0].entered, syn.time);
}

#[test]
fn handshake_and_close_are_what_tshark_captured() {
    const SYN: u8 = 0x02;
    const FIN: u8 = 0x01;
    const RST: u8 = 0x04;
    let port = free_port();
    let mut tshark = Tshark::start(port);
    let recording = one_request(port);
    let client = recording.connections_of(Role::Client)[0];
    let client_port = client.connection.network.expect("it is known").local.port;
    // From this connection's SYN to the ACK of the second FIN.
    let mut captured: Vec<Captured> = Vec::new();
    let mut fins = 0;
    while fins < 2 || captured.last().is_none_or(|(_, flags, ..)| flags & FIN != 0) {
        let segment = tshark.next_segment().expect("tshark goes on");
        let is_syn_of_it = segment.0 == client_port && segment.1 & SYN != 0;
        if captured.is_empty() && !is_syn_of_it {
            continue;
        }
        fins += usize::from(segment.1 & FIN != 0);
        captured.push(segment);
    }
    drop(tshark);
    let is_recorded_kind = |index: usize, (_, flags, ..): &Captured| {
        index < 3 || flags & (SYN | FIN | RST) != 0 || index + 1 == captured.len()
    };
    let expected: Vec<_> = captured
        .iter()
        .enumerate()
        .filter(|(index, segment)| is_recorded_kind(*index, segment))
        .map(|(_, s)| *s)
        .collect();
    for role in [Role::Client, Role::Server] {
        let connection = recording.connections_of(role)[0].connection.id;
        let recorded: Vec<_> = recording
            .segments(connection)
            .into_iter()
            .map(|segment| {
                let from_client = (segment.direction == Direction::Out) == (role == Role::Client);
                let source = if from_client { client_port } else { port };
                (source, segment.flags.0.0, segment.seq, segment.ack.unwrap_or_default(), segment.length)
            })
            .collect();
        for segment in &expected {
            assert!(recorded.contains(segment), "{role:?}: {segment:?} is not in {recorded:?}");
        }
    }
}

#[test]
fn a_server_that_closes_first_has_the_time_wait() {
    stay_on_one_cpu();
    let port = free_port();
    let folder = Folder::new();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"]).current_dir(folder.path());
    let server = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for_listener(Command::new("ss"), port, 1);
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    // curl keeps the connection open after an answer without Connection: close, so the test uses a client that waits.
    let script = format!(
        "import socket; s = socket.create_connection(('127.0.0.1', {port})); \
         s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\nwhile s.recv(65536): pass\ns.close()"
    );
    output(Command::new("python3").args(["-c", &script]));
    // The end that closed second; the other is in TIME_WAIT by then.
    tracer.wait_for_lines("connection", 1);
    let recording = tracer.stop();
    let (client, server_end) =
        (recording.connections_of(Role::Client)[0], recording.connections_of(Role::Server)[0]);
    assert_eq!(
        recording.life(server_end.connection.id)[2..],
        ["ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2", "FIN_WAIT2>TIME_WAIT"]
    );
    assert_eq!(
        recording.life(client.connection.id)[2..],
        ["ESTABLISHED>CLOSE_WAIT", "CLOSE_WAIT>LAST_ACK", "LAST_ACK>CLOSE"]
    );
    assert_eq!((server_end.close.by, server_end.close.how), (By::Local, How::Fin));
    assert_eq!((client.close.by, client.close.how), (By::Peer, How::Fin));
    assert_eq!(server_end.connection.process.as_ref().map(|process| process.pid), Some(server.pid()));
    let in_time_wait =
        output(Command::new("ss").args(["-Htan", "state", "time-wait", &format!("sport = :{port}")]));
    assert_eq!(in_time_wait.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "ss sees the same");
    let exchange = recording.http_of(Role::Client)[0];
    assert_eq!(exchange.exchange.response.as_ref().map(|response| response.status_code), Some(200));
}
