//! What a process's own connections to other servers did during a request to it: the cause behind the error of a
//! gateway. By time and process; of several the one that fits best.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
};

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Connection, ConnectionId, How, Http, Message, Outcome, Process, Text},
    time::Time,
};

use super::{
    Facts,
    attempts::{got_no_port, is_unreachable, sent_no_syn},
    exchange_findings::server_of,
    failed_exchanges::{Because, Fault, Stop},
    fate::{Delivery, Fate, Handshake, Rst},
    history::History,
    resets::Origin,
};
use crate::timeline::{Life, Position, position};

/// What fails just behind an answer was on its way before: the order in which a process sends and closes is its own. In
/// microseconds.
const SLACK_US: u64 = 10_000;
/// For how long a gateway waits at least before it gives up a request and leaves that running, in microseconds.
const LEFT_RUNNING_LEAST_US: u64 = 100_000;
/// The same where it ends the connection later.
const GIVEN_UP_LEAST_US: u64 = 50_000;
/// Attempts that are examined during one exchange: this many at its beginning, and as many at its end.
const LOOKED_AT_MAX: usize = 1_000;
/// Attempts that are remembered of all exchanges whose causes are found together: some 32 bytes each, and 40 more while each is assigned to a
/// request, together 290 MB at most.
pub(super) const REMEMBERED_MAX: usize = 4_000_000;
/// Requests for one target that are looked at, of those that began last.
const OF_TARGET_MAX: usize = 16;

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
    /// The upstream's end of it, when that was traced.
    other: Option<&'a Connection>,
    fault: Option<Fault>,
    /// When the server ended it, if that is why it failed. Its own end may come much later, when the gateway closes.
    stopped: Option<Time>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempted<'a> {
    /// Which.
    pub(super) attempt: &'a Attempt<'a>,
    /// How it ended.
    pub(super) fate: Fate,
    /// When that was so, or when the gateway answered without having got anything.
    pub(super) ended: Time,
    /// Whether it had not ended when the gateway answered.
    pub(super) is_running: bool,
}

/// The attempts of all processes.
#[derive(Debug)]
pub(super) struct Upstreams<'a> {
    /// By process id, in the order in which they began.
    attempts: HashMap<u32, Vec<Attempt<'a>>>,
    /// The names of these processes.
    names: HashMap<u32, &'a Text>,
    /// Attempts with a target for which their process was asked at that time: they are for that request, however it was answered.
    for_target: HashSet<Position>,
    history: &'a History,
    /// The other ends of connections, where those were traced.
    others: HashMap<ConnectionId, &'a Life>,
}

impl<'a> Upstreams<'a> {
    pub(super) fn new(facts: &Facts<'a>) -> Self {
        let history = facts.history;
        let of_client = facts
            .failed_exchanges()
            .iter()
            .filter(|failed| failed.http.connection.role == Some(Role::Client));
        let faults: HashMap<_, _> =
            of_client.map(|failed| (position(failed.http), (failed.fault, failed.ended))).collect();
        let mut attempts = HashMap::<u32, Vec<Attempt<'a>>>::new();
        let (mut known, mut names) = (HashSet::new(), HashMap::new());
        let mut add = |process: Option<&'a Process>, attempt: Attempt<'a>| {
            let is_new = attempt.http.is_none_or(|http| known.insert(position(http)));
            if let (Some(process), true) = (process, is_new) {
                attempts.entry(process.pid).or_default().push(attempt);
                names.insert(process.pid, &process.name);
            }
        };
        for life in history.lives() {
            let Some(summary) = life.summary.as_deref() else { continue };
            let (Some(Role::Client), Some(network)) = (summary.connection.role, summary.connection.network)
            else {
                continue;
            };
            let server = SocketAddr::new(network.peer.address, network.peer.port);
            let other = facts.other_life(life.connection).and_then(|other| other.summary.as_deref());
            for http in &life.exchanges {
                let (fault, ended) = faults.get(&position(http)).copied().unzip();
                let stopped = ended.flatten().filter(|_| fault.is_some_and(is_by_server));
                let (began, summary) = (http.exchange.timing.started, Some(summary));
                let http = Some(http);
                add(life_process(life), Attempt { began, server, http, summary, other, fault, stopped });
            }
            if life.exchanges.is_empty() && summary.seen_from_start {
                let (began, summary) = (summary.opened, Some(summary));
                add(
                    life_process(life),
                    Attempt { began, server, http: None, summary, other, fault: None, stopped: None },
                );
            }
        }
        // A connection remembers its last exchanges only.
        for http in
            history.exchanges().gateway_errors().filter(|http| http.connection.role == Some(Role::Client))
        {
            let (began, server) = (http.exchange.timing.started, server_of(http));
            add(
                http.connection.process.as_deref(),
                Attempt {
                    began,
                    server,
                    http: Some(http),
                    summary: None,
                    other: None,
                    fault: None,
                    stopped: None,
                },
            );
        }
        attempts.values_mut().for_each(|all| all.sort_by_key(|it| (it.began, it.connection())));
        let other = |life: &Life| Some((life.connection, facts.other_life(life.connection)?));
        let others = history.lives().filter_map(other).collect();
        let mut upstreams = Self { attempts, names, for_target: HashSet::new(), history, others };
        upstreams.for_target = upstreams.with_target().collect();
        upstreams
    }

