//! What the record of a transition says beside the states.

use crate::tcp::{CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, LAST_ACK, LISTEN, SYN_RECV, SYN_SENT};

/// Which statistics of the socket a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stats {
    /// None.
    None,
    /// Those of a connection.
    Connection,
    /// Those of a listener's queue.
    AcceptQueue,
}

/// Whether a transition is always made by a system call of the process, and never by an arriving segment:
/// `tcp_v4_connect()`, `inet_csk_listen_start()`, and `tcp_close_state()` in close and shutdown.
#[inline(always)]
pub const fn is_by_process(old: u8, new: u8) -> bool {
    matches!(
        (old, new),
        (CLOSE, SYN_SENT | LISTEN)
            | (ESTABLISHED | SYN_RECV, FIN_WAIT1)
            | (CLOSE_WAIT, LAST_ACK)
            | (LISTEN, CLOSE)
    )
}

/// Whether a transition is made by a system call of the process if one works on the socket then: a close with unread data or
/// without lingering (`__tcp_close()`, `tcp_disconnect()`). An RST that comes and `tcp_abort()` make it too, with an error.
#[inline(always)]
pub const fn may_be_by_process(old: u8, new: u8) -> bool {
    new == CLOSE && matches!(old, ESTABLISHED | SYN_RECV | CLOSE_WAIT)
}

/// Which statistics the record of a transition has.
#[inline(always)]
pub const fn stats(old: u8, new: u8) -> Stats {
    match (old, new) {
        (LISTEN, CLOSE) | (_, LISTEN) => Stats::AcceptQueue,
        (_, CLOSE) => Stats::Connection,
        _ => Stats::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_system_calls_name_a_process() {
        for (old, new, by_process) in [
            (CLOSE, SYN_SENT, true),
            (CLOSE, LISTEN, true),
            (ESTABLISHED, FIN_WAIT1, true),
            (SYN_RECV, FIN_WAIT1, true),
            (CLOSE_WAIT, LAST_ACK, true),
            (LISTEN, CLOSE, true),
            (SYN_SENT, ESTABLISHED, false),
            (LISTEN, SYN_RECV, false),
            (SYN_RECV, ESTABLISHED, false),
            (ESTABLISHED, CLOSE_WAIT, false),
            // By an RST, or by a close with unread data: it does not tell.
            (ESTABLISHED, CLOSE, false),
            (LAST_ACK, CLOSE, false),
        ] {
            assert_eq!(is_by_process(old, new), by_process, "{old} -> {new}");
            assert!(!(by_process && may_be_by_process(old, new)), "{old} -> {new}");
        }
    }

    #[test]
    fn the_end_of_a_connection_and_both_ends_of_a_listener_have_statistics() {
        for (old, new, expected) in [
            (CLOSE, LISTEN, Stats::AcceptQueue),
            (LISTEN, CLOSE, Stats::AcceptQueue),
            (LAST_ACK, CLOSE, Stats::Connection),
            (SYN_SENT, CLOSE, Stats::Connection),
            (SYN_SENT, ESTABLISHED, Stats::None),
            (LISTEN, SYN_RECV, Stats::None),
        ] {
            assert_eq!(stats(old, new), expected, "{old} -> {new}");
        }
    }
}
