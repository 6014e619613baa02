//! A waterfall of each page, as in a browser's network panel: a line per request, with a bar for where its time went.

mod bar;
mod layout;
mod page;
mod row;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use jiff::tz::TimeZone;
use tcp_trace_core::{
    page_loads::{Opening, groups, keep_headers},
    prose::{Palette, Phrase},
    timeline::{Keep, Pairs, Store},
};
use tcp_trace_model::record::Record;

use self::page::Known;
use super::{
    Sink,
    footer::{Footer, write_line},
};

/// Bytes of memory of what is kept for the waterfalls of a recording.
pub const WATERFALL_BYTES_MAX: usize = 384 << 20;
/// Why something is left out.
const LEFT_OUT: &str = ": more than waterfalls can hold; a filter helps";

/// Columns of a terminal whose width is not known.
pub const COLUMNS_DEFAULT: usize = 100;
/// Columns that are made use of, at least and at most.
const COLUMNS: std::ops::RangeInclusive<usize> = 80..=240;

/// Keeps the HTTP exchanges of a recording, and draws its pages when it ends.
#[derive(Debug)]
pub struct Waterfall<W> {
    output: W,
    zone: TimeZone,
    palette: Palette,
    columns: usize,
    store: Store,
    footer: Footer,
}

impl<W: Write> Waterfall<W> {
    /// Writes to `output`, in lines of this many columns, with times of day in `zone`.
    pub fn new(output: W, zone: TimeZone, columns: usize) -> Self {
        Self::holding(output, zone, columns, WATERFALL_BYTES_MAX)
    }

    /// The same, with room for so many bytes.
    fn holding(output: W, zone: TimeZone, columns: usize, bytes_max: usize) -> Self {
        Self {
            output,
            zone,
            palette: Palette::PLAIN,
            columns: columns.clamp(*COLUMNS.start(), *COLUMNS.end()),
            store: Store::new(Keep { trim: keep_headers, ..Keep::all(bytes_max) }),
            footer: Footer::new(LEFT_OUT),
        }
    }

    /// In colours.
    pub fn painted(self, palette: Palette) -> Self {
        Self { palette, ..self }
    }

    fn text(&self) -> String {
        let exchanges = Pairs::new(&self.store).exchanges();
        let groups = groups(&exchanges);
        let summaries = self.store.lives().filter_map(|life| life.summary.as_ref());
        let openings =
            summaries.filter_map(|summary| Some((summary.connection.id, Opening::of(summary)?))).collect();
        let known = Known::new(&exchanges, &openings, &groups);
        let mut text = String::new();
        let mut write = |line: Phrase| write_line(&mut text, line, self.columns, &self.palette);
        if groups.is_empty() {
            write(Phrase::plain("no HTTP exchanges"));
        } else {
            page::legend(&groups).into_iter().for_each(&mut write);
        }
        for group in &groups {
            write(Phrase::default());
            page::draw(group, &known, self.columns, &self.zone).into_iter().for_each(&mut write);
        }
        write(Phrase::default());
        text
    }
}

impl<W: Write> Sink for Waterfall<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Http(_) => self.store.record(record),
            Record::Connection(summary) if summary.http.is_some() => self.store.record(record),
            _ => self.footer.take(record),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let text = self.text();
        self.output.write_all(text.as_bytes())?;
        self.footer.leave_out(self.store.evicted(), "socket");
        self.output.write_all(self.footer.text(&[], self.columns, &self.palette).as_bytes())?;
        self.output.flush()
    }
}
