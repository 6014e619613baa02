//! A server that closes with data unread: its kernel sends an RST, and the exchange suffers (RFC 2525, section 2.17).

use tcp_trace_model::record::{Evidence, Finding};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{between, grouped, of, passed_on, server_process},
    failed_exchanges::{FailedExchange, Fault},
};
use crate::prose::{Size, counted};

const WHY: &str = "close() with received data in the queue makes the kernel send an RST instead of a FIN, and the \
                   peer's kernel discards what its process has not read yet: a response that was sent may never be \
                   read. Typical causes are a server that answers early (413, 401) or fails and closes without \
                   reading the request's body, and a process that is killed.";
const ADVICE: &str = "On the server, read the whole request; or call shutdown(SHUT_WR) after the response, read for \
                      a little while, and then call close() (nginx: lingering_close). Raise the limit on body sizes \
                      if the request was fine. On the client, send Expect: 100-continue before large bodies.";

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let unread = |failed: &FailedExchange<'_>| (failed.fault == Fault::Unread).then_some(());
    for ((_, server, _), cases) in grouped(facts, findings, unread) {
        let bytes = || cases.iter().filter_map(|case| Some(case.server()?.receive_queue));
        let answered = cases.iter().filter(|case| case.http.exchange.response.is_some()).count();
        findings.push(Finding {
            cause: Some("closed_with_unread_data".to_owned()),
            severity: thresholds.severity(cases.len()),
            summary: format!(
                "{} {} got an RST: the server closed with {} of received data unread.",
                counted(cases.len(), "request"),
                between(&cases, server),
                Size(bytes().map(u64::from).max().unwrap_or_default()),
            ),
            evidence: Evidence::default()
                .and("requests", cases.len())
                .and("unread_bytes", bytes().map(u64::from).sum::<u64>())
                .and("answered_before", answered)
                .and_known("server", server_process(&cases))
                .and_known("passed_on_by", passed_on(facts, cases.iter().map(|case| case.http))),
            why: WHY.to_owned(),
            advice: ADVICE.to_owned(),
            ..of(&cases, |case| {
                let unread = Size(case.server().map_or(0, |server| server.receive_queue.into()));
                match &case.http.exchange.response {
                    Some(response) => {
                        format!("answered {}, {unread} unread at the server", response.status_code)
                    }
                    None => format!("no response, {unread} unread at the server"),
                }
            })
        });
    }
}

#[cfg(test)]
#[path = "unread_data_reset_tests.rs"]
mod tests;
