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
    collections::HashSet,
    io::{self, Write},
    mem,
};

use jiff::tz::TimeZone;
use tcp_trace_core::{
    prose::{Palette, Phrase, Tone, counted},
    timeline::{Keep, Life, Pair, Pairs, Store},
};
use tcp_trace_model::record::{ConnectionId, Http, Record, Text};

use super::{Sink, footer::Footer};

/// Bytes of memory of what is kept for the diagrams of a session.
pub const LADDER_BYTES_MAX: usize = 512 << 20;
/// How many flushes there are between two looks for connections that have ended. A session flushes ten times a second, and
/// the records of a connection's two ends may be some 100 ms apart.
const FLUSHES_PER_LOOK: u32 = 5;
/// Why something is left out.
const LEFT_OUT: &str = ": more than a ladder can hold; `record` keeps all";

/// Keeps the records of a session and draws its connections: when it ends, or each when it has ended.
#[derive(Debug)]
pub struct Ladder<W> {
    output: W,
    title: &'static str,
    zone: TimeZone,
    palette: Palette,
    store: Store,
    ended: Option<Ended>,
    /// Lookups that were drawn.
    lookups: HashSet<u64>,
    /// Connections that were not drawn, because nothing happened on them.
    uneventful: u64,
    topics: topics::Found,
    footer: Footer,
}

/// Ends of connections that have ended and were not drawn.
#[derive(Debug, Default)]
struct Ended {
    /// Since the last look.
    new: HashSet<ConnectionId>,
    /// Before it: the other end, if it is traced, is known by now.
    known: HashSet<ConnectionId>,
    flushes: u32,
}

impl<W: Write> Ladder<W> {
    /// Writes to `output`, with times of day in `zone`.
    pub fn new(output: W, zone: TimeZone) -> Self {
        Self::holding(output, zone, LADDER_BYTES_MAX)
    }

    /// The same, with room for so many bytes.
    fn holding(output: W, zone: TimeZone, bytes_max: usize) -> Self {
        Self {
            output,
            title: "",
            zone,
            palette: Palette::PLAIN,
            store: Store::new(Keep { trim: without_headers, ..Keep::all(bytes_max) }),
            ended: None,
            lookups: HashSet::new(),
            uneventful: 0,
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

    /// Draws each connection when both its ends, as far as they are traced, have ended; at the end of the session, the others.
    pub fn as_they_end(self) -> Self {
        Self { ended: Some(Ended::default()), ..self }
    }

    /// Draws these connections, and takes them out.
    fn draw(&mut self, is_due: impl Fn(&Pair<'_>) -> bool) -> io::Result<()> {
        let mut drawn = Vec::new();
        let mut lookups = lookups::Lookups::new(&self.store, mem::take(&mut self.lookups));
        for pair in Pairs::new(&self.store).iter().filter(|pair| is_due(pair)) {
            drawn.extend(pair.ends().map(|life| life.connection));
            let ladder = model::Ladder::new(pair);
            if ladder.is_uneventful() {
                self.uneventful += 1;
                continue;
            }
            pair.ends().for_each(|life| self.topics.life(life));
            let head = head::head(&ladder, lookups.of(&ladder).as_ref(), &self.palette);
            self.output.write_all(head.as_bytes())?;
            self.output.write_all(render::ladder(&ladder, &self.zone, &self.palette).as_bytes())?;
        }
        self.lookups = lookups.into_shown();
        for connection in drawn {
            self.store.remove(connection);
        }
        Ok(())
    }

    /// Draws those that have ended some time ago.
    fn draw_ended(&mut self) -> io::Result<()> {
        let Some(ended) = &mut self.ended else { return Ok(()) };
        ended.flushes += 1;
        if ended.flushes < FLUSHES_PER_LOOK {
            return Ok(());
        }
        ended.flushes = 0;
        let due = mem::replace(&mut ended.known, mem::take(&mut ended.new));
        if !due.is_empty() {
            let has_ended = |pair: &Pair<'_>| pair.ends().all(Life::has_ended);
            self.draw(|pair| has_ended(pair) && pair.ends().any(|life| due.contains(&life.connection)))?;
        }
        Ok(())
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
            | Record::Tls(_)
            | Record::Dns(_)
            | Record::Connection(_) => {
                if let (Record::Connection(summary), Some(ended)) = (record, &mut self.ended)
                    && !summary.open
                {
                    ended.new.insert(summary.connection.id);
                }
                self.store.record(record);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draw_ended()?;
        self.output.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.output.write_all(self.title.as_bytes())?;
        self.draw(|_| true)?;
        let lookups = lookups::Lookups::new(&self.store, mem::take(&mut self.lookups));
        self.output.write_all(render::without_connection(lookups.rest(), &self.palette).as_bytes())?;
        self.footer.leave_out(self.store.evicted(), "socket");
        self.footer.leave_out(self.store.evicted_lookups(), "lookup");
        if self.uneventful > 0 {
            let connections = counted(self.uneventful, "older connection");
            let note = format!("{connections} on which nothing happened: not drawn");
            self.footer.note(Phrase::new(Tone::Aside, note));
        }
        let topics = self.topics.names(self.footer.has_losses());
        self.output.write_all(self.footer.text(&topics, layout::COLUMNS, &self.palette).as_bytes())?;
        self.output.flush()
    }
}
