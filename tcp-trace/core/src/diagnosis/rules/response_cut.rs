//! Responses that had begun and were cut off by the server or the network. A client that cancels is no fault.

use tcp_trace_model::record::{Evidence, Finding, Part};

use super::super::{
    Facts, Thresholds,
    broken::{Broken, Fault, Stop},
    told::{between, grouped, of, server_process},
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
        Stop::Reset => "cut off by an RST of the server",
        Stop::Failed => "cut off because the connection failed",
        _ => "cut off: the server closed before the end",
    }
}

fn why(stop: Stop) -> &'static str {
    match stop {
        Stop::Reset => {
            "The server's process crashed or was killed, closed with SO_LINGER 0 or with unread data, or a device \
             between (load balancer, firewall) sent the RST in its name. What had arrived and was not read yet by the \
             client is lost too."
        }
        Stop::Failed => {
            "Data was sent again and again and nothing came back: the other host, or the way to it, is gone."
        }
        _ => {
            "The server sent fewer bytes than it had declared, and closed in good order: an exception or a timeout \
             while the body was written, a worker that was recycled, a wrong Content-Length, or a proxy whose own \
             backend broke off."
        }
    }
}

fn advice(stop: Stop) -> &'static str {
    match stop {
        Stop::Reset => {
            "Look at the server's log and at exits of its process at this time. On the server, read the request to its \
             end before close(). If no process of the server did it, look at timeouts of what is between."
        }
        Stop::Failed => {
            "Look at the link, the other host, and at stateful devices between that forget connections."
        }
        _ => {
            "Look into the server's error log for this request, and at its send and worker timeouts. The client must \
             take a body that is shorter than declared for an error, not for the whole (RFC 9112, section 8)."
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
        let missing = || cases.iter().filter_map(|case| case.http.missing);
        let passed = cases.iter().filter_map(|case| Some(case.http.ended?.offset)).min();
        findings.push(Finding {
            cause: Some(name(stop).to_owned()),
            severity: thresholds.severity(cases.len()),
            summary: format!(
                "{} {} {} {}.",
                counted(cases.len(), "response"),
                between(&cases, server).replacen("of ", "for requests of ", 1),
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

/// Why the server's kernel sent the RST, or the error of the socket.
fn reason(cases: &[Broken<'_>]) -> Option<String> {
    let at_server = cases.iter().find_map(|case| case.server()?.close.reason.clone());
    at_server.or_else(|| cases.iter().find_map(|case| case.summary.close.reason.clone()))
}

/// `200, ended after 400 B of the body, 600 B missing`.
fn note(case: &Broken<'_>) -> String {
    let status = case.http.http.response.as_ref().map(|response| response.status_code.to_string());
    let after = case.http.ended.map(|ended| {
        let part = if ended.part == Part::Body { "body" } else { "head" };
        format!("ended after {} of the {part}", Size(ended.offset))
    });
    let missing = case.http.missing.map(|bytes| format!("{} missing", Size(bytes)));
    status.into_iter().chain(after).chain(missing).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "response_cut_tests.rs"]
mod tests;
