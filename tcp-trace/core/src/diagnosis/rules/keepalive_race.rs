//! Requests that came onto connections that the server was closing. Both idle times are measured: after how long the
//! server closes, and after how long the client still uses a connection.

use std::net::SocketAddr;

use tcp_trace_model::record::{Evidence, Finding, Http};

use super::super::{
    Facts, Thresholds,
    attempts::says_close,
    broken::{Broken, Fault, Race},
    exchange_findings::{between, grouped, of, server_process},
};
use crate::prose::{Micros, counted};

impl Race {
    fn name(self) -> &'static str {
        match self {
            Self::AlreadyClosed => "already_closed",
            Self::Crossed => "crossed",
            Self::Unread => "request_unread",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::AlreadyClosed => "on a kept-alive connection that the server had already closed",
            Self::Crossed => "on a kept-alive connection that the server was just closing",
            Self::Unread => "on a kept-alive connection that the server closed with the request unread",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::AlreadyClosed => {
                "The server closes connections that have been idle for a time. Its FIN had reached this client's \
                 kernel, but the client did not check before it sent the next request: the server's kernel no \
                 longer has a reader for it and answers with an RST. The request was not processed."
            }
            Self::Crossed => {
                "The server closes connections that have been idle for a time. Its FIN was on its way when the \
                 request was sent; no client can see that. The server's kernel no longer has a reader for the \
                 request and answers with an RST. The request was not processed."
            }
            Self::Unread => {
                "The server closes connections that have been idle for a time. The request arrived just before and \
                 was in the receive queue, unread, at close(); its kernel answers that with an RST. The request was \
                 not processed."
            }
        }
    }
}

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Vec<Finding>) {
    let race_of = |broken: &Broken<'_>| match broken.fault {
        Fault::KeepaliveRace(race) => Some(race),
        _ => None,
    };
    for ((race, server, _), cases) in grouped(facts, race_of) {
        findings.push(finding(facts, thresholds, race, server, &cases));
    }
}

fn finding(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    race: Race,
    server: SocketAddr,
    cases: &[Broken<'_>],
) -> Finding {
    let server_idle = cases.iter().filter_map(Broken::server_idle_us);
    let (shortest, longest) = (server_idle.clone().min(), server_idle.max());
    let client_idle = cases.iter().filter_map(|case| case.http.exchange.timing.idle_us).min();
    let pids = cases.iter().map(|case| case.http.connection.process.as_deref().map(|process| process.pid));
    let kept = pids.filter_map(|pid| facts.history.exchanges().longest_kept_us(pid, server)).max();
    let announced = cases.iter().find_map(|case| announced_us(case.before?));
    let was = if cases.len() == 1 { "was" } else { "were" };
    let after = shortest.map_or(String::new(), |us| format!(": it closes after {} of idle time", Micros(us)));
    Finding {
        cause: Some(race.name().to_owned()),
        severity: thresholds.severity(cases.len()),
        summary: format!(
            "{} {} {was} sent {}{after}.",
            counted(cases.len(), "request"),
            between(cases, server),
            race.in_words(),
        ),
        evidence: Evidence::default()
            .and("requests", cases.len())
            .and_known("server_closed_after_idle_us", shortest)
            .and_known("at_most_us", longest.filter(|us| Some(*us) > shortest.map(|us| us * 2)))
            .and_known("server_announced_us", announced)
            .and_known("client_reused_after_idle_us", client_idle)
            .and_known("longest_idle_that_went_well_us", kept)
            .and_known("server", server_process(cases)),
        why: race.why().to_owned(),
        advice: advice(race, shortest),
        ..of(cases, note)
    }
}

fn advice(race: Race, server_idle: Option<u64>) -> String {
    let below = server_idle.map_or("below the server's".to_owned(), |us| {
        format!("well below the server's, which measured {}", Micros(us))
    });
    let look = match race {
        Race::AlreadyClosed => {
            " Let the pool test a connection before using it: readable while idle means closed."
        }
        Race::Crossed | Race::Unread => "",
    };
    format!(
        "Set the idle timeout of the client's connection pool {below}, or raise the server's keep-alive timeout above \
         the client's (behind a load balancer: above the balancer's).{look} Retry requests that may be repeated \
         (RFC 9110, section 9.2.2) on a new connection; retry POST only if the program knows that it is safe."
    )
}

/// `sent after 500 ms idle, 199 ms behind the server's end`.
fn note(case: &Broken<'_>) -> String {
    let idle = case.http.exchange.timing.idle_us.map(|us| format!("sent after {} idle", Micros(us)));
    let behind = case.ended.map(|ended| {
        let started = case.http.exchange.timing.started;
        match ended <= started {
            true => format!("{} after the server's close", Micros(started.micros_since(ended))),
            false => format!("{} before the server's close was seen", Micros(ended.micros_since(started))),
        }
    });
    let words: Vec<_> = idle.into_iter().chain(behind).collect();
    if words.is_empty() { "on a kept-alive connection".to_owned() } else { words.join(", ") }
}

/// What the response before said: `Keep-Alive: timeout=5`, in microseconds.
fn announced_us(before: &Http) -> Option<u64> {
    if says_close(before) {
        return Some(0);
    }
    let value = before.exchange.response.as_ref()?.headers.first("keep-alive")?;
    let mut parameters = std::str::from_utf8(value).ok()?.split(',');
    let timeout = parameters.find_map(|parameter| parameter.trim().strip_prefix("timeout="));
    let seconds: u64 = timeout?.trim().parse().ok()?;
    seconds.checked_mul(1_000_000)
}

#[cfg(test)]
#[path = "keepalive_race_tests.rs"]
mod tests;
