//! Who ended a connection, and how: from the FINs and RSTs seen and the socket's error.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, State},
    record::{By, Close, How},
    time::Time,
};

use super::mini_socket::MiniSocket;
use crate::stream::ahead;

/// What was seen of a connection's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// When its socket went away.
    pub(super) closed: Option<Time>,
    /// [`StateChange::passed`](tcp_trace_model::event::StateChange::passed).
    pub(super) passed: Option<[u32; 2]>,
    /// Up to where it had sent then.
    pub(super) sent_to: Option<u32>,
    /// What goes on when its socket has gone away.
    pub(super) mini_socket: Option<MiniSocket>,
    /// First FIN of each direction.
    pub(super) fin: [Option<Time>; 2],
    /// When the own FIN was acknowledged in FIN_WAIT1 or LAST_ACK, which that ends.
    pub(super) fin_acknowledged: Option<Time>,
    /// When this end acknowledged the peer's FIN, once its own had been sent.
    pub(super) acknowledges_fin: Option<Time>,
    /// When the peer, on this host, sent its last FIN.
    pub(super) peer_fin: Option<Time>,
    /// Whether the sender of each direction ended that alone, and went on receiving.
    pub(super) half_closed: [bool; 2],
    /// The RST that ended it, with its direction.
    pub(super) reset: Option<Direction>,
    /// Whether an RST came: the kernel ignores those whose numbers are wrong (RFC 5961, section 3.2).
    pub(super) reset_came: bool,
    /// What the RST that came acknowledges.
    pub(super) reset_acknowledges: Option<u32>,
    /// `sk_err` at the last transition.
    pub(super) error: i32,
    /// Whether both sent a FIN before either had the other's (state CLOSING).
    pub(super) simultaneous: bool,
    /// Why the kernel sent the RST, in its own words.
    pub(super) reset_reason: Option<Arc<str>>,
    /// The number of an RST that has a line although no program has seen it.
    pub(super) recorded_reset: Option<u32>,
    /// Bytes that the application had not read when it closed.
    pub(super) unread: u32,
    /// A half-open connection that never became a socket.
    pub(super) never_accepted: bool,
    /// The end of its process closed it.
    pub(super) process_ended: bool,
    /// It ended with its listener.
    pub(super) listener_closed: bool,
    /// The peer's FIN never came to an orphan.
    pub(super) no_fin_came: bool,
    /// The connect failed before a SYN was sent: no local port was free for it.
    pub(super) has_no_port: bool,
    /// The connect failed before a SYN was sent, from a local port: why, the kernel does not say.
    pub(super) has_no_syn: bool,
    /// It was closed before a SYN was sent: with TCP_FASTOPEN_CONNECT that waits for the first write.
    pub(super) is_unsent: bool,
}

impl Default for Ending {
    fn default() -> Self {
        Self::NONE
    }
}

/// Reason of a connect that failed before a SYN was sent, where the kernel does not say why.
pub const NO_SYN_SENT: &str = "no SYN was sent";

/// That of a socket that an administrator destroys (`tcp_abort()`, `ss -K`).
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;

impl Ending {
    /// That of a connection of whose end nothing was seen.
    pub(super) const NONE: Self = Self {
        closed: None,
        passed: None,
        sent_to: None,
        mini_socket: None,
        fin: [None; 2],
        fin_acknowledged: None,
        acknowledges_fin: None,
        peer_fin: None,
        half_closed: [false; 2],
        reset: None,
        reset_came: false,
        reset_acknowledges: None,
        error: 0,
        simultaneous: false,
        reset_reason: None,
        recorded_reset: None,
        unread: 0,
        never_accepted: false,
        process_ended: false,
        listener_closed: false,
        no_fin_came: false,
        has_no_port: false,
        has_no_syn: false,
        is_unsent: false,
    };

    /// Whether the direction's FIN was seen.
    pub(super) fn has_fin(&self, direction: Direction) -> bool {
        self.fin[direction.index()].is_some()
    }

    /// The FIN after which nobody had to expect anything more, with its direction: the second one where the first ended its
    /// direction alone.
    pub(super) fn last_word(&self) -> Option<(Direction, Time)> {
        let [out, inward] =
            [Direction::Out, Direction::In].map(|direction| Some((direction, self.fin[direction.index()]?)));
        let (first, second) = match (out, inward) {
            (Some(out), Some(inward)) if inward.1 < out.1 => (inward, Some(out)),
            (Some(out), inward) => (out, inward),
            (None, inward) => (inward?, None),
        };
        Some(second.filter(|_| self.half_closed[first.0.index()]).unwrap_or(first))
    }

