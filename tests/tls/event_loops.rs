//! Programs of one thread whose TLS library never sees a socket: each exchange is on the connection that carried it, as the server's
//! log says. A wrong one is worse than none.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use tcp_trace_model::{
    event::Role,
    record::{Http, Integrity, Outcome, TlsLink, Version},
};
use tcp_trace_tests::{
    AccessLogLine, Nginx, Recording, Running, Tracer, assert_logged, client_port, free_port,
};

use crate::openssl::Certificate;

/// Connections of a program.
const CONNECTIONS: usize = 50;

/// nginx with TLS and HTTP/2.
struct Server {
    nginx: Nginx,
    port: u16,
    _certificate: Certificate,
}

impl Server {
    fn start() -> Self {
        let certificate = Certificate::valid_for(30);
        let port = free_port();
        let nginx = Nginx::start_with_tls(free_port(), port, &certificate.file(), &certificate.key());
        Self { nginx, port, _certificate: certificate }
    }

    fn trace(&self) -> Tracer {
        Tracer::start(&["--port", &self.port.to_string()])
    }
}

/// A program that makes requests when it is told to.
struct Loop {
    process: Running,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Loop {
    fn start((interpreter, name): (&str, &str), server: &Server, count: usize, more: &[&str]) -> Self {
        let mut command = Command::new(interpreter);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name))
            .args([server.port.to_string(), count.to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Running::start(&mut command);
        let input = process.0.stdin.take();
        let output = BufReader::new(process.0.stdout.take().expect("it is piped"));
        let mut program = Self { process, input, output };
        program.says("ready");
        program
    }

    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it writes text");
        assert_eq!(line.trim(), expected);
    }

    /// A request on every connection.
    fn round(&mut self, name: &str) {
        let input = self.input.as_mut().expect("it is open");
        writeln!(input, "{name}").expect("the program reads");
        self.says("done");
    }

    /// Ends the program, and then the tracer.
    fn stop(&mut self, tracer: Tracer, exchanges: usize) -> Recording {
        tracer.wait_for_lines("http", 2 * exchanges);
        self.input = None;
        let status = self.process.0.wait().expect("it is ours");
        assert!(status.success(), "{status}");
        tracer.wait_for_closed();
        tracer.stop()
    }
}

/// Every exchange of the client says that ciphertext shows its connection, and nothing is lost.
fn assert_linked(recording: &Recording) {
    for http in recording.http() {
        let expected = if http.connection.role == Some(Role::Client) {
            TlsLink::Ciphertext
        } else {
            TlsLink::NestedSyscall
        };
        assert_eq!(http.exchange.tls.map(|tls| tls.link), Some(expected), "{http:?}");
    }
    assert_eq!(recording.end.lost, 0);
}

/// Each end has the requests that nginx logged, each on its connection.
fn assert_requests(recording: &Recording, log: &[AccessLogLine]) {
    let mut logged: Vec<_> = log.iter().map(|line| (line.remote_port, line.uri.clone())).collect();
    logged.sort_unstable();
    for role in [Role::Client, Role::Server] {
        let mut recorded: Vec<_> = recording.http_of(role).into_iter().map(request).collect();
        recorded.sort_unstable();
        assert_eq!(recorded, logged, "{role:?}");
    }
}

fn request(http: &Http) -> (u16, String) {
    assert_eq!(
        (http.exchange.outcome, http.exchange.integrity),
        (Outcome::Ok, Integrity::Complete),
        "{http:?}"
    );
    let request = http.exchange.request.as_ref().expect("it was seen");
    (client_port(http), request.target.printable().to_string())
}

const PROGRAMS: [(&str, &str); 2] = [("/usr/bin/python3", "event_loop.py"), ("node", "event_loop.js")];

#[test]
fn fifty_connections_of_one_thread_have_each_its_own_exchanges() {
    for program in PROGRAMS {
        let server = Server::start();
        let tracer = server.trace();
        let mut program = Loop::start(program, &server, CONNECTIONS, &[]);
        ["a", "b", "c"].iter().for_each(|round| program.round(round));
        let exchanges = 3 * CONNECTIONS;
        let recording = program.stop(tracer, exchanges);
        assert_linked(&recording);
        assert_logged(&recording, &server.nginx.access_log(exchanges), "nginx");
    }
}

#[test]
fn connections_of_an_event_loop_that_were_there_are_followed_from_their_next_request() {
    for program in PROGRAMS {
        let server = Server::start();
        let mut program = Loop::start(program, &server, CONNECTIONS, &[]);
        // Node opens them with their first requests.
        program.round("before");
        let tracer = server.trace();
        ["a", "b", "c"].iter().for_each(|round| program.round(round));
        let exchanges = 3 * CONNECTIONS;
        let recording = program.stop(tracer, exchanges);
        assert_linked(&recording);
        let log = server.nginx.access_log(exchanges + CONNECTIONS);
        assert_requests(&recording, &log[CONNECTIONS..]);
    }
}

#[test]
fn streams_of_one_connection_of_node_are_those_that_nginx_logs() {
    for is_there_before in [false, true] {
        let server = Server::start();
        let start = || {
            let mut program = Loop::start(("node", "event_loop.js"), &server, CONNECTIONS, &["http2"]);
            program.round("before");
            program
        };
        let early = is_there_before.then(start);
        let tracer = server.trace();
        let before = if is_there_before { CONNECTIONS } else { 0 };
        let mut program = early.unwrap_or_else(start);
        ["a", "b"].iter().for_each(|round| program.round(round));
        let exchanges = 3 * CONNECTIONS - before;
        let recording = program.stop(tracer, exchanges);
        assert_linked(&recording);
        let log = server.nginx.access_log(3 * CONNECTIONS);
        assert_requests(&recording, &log[before..]);
        assert!(recording.http().all(|http| http.exchange.version() == Some(Version::HTTP2)));
    }
}
