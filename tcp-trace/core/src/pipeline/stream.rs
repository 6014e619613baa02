//! The pipeline itself: connections by cookie, their HTTP, and the records that come of each event.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use tcp_trace_model::{
    event::{Cookie, Direction, Event, EventKind, Flags, LastUse, Role, State, StateChange},
    record::{ConnectionId, Dns, Filter, Record},
    time::Time,
};

use super::{gate::Gate, owners::Owners, peers::Peers, routes::RouteQuestion};
use crate::{
    conn::{Connection, FourTuple, HalfOpen},
    dns::{Lookup, Lookups, Names},
    protocols::Found,
};

/// Connections that are followed at the same time; further ones are counted as lost.
pub const CONNECTIONS_MAX: usize = 1_000_000;
/// How often [`Pipeline::tick`] is meant to be called, in microseconds.
pub const TICK_US: u64 = 100_000;
/// How long a closed connection waits for what still belongs to it, in microseconds: the kernel closes the
/// socket first and then sends the RST (`tcp_close()`, `tcp_disconnect()`).
const LINGER_US: u64 = 50_000;
/// How long it waits for an answer to the question for its route.
const ROUTE_LINGER_US: u64 = 1_000_000;

/// The kernel's reason for an RST that a mini-socket sends (`SK_RST_REASON_TCP_TIMEWAIT_SOCKET`).
const OF_MINI_SOCKET: &str = "TCP_TIMEWAIT_SOCKET";

/// What a pipeline is asked for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which connections come out.
    pub filter: Filter,
    /// Whether credentials in header fields are kept.
    pub show_secrets: bool,
    /// The running kernel's names of the reasons for which it sends an RST.
    pub reset_reasons: HashMap<u32, Arc<str>>,
}

/// Payload that is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Of which socket.
    pub cookie: Cookie,
    /// Of which direction.
    pub direction: Direction,
    /// Before which sequence number; `None` when all is needed again.
    pub until: Option<u32>,
}

/// A connection with its gate.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) connection: Connection,
    pub(super) gate: Gate,
}

/// Turns events into records.
#[derive(Debug)]
pub struct Pipeline {
    pub(super) settings: Settings,
    /// The kernel counts cookies up: nobody can choose them so that they collide.
    pub(super) table: FxHashMap<Cookie, Box<Tracked>>,
    pub(super) owners: Owners,
    pub(super) half_open: HalfOpen,
    /// Half-open connections that were recorded.
    pub(super) half_open_count: u32,
    /// Connections whose socket is gone and whose mini-socket is not.
    pub(super) mini_sockets: HashMap<FourTuple, ConnectionId>,
    pub(super) peers: Peers,
    /// Sockets that ended while the list of those that were there before is read.
    pub(super) ended_before_existing: Option<HashSet<Cookie>>,
    /// Closed connections by the time of their closing; their summary is due.
    closed: VecDeque<(Time, ConnectionId)>,
    /// Connections whose gate is not decided.
    undecided: Vec<Cookie>,
    pub(super) lookups: Lookups,
    /// Lookups that are over and not recorded yet.
    pub(super) lookups_over: Vec<Lookup>,
    pub(super) lookup_count: u64,
    /// Recent lookups, with their records where those were not asked for yet.
    pub(super) names: Names<Box<Dns>>,
    pub(super) lost: u64,
    pub(super) skips: Vec<Skip>,
    pub(super) route_questions: Vec<RouteQuestion>,
    /// Reused from event to event.
    pub(super) found: Found,
    /// The last Host field that named no server.
    pub(super) nameless_host: Vec<u8>,
}

