//! Half-open connections: what passes under a listener's cookie, and records of those that came to nothing.

use tcp_trace_model::{
    event::{Cookie, Direction, Flags, Role, Segment, State, StateChange},
    record::{ConnectionId, Record},
    time::Time,
};

use super::{Pipeline, gate::Gate};
use crate::conn::{Connection, FourTuple, Over};

impl Pipeline {
    /// Takes a segment that passed under a listener's cookie.
    pub(super) fn half_open_segment(
        &mut self,
        time: Time,
        listener: Cookie,
        segment: &Segment<'_>,
        out: &mut Vec<Record>,
    ) {
        let key = FourTuple { netns: segment.netns.unwrap_or_default(), endpoints: segment.endpoints };
        if segment.direction == Direction::In && segment.flags.has(Flags::SYN) {
            // The kernel hands a SYN to the listener only when no mini-socket of these addresses refuses it.
            self.reused(key, time, out);
            // A client on this host that the filter leaves out shows here only.
            self.reused(FourTuple { endpoints: key.endpoints.reversed(), ..key }, time, out);
        }
        self.lost += self.half_open.segment(key, listener, time, segment);
        self.half_open_over(time, out);
    }

    /// Writes the records of half-open connections that ended without becoming a socket.
    pub(super) fn half_open_over(&mut self, now: Time, out: &mut Vec<Record>) {
        for listener in self.half_open.take_given_up() {
            match self.table.get_mut(&listener) {
                Some(tracked) => tracked.connection.give_up_half_open(1),
                // Nobody is there to count it.
                None => self.lost += 1,
            }
        }
        for over in self.half_open.take_over() {
            if over.answered {
                self.record_half_open(over, now, out);
            } else if let Some(tracked) = self.table.get_mut(&over.listener) {
                tracked.connection.leave_unanswered(1);
            }
        }
    }

    fn record_half_open(&mut self, over: Over, now: Time, out: &mut Vec<Record>) {
        let Over { four_tuple, listener, segments, ended, estimated, listener_closed, .. } = over;
        let FourTuple { netns, endpoints } = four_tuple;
        let Some(began) = segments.first().map(|first| first.time) else { return };
        self.half_open_count = self.half_open_count.wrapping_add(1);
        let id = ConnectionId::half_open(listener, self.half_open_count);
        let mut connection = Connection::new(id, began, None, Some(Role::Server));
        connection.learn_endpoints(endpoints, Some(netns));
        if let Some(owner) = self.table.get(&listener).and_then(|tracked| tracked.connection.owner()) {
            connection.learn_owner(self.owners.shared(owner));
        }
        let mut gate = Gate::new(began);
        gate.decide(&self.settings.filter, &connection, began, true, out);
        if gate.is_shut() {
            return;
        }
        let answered = StateChange { endpoints, netns, ..StateChange::new(State::Listen, State::SynRecv) };
        out.extend(connection.change_state(began, &answered).map(Record::Transition));
        for held in segments {
            out.extend(connection.segment(held.time, &held.segment()).map(Record::Segment));
        }
        if let Some(ended) = ended {
            out.extend(connection.never_accepted(ended, estimated, listener_closed).map(Record::Transition));
        }
        out.push(Record::Connection(Box::new(connection.summary(ended.unwrap_or(now)))));
    }
}
