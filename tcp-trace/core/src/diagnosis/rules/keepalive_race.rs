//! Requests that came onto connections that the server was closing. Both idle times are measured: after how long the
//! server closes, and after how long the client still uses a connection.

use std::net::SocketAddr;

use tcp_trace_model::record::{Evidence, Finding, Http};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{between, grouped, of, passed_on, server_process},
    failed_exchanges::{Because, FailedExchange, Fault, Race},
    resets::Origin,
};
use crate::prose::{Micros, counted};

/// What to do where the server stopped.
pub(super) const OF_STOP: &str = "Where the server stops on purpose (a deployment), let it drain: answer the last requests with \
                                  Connection: close before it ends. If it was not on purpose, its log and exit status say why.";

/// How the request and the close met, and why the server closed.
type Key = (Race, Because);

fn name((race, because): Key) -> &'static str {
    match (because, race) {
        (Because::Stopped, _) => "server_stopped",
        (Because::Destroyed, _) => "socket_destroyed",
        (Because::AtOnce, _) => "server_closed_many",
        (_, Race::AlreadyClosed) => "already_closed",
        (_, Race::Crossed) => "crossed",
        (_, Race::Unread) => "request_unread",
    }
}

fn in_words((race, because): Key) -> &'static str {
    match (because, race) {
        (Because::Stopped, Race::AlreadyClosed) => {
            "on a kept-alive connection that the server had already closed when it stopped"
        }
        (Because::Stopped, _) => {
            "on a kept-alive connection that the server closed just then, because it stopped"
        }
        (Because::Destroyed, _) => {
            "on a kept-alive connection whose socket at the server had been destroyed from outside"
        }
        (Because::AtOnce, Race::AlreadyClosed) => {
            "on a kept-alive connection that the server had already closed, together with others"
        }
        (Because::AtOnce, _) => {
            "on a kept-alive connection that the server closed just then, together with others"
        }
        (_, Race::AlreadyClosed) => "on a kept-alive connection that the server had already closed",
        (_, Race::Crossed) => "on a kept-alive connection that the server was just closing",
        (_, Race::Unread) => "on a kept-alive connection that the server closed with the request unread",
    }
}

fn why((race, because): Key) -> String {
    let closed = closed(because);
    let met = match race {
        Race::AlreadyClosed => {
            "Its FIN or RST had reached this client's kernel, but the client did not check before it sent the next \
             request: the server's kernel no longer has a reader for it and answers with an RST."
        }
        Race::Crossed => {
            "Its FIN was on its way when the request was sent; no client can see that. The server's kernel no longer has \
             a reader for the request and answers with an RST."
        }
        Race::Unread => {
            "The request arrived just before and was in the receive queue, unread, at close(); its kernel answers that \
             with an RST."
        }
    };
    format!("{closed} {met} The request was not processed.")
}

/// Why the server closed.
pub(super) fn closed(because: Because) -> &'static str {
    match because {
        Because::Idle => "The server closed the connection while it was idle, as servers do after a time.",
        Because::IdleOrStopped => {
            "The server closed the connection while it was idle: after its keep-alive timeout, or because it stopped or \
             was restarted. Whether several connections were closed after the same idle time, or all at once, tells which."
        }
        Because::Stopped => {
            "The server stopped: its process ended, or closed its listener and its connections at the same time. That \
             the connection was idle is not why it was closed."
        }
        Because::AtOnce => {
            "The server's process closed connections at the same moment that had been idle for different times: it was reloaded, \
             restarted or told to drain (nginx -s reload, HAProxy's soft stop), or makes room for others. That this one was idle \
             for so long is not why it was closed."
        }
        Because::Destroyed => {
            "The server's socket was destroyed from outside its process (ECONNABORTED): by an administrator with \
             `ss -K`, or by a program that does the same."
        }
    }
}

