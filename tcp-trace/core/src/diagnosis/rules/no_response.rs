//! Requests without any byte of a response, for another reason than the races and resets that have their own rules.

mod text;

use tcp_trace_model::record::{Evidence, Finding, Message};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{between, grouped, of, passed_on, server_process},
    failed_exchanges::{FailedExchange, Fault, Stop},
    findings::exchange_key,
    rules::slow,
    silence::Silence,
};
use crate::prose::{Micros, Size, counted};

/// Why a server's socket was gone before a request was sent.
pub(super) fn of_gone() -> &'static str {
    text::why(Silence::SocketGone)
}

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let now = facts.now.time;
    let least = |stop| match stop {
        Stop::GaveUp => thresholds.slow_us,
        Stop::Waiting => thresholds.min_age_us,
        Stop::Closed | Stop::Reset | Stop::Failed => 0,
    };
    let slow = slow::Kinds::of(facts, thresholds, findings);
    // A server that answers late, when who asked for it has given up: that is the fault.
    let is_late_behind = |failed: &FailedExchange<'_>| {
        let mut roots = facts.behind().roots(exchange_key(facts, failed.http));
        roots.any(|root| root.failed.is_none() && slow.are_reported(facts, root.http))
    };
    let key = |failed: &FailedExchange<'_>| match failed.fault {
        Fault::NoResponse(stop, silence) => {
            (failed.waited_us(now) >= least(stop) && !is_late_behind(failed)).then_some(silence)
        }
        _ => None,
    };
    for ((silence, server, _), cases) in grouped(facts, findings, key) {
        let waited = || cases.iter().map(|case| case.waited_us(now));
        let words = text::in_words(silence);
        let verb = if cases.len() == 1 { words.replacen("have", "has", 1) } else { words };
        let after = match (waited().max(), cases.len()) {
            (Some(us), 1) if text::is_given_up(silence) => format!(" after {}", Micros(us)),
            (Some(us), _) if text::is_given_up(silence) => format!(" after up to {}", Micros(us)),
            _ => String::new(),
        };
        let missing = || cases.iter().filter_map(|case| case.http.exchange.missing);
        let reset_by = match silence {
            Silence::ServerReset(origin) => origin.name(),
            _ => None,
        };
        findings.push(Finding {
            cause: Some(text::name(silence).to_owned()),
            severity: thresholds.severity(cases.len()),
            summary: format!(
                "{} {} {verb}{after}.",
                counted(cases.len(), "request"),
                between(&cases, server)
            ),
            evidence: Evidence::default()
                .and("requests", cases.len())
                .and_known("longest_wait_us", waited().max())
                .and_known("shortest_wait_us", waited().min().filter(|_| cases.len() > 1))
                .and_known("missing_bytes", missing().max().map(|_| missing().sum::<u64>()))
                .and(
                    "on_kept_connections",
                    cases.iter().filter(|case| case.http.exchange.reused == Some(true)).count(),
                )
                .and_known("server", server_process(&cases))
                .and_known("passed_on_by", passed_on(facts, cases.iter().map(|case| case.http)))
                .and_known("reset_by", reset_by)
                .and_known("reason_of_the_kernel", server_reason(&cases)),
            why: text::why(silence).to_owned(),
            advice: text::advice(silence).to_owned(),
            ..of(&cases, |case| note(case, case.waited_us(now)))
        });
    }
}

/// Why the server's kernel ended its socket, if it said so.
fn server_reason(cases: &[FailedExchange<'_>]) -> Option<String> {
    cases.iter().find_map(|case| case.server()?.close.reason.clone())
}

/// `no response after 1.20 s`, or `3 B of the body after 1.20 s, 97 B missing`.
fn note(case: &FailedExchange<'_>, waited_us: u64) -> String {
    let waited = Micros(waited_us);
    match case.http.exchange.ended.filter(|ended| ended.message == Message::Request) {
        None => format!("no response after {waited}"),
        Some(ended) => {
            let part = ended.part.name();
            let missing = case.http.exchange.missing;
            let missing = missing.map_or(String::new(), |bytes| format!(", {} missing", Size(bytes)));
            format!("{} of the {part} after {waited}{missing}", Size(ended.offset))
        }
    }
}

#[cfg(test)]
#[path = "no_response_tests.rs"]
mod tests;
