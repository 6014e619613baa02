//! Which attempt to get an answer was the one for a request. A connect does not say that: it is known of the server, where other
//! requests had shown for which paths a gateway asks it.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use tcp_trace_model::{
    record::{ConnectionId, Http, Text},
    time::Time,
};

use super::{
    fate::{Fate, Handshake},
    upstreams::{Attempted, Upstreams, answered, target},
};
use crate::timeline::position;

/// What a gateway answers later than this behind a failure, and than a tenth of the time since it was asked, may have another cause, in
/// microseconds.
const RIGHT_BEHIND_US: u64 = 50_000;
/// A gateway connects again within this time after a connection failed, in microseconds.
const NEXT_US: u64 = 20_000;

/// Whose requests: processes of one name have one configuration.
type Gateway<'a> = Option<&'a Text>;

/// A request to a gateway, and what that tried meanwhile.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) http: &'a Http,
    pub(super) gateway: Gateway<'a>,
    pub(super) pid: u32,
    pub(super) tried: Vec<Attempted<'a>>,
}

/// What explains an answer.
#[derive(Debug, Default)]
pub(super) struct Explained<'a> {
    /// The best explanation, and what else was tried for the request and ended in the same way.
    pub(super) tried: Vec<Attempted<'a>>,
    /// What was tried for it just before, and ended otherwise.
    pub(super) before: Vec<Attempted<'a>>,
}

/// Whether an attempt is one for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    /// It is for the same target.
    Target,
    /// Its server is one that is asked for such paths.
    Server,
    /// Nothing says for what it is.
    Unknown,
    /// Its server was only seen to be asked for other paths, or such paths only at other servers.
    OtherServer,
    /// It is for another target.
    OtherTarget,
}

/// How well an attempt explains an answer: the less the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// That an answer was not wanted is the last thing to think of.
    is_unwanted: bool,
    /// Whether it seems to be for something else: [`Relation::Unknown`] where it may be for this request.
    other: Relation,
    /// The answer did not follow it, and it may be for something else.
    is_early: bool,
    relation: Relation,
    /// It fits the status less than others.
    is_unlikely: bool,
    /// It went on behind the answer.
    is_running: bool,
}

/// What was seen of the configurations of all gateways.
#[derive(Debug, Default)]
pub(super) struct Routing<'a> {
    /// Servers, by how the paths begin for which they are asked.
    routes: HashMap<(Gateway<'a>, &'a [u8]), HashSet<SocketAddr>>,
    /// Servers that are asked for something.
    known: HashSet<(Gateway<'a>, SocketAddr)>,
    /// Attempts that are for a request that was under way, as far as that is known.
    owned: HashMap<(ConnectionId, u64), Relation>,
    /// Requests beside which their process had no other that ended in an error.
    alone: HashSet<(ConnectionId, u64)>,
}

