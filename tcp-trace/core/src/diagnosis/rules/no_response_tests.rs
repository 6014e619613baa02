//! Tests of requests without a response.

use tcp_trace_model::{
    event::Role,
    record::{By, Fact, How, Loss, LossPlace, Outcome, Record},
};

use crate::diagnosis::{
    testing::Host,
    testing_http::{at, exchange, lived, summary, unanswered},
};

#[test]
fn what_ended_the_wait_is_reported() {
    let reset = Outcome::Reset;
    for (by, how, outcome, cause) in [
        (By::Peer, How::Fin, Outcome::NoResponse, "server_closed"),
        (By::Peer, How::Rst, reset, "server_reset"),
        (By::None, How::Timeout, Outcome::NoResponse, "connection_failed"),
        (By::Local, How::Fin, Outcome::NoResponse, "client_gave_up"),
        (By::None, How::Open, Outcome::NoResponse, "waiting"),
    ] {
        let mut http = unanswered(Role::Client, 0, 0, outcome);
        http.time = at(1_200);
        let history = lived(Vec::new(), vec![http], summary(Role::Client, by, how));
        let findings = Host::new().judge_with("no_response", &history);
        assert_eq!(findings[0].cause.as_deref(), Some(cause));
        let start = "1 request from client (pid 5) to 10.0.0.1:8080 ";
        assert!(findings[0].summary.starts_with(start), "{}", findings[0].summary);
        let wait = if how == How::Open { 100_000_000 } else { 1_200_000 };
        assert_eq!(findings[0].evidence.get("longest_wait_us"), Some(&Fact::Number(wait)), "{cause}");
    }
}

#[test]
fn a_client_may_cancel_soon_and_a_server_take_a_while() {
    for (by, how, started_ms) in [(By::Local, How::Fin, 0), (By::None, How::Open, 41_000)] {
        let mut http = unanswered(Role::Client, 0, started_ms, Outcome::NoResponse);
        http.time = at(started_ms + 900);
        let history = lived(Vec::new(), vec![http], summary(Role::Client, by, how));
        assert_eq!(Host::new().judge_with("no_response", &history), []);
    }
}

#[test]
fn what_was_answered_is_fine() {
    let history =
        lived(Vec::new(), vec![exchange(Role::Client, 0, 0)], summary(Role::Client, By::Peer, How::Rst));
    assert_eq!(Host::new().judge_with("no_response", &history), []);
}

#[test]
fn what_ended_when_events_were_lost_is_not_judged() {
    for (lost_ms, expected) in [(1_000, 0), (2_100, 0), (2_300, 1)] {
        let mut http = unanswered(Role::Client, 0, 0, Outcome::NoResponse);
        http.time = at(1_200);
        let mut history = lived(Vec::new(), vec![http], summary(Role::Client, By::Peer, How::Fin));
        let loss = Loss { time: at(lost_ms), place: LossPlace::Ring, events: 7, cpu: Some(0) };
        history.record(&Record::Loss(loss));
        assert_eq!(Host::new().judge_with("no_response", &history).len(), expected, "{lost_ms}");
    }
}
