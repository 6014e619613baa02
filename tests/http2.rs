//! HTTP/2 of real clients and servers: every request is the one that the server logged, and every stream ends as its client says.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use tcp_trace_model::{
    event::Role,
    http2::{ErrorCode, GrpcMessages, GrpcStatus, Stream, StreamReset},
    record::{Exchange, Http, Outcome, Version},
};
use tcp_trace_tests::{
    Diagnosing, Folder, Nginx, Recording, Running, Tracer, client_port, free_port, output, wait_for_listener,
};

/// What a server and a recording say of a request: the client's port, method, target, status and bytes of the response's body.
type Line = (u16, String, String, u16, u64);

/// Lines with how often each is there.
fn counted(lines: impl Iterator<Item = Line>) -> BTreeMap<Line, usize> {
    let mut counts = BTreeMap::new();
    lines.for_each(|line| *counts.entry(line).or_default() += 1);
    counts
}

fn stream(http: &Http) -> &Stream {
    http.exchange.stream.as_ref().expect("it is of HTTP/2")
}

/// What is recorded of a request at one end.
fn line(http: &Http) -> Line {
    let Exchange { request, response, outcome, .. } = &*http.exchange;
    let (request, response) =
        (request.as_ref().expect("it was seen"), response.as_ref().expect("it was answered"));
    assert_eq!((request.version, *outcome), (Some(Version::HTTP2), Outcome::Ok), "{http:?}");
    let text = |text: &tcp_trace_model::record::Text| text.printable().to_string();
    (
        client_port(http),
        text(&request.method),
        text(&request.target),
        response.status_code,
        response.body.size,
    )
}

/// Both ends have these requests, each on a stream of its own.
fn assert_requests(recording: &Recording, expected: &BTreeMap<Line, usize>) {
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        assert_eq!(&counted(exchanges.iter().map(|http| line(http))), expected, "{role:?}");
        let mut streams: Vec<_> =
            exchanges.iter().map(|http| (http.connection.id, stream(http).id)).collect();
        streams.sort_unstable();
        streams.dedup();
        assert_eq!(streams.len(), exchanges.len(), "{role:?}");
        assert!(streams.iter().all(|(_, id)| id % 2 == 1), "{role:?}");
    }
}

/// Requests of h2load to nginx, over ten connections with up to 100 streams at a time each.
fn h2load_at_nginx(requests: usize) {
    let port = free_port();
    let nginx = Nginx::start_http2(free_port(), port);
    let tracer = Tracer::start(&["--port", &port.to_string(), "--ring-size", "64MiB"]);
    let folder = Folder::new();
    let target = |number| match number % 10 {
        0 => format!("/missing/{number}"),
        1 => "/text.txt".to_owned(),
        _ => format!("/echo/{number}"),
    };
    let urls: String =
        (0..500).map(|number| format!("http://127.0.0.1:{port}{}\n", target(number))).collect();
    fs::write(folder.file("urls"), urls).expect("the folder is ours");
    let mut command = Command::new("h2load");
    command.args(["-n", &requests.to_string(), "-c", "10", "-m", "100", "-i"]).arg(folder.file("urls"));
    let report = String::from_utf8(output(&mut command).stdout).expect("it prints text");
    assert!(report.contains(&format!("{requests} total, {requests} started, {requests} done")), "{report}");
    let log = nginx.access_log(requests);
    tracer.wait_for_lines("http", 2 * requests);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    let logged = log.iter().map(|line| {
        (line.remote_port, line.method.clone(), line.uri.clone(), line.status, line.body_bytes_sent)
    });
    assert_requests(&recording, &counted(logged));
    for role in [Role::Client, Role::Server] {
        let connections = recording.connections_of(role);
        assert_eq!(connections.len(), 10);
        for connection in connections {
            assert_eq!(connection.protocol.as_deref(), Some("http/2"));
            assert_eq!(connection.http.as_ref().expect("it carried some").protocol, "http/2");
            let totals = connection.http2.as_ref().expect("it was HTTP/2");
            assert_eq!(totals.illegal, None);
            assert!((2..=100).contains(&totals.concurrent_max), "{totals:?}");
            assert_eq!(totals.server_settings.max_concurrent_streams, Some(128), "nginx's default");
        }
    }
}

