//! What a process's own connections to other servers did during a request to it: the cause behind the error of a
//! gateway. By time and process; of several the one that fits best.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Connection, ConnectionId, How, Http, Message, Outcome, Process},
    time::Time,
};

use super::{
    Facts,
    attempts::got_no_port,
    broken::{Fault, Stop},
    exchange_findings::server_of,
    history::History,
};
use crate::timeline::Life;

/// What fails just behind an answer was on its way before: the order in which a process sends and closes is its own. In
/// microseconds.
const SLACK_US: u64 = 10_000;
/// For how long a gateway waits at least before it gives up a request and leaves that running, in microseconds.
const LEFT_RUNNING_LEAST_US: u64 = 100_000;
/// Attempts that are examined during one exchange: this many at its beginning, and as many at its end.
pub(super) const LOOKED_AT_MAX: usize = 1_000;

/// What became of an attempt to get an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// The connect was answered with an RST.
    Refused,
    /// No SYN was answered.
    SynUnanswered,
    /// There was no way to the host.
    NoRoute,
    /// This host had no local port left for the connect.
    NoPort,
    /// The kept connection was being closed as the request was sent.
    Race,
    /// An RST came in place of a response.
    Reset,
    /// A FIN came in place of a response.
    Closed,
    /// The response broke off.
    Cut,
    /// The connection failed.
    Failed,
    /// The request was taken, and not answered in time.
    Silent,
    /// What came is no HTTP.
    Invalid,
    /// A response with this status came.
    Answered(u16),
}

/// A connect that failed, or a request on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    /// When it began.
    pub(super) began: Time,
    /// The upstream server.
    pub(super) server: SocketAddr,
    /// The exchange, when it is HTTP that can be read.
    pub(super) http: Option<&'a Http>,
    /// The connection, when that is remembered.
    pub(super) summary: Option<&'a Connection>,
    fault: Option<Fault>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempted<'a> {
    /// Which.
    pub(super) attempt: Attempt<'a>,
    /// How it ended.
    pub(super) fate: Fate,
    /// When that was so, or when the gateway answered without having got anything.
    pub(super) ended: Time,
}

/// The attempts of all processes.
#[derive(Debug)]
pub(super) struct Upstreams<'a> {
    /// By process id, in the order in which they began.
    attempts: HashMap<u32, Vec<Attempt<'a>>>,
    history: &'a History,
    /// The other ends of connections, where those were traced.
    others: HashMap<ConnectionId, &'a Life>,
}

impl<'a> Upstreams<'a> {
    pub(super) fn new(facts: &Facts<'a>) -> Self {
        let history = facts.history;
        let of_client =
            facts.broken().iter().filter(|broken| broken.http.connection.role == Some(Role::Client));
        let faults: HashMap<_, _> = of_client.map(|broken| (position(broken.http), broken.fault)).collect();
        let mut attempts = HashMap::<u32, Vec<Attempt<'a>>>::new();
        let mut known = HashSet::new();
        let mut add = |process: Option<&Process>, attempt: Attempt<'a>| {
            let is_new = attempt.http.is_none_or(|http| known.insert(position(http)));
            if let (Some(process), true) = (process, is_new) {
                attempts.entry(process.pid).or_default().push(attempt);
            }
        };
        for life in history.lives() {
            let Some(summary) = life.summary.as_deref() else { continue };
            let (Some(Role::Client), Some(network)) = (summary.connection.role, summary.connection.network)
            else {
                continue;
            };
            let server = SocketAddr::new(network.peer.address, network.peer.port);
            for http in &life.exchanges {
                let fault = faults.get(&position(http)).copied();
                let (began, summary) = (http.exchange.timing.started, Some(summary));
                add(life_process(life), Attempt { began, server, http: Some(http), summary, fault });
            }
            if life.exchanges.is_empty() && summary.seen_from_start {
                let (began, summary) = (summary.opened, Some(summary));
                add(life_process(life), Attempt { began, server, http: None, summary, fault: None });
            }
        }
        // A connection remembers its last exchanges only.
        for http in
            history.exchanges().gateway_errors().filter(|http| http.connection.role == Some(Role::Client))
        {
            let (began, server) = (http.exchange.timing.started, server_of(http));
            add(
                http.connection.process.as_deref(),
                Attempt { began, server, http: Some(http), summary: None, fault: None },
            );
        }
        attempts.values_mut().for_each(|all| all.sort_by_key(|it| (it.began, it.connection())));
        let other = |life: &Life| Some((life.connection, facts.other_life(life.connection)?));
        Self { attempts, history, others: history.lives().filter_map(other).collect() }
    }

    /// What is remembered of a connection.
    pub(super) fn life(&self, connection: ConnectionId) -> Option<&'a Life> {
        self.history.life_of(connection)
    }

    /// The process at the other end of a connection, when it is on this host and was traced.
    pub(super) fn other_process(&self, connection: ConnectionId) -> Option<&'a Process> {
        life_process(self.others.get(&connection)?)
    }

    /// What this process tried while it had an exchange, from its beginning or since `from`, until it answered; and whether
    /// that is all.
    pub(super) fn during(&self, pid: u32, asked: &Http, from: Option<Time>) -> (Vec<Attempted<'a>>, bool) {
        let answered = answered(asked);
        let all = self.attempts.get(&pid).map(Vec::as_slice).unwrap_or_default();
        let first = all.partition_point(|it| it.began < from.unwrap_or(asked.exchange.timing.started));
        let end = all.partition_point(|it| it.began <= answered).max(first);
        let window = &all[first..end];
        let (head, tail) = window.split_at(window.len().min(LOOKED_AT_MAX));
        let left_out = tail.len().saturating_sub(LOOKED_AT_MAX);
        let tail = &tail[left_out..];
        let looked_at = head.iter().chain(tail);
        let tried = looked_at.filter_map(|attempt| attempt.until(asked.exchange.timing.started, answered));
        (tried.collect(), left_out == 0)
    }
}

