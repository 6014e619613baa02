//! A sequence diagram of each connection: the client on the left, the server on the right.

mod head;
mod layout;
mod lookups;
mod model;
mod parts;
mod render;
mod segments;
#[cfg(test)]
mod tests;
mod topics;

use std::{
    io::{self, Write},
    mem,
};

use tcp_trace_core::prose::Palette;
use tcp_trace_model::record::Record;

use super::{Sink, rest::Rest};

/// Records that are kept for the diagrams of a session; of what comes later only the number is told.
pub const LADDER_RECORDS_MAX: usize = 1_000_000;
/// Why there is no more.
const LEFT_OUT: &str = ": more than a ladder can hold; `record` keeps all";

/// Keeps the records of a session and draws its connections when it ends.
#[derive(Debug)]
pub struct Ladder<W> {
    output: W,
    title: &'static str,
    palette: Palette,
    records_max: usize,
    records: Vec<Record>,
    rest: Rest,
}

impl<W: Write> Ladder<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        let (records, rest) = (Vec::new(), Rest::new("record", LEFT_OUT));
        let (title, palette) = ("", Palette::PLAIN);
        Self { output, title, palette, records_max: LADDER_RECORDS_MAX, records, rest }
    }

    /// Says this above the diagrams.
    pub fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    /// In colours.
    pub fn painted(self, palette: Palette) -> Self {
        Self { palette, ..self }
    }

    fn keep(&mut self, record: &Record) {
        if self.records.len() >= self.records_max {
            self.rest.leave_out();
            return;
        }
        let mut record = record.clone();
        if let Record::Http(http) = &mut record {
            // They are most of a record's bytes and not drawn.
            for headers in [
                http.http.request.as_mut().map(|request| &mut request.headers),
                http.http.response.as_mut().map(|response| &mut response.headers),
            ] {
                headers.map(mem::take);
            }
        }
        self.records.push(record);
    }
}

impl<W: Write> Sink for Ladder<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Session(_) | Record::Ready(_) | Record::Finding(_) | Record::Unknown => {}
            Record::End(_) | Record::Loss(_) => self.rest.take(record),
            Record::Transition(_)
            | Record::Segment(_)
            | Record::Http(_)
            | Record::Dns(_)
            | Record::Connection(_) => {
                self.keep(record);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.output.write_all(self.title.as_bytes())?;
        let all = parts::by_connection(&self.records);
        let mut lookups = lookups::Lookups::new(&self.records);
        for pair in parts::pairs(&all) {
            let ladder = model::Ladder::new(&all, pair);
            let head = head::head(&ladder, lookups.of(&ladder).as_ref(), &self.palette);
            self.output.write_all(head.as_bytes())?;
            self.output.write_all(render::ladder(&ladder, &self.palette).as_bytes())?;
        }
        self.output.write_all(render::without_connection(lookups.rest(), &self.palette).as_bytes())?;
        let topics = topics::topics(&self.records, &self.rest);
        self.output.write_all(self.rest.text(&topics, layout::COLUMNS, &self.palette).as_bytes())?;
        self.output.flush()
    }
}