#[test]
fn every_request_of_h2load_is_the_one_that_nginx_logged() {
    h2load_at_nginx(20_000);
}

#[test]
#[ignore = "takes minutes: run it by its name"]
fn a_hundred_thousand_requests_of_h2load_are_those_that_nginx_logged() {
    h2load_at_nginx(100_000);
}

#[test]
fn curl_with_prior_knowledge_is_recorded() {
    let (folder, port) = (Folder::new(), free_port());
    fs::write(folder.file("big"), vec![b'x'; 1 << 20]).expect("the folder is ours");
    fs::write(folder.file("small"), "small").expect("the folder is ours");
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "--htdocs"]).arg(folder.path()).arg(port.to_string());
    let server = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    // One for each version of IP.
    wait_for_listener(Command::new("ss"), port, 2);
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    // Each by itself: curl 7.88 fails at the second request of a connection with prior knowledge.
    let fetch = |path: &str| {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--http2-prior-knowledge",
            "--write-out",
            "%{local_port} %{http_version} %{http_code} %{size_download}",
            "--output",
            "/dev/null",
        ]);
        let said = output(command.arg(url(path))).stdout;
        format!("{} {path}", String::from_utf8(said).expect("it prints text"))
    };
    let expected = ["/big", "/small", "/missing"].map(fetch);
    tracer.wait_for_lines("http", 2 * 3);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    drop(server);
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let recorded: Vec<_> = recording
            .http_of(role)
            .iter()
            .map(|http| {
                let (request, response) =
                    (http.exchange.request.as_ref().unwrap(), http.exchange.response.as_ref().unwrap());
                let version = response.version.or(request.version).expect("it is known");
                let (port, target) = (client_port(http), request.target.printable());
                format!("{port} {version} {} {} {target}", response.status_code, response.body.size)
            })
            .collect();
        assert_eq!(recorded, expected, "{role:?}");
    }
}

/// Both ends of a connection, by node.
struct Node {
    process: Running,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

impl Node {
    fn start() -> Self {
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/programs/http2.js"));
        let mut process = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let (stdin, stdout) = (process.0.stdin.take(), process.0.stdout.take());
        let (stdin, stdout) = (stdin.expect("it is piped"), BufReader::new(stdout.expect("it is piped")));
        let mut node = Self { process, stdin, stdout, port: 0 };
        node.port = node.line().parse().expect("it prints its port");
        node
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it prints text");
        line.trim_end().to_owned()
    }

    /// Makes a request: its stream, the status, the bytes of the body, and the code of the stream's end.
    fn request(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").expect("it reads");
        self.line()
    }