    /// The end of a connection that was in state `before` when its socket went away.
    pub(super) fn judge(&self, before: State) -> Close {
        let (by, how) = self.by_and_how(before);
        let reason = self.reason(how).map(str::to_owned);
        let is_cut =
            matches!(how, How::Timeout | How::Rst) && !matches!(before, State::SynSent | State::SynRecv);
        let unacknowledged = self.unacknowledged().filter(|_| is_cut);
        Close { by, how, reason, process_ended: self.process_ended, unacknowledged }
    }

    fn unacknowledged(&self) -> Option<u32> {
        let acknowledged = self.acknowledged_until_reset().or_else(|| self.passed.map(|[out, _]| out))?;
        Some(self.sent_to?.wrapping_sub(acknowledged))
    }

    /// Up to where the peer had acknowledged when its RST ended the connection. The kernel looks at nothing of an RST but its number,
    /// but one that closes a socket says how far that had received (`tcp_send_active_reset()`). A host on the way can write anything there.
    pub(super) fn acknowledged_until_reset(&self) -> Option<u32> {
        let [acknowledged, _] = self.passed.filter(|_| self.reset == Some(Direction::In))?;
        let (by_reset, sent_to) = (self.reset_acknowledges, self.sent_to);
        let is_valid = |number: &u32| {
            ahead(*number, acknowledged) > 0 && sent_to.is_some_and(|sent_to| ahead(*number, sent_to) <= 0)
        };
        Some(by_reset.filter(is_valid).unwrap_or(acknowledged))
    }

    fn reason(&self, how: How) -> Option<&str> {
        let is_own_reset = how == How::Rst && self.reset == Some(Direction::Out);
        let own_reset = if is_own_reset { self.reset_reason.as_deref() } else { None };
        let unread = (is_own_reset && self.unread > 0).then_some("received data was not read");
        let never_ended = self.no_fin_came.then_some("no FIN from the peer");
        let no_port = self.has_no_port.then_some("EADDRNOTAVAIL");
        let no_syn = self.has_no_syn.then_some(NO_SYN_SENT);
        let unsent = self.is_unsent.then_some("closed before a SYN was sent");
        let listener = self.listener_closed.then_some("its listener was closed");
        // Of these the kernel's reason is the same as of a close with SO_LINGER 0.
        let is_killed = self.error.saturating_abs() == ECONNABORTED;
        let own_reset = own_reset.filter(|_| !is_killed);
        own_reset
            .or(errno_name(self.error))
            .or(unread)
            .or(never_ended)
            .or(listener)
            .or(unsent)
            .or(no_port)
            .or(no_syn)
    }

    fn by_and_how(&self, before: State) -> (By, How) {
        let [out, inward] = self.fin;
        match (self.reset, out, inward) {
            // What is sent after that is only a courtesy.
            _ if is_timeout(self.error) => (By::None, How::Timeout),
            (None, ..) if self.listener_closed => (By::Local, How::Abandoned),
            (None, ..) if self.never_accepted => (By::None, How::Timeout),
            (Some(Direction::In), ..) if before == State::SynSent => (By::Peer, How::Refused),
            (Some(Direction::In), ..) => (By::Peer, How::Rst),
            (Some(Direction::Out), ..) => (By::Local, How::Rst),
            _ if self.simultaneous => (By::Both, How::Fin),
            (None, Some(out), Some(inward)) if out <= inward => (By::Local, How::Fin),
            (None, _, Some(_)) => (By::Peer, How::Fin),
            (None, Some(_), None) => (By::Local, How::Fin),
            (None, None, None) if self.error != 0 => (By::None, How::Error),
            (None, None, None) if self.has_no_port || self.has_no_syn => (By::Local, How::Error),
            // Nothing but close() takes it out of there without an RST or an error.
            (None, None, None) if before == State::SynSent => (By::Local, How::Abandoned),
            (None, None, None) if before == State::Listen => (By::Local, How::Unknown),
            (None, None, None) => (By::None, How::Unknown),
        }
    }
}

/// Whether a connection that failed with this error had no answer.
pub(super) fn is_timeout(error: i32) -> bool {
    error.saturating_abs() == ETIMEDOUT
}

