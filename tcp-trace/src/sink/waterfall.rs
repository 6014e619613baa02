//! A waterfall of each page, as in a browser's network panel: a line per request, with a bar for where its time went.

mod bar;
mod layout;
mod page;
mod row;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io::{self, Write},
};

use jiff::tz::TimeZone;
use tcp_trace_core::{
    page::{Opening, groups, keep_headers},
    prose::{Palette, Phrase},
};
use tcp_trace_model::record::{ConnectionId, Fields, Http, Record};

use self::page::Known;
use super::{
    Sink,
    rest::{Rest, write_line},
};

/// Exchanges that are kept for the waterfalls of a recording; of what comes later only the number is told.
pub const WATERFALL_EXCHANGES_MAX: usize = 200_000;
/// Bytes of their targets and header fields that are kept; an exchange that finds no room is left out.
const TEXT_BYTES_MAX: usize = 256 << 20;
/// Why there is no more.
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
    exchanges_max: usize,
    exchanges: Vec<Http>,
    text_bytes: usize,
    openings: HashMap<ConnectionId, Opening>,
    rest: Rest,
}

impl<W: Write> Waterfall<W> {
    /// Writes to `output`, in lines of so many columns, with times of day in `zone`.
    pub fn new(output: W, zone: TimeZone, columns: usize) -> Self {
        Self {
            output,
            zone,
            palette: Palette::PLAIN,
            columns: columns.clamp(*COLUMNS.start(), *COLUMNS.end()),
            exchanges_max: WATERFALL_EXCHANGES_MAX,
            exchanges: Vec::new(),
            text_bytes: 0,
            openings: HashMap::new(),
            rest: Rest::new("exchange", LEFT_OUT),
        }
    }

    /// In colours.
    pub fn painted(self, palette: Palette) -> Self {
        Self { palette, ..self }
    }

    fn keep(&mut self, http: &Http) {
        let mut http = http.clone();
        keep_headers(&mut http);
        let bytes = text_bytes(&http);
        if self.exchanges.len() >= self.exchanges_max || self.text_bytes + bytes > TEXT_BYTES_MAX {
            self.rest.leave_out();
            return;
        }
        self.text_bytes += bytes;
        self.exchanges.push(http);
    }

    fn text(&self) -> String {
        let groups = groups(&self.exchanges);
        let known = Known::new(&self.exchanges, &self.openings, &groups);
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

/// Bytes of an exchange that can be any number.
fn text_bytes(http: &Http) -> usize {
    let of = |headers: &Fields| headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let request = http.http.request.as_ref();
    let request =
        request.map(|request| request.method.0.len() + 2 * request.target.0.len() + of(&request.headers));
    let response = http.http.response.as_ref();
    let response = response.map(|response| response.reason.0.len() + of(&response.headers));
    let reason = http.reason.as_ref().map(String::len);
    let host = http.url.as_ref().and_then(|url| url.host.as_ref()).map(|host| host.0.len());
    [request, response, reason, host].into_iter().flatten().sum()
}

impl<W: Write> Sink for Waterfall<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Http(http) => self.keep(http),
            Record::Connection(summary)
                if summary.http.is_some() && self.openings.len() < self.exchanges_max =>
            {
                self.openings.extend(Opening::of(summary).map(|opening| (summary.connection, opening)));
            }
            _ => self.rest.take(record),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let text = self.text();
        self.output.write_all(text.as_bytes())?;
        self.output.write_all(self.rest.text(&[], self.columns, &self.palette).as_bytes())?;
        self.output.flush()
    }
}
