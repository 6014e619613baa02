//! A listener that was closed with connections in its queue: the kernel resets them (`inet_csk_listen_stop()`), and their clients
//! see a server that crashed.

use tcp_trace_model::{
    event::Role,
    record::{By, Connection, Evidence, Finding, FindingConnection, How},
};

use super::super::{
    Facts, Findings, Thresholds,
    finding::{of_first, traced, who_named},
};
use crate::prose::counted;

/// What is closed with its listener, is closed within this time, in microseconds.
const WITHIN_US: u64 = 10_000;

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    // Who used a connection is not known where events were lost.
    let is_known = |it: &&Connection| !facts.history.may_lack_events(it.opened, it.closed.unwrap_or(it.time));
    let summaries = || facts.history.ended().filter_map(|life| life.summary.as_deref()).filter(is_known);
    let is_listener = |it: &&Connection| it.connection.role == Some(Role::Listener);
    for listener in summaries().filter(is_listener) {
        // The kernel's count of its queue may have been that of an earlier moment.
        let cases: Vec<_> = summaries().filter(|it| is_of(listener, it)).collect();
        if !cases.is_empty() && !cases.iter().any(|it| findings.explain(it.connection.id)) {
            cases.iter().for_each(|it| findings.claim(facts, it.connection.id));
            findings.push(finding(facts, thresholds, listener, &cases));
        }
    }
}

/// Whether a connection was in this listener's queue when that was closed.
fn is_of(listener: &Connection, it: &Connection) -> bool {
    let place = |summary: &Connection| {
        let network = summary.connection.network?;
        Some((network.netns, network.local.port))
    };
    let is_reset =
        it.connection.role == Some(Role::Server) && (it.close.how, it.close.by) == (How::Rst, By::Local);
    // Nobody had accepted it, so that nobody used it but who closed the listener.
    let is_unused = it.first_used.is_none() && it.users.is_empty();
    let is_same_time = listener.closed.zip(it.closed).is_some_and(|(listener, it)| {
        let (first, last) = (listener.min(it), listener.max(it));
        last.micros_since(first) <= WITHIN_US
    });
    is_reset && is_unused && is_same_time && place(listener).is_some() && place(listener) == place(it)
}

fn finding(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    listener: &Connection,
    cases: &[&Connection],
) -> Finding {
    let process = listener.connection.process.as_deref();
    let at =
        listener.connection.network.map(|network| network.endpoints().local.to_string()).unwrap_or_default();
    let ended = if listener.close.process_ended { ", because the process ended" } else { "" };
    let requests = cases.iter().filter(|case| case.bytes.received > 0).count();
    let example =
        |case: &&Connection| Some(FindingConnection { receive_queue: case.receive_queue, ..traced(case)? });
    let clients = cases.iter().filter_map(|case| facts.other_life(case.connection.id)?.process());
    let client = clients.map(|process| who_named(Some(process))).next();
    Finding {
        cause: Some("closed_with_queue".to_owned()),
        severity: thresholds.severity(cases.len()),
        summary: format!(
            "{} closed its listener at {at} with {} that nobody had accepted{ended}: {} got an RST.",
            who_named(process),
            counted(cases.len(), "connection"),
            if cases.len() == 1 { "its client" } else { "their clients" },
        ),
        evidence: Evidence::default()
            .and("connections", cases.len())
            .and("with_data", requests)
            .and_known("client", client),
        why: "Connections whose handshake is complete wait in the accept queue. When the listener is closed, the kernel \
              resets them: a client sees ECONNRESET on a connection that was up. With SO_REUSEPORT each listener has a \
              queue of its own, so that this happens at every reload that closes an old listener."
            .to_owned(),
        advice: "Before closing the listener, stop new connections from reaching it, and accept what is in its queue. With \
                 SO_REUSEPORT, net.ipv4.tcp_migrate_req=1 (Linux 5.14) hands the queue to another listener; or pass the \
                 listening socket on to the new process instead of opening another one."
            .to_owned(),
        ..of_first(cases, |_| process, example)
    }
}

#[cfg(test)]
#[path = "listener_closed_tests.rs"]
mod tests;