/// The symbolic names of the errors that a TCP connection fails with (errno(3)).
pub(super) fn errno_name(error: i32) -> Option<&'static str> {
    Some(match error.saturating_abs() {
        13 => "EACCES",
        32 => "EPIPE",
        71 => "EPROTO",
        97 => "EAFNOSUPPORT",
        99 => "EADDRNOTAVAIL",
        100 => "ENETDOWN",
        101 => "ENETUNREACH",
        ECONNABORTED => "ECONNABORTED",
        ECONNRESET => "ECONNRESET",
        105 => "ENOBUFS",
        ETIMEDOUT => "ETIMEDOUT",
        ECONNREFUSED => "ECONNREFUSED",
        112 => "EHOSTDOWN",
        113 => "EHOSTUNREACH",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ending: Ending, before: State) -> (By, How, Option<String>) {
        let Close { by, how, reason, .. } = ending.judge(before);
        (by, how, reason)
    }

    #[test]
    fn the_first_fin_tells_who_closed() {
        let fins = |out, inward| Ending { fin: [out, inward], ..Ending::default() };
        let (early, late) = (Some(Time(1)), Some(Time(2)));
        assert_eq!(close(fins(early, late), State::FinWait2), (By::Local, How::Fin, None));
        assert_eq!(close(fins(late, early), State::LastAck), (By::Peer, How::Fin, None));
        assert_eq!(close(fins(early, None), State::FinWait2), (By::Local, How::Fin, None));
        assert_eq!(close(fins(None, early), State::CloseWait), (By::Peer, How::Fin, None));
    }

    #[test]
    fn the_second_fin_is_the_last_word_where_the_first_ended_its_direction_alone() {
        let (early, late) = (Time(1), Time(2));
        let (out, inward) = (Direction::Out, Direction::In);
        for (fin, half_closed, expected) in [
            ([Some(early), Some(late)], [false, false], Some((out, early))),
            ([Some(early), Some(late)], [true, false], Some((inward, late))),
            ([Some(late), Some(early)], [false, true], Some((out, late))),
            ([Some(late), Some(early)], [true, false], Some((inward, early))),
            ([Some(early), None], [true, false], Some((out, early))),
            ([None, Some(early)], [false, false], Some((inward, early))),
            ([None, None], [false, false], None),
        ] {
            let ending = Ending { fin, half_closed, ..Ending::default() };
            assert_eq!(ending.last_word(), expected, "{fin:?} {half_closed:?}");
        }
    }

    #[test]
    fn fins_that_crossed_are_from_both() {
        let crossed = Ending { fin: [Some(Time(1)), Some(Time(2))], simultaneous: true, ..Ending::default() };
        assert_eq!(close(crossed, State::Closing), (By::Both, How::Fin, None));
    }

    #[test]
    fn a_reset_wins_over_fins_and_in_syn_sent_it_refuses() {
        let reset =
            |direction| Ending { fin: [None, Some(Time(1))], reset: Some(direction), ..Ending::default() };
        assert_eq!(close(reset(Direction::Out), State::CloseWait), (By::Local, How::Rst, None));
        let refused = Ending { reset: Some(Direction::In), error: ECONNREFUSED, ..Ending::default() };
        let reason = Some("ECONNREFUSED".to_owned());
        assert_eq!(close(refused, State::SynSent), (By::Peer, How::Refused, reason));
    }

    #[test]
    fn no_answer_is_a_timeout_and_nothing_seen_is_unknown() {
        let silent = Ending { error: ETIMEDOUT, ..Ending::default() };
        let reason = Some("ETIMEDOUT".to_owned());
        assert_eq!(close(silent, State::SynSent), (By::None, How::Timeout, reason));
        assert_eq!(close(Ending::default(), State::Established), (By::None, How::Unknown, None));
    }

    #[test]
    fn a_connect_that_fails_or_is_given_up_says_which() {
        let unreachable = Ending { error: 113, ..Ending::default() };
        let reason = Some("EHOSTUNREACH".to_owned());
        assert_eq!(close(unreachable, State::SynSent), (By::None, How::Error, reason));
        assert_eq!(close(Ending::default(), State::SynSent), (By::Local, How::Abandoned, None));
    }

    #[test]
    fn an_rst_that_was_sent_has_the_kernels_reason_or_ours() {
        let sent = |reset_reason: Option<&str>, unread| Ending {
            reset: Some(Direction::Out),
            reset_reason: reset_reason.map(Arc::from),
            unread,
            error: ECONNRESET,
            ..Ending::default()
        };
        for (ending, reason) in [
            (sent(Some("TCP_ABORT_ON_CLOSE"), 5), "TCP_ABORT_ON_CLOSE"),
            (Ending { error: 0, ..sent(None, 5) }, "received data was not read"),
            (sent(None, 0), "ECONNRESET"),
            (Ending { error: ECONNABORTED, ..sent(Some("TCP_STATE"), 5) }, "ECONNABORTED"),
        ] {
            assert_eq!(close(ending, State::Established).2.as_deref(), Some(reason));
        }
    }

    #[test]
    fn a_half_open_connection_times_out_unless_it_is_reset() {
        let half_open = |reset| Ending { never_accepted: true, reset, ..Ending::default() };
        assert_eq!(close(half_open(None), State::SynRecv), (By::None, How::Timeout, None));
        assert_eq!(close(half_open(Some(Direction::In)), State::SynRecv), (By::Peer, How::Rst, None));
    }
}
