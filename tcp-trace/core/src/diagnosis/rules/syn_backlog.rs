//! Half-open connections that pile up at a listener: a SYN flood, or clients that the answer does not reach.

use std::collections::{BTreeMap, BTreeSet};

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, Severity},
};

use super::{
    super::{
        Facts, Findings, Thresholds,
        finding::{Case, of, peers, who},
    },
    accept_queue,
};
use crate::prose::counted;

/// `net.ipv4.tcp_syncookies` that sends them for every SYN.
const ALWAYS_COOKIES: u64 = 2;

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let mut by_listener = BTreeMap::<(u32, u16), Vec<Case<'_>>>::new();
    for socket in facts.in_state(State::SynRecv) {
        let key = (socket.netns, socket.diag.endpoints.local.port());
        by_listener.entry(key).or_default().push(Case::new(socket, None));
    }
    let mut reported = BTreeSet::new();
    for ((netns, _), cases) in by_listener {
        let finding = of_listener(facts, thresholds, cases);
        reported.extend(finding.is_some().then_some(netns));
        findings.extend(finding);
    }
    // Counters cover a whole namespace: they say nothing about a few selected sockets.
    if facts.now.sockets.iter().all(|socket| socket.is_chosen) {
        // A full accept queue makes the kernel send cookies too.
        let listeners = facts.in_state(State::Listen);
        let full = listeners.filter(|it| findings.explain(it.connection())).map(|it| it.netns);
        reported.extend(full);
        let rest = facts.now.networks.iter().filter(|network| !reported.contains(&network.netns));
        let found: Vec<_> = rest.filter_map(|network| overflowed(facts, network.netns)).collect();
        findings.extend(found);
    }
}

/// A backlog that was full meanwhile, as the kernel counts it.
fn overflowed(facts: &Facts<'_>, netns: u32) -> Option<Finding> {
    let growth = |name| facts.growth(netns, name).unwrap_or_default();
    let (cookies, dropped) = (growth("SyncookiesSent"), growth("TCPReqQFullDrop"));
    if cookies + dropped == 0 || facts.network(netns)?.syncookies == Some(ALWAYS_COOKIES) {
        return None;
    }
    let what = match dropped {
        0 => format!("sent {}", counted(cookies, "SYN cookie")),
        _ => format!("dropped {}", counted(dropped, "SYN")),
    };
    Some(Finding {
        cause: Some("overflowed".to_owned()),
        severity: Severity::Warning,
        summary: format!("The backlog of a listener in network namespace {netns} was full during the trace: the \
                          kernel {what}."),
        evidence: Evidence::default()
            .and("cookies_sent", cookies)
            .and("cookies_that_came_back_wrong", growth("SyncookiesFailed"))
            .and("dropped", dropped),
        why: "More handshakes were under way at once than the listener's backlog holds: a SYN flood, or a burst of real \
              clients at a small backlog. With SYN cookies they still get through; without, their SYNs are dropped."
            .to_owned(),
        advice: "Raise the argument of listen() and net.core.somaxconn; the kernel log names the port. \
                 net.ipv4.tcp_syncookies=1 keeps listeners reachable."
            .to_owned(),
        ..Finding::default()
    })
}

