//! Closed windows: a process does not read, here or at the peer, and the other end cannot send.

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, Severity},
    socket::{TcpInfo, Timer},
};

use super::{
    super::{
        Facts, Findings, Thresholds,
        call_sites::CallSites,
        finding::{Case, Service, for_how_long, grouped, of, oldest, who},
        snapshot::Socket,
        unanswered,
    },
    not_read,
};
use crate::prose::{Size, counted};

/// Unread bytes that count as a closed window if the kernel does not report the window that it offers.
const UNREAD_MIN: u32 = 64 << 10;
/// States in which data can come.
const RECEIVING: [State; 3] = [State::Established, State::FinWait1, State::FinWait2];
/// States in which a process can have data to send. FIN_WAIT1 is a rule of its own.
const SENDING: [State; 2] = [State::Established, State::CloseWait];

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let is_old = |age: &u64| *age >= thresholds.min_stall_us;
    let key = |case: &Case<'_>| (facts.owner_pid(case.socket), Service::of(facts, case.socket));
    let here = facts.chosen().filter_map(|socket| {
        let age = reads_not(facts, socket).filter(is_old)?;
        Some(Case { notes: other_end(facts, socket), ..Case::new(socket, Some(age)) })
    });
    let key_here = |case: &Case<'_>| (key(case), Reading::of(facts, case.socket));
    for (((_, service), reading), cases) in grouped(findings.unexplained(facts, here).into_iter(), key_here) {
        findings.push(not_reading_here(facts, service, reading, cases));
    }
    let there = facts.chosen().filter_map(|socket| {
        let age = cannot_send(facts, socket).filter(is_old)?;
        Some(Case { notes: other_end(facts, socket), ..Case::new(socket, Some(age)) })
    });
    for ((_, service), cases) in grouped(findings.unexplained(facts, there).into_iter(), key) {
        findings.push(not_reading_there(facts, service, cases));
    }
}

/// For how long a process has left so much unread that its peer may send no more, in microseconds.
pub(super) fn reads_not(facts: &Facts<'_>, socket: &Socket) -> Option<u64> {
    let info = socket.diag.info?;
    let is_full = info.rcv_wnd.map_or(socket.diag.rqueue >= UNREAD_MIN, |window| window == 0);
    let can_receive = RECEIVING.contains(&socket.state()) && !socket.has_no_file();
    // The last data came when the window closed.
    let of = |socket: &Socket| Some(u64::from(socket.diag.info?.last_data_recv_ms) * 1_000);
    if socket.diag.rqueue > 0 && is_full && can_receive { facts.waiting_us(socket, of) } else { None }
}

/// For how long a peer that answers has taken no data, in microseconds.
fn cannot_send(facts: &Facts<'_>, socket: &Socket) -> Option<u64> {
    let info = socket.diag.info?;
    let is_closed = socket.diag.timer == Timer::Probe || info.snd_wnd == Some(0);
    let waits = SENDING.contains(&socket.state()) && socket.diag.wqueue > 0 && is_closed;
    let is_explained = || {
        let reader = facts.other_end(socket).and_then(|other| reads_not(facts, other));
        reader.is_some() || unanswered::of(socket).is_some()
    };
    (waits && !is_explained()).then(|| blocked_us(&info))
}

/// For how long a closed window has kept data from being sent, in microseconds: since the last data was sent, unless there
/// was nothing to send for some of that time.
pub(super) fn blocked_us(info: &TcpInfo) -> u64 {
    let since_sent = u64::from(info.last_data_sent_ms) * 1_000;
    // The sum of all such times, with this one, to which each adds only while there is something to send.
    let limited = Some(info.rwnd_limited_us).filter(|us| *us > 0);
    limited.map_or(since_sent, |limited| since_sent.min(limited))
}

fn other_end(facts: &Facts<'_>, socket: &Socket) -> Vec<String> {
    let other = facts.other_end(socket).and_then(|other| facts.owner(other));
    other.map(|process| format!("other end: {}", who(Some(process)))).into_iter().collect()
}

/// What is known of how a process reads whose receive buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reading {
    /// Some of it was read since the trace began: the window opens only when much of the buffer is free.
    Slow,
    /// Nothing was read since the trace began.
    None,
    /// There is only one moment.
    Unknown,
}

