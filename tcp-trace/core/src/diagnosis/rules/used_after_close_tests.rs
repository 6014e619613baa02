//! Tests of requests on connections that were ended.

use tcp_trace_model::{
    event::{Direction, Flags, Role},
    record::{By, How, Http, Outcome},
};

use crate::diagnosis::{
    History,
    testing::Host,
    testing_http::{exchange, life, segment, summary, unanswered},
};

/// A history whose first response has this field, and whose second request comes 300 ms later, when the server closes with it
/// unread.
fn history(field: &[(&str, &str)]) -> History {
    let mut first = exchange(Role::Client, 0, 0);
    let response = first.exchange.response.as_mut().unwrap();
    field.iter().for_each(|(name, value)| response.headers.push(name, value));
    let mut second = unanswered(Role::Client, 1, 310, Outcome::Reset);
    second.exchange.timing.idle_us = Some(300_000);
    let at_server = |http: &Http, role| Http {
        connection: std::sync::Arc::new(crate::diagnosis::testing_http::info(role)),
        ..http.clone()
    };
    let mut server = summary(Role::Server, By::Local, How::Rst);
    server.receive_queue = 160;
    let mut history = History::default();
    let servers = [&first, &second].map(|http| at_server(http, Role::Server)).to_vec();
    life(&mut history, vec![segment(Role::Server, Direction::Out, Flags::RST, 400)], servers, server);
    let clients = vec![first, second];
    life(&mut history, Vec::new(), clients, summary(Role::Client, By::Peer, How::Rst));
    history
}

#[test]
fn a_client_that_ignores_close_is_reported_and_no_timeout_is() {
    let history = history(&[("Connection", "close")]);
    let findings = Host::new().judge_with("used_after_close", &history);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert!(finding.summary.contains("the response said Connection: close"), "{}", finding.summary);
    assert!(!finding.advice.contains("idle timeout"), "{}", finding.advice);
    assert_eq!(Host::new().judge_with("keepalive_race", &history), []);
}

#[test]
fn a_race_with_the_servers_timeout_is_another_fault() {
    let history = history(&[]);
    assert_eq!(Host::new().judge_with("used_after_close", &history), []);
    assert_eq!(Host::new().judge_with("keepalive_race", &history).len(), 1);
}

#[test]
fn a_request_that_went_well_is_no_fault() {
    let mut history = History::default();
    let mut first = exchange(Role::Client, 0, 0);
    first.exchange.response.as_mut().unwrap().headers.push("Connection", "close");
    let exchanges = vec![first, exchange(Role::Client, 1, 310)];
    life(&mut history, Vec::new(), exchanges, summary(Role::Client, By::Peer, How::Fin));
    assert_eq!(Host::new().judge_with("used_after_close", &history), []);
}
