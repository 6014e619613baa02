//! What a connection learns from others than its own segments and transitions: the process, names, routes, the kernel's figures.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Endpoints, Figures, State},
    lookup::Resolved,
    record::{ConnectionId, Route},
    time::Time,
};

use super::{Connection, identity::SharedOwner};

/// What the kernel's socket said of itself.
#[derive(Debug, Default)]
pub(super) struct KernelSocket {
    pub(super) figures: Figures,
    /// Whether it is a subflow of an MPTCP socket.
    pub(super) is_subflow: bool,
    /// Sequence numbers that it had sent and received when it was first seen; `None` when that is not known. A SYN that it sends is
    /// one of them, and no byte.
    pub(super) bytes_before: Option<(u64, u64)>,
}

/// What a listener did not let become connections.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Half-open connections that were not recorded.
    pub(super) half_open_unrecorded: u32,
    pub(super) syns_unanswered: u32,
}

impl Connection {
    /// Learns addresses; complete ones are kept against the zeros that a closing socket has.
    #[inline]
    pub fn learn_endpoints(&mut self, endpoints: Endpoints, netns: Option<u32>) {
        self.identity.learn_endpoints(endpoints, netns);
    }

    /// Learns that a process uses the socket: it connects, reads, writes or closes. True when that is news.
    pub fn learn_user(&mut self, time: Time, user: SharedOwner) -> bool {
        self.identity.learn_user(time, user)
    }

    /// Learns that a process has the socket open, which says less than that another uses it.
    pub fn learn_holder(&mut self, time: Time, holder: SharedOwner) {
        self.identity.learn_holder(time, holder);
    }

    /// Notes that what happened to it until now is not recorded.
    pub fn begin_unrecorded(&mut self) {
        self.states.seen_from_start = false;
    }

    /// Notes that a listener's half-open connection became this socket, of which this was seen first. Its life began with
    /// the SYN, if that was it.
    pub fn accept(&mut self, first: Option<Time>, is_syn: bool) {
        self.states.accept(first, is_syn);
    }

    /// Notes that the other end's connection is not recorded.
    pub fn forget_peer(&mut self) {
        self.other_end.connection = None;
    }

    /// Notes which connection is the other end's.
    pub fn learn_peer(&mut self, peer: ConnectionId) {
        self.other_end.connection = Some(peer);
    }

    /// Notes why the kernel sends an RST, in its own words.
    pub fn learn_reset_reason(&mut self, reason: &Arc<str>) {
        self.ending_mut().reset_reason = Some(reason.clone());
    }

    /// Notes that the kernel sends an RST, and why, in its own words: of an IPv6 socket that may be the only sight of it, since
    /// Linux 6.13 (`tcp_v6_send_response()` sends it through another socket). False when the socket goes on.
    pub fn sends_reset(&mut self, reason: &Arc<str>) -> bool {
        self.learn_reset_reason(reason);
        let is_end = !matches!(self.states.before_the_end(), State::SynSent | State::Listen);
        if is_end {
            self.ending_mut().reset.get_or_insert(Direction::Out);
        }
        is_end
    }

    /// Notes what the kernel's socket knows.
    pub fn learn_figures(&mut self, figures: Figures) {
        self.socket.figures = figures;
    }

    /// Notes what its socket had sent and received before it was first seen.
    pub fn count_bytes_from(&mut self, before: (u64, u64)) {
        self.socket.bytes_before = Some(before);
    }

    /// Notes what its open socket has sent and received: of what was skipped, the segments do not say yet.
    pub fn learn_bytes(&mut self, (sent, received): (u64, u64)) {
        let Some((sent_before, received_before)) = self.socket.bytes_before else { return };
        let [own_fin, fin] = self.ending().fin.map(|fin| u64::from(fin.is_some()));
        self.stream.half_mut(Direction::Out).seen.bytes = sent.saturating_sub(sent_before + own_fin);
        self.stream.half_mut(Direction::In).seen.bytes = received.saturating_sub(received_before + fin);
    }

    /// Counts half-open connections of this listener that are given up.
    pub fn give_up_half_open(&mut self, count: u32) {
        let unrecorded = &mut self.listener.half_open_unrecorded;
        *unrecorded = unrecorded.saturating_add(count);
    }

    /// Counts SYNs that this listener did not answer.
    pub fn leave_unanswered(&mut self, count: u32) {
        let unanswered = &mut self.listener.syns_unanswered;
        *unanswered = unanswered.saturating_add(count);
    }

    /// Notes that the kernel is queried for its route.
    pub fn ask_route(&mut self) {
        self.other_end.awaits_route = true;
    }

    /// Whether an answer to that is still to come.
    pub fn awaits_route(&self) -> bool {
        self.other_end.awaits_route
    }

    /// Notes the answer. The last one that says something counts.
    pub fn learn_route(&mut self, route: Option<Arc<Route>>) {
        self.other_end.learn_route(route);
    }

    /// Notes the lookup that this connection follows.
    pub fn learn_resolved(&mut self, resolved: Resolved) {
        self.other_end.names_mut().resolved = Some(resolved);
    }

    /// The lookup that it follows.
    pub fn resolved(&self) -> Option<&Resolved> {
        self.other_end.names()?.resolved.as_ref()
    }

    /// Whether an HTTP request has named the host.
    pub fn knows_host(&self) -> bool {
        self.other_end.names().is_some_and(|names| names.host.is_some())
    }

    /// Notes the host that an HTTP request names, once.
    pub fn learn_host(&mut self, host: &str) {
        self.other_end.names_mut().host.get_or_insert_with(|| host.to_owned());
    }

    /// Notes the host that a ClientHello names.
    pub fn learn_sni(&mut self, host: &str) {
        self.other_end.names_mut().sni = Some(host.to_owned());
    }
}
