//! Segments of connections: what they say of the connection, and what they carry.

use tcp_trace_model::{
    event::{Cookie, Direction, Flags, Role, Segment, State},
    record::{ConnectionId, Record},
    refusal::Verdict,
    time::Time,
};

use super::{Pipeline, Skip, half_open::four_tuple, output::Output, peers::Ends};
use crate::conn::{Connection, HeldSegment, Proof, Settled};

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
        let has_unsure = self.connections.get(cookie).is_some_and(|tracked| tracked.connection.has_unsure());
        let proof = if has_unsure { Proof::of(segment) } else { None };
        let copied = proof.map(|proof| self.settle(cookie, proof)).unwrap_or_default();
        let is_followed = match segment.verdict {
            Verdict::Refused(_) | Verdict::Unsure(_) => self.refused_segment(time, cookie, segment),
            Verdict::Taken | Verdict::WithoutPayload | Verdict::Old => {
                self.taken_segment(time, cookie, segment)
            }
        };
        for held in copied {
            let again = Segment { verdict: Verdict::Old, ..held.segment() };
            self.taken_segment(held.time, cookie, &again);
        }
        is_followed
    }

    /// Takes a segment that the kernel refuses, or may.
    fn refused_segment(&mut self, time: Time, cookie: Cookie, segment: &Segment<'_>) -> bool {
        let Self { cx, connections, .. } = self;
        let Some(tracked) = connections.get_mut(cookie) else { return false };
        if tracked.connection.is_own_syn(segment) {
            // The kernel takes nothing else of it.
            let syn = Segment { length: 0, payload: &[], zero_window: false, ..segment.clone() };
            return self.taken_segment(time, cookie, &syn);
        }
        let verdict = match segment.verdict {
            Verdict::Unsure(_) => {
                tracked.connection.contradicts(segment).map_or(segment.verdict, Verdict::Refused)
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Unsure(why) => {
                let lost = tracked.connection.hold_unsure(time, segment, why);
                tracked.gate.lose(lost);
            }
            Verdict::Refused(why) => {
                if let Some(record) = tracked.connection.refuse(time, segment, why) {
                    tracked.pass(Record::Segment(record), cx);
                }
            }
            Verdict::Taken | Verdict::WithoutPayload | Verdict::Old => {}
        }
        true
    }

    /// Finds out what became of segments of which it was not known whether the kernel took them. Gives those that came before the copy
    /// which is taken now.
    pub(super) fn settle(&mut self, cookie: Cookie, proof: Proof<'_>) -> Vec<HeldSegment> {
        let mut copied = Vec::new();
        let Some(tracked) = self.connections.get_mut(cookie) else { return copied };
        for settled in tracked.connection.settle(proof) {
            match settled {
                Settled::Taken(held) => {
                    let segment = Segment { verdict: Verdict::Taken, ..held.segment() };
                    self.taken_segment(held.time, cookie, &segment);
                }
                Settled::Copied(held) => copied.push(held),
                Settled::Lost => {
                    if let Some(tracked) = self.connections.get_mut(cookie) {
                        tracked.gate.lose(1);
                    }
                }
                Settled::Refused(record) => {
                    let Self { cx, connections, .. } = self;
                    if let (Some(tracked), Some(record)) = (connections.get_mut(cookie), record) {
                        tracked.pass(Record::Segment(record), cx);
                    }
                }
            }
        }
        copied
    }

    /// Takes a segment that the kernel takes.
    fn taken_segment(&mut self, time: Time, cookie: Cookie, segment: &Segment<'_>) -> bool {
        let Some(mut tracked) = self.connections.get_mut(cookie) else {
            return false;
        };
        if tracked.connection.is_subflow() {
            self.leave_first_subflow(time, cookie, segment);
            let Some(again) = self.connections.get_mut(cookie) else { return true };
            tracked = again;
        }
        let Self { cx, resolutions, .. } = self;
        tracked.connection.learn_endpoints(segment.endpoints, segment.netns);
        if tracked.gate.is_undecided() {
            resolutions.write_linked(&tracked.connection, cx);
            tracked.decide(time, false, cx);
        }
        if tracked.connection.is_acknowledged_by(segment) {
            tracked.gate.release(&mut cx.out);
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
        if is_read && segment.verdict == Verdict::Taken {
            tracked.connection.read(time, segment, &mut cx.found);
            tracked.connection.show_records(time, segment, &mut cx.starts);
        }
        if let Some(until) = tracked.connection.skip(segment, is_read) {
            cx.out.push(Output::Skip(Skip { cookie, direction: segment.direction, until }));
        }
        tracked.take_found(time, resolutions, cx);
        if !cx.starts.is_empty() {
            let id = tracked.connection.id();
            self.records_passed(time, id);
        }
        true
    }
}
