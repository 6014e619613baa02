//! gRPC with TLS, by grpcio at both ends: each call is what the client and the server say.

use std::process::Command;

use serde::Deserialize;
use tcp_trace_model::{
    event::Role,
    http2::{ErrorCode, Grpc},
    record::{Http, Text},
};
use tcp_trace_tests::{Script, Tracer, client_port, output};

use crate::{
    openssl::Certificate,
    peers::{PYTHON, program},
};

/// What the server says of a call.
#[derive(Debug, Deserialize)]
struct Call {
    client: u16,
    method: String,
    received: u64,
    sent: u64,
    status: u32,
}

fn grpc(http: &Http) -> &Grpc {
    let stream = http.exchange.stream.as_ref().expect("it is of HTTP/2");
    stream.grpc.as_ref().unwrap_or_else(|| panic!("no call: {http:?}"))
}

fn text(text: &Option<Text>) -> Option<String> {
    text.as_ref().map(|text| text.printable().to_string())
}

#[test]
fn calls_of_every_kind_are_what_both_ends_say() {
    let certificate = Certificate::valid_for(30);
    let [file, key] = [certificate.file(), certificate.key()].map(|path| path.display().to_string());
    let server = Script::start_with(PYTHON, "grpc_peer.py", &["server", &file, &key]);
    let tracer = Tracer::start(&["--port", &server.port().to_string()]);
    let mut client = Command::new(PYTHON);
    client.arg(program("grpc_peer.py")).args([&server.port().to_string(), "client", &file]);
    let said = String::from_utf8(output(&mut client).stdout).expect("it prints text");
    let expected = "Unary 1 OK\nServerStream 3 OK\nClientStream 1 OK\nBoth 3 OK\nFails 0 NOT_FOUND\nLate 0 DEADLINE_EXCEEDED\n";
    assert_eq!(said, expected);
    let calls: Vec<Call> = server.log(expected.lines().count());
    tracer.wait_for_lines("http", 2 * calls.len());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        assert_eq!(exchanges.len(), calls.len(), "{role:?}: {exchanges:#?}");
        for call in &calls {
            let is_it = |http: &&&Http| text(&grpc(http).method).as_deref() == Some(&call.method);
            let http = exchanges.iter().find(is_it).unwrap_or_else(|| panic!("{role:?} has no {call:?}"));
            let grpc = grpc(http);
            assert_eq!(text(&grpc.service).as_deref(), Some("test.Peers"));
            assert_eq!(client_port(http), call.client);
            assert!(http.exchange.tls.is_some(), "{http:?}");
            assert_eq!((grpc.request.count, grpc.response.count), (call.received, call.sent), "{http:?}");
            if call.method == "Late" {
                // Whichever end notices first.
                let stream = http.exchange.stream.as_ref().expect("it is of HTTP/2");
                let is_cancelled = stream.details.reset.is_some_and(|reset| reset.error == ErrorCode::CANCEL);
                let status = grpc.status.map(|status| status.0);
                assert!(is_cancelled || status == Some(call.status), "{http:?}");
                // It is rounded up.
                assert!(grpc.timeout_us.is_some_and(|us| (1..=2_100_000).contains(&us)), "{grpc:?}");
            } else {
                assert_eq!(grpc.status.map(|status| status.0), Some(call.status), "{http:?}");
            }
        }
    }
}
