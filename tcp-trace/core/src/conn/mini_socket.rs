//! What goes on when the kernel's socket is gone: TIME_WAIT, and FIN_WAIT2 of an orphan (`struct
//! inet_timewait_sock`). No tracepoint tells of it.

use tcp_trace_model::{
    event::{Direction, Flags, Segment, State},
    record::Transition,
    time::Time,
};

use super::Connection;

/// How long TIME_WAIT lasts (`TCP_TIMEWAIT_LEN`), in microseconds.
const TIME_WAIT_US: u64 = 60_000_000;

/// A mini-socket, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MiniSocket {
    /// When it was known to be there for the last time.
    seen: Time,
    /// When its timer runs out.
    until: Time,
    is_gone: bool,
    /// Whether it is followed no more.
    is_left: bool,
}

impl MiniSocket {
    /// The one that a socket leaves behind at `time`. An orphan's FIN_WAIT2 is as long as TIME_WAIT unless
    /// `tcp_fin_timeout` or TCP_LINGER2 were changed.
    pub(super) fn new(time: Time) -> Self {
        Self { seen: time, until: time.after_micros(TIME_WAIT_US), is_gone: false, is_left: false }
    }

    /// When it will end, if it has not.
    pub(super) fn ends(&self) -> Option<Time> {
        (!self.is_gone).then_some(self.until)
    }
}

/// A mini-socket as the kernel lists it (sock_diag).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `TIME_WAIT` or `FIN_WAIT2`.
    pub state: State,
    /// What is left of its timer, in microseconds.
    pub expires_us: u64,
}

impl Connection {
    /// Whether a mini-socket has taken the place of its socket and is still there.
    pub fn has_mini_socket(&self) -> bool {
        self.ending().mini_socket.as_ref().is_some_and(|mini| !mini.is_gone && !mini.is_left)
    }

    /// Notes that it is a mini-socket from its first sight on.
    pub fn set_mini_socket(&mut self, time: Time, expires_us: u64) {
        let until = time.after_micros(expires_us);
        self.ending_mut().mini_socket = Some(MiniSocket { until, ..MiniSocket::new(time) });
    }

    /// Follows its mini-socket no further: its end will not be known.
    pub fn leave_mini_socket(&mut self) {
        if let Some(mini) = self.mini_socket() {
            mini.is_left = true;
        }
    }

    /// Ends a half-open connection that never became a socket.
    pub fn close_unaccepted(
        &mut self,
        ended: Time,
        estimated: bool,
        listener_closed: bool,
    ) -> Option<Transition> {
        let ending = self.ending_mut();
        ending.closed = Some(ended);
        ending.never_accepted = true;
        ending.listener_closed = listener_closed;
        // Nobody else ends a half-open connection before its time.
        ending.reset = ending.reset.or(ending.reset_came.then_some(Direction::In));
        self.enter(ended, State::Close, estimated, None)
    }

    /// Takes a segment into account that the kernel sent on behalf of its mini-socket.
    pub fn on_answer(&mut self, time: Time, segment: &Segment<'_>) -> Option<Transition> {
        if segment.flags.has(Flags::RST) {
            return self.mini_socket_sent_reset(time, false);
        }
        let next = self.stream.half(Direction::In).highest();
        let is_waiting = self.state() == Some(State::TimeWait);
        let mini = self.mini_socket()?;
        mini.seen = time;
        if is_waiting {
            // A segment that has to be acknowledged again starts the wait anew (RFC 9293, section 3.10.7.4).
            mini.until = time.after_micros(TIME_WAIT_US);
            return None;
        }
        // An orphan acknowledges nothing new but the FIN: data would be answered by an RST.
        let is_of_fin = next.is_some_and(|next| segment.acknowledgment == next.wrapping_add(1));
        if is_of_fin { self.fin_came(time, false) } else { None }
    }

    /// Notes that an RST went out after the socket had been closed: there is no mini-socket then, whatever the
    /// kernel's transition looked like (`tcp_close()`, `tcp_disconnect()`).
    pub fn note_reset_at_close(&mut self) -> Option<Transition> {
        let closed = self.closed()?;
        if self.state() != Some(State::FinWait2) {
            return None;
        }
        self.ending_mut().mini_socket.take().filter(|mini| !mini.is_gone)?;
        self.enter(closed, State::Close, false, None)
    }

    /// Notes that its mini-socket sent an RST: it is gone with that.
    pub fn mini_socket_sent_reset(&mut self, time: Time, estimated: bool) -> Option<Transition> {
        self.live_mini_socket()?;
        self.ending_mut().reset.get_or_insert(Direction::Out);
        self.mini_socket_over(time, estimated, Some("RST"))
    }

