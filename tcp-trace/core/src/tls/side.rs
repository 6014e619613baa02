//! One end's records.

use tcp_trace_model::record::{TlsClosing, TlsDirection};

use super::{
    messages::Messages,
    records::{ALERT, APPLICATION_DATA, Part, Records},
};

/// Bytes of a direction after its handshake whose records are read. What comes behind them is bulk, of which the kernel side hands
/// over nothing.
const READ_MAX: u64 = 64 << 10;

/// How long records of what is encrypted are, with the cipher suite that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) is_1_3: bool,
    /// Of messages of TLS 1.3; `None` where the suite is not known, or does not matter.
    pub(super) of_1_3: Option<Lengths>,
}

/// How long records with one message are, in bytes, where nothing is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) alert: u16,
    pub(super) finished: u16,
    pub(super) end_of_early_data: u16,
}

impl Sizes {
    pub(super) fn of(is_1_3: bool, cipher: u16) -> Self {
        // Bytes of the hash and of the tag (RFC 8446, appendix B.4 and section 5.2).
        let (hash, tag) = match cipher {
            0x1301 | 0x1303 | 0x1304 => (32, 16),
            0x1302 => (48, 16),
            0x1305 => (32, 8),
            _ => return Self { is_1_3, of_1_3: None },
        };
        // A byte says what is inside; messages of the handshake have a header of four.
        let added = 1 + tag;
        let of_1_3 = Lengths { alert: 2 + added, finished: 4 + hash + added, end_of_early_data: 4 + added };
        Self { is_1_3, of_1_3: is_1_3.then_some(of_1_3) }
    }
}

/// What an end has sent.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) records: Records,
    pub(super) messages: Messages,
    /// Whether a record has begun.
    pub(super) has_begun: bool,
    /// Before TLS 1.3: whether its ChangeCipherSpec has passed, and whether the Finished behind it has.
    pub(super) is_encrypted: bool,
    pub(super) is_finished: bool,
    /// The level of an alert whose other byte is to come.
    pub(super) alert_level: Option<u8>,
    /// Whether its last alert was `close_notify`, in the clear.
    pub(super) has_said_close: bool,
    /// Bytes and number of records of data since the handshake.
    bytes: u64,
    count: u64,
    /// Bytes where no records were read.
    pub(super) unread: u64,
    /// What its last record is, if that may be its last word.
    last: Option<TlsClosing>,
    closing: Option<TlsClosing>,
}

impl Side {
    /// Whether its records are still read.
    pub(super) fn is_read(&self) -> bool {
        self.bytes < READ_MAX && !self.records.is_lost
    }

    /// Notes that a record has ended. `is_data` is whether it is behind the handshake.
    pub(super) fn note(&mut self, part: Part<'_>, sizes: Option<Sizes>, is_data: bool) {
        if is_data {
            self.bytes += u64::from(part.length);
            self.count += 1;
        }
        let lengths = sizes.and_then(|sizes| sizes.of_1_3);
        let is_like_alert = lengths.is_some_and(|lengths| lengths.alert == part.length);
        self.last = Some(match part.kind {
            ALERT if self.has_said_close => TlsClosing::CloseNotify,
            ALERT => TlsClosing::Alert,
            APPLICATION_DATA if is_like_alert => TlsClosing::MaybeAlert,
            _ => TlsClosing::NoAlert,
        });
    }

    /// Notes its FIN.
    pub(super) fn close(&mut self) {
        self.closing = match self.last {
            _ if self.records.is_lost => None,
            _ if !self.records.is_between() => Some(TlsClosing::Truncated),
            last => last,
        };
    }

    /// What passed since the handshake.
    pub(super) fn data(&self) -> TlsDirection {
        TlsDirection {
            bytes: self.bytes + self.unread,
            records: self.count,
            unread: self.unread,
            end: self.closing,
        }
    }
}
