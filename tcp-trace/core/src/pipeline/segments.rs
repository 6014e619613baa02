//! Segments of connections: what they say of the connection, and what they carry.

use tcp_trace_model::{
    event::{Cookie, Direction, Flags, Role, Segment, State},
    record::{ConnectionId, Record},
    time::Time,
};

use super::{Pipeline, Skip, half_open::four_tuple, output::Output, peers::Ends};
use crate::conn::Connection;

impl Pipeline {
    /// Takes a segment.
    pub(super) fn segment(&mut self, time: Time, cookie: Cookie, segment: &Segment<'_>) {
        if matches!(segment.state, Some(State::Listen | State::SynRecv))
            && !self
                .connections
                .get(cookie)
                .is_some_and(|tracked| tracked.connection.role() != Some(Role::Listener))
        {
            self.half_open_segment(time, cookie, segment);
            return;
        }
        if self.own_segment(time, cookie, segment) {
            return;
        }
        let Some(state) = segment.state.filter(|state| !matches!(state, State::Close | State::TimeWait))
        else {
            self.mini_socket_segment(time, segment);
            return;
        };
        let new = || Connection::new(ConnectionId::of_socket(cookie, 0), time, Some(state), None);
        if self.connections.get_or_add(time, cookie, new, &mut self.cx).is_some() {
            self.own_segment(time, cookie, segment);
        }
    }

    /// Takes a segment that passed under a listener's cookie.
    fn half_open_segment(&mut self, time: Time, listener: Cookie, segment: &Segment<'_>) {
        if segment.direction == Direction::In && segment.flags.has(Flags::SYN) {
            // The kernel hands a SYN to the listener only when no mini-socket of these addresses refuses it. A client on this
            // host that the filter leaves out shows here only.
            self.reused_by_syn(four_tuple(segment), time);
        }
        self.unaccepted.segment(
            time,
            listener,
            segment,
            (&mut self.connections, &mut self.peers),
            &mut self.cx,
        );
    }

    /// Takes a segment of a connection, if it is followed: whether it is.
    pub(super) fn own_segment(&mut self, time: Time, cookie: Cookie, segment: &Segment<'_>) -> bool {
        let Self { cx, connections, resolutions, .. } = self;
        let Some(mut tracked) = connections.get_mut(cookie) else {
            return false;
        };
        tracked.connection.learn_endpoints(segment.endpoints, segment.netns);
        if tracked.gate.is_undecided() {
            resolutions.write_linked(&tracked.connection, cx);
            tracked.decide(time, false, cx);
        }
        if let Some(record) = tracked.connection.segment(time, segment) {
            // A connect that hangs: its route is asked for before it has failed.
            let is_unanswered = record.retransmit && segment.flags.has(Flags::SYN);
            tracked.pass(Record::Segment(record), cx);
            if is_unanswered {
                tracked.ask_route(cx);
            }
            if segment.flags.has(Flags::RST) && segment.direction == Direction::Out {
                self.reset_at_close(cookie);
            }
            // What it says of the other end comes out before what it carries.
            let Some(ends) = self.connections.get(cookie).map(|tracked| Ends::of(&tracked.connection)) else {
                return true;
            };
            self.note_other_end(time, ends, segment);
            let Some(again) = self.connections.get_mut(cookie) else { return true };
            tracked = again;
        }
        let Self { cx, resolutions, .. } = self;
        let is_read = tracked.is_read();
        if is_read {
            tracked.connection.read(time, segment, &mut cx.found);
        }
        if let Some(until) = tracked.connection.skip(segment, is_read) {
            cx.out.push(Output::Skip(Skip { cookie, direction: segment.direction, until }));
        }
        tracked.take_found(time, resolutions, cx);
        true
    }
}
