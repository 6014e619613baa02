//! h2load at nghttpd: every stream is the one that the server says it had on that connection.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::{Command, Stdio},
};

use tcp_trace_model::{event::Role, record::Outcome};
use tcp_trace_tests::{Folder, Recording, Running, Tracer, free_port, output, wait_for, wait_for_listener};

use crate::openssl::Certificate;

/// The streams of a connection: number and path, in order.
type Streams = Vec<(u32, String)>;

/// What nghttpd says of each connection, as in `[id=1] [  0.471] recv (stream_id=3) :path: /p0/x`.
fn said(text: &str) -> Vec<Streams> {
    let mut connections = BTreeMap::<&str, Streams>::new();
    for line in text.lines() {
        let Some((head, path)) = line.split_once(") :path: ") else { continue };
        let (id, head) =
            head.strip_prefix("[id=").and_then(|rest| rest.split_once(']')).expect("it has an id");
        let (_, stream) = head.split_once("(stream_id=").expect("it has a stream");
        let stream = stream.parse().expect("it is a number");
        connections.entry(id).or_default().push((stream, path.to_owned()));
    }
    sorted(connections.into_values())
}

/// What was recorded at one end.
fn recorded(recording: &Recording, role: Role) -> Vec<Streams> {
    let mut connections = BTreeMap::<_, Streams>::new();
    for http in recording.http_of(role) {
        let exchange = &http.exchange;
        let status = exchange.response.as_ref().map(|response| response.status_code);
        assert_eq!((exchange.outcome, status), (Outcome::Ok, Some(404)), "{http:?}");
        assert!(exchange.tls.is_some(), "{http:?}");
        let id = exchange.stream.as_ref().expect("it is of HTTP/2").id;
        let target = &exchange.request.as_ref().expect("it was seen").target;
        connections.entry(http.connection.id).or_default().push((id, target.printable().to_string()));
    }
    sorted(connections.into_values())
}

fn sorted(connections: impl Iterator<Item = Streams>) -> Vec<Streams> {
    let mut all: Vec<_> = connections
        .map(|mut streams| {
            streams.sort_unstable();
            streams
        })
        .collect();
    all.sort_unstable();
    all
}

/// So many clients at once, each with a path of its own, so many connections and up to 100 streams at a time on each.
fn h2load_at_nghttpd(clients: usize, connections: usize, requests: usize) {
    let (certificate, folder, port) = (Certificate::valid_for(30), Folder::new(), free_port());
    let log = folder.file("log");
    let mut command = Command::new("nghttpd");
    command.args(["--verbose", "--htdocs"]).arg(folder.path()).arg(port.to_string());
    command.arg(certificate.key()).arg(certificate.file()).stdin(Stdio::null());
    command.stdout(File::create(&log).expect("the folder is ours")).stderr(Stdio::null());
    let _server = Running::start(&mut command);
    // One for each version of IP.
    wait_for_listener(Command::new("ss"), port, 2);
    let tracer = Tracer::start(&["--port", &port.to_string(), "--ring-size", "64MiB"]);
    let load = |client: usize| {
        let mut command = Command::new("h2load");
        command.args(["-n", &requests.to_string(), "-c", &connections.to_string(), "-m", "100"]);
        let url = format!("https://127.0.0.1:{port}/client/{client}");
        String::from_utf8(output(command.arg(url)).stdout).expect("it prints text")
    };
    let reports: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..clients).map(|client| scope.spawn(move || load(client))).collect();
        started.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    for report in reports {
        assert!(
            report.contains(&format!("{requests} total, {requests} started, {requests} done")),
            "{report}"
        );
    }
    let all = clients * requests;
    tracer.wait_for_lines("http", 2 * all);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    let said = wait_for("all of the server's log", || {
        let text = fs::read_to_string(&log).ok()?;
        // What is behind it may be half a line.
        let said = said(&text[..text.rfind('\n')?]);
        (said.iter().map(Vec::len).sum::<usize>() >= all).then_some(said)
    });
    assert_eq!(said.len(), clients * connections);
    for role in [Role::Client, Role::Server] {
        assert!(recorded(&recording, role) == said, "{role:?}: {:?}", recording.end);
    }
}

#[test]
fn streams_of_ten_clients_are_those_that_nghttpd_says() {
    h2load_at_nghttpd(10, 1, 300);
}

#[test]
#[ignore = "takes a minute: run it by its name"]
fn a_hundred_thousand_streams_are_those_that_nghttpd_says() {
    h2load_at_nghttpd(1, 10, 100_000);
}
