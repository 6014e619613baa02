//! How attempts to connect went, and who closed first, summed up per process and destination.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Connection, ConnectionId, Fields, How, Process, StateSpan, Version},
    time::Time,
};

use crate::{conn::NO_SYN_SENT, timeline::Life};

/// Pairs of process and destination that are kept separately; connections of further ones are only counted.
pub const DESTINATIONS_MAX: usize = 10_000;
/// Connections that are given as examples of each outcome.
const EXAMPLES_MAX: usize = 4;

/// Sums of all processes and destinations.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    destinations: BTreeMap<Destination, Sums>,
    /// Connections to destinations that were one too many.
    pub uncounted: u64,
}

/// A process and where it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// Its id, when known.
    pub pid: Option<u32>,
    /// Its network namespace, when known.
    pub netns: Option<u32>,
    /// Address and port of the server.
    pub peer: SocketAddr,
}

/// What became of the connections to one destination.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// The process, when known.
    pub process: Option<Process>,
    /// Connections that were established.
    pub established: u64,
    /// Answered with an RST, or with ICMP's port unreachable.
    pub refused: Failures,
    /// Not answered at all.
    pub timed_out: Failures,
    /// Not answered until the client gave up, although the SYN was sent again.
    pub given_up: Failures,
    /// Failed by an ICMP message or for want of a route.
    pub unreachable: Failures,
    /// Without a local port: EADDRNOTAVAIL.
    pub without_port: Failures,
    /// Failed before a SYN was sent, from a local port: mostly a fixed one that another connection to the same destination had.
    pub unsent: Failures,
    /// Connections that this end closed first.
    pub closed_first: u64,
    /// HTTP exchanges on the connections that have ended.
    pub exchanges: u64,
    /// Connections whose last exchange said `Connection: close`, or was HTTP/1.0.
    pub told_to_close: u64,
}

/// Connections that failed in one way.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// The first and the last.
    pub when: Option<(Time, Time)>,
    /// Name of the error of the last.
    pub reason: Option<String>,
    /// SYNs that were sent again, of all.
    pub syn_retransmits: u64,
    /// From the first SYN to the end, of the longest, in microseconds.
    pub longest_us: u64,
    /// Some of them.
    pub examples: Vec<(ConnectionId, tcp_trace_model::record::Network)>,
}

impl Attempts {
    /// All of them, by process and destination.
    pub fn destinations(&self) -> impl Iterator<Item = (&Destination, &Sums)> {
        self.destinations.iter()
    }

    /// Takes the summary of a connection, with what is remembered of it.
    pub(super) fn connection(&mut self, summary: &Connection, life: Option<&Life>) {
        let Some(destination) = Destination::of(summary) else { return };
        if self.destinations.len() >= DESTINATIONS_MAX && !self.destinations.contains_key(&destination) {
            self.uncounted += 1;
            return;
        }
        let sums = self.destinations.entry(destination).or_default();
        if sums.process.is_none() {
            sums.process = summary.connection.process.as_deref().cloned();
        }
        if summary.states.iter().any(|span| span.state == State::Established) {
            sums.established += 1;
        } else {
            sums.add_failure(summary);
        }
        if !summary.open {
            sums.ended(summary, life);
        }
    }
}

impl Destination {
    /// Of a client's connection.
    pub(super) fn of(summary: &Connection) -> Option<Self> {
        let network = summary.connection.network.filter(|_| summary.connection.role == Some(Role::Client))?;
        let pid = summary.connection.process.as_deref().map(|process| process.pid);
        Some(Self { pid, netns: network.netns, peer: network.endpoints().peer })
    }
}

impl Sums {
    /// Counts a connect, if it failed.
    pub(super) fn add_failure(&mut self, summary: &Connection) {
        // Where an event was lost, the list of states may not begin with SYN_SENT, or not go on behind it.
        let is_connect =
            |span: &StateSpan| matches!(span.state, State::SynSent | State::SynRecv | State::Close);
        let is_only_connect = !summary.states.is_empty() && summary.states.iter().all(is_connect);
        if let Some(failures) = self.failures(summary).filter(|_| is_only_connect) {
            failures.add(summary);
        }
    }

    fn failures(&mut self, summary: &Connection) -> Option<&mut Failures> {
        Some(match summary.close.how {
            How::Refused => &mut self.refused,
            // By ICMP's port unreachable, or its RST came while the trace began.
            How::Error if summary.close.reason.as_deref() == Some("ECONNREFUSED") => &mut self.refused,
            How::Timeout => &mut self.timed_out,
            _ if sent_no_syn(summary) => &mut self.unsent,
            _ if got_no_port(summary) => &mut self.without_port,
            How::Error if is_unreachable(summary) => &mut self.unreachable,
            How::Abandoned if summary.handshake.is_some_and(|it| it.syn_retransmits > 0) => {
                &mut self.given_up
            }
            _ => return None,
        })
    }

