//! The TCP sockets of a network namespace, as the kernel lists them over netlink (sock_diag(7), `net/ipv4/inet_diag.c`).

mod answer;
mod error;
mod netlink;
mod request;
mod socket;

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

pub use self::{
    answer::Dump,
    error::DiagError,
    netlink::MessageError,
    request::States,
    socket::{Family, Socket, TcpInfo, Timer},
};
use self::{
    answer::{List, one_socket},
    request::Request,
};
use crate::{event::Endpoints, kernel::netns::within};
use rustix::{
    io::retry_on_intr,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink as protocol, recv, send,
        socket_with, sockopt,
    },
};

/// Twice the most that the kernel puts into one datagram (`netlink_recvmsg()` bounds it at 32 KiB).
const BUFFER_BYTES: usize = 64 << 10;
/// How long the kernel may take to answer. It answers at once; this is against waiting for ever.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How often a list that the kernel says is incomplete is asked for again.
const RESTARTS_MAX: u32 = 3;

/// A netlink socket that asks for the TCP sockets of one network namespace.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    sequence: u32,
}

impl SockDiag {
    /// One for the calling thread's network namespace. Needs no privileges.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: open_socket()?, buffer: vec![0; BUFFER_BYTES].into(), sequence: 0 })
    }

    /// One for the network namespace that `namespace` refers to: an opened `/proc/PID/ns/net` or a mount of it.
    ///
    /// A netlink socket stays in the namespace in which it was made: a thread enters it, makes the socket and ends.
    /// `EPERM` without CAP_SYS_ADMIN in the user namespaces of both.
    pub fn in_namespace(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        let socket = within(namespace, open_socket)??;
        Ok(Self { socket, buffer: vec![0; BUFFER_BYTES].into(), sequence: 0 })
    }

    /// Hands every TCP socket that is in one of `states` to `each`, IPv4 before IPv6.
    ///
    /// The list is no snapshot: a socket that changes meanwhile can be missing or be given twice, and all of them
    /// are given again when the list restarts. The cookie tells.
    pub fn dump(
        &mut self,
        states: States,
        with_info: bool,
        each: &mut dyn FnMut(Socket),
    ) -> Result<Dump, DiagError> {
        let mut dump = Dump::default();
        for family in Family::ALL {
            for run in 0..=RESTARTS_MAX {
                dump.restarts += u32::from(run > 0);
                if self.dump_once(family, states, with_info, &mut dump, each)? {
                    break;
                }
                dump.incomplete |= run == RESTARTS_MAX;
            }
        }
        Ok(dump)
    }

    /// The socket with these addresses and ports, or `None`.
    ///
    /// A connection only: a listener has no peer, and a lookup would give any listener that could accept one.
    pub fn find(&mut self, endpoints: Endpoints, with_info: bool) -> Result<Option<Socket>, DiagError> {
        let family = if endpoints.local.is_ipv4() { Family::Inet } else { Family::Inet6 };
        let sequence = self.next_sequence();
        let (states, exactly) = (States::ALL, Some(endpoints));
        self.send(&Request { family, states, exactly, with_info, sequence })?;
        loop {
            let length = self.receive()?;
            if let Some(found) = one_socket(&self.buffer[..length], sequence)? {
                return Ok(found.filter(|socket| socket.endpoints == endpoints));
            }
        }
    }

    /// Lists the sockets of one family; returns whether the list is complete.
    fn dump_once(
        &mut self,
        family: Family,
        states: States,
        with_info: bool,
        dump: &mut Dump,
        each: &mut dyn FnMut(Socket),
    ) -> Result<bool, DiagError> {
        let sequence = self.next_sequence();
        self.send(&Request { family, states, exactly: None, with_info, sequence })?;
        let mut list = List { sequence, interrupted: false, dump, each };
        loop {
            let length = self.receive()?;
            if list.take(&self.buffer[..length])? {
                return Ok(!list.interrupted);
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&mut self, request: &Request) -> Result<(), DiagError> {
        // A list that was given up would go on with every receive, and no other begin meanwhile.
        while recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT).is_ok() {}
        let bytes = request.bytes();
        // Without an address a netlink message goes to the kernel.
        let sent = retry_on_intr(|| send(&self.socket, &bytes, SendFlags::empty()));
        sent.map(|_| ()).map_err(|error| DiagError::failed("ask for TCP sockets", error))
    }

    /// Receives one datagram; returns its length.
    fn receive(&mut self) -> Result<usize, DiagError> {
        let received = retry_on_intr(|| recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC));
        let (length, whole) = received.map_err(|error| DiagError::failed("receive TCP sockets", error))?;
        if whole > length {
            return Err(MessageError::Short { what: "buffer for netlink messages", length }.into());
        }
        Ok(length)
    }
}

fn open_socket() -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol::SOCK_DIAG))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_TIME_MAX))?;
    Ok(socket)
}
