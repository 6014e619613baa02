//! Small messages that take 40 ms again and again: Nagle's algorithm at the sender waits for an ACK that the receiver
//! delays. Inferred from timing alone: whether TCP_NODELAY is set is unknown.

use tcp_trace_model::record::{Evidence, Finding, Severity};

use super::super::{
    Facts, Findings, Thresholds, exchange_findings,
    exchanges::{Sender, Small},
    finding::who_named,
};

/// This many messages that took as long are no coincidence.
const DELAYED_MIN: u64 = 5;

const WHY: &str = "The message was written in several small parts. Nagle's algorithm holds the last part back until the \
                   first is acknowledged, and the receiver's kernel delays that ACK for 40 ms, hoping to send it with \
                   data. This is inferred from timing: messages of a few kilobytes took 40 ms (up to 50 with the \
                   kernel's ticks) from their first to their last byte, and nothing was lost or blocked. A program \
                   that pauses that long within a message looks the same.";
const ADVICE: &str = "At the sender: write head and body at once (a buffer, writev(), sendmsg()), or set TCP_NODELAY on \
                      the socket, as most HTTP libraries do. strace -f -e trace=write,sendto,writev -p PID shows the \
                      small writes.";

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let senders = || facts.history.exchanges().senders();
    let is_delayed = |small: &Small| small.delayed >= DELAYED_MIN && small.delayed * 4 >= small.count;
    for (sender, small) in senders().filter(|(_, small)| is_delayed(small)) {
        // The sender's own end reports it, if that was traced.
        let is_reported = |(other, small): (&Sender, &Small)| {
            let is_same = (other.server, other.is_request) == (sender.server, sender.is_request);
            is_same && other.is_own && is_delayed(small)
        };
        if sender.is_own || !senders().any(is_reported) {
            findings.push(finding(thresholds, sender, small));
        }
    }
}

fn finding(thresholds: &Thresholds, sender: &Sender, small: &Small) -> Finding {
    let process = who_named(small.process.as_ref());
    let is_request = sender.is_request;
    let what = if is_request { "requests" } else { "responses" };
    let whose = match (is_request, sender.is_own) {
        (true, true) => format!("{process} to {}", sender.server),
        (false, true) => format!("{process} at {}", sender.server),
        (true, false) => format!("clients of {process} at {}", sender.server),
        (false, false) => format!("{} to {process}", sender.server),
    };
    let (shortest, longest) = small.delays_us.unwrap_or_default();
    Finding {
        cause: Some(if is_request { "request" } else { "response" }.to_owned()),
        severity: if small.delayed >= thresholds.many { Severity::Warning } else { Severity::Notice },
        summary: format!(
            "{} of {} small {what} from {whose} took 40 ms from their first to their last byte, probably because of \
             Nagle's algorithm and delayed ACKs.",
            small.delayed, small.count,
        ),
        evidence: Evidence::default()
            .and("delayed", small.delayed)
            .and("messages", small.count)
            .and("shortest_us", shortest)
            .and("longest_us", longest)
            .and_known("such_as", small.example.as_deref().map(exchange_findings::request)),
        process: small.process.clone(),
        why: WHY.to_owned(),
        advice: ADVICE.to_owned(),
        connections: small.example.as_deref().map(exchange_findings::example).into_iter().collect(),
        connections_omitted: 0,
        ..Finding::default()
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{
        event::Role,
        record::{Fact, Http, Record},
    };

    use crate::diagnosis::{History, testing::Host, testing_http::exchange};

    /// Twenty exchanges, of which these many take so long in one phase.
    fn history(role: Role, delayed: u64, set: impl Fn(&mut Http)) -> History {
        let mut history = History::default();
        for index in 0..20 {
            let mut http = exchange(role, index, index * 100);
            if index < delayed {
                set(&mut http);
            }
            history.record(&Record::Http(http));
        }
        history
    }

    #[test]
    fn messages_in_parts_are_reported_at_the_end_that_sends_them() {
        for (role, is_request, words) in [
            (Role::Client, true, "12 of 20 small requests from client (pid 5) to 10.0.0.1:8080 took"),
            (Role::Client, false, "12 of 20 small responses from 10.0.0.1:8080 to client (pid 5) took"),
            (Role::Server, true, "12 of 20 small requests from clients of api (pid 6) at 10.0.0.1:8080 took"),
            (Role::Server, false, "12 of 20 small responses from api (pid 6) at 10.0.0.1:8080 took"),
        ] {
            let set = |http: &mut Http| {
                let phase = if is_request {
                    &mut http.exchange.timing.send_us
                } else {
                    &mut http.exchange.timing.receive_us
                };
                *phase = Some(43_800);
            };
            let findings = Host::new().judge_with("delayed_ack_stall", &history(role, 12, set));
            assert_eq!(findings.len(), 1);
            assert!(findings[0].summary.starts_with(words), "{}", findings[0].summary);
            assert_eq!(findings[0].evidence.get("delayed"), Some(&Fact::Number(12)));
        }
    }

    #[test]
    fn chance_other_times_and_large_messages_are_none() {
        type Set = fn(&mut Http);
        let cases: [(u64, Set); 4] = [
            (4, |http| http.exchange.timing.send_us = Some(41_000)),
            (20, |http| http.exchange.timing.send_us = Some(30_000)),
            (20, |http| http.exchange.timing.wait_us = Some(41_000)),
            (20, |http| {
                http.exchange.timing.receive_us = Some(41_000);
                http.exchange.response.as_mut().unwrap().body.size = 1 << 20;
            }),
        ];
        for (delayed, set) in cases {
            let history = history(Role::Client, delayed, set);
            assert_eq!(Host::new().judge_with("delayed_ack_stall", &history), []);
        }
    }
}