    /// The attempts with a target for which their process was asked at that time.
    fn with_target(&self) -> impl Iterator<Item = Position> {
        let mut spans = HashMap::<_, Vec<(Time, Time)>>::new();
        for (gateway, http) in self.all_asked() {
            if let Some(target) = target(http) {
                let timing = &http.exchange.timing;
                let span = (timing.started, timing.started.after_micros(timing.total_us));
                spans.entry((gateway, target)).or_default().push(span);
            }
        }
        spans.values_mut().for_each(|spans| spans.sort());
        self.all().filter_map(move |(gateway, attempt)| {
            let http = attempt.http?;
            let spans = spans.get(&(gateway, target(http)?))?;
            let first = spans.partition_point(|(started, _)| *started <= attempt.began);
            let mut last = spans[..first].iter().rev().take(OF_TARGET_MAX);
            last.any(|(_, ended)| *ended >= attempt.began).then(|| position(http))
        })
    }

    /// The same, once for all.
    pub(super) fn for_target(&self) -> &HashSet<Position> {
        &self.for_target
    }

    /// All attempts, each with the name of the process that made it.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'a Text, &Attempt<'a>)> {
        let name = |pid: &u32| self.names.get(pid).copied();
        self.attempts
            .iter()
            .filter_map(move |(pid, all)| Some((name(pid)?, all)))
            .flat_map(|(name, all)| all.iter().map(move |it| (name, it)))
    }

    /// What is remembered of all requests to processes, each with the process's name.
    pub(super) fn all_asked(&self) -> impl Iterator<Item = (&'a Text, &'a Http)> {
        let of = |life: &'a Life| Some((&life_process(life)?.name, &life.exchanges));
        let all =
            self.history.lives().filter_map(of).flat_map(|(name, all)| all.iter().map(move |it| (name, it)));
        all.filter(|(_, http)| http.connection.role == Some(Role::Server))
    }

    /// What is remembered of a connection.
    pub(super) fn life(&self, connection: ConnectionId) -> Option<&'a Life> {
        self.history.life_of(connection)
    }

    /// The process at the other end of a connection, when it is on this host and was traced.
    pub(super) fn other_process(&self, connection: ConnectionId) -> Option<&'a Process> {
        life_process(self.others.get(&connection)?)
    }

    /// Whether this process asked an upstream for another target while it had an exchange.
    pub(super) fn has_other_targets(&self, pid: u32, asked: &Http) -> bool {
        let all = self.of_process(pid);
        let first = all.partition_point(|it| it.began < asked.exchange.timing.started);
        let meanwhile = all.iter().skip(first).take_while(|it| it.began <= answered(asked));
        { meanwhile }.filter_map(|it| it.http).any(|http| target(http) != target(asked))
    }

    /// The attempts of a process, in the order in which they began.
    pub(super) fn of_process(&self, pid: u32) -> &[Attempt<'a>] {
        self.attempts.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// What is remembered of requests to these processes: when each was under way, or its whole connection where not all are remembered.
    pub(super) fn asked_when(&self, pids: &BTreeSet<u32>) -> Vec<(Time, Time)> {
        let is_its = |life: &&Life| {
            let is_of_them = life_process(life).is_some_and(|process| pids.contains(&process.pid));
            is_of_them && life.role() == Some(Role::Server)
        };
        let spans = |life: &Life| -> Vec<_> {
            if life.exchange_count > life.exchanges.len() as u64 {
                return vec![life.span()];
            }
            let timings = life.exchanges.iter().map(|http| &http.exchange.timing);
            timings.map(|it| (it.started, it.started.after_micros(it.total_us))).collect()
        };
        self.history.lives().filter(is_its).flat_map(spans).collect()
    }

    /// What this process tried while it had an exchange, from its beginning or since `from`, until it answered, without what says nothing
    /// of the answer or is for another request by its target; and whether that is all.
    pub(super) fn during(&self, pid: u32, asked: &Http, from: Option<Time>) -> (Vec<Attempted<'_>>, bool) {
        let answered = answered(asked);
        let all = self.of_process(pid);
        let first = all.partition_point(|it| it.began < from.unwrap_or(asked.exchange.timing.started));
        let end = all.partition_point(|it| it.began <= answered).max(first);
        let window = &all[first..end];
        let (head, tail) = ends(window, 2 * LOOKED_AT_MAX);
        let are_looked_at = head.len() + tail.len() == window.len();
        // A cache asks once for all who want the same, and has no request for those that came later.
        let has_own = window.iter().any(|it| it.http.is_some_and(|http| target(http) == target(asked)));
        let earlier = all[..first].iter().rev().take(if has_own { 0 } else { LOOKED_AT_MAX });
        let waited_for = earlier.filter(|it| it.may_be_for_all(asked));
        let looked_at = waited_for.chain(head).chain(tail);
        let status = asked.exchange.response.as_ref().map(|response| response.status_code);
        let says_something = |it: &Attempted<'_>| match it.fate {
            // The answer may have been one that the gateway does not take (502).
            Fate::Answered(answered) => status == Some(answered) || status == Some(502),
            _ => true,
        };
        let is_anothers = |it: &&Attempt<'_>| {
            it.http.is_some_and(|http| {
                target(http) != target(asked) && self.for_target.contains(&position(http))
            })
        };
        let tried = looked_at
            .filter(|it| !is_anothers(it))
            .filter_map(|attempt| attempt.until(asked.exchange.timing.started, answered));
        (tried.filter(says_something).collect(), are_looked_at)
    }
}

