//! Connects that succeeded after a segment of their handshake was sent again: each time costs a second and more, and nobody gets
//! an error. Where the SYN+ACK came again, the client was connected for long, and the server's kernel did not take what it sent.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, ConnectionId, Evidence, Finding, FindingConnection, Http, Severity, Text},
};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{request, whose},
    failed_exchanges::half_open_until,
    finding::{of_first, traced},
};
use crate::{
    prose::{Micros, counted},
    timeline::Life,
};

/// A connect that took long, at one end or the other.
struct Slow<'a> {
    summary: &'a Connection,
    us: u64,
    /// The first request, where it waited for the server's end of the handshake.
    waited: Option<&'a Http>,
}

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let mut groups = BTreeMap::<(SocketAddr, Option<&Text>), Vec<Slow<'_>>>::new();
    // Of what is not remembered with its connection.
    let is_first = |http: &&Http| http.exchange.index == 0;
    let first: HashMap<ConnectionId, &Http> =
        facts.history.exchanges().slow().filter(is_first).map(|http| (http.connection.id, http)).collect();
    for life in facts.history.lives() {
        let Some(summary) = life.summary.as_deref().filter(|it| is_clients(it)) else { continue };
        let Some(network) = summary.connection.network else { continue };
        let waited = first.get(&life.connection).and_then(|http| half_open_us(life, http).zip(Some(*http)));
        let waited =
            waited.filter(|(us, http)| *us >= thresholds.slow_us && !facts.history.may_lack_events_of(http));
        let us = connect_us(summary).filter(|us| *us >= thresholds.slow_us);
        let Some(us) = us.max(waited.map(|(us, _)| us)) else { continue };
        let peer = network.endpoints().peer;
        let waited = waited.map(|(_, http)| http);
        let listener = facts.listener_at(network.netns.unwrap_or_default(), peer);
        // A full accept queue explains it, and without one here, loss does.
        if listener.is_some_and(|listener| findings.explain(listener.connection())) {
            if let Some(http) = waited {
                findings.claim_exchange(facts, http);
            }
        } else if !findings.explain(life.connection) && (waited.is_none() || listener.is_none()) {
            groups.entry((peer, summary.connection.program())).or_default().push(Slow {
                summary,
                us,
                waited,
            });
        }
    }
    for ((peer, _), cases) in groups {
        cases.iter().filter_map(|case| case.waited).for_each(|http| {
            findings.claim_exchange(facts, http);
        });
        findings.push(finding(peer, &cases));
    }
}

fn is_clients(summary: &Connection) -> bool {
    summary.connection.role == Some(Role::Client) && summary.seen_from_start
}

/// How long a connect took whose SYN was sent again and then answered, in microseconds.
fn connect_us(summary: &Connection) -> Option<u64> {
    let resent = summary.handshake.is_some_and(|handshake| handshake.syn_retransmits > 0);
    let was = |state| summary.states.iter().find(|span| span.state == state);
    was(State::Established)?;
    was(State::SynSent)?.duration_us.filter(|_| resent)
}

/// For how long the server's kernel had not taken the first request, because the handshake had not ended there, in microseconds:
/// it sent its SYN+ACK again, and the request was sent again, for most of the time.
fn half_open_us(life: &Life, http: &Http) -> Option<u64> {
    let until = half_open_until(life)?;
    let timing = &http.exchange.timing;
    let stalls = timing.stalls.as_ref()?;
    let lost_us: u64 = [stalls.send, stalls.wait].into_iter().flatten().map(|it| it.retransmit_us).sum();
    (timing.started < until && lost_us * 2 >= timing.total_us).then_some(lost_us)
}

fn finding<'a>(peer: SocketAddr, cases: &[Slow<'a>]) -> Finding {
    let process = |case: &Slow<'a>| case.summary.connection.process.as_deref();
    let of = whose(cases.iter().filter_map(process));
    let longest = cases.iter().map(|case| case.us).max().unwrap_or_default();
    let handshakes = || cases.iter().filter_map(|case| case.summary.handshake);
    let syns: u64 = handshakes().map(|handshake| u64::from(handshake.syn_retransmits)).sum();
    let waited = cases.iter().filter(|case| case.waited.is_some()).count();
    let syn_acks: u64 = handshakes().map(|handshake| u64::from(handshake.syn_ack_retransmits)).sum();
    let example = |case: &Slow<'_>| {
        let note = match case.waited {
            Some(http) => format!("{}: taken after {}", request(http), Micros(case.us)),
            None => format!("connected after {}", Micros(case.us)),
        };
        Some(FindingConnection {
            state: case.summary.states.last()?.state,
            notes: vec![note],
            ..traced(case.summary)?
        })
    };
    let again = match (cases.len(), waited) {
        (1, 0) => "its SYN was sent again",
        (_, 0) => "their SYNs were sent again",
        (1, _) => "the server sent its SYN+ACK again, because it had not taken the end of the handshake",
        (all, waited) if all == waited => {
            "the server sent its SYN+ACKs again, because it had not taken the ends of the handshakes"
        }
        _ => "their SYNs, or the server's SYN+ACKs, were sent again",
    };
    Finding {
        cause: Some(if waited == cases.len() { "syn_ack_retransmitted" } else { "syn_retransmitted" }.to_owned()),
        severity: Severity::Notice,
        summary: format!(
            "{} from {of} to {peer} took {}{}, and {again}.",
            counted(cases.len(), "connect"),
            if cases.len() == 1 { "" } else { "up to " },
            Micros(longest),
        ),
        evidence: Evidence::default()
            .and("connects", cases.len())
            .and("longest_us", longest)
            .and_known("syns_sent_again", (waited < cases.len()).then_some(syns))
            .and_known("syn_acks_sent_again", (waited > 0).then_some(syn_acks)),
        why: if waited == 0 { SYNS } else { SYN_ACKS }.to_owned(),
        advice: "On the server: tcp-trace diagnose --for 60s, and nstat -az TcpExtListenDrops TcpExtListenOverflows, tell \
                 whether it dropped them. If not, look for loss on the way."
            .to_owned(),
        ..of_first(cases, process, example)
    }
}

const SYNS: &str = "A SYN or its SYN+ACK was lost on the way or came late, or the server's kernel dropped it because its accept \
                    queue or backlog was full. The kernel sends the SYN again after 1 s, then 2 s (or 1 s, since Linux 6.5) and longer.";

const SYN_ACKS: &str = "The client was connected when it had the SYN+ACK, and the server's kernel took neither the last segment of \
                        the handshake nor the request: so its accept queue is full, as a rule (it drops both then, and the SYNs of \
                        others), or both were lost on the way. The server's program knew nothing of the request meanwhile.";

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
