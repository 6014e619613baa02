//! Records of a direction whose beginnings are compared with what a TLS library hands out or takes.

use super::records::{APPLICATION_DATA, HANDSHAKE, Records};

/// Bytes of a record behind its header that tell it from all others, where they are encrypted or have a random number.
pub(crate) const START: usize = 16;
/// Bytes of a header.
const HEADER: usize = 5;
/// `HandshakeType.client_hello`.
const CLIENT_HELLO: u8 = 1;

/// Cuts a direction into records, and keeps how the one begins that is passing.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    records: Records,
    start: [u8; START],
    /// How many bytes of it have come.
    have: usize,
}

/// What has come of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kind: u8,
    /// Of the whole record, without its header.
    pub(crate) length: u16,
    /// How it begins, once, where nothing else begins so.
    pub(crate) start: Option<[u8; START]>,
    /// Whether it has ended.
    pub(crate) is_last: bool,
}

impl Cutter {
    /// Whether it is not known where the next record begins.
    pub(crate) fn is_lost(&self) -> bool {
        self.records.is_lost
    }

    /// What comes next in `bytes`; `None` when they are used up, or are no records.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Option<Cut> {
        let part = self.records.next(bytes)?;
        let had = self.have;
        let new = part.bytes.len().min(START - had);
        self.start[had..had + new].copy_from_slice(&part.bytes[..new]);
        self.have += new;
        let is_own = is_own(part.kind, &self.start);
        let start = (had < START && self.have == START && is_own).then_some(self.start);
        if part.is_last {
            self.have = 0;
        }
        Some(Cut { kind: part.kind, length: part.length, start, is_last: part.is_last })
    }
}

/// Whether a record of this kind begins as no other does. Others of the handshake may be the same on each connection.
fn is_own(kind: u8, start: &[u8; START]) -> bool {
    kind == APPLICATION_DATA || kind == HANDSHAKE && start[0] == CLIENT_HELLO
}

/// How the record begins of which these are the first bytes: from its header on, where that is there.
pub(crate) fn start_of(bytes: &[u8]) -> Option<[u8; START]> {
    let (header, start) = bytes.split_at_checked(HEADER)?;
    let start = start.first_chunk::<START>()?;
    (header[1] == 3 && is_own(header[0], start)).then_some(*start)
}

/// The same of bytes from behind the header on.
pub(crate) fn start_behind_header(bytes: &[u8]) -> Option<[u8; START]> {
    bytes.first_chunk::<START>().copied()
}