/// Of what was tried for an exchange, so many: the first and the last, and of the others those that say by their target that they are for
/// it. Whether that is all.
pub(super) fn leave_out(asked: &Http, tried: &mut Vec<Attempted<'_>>, most: usize) -> bool {
    let (first, last) = ends(tried, most);
    let (from, to) = (first.len(), tried.len() - last.len());
    let own = target(asked);
    let (mut number, mut own_left) = (0, most.max(2));
    tried.retain(|it| {
        let is_between = (from..to).contains(&number);
        number += 1;
        let is_own = || it.attempt.http.is_some_and(|http| target(http) == own);
        let is_kept = !is_between || own_left > 0 && is_own();
        own_left -= usize::from(is_between && is_kept);
        is_kept
    });
    tried.shrink_to_fit();
    from == to
}

/// The first and the last of them, so many together, or two. They do not overlap.
fn ends<T>(all: &[T], most: usize) -> (&[T], &[T]) {
    let half = (most / 2).max(1);
    let (first, rest) = all.split_at(all.len().min(half));
    (first, &rest[rest.len().saturating_sub(half)..])
}

impl Attempted<'_> {
    /// How long it took, in microseconds.
    pub(super) fn took_us(&self) -> u64 {
        self.ended.micros_since(self.attempt.began)
    }
}

