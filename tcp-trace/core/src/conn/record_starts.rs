//! The beginnings of TLS records as they pass, and their lengths: what links a TLS library's calls to a connection.

use std::collections::VecDeque;

use tcp_trace_model::{
    event::{Direction, Segment},
    time::Time,
};

use super::Connection;
use crate::{
    protocols::Layer,
    stream::ahead,
    tls::{APPLICATION_DATA, Cutter, START},
};

/// Bytes of a direction that are needed where nothing but a record's beginning can show whose calls these are.
const NEEDED_MAX: u64 = 1 << 20;
/// Records whose lengths are known of a connection.
const LENGTHS_MAX: usize = 32;

/// The beginning of a record that passed, behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordStart {
    /// Seen from the process.
    pub direction: Direction,
    /// Bytes that are no others': they are encrypted, or a client's random number is among them.
    pub bytes: [u8; START],
}

/// What is known of the records of a connection to which no calls are linked.
#[derive(Debug, Default)]
pub(super) struct RecordStarts {
    /// By [`Direction::index`].
    ways: [Way; 2],
    /// How long the records of data are that left last, without their headers, and when each had left. Cleared where some may be
    /// missing.
    lengths: VecDeque<(u16, Time)>,
    /// Whether calls of its process have waited for them.
    is_needed: bool,
}

#[derive(Debug, Default)]
struct Way {
    cutter: Cutter,
    /// The number of the next byte; `None` where it is not known.
    next: Option<u32>,
    /// Up to how many bytes more are needed, whatever else is read of them.
    needed: u64,
}

impl RecordStarts {
    fn take(&mut self, time: Time, segment: &Segment<'_>, starts: &mut Vec<RecordStart>) {
        let direction = segment.direction;
        let way = &mut self.ways[direction.index()];
        let is_next = way.next == Some(segment.sequence);
        if way.next.is_some_and(|next| ahead(segment.sequence, next) < 0) {
            // Sent again.
            return;
        }
        // Truncation is what sequence numbers do.
        way.next = Some(segment.sequence.wrapping_add(segment.length));
        way.needed = way.needed.saturating_sub(segment.length.into());
        let is_whole = segment.payload.len() == segment.length as usize;
        if !is_next || !is_whole || way.cutter.is_lost() {
            // A sender begins a record with a segment most of the time.
            way.cutter = Cutter::default();
            if direction == Direction::Out {
                self.lengths.clear();
            }
        }
        if !is_whole {
            way.next = None;
            return;
        }
        let mut bytes = segment.payload;
        while let Some(record) = way.cutter.next(&mut bytes) {
            if let Some(bytes) = record.start {
                starts.push(RecordStart { direction, bytes });
            }
            if record.is_last && record.kind == APPLICATION_DATA && direction == Direction::Out {
                if self.lengths.len() == LENGTHS_MAX {
                    self.lengths.pop_front();
                }
                self.lengths.push_back((record.length, time));
            }
        }
    }
}

/// Whether bytes may begin a record of data.
fn begins_record(bytes: &[u8]) -> bool {
    bytes.starts_with(&[APPLICATION_DATA, 3, 3])
}

impl Connection {
    /// Takes what a segment shows of TLS records, while nothing is linked to the connection.
    #[inline]
    pub fn show_records(&mut self, time: Time, segment: &Segment<'_>, starts: &mut Vec<RecordStart>) {
        let payload = &mut self.payload;
        // Of a connection that is older, its calls may be seen before it is known whose it is.
        let is_tls = match payload.layer {
            Some(Layer::Tls(_)) => true,
            _ => self.handshake.is_none() && begins_record(segment.payload),
        };
        if is_tls && payload.records.is_none() && payload.has_no_calls() && payload.may_be_tls() {
            payload.records = Some(Box::default());
        }
        if let Some(records) = &mut payload.records
            && segment.length > 0
        {
            records.take(time, segment, starts);
        }
    }

    /// Notes that calls of its process wait for a record's beginning: its bytes are needed for a while, once. Gives
    /// the directions whose skip entry has to be removed for that.
    pub fn need_records(&mut self) -> impl Iterator<Item = Direction> {
        let is_candidate = self.is_unlinked_tls() && self.has_socket();
        let has_begun = self.payload.records.as_ref().is_some_and(|records| records.is_needed);
        let is_news = is_candidate && !has_begun;
        if is_news {
            let records = self.payload.records.get_or_insert_default();
            records.is_needed = true;
            records.ways.iter_mut().for_each(|way| way.needed = NEEDED_MAX);
        }
        let lifted = if is_news { self.lift_skips().collect() } else { Vec::new() };
        lifted.into_iter()
    }

    /// Whether calls may be linked to it: it may be TLS, and none are.
    pub fn is_unlinked_tls(&self) -> bool {
        self.payload.has_no_calls() && self.may_carry_tls()
    }

    /// How long the records of data are that left last, without their headers, and when each had left; `None` where they are not known.
    pub fn record_lengths(&self) -> Option<&VecDeque<(u16, Time)>> {
        let records = self.payload.records.as_deref()?;
        Some(&records.lengths)
    }

    /// Whether the beginnings of records in a direction are needed.
    pub(super) fn needs_records(&self, direction: Direction) -> bool {
        self.payload.records.as_ref().is_some_and(|records| records.ways[direction.index()].needed > 0)
    }
}
