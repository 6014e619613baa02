//! The TCP sockets of a network namespace, as the kernel lists them over netlink (sock_diag(7), `net/ipv4/inet_diag.c`).

mod answer;
mod error;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod request;
mod socket;

use std::{io, os::fd::BorrowedFd};

use rustix::net::netlink as protocol;

pub use self::{answer::Dump, error::DiagError, request::States};
use self::{
    answer::{List, one_socket},
    request::{Protocol, Request},
};
use super::netlink;
pub use super::netlink::MessageError;
use tcp_trace_model::{
    event::Endpoints,
    socket::{Family, Socket},
};

/// How often a list that the kernel says is incomplete is asked for again.
const RESTARTS_MAX: u32 = 3;

/// A netlink socket that asks for the TCP sockets of one network namespace.
#[derive(Debug)]
pub struct SockDiag(netlink::Socket);

impl SockDiag {
    /// One for the calling thread's network namespace. Needs no privileges.
    pub fn open() -> io::Result<Self> {
        netlink::Socket::open(Some(protocol::SOCK_DIAG)).map(Self)
    }

    /// One for the network namespace that `namespace` refers to: an opened `/proc/PID/ns/net` or a mount of it.
    /// `EPERM` without CAP_SYS_ADMIN in the user namespaces of both.
    pub fn in_namespace(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        netlink::Socket::in_namespace(namespace, Some(protocol::SOCK_DIAG)).map(Self)
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
        self.dump_of(Protocol::Tcp, states, with_info, each)
    }

    /// The same with every MPTCP socket, which a process has instead of its connections' own; fails where the kernel cannot list
    /// them.
    pub fn dump_mptcp(&mut self, states: States, each: &mut dyn FnMut(Socket)) -> Result<Dump, DiagError> {
        self.dump_of(Protocol::Mptcp, states, false, each)
    }

    fn dump_of(
        &mut self,
        protocol: Protocol,
        states: States,
        with_info: bool,
        each: &mut dyn FnMut(Socket),
    ) -> Result<Dump, DiagError> {
        let mut dump = Dump::default();
        for family in Family::ALL {
            for run in 0..=RESTARTS_MAX {
                dump.restarts += u32::from(run > 0);
                let sequence = self.0.next_sequence();
                self.send(&Request { protocol, family, states, exactly: None, with_info, sequence })?;
                if self.take_list(sequence, &mut dump, each)? {
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
        let sequence = self.0.next_sequence();
        let (states, exactly) = (States::ALL, Some(endpoints));
        self.send(&Request { protocol: Protocol::Tcp, family, states, exactly, with_info, sequence })?;
        loop {
            if let Some(found) = one_socket(self.receive()?, sequence)? {
                return Ok(found.filter(|socket| socket.endpoints == endpoints));
            }
        }
    }

    /// Takes the list that is the answer to a request; returns whether it is complete.
    fn take_list(
        &mut self,
        sequence: u32,
        dump: &mut Dump,
        each: &mut dyn FnMut(Socket),
    ) -> Result<bool, DiagError> {
        let mut list = List { sequence, interrupted: false, dump, each };
        loop {
            if list.take(self.receive()?)? {
                return Ok(!list.interrupted);
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), DiagError> {
        let sent = self.0.send(&request.bytes());
        sent.map_err(|error| DiagError::failed("request TCP sockets", error))
    }

    fn receive(&mut self) -> Result<&[u8], DiagError> {
        let received = self.0.receive().map_err(|error| DiagError::failed("receive TCP sockets", error))?;
        Ok(received?)
    }
}
