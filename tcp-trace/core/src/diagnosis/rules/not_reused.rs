//! Clients that open a connection for each request, where they could have used one again: each pays for its handshakes.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Connection, Evidence, Finding, FindingConnection, Http, Outcome, Severity},
    time::Time,
};

use super::super::{
    Facts, Findings, Thresholds,
    attempts::who_says_close,
    exchange_findings::{request, server_of, whose},
    finding::{of_first, traced},
};
use crate::{
    prose::{Micros, counted},
    timeline::Life,
};

/// Connections of one process to one server with a single request each, from which on that is a pattern.
const CONNECTIONS_MIN: usize = 30;
/// How long their handshakes take, at least, the median, in microseconds: on one host they cost next to nothing.
const HANDSHAKE_MIN_US: u64 = 1_000;
/// Percentage of the connections that were not needed, at least.
const NEEDLESS_PERCENT: usize = 90;

/// From which time on a connection that was closed had been kept, in microseconds.
const KEPT_MIN_US: u64 = 1_000_000;

/// Why a connection was not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// One of the messages said so.
    SaidClose(&'static str),
    /// The client closed it, and no message had said so.
    ClientClosed,
    /// The server closed it, and no message had said so.
    ServerClosed,
    /// The client closed it when it had been idle for long.
    ClientKept,
    /// The server did.
    ServerKept,
    /// It is open, or ended in another way.
    LeftOpen,
}

/// A connection with one request.
#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    summary: &'a Connection,
    http: &'a Http,
    /// TCP's and TLS's, in microseconds.
    handshake_us: u64,
    /// From the end of its exchange to its own, in microseconds.
    kept_us: u64,
    cause: Cause,
}

impl<'a> Case<'a> {
    /// `None` where it carried none or several, or its handshake was not seen.
    fn of(life: &'a Life) -> Option<Self> {
        let (summary, http) = (life.summary.as_deref()?, life.exchanges.back()?);
        let is_single = summary.http.as_ref().is_some_and(|http| http.requests == 1);
        // A tunnel or a WebSocket is the connection.
        let is_kept = http.exchange.outcome == Outcome::Upgraded || http.exchange.websocket.is_some();
        if summary.connection.role != Some(Role::Client) || !is_single || is_kept {
            return None;
        }
        let connecting = summary.states.iter().find(|span| span.state == State::SynSent)?.duration_us?;
        let tls = summary.tls.as_ref().and_then(|tls| tls.timing.handshake_us).unwrap_or_default();
        let timing = &http.exchange.timing;
        let exchanged = timing.started.after_micros(timing.total_us);
        let kept_us = summary.closed.map_or(0, |closed| closed.micros_since(exchanged));
        let cause = match (who_says_close(http), summary.close.by) {
            (Some(words), _) => Cause::SaidClose(words),
            (None, By::Local) if kept_us >= KEPT_MIN_US => Cause::ClientKept,
            (None, By::Peer) if kept_us >= KEPT_MIN_US => Cause::ServerKept,
            (None, By::Local) => Cause::ClientClosed,
            (None, By::Peer) => Cause::ServerClosed,
            (None, By::Both | By::None) => Cause::LeftOpen,
        };
        Some(Self { summary, http, handshake_us: connecting + tls, kept_us, cause })
    }

