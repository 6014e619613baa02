//! Recorded lives against independent witnesses: the kernel's own text of the tracepoint, and tshark.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use rustix::time::{ClockId, clock_gettime};
use tcp_trace::{
    event::{Direction, Role, State},
    record::{By, How},
};
use tcp_trace_tests::{
    Folder, Nginx, Recording, Running, Tracer, curl, free_port, output, wait_for, wait_for_listener,
};

/// A tracefs instance that prints `sock:inet_sock_set_state`, removed with its handle.
struct KernelText(PathBuf);

/// One line of it: time in microseconds of the monotonic clock, ports, states.
#[derive(Debug, PartialEq, Eq)]
struct KernelLine {
    time_us: u64,
    local_port: u16,
    peer_port: u16,
    old: String,
    new: String,
}

impl KernelText {
    fn start() -> Self {
        let tracefs = PathBuf::from("/sys/kernel/tracing");
        if !tracefs.join("instances").is_dir() {
            output(Command::new("mount").args(["-t", "tracefs", "tracefs", "/sys/kernel/tracing"]));
        }
        let instance = tracefs.join(format!("instances/tcp-trace-{}", std::process::id()));
        fs::create_dir(&instance).expect("tracefs makes instances");
        fs::write(instance.join("trace_clock"), "mono").expect("tracefs has this clock");
        fs::write(instance.join("events/sock/inet_sock_set_state/enable"), "1")
            .expect("tracefs has this event");
        Self(instance)
    }

    /// The lines that concern a port.
    fn lines(&self, port: u16) -> Vec<KernelLine> {
        let text = fs::read_to_string(self.0.join("trace")).expect("tracefs can be read");
        let lines =
            text.lines().filter(|line| !line.starts_with('#') && line.contains("protocol=IPPROTO_TCP"));
        lines.map(parse).filter(|line| line.local_port == port || line.peer_port == port).collect()
    }
}

impl Drop for KernelText {
    fn drop(&mut self) {
        // A left instance costs memory until reboot, and nothing else.
        let _ = fs::remove_dir(&self.0);
    }
}

fn parse(line: &str) -> KernelLine {
    let field = |name: &str| {
        let value = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name}: {line}")).1;
        value.split(' ').next().unwrap_or_default().to_owned()
    };
    let (head, _) = line.split_once(": inet_sock_set_state").expect("the event's name");
    let seconds = head.rsplit(' ').next().expect("a time");
    let (seconds, fraction) = seconds.split_once('.').expect("a fraction");
    KernelLine {
        time_us: seconds.parse::<u64>().expect("seconds") * 1_000_000
            + fraction.parse::<u64>().expect("microseconds"),
        local_port: field("sport").parse().expect("a port"),
        peer_port: field("dport").parse().expect("a port"),
        old: field("oldstate").trim_start_matches("TCP_").to_owned(),
        new: field("newstate").trim_start_matches("TCP_").to_owned(),
    }
}

/// What to add to the monotonic clock for wall time, in microseconds.
fn wall_offset_us() -> u64 {
    let us = |clock| {
        let time = clock_gettime(clock);
        u64::try_from(time.tv_sec).expect("after 1970") * 1_000_000
            + u64::try_from(time.tv_nsec).expect("a fraction") / 1_000
    };
    us(ClockId::Realtime) - us(ClockId::Monotonic)
}

/// One curl to nginx, recorded.
fn one_request(port: u16) -> Recording {
    let nginx = Nginx::start(port);
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    curl(&[&nginx.url("127.0.0.1", "/echo/x")]);
    // The end that closed second; the other is in TIME_WAIT by then.
    tracer.wait_for_lines("connection", 1);
    tracer.stop()
}

#[test]
fn transitions_are_the_kernels_but_for_time_wait_and_the_time_of_syn_recv() {
    let kernel = KernelText::start();
    let port = free_port();
    let recording = one_request(port);
    let offset = wall_offset_us();
    let of_connection: Vec<_> = kernel.lines(port).into_iter().filter(|line| line.peer_port != 0).collect();
    let recorded: Vec<_> =
        recording.transitions().filter(|transition| transition.network.peer.port != 0).collect();
    assert_eq!(recorded.len(), of_connection.len(), "{of_connection:#?}");
    for line in &of_connection {
        // FIN_WAIT2 to CLOSE is the moment at which a mini-socket goes on as TIME_WAIT.
        let is_time_wait = line.old == "FIN_WAIT2" && line.new == "CLOSE";
        let new = if is_time_wait { "TIME_WAIT" } else { &line.new };
        let same = recorded.iter().find(|transition| {
            // The kernel's ports of a socket that is not bound yet, or no more, are 0.
            let is_port = |recorded: u16, kernel: u16| kernel == 0 || recorded == kernel;
            let network = transition.network;
            is_port(network.local.port, line.local_port)
                && is_port(network.peer.port, line.peer_port)
                && (transition.old.name(), transition.new.name()) == (line.old.as_str(), new)
        });
        let same = same.unwrap_or_else(|| panic!("not recorded: {line:?}"));
        let late = (line.time_us + offset).abs_diff(same.time.0 / 1_000);
        if same.new != State::SynRecv {
            assert!(late < 1_000, "{late} us between {line:?} and {same:?}");
        }
    }
}

