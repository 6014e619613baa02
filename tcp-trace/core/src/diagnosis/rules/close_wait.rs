//! CLOSE_WAIT: the peer has closed, and the process here has not.
//!
//! The receive queue names the cause: the FIN counts as one byte in it until it was read. That is when `read()` has
//! returned 0, or with the last data where the FIN was there already (`tcp_recvmsg_locked()`, `found_fin_ok`): then
//! the process gets EOF at its next read.

use tcp_trace_model::{
    event::{Role, State},
    record::{Evidence, Finding, Http, Integrity, Severity},
};

use super::{
    super::{
        Facts, Findings, Thresholds,
        attempts::who_says_close,
        call_sites::{CallSites, how_to_find_lines},
        finding::{Case, Service, ages, for_how_long, grouped, of, peers, who},
        snapshot::{Process, Socket},
    },
    not_read,
};
use crate::{
    prose::{Size, counted},
    timeline::Life,
};

/// Share of its descriptors that a process may leak before that is critical, in percent.
const FILES_PERCENT: u64 = 50;

/// Why a socket stays in CLOSE_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The peer has ended its own direction only, or may have, and the process owes it an answer.
    AnswerDue,
    /// The process has read everything, with the end, and has not closed.
    NotClosed,
    /// It has read all data, and not the end behind it.
    EndNotRead,
    /// It has not even read the data.
    DataNotRead,
}

impl Cause {
    fn of(facts: &Facts<'_>, socket: &Socket) -> Self {
        match socket.diag.rqueue {
            0 | 1 if owes_answer(facts, socket) => Self::AnswerDue,
            0 => Self::NotClosed,
            1 => Self::EndNotRead,
            _ => Self::DataNotRead,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::AnswerDue => "answer_due",
            Self::NotClosed => "not_closed",
            Self::EndNotRead => "end_not_read",
            Self::DataNotRead => "data_not_read",
        }
    }

    /// What the process has not done.
    fn in_words(self) -> &'static str {
        match self {
            Self::AnswerDue => "its request was read, and the answer is due",
            Self::NotClosed => "everything was read, but close() was never called",
            Self::EndNotRead => "data was read, but not EOF",
            Self::DataNotRead => "data before EOF was not all read",
        }
    }

    /// A leak ends only with the process: many sockets of it are critical, and so is what uses up the descriptors. A process
    /// that waits, or keeps a pool, may still close them.
    fn severity(self, takes_much: bool, of_leak: Severity) -> Severity {
        match self {
            _ if takes_much => Severity::Critical,
            Self::NotClosed => of_leak,
            Self::AnswerDue => Severity::Notice,
            Self::EndNotRead | Self::DataNotRead => Severity::Warning,
        }
    }

    fn why(self, service: Service) -> &'static str {
        match self {
            Self::EndNotRead if matches!(service, Service::Accepted(_)) => {
                "The client closed its end and the process has not looked at the socket since: it read the request \
                 and stopped reading. The handler is busy, blocked or gone, or waits for something other than this \
                 socket."
            }
            Self::AnswerDue => {
                "The peer ended its direction behind the request, and this process has not answered yet: the handler still \
                 works, or waits itself. Where the peer's end is on this host and open, it waits for the answer; else it may \
                 also have given up. Without an answer this end has no reason to close."
            }
            Self::NotClosed => {
                "The peer closed its end, and this process has read everything up to EOF: its read() has returned \
                 0, or will at once. The descriptor is still open, so the kernel cannot send the FIN. Something \
                 still refers to the socket's object, or an error path returned without closing it. Unless the process \
                 still works for this connection (a relay that waits for its other side), this is a leak: no kernel \
                 timeout ends it."
            }
            Self::EndNotRead => {
                "The peer closed its end and the process has not looked at the socket since: it read what it \
                 expected and stopped reading. Typical causes are idle connections in a pool that nothing checks, \
                 and a connection that never went back to its pool after the response was read by its length."
            }
            Self::DataNotRead => {
                "The peer sent data and closed, and the process has not read all of it: the thread or task that should read is \
                 slow, busy, blocked or gone, or a response body was dropped unread."
            }
        }
    }

    fn advice(self, service: Service) -> &'static str {
        match self {
            Self::EndNotRead if matches!(service, Service::Accepted(_)) => {
                "Find out what the handler does instead (stack, thread dump). Close the socket on every path out of \
                 it \
                 (finally / with / defer / Drop), and give it a timeout for reading the next request."
            }
            Self::AnswerDue => {
                "Find out what the handler waits for (stack, thread dump, its own connections), and give it a timeout."
            }
            Self::NotClosed => {
                "Close the socket wherever its read returns 0 and on every error path (with / try-with-resources / \
                 defer / Drop). With an HTTP client, close the response or read it to the end. If another process \
                 has the same descriptor, it must close it too: open it close-on-exec."
            }
            Self::EndNotRead => {
                "Let the pool drop connections that have become readable while idle, give it an idle timeout below \
                 the server's keep-alive timeout, and give connections back when a response is done."
            }
            Self::DataNotRead => {
                "Find out what the reading thread does instead (stack, thread dump). Read or close the response on \
                 every path, even when you only need the status."
            }
        }
    }
}

