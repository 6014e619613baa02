//! Connects that succeeded after their SYN was sent again: each time costs a second and more, and nobody gets an error.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Evidence, Finding, FindingConnection, Severity, Text},
};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::whose,
    finding::{of_first, traced},
};
use crate::prose::{Micros, counted};

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let mut groups = BTreeMap::<(SocketAddr, Option<&Text>), Vec<(&Connection, u64)>>::new();
    for summary in facts.history.lives().filter_map(|life| life.summary.as_deref()) {
        let Some(us) = connect_us(summary).filter(|us| *us >= thresholds.slow_us) else { continue };
        let Some(network) = summary.connection.network else { continue };
        let peer = network.endpoints().peer;
        // A full accept queue explains it.
        let listener = facts.listener_at(network.netns.unwrap_or_default(), peer);
        let is_explained = listener.is_some_and(|listener| findings.explain(listener.connection()));
        if !is_explained && !findings.explain(summary.connection.id) {
            groups.entry((peer, summary.connection.program())).or_default().push((summary, us));
        }
    }
    for ((peer, _), cases) in groups {
        findings.push(finding(peer, &cases));
    }
}

/// How long a connect took whose SYN was sent again and then answered, in microseconds.
fn connect_us(summary: &Connection) -> Option<u64> {
    let is_client = summary.connection.role == Some(Role::Client) && summary.seen_from_start;
    let resent = summary.handshake.is_some_and(|handshake| handshake.syn_retransmits > 0);
    let was = |state| summary.states.iter().find(|span| span.state == state);
    was(State::Established)?;
    was(State::SynSent)?.duration_us.filter(|_| is_client && resent)
}

fn finding<'a>(peer: SocketAddr, cases: &[(&'a Connection, u64)]) -> Finding {
    let process = |(case, _): &(&'a Connection, u64)| case.connection.process.as_deref();
    let of = whose(cases.iter().filter_map(process));
    let longest = cases.iter().map(|(_, us)| *us).max().unwrap_or_default();
    let syns: u64 = cases
        .iter()
        .filter_map(|(case, _)| case.handshake)
        .map(|handshake| u64::from(handshake.syn_retransmits))
        .sum();
    let example = |(case, us): &(&Connection, u64)| {
        Some(FindingConnection {
            state: case.states.last()?.state,
            notes: vec![format!("connected after {}", Micros(*us))],
            ..traced(case)?
        })
    };
    Finding {
        cause: Some("syn_retransmitted".to_owned()),
        severity: Severity::Notice,
        summary: format!(
            "{} from {of} to {peer} took {}{}, and {} sent again.",
            counted(cases.len(), "connect"),
            if cases.len() == 1 { "" } else { "up to " },
            Micros(longest),
            if cases.len() == 1 { "its SYN was" } else { "their SYNs were" },
        ),
        evidence: Evidence::default()
            .and("connects", cases.len())
            .and("longest_us", longest)
            .and("syns_sent_again", syns),
        why: "A SYN or its SYN+ACK was lost on the way or came late, or the server's kernel dropped it because its accept \
              queue or backlog was full. The kernel sends the SYN again after 1 s, then 2 s (or 1 s, since Linux 6.5) and longer."
            .to_owned(),
        advice: "On the server: tcp-trace diagnose --for 60s, and nstat -az TcpExtListenDrops TcpExtListenOverflows, tell \
                 whether it dropped them. If not, look for loss on the way."
            .to_owned(),
        ..of_first(cases, process, example)
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::record::{By, How, StateSpan};

    use super::*;
    use crate::diagnosis::{
        testing::Host,
        testing_http::{lived, summary},
    };

    fn found(syn_retransmits: u32, us: u64) -> Vec<Finding> {
        let mut summary = summary(Role::Client, By::Local, How::Fin);
        summary.seen_from_start = true;
        let connecting =
            StateSpan { state: State::SynSent, duration_us: Some(us), ..summary.states[0].clone() };
        summary.states.insert(0, connecting);
        summary.handshake.as_mut().unwrap().syn_retransmits = syn_retransmits;
        Host::new().judge_with("connect_slow", &lived(Vec::new(), Vec::new(), summary))
    }

    #[test]
    fn connects_that_took_a_second_syn_are_reported() {
        let findings = found(1, 1_020_000);
        let expected =
            "1 connect from client (pid 5) to 10.0.0.1:8080 took 1.02 s, and its SYN was sent again.";
        assert_eq!(findings[0].summary, expected);
    }

    #[test]
    fn a_long_way_is_no_loss() {
        assert_eq!(found(0, 1_020_000), []);
        assert_eq!(found(1, 200_000), []);
    }
}
