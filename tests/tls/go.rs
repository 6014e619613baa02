//! What Go's `crypto/tls` encrypts and decrypts, of a server and of clients with many goroutines: each exchange is on the connection that
//! carried it, as the server's log says.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use tcp_trace_model::{
    event::{Role, TlsLibrary},
    record::TlsLink,
};
use tcp_trace_tests::{Folder, Recording, Running, Tracer, free_port, output, wait_for, wait_for_listener};

use crate::{
    openssl::Certificate,
    rounds::{CONNECTIONS, Rounds, assert_requests},
};

/// A request that the server logged.
struct Logged {
    remote_port: u16,
    uri: String,
    major: u8,
    body: u64,
}

/// The program that is both.
struct Program {
    folder: Folder,
}

impl Program {
    fn build(options: &[&str]) -> Self {
        let folder = Folder::new();
        let mut build = Command::new("go");
        build.arg("build").args(options).arg("-o").arg(folder.file("program"));
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/rounds.go"));
        output(build.env("GOCACHE", folder.file("cache")).env("GO111MODULE", "off"));
        Self { folder }
    }

    fn command(&self, threads: usize) -> Command {
        let mut command = Command::new(self.folder.file("program"));
        command.env("GOMAXPROCS", threads.to_string());
        command
    }
}

struct Server {
    port: u16,
    log: PathBuf,
    _process: Running,
    _folder: Folder,
    _certificate: Certificate,
}

impl Server {
    fn start(program: &Program, threads: usize) -> Self {
        let (certificate, folder, port) = (Certificate::valid_for(30), Folder::new(), free_port());
        let log = folder.file("log");
        let mut command = program.command(threads);
        command.args(["server", &port.to_string()]).args([certificate.file(), certificate.key()]);
        let process = Running::start(command.stdout(File::create(&log).expect("the folder is ours")));
        wait_for_listener(Command::new("ss"), port, 1);
        Self { port, log, _process: process, _folder: folder, _certificate: certificate }
    }

    fn clients(&self, program: &Program, threads: usize, protocol: &str) -> Rounds {
        let mut command = program.command(threads);
        Rounds::start(command.args(["client", &self.port.to_string(), &CONNECTIONS.to_string(), protocol]))
    }

    fn trace(&self) -> Tracer {
        Tracer::start(&["--port", &self.port.to_string()])
    }

    /// What the server logged, once it is so much.
    fn log(&self, lines: usize) -> Vec<Logged> {
        let text = wait_for("the server's log", || {
            let text = fs::read_to_string(&self.log).ok()?;
            (text.lines().count() >= lines && text.ends_with('\n')).then_some(text)
        });
        let logged = text.lines().map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            Logged {
                remote_port: fields[0].parse().expect("it is a port"),
                uri: fields[1].to_owned(),
                major: fields[2].parse().expect("it is a number"),
                body: fields[3].parse().expect("it is a number"),
            }
        });
        logged.collect()
    }
}

/// Both ends have what was logged, each on its connection, and say that the system calls of its very calls show that.
fn assert_logged(recording: &Recording, log: &[Logged]) {
    assert_requests(recording, log.iter().map(|line| (line.remote_port, line.uri.clone())).collect());
    for http in recording.http() {
        assert_eq!(http.exchange.tls.map(|tls| tls.link), Some(TlsLink::NestedSyscall), "{http:?}");
        let request = http.exchange.request.as_ref().expect("it was seen");
        let line = log.iter().find(|line| request.target == line.uri.as_str().into()).expect("it was logged");
        let body = http.exchange.response.as_ref().map(|response| response.body.size);
        assert_eq!(
            (http.exchange.version().map(|version| version.major), body),
            (Some(line.major), Some(line.body)),
            "{}",
            line.uri
        );
    }
    for role in [Role::Client, Role::Server] {
        for connection in recording.connections_of(role) {
            let library = connection.decrypted.as_ref().map(|decrypted| decrypted.library);
            assert_eq!(library, Some(TlsLibrary::Go), "{role:?}");
        }
    }
    assert_eq!(recording.end.lost, 0);
}

#[test]
fn clients_and_server_of_go_have_the_exchanges_that_the_server_logs() {
    let plain = Program::build(&[]);
    let stripped = Program::build(&["-ldflags", "-s -w"]);
    for (program, threads, protocol) in [
        (&plain, 1, "http1"),
        (&plain, 2, "http2"),
        (&stripped, 1, "http2"),
        (&stripped, 2, "http1"),
        (&stripped, 2, "tls"),
    ] {
        let server = Server::start(program, threads);
        let tracer = server.trace();
        let mut clients = server.clients(program, threads, protocol);
        ["a", "b", "c"].iter().for_each(|round| clients.round(round));
        let exchanges = 3 * CONNECTIONS;
        let recording = clients.stop(tracer, exchanges);
        assert_logged(&recording, &server.log(exchanges));
    }
}

#[test]
fn goroutines_that_wait_for_what_comes_next_are_followed_from_that() {
    let program = Program::build(&["-ldflags", "-s -w"]);
    for protocol in ["http1", "http2", "tls"] {
        let server = Server::start(&program, 2);
        let mut clients = server.clients(&program, 2, protocol);
        clients.round("before");
        let tracer = server.trace();
        ["a", "b"].iter().for_each(|round| clients.round(round));
        let exchanges = 2 * CONNECTIONS;
        let recording = clients.stop(tracer, exchanges);
        assert_logged(&recording, &server.log(exchanges + CONNECTIONS)[CONNECTIONS..]);
    }
}