/// Since the peer's FIN, in microseconds: as traced; else since the last acknowledgment, which is the FIN's unless
/// the peer answered something later.
pub(in super::super) fn age_us(facts: &Facts<'_>, socket: &Socket) -> Option<u64> {
    facts.traced_age_us(socket).or_else(|| {
        let of = |socket: &Socket| Some(u64::from(socket.diag.info?.last_ack_recv_ms) * 1_000);
        facts.waiting_us(socket, of)
    })
}

/// Whether the process still sends: it may answer for as long as it likes after the peer's FIN.
fn still_sends(socket: &Socket, thresholds: &Thresholds) -> bool {
    let sent_ms = socket.diag.info.map(|info| info.last_data_sent_ms);
    socket.diag.wqueue > 0 || sent_ms.is_some_and(|ms| u64::from(ms) * 1_000 < thresholds.min_age_us)
}

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    // A connection that is not accepted yet is its listener's fault, and reported there.
    let accepted = facts.in_state(State::CloseWait).filter(|socket| !socket.has_no_file());
    let cases = accepted.filter_map(|socket| {
        let age = age_us(facts, socket)?;
        let still_reads = not_read::is_read(facts, socket) == Some(true);
        let is_stuck = age >= thresholds.min_age_us && !still_sends(socket, thresholds) && !still_reads;
        is_stuck.then(|| Case { notes: notes(facts, socket), ..Case::new(socket, Some(age)) })
    });
    let key = |case: &Case<'_>| {
        (facts.owner_pid(case.socket), Cause::of(facts, case.socket), Service::of(facts, case.socket))
    };
    let cases = findings.unexplained(facts, cases);
    for ((_, cause, service), cases) in grouped(cases.into_iter(), key) {
        findings.push(finding(facts, thresholds, cause, service, cases));
    }
}

fn finding(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    cause: Cause,
    service: Service,
    cases: Vec<Case<'_>>,
) -> Finding {
    let count = cases.len();
    let process = cases.first().and_then(|case| facts.owner(case.socket));
    let unread: u64 = cases.iter().map(|case| u64::from(case.socket.diag.rqueue.saturating_sub(1))).sum();
    let limit = process.and_then(|process| process.files_limit);
    let takes_much = limit.is_some_and(|limit| count as u64 * 100 >= limit * FILES_PERCENT);
    let what = match cause {
        Cause::DataNotRead => format!("{} ({} unread)", cause.in_words(), Size(unread)),
        _ => cause.in_words().to_owned(),
    };
    let call_sites = CallSites::of(facts, &cases);
    let opened =
        call_sites.opened_at.as_ref().map_or_else(String::new, |place| format!(", opened at {place}"));
    let summary = format!(
        "{} of {}, {service}{opened}, in CLOSE_WAIT {}: the peer has closed, {what}.",
        counted(count, "socket"),
        who(process),
        for_how_long(&cases),
    );
    let (oldest, youngest) = ages(&cases).unwrap_or_default();
    let evidence = call_sites.and(
        Evidence::default()
            .and("sockets", count)
            .and("oldest_us", oldest)
            .and_known("youngest_us", (count > 1).then_some(youngest))
            .and_known("unread_bytes", (unread > 0).then_some(unread))
            .and_known("open_files", process.map(|process| process.files).filter(|files| *files > 0))
            .and_known("open_files_limit", limit)
            .and("peers", peers(&cases)),
    );
    Finding {
        cause: Some(cause.name().to_owned()),
        severity: cause.severity(takes_much, thresholds.severity(count)),
        summary,
        evidence,
        stacks: call_sites.stacks,
        why: cause.why(service).to_owned(),
        advice: advice(facts, process, cause, service),
        ..of(facts, cases)
    }
}

