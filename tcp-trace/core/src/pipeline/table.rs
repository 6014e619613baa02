//! The connections that are followed, by cookie.

use std::collections::{HashSet, VecDeque, hash_map::Entry};

use rustc_hash::FxHashMap;
use tcp_trace_model::{
    event::{Cookie, Owner},
    exchange::Outcome,
    record::{ConnectionId, Http, Record, TlsHandshake},
    time::Time,
};

use super::{
    cx::Cx,
    gate::Gate,
    lookups::{self, Resolutions},
    output::{Output, Skip},
};
use crate::{
    conn::{Connection, SharedOwner},
    http,
};

/// Connections that are followed at the same time; further ones are counted as lost.
pub const CONNECTIONS_MAX: usize = 1_000_000;
/// How long a closed connection waits for what still belongs to it, in microseconds: the kernel closes the
/// socket first and then sends the RST (`tcp_close()`, `tcp_disconnect()`).
const LINGER_US: u64 = 50_000;
/// How long it waits for an answer to the question for its route, or for plaintext that its process has not read.
const LONG_LINGER_US: u64 = 1_000_000;
/// How much longer than one that waits for its acknowledgment an exchange waits for bytes that another subflow may carry, in microseconds.
const OTHER_SUBFLOW_US: u64 = 900_000;

/// A connection with its gate.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) connection: Connection,
    pub(super) gate: Gate,
}

impl Tracked {
    /// A connection whose gate is not decided.
    #[inline]
    pub(super) fn new(time: Time, connection: Connection) -> Self {
        Self { connection, gate: Gate::new(time) }
    }

    /// Decides whether it comes out, if that can be decided now; for the last time when `is_final`.
    #[inline]
    pub(super) fn decide(&mut self, now: Time, is_final: bool, cx: &mut Cx) {
        self.gate.decide(&cx.settings.filter, &self.connection, now, is_final, &mut cx.out);
    }

    /// Learns that a process uses the socket. True when the filter excluded it so far and now has to decide again: then its
    /// payload is needed, too.
    pub(super) fn learn_user(&mut self, time: Time, user: &Owner, cx: &mut Cx) -> bool {
        let user = cx.owners.shared(user);
        self.learn_shared_user(time, user, cx)
    }

    /// The same of a process that other connections have, too.
    pub(super) fn learn_shared_user(&mut self, time: Time, user: SharedOwner, cx: &mut Cx) -> bool {
        let is_news = self.connection.learn_user(time, user);
        let waits_again = is_news && self.gate.reconsider(&cx.settings.filter, &self.connection, time);
        if waits_again {
            self.connection.begin_unrecorded();
            let cookie = self.connection.id().cookie;
            for direction in self.connection.lift_skips() {
                cx.out.push(Output::Skip(Skip { cookie, direction, until: None }));
            }
            self.need_plaintext(cx);
        }
        waits_again
    }

    /// Lets a record of it out, or holds or drops it.
    #[inline]
    pub(super) fn pass(&mut self, record: Record, cx: &mut Cx) {
        self.gate.pass(record, &cx.settings.filter, &self.connection, &mut cx.out);
    }

    /// Whether its payload is read.
    pub(super) fn is_read(&self) -> bool {
        !self.gate.is_shut() || self.connection.may_carry_dns()
    }

    /// Ends what it carries.
    pub(super) fn finish_payload(&mut self, now: Time, resolutions: &mut Resolutions, cx: &mut Cx) {
        self.connection.finish_payload(now, &mut cx.found);
        self.take_found(now, resolutions, cx);
        if let Some(acknowledged) = self.connection.acknowledged_until_reset() {
            let held = self.gate.held_exchanges().filter(|exchange| exchange.tls.is_none());
            held.for_each(|exchange| http::cut_by_reset(exchange, acknowledged));
        }
        self.gate.release(&mut cx.out);
    }

    /// Another subflow carries a part of what the process reads and writes: what is held as illegal may lack that.
    pub(super) fn lacks_bytes(&mut self) {
        self.gate.held_exchanges().for_each(http::may_lack_bytes);
    }

    /// Takes what the layers that read it found.
    pub(super) fn take_found(&mut self, now: Time, resolutions: &mut Resolutions, cx: &mut Cx) {
        if !cx.found.has_contents() {
            return;
        }
        if !cx.found.messages.is_empty() {
            resolutions.messages(&self.connection, cx);
        }
        let Self { connection, gate } = self;
        let Cx { found, settings, out, nameless_host, waiting, .. } = cx;
        if let Some(name) = found.server_name.take()
            && let Some(name) = lookups::host_name(&name)
        {
            connection.learn_sni(name);
        }
        if let Some((time, tls)) = found.tls_handshake.take()
            && connection.info().network.is_some()
        {
            let handshake = TlsHandshake { time, connection: connection.info().clone(), tls };
            gate.pass(Record::Tls(handshake), &settings.filter, connection, out);
        }
        for mut exchange in found.exchanges.drain(..) {
            if connection.info().network.is_none() {
                continue;
            }
            // What seems to be illegal may lack bytes that another subflow carries.
            let may_lack = exchange.outcome == Outcome::Invalid && !connection.further_subflows().is_empty();
            if !settings.show_secrets {
                exchange.redact();
            }
            // What a tunnel leads to is not this connection's server.
            if !connection.is_tunnel() {
                lookups::learn_host(connection, &exchange, nameless_host);
            }
            // What is inside of TLS has no numbers of TCP.
            let is_unacknowledged = exchange.tls.is_none() && connection.awaits_acknowledgment(&exchange);
            let info = match exchange.answered() {
                Some(answered) => connection.info_at(answered),
                None => connection.info().clone(),
            };
            let has_to_wait = match info.process {
                None => gate.wait_for_process(now),
                Some(_) if may_lack => gate.hold(now.after_micros(OTHER_SUBFLOW_US), out),
                Some(_) => is_unacknowledged && gate.hold(now, out),
            };
            if has_to_wait {
                waiting.push(info.id.cookie);
            }
            let http = Http { time: now, connection: info, exchange };
            gate.pass(Record::Http(http), &settings.filter, connection, out);
        }
    }
}

