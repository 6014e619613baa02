//! Established connections that the kernel gave up because the peer did not answer any more, beside those that carried a request
//! that failed by it.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace_model::{
    event::State,
    record::{Connection, Evidence, Finding, How, Text},
};

use super::super::{
    Facts, Findings, Thresholds,
    attempts::is_unreachable,
    exchange_findings::whose,
    finding::{of_first, traced},
};
use crate::{prose::counted, timeline::Life};

/// What was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Probes, of a connection with nothing to acknowledge.
    KeepAlive,
    /// The FIN.
    Fin,
    /// Data.
    Data,
    /// The peer's window was closed: it may have answered every probe, or none.
    WindowClosed,
    /// It is not known.
    Anything,
    /// The network said that the host cannot be reached.
    Unreachable,
}

impl Cause {
    fn of(summary: &Connection) -> Option<Self> {
        let was = |state| summary.states.iter().any(|span| span.state == state);
        let was_closed = summary.zero_window.is_some_and(|window| window.peer_us > 0);
        let is_closing = [State::FinWait1, State::LastAck, State::Closing].into_iter().any(was);
        match summary.close.how {
            _ if !was(State::Established) && !was(State::CloseWait) => None,
            // Of a FIN or data behind a closed window nothing may have been sent.
            How::Timeout
                if was_closed && (is_closing || summary.close.unacknowledged.is_none_or(|it| it == 0)) =>
            {
                Some(Self::WindowClosed)
            }
            How::Timeout if is_closing => Some(Self::Fin),
            How::Timeout => Some(match summary.close.unacknowledged {
                Some(0) => Self::KeepAlive,
                None => Self::Anything,
                Some(_) => Self::Data,
            }),
            _ if is_unreachable(summary) => Some(Self::Unreachable),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep_alive_unanswered",
            Self::Fin => "fin_unanswered",
            Self::Data => "data_unanswered",
            Self::WindowClosed => "window_closed",
            Self::Anything => "unanswered",
            Self::Unreachable => "unreachable",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::KeepAlive => "ended with ETIMEDOUT: the peer did not answer probes, usually keep-alive",
            Self::Fin => "ended with ETIMEDOUT: the peer did not acknowledge the close",
            Self::Data => "ended with ETIMEDOUT: the peer did not acknowledge the data",
            Self::WindowClosed => {
                "ended with ETIMEDOUT: the peer had taken no data for a time, or did not answer"
            }
            Self::Anything => "ended with ETIMEDOUT: the peer did not answer, or took no data",
            Self::Unreachable => "ended because the peer could not be reached",
        }
    }
}

impl Cause {
    fn why(self) -> &'static str {
        match self {
            Self::WindowClosed => {
                "The peer's window was closed. Either it went on answering, and TCP_USER_TIMEOUT, or the limit for connections \
                 that no process has open any more, was over: then its process does not read. Or probes, or the data, went \
                 unanswered: then its host, or the path to it, is gone."
            }
            Self::Anything => {
                "The peer's host is down, was restarted or lost its network, or a firewall, NAT or load balancer in between has \
                 silently dropped the connection; or the peer took no data for as long as TCP_USER_TIMEOUT allows."
            }
            Self::KeepAlive | Self::Fin | Self::Data | Self::Unreachable => {
                "The peer's host is down, was restarted or lost its network, or a firewall, NAT or load balancer in between has \
                 silently dropped the connection."
            }
        }
    }
}

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let mut groups = BTreeMap::<(Cause, SocketAddr, Option<&Text>), Vec<&Connection>>::new();
    for life in facts.history.ended() {
        let Some(summary) = life.summary.as_deref() else { continue };
        let (Some(cause), Some(network)) = (Cause::of(summary), summary.connection.network) else { continue };
        if !is_explained(facts, life, findings) {
            let key = (cause, network.endpoints().peer, summary.connection.program());
            groups.entry(key).or_default().push(summary);
        }
    }
    for ((cause, peer, _), cases) in groups {
        cases.iter().for_each(|summary| findings.claim(facts, summary.connection.id));
        findings.push(finding(thresholds, cause, peer, &cases));
    }
}

