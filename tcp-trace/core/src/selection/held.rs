//! What is held of lines whose connection cannot be judged yet.

use tcp_trace_model::record::Record;

/// What a held record is counted as, in bytes: most are transitions and segments, which share what they say of their
/// connection. Exchanges are never held.
const RECORD_BYTES: usize = 512;

/// A line that is held.
pub trait Held {
    /// Keeps a line, of which `raw` are the bytes, if it has any, and `record` is what it says.
    fn held(raw: &[u8], record: &Record) -> Self;

    /// Bytes that it takes.
    fn bytes(&self) -> usize;
}

/// Of a recording.
impl Held for Vec<u8> {
    fn held(raw: &[u8], _: &Record) -> Self {
        raw.to_vec()
    }

    fn bytes(&self) -> usize {
        self.len()
    }
}

/// Of a session.
impl Held for Record {
    fn held(_: &[u8], record: &Record) -> Self {
        record.clone()
    }

    fn bytes(&self) -> usize {
        RECORD_BYTES
    }
}