    fn close(mut self) {
        writeln!(self.stdin, "close").expect("it reads");
        self.process.0.wait().expect("it ends");
    }
}

#[test]
fn streams_end_as_their_client_says() {
    let mut node = Node::start();
    let tracer = Tracer::start(&["--port", &node.port.to_string()]);
    let said: Vec<_> = [
        "GET /plain",
        "GET /early",
        "GET /trailers",
        "GET /push",
        "GET /refused",
        "GET /held",
        "POST /echo abcde",
        "GRPC 0",
        "GRPC 5",
        "GET /window",
    ]
    .iter()
    .map(|line| node.request(line))
    .collect();
    tracer.wait_for_lines("http", 2 * (said.len() + 1));
    node.close();
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let mut exchanges = recording.http_of(role);
        exchanges.sort_by_key(|http| stream(http).id);
        let pushed = exchanges.remove(1);
        assert_eq!(stream(pushed).id, 2);
        assert_eq!(stream(pushed).details.pushed_by, Some(7));
        let recorded: Vec<_> = exchanges
            .iter()
            .map(|http| {
                let response = http.exchange.response.as_ref();
                let status = response.map_or("-".to_owned(), |response| response.status_code.to_string());
                let size = response.map_or(0, |response| response.body.size);
                let code = stream(http).details.reset.map_or(0, |reset| reset.error.0);
                format!("{} {status} {size} {code}", stream(http).id)
            })
            .collect();
        assert_eq!(recorded, said, "{role:?}");
        let of = |at: usize| &*exchanges[at].exchange;
        assert_eq!(of(1).informational, [103]);
        let trailers = &stream(exchanges[2]).details.response_trailers;
        assert_eq!(trailers.first("checksum"), Some(&b"7"[..]));
        for (at, by, error) in [(4, Role::Server, 7), (5, Role::Client, 8)] {
            let open_streams = (by == Role::Server).then_some(1);
            let reset = Some(StreamReset { by, error: ErrorCode(error), open_streams });
            assert_eq!(
                (of(at).outcome, stream(exchanges[at]).details.reset),
                (Outcome::Reset, reset),
                "{role:?}"
            );
        }
        assert_eq!(of(6).request.as_ref().unwrap().body.size, 5);
        for (at, status) in [(7, GrpcStatus(0)), (8, GrpcStatus(5))] {
            let grpc = stream(exchanges[at]).grpc.as_ref().expect("it is a call");
            let text = |text: &Option<tcp_trace_model::record::Text>| {
                text.as_ref().map(|text| text.printable().to_string())
            };
            assert_eq!(text(&grpc.service).as_deref(), Some("pkg.Service"));
            assert_eq!((grpc.status, text(&grpc.message).as_deref()), (Some(status), Some("so be it")));
            assert_eq!(grpc.timeout_us, Some(30_000_000));
            let counts = |GrpcMessages { count, bytes, cut, .. }: GrpcMessages| (count, bytes, cut);
            assert_eq!((counts(grpc.request), counts(grpc.response)), ((2, 3, false), (2, 8, false)));
        }
        // The client read nothing for a while.
        let summary = &recording.connections_of(role)[0];
        assert!(stream(exchanges[9]).details.response_blocked.is_some(), "{role:?}");
        let totals = summary.http2.as_ref().expect("it was HTTP/2");
        assert_eq!((totals.resets, &totals.illegal), (2, &None));
    }
}

#[test]
fn what_a_server_does_nothing_for_and_what_waits_for_windows_are_findings() {
    for (requests, expected) in [
        (&["GET /plain", "POST /echo abcde", "GET /held"][..], &[][..]),
        (&["GET /plain", "GET /refused"], &[("stream_refused", "refused", 1)]),
        (&["GET /plain", "GET /goaway"], &[("goaway_race", "crossed", 1)]),
        (&["GET /plain", "GET /slow"], &[("flow_control", "stream_window", 1)]),
    ] {
        let mut node = Node::start();
        let diagnosing = Diagnosing::of_host(&["--port", &node.port.to_string()]);
        for request in requests {
            node.request(request);
        }
        let diagnosis = diagnosing.end();
        let found: Vec<_> = diagnosis
            .findings
            .iter()
            .map(|it| (it.code.as_str(), it.cause.as_deref().unwrap_or_default(), it.connections.len()))
            .collect();
        assert_eq!(found, expected, "{requests:?}: {:#?}", diagnosis.findings);
        assert!(diagnosis.findings.iter().all(|it| {
            it.process.as_ref().is_some_and(|it| it.name.printable().to_string().starts_with("node"))
        }));
        node.close();
    }
}

#[test]
fn a_connection_that_was_there_before_is_read_from_its_next_request() {
    let mut node = Node::start();
    assert_eq!(node.request("GET /before"), "1 200 4 0");
    let tracer = Tracer::start(&["--port", &node.port.to_string()]);
    assert_eq!(node.request("GET /before"), "3 200 4 0");
    assert_eq!(node.request("GET /after"), "5 200 4 0");
    assert_eq!(node.request("GET /after"), "7 200 4 0");
    tracer.wait_for_lines("http", 2 * 3);
    node.close();
    tracer.wait_for_closed();
    let recording = tracer.stop();
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        let recorded: Vec<_> = exchanges.iter().map(|http| (stream(http).id, line(http))).collect();
        let targets: Vec<_> =
            recorded.iter().map(|(id, line)| (*id, line.2.as_str(), line.3, line.4)).collect();
        // node never inserts a path; what else the first request inserted is unknown.
        let expected = [(3, "/before", 200, 4), (5, "/after", 200, 4), (7, "/after", 200, 4)];
        assert_eq!(targets, expected, "{role:?}");
        assert!(exchanges.iter().all(|http| stream(http).details.unknown_fields > 0));
    }
}
