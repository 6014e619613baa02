//! Messages of HTTP/2 of which each goes into one call of the TLS library, however long it is.

use std::process::{Command, Stdio};

use tcp_trace_model::{
    event::Role,
    record::{Integrity, Outcome},
};
use tcp_trace_tests::{Recording, Running, Tracer, free_port, output, wait_for_listener};

use crate::openssl::Certificate;

/// Bytes of both messages of each exchange on one connection, which the client resets at the end.
fn burst(sizes: &[u64]) -> Recording {
    let (certificate, port) = (Certificate::valid_for(30), free_port());
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/http2_burst.py");
    let mut command = Command::new("python3");
    command.args([program, "server", &port.to_string()]).arg(certificate.file()).arg(certificate.key());
    let _server = Running::start(command.stdin(Stdio::null()));
    wait_for_listener(Command::new("ss"), port, 1);
    let tracer = Tracer::start(&["--port", &port.to_string(), "--ring-size", "64MiB"]);
    let mut command = Command::new("python3");
    command.args([program, "client", &port.to_string()]);
    let said = output(command.args(sizes.iter().map(u64::to_string))).stdout;
    let said = String::from_utf8(said).expect("it prints text");
    let received: Vec<u64> = said.lines().map(|line| line.parse().expect("it is a number")).collect();
    assert_eq!(received, sizes);
    tracer.wait_for_lines("http", 2 * sizes.len());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    recording
}

#[test]
fn messages_of_200_kibibytes_in_one_call_are_whole() {
    let sizes = [200 << 10, 5, 200 << 10];
    let recording = burst(&sizes);
    for role in [Role::Client, Role::Server] {
        let recorded: Vec<_> = recording
            .http_of(role)
            .iter()
            .map(|http| {
                let exchange = &http.exchange;
                assert_eq!(
                    (exchange.outcome, exchange.integrity),
                    (Outcome::Ok, Integrity::Complete),
                    "{role:?}: {http:?}"
                );
                let sizes = [
                    exchange.request.as_ref().map(|request| request.body.size),
                    exchange.response.as_ref().map(|response| response.body.size),
                ];
                (exchange.request.as_ref().expect("it was seen").target.printable().to_string(), sizes)
            })
            .collect();
        let expected: Vec<_> =
            sizes.iter().map(|size| (format!("/{size}!"), [Some(*size), Some(*size)])).collect();
        assert_eq!(recorded, expected, "{role:?}");
    }
}

#[test]
fn what_is_not_seen_of_a_longer_call_is_unknown_and_nothing_else() {
    let recording = burst(&[8 << 20, 5]);
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        let mut recorded: Vec<_> = exchanges
            .iter()
            .map(|http| {
                let exchange = &http.exchange;
                let target = exchange.request.as_ref().expect("it was seen").target.printable().to_string();
                (target, exchange.outcome, exchange.integrity, exchange.reason.as_deref())
            })
            .collect();
        recorded.sort_unstable_by_key(|(target, ..)| target.clone());
        let long = format!("/{}!", 8 << 20);
        // The client has all of the response from its calls, which are short.
        let reason = (role == Role::Server).then_some("bytes were not seen");
        let expected = [
            ("/5!".to_owned(), Outcome::Ok, Integrity::Complete, None),
            (long, Outcome::Ok, Integrity::Gap, reason),
        ];
        assert_eq!(recorded, expected, "{role:?}");
    }
}
