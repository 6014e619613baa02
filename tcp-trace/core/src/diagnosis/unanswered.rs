//! For how long a peer has not answered what the kernel sends again and again.

use tcp_trace_model::socket::{TcpInfo, Timer};

use super::snapshot::Socket;

/// Retransmissions in a row that are no accident.
pub(super) const RETRANSMITS_MIN: u8 = 3;
/// Probes without an answer that are no accident.
const PROBES_MIN: u8 = 2;

/// What the peer does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unanswered {
    /// Data, or a FIN, that is sent again.
    Segments,
    /// Probes of a connection that is idle.
    KeepAlive,
    /// Probes of a window that is closed.
    WindowProbes,
}

/// What a socket's peer does not answer, and for how long in microseconds.
pub(super) fn of(socket: &Socket) -> Option<(Unanswered, u64)> {
    let info = socket.diag.info?;
    let since_last_ack = u64::from(info.last_ack_recv_ms) * 1_000;
    match socket.diag.timer {
        Timer::Retransmit if info.retransmits >= RETRANSMITS_MIN => {
            Some((Unanswered::Segments, resending_us(socket, &info).min(since_last_ack)))
        }
        Timer::KeepAlive if info.probes >= PROBES_MIN => Some((Unanswered::KeepAlive, since_last_ack)),
        Timer::Probe if info.probes > PROBES_MIN => Some((Unanswered::WindowProbes, since_last_ack)),
        _ => None,
    }
}

/// Since the first segment that is being sent again was sent first, in microseconds.
///
/// Since Linux 6.7 the kernel counts it from the first timeout on, in one sum with earlier times that are over. Where there
/// were such, or before, it follows from the timeouts, which double, the first ones of a SYN aside
/// (`net.ipv4.tcp_syn_linear_timeouts`): too little where they have reached 120 s.
pub(super) fn resending_us(socket: &Socket, info: &TcpInfo) -> u64 {
    let first_timeout = u64::from(info.rto_us) >> info.backoff.min(31);
    match (info.total_rto_recoveries, info.total_rto_time_ms) {
        (Some(1), Some(ms)) => u64::from(ms) * 1_000 + first_timeout,
        _ => {
            let left = u64::from(socket.diag.expires_ms) * 1_000;
            let passed = u64::from(info.rto_us).saturating_sub(left);
            let not_doubled = u64::from(info.retransmits.saturating_sub(info.backoff)) * first_timeout;
            not_doubled + u64::from(info.rto_us) - first_timeout + passed
        }
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::event::State;

    use super::*;
    use crate::diagnosis::testing::Host;

    fn socket(timer: Timer, retransmits: u8, probes: u8) -> Socket {
        let mut host = Host::new();
        let socket = host.accepted(None, State::Established, 40_000).idle(100);
        socket.diag.timer = timer;
        (socket.info().retransmits, socket.info().probes) = (retransmits, probes);
        socket.clone()
    }

    #[test]
    fn a_few_retransmissions_are_no_silence() {
        for (timer, retransmits, probes, expected) in [
            (Timer::None, 9, 9, None),
            (Timer::Retransmit, 2, 0, None),
            (Timer::KeepAlive, 9, 1, None),
            (Timer::KeepAlive, 0, 2, Some(Unanswered::KeepAlive)),
            (Timer::Probe, 0, 2, None),
            (Timer::Probe, 0, 3, Some(Unanswered::WindowProbes)),
        ] {
            let found = of(&socket(timer, retransmits, probes));
            assert_eq!(found, expected.map(|what| (what, 100_000_000)), "{timer:?}");
        }
    }

    #[test]
    fn the_time_since_the_first_of_the_segments_counts() {
        let mut socket = socket(Timer::Retransmit, 4, 0);
        // 200 ms, doubled four times; 1 s of the last 3.2 s is over.
        (socket.info().rto_us, socket.info().backoff) = (3_200_000, 4);
        socket.diag.expires_ms = 2_200;
        assert_eq!(of(&socket), Some((Unanswered::Segments, 4_000_000)));
        let info = socket.info();
        (info.total_rto_recoveries, info.total_rto_time_ms) = (Some(1), Some(3_700));
        assert_eq!(of(&socket), Some((Unanswered::Segments, 3_900_000)));
        let info = socket.info();
        (info.total_rto_recoveries, info.total_rto_time_ms) = (Some(2), Some(63_700));
        assert_eq!(
            of(&socket),
            Some((Unanswered::Segments, 4_000_000)),
            "those of an earlier silence are over"
        );
        socket.info().last_ack_recv_ms = 500;
        assert_eq!(of(&socket), Some((Unanswered::Segments, 500_000)), "an answer came meanwhile");
    }

    #[test]
    fn a_syn_is_sent_again_a_few_times_before_the_timeout_doubles() {
        let mut socket = socket(Timer::Retransmit, 5, 0);
        // After 1, 2, 3, 4 and 5 s; 0.5 s of the next 2 s are over.
        (socket.info().rto_us, socket.info().backoff) = (2_000_000, 1);
        socket.diag.expires_ms = 1_500;
        assert_eq!(resending_us(&socket, &socket.diag.info.unwrap()), 5_500_000);
    }
}
