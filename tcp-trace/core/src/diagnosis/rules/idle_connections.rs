//! Idle connections that take most of a process's descriptors, or that grow in number although those that are there would do: a pool
//! without a limit, or connections that never go back to it.

use std::{collections::BTreeSet, net::SocketAddr};

use tcp_trace_model::{
    event::State,
    record::{Evidence, Finding, Outcome, Severity},
    time::Time,
};

use super::super::{
    Facts, Findings, Thresholds,
    finding::{Case, Service, for_how_long, grouped, of, oldest, peers, who},
    snapshot::{Snapshot, Socket},
};
use crate::prose::counted;

/// Share of its descriptors from which on a process is about to run out of them, in percent.
const FILES_PERCENT: u64 = 50;
/// The same, where that is critical.
const CRITICAL_PERCENT: u64 = 90;

/// By how many connections a pool has to grow while idle ones are there, and in how many different seconds: threads that have pools
/// of their own are fewer, and a pool that is filled at once is not one that grows.
const GROWTH_MIN: usize = 10;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let cases = facts.in_state(State::Established).filter_map(|socket| {
        let age = idle_us(socket).filter(|age| *age >= thresholds.min_age_us)?;
        // What waits for an answer, or is a tunnel or a WebSocket, is in use.
        let is_case = !socket.has_no_file()
            && !findings.explain(socket.connection())
            && Use::of(facts, socket) != Use::Busy;
        is_case.then(|| Case::new(socket, Some(age)))
    });
    let key = |case: &Case<'_>| (facts.owner_pid(case.socket), Service::of(facts, case.socket));
    let groups = grouped(cases, key);
    for ((_, service), cases) in groups {
        let limit = cases.first().and_then(|case| facts.owner(case.socket)?.files_limit);
        let percent = limit.filter(|limit| *limit > 0).map(|limit| cases.len() as u64 * 100 / limit);
        let reason = match percent.filter(|percent| *percent >= FILES_PERCENT) {
            Some(percent) => Some(Reason::Descriptors(percent)),
            None => Growth::of(facts, service, &cases).map(Reason::Growth),
        };
        if let Some(reason) = reason {
            cases.iter().for_each(|case| findings.claim_socket(facts, case.socket));
            findings.push(finding(facts, service, reason, cases));
        }
    }
}

/// Why they are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// They take this share of the descriptors, in percent.
    Descriptors(u64),
    /// More and more are opened.
    Growth(Growth),
}

/// Connections of a process to one server that were opened and closed during the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Growth {
    /// Opened while most of the others were idle, which they have been since; and idle now.
    opened: usize,
    /// Ended.
    ended: usize,
    /// Whether all that were opened carry HTTP, and what was asked on them was answered.
    is_http: bool,
}

impl Growth {
    /// Of these idle ones, where they grow in number.
    fn of(facts: &Facts<'_>, service: Service, idle: &[Case<'_>]) -> Option<Self> {
        let (Service::ConnectedTo(server), history) = (service, facts.history) else { return None };
        // What ended may have been forgotten, or not seen.
        if history.forgotten > 0 || history.first_loss.is_some() {
            return None;
        }
        let pid = facts.owner_pid(idle.first()?.socket)?;
        // All of the service: when each was opened, if that was seen, and for how long it has been idle. In microseconds before now.
        let is_its =
            |socket: &&Socket| facts.owner_pid(socket) == Some(pid) && Service::of(facts, socket) == service;
        let all = facts.in_state(State::Established).filter(is_its);
        let opened_us = |socket: &Socket| opened(facts, socket).map(|at| facts.now.time.micros_since(at));
        let (mut opened_before, mut idle_for): (Vec<_>, Vec<_>) = all
            .map(|socket| (opened_us(socket).unwrap_or(u64::MAX), idle_us(socket).unwrap_or_default()))
            .unzip();
        opened_before.sort_unstable();
        idle_for.sort_unstable();
        let longer = |sorted: &[u64], us: u64| sorted.len() - sorted.partition_point(|it| *it <= us);
        let (mut growth, mut seconds) = (Self { opened: 0, ended: 0, is_http: true }, BTreeSet::new());
        for case in idle {
            let Some(at) = opened(facts, case.socket) else { continue };
            let ago_us = facts.now.time.micros_since(at);
            let (older, were_idle) = (longer(&opened_before, ago_us), longer(&idle_for, ago_us));
            let use_ = Use::of(facts, case.socket);
            if were_idle > 0 && were_idle * 2 > older && use_ != Use::Busy {
                growth.opened += 1;
                growth.is_http &= use_ == Use::Answered;
                seconds.insert(at.0 / SECOND);
            }
        }
        let ended = history.ended().filter_map(|life| life.summary.as_deref()).filter(|summary| {
            let process = summary.connection.process.as_deref().map(|process| process.pid);
            let peer = summary.connection.network.map(|network| network.endpoints().peer);
            (process, peer) == (Some(pid), Some::<SocketAddr>(server))
        });
        growth.ended = ended.count();
        let grows = growth.opened >= growth.ended + GROWTH_MIN && seconds.len() >= GROWTH_MIN;
        grows.then_some(growth)
    }
}