fn of_listener(facts: &Facts<'_>, thresholds: &Thresholds, cases: Vec<Case<'_>>) -> Option<Finding> {
    let listener = facts.listener_of(cases.first()?.socket)?;
    if accept_queue::is_full(facts, listener) {
        // Then the kernel ignores the last segment of each handshake: that is reported for the queue.
        return None;
    }
    let (total, limit) = (cases.len() as u64, u64::from(listener.diag.wqueue));
    let unanswered = cases.iter().filter(|case| case.socket.diag.retransmits > 0).count() as u64;
    let is_full = total >= limit.max(1) && unanswered > 0;
    if unanswered < thresholds.half_open && !is_full {
        return None;
    }
    let sources: BTreeSet<_> = cases.iter().map(|case| case.socket.diag.endpoints.peer.ip()).collect();
    let is_spread = sources.len() as u64 * 2 >= total;
    let network = facts.network(listener.netns);
    let growth = |name| facts.growth(listener.netns, name);
    let at = listener.diag.endpoints.local;
    let summary = format!(
        "{unanswered} of {} under way at {at} of {} left the SYN+ACK unanswered; they are from {}{}.",
        counted(cases.len(), "handshake"),
        who(facts.owner(listener)),
        counted(sources.len(), "address"),
        if is_full { format!("; the backlog of {limit} is full") } else { String::new() },
    );
    let (why, advice) = if is_spread {
        (
            "SYNs come from many addresses that had not answered the SYN+ACK: a SYN flood with forged source addresses, \
             or real clients that the SYN+ACKs do not reach (a route or firewall that works in one direction only).",
            "net.ipv4.tcp_syncookies=1 keeps the listener reachable while its backlog is full. Check whether the \
             addresses are real clients; if so, check the path back to them. If not, filter upstream.",
        )
    } else {
        (
            "A few addresses send SYNs and had not answered the SYN+ACK: a scanner, a health check that sends only a SYN, \
             or a client that the SYN+ACK does not reach (a route or firewall that works in one direction only).",
            "Check these clients: do SYN+ACKs arrive there (tcpdump)? If they are unwanted, limit SYNs per source \
             in the firewall.",
        )
    };
    Some(Finding {
        cause: Some(if is_spread { "many_sources" } else { "few_sources" }.to_owned()),
        // Many handshakes may be under way at once, and be quick.
        severity: if is_full && unanswered * 2 >= total { Severity::Critical } else { Severity::Warning },
        summary,
        evidence: Evidence::default()
            .and("half_open", total)
            .and("unanswered", unanswered)
            .and("backlog", limit)
            .and("sources", sources.len())
            .and_known("syn_cookies", network.and_then(|network| network.syncookies))
            .and_known("cookies_sent", growth("SyncookiesSent"))
            .and_known("backlog_full_drops", growth("TCPReqQFullDrop"))
            .and("peers", peers(&cases)),
        why: why.to_owned(),
        advice: advice.to_owned(),
        ..of(facts, vec![Case::new(listener, None)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{History, testing::Host};

    /// Half-open connections from this many addresses, each with this many retransmitted SYN+ACKs.
    fn host(count: u16, sources: u16, retransmits: u8, limit: u32) -> Host {
        let mut host = Host::new();
        let api = host.process(812, "api");
        host.listener(Some(api), 0, limit);
        for number in 0..count {
            let peer = format!("10.1.{}.7:{}", number % sources, 1_000 + number);
            host.socket(None, State::SynRecv, "10.0.0.1:8080", &peer).diag.retransmits = retransmits;
        }
        host
    }

    #[test]
    fn a_flood_is_reported_by_its_sources() {
        let findings = host(200, 200, 2, 4096).judge("syn_backlog");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        // The kernel does not send the SYN+ACK again while it waits for data.
        assert!(!finding.why.contains("TCP_DEFER_ACCEPT"), "{}", finding.why);
        assert_eq!((finding.cause.as_deref(), finding.severity), (Some("many_sources"), Severity::Warning));
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(812));
        let findings = host(200, 2, 2, 128).judge("syn_backlog");
        assert_eq!(findings[0].cause.as_deref(), Some("few_sources"));
        assert_eq!(findings[0].severity, Severity::Critical, "the backlog is full");
    }

    #[test]
    fn one_that_is_lost_among_many_is_not_all() {
        let mut host = host(600, 200, 0, 512);
        host.snapshot.sockets[1].diag.retransmits = 1;
        let finding = host.judge("syn_backlog").remove(0);
        assert!(
            finding.summary.starts_with("1 of 600 handshakes under way at 10.0.0.1:8080"),
            "{}",
            finding.summary
        );
        assert!(finding.summary.ends_with("the backlog of 512 is full."), "{}", finding.summary);
        assert_eq!(finding.severity, Severity::Warning);
    }

    #[test]
    fn handshakes_under_way_are_no_fault() {
        assert_eq!(host(2_000, 200, 0, 128).judge("syn_backlog"), []);
        assert_eq!(host(20, 20, 1, 4096).judge("syn_backlog"), []);
    }

    #[test]
    fn a_full_accept_queue_is_reported_instead() {
        let mut host = host(200, 200, 2, 4);
        host.snapshot.sockets[0].diag.rqueue = 5;
        host.accepted(None, State::Established, 40_000).idle(5);
        assert_eq!(host.judge("syn_backlog"), []);
        assert_eq!(host.judge("accept_queue_full").len(), 1);
    }

    #[test]
    fn cookies_that_were_sent_meanwhile_are_reported() {
        let (mut before, mut now) = (Host::new(), Host::new());
        let counters = |host: &mut Host, count| {
            host.snapshot.networks[0].counters = vec![("SyncookiesSent".to_owned(), count)];
        };
        counters(&mut before, 10);
        counters(&mut now, 30);
        let history = History::default();
        let found = |now: &Host| {
            let mut findings = Findings::default();
            let facts = Facts::new(&now.snapshot, Some(&before.snapshot), &history);
            judge(&facts, &Thresholds::DEFAULT, &mut findings);
            findings.all
        };
        assert!(found(&now)[0].summary.ends_with("the kernel sent 20 SYN cookies."));
        now.snapshot.networks[0].syncookies = Some(ALWAYS_COOKIES);
        assert_eq!(found(&now), []);
        counters(&mut now, 10);
        assert_eq!(found(&now), []);
    }
}