impl Reading {
    fn of(facts: &Facts<'_>, socket: &Socket) -> Self {
        match not_read::is_read(facts, socket) {
            Some(true) => Self::Slow,
            Some(false) => Self::None,
            None => Self::Unknown,
        }
    }

    fn cause(self) -> &'static str {
        if self == Self::Slow { "process_reads_slowly" } else { "process_not_reading" }
    }

    /// Behind the sentence.
    fn in_words(self) -> &'static str {
        match self {
            Self::Slow => " Some of it was read since the trace began.",
            Self::None => " Nothing was read since the trace began.",
            Self::Unknown => "",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Slow => {
                "The receive buffer is full, so this kernel announces a window of 0 and the peer stops sending. The network is \
                 not slow: the process reads less than comes. It works on what it reads, or limits its rate."
            }
            Self::None => {
                "The receive buffer is full, so this kernel announces a window of 0 and the peer stops sending. The network is \
                 not slow: the process does not call read(). Its thread is busy or blocked, often because it writes to a \
                 process that does not read either."
            }
            Self::Unknown => {
                "The receive buffer is full, so this kernel announces a window of 0 and the peer stops sending. The network is \
                 not slow: the process reads less than comes, or nothing (`tcp-trace diagnose --for 30s` tells which). Its \
                 thread is slow, busy or blocked, often because it writes to a process that does not read either."
            }
        }
    }
}

fn not_reading_here(facts: &Facts<'_>, service: Service, reading: Reading, cases: Vec<Case<'_>>) -> Finding {
    let process = cases.first().and_then(|case| facts.owner(case.socket));
    let unread: u64 = cases.iter().map(|case| u64::from(case.socket.diag.rqueue)).sum();
    let call_sites = CallSites::of(facts, &cases);
    Finding {
        cause: Some(reading.cause().to_owned()),
        severity: Severity::Warning,
        summary: format!(
            "{} has left the receive {} of {}, {service}, full {}: {} are waiting, and the peer may not send more.{}",
            who(process),
            if cases.len() == 1 { "buffer" } else { "buffers" },
            counted(cases.len(), "socket"),
            for_how_long(&cases),
            Size(unread),
            reading.in_words(),
        ),
        evidence: call_sites.and(
            Evidence::default()
                .and("sockets", cases.len())
                .and_known("oldest_us", oldest(&cases))
                .and("unread_bytes", unread),
        ),
        stacks: call_sites.stacks,
        why: reading.why().to_owned(),
        advice: "Find out what the process does instead of reading (stack, thread dump, CPU profile). Read and \
                 write in different tasks where each can block the other. A larger net.ipv4.tcp_rmem only delays it."
            .to_owned(),
        ..of(facts, cases)
    }
}