    fn exchange(&self) -> (Time, Time) {
        let timing = &self.http.exchange.timing;
        (self.summary.opened, timing.started.after_micros(timing.total_us))
    }
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::SaidClose(_) => "said_close",
            Self::ClientClosed => "client_closes",
            Self::ServerClosed => "server_closes",
            Self::ClientKept | Self::ServerKept => "idle_too_long",
            Self::LeftOpen => "left_open",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::SaidClose(words) => words,
            Self::ClientClosed => "the client closed each after its response, which had not said close",
            Self::ServerClosed => "the server closed each after its response, which had not said close",
            Self::ClientKept => "the client closed each when it had been idle",
            Self::ServerKept => "the server closed each when it had been idle",
            Self::LeftOpen => "they were left open and not used again",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::SaidClose("the response said Connection: close") => {
                "Let the server keep connections (nginx keepalive_timeout, keepalive_requests; Apache KeepAlive On)."
            }
            Self::SaidClose(_) => {
                "Let the client speak HTTP/1.1 without Connection: close (nginx as a gateway: proxy_http_version 1.1, \
                 proxy_set_header Connection \"\", and keepalive in the upstream block)."
            }
            Self::ClientClosed | Self::LeftOpen => {
                "Let the client keep one client object or session with its pool for all requests (requests.Session, one http.Client, \
                 http.Agent with keepAlive), and read each response to its end: what is not read cannot be used again."
            }
            Self::ClientKept => {
                "Requests come less often than the client keeps idle connections. Where the handshakes matter, raise the idle timeout of \
                 its pool, and keep it below the server's."
            }
            Self::ServerKept => {
                "Requests come less often than the server keeps idle connections. Where the handshakes matter, raise its keep-alive \
                 timeout above the time between requests."
            }
            Self::ServerClosed => {
                "See why the server closes: a keep-alive timeout of 0, a limit of 1 request, or an error after each response."
            }
        }
    }
}

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, _: &Thresholds, findings: &mut Findings) {
    // One process: others cannot use its connections.
    let mut groups = BTreeMap::<(SocketAddr, u32, Cause), Vec<Case<'_>>>::new();
    for case in facts.history.lives().filter_map(Case::of) {
        let process = case.summary.connection.process.as_deref();
        let is_explained =
            || findings.explain_exchange(facts, case.http) || findings.explain(case.summary.connection.id);
        if let Some(process) = process.filter(|_| !is_explained()) {
            let key = (server_of(case.http), process.pid, case.cause);
            groups.entry(key).or_default().push(case);
        }
    }
    for ((server, _, cause), cases) in groups {
        let needed = at_once(&cases);
        let handshake_us = median(cases.iter().map(|case| case.handshake_us).collect());
        let needless = cases.len() - needed;
        if cases.len() >= CONNECTIONS_MIN
            && handshake_us >= HANDSHAKE_MIN_US
            && needless * 100 >= cases.len() * NEEDLESS_PERCENT
        {
            findings.push(finding(server, cause, needed, handshake_us, &cases));
        }
    }
}

