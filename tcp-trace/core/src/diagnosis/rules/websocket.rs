//! WebSockets whose close was said, and whose TCP connection stays (RFC 6455, section 7.1.1): the server ends that first.

use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Evidence, Finding, FindingConnection, Severity, WebSocket},
};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{request, server_of},
    finding::{traced, who_named},
};
use crate::{prose::Age, timeline::Life};

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    for life in facts.history.open() {
        let Some(summary) = life.summary.as_deref() else { continue };
        let other = facts.other_life(summary.connection.id);
        // Where one side has sent its FIN, it has ended it.
        let is_established = |life: &Life| {
            let last = life.summary.as_ref().and_then(|summary| summary.states.last());
            last.is_some_and(|span| span.state == State::Established)
        };
        if ![Some(life), other].into_iter().flatten().all(is_established) {
            continue;
        }
        // The server's end reports, where it was traced.
        let is_reported = other.is_none() || life.role() == Some(Role::Server);
        if !is_reported || findings.explain(summary.connection.id) {
            continue;
        }
        let idle_us = idle_us(summary).filter(|us| *us >= thresholds.min_age_us);
        if let (Some(websocket), Some(idle_us)) = (websocket(life), idle_us)
            && let Some(finding) = finding(life, summary, websocket, idle_us)
        {
            findings.claim(facts, summary.connection.id);
            findings.push(finding);
        }
    }
}

fn websocket(life: &Life) -> Option<&WebSocket> {
    life.exchanges.back()?.exchange.websocket.as_deref()
}

/// For how long no data has passed, in microseconds, when the kernel says so.
fn idle_us(summary: &Connection) -> Option<u64> {
    let info = summary.socket.as_ref()?.tcp_info?;
    Some(u64::from(info.last_data_sent_ms.min(info.last_data_recv_ms)) * 1_000)
}

fn finding(life: &Life, summary: &Connection, websocket: &WebSocket, idle_us: u64) -> Option<Finding> {
    let http = life.exchanges.back()?;
    let (cause, what, why) = match (websocket.client.close > 0, websocket.server.close > 0) {
        (true, true) => (
            "not_ended",
            "both sides sent a Close frame",
            "After both Close frames the server ends the TCP connection, and a client that waits too long for that may \
             (RFC 6455, section 7.1.1). Neither has: both keep a socket for nothing.",
        ),
        (true, false) => (
            "close_unanswered",
            "the client sent a Close frame, and the server did not answer it",
            "An endpoint that receives a Close frame sends one back (RFC 6455, section 5.5.1). The server does not: its \
             program does not read the socket, or it ignores the frame.",
        ),
        (false, true) => (
            "close_unanswered",
            "the server sent a Close frame, and the client did not answer it",
            "An endpoint that receives a Close frame sends one back (RFC 6455, section 5.5.1). The client does not: it is \
             gone, suspended, or does not read.",
        ),
        (false, false) => return None,
    };
    let process = summary.connection.process.as_deref();
    Some(Finding {
        cause: Some(cause.to_owned()),
        severity: Severity::Warning,
        summary: format!(
            "A WebSocket of {} (server {}) is closed, but its TCP connection is still open after {}: {what}.",
            who_named(process),
            server_of(http),
            Age(idle_us),
        ),
        evidence: Evidence::default().and("sockets", 1_u64).and("idle_us", idle_us),
        why: why.to_owned(),
        advice: "Let the server's library close the socket after the closing handshake, and give both sides a timeout for \
                 it."
        .to_owned(),
        process: process.cloned(),
        connections: vec![FindingConnection {
            age_us: Some(idle_us),
            notes: vec![request(http)],
            ..traced(summary)?
        }],
        ..Finding::default()
    })
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{
        record::{By, Frames, How, KernelSocket},
        socket::TcpInfo,
    };

    use super::*;
    use crate::diagnosis::{
        testing::Host,
        testing_http::{exchange, lived, summary},
    };

    fn found(client: u64, server: u64, idle_ms: u32) -> Vec<Finding> {
        found_in(State::Established, client, server, idle_ms)
    }

    fn found_in(state: State, client: u64, server: u64, idle_ms: u32) -> Vec<Finding> {
        let mut http = exchange(Role::Server, 0, 0);
        let frames = |close| Frames { close, ..Frames::default() };
        http.exchange.websocket =
            Some(Box::new(WebSocket { client: frames(client), server: frames(server) }));
        let mut end = summary(Role::Server, By::None, How::Open);
        end.states[0].state = state;
        let info = TcpInfo { last_data_sent_ms: idle_ms, last_data_recv_ms: idle_ms, ..TcpInfo::default() };
        end.socket = Some(Box::new(KernelSocket { tcp_info: Some(info), ..KernelSocket::default() }));
        Host::new().judge_with("websocket_not_closed", &lived(Vec::new(), vec![http], end))
    }

    #[test]
    fn what_was_closed_and_stays_is_reported() {
        for (client, server, cause) in
            [(1, 1, "not_ended"), (1, 0, "close_unanswered"), (0, 1, "close_unanswered")]
        {
            assert_eq!(found(client, server, 90_000)[0].cause.as_deref(), Some(cause));
        }
    }

    #[test]
    fn one_that_is_in_use_or_just_closed_is_fine() {
        assert_eq!(found(0, 0, 90_000), []);
        assert_eq!(found(1, 1, 500), []);
        // One side has ended it: what is left is no matter of WebSocket.
        for state in [State::FinWait2, State::CloseWait, State::LastAck] {
            assert_eq!(found_in(state, 1, 1, 90_000), []);
        }
    }
}
