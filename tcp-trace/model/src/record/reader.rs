//! Reads a recording line by line. Whatever the bytes are, the answer is a record, a line that says why it is
//! none, or an error.

use std::{
    fmt,
    io::{self, BufRead, Read as _},
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::error::Category;

use super::{FORMAT, Record, Text, VERSION};

/// Longest line that is read, in bytes; a longer one is skipped. The longest that this program writes, two heads
/// full of control characters, stay below 1 MiB.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// Longest reason that is told, in characters: it can quote what is in the file.
const REASON_MAX: usize = 200;

/// A recording that is read from its beginning.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: Vec<u8>,
    /// Number of the line, from 1.
    number: u64,
    has_head: bool,
    has_end: bool,
    is_cut: bool,
}

/// What a line is.
#[derive(Debug)]
pub enum Line<'a> {
    /// A record, and the line that it was read from, without its newline.
    Record {
        /// The line as it is in the file.
        raw: &'a [u8],
        /// What it says. [`Record::Unknown`] when its type is one of a later version.
        record: Record,
    },
    /// No record; it is skipped.
    Broken(BrokenLine),
}

/// A line that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenLine {
    /// Its number, from 1.
    pub number: u64,
    /// What is wrong with it. It can quote the line.
    pub reason: String,
}

impl fmt::Display for BrokenLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason: String = self.reason.chars().take(REASON_MAX).collect();
        write!(f, "line {}: {}", self.number, Text::from(reason.as_str()).printable())
    }
}

/// How a recording stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its `end` line.
    Complete,
    /// After a whole line, without an `end`.
    WithoutEnd {
        /// Number of the last line.
        last: u64,
    },
    /// In the middle of a line.
    InLine {
        /// Number of that line.
        number: u64,
    },
}

/// Why reading breaks off.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first line is not that of a recording.
    #[error("it is not a recording of tcp-trace: {0}")]
    NotARecording(&'static str),
    /// It was written by a later version.
    #[error(
        "it is in version {0} of the recording format and this tcp-trace knows version {VERSION} only: \
         a newer tcp-trace can read it"
    )]
    Newer(u64),
}

/// What tells a recording: the first line's fields that will never change.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    format: String,
    version: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, has_head: false, has_end: false, is_cut: false }
    }

    /// What it reads from.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// The next line; `None` at the end. Empty lines are passed over.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, ReadError> {
        let Some(is_whole) = self.fill()? else {
            return if self.has_head { Ok(None) } else { Err(ReadError::NotARecording("it is empty")) };
        };
        if !self.has_head {
            check_head(&self.line)?;
            self.has_head = true;
        }
        if self.line.len() > LINE_BYTES_MAX {
            let reason = format!("longer than {} MiB", LINE_BYTES_MAX >> 20);
            return Ok(Some(Line::Broken(BrokenLine { number: self.number, reason })));
        }
        match parse(&self.line) {
            Ok(record) => {
                self.has_end |= matches!(record, Record::End(_));
                Ok(Some(Line::Record { raw: &self.line, record }))
            }
            Err(_) if !is_whole && !self.has_end && !is_json(&self.line) => {
                self.is_cut = true;
                Ok(None)
            }
            Err(reason) => Ok(Some(Line::Broken(BrokenLine { number: self.number, reason }))),
        }
    }

    /// How it stops, once there is no next line.
    pub fn ending(&self) -> Ending {
        if self.is_cut {
            Ending::InLine { number: self.number }
        } else if self.has_end {
            Ending::Complete
        } else {
            Ending::WithoutEnd { last: self.number }
        }
    }

    /// Reads the next line that is not empty, without its newline, and says whether it had one. Of a line that is
    /// too long only as much is kept as shows that.
    fn fill(&mut self) -> io::Result<Option<bool>> {
        loop {
            self.line.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            if (&mut self.input).take(limit).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let mut is_whole = self.line.pop_if(|last| *last == b'\n').is_some();
            if self.line.len() > LINE_BYTES_MAX {
                is_whole = true;
                self.input.skip_until(b'\n')?;
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(is_whole));
            }
        }
    }
}

/// The record of one line; the error says what is wrong with it.
pub fn parse(line: &[u8]) -> Result<Record, String> {
    let text = str::from_utf8(line)
        .map_err(|error| format!("not JSON: not UTF-8 at column {}", error.valid_up_to() + 1))?;
    if let Some(record) = frequent(text) {
        return Ok(record);
    }
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // The place in the line follows. Of a field that is wrong it is not known: serde counts to the line's end.
        let what = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        match error.classify() {
            Category::Data if !text.trim_ascii_start().starts_with('{') => "not a JSON object".to_owned(),
            Category::Data => what.to_owned(),
            _ => format!("not JSON: {what} at column {}", error.column()),
        }
    })
}

/// The record of a line that begins with its type, as this program writes it, and is right: serde need not keep the fields
/// until it knows the type.
fn frequent(text: &str) -> Option<Record> {
    let (kind, _) = text.strip_prefix(r#"{"type":""#)?.split_once('"')?;
    match kind {
        "http" => serde_json::from_str(text).ok().map(Record::Http),
        "transition" => serde_json::from_str(text).ok().map(Record::Transition),
        "segment" => serde_json::from_str(text).ok().map(Record::Segment),
        "connection" => serde_json::from_str(text).ok().map(Record::Connection),
        "tls" => serde_json::from_str(text).ok().map(Record::Tls),
        "dns" => serde_json::from_str(text).ok().map(Record::Dns),
        _ => None,
    }
}

fn is_json(line: &[u8]) -> bool {
    str::from_utf8(line).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn check_head(line: &[u8]) -> Result<(), ReadError> {
    let head: Head = serde_json::from_slice(line).map_err(|error| {
        ReadError::NotARecording(match error.classify() {
            Category::Eof => "its first line is cut off",
            Category::Data => "its first line is no `session`",
            Category::Syntax | Category::Io => "its first line is not JSON",
        })
    })?;
    match head.version {
        _ if head.kind != "session" => Err(ReadError::NotARecording("its first line is no `session`")),
        _ if head.format != FORMAT => Err(ReadError::NotARecording("its `format` is another one")),
        version if version > u64::from(VERSION) => Err(ReadError::Newer(version)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