impl<'a> Attempt<'a> {
    /// What more is known of why it failed.
    pub(super) fn in_words(&self) -> Option<&'static str> {
        match self.fault? {
            Fault::NoResponse(_, silence) => silence.in_words(),
            Fault::KeepaliveRace(_, Because::Stopped) => Some("its server stopped"),
            Fault::UsedAfterClose => Some("the exchange before had ended the connection"),
            Fault::Unread => Some("its server closed with received data unread"),
            _ => None,
        }
    }

    /// Its connection.
    pub(super) fn connection(&self) -> Option<Position> {
        let summary = self.summary.map(|summary| (summary.connection.id, 0));
        self.http.map(position).or(summary)
    }

    /// Whether it was under way, for the same target, when the gateway was asked once more, and is not the other end of that.
    fn may_be_for_all(&self, asked: &Http) -> bool {
        self.http.is_some_and(|http| {
            let (own, other) = (asked.connection.ends(), http.connection.ends());
            let ended = http.exchange.timing.started.after_micros(http.exchange.timing.total_us);
            (own.local, own.peer) != (other.peer, other.local)
                && target(http) == target(asked)
                && [http, asked].into_iter().all(is_get)
                && ended > asked.exchange.timing.started
        })
    }

    /// What had become of it when the gateway answered, if that is known and may be why: the gateway had been asked at
    /// this time.
    fn until(&self, asked: Time, answered: Time) -> Option<Attempted<'_>> {
        let known = match self.http {
            Some(http) => self.of_exchange(http),
            None => self.of_connection(),
        };
        // What became of it behind the answer does not matter.
        let (fate, ended) = known.or_else(|| Some((Fate::Failed, self.unanswered_until()?)))?;
        if known.is_none() && ended <= answered {
            return None;
        }
        let ended = self.stopped.map_or(ended, |stopped| stopped.clamp(self.began, ended.max(self.began)));
        // What the kernel told the gateway was known before that answered.
        let slack_us = if fate.is_told() || known.is_none() { 0 } else { SLACK_US };
        if ended <= answered.after_micros(slack_us) {
            return Some(Attempted { attempt: self, fate, ended: ended.min(answered), is_running: false });
        }
        // A connection that carries no HTTP may have been answered long before it ends.
        let is_unanswered = match self.http {
            Some(http) => http.exchange.response.is_none() || self::answered(http) > answered,
            None => self.summary.is_some_and(|it| it.bytes.received == 0),
        };
        let least_us = if self.is_given_up(fate) { GIVEN_UP_LEAST_US } else { LEFT_RUNNING_LEAST_US };
        let is_pending = is_unanswered && self.is_left_running(asked, answered, least_us);
        let fate = match fate {
            _ if !self.is_connected() => Fate::SynUnanswered,
            // It had not come further then.
            Fate::Silent(_) | Fate::Handshake(Handshake::Ended) => fate,
            _ => Fate::Silent(Delivery::Sent),
        };
        is_pending.then_some(Attempted { attempt: self, fate, ended: answered, is_running: true })
    }

    /// Until when a request was not answered of which nothing else is known.
    fn unanswered_until(&self) -> Option<Time> {
        let http = self.http.filter(|http| http.exchange.response.is_none())?;
        Some(http.exchange.timing.started.after_micros(http.exchange.timing.total_us))
    }

    /// Whether this end closed without an answer, as gateways do that give up.
    fn is_given_up(&self, fate: Fate) -> bool {
        matches!(fate, Fate::Silent(_) | Fate::SynUnanswered | Fate::Handshake(Handshake::Ended))
            && self.summary.is_some_and(|it| !it.open)
    }

    /// Whether it was most of what the gateway did, so that it may be what the gateway stopped to wait for. Else it is
    /// somebody else's request that is just under way.
    fn is_left_running(&self, asked: Time, answered: Time, least_us: u64) -> bool {
        let (waited_us, all_us) = (answered.micros_since(self.began), answered.micros_since(asked));
        waited_us >= least_us && waited_us >= all_us / 2
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
            Some(fault) => Fate::of_fault(fault),
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
            let is_tls = self.summary.is_some_and(|it| it.answer_protocol.as_deref() == Some("tls"));
            return Some((if is_tls { Fate::InvalidTls } else { Fate::Invalid }, ended));
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
            if let Some(fate) = Fate::of_handshake(summary) {
                return Some((fate, ended));
            }
            let fate = self.of_close()?;
            let is_fault = match fate {
                Fate::Reset(_) | Fate::Failed => true,
                Fate::Closed => summary.bytes.received == 0,
                _ => summary.bytes.received == 0 && is_asked,
            };
            return is_fault.then_some((fate, ended));
        }
        let fate = match (summary.close.how, summary.close.reason.as_deref()) {
            (How::Refused, _) | (How::Error, Some("ECONNREFUSED")) => Fate::Refused,
            _ if sent_no_syn(summary) => Fate::NoSyn,
            _ if got_no_port(summary) => Fate::NoPort,
            _ if is_unreachable(summary) => Fate::NoRoute,
            (How::Timeout | How::Abandoned | How::Open, _) => Fate::SynUnanswered,
            (How::Error, _) => Fate::Failed,
            _ => return None,
        };
        Some((fate, ended))
    }

    /// What the end of its connection says, in place of a response.
    fn of_close(&self) -> Option<Fate> {
        let summary = self.summary?;
        let close = &summary.close;
        Some(match (close.how, close.by) {
            (How::Timeout | How::Error, _) => Fate::Failed,
            (How::Rst, By::Peer) => Fate::Reset(Rst::From(Origin::of(self.other))),
            (How::Fin, By::Peer) => Fate::Closed,
            (How::Fin | How::Rst, By::Local) | (How::Open, _) => Fate::Silent(Delivery::of(summary)),
            _ => return None,
        })
    }
}

/// Whether what the server did is why an exchange failed.
fn is_by_server(fault: Fault) -> bool {
    match fault {
        Fault::KeepaliveRace(..) | Fault::UsedAfterClose | Fault::Unread => true,
        Fault::Cut(stop) | Fault::NoResponse(stop, _) => matches!(stop, Stop::Closed | Stop::Reset),
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

/// What an exchange is about.
pub(super) fn target(http: &Http) -> Option<&[u8]> {
    Some(&http.exchange.request.as_ref()?.target.0)
}

/// Whether a cache may answer it with what it got for somebody else.
pub(super) fn is_get(http: &Http) -> bool {
    http.exchange.request.as_ref().is_some_and(|request| request.method.0.as_ref() == b"GET")
}

/// The process of a connection: its summary knows it best.
pub(super) fn life_process(life: &Life) -> Option<&Process> {
    life.summary.as_ref()?.connection.process.as_deref()
}

#[cfg(test)]
#[path = "upstreams_tests.rs"]
mod tests;
