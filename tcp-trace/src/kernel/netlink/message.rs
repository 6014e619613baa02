//! Netlink's framing: datagrams to messages, messages to attributes (`include/uapi/linux/netlink.h`).
//!
//! Total: whatever the bytes, the answer is a message, an attribute or an error. Numbers are in host byte order.

use thiserror::Error;

/// `NLMSG_ERROR`: a request failed, or was acknowledged with error 0.
pub(in crate::kernel) const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a list.
pub(in crate::kernel) const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST`.
pub(in crate::kernel) const NLM_F_REQUEST: u16 = 0x1;
/// `NLM_F_DUMP_INTR`: the kernel's tables changed under the list in a way that makes it incomplete.
pub(in crate::kernel) const NLM_F_DUMP_INTR: u16 = 0x10;
/// `NLM_F_DUMP`: all that fit, not one.
pub(in crate::kernel) const NLM_F_DUMP: u16 = 0x300;

/// The bits of an attribute's type that are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const ATTRIBUTE_FLAGS: u16 = 0xc000;
/// `struct nlmsghdr`.
pub(in crate::kernel) const HEADER_LENGTH: usize = 16;

/// Why a message of the kernel could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// It, or an attribute in it, ends before its fixed part does, or says that it is longer than it is.
    #[error("{what} of {length} bytes is too short")]
    Short {
        /// What it is.
        what: &'static str,
        /// Bytes that are there.
        length: usize,
    },
    /// A field has a value that it cannot have.
    #[error("field {field} has the impossible value {value}")]
    Value {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
}

/// `struct nlmsghdr` without the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Header {
    pub(in crate::kernel) kind: u16,
    pub(in crate::kernel) flags: u16,
    pub(in crate::kernel) sequence: u32,
}

/// The netlink messages of one datagram. Ends after an error.
pub(in crate::kernel) struct Messages<'a>(pub(in crate::kernel) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<(Header, &'a [u8]), MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        Some(split_message(bytes).map(|(header, payload, rest)| {
            self.0 = rest;
            (header, payload)
        }))
    }
}

fn split_message(bytes: &[u8]) -> Result<(Header, &[u8], &[u8]), MessageError> {
    let short = MessageError::Short { what: "netlink message", length: bytes.len() };
    let fixed: &[u8; HEADER_LENGTH] = chunk(bytes, "netlink message")?;
    let length = u32::from_ne_bytes(array(fixed, 0)) as usize;
    let payload = bytes.get(HEADER_LENGTH..length).ok_or(short)?;
    let header = Header {
        kind: u16::from_ne_bytes(array(fixed, 4)),
        flags: u16::from_ne_bytes(array(fixed, 6)),
        sequence: u32::from_ne_bytes(array(fixed, 8)),
    };
    Ok((header, payload, after(bytes, length)))
}

/// The error number at the start of `NLMSG_ERROR` and of `NLMSG_DONE`, positive; 0 is success.
pub(in crate::kernel) fn error_number(payload: &[u8]) -> Result<i32, MessageError> {
    chunk(payload, "netlink error").map(|bytes| i32::from_ne_bytes(*bytes).saturating_neg())
}

/// The attributes (`struct nlattr`) of a message. Ends after an error.
pub(in crate::kernel) struct Attributes<'a>(pub(in crate::kernel) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        Some(split_attribute(bytes).map(|(kind, value, rest)| {
            self.0 = rest;
            (kind, value)
        }))
    }
}

fn split_attribute(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), MessageError> {
    let short = MessageError::Short { what: "netlink attribute", length: bytes.len() };
    let fixed: &[u8; 4] = chunk(bytes, "netlink attribute")?;
    let length = usize::from(u16::from_ne_bytes(array(fixed, 0)));
    let kind = u16::from_ne_bytes(array(fixed, 2)) & !ATTRIBUTE_FLAGS;
    let value = bytes.get(fixed.len()..length).ok_or(short)?;
    Ok((kind, value, after(bytes, length)))
}

/// What follows an item of `length` bytes: the next one is aligned to 4, the last one need not be padded.
fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

/// The bytes at `at`, which the callers know to be there.
pub(in crate::kernel) fn array<const N: usize, const M: usize>(bytes: &[u8; N], at: usize) -> [u8; M] {
    std::array::from_fn(|index| bytes[at + index])
}

/// The beginning of `bytes`, or that they are too short.
pub(in crate::kernel) fn chunk<'a, const N: usize>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<&'a [u8; N], MessageError> {
    bytes.first_chunk().ok_or(MessageError::Short { what, length: bytes.len() })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