/// How many were in use at the same time, at the most: so many were needed.
fn at_once(cases: &[Case<'_>]) -> usize {
    let mut changes: Vec<_> = cases
        .iter()
        .map(Case::exchange)
        .flat_map(|(from, to)| [(from, true), (to.max(from), false)])
        .collect();
    // What ends at a moment makes room for what begins then.
    changes.sort_unstable();
    let (mut open, mut most) = (0_usize, 0);
    for (_, begins) in changes {
        open = if begins { open + 1 } else { open.saturating_sub(1) };
        most = most.max(open);
    }
    most
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn finding<'a>(
    server: SocketAddr,
    cause: Cause,
    needed: usize,
    handshake_us: u64,
    cases: &[Case<'a>],
) -> Finding {
    let process = |case: &Case<'a>| case.summary.connection.process.as_deref();
    let of = whose(cases.iter().filter_map(process));
    let total: u64 = cases.iter().map(|case| case.handshake_us).sum();
    let kept = median(cases.iter().map(|case| case.kept_us).collect());
    let after = match cause {
        Cause::ClientKept | Cause::ServerKept => format!(" for {}", Micros(kept)),
        _ => String::new(),
    };
    let took = median(cases.iter().map(|case| case.http.exchange.timing.total_us).collect());
    let example = |case: &Case<'_>| {
        let words = format!("{}: {} for the handshakes", request(case.http), Micros(case.handshake_us));
        Some(FindingConnection { notes: vec![words], ..traced(case.summary)? })
    };
    Finding {
        cause: Some(cause.name().to_owned()),
        severity: Severity::Notice,
        summary: format!(
            "{of} opened {} to {server} for one request each, at most {needed} at a time: {}{after}.",
            counted(cases.len(), "connection"),
            cause.in_words(),
        ),
        evidence: Evidence::default()
            .and("connections", cases.len())
            .and("at_once", needed)
            .and("median_handshake_us", handshake_us)
            .and("median_request_us", took)
            .and("handshakes_us", total),
        why: "Every new connection costs a round trip for TCP and one or two more for TLS, and begins with a small congestion \
              window; the closed ones stay in TIME_WAIT. An earlier connection had done its work when the next was opened."
            .to_owned(),
        advice: cause.advice().to_owned(),
        ..of_first(cases, process, example)
    }
}

#[cfg(test)]
pub(in crate::diagnosis) mod testing {
    use std::sync::Arc;

    use tcp_trace_model::record::{ConnectionId, How, HttpTotals, StateSpan};

    use super::*;
    use crate::diagnosis::testing_http::{at, exchange, summary};

    /// A client's connection that was opened so many milliseconds after the beginning, connected for so long, and carried one
    /// request.
    pub(in crate::diagnosis) fn single(number: u64, ms: u64, connect_us: u64, by: By) -> (Http, Connection) {
        let (mut http, mut end) = (exchange(Role::Client, 0, ms), summary(Role::Client, by, How::Fin));
        let info = Arc::make_mut(&mut end.connection);
        info.id = ConnectionId::of_socket(1_000 + number, 0);
        if let Some(network) = &mut info.network {
            network.local.port = 10_000 + number as u16;
        }
        http.connection = Arc::clone(&end.connection);
        end.opened = at(ms);
        (end.seen_from_start, end.closed) = (true, Some(at(ms + 20)));
        let span = end.states[0].clone();
        end.states.insert(0, StateSpan { state: State::SynSent, duration_us: Some(connect_us), ..span });
        end.http = Some(HttpTotals { requests: 1, surplus: 0, protocol: "http/1.1".to_owned() });
        (http, end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tcp_trace_model::record::Process;

    use super::{testing::single, *};
    use crate::diagnosis::{History, testing::Host, testing_http::life};

    fn found(count: u64, every_ms: u64, connect_us: u64, by: By, set: fn(&mut Http)) -> Vec<Finding> {
        let mut history = History::default();
        for number in 0..count {
            let (mut http, end) = single(number, number * every_ms, connect_us, by);
            set(&mut http);
            life(&mut history, Vec::new(), vec![http], end);
        }
        Host::new().judge_with("not_reused", &history)
    }

    #[test]
    fn who_keeps_connections_from_being_used_again_is_the_cause() {
        let says_close = |http: &mut Http| {
            let response = http.exchange.response.as_mut().expect("it has one");
            response.headers = [(&b"Connection"[..], &b"close"[..])].into_iter().collect();
        };
        for (by, set, cause) in [
            (By::Local, (|_| {}) as fn(&mut Http), "client_closes"),
            (By::Peer, |_| {}, "server_closes"),
            (By::None, |_| {}, "left_open"),
            (By::Peer, says_close, "said_close"),
        ] {
            let findings = found(30, 30, 2_000, by, set);
            assert_eq!(findings.len(), 1, "{cause}: {findings:#?}");
            assert_eq!(findings[0].cause.as_deref(), Some(cause));
            let words = "client (pid 5) opened 30 connections to 10.0.0.1:8080 for one request each, at most 1 at a time: ";
            assert!(findings[0].summary.starts_with(words), "{}", findings[0].summary);
        }
    }

    #[test]
    fn a_connection_that_was_kept_was_not_closed_after_its_response() {
        for (by, in_words) in [(By::Local, "the client closed"), (By::Peer, "the server closed")] {
            let mut history = History::default();
            for number in 0..30 {
                let (http, mut end) = single(number, number * 3_000, 2_000, by);
                end.closed = end.closed.map(|closed| closed.after_micros(2_000_000));
                life(&mut history, Vec::new(), vec![http], end);
            }
            let finding = Host::new().judge_with("not_reused", &history).remove(0);
            assert_eq!(finding.cause.as_deref(), Some("idle_too_long"));
            let words = format!("{in_words} each when it had been idle for 2.01 s.");
            assert!(finding.summary.ends_with(&words), "{}", finding.summary);
        }
    }

    #[test]
    fn few_cheap_or_simultaneous_connections_are_no_finding() {
        let nothing = |_: &mut Http| {};
        assert_eq!(found(29, 30, 2_000, By::Local, nothing), []);
        assert_eq!(found(30, 30, 900, By::Local, nothing), [], "on one host");
        assert_eq!(found(30, 0, 2_000, By::Local, nothing), [], "all at the same time");
        let mut history = History::default();
        for number in 0..30 {
            let (http, mut end) = single(number, number * 30, 2_000, By::Local);
            let process = Process { pid: 100 + number as u32, ..Process::default() };
            Arc::make_mut(&mut end.connection).process = Some(Arc::new(process));
            life(&mut history, Vec::new(), vec![http], end);
        }
        assert_eq!(Host::new().judge_with("not_reused", &history), [], "a process each");
    }
}