    /// Notes that the peer, on this host, sent a FIN.
    pub fn peer_sent_fin(&mut self, time: Time, is_half_closed: bool) {
        let ending = self.ending_mut();
        // It may still be under way when the socket becomes a mini-socket.
        ending.peer_fin = Some(time);
        ending.half_closed[Direction::In.index()] = is_half_closed;
    }

    /// Notes that the peer, on this host, has closed its socket without having had this end's FIN.
    pub fn peer_gave_up(&mut self) {
        self.ending_mut().half_closed[Direction::In.index()] = false;
    }

    /// Whether it is an orphan that waits for the peer's FIN.
    pub fn is_orphan(&self) -> bool {
        self.has_mini_socket() && self.state() == Some(State::FinWait2)
    }

    /// Whether it ended its direction alone, and goes on receiving.
    pub fn is_half_closed(&self) -> bool {
        self.ending().half_closed[Direction::Out.index()]
    }

    /// Notes that the peer, on this host, sent an RST: a mini-socket that expects its number dies of it.
    pub fn peer_sent_reset(&mut self, time: Time, sequence: u32) -> Option<Transition> {
        let is_expected = self.stream.half(Direction::In).highest() == Some(sequence);
        if !is_expected || !self.has_mini_socket() {
            return None;
        }
        self.ending_mut().reset.get_or_insert(Direction::In);
        self.mini_socket_over(time, true, Some("RST from the peer"))
    }

    /// Notes that the peer, on this host, had its FIN acknowledged: so it has arrived.
    pub fn on_peer_done(&mut self) -> Option<Transition> {
        let fin = self.ending().peer_fin?;
        self.fin_came(fin, true)
    }

    /// Compares with what the kernel listed between `from` and `to`; `None` when it is not in the list.
    pub fn on_listed(&mut self, from: Time, to: Time, listed: Option<Listed>) -> Option<Transition> {
        let is_orphan = self.state() == Some(State::FinWait2);
        let mini = self.live_mini_socket().filter(|mini| mini.seen <= from)?;
        let Some(listed) = listed else {
            // It ended after it was seen last, and not before its timer ran out if that was due.
            let first = if mini.until <= from { mini.until.max(mini.seen) } else { mini.seen };
            let reason = (mini.until > from).then_some("it was cut short");
            let time = first.middle(from);
            return self.mini_socket_over(time, true, reason);
        };
        let seen = std::mem::replace(&mut mini.seen, from);
        let until = to.after_micros(listed.expires_us);
        mini.until = until;
        if is_orphan && listed.state == State::TimeWait {
            let fin = Time(until.0.saturating_sub(TIME_WAIT_US * 1_000));
            return self.fin_came(fin.clamp(seen, to), true);
        }
        None
    }

    /// Ends the mini-socket of a connection that cannot be found in the kernel's list, when its time is over.
    pub fn on_not_listed(&mut self, now: Time) -> Option<Transition> {
        let until = self.live_mini_socket()?.until;
        if until <= now { self.mini_socket_over(until, true, None) } else { None }
    }

    /// Ends the mini-socket: a new connection has its addresses.
    pub fn on_reuse(&mut self, time: Time) -> Option<Transition> {
        self.mini_socket_over(time, false, Some("reused by a new connection"))
    }

    fn mini_socket(&mut self) -> Option<&mut MiniSocket> {
        self.ending.as_deref_mut()?.mini_socket.as_mut()
    }

    /// Its mini-socket, while that is there.
    fn live_mini_socket(&mut self) -> Option<&mut MiniSocket> {
        self.mini_socket().filter(|mini| !mini.is_gone)
    }

    fn fin_came(&mut self, time: Time, estimated: bool) -> Option<Transition> {
        let is_orphan = self.state() == Some(State::FinWait2);
        let mini = self.live_mini_socket().filter(|_| is_orphan)?;
        mini.seen = mini.seen.max(time);
        mini.until = time.after_micros(TIME_WAIT_US);
        self.ending_mut().fin[Direction::In.index()].get_or_insert(time);
        self.enter(time, State::TimeWait, estimated, None)
    }

    fn mini_socket_over(&mut self, time: Time, estimated: bool, reason: Option<&str>) -> Option<Transition> {
        // Only where nothing else ended it its time is over.
        let has_waited = self.state() == Some(State::FinWait2) && reason.is_none();
        self.live_mini_socket()?.is_gone = true;
        self.ending_mut().no_fin_came = has_waited;
        self.enter(time, State::Close, estimated, reason)
    }

    /// Enters a state that no tracepoint reports.
    fn enter(&mut self, time: Time, new: State, estimated: bool, reason: Option<&str>) -> Option<Transition> {
        let left = self.states.enter(time, new, estimated)?;
        Some(self.transition(time, left, new, reason))
    }
}