/// The rule.
pub(in super::super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let race_of = |failed: &FailedExchange<'_>| match failed.fault {
        Fault::KeepaliveRace(race, because) => Some((race, because)),
        _ => None,
    };
    for ((key, server, _), cases) in grouped(facts, findings, race_of) {
        findings.push(finding(facts, thresholds, key, server, &cases));
    }
}

fn finding(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    key: Key,
    server: SocketAddr,
    cases: &[FailedExchange<'_>],
) -> Finding {
    let is_by_time = matches!(key.1, Because::Idle | Because::IdleOrStopped);
    let server_idle = cases.iter().filter_map(FailedExchange::server_idle_us).filter(|_| is_by_time);
    let (shortest, longest) = (server_idle.clone().min(), server_idle.max());
    let client_idle = cases.iter().filter_map(|case| case.http.exchange.timing.idle_us).min();
    let pids = cases.iter().map(|case| case.http.connection.process.as_deref().map(|process| process.pid));
    let kept = pids.filter_map(|pid| facts.history.exchanges().longest_kept_us(pid, server)).max();
    let announced = cases.iter().find_map(|case| announced_us(case.before?));
    let was = if cases.len() == 1 { "was" } else { "were" };
    // One case is no habit.
    let closes = if cases.len() == 1 { "it closed" } else { "it closes" };
    let after = shortest.map_or(String::new(), |us| format!(": {closes} after {} of idle time", Micros(us)));
    Finding {
        cause: Some(name(key).to_owned()),
        severity: thresholds.severity(cases.len()),
        summary: format!(
            "{} {} {was} sent {}{after}.",
            counted(cases.len(), "request"),
            between(cases, server),
            in_words(key),
        ),
        evidence: Evidence::default()
            .and("requests", cases.len())
            .and_known("server_closed_after_idle_us", shortest)
            .and_known("at_most_us", longest.filter(|us| Some(*us) > shortest.map(|us| us * 2)))
            .and_known("server_announced_us", announced)
            .and_known("client_reused_after_idle_us", client_idle)
            .and_known("longest_idle_that_went_well_us", kept)
            .and_known("server", server_process(cases))
            .and_known("passed_on_by", passed_on(facts, cases.iter().map(|case| case.http))),
        why: why(key),
        advice: advice(key, shortest),
        ..of(cases, note)
    }
}

fn advice((race, because): Key, server_idle: Option<u64>) -> String {
    let look = match race {
        Race::AlreadyClosed => {
            "Let the pool test a connection before using it: readable while idle means closed. "
        }
        Race::Crossed | Race::Unread => "",
    };
    let first = match because {
        Because::Idle | Because::IdleOrStopped => {
            let below = server_idle.map_or("below the server's".to_owned(), |us| {
                format!("well below the server's, which measured {}", Micros(us))
            });
            format!(
                "Set the idle timeout of the client's connection pool {below}, or raise the server's keep-alive timeout \
                 above the client's (behind a load balancer: above the balancer's). "
            )
        }
        Because::Stopped | Because::AtOnce => format!("{OF_STOP} "),
        Because::Destroyed => Origin::Destroyed.advice().to_owned() + " ",
    };
    format!(
        "{first}{look}Retry requests that may be repeated (RFC 9110, section 9.2.2) on a new connection; retry POST only \
         if the program knows that it is safe."
    )
}

/// `sent after 500 ms idle, 199 ms behind the server's end`.
fn note(case: &FailedExchange<'_>) -> String {
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
    let value = before.exchange.response.as_ref()?.headers.first("keep-alive")?;
    let mut parameters = std::str::from_utf8(value).ok()?.split(',');
    let timeout = parameters.find_map(|parameter| parameter.trim().strip_prefix("timeout="));
    let seconds: u64 = timeout?.trim().parse().ok()?;
    seconds.checked_mul(1_000_000)
}

#[cfg(test)]
#[path = "keepalive_race_tests.rs"]
mod tests;
