//! Data that came and that the process does not read, although its peer may send more: usually workers or pool threads are all
//! busy.

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, Severity},
};

use super::{
    super::{
        Facts, Findings, Thresholds,
        finding::{Case, Service, for_how_long, grouped, of, oldest, who},
        snapshot::Socket,
    },
    zero_window,
};
use crate::prose::{Size, counted};

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let cases = facts.in_state(State::Established).filter_map(|socket| {
        let age = unread_us(facts, socket).filter(|age| *age >= thresholds.min_age_us)?;
        Some(Case::new(socket, Some(age)))
    });
    let key = |case: &Case<'_>| (facts.owner_pid(case.socket), Service::of(facts, case.socket));
    let cases = findings.unexplained(facts, cases);
    for ((_, service), cases) in grouped(cases.into_iter(), key) {
        findings.push(finding(facts, service, cases));
    }
}

/// For how long a process has left data unread, since the last of it came, in microseconds. Not where it has read some of it
/// since the trace began.
fn unread_us(facts: &Facts<'_>, socket: &Socket) -> Option<u64> {
    let is_unread = socket.diag.rqueue > 0 && !socket.has_no_file();
    if !is_unread || zero_window::reads_not(facts, socket).is_some() {
        return None;
    }
    let of = |socket: &Socket| Some(u64::from(socket.diag.info?.last_data_recv_ms) * 1_000);
    if is_read(facts, socket) == Some(true) { None } else { of(socket) }
}

/// Whether a process has read from a socket since the trace began, if its socket was there then in the same state.
pub(super) fn is_read(facts: &Facts<'_>, socket: &Socket) -> Option<bool> {
    let earlier = facts.earlier(socket)?;
    let came = |socket: &Socket| Some(socket.diag.info?.bytes_received);
    let more = came(socket).zip(came(earlier)).map_or(0, |(now, then)| now.saturating_sub(then));
    Some(u64::from(socket.diag.rqueue) < u64::from(earlier.diag.rqueue) + more)
}

fn finding(facts: &Facts<'_>, service: Service, cases: Vec<Case<'_>>) -> Finding {
    let process = cases.first().and_then(|case| facts.owner(case.socket));
    let unread: u64 = cases.iter().map(|case| u64::from(case.socket.diag.rqueue)).sum();
    let is_server = matches!(service, Service::Accepted(_));
    let (why, advice) = if is_server {
        (
            "The connections are accepted, and data that came is still unread: usually all workers or pool threads are busy \
             or blocked, often by slow requests of others; or the handler reads slowly, or waits for something else first.",
            "Find out what the worker threads do (stack, thread dump). Add workers, give their work timeouts, or accept \
             fewer connections than can be served.",
        )
    } else {
        (
            "The server sent something that is still unread: a pool does not read idle connections (a server says goodbye \
             there, as with 408), or the thread that should read is slow, busy or blocked.",
            "Find out what the thread does instead (stack, thread dump). Let the pool drop connections that have become \
             readable while idle.",
        )
    };
    Finding {
        cause: Some(if is_server { "requests" } else { "responses" }.to_owned()),
        severity: Severity::Warning,
        summary: format!(
            "{} has left {} unread in {}, {service}, {}.",
            who(process),
            Size(unread),
            counted(cases.len(), "socket"),
            for_how_long(&cases),
        ),
        evidence: Evidence::default()
            .and("sockets", cases.len())
            .and_known("oldest_us", oldest(&cases))
            .and("unread_bytes", unread),
        why: why.to_owned(),
        advice: advice.to_owned(),
        ..of(facts, cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{History, testing::Host};

    fn host(unread: u32, seconds: u32) -> Host {
        let mut host = Host::new();
        let api = host.process(6, "api");
        host.listener(Some(api), 0, 128);
        let socket = host.accepted(Some(api), State::Established, 40_000).idle(seconds);
        (socket.diag.rqueue, socket.info().rcv_wnd) = (unread, Some(60_000));
        host
    }

    #[test]
    fn requests_that_no_thread_reads_are_reported() {
        let findings = host(123, 90).judge("data_not_read");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        let expected =
            "api (pid 6) has left 123 B unread in 1 socket, accepted at port 8080, for 1 min 30 s.";
        assert_eq!(finding.summary, expected);
    }

    #[test]
    fn what_is_read_young_or_not_accepted_is_another_matter() {
        assert_eq!(host(0, 90).judge("data_not_read"), []);
        assert_eq!(host(123, 59).judge("data_not_read"), []);
        let mut host = host(123, 90);
        host.snapshot.sockets[1].diag.inode = 0;
        assert_eq!(host.judge("data_not_read"), [], "the listener's fault");
    }

    #[test]
    fn a_closed_window_is_reported_as_such() {
        let mut host = host(123, 90);
        host.snapshot.sockets[1].info().rcv_wnd = Some(0);
        assert_eq!(host.judge("data_not_read"), []);
        assert_eq!(host.judge("zero_window").len(), 1);
    }

    #[test]
    fn a_process_that_reads_slowly_reads() {
        let (before, now) = (host(5_000, 80), host(4_000, 90));
        let (history, mut findings) = (History::default(), Findings::default());
        let facts = Facts::new(&now.snapshot, Some(&before.snapshot), &history);
        judge(&facts, &Thresholds::DEFAULT, &mut findings);
        assert_eq!(findings.all, []);
    }
}
