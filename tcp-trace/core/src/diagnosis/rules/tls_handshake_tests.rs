//! Tests of TLS handshakes that fail.

use tcp_trace_model::{
    record::KernelSocket,
    socket::{TcpInfo, Timer},
};

use super::{testing::handshake, *};
use crate::diagnosis::{
    History,
    testing::Host,
    testing_http::{at, life, lived, summary},
};

fn failed(role: Role, by: TlsEnd, name: Option<&str>) -> Connection {
    handshake(role, By::Peer, TlsOutcome::Alert, Some((by, name, true)))
}

fn only(history: &History) -> Finding {
    let mut findings = Host::new().judge_with("tls_handshake", history);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

#[test]
fn an_rst_or_a_server_that_ended_is_not_a_close() {
    for (role, by, how, process_ended, cause, in_why) in [
        (Role::Client, By::Peer, How::Rst, false, "reset", "a device on the way"),
        (Role::Client, By::Peer, How::Fin, false, "closed_by_server", "does not accept"),
        (Role::Server, By::Local, How::Fin, true, "server_process_ended", "process ended"),
        (Role::Server, By::Local, How::Rst, true, "server_process_ended", "process ended"),
    ] {
        let mut end = handshake(role, by, TlsOutcome::Closed, None);
        (end.close.how, end.close.process_ended) = (how, process_ended);
        let finding = only(&lived(Vec::new(), Vec::new(), end));
        assert_eq!(finding.cause.as_deref(), Some(cause));
        assert!(finding.why.contains(in_why), "{}", finding.why);
        assert_eq!(finding.explain, "TLS-handshake");
    }
}

#[test]
fn an_alert_is_named_with_who_sent_it() {
    for (end, name, cause, words) in [
        (TlsEnd::Client, Some("unknown_ca"), "unknown_ca", "failed: the client sent the alert unknown_ca."),
        (
            TlsEnd::Server,
            Some("unrecognized_name"),
            "unrecognized_name",
            "failed: the server sent the alert unrecognized_name.",
        ),
        (TlsEnd::Client, None, "encrypted_alert_of_client", "failed: the client sent an encrypted alert."),
    ] {
        let finding = only(&lived(Vec::new(), Vec::new(), failed(Role::Client, end, name)));
        assert_eq!(finding.cause.as_deref(), Some(cause));
        assert_eq!(finding.summary, format!("1 TLS handshake from client (pid 5) to 10.0.0.1:8080 {words}"));
    }
}

#[test]
fn both_ends_are_one_case_with_both_processes() {
    let mut history = History::default();
    for role in [Role::Client, Role::Server] {
        life(&mut history, Vec::new(), Vec::new(), failed(role, TlsEnd::Server, Some("protocol_version")));
    }
    let finding = only(&history);
    assert!(finding.summary.starts_with("1 TLS handshake from client (pid 5)"), "{}", finding.summary);
    let evidence = format!("{:?}", finding.evidence);
    assert!(evidence.contains("api (pid 6)") && evidence.contains("www.example.com"), "{evidence}");
}

#[test]
fn who_closes_before_the_server_says_anything_makes_the_cause() {
    for (role, by, ms, expected) in [
        (Role::Client, By::Local, 2_000, Some("unanswered")),
        (Role::Server, By::Peer, 2_000, Some("unanswered")),
        (Role::Client, By::Peer, 2_000, Some("closed_by_server")),
        (Role::Server, By::Local, 2, Some("closed_by_server")),
        // A change of mind.
        (Role::Client, By::Local, 999, None),
        (Role::Client, By::None, 2_000, None),
    ] {
        let mut end = handshake(role, by, TlsOutcome::Closed, None);
        end.closed = Some(at(ms));
        let findings = Host::new().judge_with("tls_handshake", &lived(Vec::new(), Vec::new(), end));
        let causes: Vec<_> = findings.iter().filter_map(|finding| finding.cause.as_deref()).collect();
        assert_eq!(causes, expected.into_iter().collect::<Vec<_>>(), "{role:?} {by:?} {ms}");
    }
}

#[test]
fn every_cause_with_advice_of_its_own_has_a_topic() {
    let library = crate::explain::Library::new(crate::explain::Language::En);
    for cause in [
        "unknown_ca",
        "certificate_expired",
        "bad_certificate",
        "protocol_version",
        "handshake_failure",
        "unrecognized_name",
        "no_application_protocol",
        "unanswered",
        "closed_by_server",
        "other",
    ] {
        let topic = advice(cause).topic;
        assert!(library.named(&[topic.to_owned()]).is_some(), "{cause}: {topic}");
    }
}

#[test]
fn what_keeps_the_client_hello_from_being_answered_is_the_cause() {
    let waits = || {
        let mut client = handshake(Role::Client, By::None, TlsOutcome::Open, None);
        (client.open, client.closed, client.close.how) = (true, None, How::Open);
        client
    };
    let server = |unread, is_accepted: bool| {
        let mut server = summary(Role::Server, By::None, How::Open);
        server.bytes.received = 517;
        let socket = KernelSocket { receive_queue: unread, no_file: !is_accepted, ..KernelSocket::default() };
        server.socket = Some(Box::new(socket));
        server
    };
    let mut resending = waits();
    resending.socket = Some(Box::new(KernelSocket {
        send_queue: 517,
        timer: Some(Timer::Retransmit),
        tcp_info: Some(TcpInfo { retransmits: 5, ..TcpInfo::default() }),
        ..KernelSocket::default()
    }));
    let gave_up = || handshake(Role::Client, By::Local, TlsOutcome::Closed, None);
    let mut left_unread = summary(Role::Server, By::Local, How::Rst);
    (left_unread.bytes.received, left_unread.receive_queue) = (517, 517);
    for (client, server, cause, words) in [
        (waits(), None, "waiting", "has no answer yet."),
        (waits(), Some(server(0, true)), "waiting", "has no answer yet."),
        (waits(), Some(server(517, true)), "hello_not_read", "had not read the ClientHello."),
        (waits(), Some(server(517, false)), "connection_not_accepted", "had not accepted the connection."),
        (resending, None, "hello_not_acknowledged", "did not acknowledge the ClientHello."),
        (gave_up(), None, "unanswered", "got no answer: the client waited for up to 2.00 s and closed."),
        (
            gave_up(),
            Some(left_unread),
            "hello_not_read",
            "had not read the ClientHello: the client waited for up to 2.00 s and closed.",
        ),
    ] {
        let mut history = lived(Vec::new(), Vec::new(), client);
        server.into_iter().for_each(|server| life(&mut history, Vec::new(), Vec::new(), server));
        let finding = only(&history);
        assert_eq!(finding.cause.as_deref(), Some(cause));
        assert!(finding.summary.ends_with(words), "{}", finding.summary);
        assert!(!finding.why.contains("gave the handshake up"), "{}", finding.why);
    }
}