fn is_explained(facts: &Facts<'_>, life: &Life, findings: &Findings) -> bool {
    findings.explain(life.connection)
        || life.exchanges.iter().any(|http| findings.explain_exchange(facts, http))
}

fn finding<'a>(thresholds: &Thresholds, cause: Cause, peer: SocketAddr, cases: &[&'a Connection]) -> Finding {
    let process = |case: &&'a Connection| case.connection.process.as_deref();
    let of = whose(cases.iter().filter_map(process));
    let retransmits: u64 = cases.iter().map(|case| case.retransmits).sum();
    Finding {
        cause: Some(cause.name().to_owned()),
        severity: thresholds.severity(cases.len()),
        summary: format!("{} of {of} with {peer} {}.", counted(cases.len(), "connection"), cause.in_words()),
        evidence: Evidence::default()
            .and("connections", cases.len())
            .and_known("error", cases.iter().find_map(|case| case.close.reason.clone()))
            .and_known("segments_sent_again", (retransmits > 0).then_some(retransmits)),
        why: cause.why().to_owned(),
        advice: "Check that the peer can be reached. Idle timeouts of firewalls and load balancers in between must be \
                 longer than those of client and server, or keep-alive probes more frequent than them."
            .to_owned(),
        explain: if cause == Cause::KeepAlive { "tcp-keepalive".to_owned() } else { String::new() },
        ..of_first(cases, process, |case| traced(case))
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{
        event::Role,
        record::{By, StateSpan, ZeroWindow},
    };

    use super::*;
    use crate::diagnosis::{
        testing::Host,
        testing_http::{lived, summary},
    };

    fn died(how: How, reason: &str, unacknowledged: impl Into<Option<u32>>) -> Connection {
        let mut summary = summary(Role::Client, By::None, how);
        (summary.close.reason, summary.close.unacknowledged) =
            (Some(reason.to_owned()), unacknowledged.into());
        // It may have been long ago.
        summary.retransmits = 1;
        summary
    }

    fn cause(summary: Connection) -> Option<String> {
        let findings = Host::new().judge_with("connection_died", &lived(Vec::new(), Vec::new(), summary));
        findings.first().and_then(|finding| finding.cause.clone())
    }

    #[test]
    fn what_was_not_answered_is_reported() {
        let cause_of = |how, reason, unacknowledged: Option<u32>| cause(died(how, reason, unacknowledged));
        assert_eq!(cause_of(How::Timeout, "ETIMEDOUT", Some(0)).as_deref(), Some("keep_alive_unanswered"));
        assert_eq!(cause_of(How::Timeout, "ETIMEDOUT", Some(9)).as_deref(), Some("data_unanswered"));
        assert_eq!(cause_of(How::Timeout, "ETIMEDOUT", None).as_deref(), Some("unanswered"));
        assert_eq!(cause_of(How::Error, "EHOSTUNREACH", None).as_deref(), Some("unreachable"));
        let mut full = died(How::Timeout, "ETIMEDOUT", 0);
        full.zero_window = Some(ZeroWindow { local_us: 0, peer_us: 1 });
        assert_eq!(cause(full).as_deref(), Some("window_closed"), "the probes may have been answered");
        let mut closing = died(How::Timeout, "ETIMEDOUT", 5);
        let span = StateSpan { state: State::FinWait1, ..closing.states[0].clone() };
        closing.states.push(span);
        assert_eq!(cause(closing.clone()).as_deref(), Some("fin_unanswered"));
        closing.zero_window = Some(ZeroWindow { local_us: 0, peer_us: 30_000_000 });
        assert_eq!(cause(closing).as_deref(), Some("window_closed"), "no FIN may have been sent");
    }

    #[test]
    fn other_ends_and_connects_are_not() {
        assert_eq!(cause(died(How::Fin, "ETIMEDOUT", 0)), None);
        assert_eq!(cause(died(How::Error, "ECONNABORTED", 0)), None);
        let mut connect = died(How::Timeout, "ETIMEDOUT", 6);
        connect.states[0].state = State::SynSent;
        assert_eq!(cause(connect), None);
    }
}
