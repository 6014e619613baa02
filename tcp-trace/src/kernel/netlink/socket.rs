//! A netlink socket of one network namespace: requests out, datagrams in.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::retry_on_intr,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
        sockopt,
    },
};

use super::MessageError;
use crate::kernel::netns::within;

/// Twice the most that the kernel puts into one datagram (`netlink_recvmsg()` bounds it at 32 KiB).
const BUFFER_BYTES: usize = 64 << 10;
/// How long the kernel may take to answer. It answers at once; this is against waiting for ever.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// A netlink socket that stays in the network namespace in which it was made.
#[derive(Debug)]
pub(in crate::kernel) struct Socket {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    sequence: u32,
}

impl Socket {
    /// One of a netlink protocol, `None` for NETLINK_ROUTE, in the calling thread's network namespace. Needs no
    /// privileges.
    pub(in crate::kernel) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        open_socket(protocol).map(Self::of)
    }

    /// One in the network namespace that `namespace` refers to: an opened `/proc/PID/ns/net` or a mount of it.
    ///
    /// A thread enters it, makes the socket and ends. `EPERM` without CAP_SYS_ADMIN in the user namespaces of both.
    pub(in crate::kernel) fn in_namespace(
        namespace: BorrowedFd<'_>,
        protocol: Option<Protocol>,
    ) -> io::Result<Self> {
        Ok(Self::of(within(namespace, || open_socket(protocol))??))
    }

    fn of(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; BUFFER_BYTES].into(), sequence: 0 }
    }

    /// The sequence number of the next request.
    pub(in crate::kernel) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends a request to the kernel.
    pub(in crate::kernel) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        // A list that was given up would go on with every receive, and no other begin meanwhile.
        while recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT).is_ok() {}
        // Without an address a netlink message goes to the kernel.
        retry_on_intr(|| send(&self.socket, request, SendFlags::empty()))?;
        Ok(())
    }

    /// Receives one datagram; the inner error is one that was longer than any of the kernel's.
    pub(in crate::kernel) fn receive(&mut self) -> io::Result<Result<&[u8], MessageError>> {
        let (length, whole) = retry_on_intr(|| recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC))?;
        if whole > length {
            return Ok(Err(MessageError::Short { what: "buffer for netlink messages", length }));
        }
        Ok(Ok(&self.buffer[..length]))
    }
}

fn open_socket(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let socket = socket_with(family, SocketType::DGRAM, flags, protocol)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_TIME_MAX))?;
    Ok(socket)
}
