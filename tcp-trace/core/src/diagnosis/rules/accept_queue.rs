//! Listeners whose process does not accept: the queue is full, or somebody waits in it for long.

use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Evidence, Finding, Severity},
};

use super::super::{
    Facts, Findings, Thresholds,
    finding::{Case, of, who},
    snapshot::Socket,
};
use crate::prose::{Age, counted};

/// How long the first in a full queue has waited when that is no burst, in microseconds.
const WAIT_MIN_US: u64 = 1_000_000;

const NOT_ACCEPTING: &str = "Complete connections wait until the process calls accept(). It does not, or not often enough: the \
                             accepting thread, or every worker, is busy or blocked. When the queue is full, the kernel drops \
                             SYNs and last handshake segments, and clients see connects that take 1, 3 or 7 s, or time out; \
                             with net.ipv4.tcp_abort_on_overflow=1 they get an RST instead.";

const ACCEPT: &str = "Find out what the accepting thread waits for (stack, thread dump). Accept in a separate loop and hand the \
                      work on; add workers. A longer queue (both the argument of listen() and net.core.somaxconn) only \
                      helps against bursts.";

const BURST: &str = "The argument of listen(), at most net.core.somaxconn, says how many complete connections may wait for \
                     accept(). A short queue overflows in a burst although its process accepts promptly, a longer one where it \
                     does not; nobody is known to have waited for 1 s. The kernel drops SYNs and last handshake segments then, \
                     and clients see connects that take 1, 3 or 7 s; with net.ipv4.tcp_abort_on_overflow=1 they get an RST.";

const LENGTHEN: &str = "Raise the argument of listen() where the limit is small, and net.core.somaxconn where that limits it. If the \
                        queue is long already, find out what the accepting thread waits for (stack, thread dump).";

/// What a listener's queue says.
struct Queue {
    length: u64,
    limit: u64,
    /// The longest that a connection has waited, in microseconds.
    longest_us: u64,
    /// Connections in it whose client has closed meanwhile.
    closed: u64,
    /// SYNs and last segments of handshakes that were dropped since the beginning, when that was seen. Where several
    /// listeners of a namespace overflow, each of the latter may count twice.
    dropped: u64,
    /// SYNs that were not answered, of a recording that does not show that the queue was full.
    unanswered: u64,
}

/// The sockets that wait at a listener: half-open, or connected and not accepted.
fn waiting<'a>(facts: &Facts<'a>, listener: &Socket) -> impl Iterator<Item = &'a Socket> {
    let at = |socket: &Socket| (socket.netns, socket.diag.endpoints.local.port());
    let (own, is_empty) = (at(listener), listener.diag.rqueue == 0);
    let sockets = if is_empty { &[][..] } else { &facts.now.sockets };
    let states = [State::SynRecv, State::Established, State::CloseWait];
    sockets.iter().filter(move |socket| {
        // Listeners that share a port (SO_REUSEPORT) are not distinguished.
        states.contains(&socket.state()) && socket.has_no_file() && at(socket) == own
    })
}

/// Connections that a listener's process left in its queue, or with their first data unread, for long, and since then has used, or
/// has not before they ended: with how long, in microseconds.
fn waited<'a>(facts: &Facts<'a>, listener: &Socket) -> impl Iterator<Item = (&'a Connection, u64)> {
    let at = (listener.netns, listener.diag.endpoints.local.port());
    let summaries = facts.history.lives().filter_map(|life| Some((life, life.summary.as_deref()?)));
    summaries.filter_map(move |(life, summary)| {
        let network = summary.connection.network?;
        let is_here = (network.netns.unwrap_or_default(), network.local.port) == at;
        if summary.connection.role != Some(Role::Server) || !is_here {
            return None;
        }
        let began = life.exchanges.iter().map(|http| http.exchange.timing.started).min()?;
        let until = summary.first_used.or(summary.closed).unwrap_or(summary.time);
        Some((summary, until.micros_since(began))).filter(|(_, us)| *us >= WAIT_MIN_US)
    })
}

