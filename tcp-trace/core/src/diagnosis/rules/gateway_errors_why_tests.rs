//! Tests of what is said of why an upstream did not answer: TLS, requests that did not arrive, resets, races.

use std::sync::Arc;

use tcp_trace_model::{
    record::{Network, TlsEnd, TlsOutcome},
    socket::{TcpInfo, Timer},
};

use super::*;
use crate::diagnosis::rules::tls_handshake::testing::handshake;

/// The gateway's connection to its upstream, open or ended in this way 90 ms after it asked.
fn asks(by: By, how: How) -> Connection {
    let mut end = upstream(10, (1_005, 1_095), by, how);
    (end.bytes.sent, end.open) = (160, how == How::Open);
    end
}

/// The upstream's own end of it, which is traced too.
fn its_end(end: &Connection, by: By, how: How) -> Connection {
    let mut own = summary(Role::Server, by, how);
    let info = Arc::make_mut(&mut own.connection);
    let Network { local, peer, .. } = end.connection.network.unwrap();
    info.id = socket(20);
    let network = info.network.as_mut().unwrap();
    (network.local, network.peer) = (peer, local);
    info.process = Some(Arc::new(Process { pid: 7, name: "worker".into(), ..Process::default() }));
    (own.opened, own.closed, own.seen_from_start) = (at(1_005), Some(at(1_095)), true);
    own
}

/// What is found of a gateway with this status, this connection and this exchange.
fn through(status: u16, exchange: Option<Http>, end: Connection, other: Option<Connection>) -> Finding {
    let mut history = gateway(status);
    let exchange = exchange.map(|http| asked(&end, http));
    life(&mut history, Vec::new(), exchange.into_iter().collect(), end);
    if let Some(other) = other {
        life(&mut history, Vec::new(), Vec::new(), other);
    }
    only(&history)
}

/// A request that got no answer in 85 ms.
fn no_answer(outcome: Outcome) -> Http {
    let mut http = unanswered(Role::Client, 0, 1_010, outcome);
    http.exchange.timing.total_us = 85_000;
    http
}

#[test]
fn a_tls_handshake_that_fails_is_the_cause_and_is_told_once() {
    let alert = |end, name| Some((end, name, true));
    for (outcome, by, alert, words, in_why) in [
        (
            TlsOutcome::Alert,
            By::Peer,
            alert(TlsEnd::Server, Some("unrecognized_name")),
            "its TLS handshake with 10.0.0.2:9000 failed: that sent the alert unrecognized_name.",
            "no certificate for the name",
        ),
        (
            TlsOutcome::Alert,
            By::Peer,
            alert(TlsEnd::Server, Some("handshake_failure")),
            "that sent the alert handshake_failure.",
            "or a server name (SNI), that the client did not send",
        ),
        (
            TlsOutcome::Alert,
            By::Local,
            alert(TlsEnd::Client, Some("unknown_ca")),
            "failed: it sent the alert unknown_ca.",
            "no trusted issuer",
        ),
        (
            TlsOutcome::Alert,
            By::Local,
            alert(TlsEnd::Client, None),
            "it sent an alert.",
            "the gateway is the client",
        ),
        (TlsOutcome::NotTls, By::Peer, None, "failed: the answer was not TLS.", "port is for plain HTTP"),
        (
            TlsOutcome::Closed,
            By::Peer,
            None,
            "had not finished when the connection ended.",
            "neither end said why",
        ),
    ] {
        for status in [502, 503, 504] {
            let mut end = asks(by, How::Fin);
            end.bytes.received = 7;
            end.tls = handshake(Role::Client, by, outcome, alert).tls;
            let mut history = gateway(status);
            life(&mut history, Vec::new(), Vec::new(), end);
            let finding = only(&history);
            assert_eq!(finding.cause.as_deref(), Some("upstream_tls"), "{outcome:?}");
            assert!(finding.summary.ends_with(words), "{}", finding.summary);
            assert!(finding.why.contains(in_why), "{}", finding.why);
            let all = crate::diagnosis::judge(
                &Facts::new(&Host::new().snapshot, None, &history),
                &Thresholds::DEFAULT,
            );
            let codes: Vec<_> = all.findings.iter().map(|it| &*it.code).collect();
            assert_eq!(codes, [CODE], "{outcome:?}");
        }
    }
    // What passes in TLS may have been an error.
    let mut end = asks(By::Peer, How::Fin);
    end.bytes.received = 4_000;
    end.tls = handshake(Role::Client, By::Peer, TlsOutcome::Established, None).tls;
    let finding = through(502, None, end, None);
    assert_eq!(finding.cause.as_deref(), Some("own_answer"));
    assert!(finding.why.contains("in TLS that is not decrypted"), "{}", finding.why);
}

#[test]
fn a_request_that_did_not_arrive_was_not_taken() {
    let http = || no_answer(Outcome::NoResponse);
    let unsent = || {
        let mut http = http();
        http.exchange.ended = Some(Ended { message: Message::Request, part: Part::Body, offset: 25 });
        http
    };
    let resending = || {
        let mut end = asks(By::None, How::Open);
        let socket = tcp_trace_model::record::KernelSocket {
            send_queue: 160,
            timer: Some(Timer::Retransmit),
            tcp_info: Some(TcpInfo { retransmits: 4, ..TcpInfo::default() }),
            ..tcp_trace_model::record::KernelSocket::default()
        };
        end.socket = Some(Box::new(socket));
        end
    };
    let plain = || asks(By::Local, How::Fin);
    for (http, end, words, in_why) in [
        (Some(http()), plain(), "was sent its request and did not answer within", "may also not have got"),
        (Some(http()), resending(), "did not acknowledge its request within", "no acknowledgment came"),
        (None, resending(), "did not acknowledge its request within", "no acknowledgment came"),
        (
            Some(unsent()),
            plain(),
            "it did not send its request to 10.0.0.2:9000 to the end",
            "nothing to answer yet",
        ),
        (None, plain(), "was sent its request and did not answer within", "The connection was up"),
    ] {
        let finding = through(504, http, end, None);
        assert_eq!(finding.cause.as_deref(), Some("upstream_silent"));
        assert!(finding.summary.contains(words), "{}", finding.summary);
        assert!(finding.why.contains(in_why), "{}", finding.why);
        for false_words in ["took its request", "request delivered"] {
            assert!(!finding.summary.contains(false_words) && !finding.why.contains(false_words));
        }
    }
}

