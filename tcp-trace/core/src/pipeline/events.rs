//! The pipeline itself: each kind of event on its way through the parts, and what ends connections.

use std::{collections::VecDeque, sync::Arc};

use tcp_trace_model::{
    event::{Cookie, Event, EventKind, Flags, Role, State, StateChange},
    record::{ConnectionId, Filter, Record, Route, Unlinked},
    time::Time,
};

use super::{
    cx::{Cx, Settings},
    half_open::{Unaccepted, split},
    lists::Lists,
    lookups::Resolutions,
    mini_sockets::MiniSockets,
    output::Output,
    peers::Peers,
    plaintext::Plaintexts,
    stacks::Stacks,
    table::Connections,
};
use crate::{
    conn::{Before, Connection, FourTuple, Proof},
    http,
};

/// How often [`Pipeline::tick`] is meant to be called, in microseconds.
pub const TICK_US: u64 = 100_000;

/// How often it is examined of a connection that has sent its FIN whether its end was reported, in microseconds.
const EXAMINED_US: u64 = 1_000_000;

/// The kernel's reason for an RST that a mini-socket sends (`SK_RST_REASON_TCP_TIMEWAIT_SOCKET`).
const OF_MINI_SOCKET: &str = "TCP_TIMEWAIT_SOCKET";

/// Turns events into records. What it has to say comes out of [`poll`](Self::poll), after every event, tick and answer.
///
/// Each part owns one thing, and gets the [`Cx`] and the other parts that it needs; what concerns several
/// connections at once is done here.
#[derive(Debug, Default)]
pub struct Pipeline {
    pub(super) cx: Cx,
    pub(super) connections: Connections,
    pub(super) unaccepted: Unaccepted,
    pub(super) mini_sockets: MiniSockets,
    pub(super) lists: Lists,
    pub(super) peers: Peers,
    pub(super) resolutions: Resolutions,
    pub(super) stacks: Stacks,
    /// Connections that have sent their FIN, and when they were examined last.
    ending: VecDeque<(Time, Cookie, ConnectionId)>,
    pub(super) plaintexts: Plaintexts,
}

