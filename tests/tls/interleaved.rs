//! Many TLS connections in one thread, of libraries that read from and write to memory: every exchange is on its own connection, as the
//! program that made it says.

use std::{collections::HashMap, path::Path, process::Command};

use serde::Deserialize;
use tcp_trace_model::{
    event::Role,
    record::{Http, TlsLink},
};
use tcp_trace_tests::{Tracer, client_port, free_port, output};

use crate::{openssl::Certificate, plaintext::link};

/// Requests of the program: ten on each of 50 connections.
const REQUESTS: usize = 500;

/// A request, as the program says.
#[derive(Debug, Deserialize)]
struct Request {
    target: String,
    /// The client's.
    port: u16,
}

fn target(http: &Http) -> Option<String> {
    http.exchange.request.as_ref().map(|request| request.target.printable().to_string())
}

fn every_exchange_is_on_its_own_connection(interpreter: &str, program: &str) {
    let (certificate, port) = (Certificate::valid_for(30), free_port());
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(program);
    let mut command = Command::new(interpreter);
    command.arg(path).arg(port.to_string()).args([certificate.file(), certificate.key()]);
    let said = String::from_utf8(output(&mut command).stdout).expect("it prints JSON");
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let ports: HashMap<String, u16> =
        said.lines().map(parse).map(|request: Request| (request.target, request.port)).collect();
    assert_eq!(ports.len(), REQUESTS);
    tracer.wait_for_lines("http", 2 * REQUESTS);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!((recording.end.lost, recording.end.unlinked.is_none()), (0, true));
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        assert_eq!(exchanges.len(), REQUESTS, "{role:?}");
        for http in exchanges {
            let target = target(http).expect("it has a request");
            assert_eq!(ports.get(&target), Some(&client_port(http)), "{role:?} {target}");
            assert_eq!(link(http), Some(TlsLink::Ciphertext), "{role:?} {target}");
        }
    }
}

#[test]
fn asyncio_has_every_exchange_on_its_own_connection() {
    every_exchange_is_on_its_own_connection("python3", "tls_many.py");
}

#[test]
fn node_has_every_exchange_on_its_own_connection() {
    every_exchange_is_on_its_own_connection("node", "tls_many.js");
}
