//! What rustls encrypts and decrypts, of a server and of clients in one thread: each exchange is on the connection that carried it, as the server's
//! log says.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use tcp_trace_model::{
    event::{Role, TlsLibrary},
    record::{TlsLink, Unlinked},
};
use tcp_trace_tests::{Folder, Recording, Running, Tracer, free_port, output, wait_for, wait_for_listener};

use crate::{
    openssl::Certificate,
    rounds::{CONNECTIONS, Rounds, assert_requests},
};

/// The program that is both, built as people build theirs, with these options of Cargo.
fn build(profile: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rustls");
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/rustls");
    let mut build = Command::new("cargo");
    build.args(["build", "--locked", "--quiet", "--profile", profile, "--target-dir"]).arg(&target);
    output(build.arg("--manifest-path").arg(folder.join("Cargo.toml")));
    target.join(profile).join("tcp-trace-rustls")
}

struct Server {
    port: u16,
    log: PathBuf,
    _process: Running,
    _folder: Folder,
    _certificate: Certificate,
}

impl Server {
    fn start(program: &Path, threads: usize) -> Self {
        let (certificate, folder, port) = (Certificate::valid_for(30), Folder::new(), free_port());
        let log = folder.file("log");
        let mut command = Command::new(program);
        command.env("THREADS", threads.to_string());
        command.args(["server", &port.to_string()]).args([certificate.file(), certificate.key()]);
        let process = Running::start(command.stdout(File::create(&log).expect("the folder is ours")));
        wait_for_listener(Command::new("ss"), port, 1);
        Self { port, log, _process: process, _folder: folder, _certificate: certificate }
    }

    fn clients(&self, program: &Path, protocol: &str) -> Rounds {
        let mut command = Command::new(program);
        Rounds::start(command.args(["client", &self.port.to_string(), &CONNECTIONS.to_string(), protocol]))
    }

    fn trace(&self) -> Tracer {
        Tracer::start(&["--port", &self.port.to_string()])
    }

    /// What the server logged, once it is so much: the client's port, target, version of HTTP, and bytes of the response's body.
    fn log(&self, lines: usize) -> Vec<(u16, String, u8, u64)> {
        let text = wait_for("the server's log", || {
            let text = fs::read_to_string(&self.log).ok()?;
            (text.lines().count() >= lines && text.ends_with('\n')).then_some(text)
        });
        let logged = text.lines().map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let number = |index: usize| fields[index].parse::<u64>().expect("it is a number");
            (number(0) as u16, fields[1].to_owned(), number(2) as u8, number(3))
        });
        logged.collect()
    }
}

/// Both ends have what was logged, each on its connection, and say that the system calls of its very calls show that.
fn assert_logged(recording: &Recording, log: &[(u16, String, u8, u64)]) {
    assert_requests(recording, log.iter().map(|(port, uri, ..)| (*port, uri.clone())).collect());
    for http in recording.http() {
        assert_eq!(http.exchange.tls.map(|tls| tls.link), Some(TlsLink::NestedSyscall), "{http:?}");
        let request = http.exchange.request.as_ref().expect("it was seen");
        let line = log.iter().find(|(_, uri, ..)| request.target == uri.as_str().into());
        let (.., major, length) = line.expect("it was logged");
        let body = http.exchange.response.as_ref().map(|response| response.body.size);
        assert_eq!(
            (http.exchange.version().map(|version| version.major), body),
            (Some(*major), Some(*length)),
            "{http:?}"
        );
    }
    for role in [Role::Client, Role::Server] {
        for connection in recording.connections_of(role) {
            let library = connection.decrypted.as_ref().map(|decrypted| decrypted.library);
            assert_eq!(library, Some(TlsLibrary::Rustls), "{role:?}");
        }
    }
    assert_eq!((recording.end.lost, recording.end.unlinked), (0, Unlinked::default()));
}

#[test]
fn clients_and_server_of_rustls_have_the_exchanges_that_the_server_logs() {
    let program = build("release");
    for (threads, protocol) in [(1, "http1"), (2, "http2"), (1, "std"), (2, "moved")] {
        let server = Server::start(&program, threads);
        let tracer = server.trace();
        let mut clients = server.clients(&program, protocol);
        ["a", "b", "c"].iter().for_each(|round| clients.round(round));
        let exchanges = 3 * CONNECTIONS;
        let recording = clients.stop(tracer, exchanges);
        assert_logged(&recording, &server.log(exchanges));
    }
}

#[test]
fn connections_of_rustls_that_were_there_are_followed_from_their_next_request() {
    let program = build("release");
    for protocol in ["http1", "http2", "moved"] {
        let server = Server::start(&program, 1);
        let mut clients = server.clients(&program, protocol);
        clients.round("before");
        let tracer = server.trace();
        ["a", "b"].iter().for_each(|round| clients.round(round));
        let exchanges = 2 * CONNECTIONS;
        let recording = clients.stop(tracer, exchanges);
        assert_logged(&recording, &server.log(exchanges + CONNECTIONS)[CONNECTIONS..]);
    }
}