/// When a connection was opened, if that was seen.
fn opened(facts: &Facts<'_>, socket: &Socket) -> Option<Time> {
    let summary = facts.history.life_of(socket.connection())?.summary.as_deref()?;
    summary.seen_from_start.then_some(summary.opened)
}

/// What an idle connection is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// All that was asked on it was answered.
    Answered,
    /// Something is due on it, or it is a tunnel or a WebSocket.
    Busy,
    /// It carries no HTTP that is known.
    Unknown,
}

impl Use {
    fn of(facts: &Facts<'_>, socket: &Socket) -> Self {
        let life = facts.history.life_of(socket.connection());
        let Some(last) = life.and_then(|life| life.exchanges.back()) else { return Self::Unknown };
        let status = last.exchange.response.as_ref().map(|response| response.status_code);
        let is_connect =
            last.exchange.request.as_ref().is_some_and(|request| &*request.method.0 == b"CONNECT");
        let is_over = last.exchange.outcome == Outcome::Ok && status.is_some_and(|status| status >= 200);
        if is_over && !is_connect && last.exchange.websocket.is_none() { Self::Answered } else { Self::Busy }
    }
}

/// For how long nothing has passed either way, in microseconds.
pub(super) fn idle_us(socket: &Socket) -> Option<u64> {
    let info = socket.diag.info?;
    let is_idle = socket.diag.rqueue == 0 && socket.diag.wqueue == 0;
    let ms = info.last_data_sent_ms.min(info.last_data_recv_ms);
    is_idle.then_some(u64::from(ms) * 1_000)
}

/// How many connections of this service the process has in a snapshot, idle or not.
fn count(facts: &Facts<'_>, at: &Snapshot, pid: Option<u32>, service: Service) -> usize {
    let is_its = |socket: &&Socket| {
        let owner = at.owner(socket).map(|process| process.named.pid);
        socket.state() == State::Established && owner == pid && Service::of(facts, socket) == service
    };
    at.sockets.iter().filter(is_its).count()
}