impl Pipeline {
    /// A pipeline that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { cx: Cx { settings, ..Cx::default() }, ..Self::default() }
    }

    /// What is to be done next; `None` until there is another event, tick or answer.
    #[inline]
    pub fn poll(&mut self) -> Option<Output> {
        self.cx.out.poll()
    }

    /// Takes back a record that was read: the next one uses its memory.
    #[inline]
    pub fn take_back(record: Record) {
        if let Record::Http(http) = record {
            http::recycle(http.exchange);
        }
    }

    /// Which connections come out.
    pub fn filter(&self) -> &Filter {
        &self.cx.settings.filter
    }

    /// Whether a connection of a followed process is still open.
    pub fn has_open_followed(&self) -> bool {
        self.connections.iter().any(|tracked| {
            let connection = &tracked.connection;
            connection.closed().is_none() && connection.owner().is_some_and(|owner| owner.followed)
        })
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event<'_>) {
        let Event { time, cookie, .. } = *event;
        if time < self.cx.settings.since {
            return;
        }
        match &event.kind {
            EventKind::StateChange(change) => self.state_change(time, cookie, change),
            EventKind::Segment(segment) => self.segment(time, cookie, segment),
            EventKind::Translation(translation) => self.translation(time, cookie, translation),
            EventKind::Datagram(datagram) => self.resolutions.datagram(time, cookie, datagram, &mut self.cx),
            EventKind::Owner(owner) => {
                self.resolutions.owner(cookie, owner, &mut self.cx);
                if let Some(tracked) = self.connections.get_mut(cookie) {
                    let waits_again = tracked.learn_user(time, owner, &mut self.cx);
                    tracked.decide(time, false, &mut self.cx);
                    if waits_again {
                        self.connections.wait_for_decision(cookie);
                    }
                }
                self.share_user(time, cookie);
            }
            EventKind::Reset(reason) => self.reset(time, cookie, *reason),
            EventKind::Subflow(first) => self.subflow(time, cookie, *first),
            EventKind::Stack(stack) => self.stack(time, cookie, stack),
            EventKind::Plaintext(plaintext) => self.plaintext(time, plaintext),
            EventKind::Ciphertext(ciphertext) => self.ciphertext(time, ciphertext),
            EventKind::TlsObjectGone(object) => self.tls_object_gone(*object),
        }
    }

    /// Takes the answer to an [`Output::AskRoute`]; `None` when there is no route.
    pub fn route(&mut self, connection: ConnectionId, route: Option<Arc<Route>>) {
        if let Some(tracked) = self.connections.of(connection) {
            tracked.connection.learn_route(route);
        }
    }

    /// Lets time pass: summaries that are due, and records that have waited long enough.
    pub fn tick(&mut self, now: Time) {
        while let Some((time, id)) = self.connections.next_closed(now, false) {
            self.socket_gone(id, time);
        }
        self.connections.decide(now, &mut self.cx);
        self.unaccepted.tick(now, (&mut self.connections, &mut self.peers), &mut self.cx);
        self.resolutions.tick(now, &mut self.cx);
        self.ask_lists(now);
        self.end_unreported(now);
        self.tick_plaintext(now);
    }

    /// What TLS libraries' calls have shown that could be linked to no connection; nothing where it may belong to connections that a
    /// filter leaves out.
    pub fn unlinked(&self) -> Unlinked {
        if self.follows_all() { self.plaintexts.unlinked() } else { Unlinked::default() }
    }

    /// Notes that events were lost before `now`: payload that is missing will not come any more, so nothing
    /// waits for it. Without this, held payload would pile up behind every lost segment.
    pub fn events_lost(&mut self, now: Time) {
        let Self { cx, connections, resolutions, .. } = self;
        resolutions.events_lost();
        for id in connections.names(Connection::awaits_bytes) {
            if let Some(tracked) = connections.of(id) {
                tracked.connection.give_up_holes(now, &mut cx.found);
                tracked.take_found(now, resolutions, cx);
            }
        }
    }

    /// Ends the session: the summaries of all connections, open ones included.
    pub fn finish(&mut self, now: Time) {
        while let Some((time, id)) = self.connections.next_closed(now, true) {
            self.socket_gone(id, time);
        }
        self.resolutions.finish(now, &mut self.cx);
        self.unaccepted.finish(now, (&mut self.connections, &mut self.peers), &mut self.cx);
        for id in self.connections.names(|_| true) {
            self.retire(id, now);
        }
    }

    /// The kernel sends an RST for this reason.
    fn reset(&mut self, time: Time, cookie: Cookie, reason: u32) {
        let Some(reason) = self.cx.settings.reset_reasons.get(&reason).cloned() else { return };
        let Some(tracked) = self.connections.get_mut(cookie) else { return };
        let id = tracked.connection.id();
        // Mini-sockets keep the cookie of the socket whose place they took.
        if &*reason == OF_MINI_SOCKET {
            tracked.connection.learn_reset_reason(&reason);
            self.change_mini_socket(id, |connection| connection.mini_socket_sent_reset(time, false));
            return;
        }
        if let Some(line) = tracked.connection.unseen_reset(time, &reason) {
            tracked.pass(Record::Segment(line), &mut self.cx);
        }
        if tracked.connection.sends_reset(&reason) {
            self.reset_at_close(cookie);
        }
    }

    /// A socket sends an RST: if it is closed, no mini-socket has taken its place.
    pub(super) fn reset_at_close(&mut self, cookie: Cookie) {
        let Self { cx, connections, mini_sockets, .. } = self;
        let Some(tracked) = connections.get_mut(cookie) else { return };
        if let Some(transition) = tracked.connection.note_reset_at_close() {
            tracked.pass(Record::Transition(transition), cx);
            mini_sockets.forget(&tracked.connection);
        }
    }

    /// Ends connections whose end the kernel did not report: not every kernel runs programs in every context.
    fn end_unreported(&mut self, now: Time) {
        while let Some((_, cookie, id)) =
            self.ending.pop_front_if(|(since, ..)| now.micros_since(*since) > EXAMINED_US)
        {
            let Some(tracked) = self.connections.of(id) else { continue };
            if let Some(transition) = tracked.connection.catch_up(now) {
                tracked.pass(Record::Transition(transition), &mut self.cx);
            }
            if let Some((time, change)) = tracked.connection.unreported_end(now) {
                self.state_change(time, cookie, &change);
            } else if tracked.connection.awaits_end() {
                self.ending.push_back((now, cookie, id));
            }
        }
    }

    fn state_change(&mut self, time: Time, cookie: Cookie, change: &StateChange) {
        // Before Linux 6.18 this is reported before the child socket has its port and its final cookie.
        if change.old == State::Listen && change.new == State::SynRecv && change.endpoints.peer.port() == 0 {
            return;
        }
        let is_birth = change.old == State::Close;
        if is_birth && let Some(tracked) = self.connections.get(cookie) {
            // The socket connects again: its earlier connection is over.
            let id = tracked.connection.id();
            self.retire(id, time);
        }
        if change.old == State::SynRecv && self.connections.get(cookie).is_none() {
            // So the child socket is first seen here, after what should have been its first transition.
            let first = StateChange { old: State::Listen, new: State::SynRecv, ..change.clone() };
            self.state_change(time, cookie, &first);
        }
        if let (State::Close, Some([_, received])) = (change.new, change.passed) {
            self.settle(cookie, Proof::Closed(received));
        }
        let Self { cx, connections, resolutions, unaccepted, .. } = self;
        let new = || new_connection(time, cookie, change);
        let Some(tracked) = connections.get_or_add(time, cookie, new, cx) else { return };
        tracked.connection.learn_endpoints(change.endpoints, Some(change.netns));
        let waits_again = change.owner.as_ref().is_some_and(|owner| tracked.learn_user(time, owner, cx));
        let connection = &mut tracked.connection;
        if is_birth {
            resolutions.link(time, connection);
            if tracked.gate.is_undecided() {
                resolutions.write_linked(connection, cx);
            }
        }
        // A half-open connection became a socket: its life began with the SYN.
        let before = match (change.old, connection.role(), connection.endpoints()) {
            (State::Listen, Some(Role::Server), Some(endpoints)) => {
                unaccepted.take(&FourTuple { netns: change.netns, endpoints })
            }
            _ => Before::default(),
        };
        connection.learn_translated_of(&before.segments);
        connection.count_refused(&before.refused);
        let time = before.began.unwrap_or(time);
        if change.old == State::Listen && change.new != State::Close {
            let first = before.segments.first();
            let is_syn = first.is_some_and(|first| !first.segment().flags.has(Flags::ACK));
            connection.accept(before.began, is_syn);
        }
        let (unanswered, held) = split(before.segments, time);
        for held in unanswered {
            if let Some(record) = tracked.connection.segment(held.time, &held.segment()) {
                tracked.pass(Record::Segment(record), cx);
            }
        }
        if let Some(transition) = tracked.connection.change_state(time, change) {
            tracked.pass(Record::Transition(transition), cx);
        }
        tracked.decide(time, false, cx);
        tracked.ask_route_after(change, cx);
        let (id, peer) = (tracked.connection.id(), tracked.connection.peer());
        if waits_again {
            connections.wait_for_decision(cookie);
        }
        if matches!(change.new, State::FinWait1 | State::LastAck) {
            self.ending.push_back((time, cookie, id));
        }
        if change.new == State::Close {
            connections.close(time, id);
            if cx.settings.stacks {
                cx.out.push(Output::AskLastUse(cookie));
            }
            if change.old == State::Listen {
                unaccepted.listener_closed(cookie, time, (connections, &mut self.peers), cx);
            } else {
                self.socket_closes(time, id, peer, change);
            }
        }
        if change.owner.is_some() {
            self.share_user(time, cookie);
        }
        for held in held {
            self.own_segment(held.time, cookie, &held.segment());
        }
    }

    /// Ends what a connection carries whose socket is gone, and writes its summary unless a mini-socket goes on.
    pub(super) fn socket_gone(&mut self, id: ConnectionId, now: Time) {
        let Self { cx, connections, resolutions, .. } = self;
        let Some(tracked) = connections.of(id) else { return };
        tracked.finish_payload(now, resolutions, cx);
        tracked.decide(now, true, cx);
        let goes_on = match tracked.connection.state() {
            Some(State::TimeWait) if cx.settings.leave_time_wait => false,
            _ => tracked.connection.has_mini_socket(),
        };
        if tracked.gate.is_shut() || !goes_on {
            self.retire(id, now);
        }
    }

    /// Takes a connection out of the table and writes what is left to say of it.
    pub(super) fn retire(&mut self, id: ConnectionId, now: Time) {
        let Self { cx, connections, resolutions, mini_sockets, peers, stacks, .. } = self;
        let Some(mut tracked) = connections.remove(id) else { return };
        let unsettled = tracked.connection.forget_unsure();
        tracked.gate.lose(unsettled);
        tracked.finish_payload(now, resolutions, cx);
        if let Some(transition) = tracked.connection.catch_up(now) {
            tracked.pass(Record::Transition(transition), cx);
        }
        resolutions.closed(id, now, cx);
        mini_sockets.forget(&tracked.connection);
        peers.forget(&mut tracked, connections);
        tracked.decide(now, true, cx);
        cx.out.lose(tracked.gate.take_lost());
        if !tracked.gate.is_shut() {
            stacks.write(Box::new(tracked.connection.summary(now)), &mut cx.out);
        }
    }
}

/// The connection of a socket that is first seen with `change`.
fn new_connection(time: Time, cookie: Cookie, change: &StateChange) -> Connection {
    let id = ConnectionId::of_socket(cookie, change.incarnation);
    let (role, state) = match (change.old, change.new) {
        (State::Close, State::Listen) => (Some(Role::Listener), None),
        (State::Close, _) => (Some(Role::Client), None),
        (State::Listen, State::Close) => (Some(Role::Listener), Some(State::Listen)),
        (State::Listen, _) => (Some(Role::Server), None),
        (old, _) => (change.is_client.then_some(Role::Client), Some(old)),
    };
    Connection::new(id, time, state, role)
}