#[test]
fn a_gateway_that_ends_with_an_rst_says_what_was_not_acknowledged() {
    for (unacknowledged, retransmits, total_us, closed_window_us, words) in [
        (Some(160), 3, 5_000_000, 0, "did not acknowledge its request"),
        (Some(0), 3, 5_000_000, 0, "was sent its request and did not answer"),
        (None, 3, 5_000_000, 0, "was sent its request and did not answer"),
        (Some(160), 0, 5_000_000, 0, "was sent its request and did not answer"),
        // It had not waited for long enough to know.
        (Some(160), 3, 90_000, 0, "was sent its request and did not answer"),
        (Some(160), 3, 5_000_000, 4_000_000, "was sent its request and did not answer"),
    ] {
        let ms = 1_010 + total_us / 1_000;
        let mut end = upstream(10, (1_005, ms + 1), By::Local, How::Rst);
        (end.close.unacknowledged, end.retransmits, end.bytes.sent) = (unacknowledged, retransmits, 160);
        end.zero_window = (closed_window_us > 0)
            .then(|| tcp_trace_model::record::ZeroWindow { peer_us: closed_window_us, ..Default::default() });
        let mut http = no_answer(Outcome::Reset);
        http.exchange.timing.total_us = total_us;
        let answered = answer(Role::Server, 504, 1_000, ms + 1 - 1_000);
        let mut history = lived(Vec::new(), vec![answered], summary(Role::Server, By::Peer, How::Fin));
        let http = asked(&end, http);
        life(&mut history, Vec::new(), vec![http], end);
        let finding = only(&history);
        assert!(finding.summary.contains(words), "{}", finding.summary);
    }
}

#[test]
fn an_rst_of_the_upstream_names_only_the_cause_that_its_own_end_shows() {
    let reset = || no_answer(Outcome::Reset);
    for (by, how, reason, process_ended, in_why, not_in_why) in [
        (By::Local, How::Rst, Some("TCP_STATE"), false, "SO_LINGER set to 0", "crashed"),
        (By::Local, How::Rst, Some("ECONNABORTED"), false, "destroyed from outside", "SO_LINGER"),
        (By::Local, How::Rst, None, true, "process ended", "destroyed"),
        (By::Peer, How::Rst, Some("ECONNRESET"), false, "did not send this RST", "SO_LINGER"),
    ] {
        for http in [Some(reset()), None] {
            let end = asks(By::Peer, How::Rst);
            let mut other = its_end(&end, by, how);
            (other.close.reason, other.close.process_ended) = (reason.map(str::to_owned), process_ended);
            let finding = through(502, http, end, Some(other));
            assert_eq!(finding.cause.as_deref(), Some("upstream_reset"), "{reason:?}");
            assert!(finding.why.contains(in_why), "{}", finding.why);
            assert!(!finding.why.contains(not_in_why), "{}", finding.why);
        }
    }
    let finding = through(502, Some(reset()), asks(By::Peer, How::Rst), None);
    assert!(finding.why.contains("Several causes") && finding.why.contains("device in between"));
    assert!(finding.summary.contains("or in its name"), "{}", finding.summary);
}

#[test]
fn a_race_with_a_server_that_stops_blames_no_timeout() {
    use tcp_trace_model::event::{Direction, Flags};

    use crate::diagnosis::testing_http::segment;

    for (process_ended, reason, in_why, has_timeout) in [
        (false, None, "while it was idle, as servers do after a time", true),
        (true, None, "The server stopped", false),
        (false, Some("ECONNABORTED"), "destroyed from outside", false),
    ] {
        let mut history = gateway(502);
        let end = asks(By::Peer, How::Rst);
        let mut other = its_end(&end, By::Local, How::Fin);
        (other.close.process_ended, other.close.reason) = (process_ended, reason.map(str::to_owned));
        let mut before = exchange(Role::Client, 0, 100);
        let mut race = no_answer(Outcome::Reset);
        race.exchange.index = 1;
        race.exchange.reused = Some(true);
        race.exchange.timing.idle_us = Some(900_000);
        let mut fin = segment(Role::Server, Direction::Out, Flags::FIN, 1_009);
        let mut arrived = segment(Role::Client, Direction::In, Flags::FIN, 1_012);
        for (record, of) in [(&mut fin, &other), (&mut arrived, &end)] {
            let Record::Segment(segment) = record else { panic!() };
            segment.connection = of.connection.clone();
        }
        let mut end = end;
        end.opened = at(50);
        other.opened = at(50);
        before = asked(&end, before);
        race = asked(&end, race);
        life(&mut history, vec![arrived], vec![before, race], end);
        life(&mut history, vec![fin], Vec::new(), other);
        let finding = only(&history);
        assert_eq!(finding.cause.as_deref(), Some("upstream_keepalive_race"));
        assert!(finding.why.contains(in_why), "{}", finding.why);
        assert_eq!(finding.advice.contains("keep-alive timeout"), has_timeout, "{}", finding.advice);
    }
}