fn finding(facts: &Facts<'_>, service: Service, reason: Reason, cases: Vec<Case<'_>>) -> Finding {
    let process = cases.first().and_then(|case| facts.owner(case.socket));
    let pid = process.map(|process| process.named.pid);
    let connections = |at: &Snapshot| count(facts, at, pid, service);
    let advice = match service {
        Service::Accepted(_) => {
            "Give the server an idle timeout for connections (and for requests), so that clients that only keep them do not \
             use up its descriptors; raise the limit only if so many clients are right."
        }
        Service::ConnectedTo(_) => {
            "Give the pool a limit and an idle timeout, and give each connection back on every path, errors too. A new client \
             (and pool) per request is a frequent cause."
        }
    };
    let (cause, what) = match reason {
        Reason::Descriptors(percent) => {
            ("descriptors", format!("they take {percent} % of the descriptors that it may have open"))
        }
        Reason::Growth(Growth { opened, ended, .. }) => {
            let ended = if ended > 0 { format!(", and {ended} ended") } else { String::new() };
            (
                "growing",
                format!("{opened} of them were opened meanwhile while most of the others were idle{ended}"),
            )
        }
    };
    let severity = match reason {
        Reason::Descriptors(CRITICAL_PERCENT..) => Severity::Critical,
        Reason::Descriptors(_) | Reason::Growth(Growth { is_http: true, .. }) => Severity::Warning,
        Reason::Growth(_) => Severity::Notice,
    };
    Finding {
        cause: Some(cause.to_owned()),
        severity,
        summary: format!(
            "{} of {}, {service}, idle {}: {what}.",
            counted(cases.len(), "socket"),
            who(process),
            for_how_long(&cases),
        ),
        evidence: Evidence::default()
            .and("sockets", cases.len())
            .and_known("oldest_us", oldest(&cases))
            // Whether it grows.
            .and_known("connections_now", facts.before.map(|_| connections(facts.now)))
            .and_known("connections_at_the_beginning", facts.before.map(connections))
            .and_known("open_files", process.map(|process| process.files).filter(|files| *files > 0))
            .and_known("open_files_limit", process.and_then(|process| process.files_limit))
            .and("peers", peers(&cases)),
        why: match reason {
            Reason::Descriptors(_) => {
                "Each is a descriptor, and nothing has passed on it for that time. When the limit (RLIMIT_NOFILE) is reached, \
                 accept(), connect() and open() fail with EMFILE."
            }
            Reason::Growth(_) => {
                "A pool uses an idle connection before it opens another one. Either these were not given back to it, or each \
                 request (or thread) makes a pool, a client, of its own. Each is a descriptor here and at the server. Where each is \
                 there to wait, as a subscription, they may be meant."
            }
        }
        .to_owned(),
        advice: advice.to_owned(),
        ..of(facts, cases)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tcp_trace_model::{
        event::Role,
        record::{By, ConnectionId, How, Http, Loss, LossPlace, Network, Record},
    };

    use super::*;
    use crate::diagnosis::{
        History,
        testing::Host,
        testing_http::{at, exchange, life, summary, unanswered},
    };

    fn host(count: u16, seconds: u32) -> Host {
        let mut host = Host::new();
        let client = host.process(5, "client");
        host.snapshot.processes[0].files_limit = Some(100);
        for port in 0..count {
            let local = format!("10.0.0.1:{}", 40_000 + port);
            host.socket(Some(client), State::Established, &local, "10.0.0.5:80").idle(seconds);
        }
        host
    }

    #[test]
    fn a_pool_that_takes_most_descriptors_is_reported() {
        let findings = host(60, 90).judge("idle_connections");
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        let expected = "60 sockets of client (pid 5), connected to 10.0.0.5:80, idle for 1 min 30 s: they take 60 % of the \
                        descriptors that it may have open.";
        assert_eq!((finding.summary.as_str(), finding.severity), (expected, Severity::Warning));
        assert_eq!(host(95, 90).judge("idle_connections")[0].severity, Severity::Critical);
    }

    #[test]
    fn with_a_trace_it_is_said_how_many_there_were_at_the_beginning() {
        let (before, now, history) = (host(40, 90), host(60, 90), History::default());
        let facts = Facts::new(&now.snapshot, Some(&before.snapshot), &history);
        let mut findings = Findings::default();
        judge(&facts, &Thresholds::DEFAULT, &mut findings);
        let evidence = |name| findings[0].evidence.get(name).cloned();
        assert_eq!(evidence("connections_at_the_beginning"), Some(40_u64.into()));
        assert_eq!(evidence("connections_now"), Some(60_u64.into()));
    }

    /// So many connections, of which the first were there before; the others were opened during the trace, this many milliseconds
    /// one after the other, each used for a moment, and have the exchange that is given.
    fn grown(before: u16, opened: u16, apart_ms: u64, http: Option<&Http>) -> (Host, History) {
        let (mut host, mut history) = (host(before + opened, 120), History::default());
        for (number, socket) in (0..).zip(&mut host.snapshot.sockets[usize::from(before)..]) {
            let opened_ms = 5_000 + number * apart_ms;
            socket.idle(u32::try_from((100_000 - opened_ms) / 1_000).unwrap());
            let mut end = summary(Role::Client, By::Local, How::Open);
            (end.opened, end.seen_from_start) = (at(opened_ms), true);
            let info = Arc::make_mut(&mut end.connection);
            let netns = Some(socket.netns);
            (info.id, info.network) = (socket.connection(), Some(Network::new(socket.diag.endpoints, netns)));
            let http = http.map(|http| Http { connection: end.connection.clone(), ..http.clone() });
            life(&mut history, Vec::new(), http.into_iter().collect(), end);
        }
        (host, history)
    }

    fn found(host: &Host, history: &History) -> Option<Finding> {
        host.judge_with("idle_connections", history).into_iter().next()
    }

    #[test]
    fn a_pool_that_grows_beside_idle_connections_is_reported() {
        let answered = exchange(Role::Client, 0, 1);
        for (http, severity) in [(Some(&answered), Severity::Warning), (None, Severity::Notice)] {
            let (host, mut history) = grown(5, 12, 1_100, http);
            for number in 0..2 {
                let mut end = summary(Role::Client, By::Local, How::Fin);
                let info = Arc::make_mut(&mut end.connection);
                info.id = ConnectionId::of_socket(9_000 + number, 0);
                let ends = host.snapshot.sockets[0].diag.endpoints;
                info.network = Some(Network::new(ends, None));
                history.record(&Record::Connection(Box::new(end)));
            }
            let finding = found(&host, &history).unwrap();
            let expected = "17 sockets of client (pid 5), connected to 10.0.0.5:80, idle for 1 min 22 s to 2 min: 12 of them were \
                            opened meanwhile while most of the others were idle, and 2 ended.";
            assert_eq!((finding.summary.as_str(), finding.severity), (expected, severity));
            assert_eq!(finding.cause.as_deref(), Some("growing"));
        }
    }

    #[test]
    fn a_pool_that_is_filled_at_once_or_is_used_does_not_grow() {
        let answered = exchange(Role::Client, 0, 1);
        for (opened, apart_ms) in [(9, 1_100), (12, 10)] {
            let (host, history) = grown(5, opened, apart_ms, Some(&answered));
            assert_eq!(found(&host, &history), None, "{opened} {apart_ms}");
        }
        // One that waits for messages, and a pool that grew as all of it was in use.
        let (mut host, history) = grown(1, 12, 1_100, Some(&answered));
        host.snapshot.sockets[1..].iter_mut().for_each(|socket| _ = socket.idle(65));
        assert_eq!(found(&host, &history), None);
        // The same while it is in use.
        host.snapshot.sockets[1..].iter_mut().for_each(|socket| _ = socket.idle(0));
        assert_eq!(found(&host, &history), None);
        // Events were lost: what ended may be among them.
        let (host, mut history) = grown(5, 12, 1_100, Some(&answered));
        history.record(&Record::Loss(Loss { time: at(1), place: LossPlace::Ring, events: 1, cpu: None }));
        assert_eq!(found(&host, &history), None);
    }

    #[test]
    fn connections_on_which_something_is_due_are_not_idle_ones() {
        let mut upgraded = exchange(Role::Client, 0, 1);
        upgraded.exchange.response.as_mut().unwrap().status_code = 101;
        let mut tunnel = exchange(Role::Client, 0, 1);
        tunnel.exchange.request.as_mut().unwrap().method = "CONNECT".into();
        for http in [unanswered(Role::Client, 0, 1, Outcome::NoResponse), upgraded, tunnel] {
            let (host, history) = grown(5, 12, 1_100, Some(&http));
            assert_eq!(found(&host, &history), None, "{http:#?}");
        }
    }

    #[test]
    fn few_used_or_unread_ones_are_fine() {
        assert_eq!(host(49, 90).judge("idle_connections"), []);
        assert_eq!(host(60, 59).judge("idle_connections"), []);
        let mut host = host(60, 90);
        host.snapshot.sockets.iter_mut().for_each(|socket| socket.diag.rqueue = 5);
        assert_eq!(host.judge("idle_connections"), [], "data that nobody reads is another fault");
    }
}
