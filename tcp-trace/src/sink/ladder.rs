//! A sequence diagram of each connection: the client on the left, the server on the right.

mod head;
mod layout;
mod lookups;
mod model;
mod render;
mod segments;
#[cfg(test)]
mod tests;
mod topics;

use std::{
    io::{self, Write},
    mem,
};

use tcp_trace_core::{
    prose::Palette,
    timeline::{Keep, Pairs, Store},
};
use tcp_trace_model::record::{Http, Record, Text};

use super::{Sink, footer::Footer};

/// Bytes of memory of what is kept for the diagrams of a session.
pub const LADDER_BYTES_MAX: usize = 512 << 20;
/// Why something is left out.
const LEFT_OUT: &str = ": more than a ladder can hold; `record` keeps all";

/// Keeps the records of a session and draws its connections when it ends.
#[derive(Debug)]
pub struct Ladder<W> {
    output: W,
    title: &'static str,
    palette: Palette,
    store: Store,
    topics: topics::Found,
    footer: Footer,
}

impl<W: Write> Ladder<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        Self::holding(output, LADDER_BYTES_MAX)
    }

    /// The same, with room for so many bytes.
    fn holding(output: W, bytes_max: usize) -> Self {
        Self {
            output,
            title: "",
            palette: Palette::PLAIN,
            store: Store::new(Keep { trim: without_headers, ..Keep::all(bytes_max) }),
            topics: topics::Found::default(),
            footer: Footer::new(LEFT_OUT),
        }
    }

    /// Says this above the diagrams.
    pub fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    /// In colours.
    pub fn painted(self, palette: Palette) -> Self {
        Self { palette, ..self }
    }
}

/// Header fields are most of a record's bytes, and not drawn. What is drawn does not keep the memory of their head.
fn without_headers(http: &mut Http) {
    let own = |text: &mut Text| *text = Text::from(text.0.to_vec());
    if let Some(request) = &mut http.exchange.request {
        mem::take(&mut request.headers);
        [&mut request.method, &mut request.target].into_iter().for_each(own);
    }
    if let Some(response) = &mut http.exchange.response {
        mem::take(&mut response.headers);
        own(&mut response.reason);
    }
}

impl<W: Write> Sink for Ladder<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Session(_) | Record::Ready(_) | Record::Finding(_) | Record::Unknown => {}
            Record::End(_) | Record::Loss(_) => self.footer.take(record),
            Record::Transition(_)
            | Record::Segment(_)
            | Record::Http(_)
            | Record::Dns(_)
            | Record::Connection(_) => {
                self.topics.record(record);
                self.store.record(record);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.output.write_all(self.title.as_bytes())?;
        let mut lookups = lookups::Lookups::new(&self.store);
        for pair in Pairs::new(&self.store).iter() {
            let ladder = model::Ladder::new(pair);
            let head = head::head(&ladder, lookups.of(&ladder).as_ref(), &self.palette);
            self.output.write_all(head.as_bytes())?;
            self.output.write_all(render::ladder(&ladder, &self.palette).as_bytes())?;
        }
        self.output.write_all(render::without_connection(lookups.rest(), &self.palette).as_bytes())?;
        self.footer.leave_out(self.store.evicted(), "socket");
        self.footer.leave_out(self.store.evicted_lookups(), "lookup");
        let topics = self.topics.names(self.footer.has_losses());
        self.output.write_all(self.footer.text(&topics, layout::COLUMNS, &self.palette).as_bytes())?;
        self.output.flush()
    }
}
