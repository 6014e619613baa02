//! Numbers of address families, IP protocols and ports.

/// `AF_INET`, in the `family` fields.
pub const AF_INET: u16 = 2;
/// `AF_INET6`, in the `family` fields.
pub const AF_INET6: u16 = 10;

/// TCP in an IP header, and `sk_protocol` of a TCP socket.
pub const IPPROTO_TCP: u8 = 6;
/// UDP in an IP header.
pub const IPPROTO_UDP: u8 = 17;

/// Port of DNS servers (RFC 1035, section 4.2): only datagrams to and from it are reported.
pub const DNS_PORT: u16 = 53;
/// Protocol number of MPTCP sockets, which is in no packet (`IPPROTO_MPTCP`).
pub const IPPROTO_MPTCP: u16 = 262;