#[test]
fn a_server_enters_syn_recv_when_the_syn_comes() {
    let recording = one_request(free_port());
    let server = recording.connections_of(Role::Server)[0];
    let syn = recording.segments(server.connection)[0];
    assert_eq!(server.states[0].state, State::SynRecv);
    assert_eq!(server.states[0].entered, syn.time);
}

/// A captured segment: source port, flags, sequence and acknowledgment number, length.
type Captured = (u16, u8, u32, u32, u32);

/// tshark on loopback.
struct Tshark {
    process: Running,
    lines: BufReader<std::process::ChildStdout>,
}

impl Tshark {
    fn start(port: u16) -> Self {
        let folder = Folder::new();
        let mut command = Command::new("tshark");
        command
            .args(["-i", "lo", "-l", "-Q", "-f", &format!("tcp port {port}"), "-T", "fields"])
            .args([
                "-e",
                "tcp.srcport",
                "-e",
                "tcp.flags",
                "-e",
                "tcp.seq_raw",
                "-e",
                "tcp.ack_raw",
                "-e",
                "tcp.len",
            ])
            .env("HOME", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Running::start(&mut command);
        let lines = BufReader::new(process.0.stdout.take().expect("it is piped"));
        let mut tshark = Self { process, lines };
        // It says nothing when it is ready: refused connections are made until it shows one.
        let probe = free_port_pair(port);
        wait_for("tshark to capture", || {
            // The port is closed, so the answer is an RST; both pass the filter.
            let _ = std::net::TcpStream::connect(probe);
            tshark.has_output().then_some(())
        });
        tshark
    }

    fn has_output(&mut self) -> bool {
        use std::os::fd::AsFd as _;
        let fd = self.lines.get_ref().as_fd();
        let mut poll = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut poll, Some(&none)).expect("a pipe can be polled") > 0
    }

    /// The next segment.
    fn next(&mut self) -> Option<Captured> {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("tshark prints text");
        let fields: Vec<_> = line.trim_end().split('\t').collect();
        let [port, flags, seq, ack, length] = fields.as_slice() else { return None };
        let flags = u16::from_str_radix(flags.trim_start_matches("0x"), 16).expect("flags");
        Some((
            port.parse().expect("a port"),
            u8::try_from(flags & 0xff).expect("masked"),
            seq.parse().expect("a number"),
            ack.parse().expect("a number"),
            length.parse().expect("a number"),
        ))
    }
}

fn free_port_pair(port: u16) -> (std::net::Ipv4Addr, u16) {
    (std::net::Ipv4Addr::LOCALHOST, port)
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
    let client_port = client.network.expect("it is known").local.port;
    // From this connection's SYN to the ACK of the second FIN.
    let mut captured: Vec<Captured> = Vec::new();
    let mut fins = 0;
    while fins < 2 || captured.last().is_none_or(|(_, flags, ..)| flags & FIN != 0) {
        let segment = tshark.next().expect("tshark goes on");
        let is_syn_of_it = segment.0 == client_port && segment.1 & SYN != 0;
        if captured.is_empty() && !is_syn_of_it {
            continue;
        }
        fins += usize::from(segment.1 & FIN != 0);
        captured.push(segment);
    }
    drop(tshark.process);
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
        let connection = recording.connections_of(role)[0].connection;
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
    let port = free_port();
    let folder = Folder::new();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"]).current_dir(folder.path());
    let server = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for_listener(Command::new("ss"), port, 1);
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    // curl keeps the connection open after an answer without Connection: close, so a client is asked that waits.
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
        recording.life(server_end.connection)[2..],
        ["ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2", "FIN_WAIT2>TIME_WAIT"]
    );
    assert_eq!(
        recording.life(client.connection)[2..],
        ["ESTABLISHED>CLOSE_WAIT", "CLOSE_WAIT>LAST_ACK", "LAST_ACK>CLOSE"]
    );
    assert_eq!((server_end.close.by, server_end.close.how), (By::Local, How::Fin));
    assert_eq!((client.close.by, client.close.how), (By::Peer, How::Fin));
    assert_eq!(server_end.process.as_ref().map(|process| process.pid), Some(server.pid()));
    let in_time_wait =
        output(Command::new("ss").args(["-Htan", "state", "time-wait", &format!("sport = :{port}")]));
    assert_eq!(in_time_wait.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "ss sees the same");
    let exchange = recording.http_of(Role::Client)[0];
    assert_eq!(exchange.http.response.as_ref().map(|response| response.status_code), Some(200));
}