    fn ended(&mut self, summary: &Connection, life: Option<&Life>) {
        self.closed_first += u64::from(summary.close.by == By::Local && summary.close.how == How::Fin);
        self.exchanges += life.map_or(0, |life| life.exchange_count);
        let last = life.and_then(|life| life.exchanges.back());
        self.told_to_close += u64::from(last.is_some_and(says_close));
    }
}

impl Failures {
    /// Those beside others among them, that `is_other` tells by their ids. The time of the longest is not known where it was one
    /// of the others.
    pub(super) fn without(&self, others: &Self, is_other: impl Fn(ConnectionId) -> bool) -> Self {
        Self {
            count: self.count.saturating_sub(others.count),
            syn_retransmits: self.syn_retransmits.saturating_sub(others.syn_retransmits),
            longest_us: if others.longest_us < self.longest_us { self.longest_us } else { 0 },
            examples: self.examples.iter().filter(|(id, _)| !is_other(*id)).copied().collect(),
            ..self.clone()
        }
    }

    fn add(&mut self, summary: &Connection) {
        self.count += 1;
        let first = self.when.map_or(summary.opened, |(first, _)| first.min(summary.opened));
        self.when = Some((first, summary.time));
        if summary.close.reason.is_some() {
            self.reason.clone_from(&summary.close.reason);
        }
        self.syn_retransmits += summary.handshake.map_or(0, |handshake| handshake.syn_retransmits.into());
        self.longest_us = self.longest_us.max(summary.duration_us.unwrap_or_default());
        if let (true, Some(network)) = (self.examples.len() < EXAMPLES_MAX, summary.connection.network) {
            self.examples.push((summary.connection.id, network));
        }
    }
}

/// Whether a connect failed because no local port was left: EADDRNOTAVAIL.
pub(super) fn got_no_port(summary: &Connection) -> bool {
    match summary.close.how {
        How::Error => summary.close.reason.as_deref() == Some("EADDRNOTAVAIL"),
        // Where it is known why no SYN was sent, it was not for want of a port.
        How::Abandoned | How::Unknown if summary.close.reason.is_none() => {
            summary.connection.network.is_some_and(|network| network.local.port == 0)
        }
        _ => false,
    }
}

/// Whether a connection failed because of what the network said, or its route: the errors of ICMP (`icmp_err_convert`, `icmpv6_err_convert()`), of
/// neighbour discovery and of routes that forbid.
pub(super) fn is_unreachable(summary: &Connection) -> bool {
    let errors = [
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EHOSTDOWN",
        "ENETDOWN",
        "ENONET",
        "EACCES",
        "ENOPROTOOPT",
        "EPROTO",
        "EOPNOTSUPP",
    ];
    let reason = summary.close.reason.as_deref();
    summary.close.how == How::Error && reason.is_some_and(|reason| errors.contains(&reason))
}

/// Whether a connect failed before a SYN was sent, although it had a local port.
pub(super) fn sent_no_syn(summary: &Connection) -> bool {
    summary.close.how == How::Error && summary.close.reason.as_deref() == Some(NO_SYN_SENT)
}

/// Whether an exchange says that its connection is not to be used again (RFC 9112, section 9.6).
pub(super) fn says_close(http: &tcp_trace_model::record::Http) -> bool {
    who_says_close(http).is_some()
}

/// Which of its messages says so, in words, if one does.
pub(super) fn who_says_close(http: &tcp_trace_model::record::Http) -> Option<&'static str> {
    let request = http.exchange.request.as_ref().map(|request| &request.headers);
    let response = http.exchange.response.as_ref().map(|response| &response.headers);
    let has = |headers: Option<&Fields>, token: &[u8]| {
        headers.is_some_and(|fields| fields.members("connection").any(|it| it.eq_ignore_ascii_case(token)))
    };
    match (has(response, b"close"), has(request, b"close")) {
        (true, _) => Some("the response said Connection: close"),
        (false, true) => Some("the request said Connection: close"),
        (false, false) => {
            let is_kept = has(request, b"keep-alive") || has(response, b"keep-alive");
            let is_old = http.exchange.version() == Some(Version::http1(0)) && !is_kept;
            is_old.then_some("HTTP/1.0 without keep-alive")
        }
    }
}
