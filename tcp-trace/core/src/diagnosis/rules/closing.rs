//! FIN_WAIT1, CLOSING and LAST_ACK: the FIN that this end sent, or the data before it, does not get through.

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, Severity},
    socket::Timer,
};

use super::{
    super::{
        Facts, Findings, Thresholds,
        finding::{Case, for_how_long, grouped, of, oldest, peers, who},
        snapshot::Socket,
        unanswered,
    },
    zero_window,
};
use crate::prose::{Size, counted};

/// Why the close does not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The peer takes no data: its window is closed.
    WindowClosed,
    /// The peer does not answer.
    NoAnswer,
}

/// FIN_WAIT1.
pub(super) fn fin_wait1(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, State::FinWait1, findings);
}

/// CLOSING.
pub(super) fn closing(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, State::Closing, findings);
}

/// LAST_ACK.
pub(super) fn last_ack(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, State::LastAck, findings);
}

fn judge(facts: &Facts<'_>, thresholds: &Thresholds, state: State, findings: &mut Findings) {
    let cases = facts.in_state(state).filter_map(|socket| {
        let (_, age) = stuck(facts, socket).filter(|(_, age)| *age >= thresholds.min_stall_us)?;
        Some(Case::new(socket, Some(age)))
    });
    let key = |case: &Case<'_>| {
        let cause = stuck(facts, case.socket).map_or(Cause::NoAnswer, |(cause, _)| cause);
        (facts.owner_pid(case.socket), cause, case.socket.diag.endpoints.peer.ip())
    };
    for ((_, cause, _), cases) in grouped(findings.unexplained(facts, cases).into_iter(), key) {
        findings.push(finding(facts, state, cause, cases));
    }
}

/// Why a socket does not get on, and for how long, if it does not.
fn stuck(facts: &Facts<'_>, socket: &Socket) -> Option<(Cause, u64)> {
    if let Some((_, age)) = unanswered::of(socket) {
        return Some((Cause::NoAnswer, age));
    }
    let info = socket.diag.info?;
    let is_closed = socket.diag.timer == Timer::Probe || info.snd_wnd == Some(0);
    let is_explained =
        || facts.other_end(socket).is_some_and(|other| zero_window::reads_not(facts, other).is_some());
    let waits = is_closed && socket.diag.wqueue > 1 && !is_explained();
    waits.then(|| (Cause::WindowClosed, zero_window::blocked_us(&info)))
}

fn finding(facts: &Facts<'_>, state: State, cause: Cause, cases: Vec<Case<'_>>) -> Finding {
    let process = cases.first().and_then(|case| facts.owner(case.socket));
    let unsent: u64 = cases.iter().map(|case| u64::from(case.socket.diag.wqueue.saturating_sub(1))).sum();
    let peer = cases.first().map(|case| case.socket.diag.endpoints.peer.ip().to_string()).unwrap_or_default();
    let whose = match process {
        Some(process) => format!(" of {}", who(Some(process))),
        None => ", which no process has open any more,".to_owned(),
    };
    // It may be in this state for less long.
    let time = for_how_long(&cases);
    let what = match cause {
        Cause::WindowClosed => {
            format!("{peer} has accepted no data {time}, {} waiting to be sent", Size(unsent))
        }
        Cause::NoAnswer => format!("{peer} has not answered {time}, {} not acknowledged", Size(unsent)),
    };
    let summary = format!("{}{whose} in {}: {what}.", counted(cases.len(), "socket"), state.name());
    let (why, advice) = match cause {
        Cause::WindowClosed => (
            "The process closed while data was still waiting to be sent. The peer's window is closed because its \
             process does not read, so the data and the FIN after it stay in this kernel's memory.",
            "Find out why the peer does not read. Here: set SO_LINGER or TCP_USER_TIMEOUT where a peer must not \
             hold memory for that long; net.ipv4.tcp_orphan_retries and tcp_max_orphans limit what closed sockets \
             may use.",
        ),
        Cause::NoAnswer => (
            "The FIN, or data before it, is retransmitted and never acknowledged: the peer's host is gone or was \
             restarted, or a firewall, NAT or load balancer in between has forgotten the connection and drops its \
             segments.",
            "The kernel gives up by itself (net.ipv4.tcp_orphan_retries: about 100 s). If it happens often, compare \
             idle timeouts: those of firewalls and load balancers in between must be longer than those of client \
             and server; or use keep-alive with a shorter interval.",
        ),
    };
    let retransmits = cases.iter().filter_map(|case| Some(case.socket.diag.info?.retransmits)).max();
    let evidence = Evidence::default()
        .and("sockets", cases.len())
        .and_known("oldest_us", oldest(&cases))
        .and_known("retransmits_in_a_row", retransmits.filter(|count| *count > 0).map(u64::from))
        .and("unacknowledged_bytes", unsent)
        .and("peers", peers(&cases));
    Finding {
        cause: Some(match cause {
            Cause::WindowClosed => "window_closed".to_owned(),
            Cause::NoAnswer => "no_answer".to_owned(),
        }),
        severity: Severity::Warning,
        summary,
        evidence,
        why: why.to_owned(),
        advice: advice.to_owned(),
        ..of(facts, cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Host;

    /// A socket in this state with 101 bytes not acknowledged, quiet for 30 s.
    fn host(state: State) -> Host {
        let mut host = Host::new();
        host.accepted(None, state, 40_000).idle(30).diag.wqueue = 101;
        host
    }

    #[test]
    fn an_unacknowledged_fin_is_reported_in_every_state() {
        for (state, code) in [
            (State::FinWait1, "fin_wait1_unsent"),
            (State::Closing, "closing_stuck"),
            (State::LastAck, "last_ack_stuck"),
        ] {
            let mut host = host(state);
            assert_eq!(host.judge(code), [], "it may take its time");
            let socket = &mut host.snapshot.sockets[0];
            socket.resending(6, 25_000);
            let findings = host.judge(code);
            let [finding] = findings.as_slice() else { panic!("{code}: {findings:#?}") };
            assert_eq!(finding.cause.as_deref(), Some("no_answer"));
            assert_eq!(finding.connections[0].age_us, Some(25_000_000));
            assert!(
                finding.summary.contains("10.0.0.9 has not answered for 25 s, 100 B"),
                "{}",
                finding.summary
            );
            host.snapshot.sockets[0].info().last_ack_recv_ms = 5_000;
            assert_eq!(host.judge(code), [], "an answer came lately");
        }
    }

    #[test]
    fn data_that_a_peer_does_not_take_is_reported() {
        let mut host = host(State::FinWait1);
        host.snapshot.sockets[0].diag.timer = Timer::Probe;
        let findings = host.judge("fin_wait1_unsent");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.cause.as_deref(), Some("window_closed"));
        host.snapshot.sockets[0].info().last_data_sent_ms = 3_000;
        assert_eq!(host.judge("fin_wait1_unsent"), []);
    }

    #[test]
    fn a_reader_on_this_host_that_does_not_read_is_reported_instead() {
        let mut host = host(State::FinWait1);
        host.snapshot.sockets[0].diag.timer = Timer::Probe;
        let slow = host.process(9, "slow");
        let reader = host.socket(Some(slow), State::Established, "10.0.0.9:40000", "10.0.0.1:8080").idle(30);
        (reader.diag.rqueue, reader.info().rcv_wnd) = (70_000, Some(0));
        assert_eq!(host.judge("fin_wait1_unsent"), []);
        assert_eq!(host.judge("zero_window").len(), 1);
    }
}
