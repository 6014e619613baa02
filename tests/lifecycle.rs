//! How a session ends, and that its file is complete then; following a command.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use tcp_trace_model::event::Role;
use tcp_trace_tests::{
    Folder, Namespace, Nginx, Recording, Running, Tracer, curl, free_port, output, tcp_trace, wait_for,
};

#[test]
fn every_signal_that_asks_to_end_completes_the_file() {
    let nginx = Nginx::start(free_port());
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
        curl(&[&nginx.url("127.0.0.1", "/echo/x")]);
        let (recording, status) = tracer.end_with(signal);
        assert!(status.success(), "{signal:?}: {status}");
        assert!(recording.end.interrupted, "{signal:?}");
        for role in [Role::Client, Role::Server] {
            assert_eq!(recording.connections_of(role).len(), 1, "also without waiting for their summaries");
        }
    }
}

/// Records a shell command to its end.
fn record(script: &str) -> (Recording, std::process::ExitStatus) {
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    let status = tcp_trace().arg("record").arg("-o").arg(&file).args(["--", "sh", "-c", script]).status();
    let text = fs::read_to_string(&file).expect("the recording can be read");
    (Recording::parse(&text), status.expect("the tracer can be started"))
}

#[test]
fn the_end_of_the_command_completes_the_file_and_its_exit_code_is_passed_on() {
    for (script, code) in [("true", 0), ("exit 7", 7), ("kill -KILL $$", 128 + 9)] {
        let (recording, status) = record(script);
        assert!(!recording.end.interrupted, "{script}");
        assert_eq!(status.code(), Some(code), "{script}");
    }
}

#[test]
fn a_command_is_followed_with_its_children_and_nothing_else_is() {
    let nginx = Nginx::start(free_port());
    let url = |path| nginx.url("127.0.0.1", path);
    let (own, child, grandchild) = (url("/echo/own"), url("/echo/child"), url("/echo/grandchild"));
    let folder = Folder::new();
    let gate = folder.file("gate");
    // The command waits until a stranger has made a request to the same port.
    let script = format!(
        "touch {0}.ready; while ! [ -e {0} ]; do sleep 0.01; done; \
         curl -s {child} & (curl -s {grandchild} & wait); wait; exec curl -s {own}",
        gate.display()
    );
    let stranger = url("/echo/stranger");
    let recorded = std::thread::scope(|scope| {
        let recorded = scope.spawn(|| record(&script));
        wait_for("the command to start", || fs::metadata(folder.file("gate.ready")).ok());
        curl(&[&stranger]);
        fs::write(&gate, "").expect("the folder is ours");
        recorded.join().expect("it records")
    });
    let (recording, status) = recorded;
    assert!(status.success());
    let mut targets: Vec<_> = recording
        .http()
        .map(|http| http.exchange.request.as_ref().expect("requests are seen").target.printable().to_string())
        .collect();
    targets.sort();
    assert_eq!(targets, ["/echo/child", "/echo/grandchild", "/echo/own"]);
    assert_eq!(recording.connections_of(Role::Server).len(), 0, "nginx is no child of the command");
    assert!(recording.connections().all(|connection| !connection.open), "their ends were waited for");
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    output(tcp_trace().arg("record").arg("-o").arg(&file).args(["--duration", "200ms", "--port", "1"]));
    let recording = Recording::parse(&fs::read_to_string(&file).expect("the recording can be read"));
    let lasted = recording.end.time.micros_since(recording.session.time);
    assert!(lasted >= 200_000, "{lasted} us");
    assert!(!recording.end.interrupted);
}

/// Ids of the BPF links that a process holds, from what the kernel says of its descriptors.
fn links_of(pid: u32) -> Vec<u32> {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process is there");
    let infos = folder.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    infos
        .filter_map(|info| {
            let line = info.lines().find_map(|line| line.strip_prefix("link_id:"))?;
            line.trim().parse().ok()
        })
        .collect()
}

/// Records an orphan, whose FIN_WAIT2 lasts for this many seconds, with these further arguments, until it is one.
fn orphan(fin_timeout: &str, arguments: &[&str]) -> Recording {
    let namespace = Namespace::new();
    namespace.set("ipv4/tcp_fin_timeout", fin_timeout);
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:0").expect("a port can be had"));
    let address = listener.local_addr().expect("it is bound");
    let tracer = Tracer::start(&[&["--port", &address.port().to_string()], arguments].concat());
    let client = namespace.run(|| TcpStream::connect(address).expect("it listens"));
    let (server, _) = listener.accept().expect("a client came");
    drop(client);
    wait_for("the orphan", || tracer.text().contains("\"new\":\"FIN_WAIT2\"").then_some(()));
    let (recording, status) = tracer.end_with(Signal::INT);
    drop(server);
    assert!(status.success(), "{status}");
    recording
}

#[test]
fn a_session_settles_on_request() {
    let settled = orphan("2", &["--settle", "60s"]);
    let client = settled.connections_of(Role::Client)[0];
    let life = settled.life(client.connection.id);
    assert_eq!(life.last().map(String::as_str), Some("FIN_WAIT2>CLOSE"), "{client:?}");
    assert_eq!(client.ends, None);
    let in_fin_wait2 = client.states.last().and_then(|span| span.duration_us).expect("it ended");
    assert!((1_000_000..60_000_000).contains(&in_fin_wait2), "the session waits no longer: {client:?}");

    let unsettled = orphan("60", &[]);
    let client = unsettled.connections_of(Role::Client)[0];
    assert!(client.ends.is_some_and(|ends| ends > unsettled.end.time), "{client:?}");
}

#[test]
fn kill_9_leaves_nothing_attached_and_only_valid_lines() {
    let nginx = Nginx::start(free_port());
    // What is attached to TLS libraries, tests/tls looks at.
    let tracer = Tracer::start(&["--no-tls", "--port", &nginx.port().to_string()]);
    for _ in 0..20 {
        curl(&[&nginx.url("127.0.0.1", "/echo/x")]);
    }
    tracer.wait_for_lines("http", 10);
    let links = links_of(tracer.pid());
    assert_eq!(links.len(), 7, "one for each program that is used without a command");
    let text = tracer.kill();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in complete.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(complete.lines().count() > 10);
    // The kernel frees a link some moments after its last descriptor is gone.
    wait_for("the links to go", || {
        let shown = output(Command::new("bpftool").args(["--json", "link", "show"]));
        let all: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("bpftool prints JSON");
        let ids = all.as_array().expect("a list").iter().filter_map(|link| link["id"].as_u64());
        let left = ids.filter(|id| links.iter().any(|link| u64::from(*link) == *id)).count();
        (left == 0).then_some(())
    });
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_session_with_success() {
    let nginx = Nginx::start(free_port());
    let mut command = tcp_trace();
    command.args(["live", "--format", "jsonl", "--port", &nginx.port().to_string()]).stdout(Stdio::piped());
    let mut process = Running::start(&mut command);
    let mut lines = BufReader::new(process.0.stdout.take().expect("it is piped")).lines();
    for expected in ["session", "ready"] {
        let line = lines.next().expect("a line").expect("text");
        assert!(line.contains(&format!("\"type\":\"{expected}\"")), "{line}");
    }
    drop(lines);
    // A process that another test starts this moment may still have the pipe's end for a moment.
    let status = wait_for("the end of the session", || {
        curl(&[&nginx.url("127.0.0.1", "/echo/x")]);
        process.0.try_wait().expect("it can be waited for")
    });
    assert!(status.success(), "{status}");
}
