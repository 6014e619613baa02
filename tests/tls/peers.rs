//! Real clients and servers with TLS: both ends have the exchanges that the server logged, each on its connection.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use tcp_trace_model::{
    event::Role,
    record::{Http, Outcome, Text, Version},
};
use tcp_trace_tests::{
    AccessLogLine, Apache, Folder, Nginx, PAGE_PARTS, Recording, Script, Tracer, client_port, free_port,
    load_insecure, output, put_page,
};

use crate::openssl::Certificate;

/// Debian's packages of Python's modules are for Debian's interpreter.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Requests of every client, and how many there are. wget makes GETs only.
const REQUESTS: [&str; 5] = ["GET:/text.txt", "GET:/big", "POST:/text.txt", "GET:/missing", "GET:/text.txt"];

/// What makes the requests, with the interpreter and the program, or wget.
type Client = (&'static str, &'static [&'static str]);

const REQUESTS_OF_PYTHON: Client = ("requests", &["python3", "tls_client.py"]);
const AIOHTTP: Client = ("aiohttp", &[PYTHON, "tls_client.py"]);
const HTTPX: Client = ("httpx", &[PYTHON, "tls_client.py"]);
const HTTPX_2: Client = ("httpx2", &[PYTHON, "tls_client.py"]);
const NODE: Client = ("https", &["node", "tls_client.js"]);
const NODE_2: Client = ("http2", &["node", "tls_client.js"]);
const WGET: Client = ("wget", &[]);

/// A program of the tests' own.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

/// A server, with its port for TLS.
enum Server {
    Nginx(Nginx, u16),
    Apache(Apache, u16),
    Script(Script),
}

impl Server {
    fn port(&self) -> u16 {
        match self {
            Self::Nginx(_, port) | Self::Apache(_, port) => *port,
            Self::Script(script) => script.port(),
        }
    }

    fn log(&self, lines: usize) -> Vec<AccessLogLine> {
        match self {
            Self::Nginx(nginx, _) => nginx.access_log(lines),
            Self::Apache(apache, _) => apache.access_log(lines),
            Self::Script(script) => script.access_log(lines),
        }
    }
}

fn nginx(certificate: &Certificate) -> Server {
    let port = free_port();
    Server::Nginx(Nginx::start_with_tls(free_port(), port, &certificate.file(), &certificate.key()), port)
}

fn apache(certificate: &Certificate) -> Server {
    let port = free_port();
    Server::Apache(Apache::start_with_tls(free_port(), port, &certificate.file(), &certificate.key()), port)
}

fn script(interpreter: &str, name: &str, certificate: &Certificate) -> Server {
    let [file, key] = [certificate.file(), certificate.key()].map(|path| path.display().to_string());
    Server::Script(Script::start_with(interpreter, name, &[&file, &key]))
}

fn node(certificate: &Certificate) -> Server {
    script("node", "tls_server.js", certificate)
}

fn aiohttp(certificate: &Certificate) -> Server {
    script(PYTHON, "tls_server.py", certificate)
}

/// Makes the requests, and gives how many were made.
fn make(client: Client, port: u16) -> usize {
    let (name, [interpreter, file]) = client else { return wget(port) };
    let mut command = Command::new(interpreter);
    output(command.arg(program(file)).arg(name).arg(port.to_string()).args(REQUESTS));
    REQUESTS.len()
}

fn wget(port: u16) -> usize {
    let folder = Folder::new();
    let urls = ["/text.txt", "/big", "/text.txt"].map(|path| format!("https://127.0.0.1:{port}{path}"));
    let mut command = Command::new("wget");
    command.current_dir(folder.path()).args([
        "--no-config",
        "--no-proxy",
        "--quiet",
        "--no-check-certificate",
    ]);
    output(command.args(&urls));
    urls.len()
}

/// What a server and a recording say of a request: the client's port, method, target, status and bytes of the response's body.
type Line = (u16, String, String, u16, u64);

/// Lines with how often each is there.
fn counted(lines: impl Iterator<Item = Line>) -> BTreeMap<Line, usize> {
    let mut counts = BTreeMap::new();
    lines.for_each(|line| *counts.entry(line).or_default() += 1);
    counts
}

/// What is recorded of a request at one end.
fn recorded(http: &Http) -> Line {
    let exchange = &http.exchange;
    assert_eq!(exchange.outcome, Outcome::Ok, "{http:?}");
    assert!(exchange.tls.is_some(), "{http:?}");
    let (Some(request), Some(response)) = (&exchange.request, &exchange.response) else {
        panic!("half an exchange: {http:?}");
    };
    let text = |text: &Text| text.printable().to_string();
    let status = response.status_code;
    (client_port(http), text(&request.method), text(&request.target), status, response.body.size)
}

/// These ends have these exchanges, each on its connection.
fn assert_exchanges(what: &str, roles: &[Role], recording: &Recording, log: &[AccessLogLine]) {
    let logged = log.iter().map(|line| {
        (line.remote_port, line.method.clone(), line.uri.clone(), line.status, line.body_bytes_sent)
    });
    let logged = counted(logged);
    for &role in roles {
        let recorded = recording.http_of(role).into_iter().map(recorded);
        assert_eq!(counted(recorded), logged, "{what}, {role:?}");
    }
    assert_eq!(recording.end.lost, 0, "{what}");
}

/// Each of these clients at a server.
fn scene(start: fn(&Certificate) -> Server, clients: &[Client]) {
    let certificate = Certificate::valid_for(30);
    let server = start(&certificate);
    let mut before = 0;
    for client in clients {
        let tracer = Tracer::start(&["--port", &server.port().to_string()]);
        let requests = make(*client, server.port());
        tracer.wait_for_lines("http", 2 * requests);
        tracer.wait_for_closed();
        let recording = tracer.stop();
        let log = server.log(before + requests);
        assert_exchanges(client.0, &[Role::Client, Role::Server], &recording, &log[before..]);
        before = log.len();
    }
}

#[test]
fn clients_of_nginx_have_the_exchanges_that_it_logs() {
    scene(nginx, &[REQUESTS_OF_PYTHON, AIOHTTP, HTTPX, HTTPX_2, NODE, NODE_2, WGET]);
}

#[test]
fn clients_of_apache_have_the_exchanges_that_it_logs() {
    scene(apache, &[REQUESTS_OF_PYTHON, HTTPX_2, NODE, WGET]);
}

#[test]
fn clients_of_node_have_the_exchanges_that_it_logs() {
    scene(node, &[REQUESTS_OF_PYTHON, HTTPX_2, NODE, NODE_2]);
}

#[test]
fn clients_of_aiohttp_have_the_exchanges_that_it_logs() {
    scene(aiohttp, &[AIOHTTP, HTTPX, NODE, WGET]);
}

#[test]
fn a_page_that_chromium_loads_is_read_at_the_server_s_end() {
    let certificate = Certificate::valid_for(30);
    let Server::Nginx(nginx, port) = nginx(&certificate) else { unreachable!("it is nginx") };
    put_page(&nginx, "</body></html>");
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    load_insecure(&format!("https://127.0.0.1:{port}/page.html"));
    let log = nginx.access_log(1 + PAGE_PARTS);
    tracer.wait_for_lines("http", log.len());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_exchanges("chromium", &[Role::Server], &recording, &log);
    for http in recording.http() {
        assert_eq!(http.exchange.version(), Some(Version::HTTP2), "{http:?}");
        assert_eq!(http.connection.role, Some(Role::Server), "its own TLS is not read: {http:?}");
    }
}