/// What to do; and, without a trace, how to find out whose code it is.
fn advice(facts: &Facts<'_>, process: Option<&Process>, cause: Cause, service: Service) -> String {
    let is_traced = facts.history.from.is_some();
    // What waits for its answer is no leak.
    let is_told = is_traced || cause == Cause::AnswerDue;
    let how = if is_told { String::new() } else { format!(" {}", how_to_find_lines(process)) };
    format!("{}{how}", cause.advice(service))
}

/// The last exchange with a request, or else the last.
fn last_with_request(life: &Life) -> Option<&Http> {
    let mut last_first = life.exchanges.iter().rev();
    last_first.find(|http| http.exchange.request.is_some()).or_else(|| life.exchanges.back())
}

/// Whether the peer may still wait for an answer of this end, which is a server's: its process has its end open and has shut
/// down writing only, or its last request is not answered.
fn owes_answer(facts: &Facts<'_>, socket: &Socket) -> bool {
    let last = facts.history.life(socket.diag.cookie).and_then(last_with_request);
    if let Some(other) = facts.other_end(socket) {
        let is_waited_for = other.state() == State::FinWait2 && !other.has_no_file();
        let is_answered = match last {
            Some(http) => http.exchange.response.is_some(),
            None => socket
                .diag
                .info
                .is_some_and(|info| info.bytes_sent > 0 && info.last_data_sent_ms < info.last_data_recv_ms),
        };
        return is_waited_for && !is_answered && facts.role(socket) == Some(Role::Server);
    }
    last.is_some_and(|http| {
        let is_server = http.connection.role == Some(Role::Server);
        is_server && http.exchange.request.is_some() && http.exchange.response.is_none()
    })
}

/// The last exchange that it carried, if it was traced, and the process at the other end, if that is here.
fn notes(facts: &Facts<'_>, socket: &Socket) -> Vec<String> {
    let life = facts.history.life(socket.diag.cookie);
    let exchange = life.and_then(last_with_request).map(|http| last_exchange(http, Cause::of(facts, socket)));
    let other = facts.other_end(socket).and_then(|other| Some((other, facts.owner(other)?)));
    let other =
        other.map(|(other, process)| format!("other end: {}, {}", who(Some(process)), other.state().name()));
    exchange.into_iter().chain(other).collect()
}

/// `last exchange: GET /a → 200, read to the end, the response said Connection: close`.
fn last_exchange(http: &Http, cause: Cause) -> String {
    let request = http.exchange.request.as_ref().map_or("(request not seen)".to_owned(), |request| {
        format!("{} {}", request.method.printable(), request.target.printable())
    });
    let response = match &http.exchange.response {
        None => "no response".to_owned(),
        Some(response) => format!(
            "{}, {}",
            response.status_code,
            match http.exchange.integrity {
                // A server sends it; what is unread there is of the client.
                Integrity::Complete if http.connection.role == Some(Role::Server) => "complete",
                Integrity::Complete if cause == Cause::DataNotRead => "complete, not read to the end",
                Integrity::Complete => "read to the end",
                Integrity::Truncated => "cut short",
                Integrity::Gap => "only partly seen",
            }
        ),
    };
    let close = who_says_close(http).unwrap_or("neither message said Connection: close");
    format!("last exchange: {request} → {response}, {close}")
}

#[cfg(test)]
#[path = "close_wait_tests.rs"]
mod tests;
