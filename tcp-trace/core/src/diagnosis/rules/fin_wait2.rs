//! FIN_WAIT2: this end has closed, and the peer does not.

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, Severity},
};

use super::super::{
    Facts, Findings, Thresholds,
    finding::{Case, Service, for_how_long, grouped, of, oldest, peers, who},
    snapshot::Socket,
};
use crate::prose::counted;

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    half_closed(facts, thresholds, findings);
    orphans(facts, thresholds, findings);
}

/// Since the peer acknowledged the FIN, in microseconds.
fn age_us(facts: &Facts<'_>, socket: &Socket) -> Option<u64> {
    facts.traced_age_us(socket).or_else(|| {
        let of = |socket: &Socket| Some(u64::from(socket.diag.info?.last_ack_recv_ms) * 1_000);
        facts.waiting_us(socket, of)
    })
}

/// A process has called shutdown() and waits for the peer's end: for ever, if need be.
fn half_closed(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let cases = facts.in_state(State::FinWait2).filter(|socket| !socket.has_no_file()).filter_map(|socket| {
        let age = age_us(facts, socket)?;
        let received_ms = socket.diag.info.map(|info| u64::from(info.last_data_recv_ms));
        let still_receives = received_ms.is_some_and(|ms| ms * 1_000 < thresholds.min_age_us);
        // That end is reported separately.
        let is_explained = facts
            .other_end(socket)
            .is_some_and(|other| matches!(other.state(), State::CloseWait | State::LastAck));
        // What the peer has to send first does not fit, where this end does not read.
        let is_explained = is_explained || socket.diag.rqueue > 0;
        let is_stuck = age >= thresholds.min_age_us && !still_receives && !is_explained;
        is_stuck.then(|| Case::new(socket, Some(age)))
    });
    let key = |case: &Case<'_>| (facts.owner_pid(case.socket), Service::of(facts, case.socket));
    for ((_, service), cases) in grouped(findings.unexplained(facts, cases).into_iter(), key) {
        let process = cases.first().and_then(|case| facts.owner(case.socket));
        let summary = format!(
            "{} of {}, {service}, in FIN_WAIT2 {}: shutdown() was called here and the peer does not close its end.",
            counted(cases.len(), "socket"),
            who(process),
            for_how_long(&cases),
        );
        let evidence = Evidence::default()
            .and("sockets", cases.len())
            .and_known("oldest_us", oldest(&cases))
            .and("peers", peers(&cases));
        findings.push(Finding {
            cause: Some("half_closed".to_owned()),
            severity: Severity::Warning,
            summary,
            evidence,
            why: "This process sent its FIN with shutdown() and keeps the socket open to read the rest. The peer \
                  got the FIN (it is acknowledged), and neither data nor its FIN has come since. Either its process has not \
                  closed (its socket is in CLOSE_WAIT then: ss there tells), or its FIN does not get through. After \
                  shutdown() no kernel timeout applies."
                .to_owned(),
            advice: "Look at the peer's socket and process. Here: set a read timeout after \
                     shutdown(), and call close() when it expires; after close() the kernel waits only 60 s \
                     (net.ipv4.tcp_fin_timeout)."
                .to_owned(),
            ..of(facts, cases)
        });
    }
}

/// Closed here and not there. The kernel forgets each after a minute: only very many are a fault.
fn orphans(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let is_orphan = |socket: &&Socket| socket.has_no_file() && !findings.explain(socket.connection());
    let orphans: Vec<_> = facts.in_state(State::FinWait2).filter(is_orphan).collect();
    let cases = orphans.into_iter().map(|socket| Case::new(socket, None));
    for (service, cases) in grouped(cases, |case| Service::of(facts, case.socket)) {
        if (cases.len() as u64) < thresholds.time_wait {
            continue;
        }
        cases.iter().for_each(|case| findings.claim_socket(facts, case.socket));
        let evidence = Evidence::default().and("sockets", cases.len()).and("peers", peers(&cases));
        findings.push(Finding {
            cause: Some("orphans".to_owned()),
            severity: Severity::Notice,
            summary: format!(
                "{}, {service}, in FIN_WAIT2: closed here, and their peers do not close.",
                counted(cases.len(), "socket")
            ),
            evidence,
            why: "The peers got the FIN and keep their ends open: they leak sockets in CLOSE_WAIT, or wait for \
                  something before they close. Here each one stays for net.ipv4.tcp_fin_timeout."
                .to_owned(),
            advice: "Look at the peers' processes. A shorter net.ipv4.tcp_fin_timeout saves memory and ports here."
                .to_owned(),
            ..of(facts, cases)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Host;

    fn host(seconds: u32) -> Host {
        let mut host = Host::new();
        let client = host.process(5, "client");
        host.socket(Some(client), State::FinWait2, "10.0.0.1:50000", "10.0.0.5:80").idle(seconds);
        host
    }

    #[test]
    fn a_half_close_that_the_peer_does_not_answer_is_reported() {
        let findings = host(90).judge("fin_wait2_stuck");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert!(
            finding.summary.starts_with("1 socket of client (pid 5), connected to 10.0.0.5:80, in FIN_WAIT2")
        );
        assert_eq!(finding.connections[0].age_us, Some(90_000_000));
    }

    #[test]
    fn one_that_is_young_or_still_receives_is_no_fault() {
        assert_eq!(host(59).judge("fin_wait2_stuck"), []);
        let mut host = host(90);
        host.snapshot.sockets[0].info().last_data_recv_ms = 1_000;
        assert_eq!(host.judge("fin_wait2_stuck"), []);
    }

    #[test]
    fn where_the_other_end_is_here_that_one_is_reported() {
        let mut host = host(90);
        let server = host.process(6, "server");
        host.socket(Some(server), State::CloseWait, "10.0.0.5:80", "10.0.0.1:50000").idle(90);
        assert_eq!(host.judge("fin_wait2_stuck"), []);
        assert_eq!(host.judge("close_wait").len(), 1);
    }

    #[test]
    fn orphans_are_reported_when_there_are_very_many() {
        let mut host = Host::new();
        host.listener(None, 0, 128);
        for port in 0..19_999 {
            host.accepted(None, State::FinWait2, 30_000 + port);
        }
        assert_eq!(host.judge("fin_wait2_stuck"), []);
        host.accepted(None, State::FinWait2, 1);
        assert_eq!(host.judge("fin_wait2_stuck")[0].cause.as_deref(), Some("orphans"));
    }
}