impl Queue {
    fn of(facts: &Facts<'_>, listener: &Socket) -> Self {
        let waiting = || waiting(facts, listener).filter(|socket| socket.state() != State::SynRecv);
        // A server that has not accepted has not sent either: this dates the handshake.
        let idle_us = |socket: &Socket| Some(u64::from(socket.diag.info?.last_data_sent_ms) * 1_000);
        // Of a recording, the drops are those that it saw.
        let recorded = listener.diag.drops.filter(|_| facts.before.is_none() && facts.now.is_recorded);
        // SYNs go unanswered for other reasons too: a full backlog, an answer that is filtered.
        let was_full = || has_no_room(listener) || waited(facts, listener).next().is_some();
        let recorded = recorded.map(u64::from).filter(|count| *count > 0);
        let (recorded, unanswered) = if was_full() { (recorded, None) } else { (None, recorded) };
        let dropped = overflowed(facts, listener).or(recorded).unwrap_or_default();
        // Of what has been accepted since, it is known only where the queue was full.
        let earlier = if dropped > 0 { waited(facts, listener).map(|(_, us)| us).max() } else { None };
        Self {
            length: listener.diag.rqueue.into(),
            limit: listener.diag.wqueue.into(),
            longest_us: waiting().filter_map(idle_us).max().max(earlier).unwrap_or_default(),
            closed: waiting().filter(|socket| socket.state() == State::CloseWait).count() as u64,
            dropped,
            unanswered: unanswered.unwrap_or_default(),
        }
    }

    /// `sk_acceptq_is_full()`.
    fn is_full(&self) -> bool {
        self.length > self.limit
    }
}

/// What a listener's socket has dropped since the beginning, unless its queue cannot have been full meanwhile: it drops for
/// other reasons too, as when two CPUs have segments of one handshake. For a full queue, as many connections must
/// have been in it or have arrived since, at any listener of the namespace.
fn dropped(facts: &Facts<'_>, listener: &Socket) -> Option<u64> {
    let earlier = facts.earlier(listener)?;
    let waiting = u64::from(earlier.diag.rqueue.max(listener.diag.rqueue));
    let opened = facts.growth(listener.netns, "PassiveOpens");
    let may_be_full = opened.is_none_or(|count| waiting + count > listener.diag.wqueue.into());
    let count = listener.diag.drops?.checked_sub(earlier.diag.drops?)?;
    may_be_full.then_some(count.into())
}

/// The same, unless all overflows of the namespace may have been those of other listeners, and some must have been.
fn overflowed(facts: &Facts<'_>, listener: &Socket) -> Option<u64> {
    let growth = |name| facts.growth(listener.netns, name);
    let count = dropped(facts, listener).filter(|count| *count > 0)?;
    match growth("ListenOverflows") {
        Some(0) => return None,
        Some(overflows) if is_anothers(facts, listener, count, overflows) => return None,
        _ => {}
    }
    // The kernel counts a handshake's last segment twice at the socket (`tcp_v4_syn_recv_sock()`, then
    // `discard_and_relse` of `tcp_v4_rcv()`), a SYN once. Its counter of the namespace counts both once.
    Some(growth("ListenDrops").map_or(count, |all| all.min(count)))
}

/// Whether some of a namespace's overflows must have been those of another listener than this one, which has dropped `count`,
/// and all may have been: each was a drop of its listener.
fn is_anothers(facts: &Facts<'_>, listener: &Socket, count: u64, overflows: u64) -> bool {
    let others = facts
        .in_state(State::Listen)
        .filter(|other| other.netns == listener.netns && other.diag.cookie != listener.diag.cookie)
        .filter_map(|other| dropped(facts, other));
    let (all, most) = others.fold((0, 0), |(all, most), count| (all + count, count.max(most)));
    overflows <= all && overflows > count + all - most
}

/// Whether a listener's queue is full (`sk_acceptq_is_full()`).
pub(super) fn has_no_room(listener: &Socket) -> bool {
    listener.diag.rqueue > listener.diag.wqueue
}

/// Whether a listener's queue is full for longer than a burst, so that handshakes cannot end.
pub(super) fn is_full(facts: &Facts<'_>, listener: &Socket) -> bool {
    // The last segment of a handshake is dropped then, and the SYN+ACK sent again after a second.
    let is_resent = |it: &Socket| it.state() == State::SynRecv && it.diag.retransmits > 0;
    has_no_room(listener)
        && (Queue::of(facts, listener).longest_us >= WAIT_MIN_US || waiting(facts, listener).any(is_resent))
}

