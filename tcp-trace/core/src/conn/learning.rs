//! What a connection learns from others than its own segments and transitions: the process, names, routes, the kernel's statistics.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Cookie, Direction, Endpoints, Role, State, TcpStats},
    lookup::Resolved,
    record::{self, ConnectionId, Route},
    time::Time,
};

use super::{Connection, identity::SharedOwner, refused::Refused};

/// Further subflows of an MPTCP socket that are known by the first, of those that are there: the kernel allows 8 at a time
/// (`MPTCP_PM_ADDR_MAX`).
pub const SUBFLOWS_MAX: usize = 64;

/// What the kernel's socket said of itself.
#[derive(Debug, Default)]
pub(super) struct KernelSocket {
    pub(super) stats: TcpStats,
    /// Whether it is a subflow of an MPTCP socket.
    pub(super) is_subflow: bool,
    /// The further subflows of the MPTCP socket that began with it, by cookie.
    pub(super) further: Box<[Cookie]>,
    /// Of a further one that has carried nothing yet: the one with which the MPTCP socket began.
    pub(super) first: Option<Cookie>,
    /// How far it had come when it was first seen; `None` when that is not known.
    pub(super) before: Option<Progress>,
    /// When a process used it first, where a listener had accepted it.
    pub(super) first_used: Option<Time>,
    /// What the kernel's last list said of it, when the session ends.
    pub(super) listed: Option<Box<record::KernelSocket>>,
    /// Whether the kernel has it no more although its end was not seen.
    pub(super) is_missing: bool,
    /// `None` before it refused a segment, or may have.
    pub(super) refused: Option<Box<Refused>>,
}

/// How far a socket has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sequence numbers sent, each counted once: those of the data, the FIN's, and of a socket that connected the SYN's.
    pub sent: u64,
    /// Sequence numbers received: of the data, and the FIN's.
    pub received: u64,
    /// How many of those sent, and of those received, are no data.
    pub not_data: [u8; 2],
}

impl Progress {
    /// That of a socket which has sent its SYN, or a SYN+ACK.
    pub(super) fn of_handshake(is_client: bool) -> Self {
        Self { sent: is_client.into(), received: 0, not_data: [is_client.into(), 0] }
    }

    pub(super) fn payload(self) -> record::Bytes {
        let [sent, received] = self.not_data.map(u64::from);
        record::Bytes {
            sent: self.sent.saturating_sub(sent),
            received: self.received.saturating_sub(received),
        }
    }
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
        if self.role() == Some(Role::Server) {
            self.socket.first_used.get_or_insert(time);
        }
        self.identity.learn_user(time, user)
    }

    /// Learns the further subflows of the MPTCP socket that began with it.
    pub fn learn_further(&mut self, further: impl IntoIterator<Item = Cookie>) {
        self.socket.is_subflow = true;
        self.socket.further = further.into_iter().collect();
    }

    /// Learns that it is a further subflow of the MPTCP socket that began with `first`.
    pub fn learn_first(&mut self, first: Cookie) {
        self.socket.is_subflow = true;
        self.socket.first = Some(first);
    }

    /// The one with which its MPTCP socket began, when it carries something for the first time.
    pub fn take_first(&mut self) -> Option<Cookie> {
        self.socket.first.take()
    }

    /// Whether it is a subflow of an MPTCP socket.
    #[inline]
    pub fn is_subflow(&self) -> bool {
        self.socket.is_subflow
    }

    /// Learns that it is one of several subflows of an MPTCP socket.
    pub fn learn_subflow(&mut self) {
        self.socket.is_subflow = true;
    }

    /// The process that used it last, as other connections may have it too.
    pub fn shared_owner(&self) -> Option<SharedOwner> {
        self.identity.shared_owner()
    }

    /// The further subflows of the MPTCP socket that it began with.
    pub fn further_subflows(&self) -> &[Cookie] {
        &self.socket.further
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
        self.identity.learn_peer(None);
    }

    /// Notes which connection is the other end's.
    pub fn learn_peer(&mut self, peer: ConnectionId) {
        self.identity.learn_peer(Some(peer));
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
    pub fn learn_stats(&mut self, stats: TcpStats) {
        self.socket.stats = stats;
    }

    /// Notes what the kernel lists of its open socket as the session ends.
    pub fn learn_listed(&mut self, listed: Box<record::KernelSocket>) {
        self.socket.listed = Some(listed);
        self.socket.is_missing = false;
    }

    /// Notes that the kernel has its socket no more, although its end was not seen.
    pub fn learn_missing(&mut self) {
        self.socket.is_missing = true;
    }

    /// Notes how far its socket had come before it was first seen.
    pub fn count_bytes_from(&mut self, before: Progress) {
        self.socket.before = Some(before);
    }

    /// Notes what its open socket has sent and received: of what was skipped, the segments do not say yet.
    pub fn learn_bytes(&mut self, progress: Progress) {
        // What the kernel calls a listener's queue is no data.
        let is_listener = self.role() == Some(Role::Listener);
        let Some(before) = self.socket.before.filter(|_| !is_listener) else { return };
        let [own_fin, fin] = self.ending().fin.map(|fin| u64::from(fin.is_some()));
        self.stream.half_mut(Direction::Out).seen.bytes = progress.sent.saturating_sub(before.sent + own_fin);
        self.stream.half_mut(Direction::In).seen.bytes =
            progress.received.saturating_sub(before.received + fin);
    }

    /// Notes that the kernel took none of what arrived: there is no socket for it.
    pub fn receives_nothing(&mut self) {
        self.stream.half_mut(Direction::In).seen.bytes = 0;
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
