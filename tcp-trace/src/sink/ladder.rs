//! A sequence diagram of each connection: the client on the left, the server on the right.

mod model;
mod render;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use super::Sink;
use crate::record::Record;

/// Records that are kept for the diagrams of a session; of what comes later only the number is told.
pub const LADDER_RECORDS_MAX: usize = 1_000_000;

/// Keeps the records of a session and draws its connections when it ends.
#[derive(Debug)]
pub struct Ladder<W> {
    output: W,
    title: &'static str,
    records: Vec<Record>,
    left_out: u64,
}

impl<W: Write> Ladder<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        Self { output, title: "", records: Vec::new(), left_out: 0 }
    }

    /// Says this above the diagrams.
    pub fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }
}

impl<W: Write> Sink for Ladder<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Session(_) | Record::Ready(_) | Record::Unknown => {}
            _ if self.records.len() < LADDER_RECORDS_MAX => self.records.push(record.clone()),
            _ => self.left_out += 1,
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut text = self.title.to_owned();
        for ladder in model::ladders(&self.records) {
            render::ladder(&ladder, &mut text);
        }
        render::end(&self.records, self.left_out, &mut text);
        self.output.write_all(text.as_bytes())?;
        self.output.flush()
    }
}
