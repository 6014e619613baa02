//! Responses that had begun and were cut off by the server or the network. A client that cancels is no fault.

use std::net::SocketAddr;

use tcp_trace_model::record::{Evidence, Finding, Part};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{between, grouped, of, passed_on, server_process},
    failed_exchanges::{FailedExchange, Fault, Stop},
    resets::Origin,
};
use crate::prose::{Size, counted};

/// What cut responses off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Reset(Origin),
    Failed,
    Closed,
    /// The server's process ended.
    Ended,
    /// The client had not read for most of the time, and this ended it.
    NotRead(Stop, Origin),
}

/// For how long the client's window has to have been closed, when that may be why a server gave a response up, in microseconds.
const WINDOW_CLOSED_LEAST_US: u64 = 1_000_000;

/// For how long the client's window was closed while a response came, in microseconds, if that was for most of the time.
fn window_closed_us(failed: &FailedExchange<'_>) -> Option<u64> {
    let timing = &failed.http.exchange.timing;
    let seen_us = timing.stalls.as_ref().and_then(|stalls| Some(stalls.receive?.zero_window_us));
    // What either end says of the whole connection is of its only exchange.
    let is_only = failed.http.exchange.index == 0;
    let at_client = failed.client().and_then(|client| Some(client.zero_window?.local_us));
    let at_server = failed.server().and_then(|server| Some(server.zero_window?.peer_us));
    let us = seen_us.max(at_client.max(at_server).filter(|_| is_only))?;
    (us >= WINDOW_CLOSED_LEAST_US && us * 2 >= timing.total_us).then_some(us)
}

