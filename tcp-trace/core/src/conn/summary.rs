//! A connection's summary line.

use tcp_trace_model::{
    container,
    event::{Direction, Role},
    record::{self, AcceptQueue, Bytes, Close, How, ZeroWindow},
    time::Time,
};

use super::{Connection, learning::Progress, mini_socket::MiniSocket};
/// Why nothing is known of an end.
const END_UNSEEN: &str = "its end was not seen";

impl Connection {
    /// The summary as of `now`.
    pub fn summary(&self, now: Time) -> record::Connection {
        let is_missing = self.has_socket() && self.socket.is_missing;
        let is_open = self.has_socket() && !is_missing;
        let cgroup = self.owner().and_then(|owner| owner.info.cgroup.as_deref());
        let is_listener = self.role() == Some(Role::Listener);
        let known = |figure: u32| (figure > 0 && !is_listener).then_some(figure);
        // The window in a segment that is sent is the local end's.
        let [local_us, peer_us] = self.stream.halves().each_ref().map(|half| half.zero_window_us(now));
        let (users, users_unrecorded) = self.identity.users();
        let mut summary = record::Connection {
            time: now,
            connection: self.info().clone(),
            server: self.other_end.server(),
            dns: self.resolved().cloned(),
            route: self.other_end.route.as_deref().cloned(),
            peer_connection: self.peer(),
            to_itself: self.info().ends().is_to_itself(),
            mptcp: self.socket.is_subflow,
            users,
            users_unrecorded,
            cgroup: cgroup.map(str::to_owned),
            container: self.info().container.as_deref().cloned(),
            unit: cgroup.and_then(|cgroup| container::identify(cgroup).unit),
            opened: self.states.opened,
            closed: self.closed(),
            duration_us: (!self.states.is_older && !is_missing)
                .then(|| self.closed().unwrap_or(now).micros_since(self.states.opened)),
            ends: self.ending().mini_socket.as_ref().and_then(MiniSocket::ends),
            seen_from_start: self.states.seen_from_start,
            open: is_open,
            states: self.states.recorded(),
            handshake: self.handshake.as_ref().and_then(|handshake| handshake.summary(self.role())),
            close: if is_open {
                Close { how: How::Open, process_ended: self.ending().process_ended, ..Close::default() }
            } else if is_missing {
                Close { how: How::Unknown, reason: Some(END_UNSEEN.to_owned()), ..Close::default() }
            } else {
                self.ending().judge(self.states.before_the_end())
            },
            bytes: Bytes {
                sent: self.stream.half(Direction::Out).seen.bytes,
                received: self.stream.half(Direction::In).seen.bytes,
            },
            bytes_before: self.socket.before.filter(|_| self.states.is_older).map(Progress::payload),
            retransmits: self.stream.halves().iter().map(|half| u64::from(half.seen.retransmits)).sum(),
            refused: self.socket.refused.as_ref().map(|refused| refused.counts.clone()).unwrap_or_default(),
            receive_queue: self.unread(self.socket.stats.receive_queue),
            first_used: self.socket.first_used,
            socket: self.socket.listed.clone().filter(|_| is_open),
            srtt_us: known(self.socket.stats.srtt_us),
            cwnd: known(self.socket.stats.cwnd),
            zero_window: (local_us + peer_us > 0).then_some(ZeroWindow { local_us, peer_us }),
            accept_queue: is_listener.then_some(AcceptQueue {
                length: self.socket.stats.accept_queue,
                limit: self.socket.stats.accept_queue_limit,
            }),
            half_open_unrecorded: self.listener.half_open_unrecorded,
            syns_unanswered: self.listener.syns_unanswered,
            stacks: self.stacks.as_deref().cloned(),
            ..record::Connection::default()
        };
        self.payload.describe(&mut summary);
        summary
    }
}