/// Full, or overflowed meanwhile.
pub(super) fn full(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    for listener in listeners(facts) {
        let queue = Queue::of(facts, listener);
        if is_full(facts, listener) || queue.dropped > 0 {
            findings.push(finding(facts, listener, &queue));
            claim(facts, listener, findings);
            waited(facts, listener).for_each(|(summary, _)| findings.claim(facts, summary.connection.id));
        } else if queue.unanswered > 0 && queue.longest_us < thresholds.min_age_us {
            findings.push(syns_unanswered(facts, listener, &queue));
            findings.claim_socket(facts, listener);
        }
    }
}

/// Not full, and yet somebody waits for too long.
pub(super) fn stalled(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    for listener in listeners(facts) {
        let queue = Queue::of(facts, listener);
        let waits = queue.length > 0 && queue.longest_us >= thresholds.min_age_us;
        if waits && !queue.is_full() && queue.dropped == 0 {
            findings.push(finding(facts, listener, &queue));
            claim(facts, listener, findings);
        }
    }
}

/// What waits there has no other fault.
fn claim(facts: &Facts<'_>, listener: &Socket, findings: &mut Findings) {
    findings.claim_socket(facts, listener);
    waiting(facts, listener).for_each(|socket| findings.claim_socket(facts, socket));
}

/// Listeners that somebody waits at, or that dropped something.
fn listeners<'a>(facts: &Facts<'a>) -> impl Iterator<Item = &'a Socket> {
    let is_busy = |socket: &&Socket| socket.diag.rqueue > 0 || socket.diag.drops != Some(0);
    facts.in_state(State::Listen).filter(is_busy)
}

fn finding(facts: &Facts<'_>, listener: &Socket, queue: &Queue) -> Finding {
    let Queue { length, limit, longest_us, closed, dropped, unanswered: _ } = *queue;
    let (mut why, mut advice) = (NOT_ACCEPTING, ACCEPT);
    let (is_full, process) = (is_full(facts, listener), who(facts.owner(listener)));
    let at = listener.diag.endpoints.local;
    let network = facts.network(listener.netns);
    let growth = |name| facts.growth(listener.netns, name);
    let (cause, summary) = if is_full {
        let waits = format!("{} for up to {}", wait(length), Age(longest_us));
        (
            "full",
            format!(
                "The accept queue of {at} is full ({length}, limit {limit}): {process} {}; {waits}.",
                if longest_us >= WAIT_MIN_US { "does not accept" } else { "accepts too slowly" },
            ),
        )
    } else if dropped > 0 {
        let drops = counted(dropped, "SYN or handshake");
        let were = if dropped == 1 { "was" } else { "were" };
        let what = if longest_us >= WAIT_MIN_US {
            format!("{process} accepts too slowly, and {drops} {were} dropped")
        } else {
            (why, advice) = (BURST, LENGTHEN);
            format!(
                "more connections came than it holds (limit {limit}) before {process} accepted them; {drops} {were} \
                 dropped"
            )
        };
        ("overflowed", format!("The accept queue of {at} overflowed: {what}."))
    } else {
        let waits = format!("{} for up to {}", wait(length), Age(longest_us));
        ("not_accepting", format!("{process} does not accept connections at {at}: {waits}."))
    };
    let limited_by = network.and_then(|network| network.somaxconn).map(|somaxconn| {
        if limit == somaxconn { "net.core.somaxconn or listen()" } else { "the argument of listen()" }
    });
    Finding {
        cause: Some(cause.to_owned()),
        severity: if is_full { Severity::Critical } else { Severity::Warning },
        summary,
        evidence: Evidence::default()
            .and("waiting", length)
            .and("limit", limit)
            .and_known("limit_set_by", limited_by)
            .and("longest_wait_us", longest_us)
            .and_known("closed_by_their_clients", (closed > 0).then_some(closed))
            .and_known("dropped", (dropped > 0).then_some(dropped))
            .and_known("listen_overflows", growth("ListenOverflows"))
            .and_known("listen_drops", growth("ListenDrops")),
        why: why.to_owned(),
        advice: advice.to_owned(),
        ..of(facts, vec![Case::new(listener, None)])
    }
}

