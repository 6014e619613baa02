//! Handshakes that fail.

use std::{io::Read as _, net::TcpListener, process::Stdio, thread};

use rustix::process::Signal;
use tcp_trace_model::record::{TlsEnd, TlsOutcome};
use tcp_trace_tests::{Diagnosing, Running, with_patience};

use crate::{openssl::Certificate, session};

/// By whom which alert is sent, by name and by the number that tshark prints.
fn assert_fails(
    certificate: &Certificate,
    server: &[&str],
    client: &[&str],
    by: TlsEnd,
    (name, number): (&str, &str),
) {
    let seen = session(certificate, server, &[client]);
    let printed = &seen.client;
    assert_eq!(seen.alerts(), [(by == TlsEnd::Client, number)], "tshark; {printed}");
    for (end, tls) in seen.handshakes() {
        assert_eq!(tls.outcome, TlsOutcome::Alert, "{end}: {printed}");
        let [alert] = &tls.alerts[..] else { panic!("{end}: {tls:?}") };
        assert_eq!(
            (alert.by, alert.name.as_deref(), alert.fatal),
            (by, Some(name), Some(true)),
            "{end}: {printed}"
        );
        assert_eq!(tls.timing.handshake_us, None, "{end}");
    }
    let finding = seen.diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("tls_handshake", Some(name)));
    assert!(finding.summary.starts_with("1 TLS handshake from openssl (pid "), "{}", finding.summary);
    assert!(finding.evidence.0.iter().any(|(name, _)| name == "other_end"), "{:?}", finding.evidence);
}

const BOTH: [&str; 2] = ["-tls1_2", "-tls1_3"];

#[test]
fn a_client_that_does_not_know_the_issuer_says_so() {
    for version in BOTH {
        let client = [version, "-verify_return_error"];
        assert_fails(&Certificate::valid_for(30), &[], &client, TlsEnd::Client, ("unknown_ca", "48"));
    }
}

#[test]
fn a_client_refuses_a_certificate_that_has_expired() {
    for version in BOTH {
        let certificate = Certificate::valid_for(-1);
        let file = certificate.file().display().to_string();
        let client = [version, "-verify_return_error", "-CAfile", &file];
        assert_fails(&certificate, &[], &client, TlsEnd::Client, ("certificate_expired", "45"));
    }
}

#[test]
fn ends_without_a_common_version_or_cipher_suite_fail() {
    let certificate = Certificate::valid_for(30);
    assert_fails(&certificate, &["-tls1_3"], &["-tls1_2"], TlsEnd::Server, ("protocol_version", "70"));
    let server = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    let client = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"];
    assert_fails(&certificate, &server, &client, TlsEnd::Server, ("handshake_failure", "40"));
}

#[test]
fn a_server_refuses_a_name_that_it_does_not_have() {
    let certificate = Certificate::valid_for(30);
    let (file, key) = (certificate.file().display().to_string(), certificate.key().display().to_string());
    let server = ["-servername", "www.example.com", "-servername_fatal", "-cert2", &file, "-key2", &key];
    let client = ["-servername", "other.example.com"];
    assert_fails(&certificate, &server, &client, TlsEnd::Server, ("unrecognized_name", "112"));
}

#[test]
fn a_server_that_never_answers_is_found_when_the_client_gives_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let diagnosing = Diagnosing::start(port, &[]);
    let mut command = std::process::Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", "www.example.com"]);
    let mut client =
        Running::start(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()));
    let mut stream = with_patience(listener.accept().expect("openssl comes").0);
    let mut hello = [0; 1024];
    assert!(stream.read(&mut hello).expect("openssl sends its ClientHello") > 0);
    // As long as nobody gives up at once; how long it takes to end the client does not matter.
    thread::sleep(std::time::Duration::from_millis(1_100));
    client.signal(Signal::TERM);
    client.0.wait().expect("it can be waited for");
    assert_eq!(stream.read(&mut hello).expect("the client has closed"), 0);
    drop(stream);
    let diagnosis = diagnosing.end();
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("tls_handshake", Some("unanswered")));
    assert!(finding.summary.starts_with("1 TLS handshake from openssl (pid "), "{}", finding.summary);
}
