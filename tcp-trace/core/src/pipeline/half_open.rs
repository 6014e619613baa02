//! Half-open connections: what passes under a listener's cookie, and records of those that came to nothing.

use std::collections::HashSet;

use tcp_trace_model::{
    event::{Cookie, Endpoints, Role, Segment, State, StateChange},
    record::{ConnectionId, Record},
    refusal::Verdict,
    time::Time,
};

use super::{
    cx::Cx,
    peers::Peers,
    table::{Connections, Tracked},
};
use crate::conn::{Before, Connection, FourTuple, HalfOpen, HeldSegment, Over};

/// Half-open connections, and those that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Unaccepted {
    half_open: HalfOpen,
    /// How many were recorded.
    count: u32,
}

impl Unaccepted {
    /// Takes a segment that passed under a listener's cookie.
    pub(super) fn segment(
        &mut self,
        time: Time,
        listener: Cookie,
        segment: &Segment<'_>,
        (connections, peers): (&mut Connections, &mut Peers),
        cx: &mut Cx,
    ) {
        let lost = self.half_open.segment(four_tuple(segment), listener, time, segment);
        lose(listener, lost, connections, cx);
        self.write(time, (connections, peers), cx);
    }

    /// What passed of one that became a socket.
    pub(super) fn take(&mut self, key: &FourTuple) -> Before {
        self.half_open.take(key)
    }

    /// Notes that a listener was closed.
    pub(super) fn listener_closed(
        &mut self,
        listener: Cookie,
        time: Time,
        (connections, peers): (&mut Connections, &mut Peers),
        cx: &mut Cx,
    ) {
        self.half_open.listener_closed(listener, time);
        self.write(time, (connections, peers), cx);
    }

    /// Takes the kernel's list of a network namespace, read between `from` and `to`.
    pub(super) fn listed(
        &mut self,
        netns: u32,
        (from, to): (Time, Time),
        listed: &HashSet<Endpoints>,
        (connections, peers): (&mut Connections, &mut Peers),
        cx: &mut Cx,
    ) {
        self.half_open.listed(netns, from, listed);
        self.write(to, (connections, peers), cx);
    }

    /// The network namespaces of which a list is needed now.
    pub(super) fn namespaces(&self, now: Time, namespaces: &mut Vec<u32>) {
        self.half_open.namespaces(now, namespaces);
    }

    /// Lets time pass.
    pub(super) fn tick(
        &mut self,
        now: Time,
        (connections, peers): (&mut Connections, &mut Peers),
        cx: &mut Cx,
    ) {
        self.half_open.tick(now);
        self.write(now, (connections, peers), cx);
    }

    /// Ends the session.
    pub(super) fn finish(
        &mut self,
        now: Time,
        (connections, peers): (&mut Connections, &mut Peers),
        cx: &mut Cx,
    ) {
        self.half_open.finish();
        self.write(now, (connections, peers), cx);
    }

    /// Writes the records of those that ended without becoming a socket.
    fn write(&mut self, now: Time, (connections, peers): (&mut Connections, &mut Peers), cx: &mut Cx) {
        for listener in self.half_open.take_given_up() {
            lose(listener, 1, connections, cx);
            if let Some(tracked) = connections.get_mut(listener) {
                tracked.connection.give_up_half_open(1);
            }
        }
        for (listener, count) in self.half_open.take_unanswered() {
            if let Some(tracked) = connections.get_mut(listener) {
                tracked.connection.leave_unanswered(count);
            }
        }
        for over in self.half_open.take_over() {
            if over.is_known {
                self.record(over, (connections, peers), now, cx);
            }
        }
    }

    fn record(
        &mut self,
        over: Over,
        (connections, peers): (&mut Connections, &mut Peers),
        now: Time,
        cx: &mut Cx,
    ) {
        let Over { four_tuple, segments, refused, began, ended, estimated, listener_closed, .. } = over;
        let FourTuple { netns, endpoints } = four_tuple;
        self.count = self.count.wrapping_add(1);
        let id = ConnectionId::half_open(over.listener, self.count);
        let mut connection = Connection::new(id, began, None, Some(Role::Server));
        connection.learn_endpoints(endpoints, Some(netns));
        connection.learn_translated_of(&segments);
        let listener = connections.get(over.listener).map(|tracked| &tracked.connection);
        if let Some(owner) = listener.and_then(|listener| listener.owner()) {
            connection.learn_user(began, cx.owners.shared(owner));
        }
        let mut tracked = Tracked::new(began, connection);
        tracked.decide(began, true, cx);
        let Tracked { mut connection, gate } = tracked;
        if gate.is_shut() {
            return;
        }
        let answered = StateChange { endpoints, netns, ..StateChange::new(State::Listen, State::SynRecv) };
        let mut write = |record: Option<Record>| record.into_iter().for_each(|record| cx.out.record(record));
        let (unanswered, segments) = split(segments, began);
        for held in unanswered {
            write(connection.segment(held.time, &held.segment()).map(Record::Segment));
        }
        write(connection.change_state(began, &answered).map(Record::Transition));
        for held in segments {
            let segment = held.segment();
            let line = match segment.verdict {
                Verdict::Refused(why) => connection.refuse(held.time, &segment, why),
                _ => connection.segment(held.time, &segment),
            };
            write(line.map(Record::Segment));
        }
        connection.count_refused(&refused);
        connection.receives_nothing();
        if let Some(ended) = ended {
            let transition = connection.close_unaccepted(ended, estimated, listener_closed);
            write(transition.map(Record::Transition));
        }
        peers.link_half_open(&mut connection, connections);
        write(Some(Record::Connection(Box::new(connection.summary(ended.unwrap_or(now))))));
    }
}

/// Counts events of a listener's half-open connections as lost, if it is selected in the end.
fn lose(listener: Cookie, events: u32, connections: &mut Connections, cx: &mut Cx) {
    match connections.get_mut(listener) {
        Some(tracked) => {
            tracked.gate.lose(events);
            cx.out.lose(tracked.gate.take_lost());
        }
        None => cx.out.lose(events.into()),
    }
}

/// What passed before a half-open connection began, SYNs that were not answered, and the rest.
pub(super) fn split(mut segments: Vec<HeldSegment>, began: Time) -> (Vec<HeldSegment>, Vec<HeldSegment>) {
    let is_earlier = |held: &&HeldSegment| held.time < began;
    let rest = segments.split_off(segments.iter().take_while(is_earlier).count());
    (segments, rest)
}

/// The addresses of a segment with its network namespace.
pub(super) fn four_tuple(segment: &Segment<'_>) -> FourTuple {
    FourTuple { netns: segment.netns.unwrap_or_default(), endpoints: segment.endpoints }
}