impl<'a> Routing<'a> {
    /// Learns from requests of gateways to their servers, and from requests to gateways beside which there was no other.
    pub(super) fn of(upstreams: &Upstreams<'a>, asked: &[Asked<'a>]) -> Self {
        let mut routing = Self::default();
        for (gateway, attempt) in upstreams.all() {
            if let Some(target) = attempt.http.and_then(target) {
                routing.learn((Some(gateway), first_segment(target)), attempt.server);
            }
        }
        for it in alone(asked) {
            routing.alone.insert(position(it.http));
            let Some(target) = target(it.http).filter(|_| !upstreams.has_other_targets(it.pid, it.http))
            else {
                continue;
            };
            for attempted in it.tried.iter().filter(|attempted| attempted.attempt.http.is_none()) {
                routing.learn((it.gateway, first_segment(target)), attempted.attempt.server);
            }
        }
        routing.owned = upstreams.for_target().iter().map(|attempt| (*attempt, Relation::Target)).collect();
        routing.assign(asked);
        routing
    }

    /// Finds for which request each attempt was, where that is known: one with its target, or else one for such paths that has no
    /// attempt at this server yet. Of several the one that is answered first, so that as many attempts as possible find one (Glover's
    /// matching in convex bipartite graphs).
    fn assign(&mut self, asked: &[Asked<'a>]) {
        let mut all = Vec::new();
        for (at, it) in asked.iter().enumerate() {
            for (number, tried) in it.tried.iter().enumerate() {
                let relation = self.relation(it, tried);
                if relation <= Relation::Unknown {
                    all.push((tried.attempt.began, answered(it.http), at as u32, number as u32, relation));
                }
            }
        }
        let pair = |at: u32, number: u32| {
            let it = asked.get(at as usize)?;
            let tried = it.tried.get(number as usize)?;
            Some((position(it.http), tried.attempt.connection()?, tried.attempt.server))
        };
        all.sort_by(|one, other| {
            let key = |(began, answered, at, number, _): &(Time, Time, u32, u32, Relation)| {
                (*began, pair(*at, *number).map(|(_, attempt, _)| attempt), *answered)
            };
            one.0.cmp(&other.0).then_with(|| key(one).cmp(&key(other)))
        });
        let (mut served, mut has_own) = (HashSet::new(), HashSet::new());
        for (_, _, at, number, relation) in &all {
            let Some((request, attempt, server)) = pair(*at, *number) else { continue };
            let is_owner = match relation {
                Relation::Target => true,
                Relation::Server => !self.owned.contains_key(&attempt) && served.insert((request, server)),
                Relation::Unknown | Relation::OtherServer | Relation::OtherTarget => false,
            };
            if is_owner {
                has_own.insert(request);
                let known = self.owned.entry(attempt).or_insert(*relation);
                *known = (*relation).min(*known);
            }
        }
        // Where nothing is known of either, a request that has no other.
        for (_, _, at, number, relation) in all {
            let Some((request, attempt, _)) = pair(at, number) else { continue };
            let is_unknown = relation == Relation::Unknown;
            if is_unknown && !self.owned.contains_key(&attempt) && has_own.insert(request) {
                self.owned.insert(attempt, Relation::Unknown);
            }
        }
    }

    fn learn(&mut self, route: (Gateway<'a>, &'a [u8]), server: SocketAddr) {
        self.known.insert((route.0, server));
        self.routes.entry(route).or_default().insert(server);
    }

    /// Of what was tried, what explains best that a process answered so: whether the answer followed it, whether it was for this
    /// request, how it fits to the status, then the last.
    pub(super) fn explain(&self, asked: &Asked<'a>) -> Explained<'a> {
        let Some(response) = &asked.http.exchange.response else { return Explained::default() };
        let status = response.status_code;
        let mut fitting: Vec<_> =
            asked.tried.iter().filter_map(|it| Some((self.rank(status, asked, it)?, *it))).collect();
        fitting.sort_by_key(|(rank, it)| (*rank, Reverse(it.ended)));
        let Some((least, chosen)) = fitting.first().copied() else { return Explained::default() };
        // What was tried behind that, and failed too, is why it ended so: on another server, if no other request can have tried it.
        let is_alone = self.alone.contains(&position(asked.http));
        let is_next = |(rank, it): &&(Rank, Attempted<'_>)| {
            let is_reconnect = it.attempt.server == chosen.attempt.server
                && it.attempt.began.micros_since(chosen.ended) <= NEXT_US;
            let is_its = is_alone && rank.relation != Relation::OtherTarget;
            it.attempt.began >= chosen.ended && !rank.is_unwanted && (is_its || is_reconnect)
        };
        let next = fitting.iter().filter(is_next).max_by_key(|(_, it)| it.ended).copied();
        let (least, chosen) = next.unwrap_or((least, chosen));
        let (mut tried, mut before) = (vec![chosen], Vec::new());
        for (rank, it) in fitting {
            let is_at_its_server =
                it.attempt.server == chosen.attempt.server && rank.relation == least.relation;
            let is_its =
                rank.relation <= Relation::Server || is_alone && rank.relation != Relation::OtherTarget;
            let is_before = is_its && it.ended <= chosen.attempt.began;
            if it.attempt.connection() == chosen.attempt.connection() {
                continue;
            }
            match it.fate == chosen.fate {
                true if is_at_its_server || is_before => tried.push(it),
                false if is_before => before.push(it),
                _ => {}
            }
        }
        Explained { tried, before }
    }

    fn rank(&self, status: u16, asked: &Asked<'_>, it: &Attempted<'_>) -> Option<Rank> {
        let relation = self.relation(asked, it);
        let owner = it.attempt.connection().and_then(|attempt| self.owned.get(&attempt));
        if owner.is_some_and(|owner| *owner < relation) {
            return None;
        }
        let is_handshake = it.fate == Fate::Handshake(Handshake::Ended);
        let is_timeout =
            is_handshake || matches!(it.fate, Fate::SynUnanswered | Fate::Silent(_) | Fate::Failed);
        let (is_unwanted, is_unlikely) = match (status, it.fate) {
            (_, Fate::Answered(answered)) if answered == status => (false, false),
            (502, Fate::Answered(_)) if relation != Relation::OtherTarget => (true, true),
            (_, Fate::Answered(_)) => return None,
            (500, Fate::SynUnanswered | Fate::Silent(_)) => return None,
            (500 | 502, fate) => (false, is_timeout && fate != Fate::Failed && !is_handshake),
            (503, fate) => (
                false,
                !matches!(
                    fate,
                    Fate::Refused
                        | Fate::SynUnanswered
                        | Fate::NoRoute
                        | Fate::NoPort
                        | Fate::NoSyn
                        | Fate::Handshake(_)
                        | Fate::Failed
                ),
            ),
            (504, _) => (false, !is_timeout),
            _ => return None,
        };
        let answered = answered(asked.http);
        let all_us = answered.micros_since(asked.http.exchange.timing.started);
        let behind_us = answered.micros_since(it.ended);
        let is_early = relation != Relation::Target && behind_us > RIGHT_BEHIND_US.max(all_us / 10);
        let other = relation.max(Relation::Unknown);
        Some(Rank { is_unwanted, other, is_early, relation, is_unlikely, is_running: it.is_running })
    }

    fn relation(&self, asked: &Asked<'_>, it: &Attempted<'_>) -> Relation {
        let (own, server) = (target(asked.http), it.attempt.server);
        if let Some(of_it) = it.attempt.http.and_then(target) {
            return if own == Some(of_it) { Relation::Target } else { Relation::OtherTarget };
        }
        let route = own.and_then(|own| self.routes.get(&(asked.gateway, first_segment(own))));
        match route {
            Some(servers) if servers.contains(&server) => Relation::Server,
            None if !self.known.contains(&(asked.gateway, server)) => Relation::Unknown,
            _ => Relation::OtherServer,
        }
    }
}

/// Requests beside which the same process had no other that ended in an error.
fn alone<'b, 'a>(asked: &'b [Asked<'a>]) -> Vec<&'b Asked<'a>> {
    let span = |it: &Asked<'_>| (it.http.exchange.timing.started, answered(it.http));
    let mut sorted: Vec<_> = asked.iter().collect();
    sorted.sort_by_key(|it| (it.pid, span(it)));
    let mut all = Vec::new();
    let mut before: Option<(u32, Time)> = None;
    for (number, it) in sorted.iter().enumerate() {
        let (started, ended) = span(it);
        let is_behind = before.is_none_or(|(pid, end)| pid != it.pid || end < started);
        let next = sorted.get(number + 1).filter(|next| next.pid == it.pid);
        if is_behind && next.is_none_or(|next| span(next).0 > ended) {
            all.push(*it);
        }
        let last = before.filter(|(pid, _)| *pid == it.pid).map_or(ended, |(_, end)| end.max(ended));
        before = Some((it.pid, last));
    }
    all
}

/// `/api` of `/api/items?page=2`: what most gateways decide by.
fn first_segment(target: &[u8]) -> &[u8] {
    let end = target.iter().skip(1).position(|byte| matches!(byte, b'/' | b'?'));
    end.and_then(|end| target.get(..=end)).unwrap_or(target)
}
