//! What rules have found so far, and what that explains: no socket and no exchange is in two findings. Rules that find roots
//! are asked before those that find consequences.

use std::{collections::HashSet, ops::Deref};

use tcp_trace_model::{
    event::Role,
    record::{ConnectionId, Finding, Http},
};

use super::{Facts, behind::Root, failed_exchanges::half_open_until, finding::Case, snapshot::Socket};
use crate::timeline::{Life, Position, position};

/// An exchange, whichever end saw it: where it is at the client's end if that is sure to have seen it too.
pub(super) type ExchangeKey = Position;

/// Which exchange this is.
pub(super) fn exchange_key(facts: &Facts<'_>, http: &Http) -> ExchangeKey {
    facts.at_client(position(http))
}

/// Findings with what they explain.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub(super) all: Vec<Finding>,
    connections: HashSet<ConnectionId>,
    exchanges: HashSet<ExchangeKey>,
}

impl Findings {
    /// Adds one.
    pub(super) fn push(&mut self, finding: Finding) {
        self.all.push(finding);
    }

    /// Adds these.
    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.all.extend(findings);
    }

    /// Notes that a connection is explained, at both ends.
    pub(super) fn claim(&mut self, facts: &Facts<'_>, connection: ConnectionId) {
        self.connections.insert(connection);
        self.connections.extend(facts.other_life(connection).map(|life| life.connection));
    }

    /// The same of a socket.
    pub(super) fn claim_socket(&mut self, facts: &Facts<'_>, socket: &Socket) {
        self.claim(facts, socket.connection());
        self.connections.extend(facts.other_end(socket).map(Socket::connection));
    }

    /// Notes that an exchange is explained. False if it was before.
    pub(super) fn claim_exchange(&mut self, facts: &Facts<'_>, http: &Http) -> bool {
        self.exchanges.insert(exchange_key(facts, http))
    }

    /// Whether a connection is explained.
    pub(super) fn explain(&self, connection: ConnectionId) -> bool {
        self.connections.contains(&connection)
    }

    /// Whether an exchange is explained, or its connection, or what is behind it. What is said of an exchange says nothing of what
    /// is behind that.
    pub(super) fn explain_exchange(&self, facts: &Facts<'_>, http: &Http) -> bool {
        let key = exchange_key(facts, http);
        // A connection that broke off with its last exchange did so for the same reason; another one may have gone on.
        let is_explained = |root: Root<'_>| {
            self.exchanges.contains(&root.key) || root.failed.is_some() && self.explain(root.key.0)
        };
        self.explain(http.connection.id)
            || self.exchanges.contains(&key)
            || self.explain_half_open(facts, http)
            || facts.behind().roots(key).any(is_explained)
    }

    /// Whether a client had sent a request to a listener that is explained, whose kernel had not taken the end of the handshake and so not
    /// the request.
    fn explain_half_open(&self, facts: &Facts<'_>, http: &Http) -> bool {
        let client = facts.history.life_of(http.connection.id).filter(|it| it.role() == Some(Role::Client));
        let until = client.filter(|_| http.exchange.response.is_none()).and_then(half_open_until);
        let network = client.and_then(Life::network);
        until.zip(network).is_some_and(|(until, network)| {
            let peer = network.endpoints().peer;
            let listener = facts.listener_at(network.netns.unwrap_or_default(), peer);
            let is_explained = listener.is_some_and(|listener| self.explain(listener.connection()));
            http.exchange.timing.started < until && is_explained
        })
    }

    /// Whether a socket is explained, or the request on it that waits for an answer.
    fn explain_socket(&self, facts: &Facts<'_>, socket: &Socket) -> bool {
        let last = || facts.history.life_of(socket.connection())?.exchanges.back();
        let is_due = |http: &&Http| http.exchange.response.is_none();
        self.explain(socket.connection())
            || last().filter(is_due).is_some_and(|http| self.explain_exchange(facts, http))
    }

    /// Of these, those that are not explained yet, and now are.
    pub(super) fn unexplained<'a>(
        &mut self,
        facts: &Facts<'a>,
        cases: impl Iterator<Item = Case<'a>>,
    ) -> Vec<Case<'a>> {
        // Two ends of one connection may be cases of one finding.
        let cases: Vec<_> = cases.filter(|case| !self.explain_socket(facts, case.socket)).collect();
        cases.iter().for_each(|case| self.claim_socket(facts, case.socket));
        cases
    }
}

impl Deref for Findings {
    type Target = [Finding];

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}
