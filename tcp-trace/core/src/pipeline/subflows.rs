//! Connections that are subflows of one MPTCP socket (RFC 8684): a process uses all of them at once, and the bytes of what it reads and
//! writes are on any.

use tcp_trace_model::{
    event::{Cookie, State},
    time::Time,
};

use super::Pipeline;
use crate::conn::SharedOwner;

impl Pipeline {
    /// A socket is a further subflow of the MPTCP socket that began with `first`: both have the same process, and neither has all of what
    /// it carries, so that nothing of either is read any more.
    pub(super) fn subflow(&mut self, time: Time, cookie: Cookie, first: Cookie) {
        if !self.is_in_use(first, cookie) {
            return;
        }
        let Self { cx, connections, resolutions, .. } = self;
        let Some(further) = connections.get_mut(cookie) else { return };
        let is_connected = further.connection.state() == Some(State::Established);
        further.connection.leave_to_others(time, &mut cx.found);
        further.take_found(time, resolutions, cx);
        let Some(tracked) = connections.get_mut(first) else { return };
        if is_connected {
            tracked.connection.leave_to_others(time, &mut cx.found);
            tracked.take_found(time, resolutions, cx);
        }
        if tracked.connection.learn_further(cookie)
            && let Some(user) = tracked.connection.shared_owner()
        {
            self.learn_user(time, cookie, &user);
        }
    }

    /// Whether an MPTCP socket that began with `first` may have another subflow. The kernel's programs know MPTCP sockets by their addresses,
    /// which come again: where the end of one was not seen, another would begin with a further subflow of that.
    fn is_in_use(&self, first: Cookie, except: Cookie) -> bool {
        let has_socket = |cookie: Cookie| {
            self.connections.get(cookie).is_some_and(|tracked| tracked.connection.has_socket())
        };
        let Some(tracked) = self.connections.get(first) else { return false };
        let further = tracked.connection.further_subflows().iter().copied();
        has_socket(first) || further.filter(|cookie| *cookie != except).any(has_socket)
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