/// Of what was tried, what explains best that a process answered so: how it fits to the status, then whether it was for the
/// same target, then the last. Behind that, what fits as well and ended in the same way.
pub(super) fn best<'a>(asked: &Http, tried: &[Attempted<'a>]) -> Vec<Attempted<'a>> {
    let Some(response) = &asked.exchange.response else { return Vec::new() };
    let status = response.status_code;
    let mut fitting: Vec<_> =
        tried.iter().filter_map(|it| Some((rank(status, asked, it)?, Reverse(it.ended), *it))).collect();
    fitting.sort_by_key(|(rank, ended, _)| (*rank, *ended));
    let Some((least, _, chosen)) = fitting.first().copied() else { return Vec::new() };
    fitting.retain(|(rank, _, it)| *rank == least && it.fate == chosen.fate);
    fitting.into_iter().map(|(_, _, it)| it).collect()
}

/// How well an attempt explains a status: the less the better.
fn rank(status: u16, asked: &Http, it: &Attempted<'_>) -> Option<u8> {
    let is_other = it.is_for_another_target(asked);
    let is_timeout = matches!(it.fate, Fate::SynUnanswered | Fate::Silent | Fate::Failed);
    let is_failure = !matches!(it.fate, Fate::Answered(_));
    let rank = match (status, it.fate) {
        (_, Fate::Answered(answered)) if answered == status => 0,
        // That the answer was not wanted is the last thing to think of.
        (502, Fate::Answered(_)) if !is_other => 4,
        (502, _) if is_failure && (!is_timeout || it.fate == Fate::Failed) => 0,
        (503, Fate::Refused | Fate::SynUnanswered | Fate::NoRoute | Fate::NoPort | Fate::Failed) => 0,
        (504, _) if is_timeout => 0,
        (502..=504, _) if is_failure => 1,
        _ => return None,
    };
    Some(rank + 2 * u8::from(is_other))
}

impl Attempted<'_> {
    /// Whether it is a request for another target than the client's: a gateway may change that, but most pass it on.
    fn is_for_another_target(&self, asked: &Http) -> bool {
        let target = |http: &Http| Some(http.exchange.request.as_ref()?.target.clone());
        let own = self.attempt.http.and_then(target);
        own.is_some() && own != target(asked)
    }

    /// How long it took, in microseconds.
    pub(super) fn took_us(&self) -> u64 {
        self.ended.micros_since(self.attempt.began)
    }
}

impl<'a> Attempt<'a> {
    /// Its connection.
    pub(super) fn connection(&self) -> Option<(ConnectionId, u64)> {
        let summary = self.summary.map(|summary| (summary.connection.id, 0));
        self.http.map(position).or(summary)
    }