fn not_reading_there(facts: &Facts<'_>, service: Service, cases: Vec<Case<'_>>) -> Finding {
    let process = cases.first().and_then(|case| facts.owner(case.socket));
    let unsent: u64 = cases.iter().map(|case| u64::from(case.socket.diag.wqueue)).sum();
    let limited =
        cases.iter().filter_map(|case| case.socket.diag.info).map(|info| info.rwnd_limited_us).max();
    Finding {
        cause: Some("peer_not_reading".to_owned()),
        severity: Severity::Warning,
        summary: format!(
            "The peer of {} of {}, {service}, has accepted no data {}: {} are waiting to be sent.",
            counted(cases.len(), "socket"),
            who(process),
            for_how_long(&cases),
            Size(unsent),
        ),
        evidence: Evidence::default()
            .and("sockets", cases.len())
            .and_known("oldest_us", oldest(&cases))
            .and("unsent_bytes", unsent)
            .and_known("limited_by_the_peers_window_us", limited.filter(|us| *us > 0)),
        why: "The peer answers, and says that it has no room: its window is 0 because its process reads less than comes, or nothing. \
              This end probes from time to time, and write() here blocks once the send buffer is full too."
            .to_owned(),
        advice: "Look at the peer's process. Here: give writes a timeout (TCP_USER_TIMEOUT bounds how long the \
                 window may stay closed), and do not let one slow reader hold a thread or a lock that others need."
            .to_owned(),
        ..of(facts, cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Host;

    fn reader(seconds: u32) -> Host {
        let mut host = Host::new();
        let slow = host.process(9, "slow");
        let socket = host.accepted(Some(slow), State::Established, 40_000).idle(seconds);
        (socket.diag.rqueue, socket.info().rcv_wnd) = (5_000, Some(0));
        host
    }

    fn writer(seconds: u32) -> Host {
        let mut host = Host::new();
        let writer = host.process(8, "writer");
        let socket =
            host.socket(Some(writer), State::Established, "10.0.0.9:40000", "10.0.0.1:8080").idle(seconds);
        (socket.diag.wqueue, socket.diag.timer) = (9_000, Timer::Probe);
        host
    }

    #[test]
    fn a_process_that_does_not_read_is_reported() {
        let findings = reader(30).judge("zero_window");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.cause.as_deref(), Some("process_not_reading"));
        assert!(
            finding.summary.starts_with("slow (pid 9) has left the receive buffer of 1 socket, connected to 10.0.0.9:40000, full for 30 s"),
            "{}",
            finding.summary
        );
        assert_eq!(finding.connections[0].age_us, Some(30_000_000));
        // A kernel that does not report the window reports the queue.
        let mut host = reader(30);
        host.snapshot.sockets[0].info().rcv_wnd = None;
        assert_eq!(host.judge("zero_window"), []);
        host.snapshot.sockets[0].diag.rqueue = UNREAD_MIN;
        assert_eq!(host.judge("zero_window").len(), 1);
    }

    #[test]
    fn a_process_that_reads_slowly_is_not_said_not_to_read() {
        for (unread_before, cause, words, in_why) in [
            (
                Some(9_000),
                "process_reads_slowly",
                "Some of it was read since the trace began.",
                "reads less than comes.",
            ),
            (
                Some(5_000),
                "process_not_reading",
                "Nothing was read since the trace began.",
                "does not call read()",
            ),
            (None, "process_not_reading", "may not send more.", "reads less than comes, or nothing"),
        ] {
            let now = reader(30);
            let before = unread_before.map(|unread| {
                let mut before = reader(20);
                before.snapshot.sockets[0].diag.rqueue = unread;
                before
            });
            let (history, mut findings) = (crate::diagnosis::History::default(), Findings::default());
            let facts = Facts::new(&now.snapshot, before.as_ref().map(|it| &it.snapshot), &history);
            judge(&facts, &Thresholds::DEFAULT, &mut findings);
            let [finding] = findings.all.as_slice() else { panic!("{findings:#?}") };
            assert_eq!(finding.cause.as_deref(), Some(cause));
            assert!(finding.summary.ends_with(words), "{}", finding.summary);
            assert!(finding.why.contains(in_why), "{}", finding.why);
        }
    }

    #[test]
    fn a_peer_that_does_not_read_is_reported() {
        let findings = writer(30).judge("zero_window");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.cause.as_deref(), Some("peer_not_reading"));
        assert!(finding.summary.contains("8.79 KiB are waiting to be sent"), "{}", finding.summary);
    }

    #[test]
    fn of_both_ends_the_one_that_does_not_read_is_reported() {
        let mut host = writer(30);
        let slow = host.process(9, "slow");
        let socket = host.accepted(Some(slow), State::Established, 40_000).idle(30);
        (socket.diag.rqueue, socket.info().rcv_wnd) = (5_000, Some(0));
        let findings = host.judge("zero_window");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(9));
        assert_eq!(finding.connections[0].notes, ["other end: writer (pid 8)"]);
    }

    #[test]
    fn what_moves_is_no_fault() {
        assert_eq!(reader(9).judge("zero_window"), []);
        assert_eq!(writer(9).judge("zero_window"), []);
        let mut host = writer(3_600);
        host.snapshot.sockets[0].info().rwnd_limited_us = 9_000_000;
        assert_eq!(host.judge("zero_window"), [], "there was nothing to send before");
        let mut host = reader(30);
        host.snapshot.sockets[0].diag.rqueue = 4 * UNREAD_MIN;
        host.snapshot.sockets[0].info().rcv_wnd = Some(UNREAD_MIN);
        assert_eq!(host.judge("zero_window"), [], "much is unread, and yet there is room");
        let mut host = reader(30);
        host.snapshot.sockets[0].diag.rqueue = 0;
        assert_eq!(host.judge("zero_window"), [], "everything was read");
        let mut host = writer(30);
        host.snapshot.sockets[0].info().probes = 3;
        assert_eq!(host.judge("zero_window"), [], "a peer that does not even answer is gone");
    }
}
