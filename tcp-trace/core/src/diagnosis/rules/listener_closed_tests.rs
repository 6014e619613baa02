//! Tests of listeners that are closed.

use std::sync::Arc;

use tcp_trace_model::{
    event::Role,
    record::{By, Connection, How},
};

use crate::diagnosis::{
    History,
    testing::Host,
    testing_http::{at, closed_listener, life, summary},
};

/// A server's end that was reset by its own kernel.
fn waiting(closed_ms: u64) -> Connection {
    let mut child = summary(Role::Server, By::Local, How::Rst);
    child.closed = Some(at(closed_ms));
    Arc::make_mut(&mut child.connection).process = None;
    child
}

fn codes(summaries: Vec<Connection>) -> Vec<String> {
    let mut history = History::default();
    summaries.into_iter().for_each(|summary| life(&mut history, Vec::new(), Vec::new(), summary));
    let findings = Host::new().judge_with("listener_closed", &history);
    findings.into_iter().map(|finding| finding.summary).collect()
}

#[test]
fn connections_that_nobody_accepted_are_reported_for_their_listener() {
    let summaries = codes(vec![closed_listener(500), waiting(501)]);
    let expected = "api (pid 6) closed its listener at 10.0.0.1:8080 with 1 connection that nobody had accepted: its \
                    client got an RST.";
    assert_eq!(summaries, [expected]);
}

#[test]
fn a_connection_that_was_used_or_ended_at_another_time_was_not_in_the_queue() {
    assert!(codes(vec![closed_listener(500), waiting(900)]).is_empty());
    let mut used = waiting(501);
    used.first_used = Some(at(100));
    assert!(codes(vec![closed_listener(500), used]).is_empty());
    let mut closed = waiting(501);
    closed.close.how = How::Fin;
    assert!(codes(vec![closed_listener(500), closed]).is_empty());
    assert!(codes(vec![closed_listener(500)]).is_empty());
}