    /// What had become of it when the gateway answered, if that is known and may be why: the gateway had been asked at
    /// this time.
    fn until(&self, asked: Time, answered: Time) -> Option<Attempted<'a>> {
        let (fate, ended) = match self.http {
            Some(http) => self.of_exchange(http)?,
            None => self.of_connection()?,
        };
        if ended <= answered.after_micros(SLACK_US) {
            return Some(Attempted { attempt: *self, fate, ended: ended.min(answered) });
        }
        // A connection that carries no HTTP may have been answered long before it ends.
        let is_unanswered = match self.http {
            Some(http) => http.exchange.response.is_none() || self::answered(http) > answered,
            None => self.summary.is_some_and(|it| it.bytes.received == 0),
        };
        let is_pending = is_unanswered && (self.is_given_up(fate) || self.is_left_running(asked, answered));
        let fate = if self.is_connected() { Fate::Silent } else { Fate::SynUnanswered };
        is_pending.then_some(Attempted { attempt: *self, fate, ended: answered })
    }

    /// Whether this end closed without an answer, as gateways do that give up.
    fn is_given_up(&self, fate: Fate) -> bool {
        matches!(fate, Fate::Silent | Fate::SynUnanswered) && self.summary.is_some_and(|it| !it.open)
    }

    /// Whether it was most of what the gateway did, so that it may be what the gateway stopped to wait for. Else it is
    /// somebody else's request that is just under way.
    fn is_left_running(&self, asked: Time, answered: Time) -> bool {
        let (waited_us, all_us) = (answered.micros_since(self.began), answered.micros_since(asked));
        waited_us >= LEFT_RUNNING_LEAST_US && waited_us >= all_us / 2
    }

    fn is_connected(&self) -> bool {
        let was = |summary: &Connection| summary.states.iter().any(|it| it.state == State::Established);
        self.http.is_some() || self.summary.is_some_and(was)
    }

    fn of_exchange(&self, http: &Http) -> Option<(Fate, Time)> {
        let ended = http.exchange.timing.started.after_micros(http.exchange.timing.total_us);
        if http.exchange.outcome == Outcome::Invalid {
            return self.of_invalid(http, ended);
        }
        let is_in_response = http.exchange.ended.is_some_and(|ended| ended.message == Message::Response);
        let fate = match self.fault {
            Some(Fault::KeepaliveRace(_)) => Fate::Race,
            Some(Fault::Unread | Fault::NoResponse(Stop::Reset)) => Fate::Reset,
            Some(Fault::NoResponse(Stop::Closed)) => Fate::Closed,
            Some(Fault::NoResponse(Stop::Failed)) => Fate::Failed,
            Some(Fault::NoResponse(Stop::GaveUp | Stop::Waiting)) => Fate::Silent,
            Some(Fault::Cut(_)) => Fate::Cut,
            None => match &http.exchange.response {
                Some(response) => return Some((Fate::Answered(response.status_code), answered(http))),
                None if is_in_response => self.of_close()?,
                None => return None,
            },
        };
        Some((fate, ended))
    }

    /// Of an exchange with an illegal message: a response, or else a request or a frame of a WebSocket.
    fn of_invalid(&self, http: &Http, ended: Time) -> Option<(Fate, Time)> {
        if http.exchange.reason.as_ref().is_some_and(|reason| reason.starts_with("response:")) {
            return Some((Fate::Invalid, ended));
        }
        match &http.exchange.response {
            Some(response) => Some((Fate::Answered(response.status_code), answered(http))),
            // Nothing is read behind an illegal request.
            None => Some((self.of_close()?, ended.max(self.ended()?))),
        }
    }

    /// When its connection ended, or was looked at last.
    fn ended(&self) -> Option<Time> {
        self.summary.map(|summary| summary.closed.unwrap_or(summary.time))
    }

    /// Of a connection without HTTP that can be read.
    fn of_connection(&self) -> Option<(Fate, Time)> {
        let (summary, ended) = (self.summary?, self.ended()?);
        if self.is_connected() {
            // An answer in another protocol, and a connection without a request, show nothing.
            let is_asked = summary.bytes.sent > 0;
            let fate = self.of_close()?;
            let is_fault = match fate {
                Fate::Reset | Fate::Failed => true,
                Fate::Closed => summary.bytes.received == 0,
                _ => summary.bytes.received == 0 && is_asked,
            };
            return is_fault.then_some((fate, ended));
        }
        let fate = match (summary.close.how, summary.close.reason.as_deref()) {
            (How::Refused, _) | (How::Error, Some("ECONNREFUSED")) => Fate::Refused,
            _ if got_no_port(summary) => Fate::NoPort,
            (How::Error, _) => Fate::NoRoute,
            (How::Timeout | How::Abandoned | How::Open, _) => Fate::SynUnanswered,
            _ => return None,
        };
        Some((fate, ended))
    }

    /// What the end of its connection says, in place of a response.
    fn of_close(&self) -> Option<Fate> {
        let close = &self.summary?.close;
        Some(match (close.how, close.by) {
            (How::Timeout | How::Error, _) => Fate::Failed,
            (How::Rst, By::Peer) => Fate::Reset,
            (How::Fin, By::Peer) => Fate::Closed,
            (How::Fin | How::Rst, By::Local) | (How::Open, _) => Fate::Silent,
            _ => return None,
        })
    }
}

/// When the first byte of a response passed.
pub(super) fn answered(http: &Http) -> Time {
    let timing = &http.exchange.timing;
    let us = timing
        .until_response_us()
        .unwrap_or(timing.total_us - timing.receive_us.unwrap_or_default().min(timing.total_us));
    timing.started.after_micros(us)
}

fn position(http: &Http) -> (ConnectionId, u64) {
    (http.connection.id, http.exchange.index)
}

/// The process of a connection: its summary knows it best.
pub(super) fn life_process(life: &Life) -> Option<&Process> {
    life.summary.as_ref()?.connection.process.as_deref()
}
