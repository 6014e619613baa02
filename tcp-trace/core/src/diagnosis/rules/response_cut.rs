//! Responses that had begun and were cut off by the server or the network. A client that cancels is no fault.

use std::net::SocketAddr;

use tcp_trace_model::record::{Evidence, Finding, Part};

use super::super::{
    Facts, Thresholds,
    broken::{Broken, Fault, Stop},
    exchange_findings::{between, grouped, of, server_process},
};
use crate::prose::{Size, counted};

fn name(stop: Stop) -> &'static str {
    match stop {
        Stop::Reset => "reset",
        Stop::Failed => "connection_failed",
        _ => "closed",
    }
}

fn in_words(stop: Stop) -> &'static str {
    match stop {
        Stop::Reset => "cut off by an RST from the server",
        Stop::Failed => "cut off because the connection failed",
        _ => "cut off: the server closed before the end",
    }
}

fn why(stop: Stop) -> &'static str {
    match stop {
        Stop::Reset => {
            "The server's process crashed or was killed, closed with SO_LINGER 0 or with unread data, or a device \
             in between (load balancer, firewall) sent the RST in its name. Data that had arrived and that the \
             client had not read yet is lost too."
        }
        Stop::Failed => {
            "Data was retransmitted again and again and nothing came back: the other host, or the path to it, is gone."
        }
        _ => {
            "The server sent fewer bytes than it had declared and closed normally: an exception or a timeout while \
             the body was written, a worker that was recycled, a wrong Content-Length, or a proxy whose own backend \
             failed."
        }
    }
}

fn advice(stop: Stop) -> &'static str {
    match stop {
        Stop::Reset => {
            "Check the server's log, and exits of its process, at this time. On the server, read the whole request \
             before close(). If no process of the server did it, check the timeouts of devices in between."
        }
        Stop::Failed => {
            "Check the link, the other host, and stateful devices in between that forget connections."
        }
        _ => {
            "Check the server's error log for this request, and its send and worker timeouts. The client must treat \
             a body that is shorter than declared as an error, not as complete (RFC 9112, section 8)."
        }
    }
}

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Vec<Finding>) {
    let stop = |broken: &Broken<'_>| match broken.fault {
        Fault::Cut(stop) => Some(stop),
        _ => None,
    };
    for ((stop, server, _), cases) in grouped(facts, stop) {
        let missing = || cases.iter().filter_map(|case| case.http.exchange.missing);
        let passed = cases.iter().filter_map(|case| Some(case.http.exchange.ended?.offset)).min();
        findings.push(Finding {
            cause: Some(name(stop).to_owned()),
            severity: thresholds.severity(cases.len()),
            summary: format!(
                "{} {} {} {}.",
                counted(cases.len(), "response"),
                whose(&cases, server),
                if cases.len() == 1 { "was" } else { "were" },
                in_words(stop),
            ),
            evidence: Evidence::default()
                .and("responses", cases.len())
                .and_known("missing_bytes", missing().max().map(|_| missing().sum::<u64>()))
                .and_known("least_that_came_bytes", passed)
                .and_known("server", server_process(&cases))
                .and_known("reason_of_the_kernel", reason(&cases)),
            why: why(stop).to_owned(),
            advice: advice(stop).to_owned(),
            ..of(&cases, note)
        });
    }
}

/// `to requests from client (pid 5) to 10.0.0.5:80`, or where only the server is here, `from api (pid 7) at 10.0.0.1:80`.
fn whose(cases: &[Broken<'_>], server: SocketAddr) -> String {
    let between = between(cases, server);
    match between.strip_prefix("to ") {
        Some(server) => format!("from {server}"),
        None => format!("to requests {between}"),
    }
}

/// Why the server's kernel sent the RST, or the error of the socket.
fn reason(cases: &[Broken<'_>]) -> Option<String> {
    let at_server = cases.iter().find_map(|case| case.server()?.close.reason.clone());
    at_server.or_else(|| cases.iter().find_map(|case| case.summary.close.reason.clone()))
}

/// `200, ended after 400 B of the body, 600 B missing`.
fn note(case: &Broken<'_>) -> String {
    let status = case.http.exchange.response.as_ref().map(|response| response.status_code.to_string());
    let after = case.http.exchange.ended.map(|ended| {
        let part = if ended.part == Part::Body { "body" } else { "head" };
        format!("ended after {} of the {part}", Size(ended.offset))
    });
    let missing = case.http.exchange.missing.map(|bytes| format!("{} missing", Size(bytes)));
    status.into_iter().chain(after).chain(missing).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "response_cut_tests.rs"]
mod tests;
