//! A socket that is connected to itself: a connect to an ephemeral port of this host was given that same port.

use tcp_trace_model::record::{Evidence, Finding, Severity};

use super::super::{
    Facts, Findings, Thresholds,
    finding::{Case, of, traced, who, who_named},
    snapshot::Socket,
};

const WHY: &str = "The program connects, again and again, to a port of this host in the ephemeral range while nothing listens \
                   there. When the kernel chooses just that port as the local one, the socket meets its own SYN (a \
                   simultaneous open, RFC 9293, section 3.5) and is connected to itself: it reads what it writes. The \
                   server that should listen cannot bind the port meanwhile (EADDRINUSE).";
const ADVICE: &str = "Move the server's port out of net.ipv4.ip_local_port_range, or add it to \
                      net.ipv4.ip_local_reserved_ports. The client can compare getsockname() with getpeername() after \
                      connect(), and close.";

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, _: &Thresholds, findings: &mut Findings) {
    let is_it = |socket: &Socket| {
        let ends = socket.diag.endpoints;
        ends.local == ends.peer && ends.peer.port() != 0
    };
    let now = facts.chosen().filter(|socket| is_it(socket) && !socket.has_no_file());
    for case in findings.unexplained(facts, now.map(|socket| Case::new(socket, None))) {
        let (process, ends) = (facts.owner(case.socket), case.socket.diag.endpoints);
        findings.push(finding(&who(process), &ends.local.to_string(), of(facts, vec![case])));
    }
    for summary in facts.history.ended().filter_map(|life| life.summary.as_deref()) {
        let Some(network) = summary.connection.network else { continue };
        let is_itself = network.local == network.peer && network.local.port != 0;
        if is_itself && !findings.explain(summary.connection.id) {
            findings.claim(facts, summary.connection.id);
            let process = summary.connection.process.as_deref();
            let at = network.endpoints().local.to_string();
            let rest = Finding {
                process: process.cloned(),
                connections: traced(summary).into_iter().collect(),
                ..Finding::default()
            };
            findings.push(finding(&who_named(process), &at, rest));
        }
    }
}

fn finding(who: &str, at: &str, rest: Finding) -> Finding {
    Finding {
        cause: Some("simultaneous_open".to_owned()),
        severity: Severity::Warning,
        summary: format!("A socket of {who} is connected to itself: both ends are {at}."),
        evidence: Evidence::default().and("sockets", 1_u64),
        why: WHY.to_owned(),
        advice: ADVICE.to_owned(),
        ..rest
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::event::State;

    use crate::diagnosis::testing::Host;

    #[test]
    fn a_socket_that_is_its_own_peer_is_reported() {
        let mut host = Host::new();
        let client = host.process(5, "client");
        host.socket(Some(client), State::Established, "127.0.0.1:40000", "127.0.0.1:40000");
        let findings = host.judge("self_connected");
        let expected = "A socket of client (pid 5) is connected to itself: both ends are 127.0.0.1:40000.";
        assert_eq!(findings[0].summary, expected);
    }

    #[test]
    fn other_ports_addresses_and_listeners_are_fine() {
        let mut host = Host::new();
        let client = host.process(5, "client");
        host.socket(Some(client), State::Established, "127.0.0.1:40000", "127.0.0.1:40001");
        host.socket(Some(client), State::Established, "127.0.0.1:40000", "127.0.0.2:40000");
        host.socket(Some(client), State::Listen, "0.0.0.0:0", "0.0.0.0:0");
        assert_eq!(host.judge("self_connected"), []);
    }
}
