//! Requests without any byte of a response, for another reason than the races and resets that have their own rules.

use tcp_trace_model::record::{Evidence, Finding};

use super::super::{
    Facts, Thresholds,
    broken::{Broken, Fault, Stop},
    exchange_findings::{between, grouped, of, server_process},
};
use crate::prose::{Micros, counted};

fn name(stop: Stop) -> &'static str {
    match stop {
        Stop::Closed => "server_closed",
        Stop::Reset => "server_reset",
        Stop::Failed => "connection_failed",
        Stop::GaveUp => "client_gave_up",
        Stop::Waiting => "waiting",
    }
}

fn in_words(stop: Stop) -> &'static str {
    match stop {
        Stop::Closed => "got no response: the server closed instead",
        Stop::Reset => "got no response: the server sent an RST instead",
        Stop::Failed => "got no response: the connection failed",
        Stop::GaveUp => "got no response before the client gave up",
        Stop::Waiting => "have received no response yet",
    }
}

fn why(stop: Stop) -> &'static str {
    match stop {
        Stop::Closed => {
            "The server took the request and closed the connection normally, without an answer: an exception before \
             the response, a worker that was recycled or killed, a limit on connections, or something on this port \
             that does not speak HTTP."
        }
        Stop::Reset => {
            "The server's process crashed or closed with the request unread, or a device in between answered in its \
             name. On a kept-alive connection it may also be the server's idle timeout: only a trace on the \
             server's host shows which."
        }
        Stop::Failed => "Sent data was no longer acknowledged: the other host, or the path to it, is gone.",
        Stop::GaveUp => {
            "The request was delivered and nothing came back until the client's own timeout, or its user, ended it. \
             The server was busy, blocked or waiting itself; it often goes on working for nobody."
        }
        Stop::Waiting => {
            "The request was sent and not a byte has come back. The server is busy, blocked or waiting itself; a \
             long poll looks the same."
        }
    }
}

fn advice(stop: Stop) -> &'static str {
    match stop {
        Stop::Closed | Stop::Reset => {
            "Check the server's log, and exits and restarts of its process, at this time. Check that address, port \
             and scheme (https?) are what the server expects."
        }
        Stop::Failed => {
            "Check the link, the other host, and stateful devices in between that forget connections."
        }
        Stop::GaveUp | Stop::Waiting => {
            "Find out what the server does with this request (stack, thread dump, its own connections). Give the \
             server a timeout below the client's, so that it answers with an error instead of silence."
        }
    }
}

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Vec<Finding>) {
    let now = facts.now.time;
    let least = |stop| match stop {
        Stop::GaveUp => thresholds.slow_us,
        Stop::Waiting => thresholds.min_age_us,
        Stop::Closed | Stop::Reset | Stop::Failed => 0,
    };
    let stop = |broken: &Broken<'_>| match broken.fault {
        Fault::NoResponse(stop) => (broken.waited_us(now) >= least(stop)).then_some(stop),
        _ => None,
    };
    for ((stop, server, _), cases) in grouped(facts, stop) {
        let waited = || cases.iter().map(|case| case.waited_us(now));
        let verb =
            if cases.len() == 1 { in_words(stop).replacen("have", "has", 1) } else { in_words(stop).into() };
        findings.push(Finding {
            cause: Some(name(stop).to_owned()),
            severity: thresholds.severity(cases.len()),
            summary: format!("{} {} {verb}.", counted(cases.len(), "request"), between(&cases, server)),
            evidence: Evidence::default()
                .and("requests", cases.len())
                .and_known("longest_wait_us", waited().max())
                .and_known("shortest_wait_us", waited().min().filter(|_| cases.len() > 1))
                .and(
                    "on_kept_connections",
                    cases.iter().filter(|case| case.http.exchange.reused == Some(true)).count(),
                )
                .and_known("server", server_process(&cases)),
            why: why(stop).to_owned(),
            advice: advice(stop).to_owned(),
            ..of(&cases, |case| format!("no response after {}", Micros(case.waited_us(now))))
        });
    }
}

#[cfg(test)]
#[path = "no_response_tests.rs"]
mod tests;
