//! Connections whose addresses this host translates.

use tcp_trace_model::{
    event::{Cookie, State, Translation},
    record::{ConnectionId, Record},
    time::Time,
};

use super::Pipeline;
use crate::conn::Connection;

impl Pipeline {
    /// Takes the addresses with which the segments of a socket leave this host, before the first of them.
    pub(super) fn translation(
        &mut self,
        time: Time,
        cookie: Cookie,
        translation: &Translation,
        out: &mut Vec<Record>,
    ) {
        if !self.table.contains_key(&cookie) {
            let is_over = |state: &State| matches!(state, State::Close | State::TimeWait | State::Listen);
            let Some(state) = translation.state.filter(|state| !is_over(state)) else { return };
            let id = ConnectionId::of_socket(cookie, 0);
            if !self.add(time, cookie, Connection::new(id, time, Some(state), None)) {
                return;
            }
        }
        let Some(tracked) = self.table.get_mut(&cookie) else { return };
        tracked.connection.learn_endpoints(translation.endpoints, translation.netns);
        tracked.connection.learn_translated(translation.translated);
        if tracked.gate.reconsider(&self.settings.filter, &tracked.connection, time) {
            self.undecided.push(cookie);
        }
        tracked.gate.decide(&self.settings.filter, &tracked.connection, time, false, out);
    }
}