impl Cause {
    fn of(failed: &FailedExchange<'_>) -> Option<Self> {
        let Fault::Cut(stop) = failed.fault else { return None };
        let has_ended = failed.server().is_some_and(|server| server.close.process_ended);
        Some(match stop {
            _ if has_ended && stop != Stop::Failed => Self::Ended,
            Stop::Failed if window_closed_us(failed).is_some() => Self::NotRead(stop, Origin::Unknown),
            Stop::Failed => Self::Failed,
            _ if window_closed_us(failed).is_some() => Self::NotRead(stop, Origin::of(failed.server())),
            Stop::Reset => Self::Reset(Origin::of(failed.server())),
            _ => Self::Closed,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reset(_) => "reset",
            Self::Failed => "connection_failed",
            Self::Closed => "closed",
            Self::Ended => "server_process_ended",
            Self::NotRead(..) => "client_not_reading",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Reset(Origin::Between) => "cut off by an RST that did not come from the server",
            Self::Reset(_) => "cut off by an RST",
            Self::Failed => "cut off because the connection failed",
            Self::Closed => "cut off: the server closed before the end",
            Self::Ended => "cut off: the server's process ended meanwhile",
            Self::NotRead(Stop::Failed, _) => {
                "cut off because the connection failed, and the client had not read for long"
            }
            Self::NotRead(Stop::Reset, Origin::Between) => {
                "cut off by an RST that did not come from the server, and the client had not read for long"
            }
            Self::NotRead(Stop::Reset, _) => "cut off by an RST, and the client had not read for long",
            Self::NotRead(..) => {
                "cut off: the server closed before the end, and the client had not read for long"
            }
        }
    }

    fn why(self) -> String {
        match self {
            Self::Reset(origin) => format!(
                "{} Data that had arrived and that the client had not read yet is lost too.",
                origin.why()
            ),
            Self::Failed => "Data was no longer acknowledged, or the network said that the host cannot be reached: the other \
                             host, or the path to it, is gone. Or it answered, and took no data for as long as \
                             TCP_USER_TIMEOUT, or the limit for connections that no process has open, allows."
                .to_owned(),
            Self::Closed => "The server sent fewer bytes than it had declared and closed normally: an exception or a \
                             timeout while the body was written, a worker that was recycled, a wrong Content-Length, \
                             or a proxy whose own backend failed."
                .to_owned(),
            Self::NotRead(..) => "The client's kernel announced a window of 0 for at least half of the time, because its process did \
                                  not read, so that the server could not send the rest. Servers, and kernels, bound how long they \
                                  wait for that (nginx send_timeout, Apache Timeout, HAProxy timeout client, TCP_USER_TIMEOUT, \
                                  orphans): where the window was still 0 at the end, as a rule that limit was over. Else the \
                                  server ended it for a reason of its own."
                .to_owned(),
            Self::Ended => "The server's process ended (it exited, or a signal killed it) before it had written the whole \
                            response; its kernel closed the connection."
                .to_owned(),
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Reset(origin) => origin.advice(),
            Self::Failed => {
                "Check the link, the other host, and stateful devices in between that forget connections."
            }
            Self::Closed => {
                "Check the server's error log for this request, and its send and worker timeouts. The client must treat \
                 a body that is shorter than declared as an error, not as complete (RFC 9112, section 8)."
            }
            Self::Ended => Origin::ProcessEnded.advice(),
            Self::NotRead(..) => {
                "Find out what the client's process does instead of reading (stack, thread dump): slow work per chunk, a full queue \
                 behind it, a paused download. If clients are meant to be that slow, raise the server's send timeout."
            }
        }
    }
}

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    for ((cause, server, _), cases) in grouped(facts, findings, Cause::of) {
        let missing = || cases.iter().filter_map(|case| case.http.exchange.missing);
        let passed = cases.iter().filter_map(|case| Some(case.http.exchange.ended?.offset)).min();
        let reset_by = match cause {
            Cause::Reset(origin) | Cause::NotRead(Stop::Reset, origin) => origin.name(),
            _ => None,
        };
        let window_closed = cases.iter().filter_map(window_closed_us).max();
        findings.push(Finding {
            cause: Some(cause.name().to_owned()),
            severity: thresholds.severity(cases.len()),
            summary: format!(
                "{} {} {} {}.",
                counted(cases.len(), "response"),
                whose(&cases, server),
                if cases.len() == 1 { "was" } else { "were" },
                cause.in_words(),
            ),
            evidence: Evidence::default()
                .and("responses", cases.len())
                .and_known("missing_bytes", missing().max().map(|_| missing().sum::<u64>()))
                .and_known("least_that_came_bytes", passed)
                .and_known("window_closed_us", window_closed.filter(|_| matches!(cause, Cause::NotRead(..))))
                .and_known("server", server_process(&cases))
                .and_known("passed_on_by", passed_on(facts, cases.iter().map(|case| case.http)))
                .and_known("reset_by", reset_by)
                .and_known("reason_of_the_kernel", reason(&cases)),
            why: cause.why(),
            advice: cause.advice().to_owned(),
            ..of(&cases, note)
        });
    }
}

/// `to requests from client (pid 5) to 10.0.0.5:80`, or where only the server is here, `from api (pid 7) at 10.0.0.1:80`.
fn whose(cases: &[FailedExchange<'_>], server: SocketAddr) -> String {
    let between = between(cases, server);
    match between.strip_prefix("to ") {
        Some(server) => format!("from {server}"),
        None => format!("to requests {between}"),
    }
}

/// Why the server's kernel sent the RST, or the error of the socket.
fn reason(cases: &[FailedExchange<'_>]) -> Option<String> {
    let at_server = cases.iter().find_map(|case| case.server()?.close.reason.clone());
    at_server.or_else(|| cases.iter().find_map(|case| case.summary.close.reason.clone()))
}

/// `200, ended after 400 B of the body, 600 B missing`.
fn note(case: &FailedExchange<'_>) -> String {
    let status = case.http.exchange.response.as_ref().map(|response| response.status_code.to_string());
    let after = case.http.exchange.ended.map(|ended| {
        let (size, part) = (Size(ended.offset), ended.part.name());
        match ended.part {
            Part::Trailer => format!("ended after {size}, in the {part} behind the body"),
            _ => format!("ended after {size} of the {part}"),
        }
    });
    let missing = case.http.exchange.missing.map(|bytes| format!("{} missing", Size(bytes)));
    status.into_iter().chain(after).chain(missing).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "response_cut_tests.rs"]
mod tests;
