//! What the datagrams that answer a request mean, without the socket that they come from.

use std::io;

use rustix::io::Errno;
use tcp_trace_model::socket::Socket;

use super::{DiagError, MessageError, request::SOCK_DIAG_BY_FAMILY, socket};
use crate::kernel::netlink::message::{Messages, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, error_number};

/// How a list went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Sockets that were given.
    pub sockets: u64,
    /// Sockets that could not be understood and were left out.
    pub malformed: u64,
    /// Why the first of them could not be understood.
    pub first_error: Option<MessageError>,
    /// How often the list was begun again because the kernel said that it was incomplete.
    pub restarts: u32,
    /// Whether it was incomplete to the last.
    pub incomplete: bool,
}

/// A list that comes in parts.
pub(super) struct List<'a> {
    /// Of the request; other messages are remains of lists that were given up.
    pub(super) sequence: u32,
    /// Whether the kernel said that the list is incomplete.
    pub(super) interrupted: bool,
    pub(super) dump: &'a mut Dump,
    pub(super) each: &'a mut dyn FnMut(Socket),
}

impl List<'_> {
    /// Takes one datagram; returns whether the list has ended.
    pub(super) fn take(&mut self, datagram: &[u8]) -> Result<bool, DiagError> {
        for message in Messages(datagram) {
            let (header, payload) = message?;
            if header.sequence != self.sequence {
                continue;
            }
            self.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            match header.kind {
                SOCK_DIAG_BY_FAMILY => self.socket(payload),
                NLMSG_DONE | NLMSG_ERROR => return end_of_list(payload),
                _ => {}
            }
        }
        Ok(false)
    }

    fn socket(&mut self, payload: &[u8]) {
        match socket::parse(payload) {
            Ok(socket) => {
                self.dump.sockets += 1;
                (self.each)(socket);
            }
            Err(error) => {
                self.dump.malformed += 1;
                self.dump.first_error.get_or_insert(error);
            }
        }
    }
}

fn end_of_list(payload: &[u8]) -> Result<bool, DiagError> {
    match error_number(payload)? {
        ..=0 => Ok(true),
        number if is_no_entry(number) => Err(DiagError::Unsupported),
        number => Err(DiagError::failed("list TCP sockets", io::Error::from_raw_os_error(number))),
    }
}

/// What a datagram says to a request for one socket: `None` when it says nothing to it, `Some(None)` when there is no
/// such socket.
pub(super) fn one_socket(datagram: &[u8], of: u32) -> Result<Option<Option<Socket>>, DiagError> {
    for message in Messages(datagram) {
        let (header, payload) = message?;
        if header.sequence != of {
            continue;
        }
        match header.kind {
            SOCK_DIAG_BY_FAMILY => return Ok(Some(Some(socket::parse(payload)?))),
            NLMSG_ERROR => {
                let number = error_number(payload)?;
                return if is_no_entry(number) {
                    Ok(Some(None))
                } else {
                    Err(DiagError::failed("look up a socket", io::Error::from_raw_os_error(number)))
                };
            }
            _ => {}
        }
    }
    Ok(None)
}

fn is_no_entry(number: i32) -> bool {
    number == Errno::NOENT.raw_os_error()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
