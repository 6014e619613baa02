//! Numbers of TCP: states and control bits.

/// `TCP_ESTABLISHED` (`include/net/tcp_states.h`).
pub const ESTABLISHED: u8 = 1;
/// `TCP_SYN_SENT`.
pub const SYN_SENT: u8 = 2;
/// `TCP_SYN_RECV`: the third segment of the handshake has just arrived.
pub const SYN_RECV: u8 = 3;
/// `TCP_FIN_WAIT1`.
pub const FIN_WAIT1: u8 = 4;
/// `TCP_FIN_WAIT2`.
pub const FIN_WAIT2: u8 = 5;
/// `TCP_CLOSE`; also the state of the socket through which the kernel answers for mini-sockets and closed ports.
pub const CLOSE: u8 = 7;
/// `TCP_CLOSE_WAIT`.
pub const CLOSE_WAIT: u8 = 8;
/// `TCP_LAST_ACK`.
pub const LAST_ACK: u8 = 9;
/// `TCP_LISTEN`.
pub const LISTEN: u8 = 10;
/// `TCP_CLOSING`.
pub const CLOSING: u8 = 11;
/// `TCP_NEW_SYN_RECV`: a connection that is not accepted yet, and has no socket of its own.
pub const NEW_SYN_RECV: u8 = 12;

/// The sender has no more data (RFC 9293, section 3.1).
pub const FIN: u8 = 0x01;
/// The sequence number is an initial one.
pub const SYN: u8 = 0x02;
/// The connection is reset.
pub const RST: u8 = 0x04;
/// The acknowledgment number is valid.
pub const ACK: u8 = 0x10;

/// How far `to` is ahead of `from` in sequence space, negative when it is behind (RFC 9293, section 3.4): numbers wrap
/// around, and those that are compared are less than 2^31 apart.
#[inline(always)]
pub const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}
