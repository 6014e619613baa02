//! Why the kernel does not take a segment that arrives: `enum skb_drop_reason`, where it has the reason.

/// It has none of ACK, RST and SYN (`TCP_FLAGS`); also one that answers no SYN although it should.
pub const TCP_FLAGS: u8 = 1;
/// Its timestamp is older than the last one (`TCP_RFC7323_PAWS`).
pub const PAWS: u8 = 2;
/// It lies beyond the window (`TCP_INVALID_SEQUENCE`).
pub const INVALID_SEQUENCE: u8 = 3;
/// A FIN that lies before the window (`TCP_OLD_SEQUENCE`).
pub const OLD_SEQUENCE: u8 = 4;
/// An RST that has not the expected number (`TCP_RESET`; RFC 5961, section 3.2).
pub const RESET: u8 = 5;
/// A SYN on a connection that is synchronised (`TCP_INVALID_SYN`; RFC 5961, section 4.2).
pub const INVALID_SYN: u8 = 6;
/// It acknowledges what was acknowledged long ago (`TCP_TOO_OLD_ACK`; RFC 5961, section 5.2).
pub const TOO_OLD_ACK: u8 = 7;
/// It acknowledges what was never sent (`TCP_ACK_UNSENT_DATA`).
pub const ACK_UNSENT_DATA: u8 = 8;
/// There is no room (`TCP_ZEROWINDOW`).
pub const ZEROWINDOW: u8 = 9;
/// It begins where the window ends (`TCP_OVERWINDOW`).
pub const OVERWINDOW: u8 = 10;
/// Data for a socket that is closed (`TCP_ABORT_ON_DATA` of `enum sk_rst_reason`).
pub const ABORT_ON_DATA: u8 = 11;
/// Answers to a SYN that acknowledge another number (`TCP_INVALID_ACK_SEQUENCE`).
pub const INVALID_ACK_SEQUENCE: u8 = 12;
/// It lies behind the peer's FIN. The kernel has no name for that.
pub const AFTER_FIN: u8 = 13;
/// It ends beyond the window (`TCP_INVALID_END_SEQUENCE`).
pub const INVALID_END_SEQUENCE: u8 = 14;
/// All of it had been received (`TCP_OLD_DATA`): a retransmit, and no fault.
pub const OLD_DATA: u8 = 15;
