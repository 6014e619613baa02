//! Clients that close with a complete answer unread: their kernel sends an RST, and whoever asked never saw the answer.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace_model::{
    event::Role,
    record::{By, Connection, Evidence, Finding, FindingConnection, How, Http, Outcome, Severity, Text},
};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{request, server_of, whose},
    finding::{of_first, traced},
};
use crate::prose::{Micros, Size, counted};

/// How long the answer was there at the least, in microseconds: a client that closes sooner may have been about to read it.
const UNREAD_MIN_US: u64 = 50_000;

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, _: &Thresholds, findings: &mut Findings) {
    let mut groups = BTreeMap::<(SocketAddr, Option<&Text>), Vec<(&Connection, &Http)>>::new();
    for life in facts.history.ended() {
        let (Some(summary), Some(http)) = (life.summary.as_deref(), life.exchanges.back()) else { continue };
        let close = &summary.close;
        let is_client = summary.connection.role == Some(Role::Client);
        let is_reset = (close.how, close.by) == (How::Rst, By::Local);
        // All of it: the rest of an answer that was cancelled is no loss.
        let size =
            |http: &Http| Some(http.exchange.response.as_ref()?).map(|it| it.header_size + it.body.size);
        let is_unread = size(http).is_some_and(|size| u64::from(summary.receive_queue) >= size);
        let timing = &http.exchange.timing;
        let closed = summary.closed.unwrap_or(summary.time);
        let waited_us = closed.micros_since(timing.started.after_micros(timing.total_us));
        let is_case = is_client
            && is_reset
            && is_unread
            && waited_us >= UNREAD_MIN_US
            && http.exchange.outcome == Outcome::Ok;
        if is_case && !findings.explain_exchange(facts, http) {
            findings.claim_exchange(facts, http);
            groups.entry((server_of(http), summary.connection.program())).or_default().push((summary, http));
        }
    }
    for ((server, _), cases) in groups {
        findings.push(finding(server, &cases));
    }
}

fn finding<'a>(server: SocketAddr, cases: &[(&'a Connection, &Http)]) -> Finding {
    let process = |(case, _): &(&'a Connection, &Http)| case.connection.process.as_deref();
    let of = whose(cases.iter().filter_map(process));
    let unread: u64 = cases.iter().map(|(case, _)| u64::from(case.receive_queue)).sum();
    let took = cases.iter().map(|(_, http)| http.exchange.timing.total_us).max();
    let ended = cases.iter().any(|(case, _)| case.close.process_ended);
    let example = |(case, http): &(&Connection, &Http)| {
        Some(FindingConnection {
            receive_queue: case.receive_queue,
            notes: vec![format!(
                "{}: answered after {}, {} unread",
                request(http),
                Micros(http.exchange.timing.total_us),
                Size(case.receive_queue.into())
            )],
            ..traced(case)?
        })
    };
    Finding {
        cause: Some(if ended { "client_process_ended" } else { "closed_unread" }.to_owned()),
        severity: Severity::Notice,
        summary: format!(
            "{of} closed {} to {server} with the complete answer unread.",
            counted(cases.len(), "connection"),
        ),
        evidence: Evidence::default()
            .and("connections", cases.len())
            .and("unread_bytes", unread)
            .and_known("longest_answer_us", took),
        why: "The answer was in the client's receive queue, and the client never read it: its own timeout was over, the \
              thread that should read was busy, its process ended, or it wants no answer. To the server it looks like a \
              success, or like ECONNRESET; to the user of the client like no answer."
            .to_owned(),
        advice: "Compare the client's timeout with how long the answers took, and find out what the client did instead of \
                 reading. A client that wants no answer should read it all the same and reuse the connection."
            .to_owned(),
        ..of_first(cases, process, example)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{
        testing::Host,
        testing_http::{at, exchange, lived, summary},
    };

    fn found(unread: u32, how: How) -> Vec<Finding> {
        found_at(90_000, unread, how)
    }

    fn found_at(closed_ms: u64, unread: u32, how: How) -> Vec<Finding> {
        let mut client = summary(Role::Client, By::Local, how);
        client.receive_queue = unread;
        client.closed = Some(at(closed_ms));
        let history = lived(Vec::new(), vec![exchange(Role::Client, 0, 0)], client);
        Host::new().judge_with("answer_not_read", &history)
    }

    #[test]
    fn an_answer_that_nobody_read_is_noticed() {
        let findings = found(140, How::Rst);
        let expected = "client (pid 5) closed 1 connection to 10.0.0.1:8080 with the complete answer unread.";
        assert_eq!(findings[0].summary, expected);
    }

    #[test]
    fn what_was_read_or_cancelled_in_the_middle_is_fine() {
        assert_eq!(found(0, How::Fin), []);
        assert_eq!(found(0, How::Rst), [], "SO_LINGER 0 behind the answer");
        assert_eq!(found(100, How::Rst), [], "a part was read");
        assert_eq!(found_at(1, 140, How::Rst), [], "closed as the answer came");
    }
}