/// The connections that are followed.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// The kernel counts cookies up: nobody can choose them so that they collide.
    table: FxHashMap<Cookie, Box<Tracked>>,
    /// Those whose gate has to decide.
    undecided: Vec<Cookie>,
    /// Those whose socket is gone, by when it went: their summary is due.
    closed: VecDeque<(Time, ConnectionId)>,
    /// Sockets that ended while the list of those that were there before is read.
    ended_before_existing: Option<HashSet<Cookie>>,
}

impl Connections {
    #[inline]
    pub(super) fn get(&self, cookie: Cookie) -> Option<&Tracked> {
        self.table.get(&cookie).map(Box::as_ref)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, cookie: Cookie) -> Option<&mut Tracked> {
        self.table.get_mut(&cookie).map(Box::as_mut)
    }

    /// The connection with this name, if it is still there: its socket may have another by now.
    pub(super) fn of(&mut self, id: ConnectionId) -> Option<&mut Tracked> {
        self.get_mut(id.cookie).filter(|tracked| tracked.connection.id() == id)
    }

    /// The connection of a socket, or a `new` one; `None`, counted as lost, when there are too many.
    pub(super) fn get_or_add(
        &mut self,
        time: Time,
        cookie: Cookie,
        new: impl FnOnce() -> Connection,
        cx: &mut Cx,
    ) -> Option<&mut Tracked> {
        let is_full = self.table.len() >= CONNECTIONS_MAX;
        match self.table.entry(cookie) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(_) if is_full => {
                cx.out.lose(1);
                None
            }
            Entry::Vacant(vacant) => {
                self.undecided.push(cookie);
                Some(vacant.insert(Box::new(Tracked::new(time, new()))))
            }
        }
    }

    /// Notes that the gate of a connection is undecided again.
    pub(super) fn wait_for_decision(&mut self, cookie: Cookie) {
        self.undecided.push(cookie);
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Box<Tracked>> {
        self.of(id)?;
        if let Some(ended) = &mut self.ended_before_existing {
            ended.insert(id.cookie);
        }
        self.table.remove(&id.cookie)
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tracked> {
        self.table.values().map(Box::as_ref)
    }

    /// The names of those that are `wanted`, in their order: the table's own differs from run to run.
    pub(super) fn names(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<ConnectionId> {
        let wanted = self.iter().map(|tracked| &tracked.connection).filter(|connection| wanted(connection));
        let mut names: Vec<_> = wanted.map(Connection::id).collect();
        names.sort_unstable();
        names
    }

    /// Notes that the socket of a connection is gone.
    pub(super) fn close(&mut self, time: Time, id: ConnectionId) {
        self.closed.push_back((time, id));
    }

    /// A connection whose socket went long enough ago, with when it did; any when the session `is_over`.
    pub(super) fn next_closed(&mut self, now: Time, is_over: bool) -> Option<(Time, ConnectionId)> {
        let (time, id) = *self.closed.front()?;
        let closed_us = now.micros_since(time);
        let mut awaits = || {
            let tracked = self.of(id);
            tracked.is_some_and(|it| it.connection.awaits_route() || it.connection.awaits_plaintext())
        };
        if !is_over && (closed_us < LINGER_US || closed_us < LONG_LINGER_US && awaits()) {
            return None;
        }
        self.closed.pop_front()
    }

    /// Decides which come out whose records have waited long enough.
    pub(super) fn decide(&mut self, now: Time, cx: &mut Cx) {
        self.undecided.append(&mut cx.waiting);
        self.undecided.retain(|cookie| {
            let Some(tracked) = self.table.get_mut(cookie) else {
                return false;
            };
            tracked.decide(now, false, cx);
            cx.out.lose(tracked.gate.take_lost());
            tracked.gate.has_to_decide()
        });
    }

    /// Notes from now on which sockets end: a list is on its way of those that were there before.
    pub(super) fn expect_existing(&mut self) {
        self.ended_before_existing = Some(HashSet::new());
    }

    /// Whether that list has not come.
    pub(super) fn expects_existing(&self) -> bool {
        self.ended_before_existing.is_some()
    }

    /// The sockets that ended since [`expect_existing`](Self::expect_existing).
    pub(super) fn take_ended(&mut self) -> HashSet<Cookie> {
        self.ended_before_existing.take().unwrap_or_default()
    }
}
