//! Requests on connections that the response before had ended: the client's own fault, whatever the server's timeouts are.

use tcp_trace_model::record::{Evidence, Finding};

use super::super::{
    Facts, Findings, Thresholds,
    attempts::who_says_close,
    exchange_findings::{between, grouped, of, passed_on, server_process},
    failed_exchanges::{FailedExchange, Fault},
};
use crate::prose::{Micros, counted};

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let is_case = |failed: &FailedExchange<'_>| (failed.fault == Fault::UsedAfterClose).then_some(());
    for ((_, server, _), cases) in grouped(facts, findings, is_case) {
        let was = if cases.len() == 1 { "was" } else { "were" };
        let later = cases.iter().filter_map(|case| case.http.exchange.timing.idle_us).min();
        let says = cases.iter().find_map(|case| who_says_close(case.before?));
        findings.push(Finding {
            cause: Some("connection_was_ended".to_owned()),
            severity: thresholds.severity(cases.len()),
            summary: format!(
                "{} {} {was} sent on a connection that the exchange before had ended: {}.",
                counted(cases.len(), "request"),
                between(&cases, server),
                says.unwrap_or("it said Connection: close"),
            ),
            evidence: Evidence::default()
                .and("requests", cases.len())
                .and_known("sent_after_us", later)
                .and_known("server", server_process(&cases))
                .and_known("passed_on_by", passed_on(facts, cases.iter().map(|case| case.http))),
            why: "A message with Connection: close, or of HTTP/1.0 without keep-alive, is the last on its connection \
                  (RFC 9112, section 9.6). The client sent another request all the same; the server does not read it, \
                  and its kernel answers with an RST. No timeout is involved. The request was not processed."
                .to_owned(),
            advice: "Correct the client, or its HTTP library: it must not return a connection to its pool when either \
                     message said close."
                .to_owned(),
            ..of(&cases, |case| match case.http.exchange.timing.idle_us {
                Some(us) => format!("sent {} after the response that ended the connection", Micros(us)),
                None => "sent after the response that ended the connection".to_owned(),
            })
        });
    }
}

#[cfg(test)]
#[path = "used_after_close_tests.rs"]
mod tests;
