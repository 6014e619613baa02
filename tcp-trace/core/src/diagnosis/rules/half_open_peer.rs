//! Half-open connections: this end believes that it is connected, and the peer does not answer any more.

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, Severity},
};

use super::super::{
    Facts, Findings, Thresholds,
    finding::{Case, Service, for_how_long, grouped, of, oldest, who},
    snapshot::Socket,
    unanswered::{self, Unanswered},
};
use crate::prose::counted;

/// States of connections that are in use. In those after a FIN of ours there are rules of their own.
const IN_USE: [State; 3] = [State::Established, State::CloseWait, State::FinWait2];

const NEVER_ANSWERED: &str = "Nothing that was sent on this connection was ever acknowledged: the peer's accept queue may be full, so \
                              that its kernel drops the last segment of the handshake and what comes behind it. Else: ";

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let cases = facts.chosen().filter(|socket| IN_USE.contains(&socket.state())).filter_map(|socket| {
        let (_, age) = unanswered::of(socket).filter(|(_, age)| *age >= thresholds.min_stall_us)?;
        Some(Case::new(socket, Some(age)))
    });
    let key = |case: &Case<'_>| {
        let what = unanswered::of(case.socket).map(|(what, _)| what);
        (facts.owner_pid(case.socket), Service::of(facts, case.socket), what, is_unused(case.socket))
    };
    let cases = findings.unexplained(facts, cases);
    for ((_, service, what, is_unused), cases) in grouped(cases.into_iter(), key) {
        let Some(what) = what else { continue };
        findings.push(finding(facts, service, what, is_unused, cases));
    }
}

/// Whether nothing was acknowledged but the SYN, and nothing came: the peer's kernel may not have completed the handshake.
fn is_unused(socket: &Socket) -> bool {
    let has_retried = matches!(unanswered::of(socket), Some((Unanswered::Segments, _)));
    has_retried && socket.diag.info.is_some_and(|info| info.bytes_acked <= 1 && info.bytes_received == 0)
}

fn finding(
    facts: &Facts<'_>,
    service: Service,
    what: Unanswered,
    is_unused: bool,
    cases: Vec<Case<'_>>,
) -> Finding {
    let process = cases.first().and_then(|case| facts.owner(case.socket));
    // Of probes only the last answer is dated: before the first probe the peer had nothing to answer.
    let (cause, has_not, in_words) = match what {
        Unanswered::Segments => {
            ("data_unanswered", "has not answered", "data is retransmitted again and again")
        }
        Unanswered::KeepAlive => {
            ("keep_alive_unanswered", "has sent nothing", "keep-alive probes get no answer")
        }
        Unanswered::WindowProbes => {
            ("window_probes_unanswered", "has sent nothing", "probes of its closed window get no answer")
        }
    };
    let tries = cases.iter().filter_map(|case| case.socket.diag.info);
    let tries = tries.map(|info| info.retransmits.max(info.probes)).max().map(u64::from);
    let unacknowledged: u64 = cases.iter().map(|case| u64::from(case.socket.diag.wqueue)).sum();
    Finding {
        cause: Some(cause.to_owned()),
        severity: Severity::Warning,
        summary: format!(
            "The peer of {} of {}, {service}, {has_not} {}: {in_words}.",
            counted(cases.len(), "socket"),
            who(process),
            for_how_long(&cases),
        ),
        evidence: Evidence::default()
            .and("sockets", cases.len())
            .and_known("oldest_us", oldest(&cases))
            .and_known("tries", tries)
            .and_known("unacknowledged_bytes", (unacknowledged > 0).then_some(unacknowledged)),
        why: format!(
            "{}The peer's host crashed, was restarted or lost its network, or a firewall, NAT or load balancer in between has \
             silently dropped the connection. Until the kernel gives up, the process here waits: 15 minutes for data \
             (net.ipv4.tcp_retries2), longer for keep-alive with its defaults.",
            if is_unused { NEVER_ANSWERED } else { "" },
        ),
        advice: "Check that the peer can be reached. To notice earlier, set TCP_USER_TIMEOUT for data and SO_KEEPALIVE \
                 with TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT for idle connections, below the idle timeout of \
                 whatever is in between; and give requests a timeout in the application."
            .to_owned(),
        explain: if what == Unanswered::KeepAlive { "tcp-keepalive".to_owned() } else { String::new() },
        ..of(facts, cases)
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::socket::Timer;

    use super::*;
    use crate::diagnosis::testing::Host;

    fn host(timer: Timer, seconds: u32) -> Host {
        let mut host = Host::new();
        let client = host.process(5, "client");
        let socket =
            host.socket(Some(client), State::Established, "10.0.0.1:50000", "10.0.0.5:80").idle(seconds);
        socket.resending(7, seconds * 1_000).diag.timer = timer;
        socket.info().probes = 4;
        host
    }

    #[test]
    fn whatever_is_not_answered_is_reported() {
        for (timer, cause) in [
            (Timer::Retransmit, "data_unanswered"),
            (Timer::KeepAlive, "keep_alive_unanswered"),
            (Timer::Probe, "window_probes_unanswered"),
        ] {
            let findings = host(timer, 30).judge("half_open_peer");
            let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
            assert_eq!(finding.cause.as_deref(), Some(cause));
            assert_eq!(finding.connections[0].age_us, Some(30_000_000));
        }
    }

    #[test]
    fn where_nothing_was_ever_acknowledged_a_full_accept_queue_is_named_first() {
        for (acknowledged, received, is_named) in [(1, 0, true), (101, 0, false), (1, 40, false)] {
            let mut host = host(Timer::Retransmit, 30);
            let info = host.snapshot.sockets[0].info();
            (info.bytes_acked, info.bytes_received) = (acknowledged, received);
            let finding = host.judge("half_open_peer").remove(0);
            assert_eq!(finding.why.contains("accept queue"), is_named, "{}", finding.why);
        }
    }

    #[test]
    fn what_was_answered_lately_is_no_fault() {
        assert_eq!(host(Timer::Retransmit, 9).judge("half_open_peer"), []);
        let mut host = host(Timer::Retransmit, 30);
        host.snapshot.sockets[0].info().last_ack_recv_ms = 100;
        assert_eq!(host.judge("half_open_peer"), []);
        host.snapshot.sockets[0].diag.timer = Timer::None;
        assert_eq!(host.judge("half_open_peer"), []);
    }
}
