//! Programs of one thread whose TLS library never sees a socket: each exchange is on the connection that carried it, as the server's
//! log says. A wrong one is worse than none.

use std::{path::Path, process::Command};

use tcp_trace_model::{
    event::Role,
    record::{TlsLink, Version},
};
use tcp_trace_tests::{AccessLogLine, Nginx, Recording, Tracer, assert_logged, free_port};

use crate::{
    openssl::Certificate,
    rounds::{CONNECTIONS, Rounds, assert_requests},
};

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

fn start((interpreter, name): (&str, &str), server: &Server, count: usize, more: &[&str]) -> Rounds {
    let mut command = Command::new(interpreter);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name));
    Rounds::start(command.args([server.port.to_string(), count.to_string()]).args(more))
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

fn requests(log: &[AccessLogLine]) -> Vec<(u16, String)> {
    log.iter().map(|line| (line.remote_port, line.uri.clone())).collect()
}

const PROGRAMS: [(&str, &str); 2] = [("/usr/bin/python3", "event_loop.py"), ("node", "event_loop.js")];

#[test]
fn fifty_connections_of_one_thread_have_each_its_own_exchanges() {
    for program in PROGRAMS {
        let server = Server::start();
        let tracer = server.trace();
        let mut program = start(program, &server, CONNECTIONS, &[]);
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
        let mut program = start(program, &server, CONNECTIONS, &[]);
        // Node opens them with their first requests.
        program.round("before");
        let tracer = server.trace();
        ["a", "b", "c"].iter().for_each(|round| program.round(round));
        let exchanges = 3 * CONNECTIONS;
        let recording = program.stop(tracer, exchanges);
        assert_linked(&recording);
        let log = server.nginx.access_log(exchanges + CONNECTIONS);
        assert_requests(&recording, requests(&log[CONNECTIONS..]));
    }
}

#[test]
fn streams_of_one_connection_of_node_are_those_that_nginx_logs() {
    for is_there_before in [false, true] {
        let server = Server::start();
        let begin = || {
            let mut program = start(("node", "event_loop.js"), &server, CONNECTIONS, &["http2"]);
            program.round("before");
            program
        };
        let early = is_there_before.then(begin);
        let tracer = server.trace();
        let before = if is_there_before { CONNECTIONS } else { 0 };
        let mut program = early.unwrap_or_else(begin);
        ["a", "b"].iter().for_each(|round| program.round(round));
        let exchanges = 3 * CONNECTIONS - before;
        let recording = program.stop(tracer, exchanges);
        assert_linked(&recording);
        let log = server.nginx.access_log(3 * CONNECTIONS);
        assert_requests(&recording, requests(&log[before..]));
        assert!(recording.http().all(|http| http.exchange.version() == Some(Version::HTTP2)));
    }
}
