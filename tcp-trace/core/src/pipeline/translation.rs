//! Connections whose addresses this host translates.

use tcp_trace_model::{
    event::{Cookie, State, Translation},
    record::ConnectionId,
    time::Time,
};

use super::Pipeline;
use crate::conn::Connection;

impl Pipeline {
    /// Takes the addresses with which the segments of a socket leave this host, before the first of them.
    pub(super) fn translation(&mut self, time: Time, cookie: Cookie, translation: &Translation) {
        let Self { cx, connections, .. } = self;
        let Some(state) = translation.state else { return };
        let new = || Connection::new(ConnectionId::of_socket(cookie, 0), time, Some(state), None);
        // A socket that is closed sends its RST and nothing more.
        let known = if state == State::Close {
            connections.get_mut(cookie)
        } else {
            connections.get_or_add(time, cookie, new, cx)
        };
        let Some(tracked) = known else { return };
        tracked.connection.learn_endpoints(translation.endpoints, translation.netns);
        tracked.connection.learn_translated(translation.translated);
        let is_open_again = tracked.gate.reconsider(&cx.settings.filter, &tracked.connection, time);
        tracked.decide(time, false, cx);
        if is_open_again {
            connections.wait_for_decision(cookie);
        }
    }
}
