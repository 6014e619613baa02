//! Connections that are subflows of one MPTCP socket (RFC 8684): a process uses all of them at once, and the bytes of what it reads and
//! writes are on any.

use tcp_trace_model::{
    event::{Cookie, Flags, Segment},
    time::Time,
};

use super::Pipeline;
use crate::conn::{SUBFLOWS_MAX, SharedOwner};

impl Pipeline {
    /// A socket is a further subflow of the MPTCP socket that began with `first`: both have the same process. What the further one
    /// carries is a part of what the process reads and writes, so that it is not read.
    pub(super) fn subflow(&mut self, time: Time, cookie: Cookie, first: Cookie) {
        if !self.is_in_use(first, cookie) {
            return;
        }
        self.leave_to_others(time, cookie);
        let known = self.connections.get(first).map(|tracked| tracked.connection.further_subflows());
        if known.is_none_or(|known| known.contains(&cookie)) {
            return;
        }
        let mut further: Vec<Cookie> = known.unwrap_or_default().to_vec();
        if further.len() >= SUBFLOWS_MAX {
            // Those that have ended are of no use any more.
            further.retain(|cookie| self.has_socket(*cookie));
        }
        if further.len() >= SUBFLOWS_MAX {
            self.cx.out.lose(1);
            return;
        }
        further.push(cookie);
        if let Some(tracked) = self.connections.get_mut(cookie) {
            tracked.connection.learn_first(first);
        }
        let Some(tracked) = self.connections.get_mut(first) else { return };
        tracked.connection.learn_further(further);
        if let Some(user) = tracked.connection.shared_owner() {
            self.learn_user(time, cookie, &user);
        }
    }

    /// A segment of a subflow shows that what the MPTCP socket carries is not all on the one that it began with: payload on another one, or
    /// the end of this one alone.
    pub(super) fn leave_first_subflow(&mut self, time: Time, cookie: Cookie, segment: &Segment<'_>) {
        let Some(tracked) = self.connections.get_mut(cookie) else { return };
        let is_end = segment.flags.has(Flags::FIN) || segment.flags.has(Flags::RST);
        if is_end && !tracked.connection.further_subflows().is_empty() {
            self.leave_to_others(time, cookie);
        } else if segment.length > 0
            && let Some(first) = tracked.connection.take_first()
        {
            if let Some(tracked) = self.connections.get_mut(first) {
                tracked.lacks_bytes();
            }
            self.leave_to_others(time, first);
        }
    }

    /// Reads nothing more of a subflow.
    pub(super) fn leave_to_others(&mut self, time: Time, cookie: Cookie) {
        let Self { cx, connections, resolutions, .. } = self;
        let Some(tracked) = connections.get_mut(cookie) else { return };
        tracked.connection.leave_to_others(time, &mut cx.found);
        tracked.take_found(time, resolutions, cx);
    }

    fn has_socket(&self, cookie: Cookie) -> bool {
        self.connections.get(cookie).is_some_and(|tracked| tracked.connection.has_socket())
    }

    /// Whether an MPTCP socket that began with `first` may have another subflow. The kernel's programs know MPTCP sockets by their addresses,
    /// which come again: where the end of one was not seen, another would begin with a further subflow of that.
    fn is_in_use(&self, first: Cookie, except: Cookie) -> bool {
        let Some(tracked) = self.connections.get(first) else { return false };
        let further = tracked.connection.further_subflows().iter().copied();
        self.has_socket(first)
            || further.filter(|cookie| *cookie != except).any(|cookie| self.has_socket(cookie))
    }

    /// A process uses a socket.
    pub(super) fn learn_user(&mut self, time: Time, cookie: Cookie, user: &SharedOwner) {
        let Some(tracked) = self.connections.get_mut(cookie) else { return };
        let waits_again = tracked.learn_shared_user(time, user.clone(), &mut self.cx);
        tracked.decide(time, false, &mut self.cx);
        if waits_again {
            self.connections.wait_for_decision(cookie);
        }
    }

    /// Who uses the first subflow of an MPTCP socket uses the others.
    pub(super) fn share_user(&mut self, time: Time, first: Cookie) {
        let Some(tracked) = self.connections.get(first) else { return };
        if tracked.connection.further_subflows().is_empty() {
            return;
        }
        let further = tracked.connection.further_subflows().to_vec();
        let Some(user) = tracked.connection.shared_owner() else { return };
        for cookie in further {
            self.learn_user(time, cookie, &user);
        }
    }
}