impl Pipeline {
    /// A pipeline that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            table: FxHashMap::default(),
            owners: Owners::default(),
            half_open: HalfOpen::default(),
            half_open_count: 0,
            mini_sockets: HashMap::new(),
            peers: Peers::default(),
            ended_before_existing: None,
            closed: VecDeque::new(),
            undecided: Vec::new(),
            lookups: Lookups::default(),
            lookups_over: Vec::new(),
            lookup_count: 0,
            names: Names::default(),
            lost: 0,
            skips: Vec::new(),
            route_questions: Vec::new(),
            found: Found::default(),
            nameless_host: Vec::new(),
        }
    }

    /// Which connections come out.
    pub fn filter(&self) -> &Filter {
        &self.settings.filter
    }

    /// Events given up since the last call because a bounded table was full.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost) + self.lookups.take_lost()
    }

    /// What to tell the kernel side since the last call.
    pub fn take_skips(&mut self) -> impl Iterator<Item = Skip> {
        self.skips.drain(..)
    }

    /// Whether a connection of a followed process is still open.
    pub fn has_open_followed(&self) -> bool {
        self.table.values().any(|tracked| {
            let connection = &tracked.connection;
            connection.closed().is_none() && connection.owner().is_some_and(|owner| owner.followed)
        })
    }

    /// Takes an event; its records are appended to `out`.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<Record>) {
        match &event.kind {
            EventKind::StateChange(change) => {
                self.state_change(event.time, event.cookie, change, out);
            }
            EventKind::Segment(segment) => {
                self.segment(event.time, event.cookie, segment, out);
            }
            EventKind::Datagram(datagram) => self.datagram(event.time, event.cookie, datagram, out),
            EventKind::Owner(owner) => {
                self.lookups.owner(event.cookie, owner, &mut self.lookups_over);
                self.pass_lookups(out);
                if let Some(tracked) = self.table.get_mut(&event.cookie) {
                    tracked.connection.learn_owner(self.owners.shared(owner));
                    tracked.gate.decide(&self.settings.filter, &tracked.connection, event.time, false, out);
                }
            }
            EventKind::Reset(reason) => self.reset(event.time, event.cookie, *reason, out),
            EventKind::Stack(stack) => {
                if let Some(tracked) =
                    self.table.get_mut(&event.cookie).filter(|tracked| !tracked.gate.is_shut())
                {
                    tracked.connection.learn_stack(event.time, stack);
                }
            }
        }
    }

    /// Notes the last use of a socket.
    pub fn last_use(&mut self, cookie: Cookie, last_use: LastUse) {
        if let Some(tracked) = self.table.get_mut(&cookie) {
            tracked.connection.learn_last_use(last_use);
        }
    }

    /// Sockets whose connections may come out and that are open.
    pub fn open_sockets(&self) -> impl Iterator<Item = Cookie> {
        let open = self
            .table
            .iter()
            .filter(|(_, tracked)| !tracked.gate.is_shut() && tracked.connection.has_socket());
        open.map(|(cookie, _)| *cookie)
    }

    /// Lets time pass: summaries that are due, and records that have waited long enough.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Record>) {
        while let Some((time, id)) = self.closed.front().copied() {
            let closed_us = now.micros_since(time);
            if closed_us < LINGER_US || closed_us < ROUTE_LINGER_US && self.awaits_route(id) {
                break;
            }
            self.closed.pop_front();
            self.socket_gone(id, time, out);
        }
        let mut undecided = std::mem::take(&mut self.undecided);
        undecided.retain(|cookie| {
            let Some(tracked) = self.table.get_mut(cookie) else {
                return false;
            };
            tracked.gate.decide(&self.settings.filter, &tracked.connection, now, false, out);
            self.lost += tracked.gate.take_lost();
            tracked.gate.is_undecided()
        });
        self.undecided = undecided;
        self.half_open.tick(now);
        self.half_open_over(now, out);
        self.lookups.tick(now, &mut self.lookups_over);
        self.pass_lookups(out);
        self.names.tick(now);
    }

    /// Notes that events were lost before `now`: payload that is missing will not come any more, so nothing
    /// waits for it. Without this, held payload would pile up behind every lost segment.
    pub fn events_lost(&mut self, now: Time, out: &mut Vec<Record>) {
        self.lookups.events_lost();
        let awaiting = self.table.iter().filter(|(_, tracked)| tracked.connection.awaits_bytes());
        let mut cookies: Vec<_> = awaiting.map(|(cookie, _)| *cookie).collect();
        // The table's own order differs from run to run.
        cookies.sort_unstable();
        for cookie in cookies {
            if let Some(tracked) = self.table.get_mut(&cookie) {
                tracked.connection.give_up_holes(now, &mut self.found);
            }
            self.take_found(cookie, now, out);
        }
    }

    /// Ends the session: the summaries of all connections, open ones included.
    pub fn finish(&mut self, now: Time, out: &mut Vec<Record>) {
        while let Some((time, id)) = self.closed.pop_front() {
            self.socket_gone(id, time, out);
        }
        self.lookups.finish(now, &mut self.lookups_over);
        self.pass_lookups(out);
        self.half_open.finish();
        self.half_open_over(now, out);
        let mut open: Vec<_> = self.table.values().map(|tracked| tracked.connection.id()).collect();
        open.sort_unstable();
        for id in open {
            self.retire(id, now, out);
        }
    }

    /// The kernel sends an RST for this reason.
    fn reset(&mut self, time: Time, cookie: Cookie, reason: u32, out: &mut Vec<Record>) {
        let reason = self.settings.reset_reasons.get(&reason);
        let Some(tracked) = self.table.get_mut(&cookie) else { return };
        if let Some(reason) = reason {
            tracked.connection.learn_reset_reason(reason);
        }
        // Mini-sockets keep the cookie of the socket whose place they took.
        let id = tracked.connection.id();
        if reason.is_some_and(|reason| &**reason == OF_MINI_SOCKET) {
            self.change_mini_socket(id, out, |connection| connection.mini_socket_sent_reset(time, false));
        }
    }

    fn state_change(&mut self, time: Time, cookie: Cookie, change: &StateChange, out: &mut Vec<Record>) {
        // Before Linux 6.18 this is reported before the child socket has its port and its final cookie.
        if change.old == State::Listen && change.new == State::SynRecv && change.endpoints.peer.port() == 0 {
            return;
        }
        let is_birth = change.old == State::Close;
        if is_birth && let Some(tracked) = self.table.get(&cookie) {
            // The socket connects again: its earlier connection is over.
            let id = tracked.connection.id();
            self.retire(id, time, out);
        }
        if change.old == State::SynRecv && !self.table.contains_key(&cookie) {
            // So the child socket is first seen here, after what should have been its first transition.
            let first = StateChange { old: State::Listen, new: State::SynRecv, ..change.clone() };
            self.state_change(time, cookie, &first, out);
        }
        if !self.table.contains_key(&cookie) && !self.add(time, cookie, new_connection(time, cookie, change))
        {
            return;
        }
        self.learn_ends(time, cookie, change, out);
        let Some(tracked) = self.table.get_mut(&cookie) else {
            return;
        };
        let connection = &mut tracked.connection;
        // A half-open connection became a socket: its life began with the SYN.
        let held = match (change.old, connection.role(), connection.endpoints()) {
            (State::Listen, Some(Role::Server), Some(endpoints)) => {
                self.half_open.take(&FourTuple { netns: change.netns, endpoints })
            }
            _ => Vec::new(),
        };
        let time = held.first().map_or(time, |first| first.time);
        if change.old == State::Listen && change.new != State::Close {
            let is_syn = held.first().is_some_and(|first| !first.segment().flags.has(Flags::ACK));
            connection.accept(held.first().map(|first| first.time), is_syn);
        }
        if let Some(transition) = connection.change_state(time, change) {
            tracked.gate.pass(Record::Transition(transition), out);
        }
        if change.new == State::Close {
            self.closed.push_back((time, connection.id()));
        }
        let is_listener_closed = change.old == State::Listen && change.new == State::Close;
        tracked.gate.decide(&self.settings.filter, &tracked.connection, time, false, out);
        if is_listener_closed {
            self.half_open.listener_closed(cookie, time);
            self.half_open_over(time, out);
        } else if change.new == State::Close {
            self.socket_closes(time, cookie, change, out);
        }
        self.ask_route_after(cookie, change);
        for held in held {
            self.own_segment(held.time, cookie, &held.segment(), out);
        }
    }

    pub(super) fn add(&mut self, time: Time, cookie: Cookie, connection: Connection) -> bool {
        if self.table.len() >= CONNECTIONS_MAX {
            self.lost += 1;
            return false;
        }
        self.undecided.push(cookie);
        self.table.insert(cookie, Box::new(Tracked { connection, gate: Gate::new(time) }));
        true
    }

    /// The connection with this name, if it is still there: its socket may have another by now.
    pub(super) fn tracked(&mut self, id: ConnectionId) -> Option<&mut Tracked> {
        let tracked = self.table.get_mut(&id.cookie)?;
        (tracked.connection.id() == id).then_some(tracked)
    }

    /// Ends what a connection carries whose socket is gone, and writes its summary unless a mini-socket goes on.
    pub(super) fn socket_gone(&mut self, id: ConnectionId, now: Time, out: &mut Vec<Record>) {
        self.finish_payload(id, now, out);
        let filter = &self.settings.filter;
        let Some(tracked) = self.table.get_mut(&id.cookie).filter(|tracked| tracked.connection.id() == id)
        else {
            return;
        };
        tracked.gate.decide(filter, &tracked.connection, now, true, out);
        if tracked.gate.is_shut() || !tracked.connection.has_mini_socket() {
            self.retire(id, now, out);
        }
    }

    fn finish_payload(&mut self, id: ConnectionId, now: Time, out: &mut Vec<Record>) {
        let Some(tracked) = self.table.get_mut(&id.cookie).filter(|tracked| tracked.connection.id() == id)
        else {
            return;
        };
        tracked.connection.finish_payload(now, &mut self.found);
        self.take_found(id.cookie, now, out);
    }

    /// Takes a connection out of the table and writes what is left to say of it.
    pub(super) fn retire(&mut self, id: ConnectionId, now: Time, out: &mut Vec<Record>) {
        self.finish_payload(id, now, out);
        if self.tracked(id).is_none() {
            return;
        }
        self.end_lookups_of(id, now, out);
        let Some(mut tracked) = self.table.remove(&id.cookie) else {
            return;
        };
        if let Some(ended) = &mut self.ended_before_existing {
            ended.insert(id.cookie);
        }
        self.forget_mini_socket(&tracked.connection);
        self.forget_peer(&mut tracked);
        tracked.gate.decide(&self.settings.filter, &tracked.connection, now, true, out);
        self.lost += tracked.gate.take_lost();
        if !tracked.gate.is_shut() {
            let summary = tracked.connection.summary(now);
            tracked.gate.pass(Record::Connection(Box::new(summary)), out);
        }
    }
}

/// The connection of a socket that is first seen with `change`.
fn new_connection(time: Time, cookie: Cookie, change: &StateChange) -> Connection {
    let id = ConnectionId::of_socket(cookie, change.life);
    let (role, state) = match (change.old, change.new) {
        (State::Close, State::Listen) => (Some(Role::Listener), None),
        (State::Close, _) => (Some(Role::Client), None),
        (State::Listen, State::Close) => (Some(Role::Listener), Some(State::Listen)),
        (State::Listen, _) => (Some(Role::Server), None),
        (old, _) => (None, Some(old)),
    };
    Connection::new(id, time, state, role)
}