/// SYNs without an answer, of which it is not known why.
fn syns_unanswered(facts: &Facts<'_>, listener: &Socket, queue: &Queue) -> Finding {
    let at = listener.diag.endpoints.local;
    Finding {
        cause: Some("syns_unanswered".to_owned()),
        severity: Severity::Notice,
        summary: format!(
            "{} to {} at {at} had no answer.",
            counted(queue.unanswered, "SYN"),
            who(facts.owner(listener))
        ),
        evidence: Evidence::default()
            .and("syns_unanswered", queue.unanswered)
            .and("waiting", queue.length)
            .and("limit", queue.limit),
        why: "The kernel answers a SYN at once unless the listener's accept queue or its backlog is full, there is no way back \
              to the client, or a filter drops the SYN+ACK. A recording does not have the counters that tell which; a SYN that \
              came as it ended counts too."
            .to_owned(),
        advice: "tcp-trace diagnose --for 60s on this host reads the counters (nstat -az TcpExtListenOverflows \
                 TcpExtTCPReqQFullDrop has them too)."
            .to_owned(),
        ..of(facts, vec![Case::new(listener, None)])
    }
}

/// `1 connection waits`, `3 connections wait`.
fn wait(count: u64) -> String {
    format!("{} wait{}", counted(count, "connection"), if count == 1 { "s" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{History, testing::Host};

    /// A listener with waiting connections; the first has waited this many seconds.
    fn host(waiting: u16, limit: u32, seconds: u32) -> Host {
        let mut host = Host::new();
        let api = host.process(812, "api");
        host.listener(Some(api), waiting.into(), limit);
        for port in 0..waiting {
            host.accepted(None, State::Established, 40_000 + port).idle(if port == 0 { seconds } else { 0 });
        }
        host
    }

    #[test]
    fn a_full_queue_is_reported() {
        let findings = host(5, 4, 3).judge("accept_queue_full");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        let expected = "The accept queue of 10.0.0.1:8080 is full (5, limit 4): api (pid 812) does not accept; 5 \
                        connections wait for up to 3 s.";
        assert_eq!(finding.summary, expected);
        assert_eq!((finding.severity, finding.cause.as_deref()), (Severity::Critical, Some("full")));
        assert_eq!(host(5, 4, 90).judge("accept_stalled"), [], "once is enough");
    }

    #[test]
    fn a_queue_that_stays_full_although_each_is_accepted_soon_is_reported() {
        let mut host = host(5, 4, 0);
        host.socket(None, State::SynRecv, "10.0.0.1:8080", "10.0.0.9:50000").diag.retransmits = 1;
        let findings = host.judge("accept_queue_full");
        assert!(findings[0].summary.contains("api (pid 812) accepts too slowly; 5 connections"));
        assert_eq!(host.judge("syn_backlog"), []);
        host.snapshot.sockets.pop();
        assert_eq!(host.judge("accept_queue_full"), []);
    }

    #[test]
    fn a_burst_is_no_fault() {
        assert_eq!(host(5, 4, 0).judge("accept_queue_full"), []);
        assert_eq!(host(4, 4, 3).judge("accept_queue_full"), []);
        assert_eq!(host(4, 4, 59).judge("accept_stalled"), []);
        assert_eq!(host(0, 4, 0).judge("accept_stalled"), []);
    }

    #[test]
    fn a_process_that_accepts_no_more_is_reported_before_the_queue_is_full() {
        let mut host = host(2, 128, 61);
        host.snapshot.sockets[2].diag.state = State::CloseWait;
        let findings = host.judge("accept_stalled");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.cause.as_deref(), Some("not_accepting"));
        assert_eq!(finding.evidence.get("closed_by_their_clients"), Some(&1u64.into()));
        assert_eq!(host.judge("close_wait"), [], "reported here");
    }

    #[test]
    fn an_overflow_meanwhile_is_reported() {
        let (mut before, mut now) = (host(0, 4, 0), host(1, 4, 0));
        now.snapshot.sockets[0].diag.drops = Some(3);
        assert_eq!(now.judge("accept_queue_full"), [], "when it was is not known");
        // One of them was a handshake's last segment.
        for known_drops in [None, Some(2)] {
            let names = ["ListenDrops", "ListenOverflows"];
            let counters = names.iter().filter_map(|name| Some((*name, known_drops?)));
            count(&mut before, &mut now, &counters.collect::<Vec<_>>());
            let findings = overflows_of(&before, &now);
            assert_eq!(findings[0].cause.as_deref(), Some("overflowed"));
            assert!(!findings[0].summary.contains("too slowly"), "{}", findings[0].summary);
            assert!(findings[0].why.starts_with("The argument of listen()"), "{}", findings[0].why);
            assert_eq!(findings[0].evidence.get("dropped"), Some(&known_drops.unwrap_or(3).into()));
        }
    }

    #[test]
    fn somebody_who_waited_shows_a_process_that_accepts_too_slowly() {
        let (before, mut now) = (host(0, 4, 0), host(1, 4, 2));
        now.snapshot.sockets[0].diag.drops = Some(3);
        let findings = overflows_of(&before, &now);
        assert!(findings[0].summary.contains("accepts too slowly"), "{}", findings[0].summary);
    }

    #[test]
    fn a_recording_does_not_tell_why_syns_were_not_answered() {
        for (waiting, seconds, cause, in_words) in [
            (0, 0, "syns_unanswered", "3 SYNs to api (pid 812) at 10.0.0.1:8080 had no answer."),
            (5, 0, "overflowed", "more connections came than it holds (limit 4)"),
        ] {
            let mut host = host(waiting, 4, seconds);
            host.snapshot.is_recorded = true;
            host.snapshot.sockets[0].diag.drops = Some(3);
            let findings = host.judge("accept_queue_full");
            let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
            assert_eq!(finding.cause.as_deref(), Some(cause));
            assert!(finding.summary.contains(in_words), "{}", finding.summary);
        }
    }

    #[test]
    fn a_queue_that_cannot_have_been_full_did_not_overflow() {
        let (mut before, mut now) = (host(0, 4, 0), host(1, 4, 0));
        now.snapshot.sockets[0].diag.drops = Some(2);
        for (opened, is_reported) in [(3, false), (4, true)] {
            count(&mut before, &mut now, &[("ListenOverflows", 7), ("PassiveOpens", opened)]);
            assert_eq!(!overflows_of(&before, &now).is_empty(), is_reported, "{opened}");
        }
    }

    #[test]
    fn drops_that_another_listener_must_have_caused_are_not_reported_here() {
        // What a second listener and this one have dropped, the namespace's overflows, and which are reported.
        for (others, here, overflows, reported) in [
            (5, 2, 5, &[8081][..]),
            // All may have been of either: both are reported.
            (4, 4, 4, &[8080, 8081]),
            (5, 2, 6, &[8080, 8081]),
            (2, 5, 3, &[8080]),
            (0, 2, 2, &[8080]),
        ] {
            let (mut before, mut now) = (host(0, 4, 0), host(0, 4, 0));
            for (host, drops) in [(&mut before, [0, 0]), (&mut now, [here, others])] {
                host.listener(None, 0, 4).diag.endpoints.local.set_port(8081);
                host.snapshot.sockets[0].diag.drops = Some(drops[0]);
                host.snapshot.sockets[1].diag.drops = Some(drops[1]);
            }
            count(&mut before, &mut now, &[("ListenOverflows", overflows)]);
            let findings = overflows_of(&before, &now);
            let ports: Vec<_> =
                findings.iter().map(|finding| finding.connections[0].network.local.port).collect();
            assert_eq!(ports, reported, "{others}, {here}, {overflows}");
        }
    }

    /// Sets how much the namespace's counters have grown.
    fn count(before: &mut Host, now: &mut Host, growth: &[(&str, u64)]) {
        let counters = |of: fn(u64) -> u64| {
            growth.iter().map(|(name, count)| ((*name).to_owned(), of(*count))).collect()
        };
        before.snapshot.networks[0].counters = counters(|_| 0);
        now.snapshot.networks[0].counters = counters(|count| count);
    }

    fn overflows_of(before: &Host, now: &Host) -> Vec<Finding> {
        let (history, mut findings) = (History::default(), Findings::default());
        full(
            &Facts::new(&now.snapshot, Some(&before.snapshot), &history),
            &Thresholds::DEFAULT,
            &mut findings,
        );
        findings.all
    }
}
