//! Segments of connections: what they say of the connection, and the HTTP and DNS that they carry.

use tcp_trace_model::{
    event::{Cookie, Direction, Flags, Role, Segment, State},
    record::{ConnectionId, Http, Record},
    time::Time,
};

use super::{Pipeline, lookups, mini_sockets::four_tuple, stream::Skip};
use crate::{conn::Connection, http};

impl Pipeline {
    /// Takes a segment.
    pub(super) fn segment(
        &mut self,
        time: Time,
        cookie: Cookie,
        segment: &Segment<'_>,
        out: &mut Vec<Record>,
    ) {
        if matches!(segment.state, Some(State::Listen | State::SynRecv))
            && !self
                .table
                .get(&cookie)
                .is_some_and(|tracked| tracked.connection.role() != Some(Role::Listener))
        {
            self.half_open_segment(time, cookie, segment, out);
            return;
        }
        if self.own_segment(time, cookie, segment, out) {
            return;
        }
        let Some(state) = segment.state.filter(|state| !matches!(state, State::Close | State::TimeWait))
        else {
            self.mini_socket_segment(time, segment, out);
            return;
        };
        let id = ConnectionId::of_socket(cookie, 0);
        if self.add(time, cookie, Connection::new(id, time, Some(state), None)) {
            self.own_segment(time, cookie, segment, out);
        }
    }

    /// Takes a segment of a connection, if it is followed: whether it is.
    pub(super) fn own_segment(
        &mut self,
        time: Time,
        cookie: Cookie,
        segment: &Segment<'_>,
        out: &mut Vec<Record>,
    ) -> bool {
        let Some(mut tracked) = self.table.get_mut(&cookie) else {
            return false;
        };
        tracked.connection.learn_endpoints(segment.endpoints, segment.netns);
        if tracked.gate.is_undecided() {
            self.pass_linked(cookie, out);
            let Some(again) = self.table.get_mut(&cookie) else { return true };
            tracked = again;
        }
        tracked.gate.decide(&self.settings.filter, &tracked.connection, time, false, out);
        if let Some(record) = tracked.connection.segment(time, segment) {
            // A connect that hangs: its route is asked for before it has failed.
            let is_unanswered = record.retransmit && segment.flags.has(Flags::SYN);
            tracked.gate.pass(Record::Segment(record), out);
            if segment.flags.has(Flags::RST)
                && segment.direction == Direction::Out
                && let Some(transition) = tracked.connection.note_reset_at_close()
            {
                tracked.gate.pass(Record::Transition(transition), out);
                let connection = &tracked.connection;
                if let Some(key) = four_tuple(connection) {
                    self.mini_sockets.remove(&key);
                }
            }
            self.note_other_end(time, cookie, segment, out);
            if is_unanswered {
                self.ask_route(cookie);
            }
            let Some(again) = self.table.get_mut(&cookie) else { return true };
            tracked = again;
        }
        let is_read = !tracked.gate.is_shut() || tracked.connection.may_carry_dns();
        if is_read {
            tracked.connection.read(time, segment, &mut self.found);
        }
        if let Some(until) = tracked.connection.skip(segment, is_read) {
            self.skips.push(Skip { cookie, direction: segment.direction, until });
        }
        self.take_found(cookie, time, out);
        true
    }

    /// Takes what the layers of a connection found.
    pub(super) fn take_found(&mut self, cookie: Cookie, now: Time, out: &mut Vec<Record>) {
        if !self.found.has_contents() {
            return;
        }
        if !self.found.messages.is_empty() {
            self.dns_messages(cookie, out);
        }
        let Some(tracked) = self.table.get_mut(&cookie) else { return };
        if let Some(name) = self.found.server_name.take()
            && let Some(name) = lookups::host_name(&name)
        {
            tracked.connection.learn_sni(name);
        }
        for mut exchange in self.found.exchanges.drain(..) {
            let connection = &mut tracked.connection;
            if connection.info().network.is_none() {
                continue;
            }
            if !self.settings.show_secrets {
                exchange.redact();
            }
            // What a tunnel leads to is not this connection's server.
            if !connection.is_tunnel() {
                lookups::learn_host(connection, &exchange, &mut self.nameless_host);
            }
            let connection = connection.info().clone();
            tracked.gate.pass(Record::Http(Http { time: now, connection, exchange }), out);
        }
    }

    /// Takes back records that were read: one of the next uses their memory.
    pub fn take_back(&mut self, records: &mut Vec<Record>) {
        for record in records.drain(..) {
            if let Record::Http(http) = record {
                http::recycle(http.exchange);
            }
        }
    }
}
