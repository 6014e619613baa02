//! Writes lines of a recording. The kinds that are frequent, `transition`, `segment`, `http` and `connection`, are written
//! straight into a buffer that does not grow: constant text in one piece with what stands before it, and no code for what goes
//! wrong after each piece. Everything else, and what does not fit, is written by serde, which says in the tests what a line has
//! to be.

mod connection;
mod http;
mod line;
mod shared;

use self::{
    line::Line,
    shared::{SharedText, SharedTexts},
};
use super::{ConnectionInfo, Record, Segment, Transition};
use crate::{event::Direction, json, network::FlagNames};

/// Room for lines; one that needs more gets it.
const ROOM: usize = 128 << 10;

/// Lines that wait to be handed on.
#[derive(Debug)]
pub struct Lines {
    /// The lines, and behind them zeros or what was there before.
    buffer: Vec<u8>,
    /// Where the lines end.
    end: usize,
    /// A line that serde has written.
    slow: Vec<u8>,
    /// What several lines say.
    shared: SharedTexts,
}

impl Default for Lines {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl Lines {
    fn with_room(room: usize) -> Self {
        Self { buffer: vec![0; room], end: 0, slow: Vec::new(), shared: SharedTexts::default() }
    }

    /// What was appended since the last [`Lines::clear`].
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.end).unwrap_or_default()
    }

    /// Forgets it.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// Appends the line of a record.
    ///
    /// # Errors
    /// When it cannot be JSON; then nothing is appended.
    pub fn push(&mut self, record: &Record) -> Result<(), serde_json::Error> {
        let Some(room) = self.buffer.get_mut(self.end..) else { return Ok(()) };
        let mut line = Line { buffer: room, end: 0, is_whole: true };
        let shared = match record {
            Record::Http(http) => self.shared.of(&http.connection),
            Record::Transition(transition) => self.shared.of(&transition.connection),
            Record::Connection(summary) => self.shared.of(&summary.connection),
            _ => None,
        };
        match (record, shared) {
            (Record::Http(http), Some(shared)) => line.http(http, shared),
            (Record::Transition(transition), Some(shared)) => line.transition(transition, shared),
            (Record::Connection(summary), Some(shared)) => line.summary(summary, shared),
            (Record::Segment(segment), _) => line.segment(segment),
            _ => line.is_whole = false,
        }
        line.put(b"\n");
        if line.is_whole {
            self.end += line.end;
            return Ok(());
        }
        let mut slow = std::mem::take(&mut self.slow);
        slow.clear();
        let written = json::write(&mut slow, record);
        if written.is_ok() {
            self.push_raw(&slow);
        }
        self.slow = slow;
        written
    }

    /// Appends a line that is JSON already, without its newline.
    pub fn push_raw(&mut self, line: &[u8]) {
        let end = self.end + line.len();
        if self.buffer.len() <= end {
            self.buffer.resize(end + 1, 0);
        }
        if let Some(place) = self.buffer.get_mut(self.end..=end)
            && let Some((newline, place)) = place.split_last_mut()
        {
            place.copy_from_slice(line);
            *newline = b'\n';
            self.end = end + 1;
        }
    }
}

impl Line<'_> {
    fn transition(&mut self, transition: &Transition, shared: &SharedText) {
        self.put(b"{\"type\":\"transition\",\"time\":");
        self.time(transition.time);
        self.put(b",\"connection\":");
        self.put_short(shared.id());
        self.put(b",\"old\":\"");
        self.put_short(transition.old.name().as_bytes());
        self.put(b"\",\"new\":\"");
        self.put_short(transition.new.name().as_bytes());
        self.put(b"\"");
        self.optional(b",\"in_old_us\":", transition.in_old_us);
        if transition.estimated {
            self.put(b",\"estimated\":true");
        } else {
            self.put(b",\"estimated\":false");
        }
        if transition.gap {
            self.put(b",\"gap\":true");
        }
        if let Some(reason) = &transition.reason {
            self.put(b",\"reason\":");
            self.text(reason.as_bytes());
        }
        self.put(shared.fields());
        self.put(b"}");
    }

    fn segment(&mut self, segment: &Segment) {
        self.put(b"{\"type\":\"segment\",\"time\":");
        self.time(segment.time);
        self.put(b",\"connection\":");
        self.connection(segment.connection.id);
        match segment.direction {
            Direction::Out => self.put(b",\"direction\":\"out\",\"flags\":["),
            Direction::In => self.put(b",\"direction\":\"in\",\"flags\":["),
        }
        self.flags(segment.flags);
        self.put(b"],\"seq\":");
        self.number(segment.seq.into());
        self.optional(b",\"ack\":", segment.ack.map(u64::from));
        self.put(b",\"length\":");
        self.number(segment.length.into());
        if segment.retransmit {
            self.put(b",\"retransmit\":true");
        } else {
            self.put(b",\"retransmit\":false");
        }
        if let Some(refused) = segment.refused {
            self.put(b",\"refused\":\"");
            self.put(refused.name().as_bytes());
            self.put(b"\"");
        }
        self.put(b"}");
    }

    fn flags(&mut self, FlagNames(flags): FlagNames) {
        for (number, name) in flags.names().enumerate() {
            if number == 0 {
                self.put(b"\"");
            } else {
                self.put(b",\"");
            }
            self.put_short(name.as_bytes());
            self.put(b"\"");
        }
    }
}

#[cfg(test)]
mod tests;
