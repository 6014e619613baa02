//! A connection's summary line.

use tcp_trace_model::{
    event::{Direction, Role},
    record::{self, AcceptQueue, By, Bytes, Close, How, ZeroWindow},
    time::Time,
};

use super::{Connection, mini_socket::MiniSocket};
use crate::container;

impl Connection {
    /// The summary as of `now`.
    pub fn summary(&self, now: Time) -> record::Connection {
        let is_open = self.has_socket();
        let cgroup = self.owner().and_then(|owner| owner.place.cgroup.as_deref());
        let identity = cgroup.map(container::identify).unwrap_or_default();
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
            mptcp: self.socket.is_subflow,
            users,
            users_unrecorded,
            cgroup: cgroup.map(str::to_owned),
            container: identity.container.map(|container| record::Container {
                id: container.id,
                runtime: container.runtime.map(str::to_owned),
            }),
            unit: identity.unit,
            opened: self.states.opened,
            closed: self.closed(),
            duration_us: self.closed().unwrap_or(now).micros_since(self.states.opened),
            ends: self.ending().mini_socket.as_ref().and_then(MiniSocket::ends),
            seen_from_start: self.states.seen_from_start,
            open: is_open,
            states: self.states.recorded(),
            handshake: self.handshake.as_ref().and_then(|handshake| handshake.summary(self.role())),
            close: if is_open {
                Close { by: By::None, how: How::Open, reason: None }
            } else {
                self.ending().judge(self.states.before_the_end())
            },
            bytes: Bytes {
                sent: self.stream.half(Direction::Out).seen.bytes,
                received: self.stream.half(Direction::In).seen.bytes,
            },
            retransmits: self.stream.halves().iter().map(|half| u64::from(half.seen.retransmits)).sum(),
            receive_queue: self.unread(self.socket.figures.receive_queue),
            srtt_us: known(self.socket.figures.srtt_us),
            cwnd: known(self.socket.figures.cwnd),
            zero_window: (local_us + peer_us > 0).then_some(ZeroWindow { local_us, peer_us }),
            accept_queue: is_listener.then_some(AcceptQueue {
                length: self.socket.figures.accept_queue,
                limit: self.socket.figures.accept_queue_limit,
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
