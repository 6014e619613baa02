//! One line per transition, per HTTP exchange and per lookup of a name.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use jiff::tz::TimeZone;
use tcp_trace_core::prose::{Micros, Palette, Phrase, Size, Tone, padded, translation};
use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Dns, Endpoint, Http, Loss, Process, Record, Transition},
    time::Time,
};

use super::{
    Sink,
    words::{exchange, loss, named, recorded, totals},
    words_dns::lookup,
    words_protocol::carried,
};

/// Written at once when this many bytes are waiting.
const BUFFER: usize = 64 << 10;

/// Writes lines for a terminal. Nothing from the network reaches it unescaped.
#[derive(Debug)]
pub struct Table<W> {
    output: W,
    zone: TimeZone,
    palette: Palette,
    text: String,
    has_header: bool,
}

impl<W: Write> Table<W> {
    /// Writes to `output`, with times of day in `zone`.
    pub fn new(output: W, zone: TimeZone) -> Self {
        Self { output, zone, palette: Palette::PLAIN, text: String::new(), has_header: false }
    }

    /// In colours.
    pub fn painted(self, palette: Palette) -> Self {
        Self { palette, ..self }
    }

    /// The names of the columns, once: above whatever comes first.
    fn header(&mut self) {
        if !self.has_header {
            self.has_header = true;
            let names = ("TIME", "PROCESS", "LOCAL", "PEER");
            let _ = writeln!(
                self.text,
                "{:<15} {:<22} {:<21}   {:<21} EVENT",
                names.0, names.1, names.2, names.3
            );
        }
    }

    fn line(
        &mut self,
        time: Time,
        process: Option<&Process>,
        role: Option<Role>,
        (local, peer): (Endpoint, Endpoint),
        event: &Phrase,
    ) {
        let arrow = match role {
            Some(Role::Client) => "→",
            Some(Role::Server) => "←",
            _ => " ",
        };
        let time = Phrase::new(Tone::Aside, time.time_of_day(&self.zone));
        let process = padded(&process.map_or("-".to_owned(), named), 22);
        let (local, peer) =
            (local.to_string(), if role == Some(Role::Listener) { String::new() } else { peer.to_string() });
        self.header();
        // Writing to a String cannot fail.
        let (time, event) = (time.painted(&self.palette), event.painted(&self.palette));
        let _ = writeln!(self.text, "{time} {process} {local:<21} {arrow} {peer:<21} {event}");
    }

    fn transition(&mut self, transition: &Transition) {
        let mut event = Phrase::new(Tone::State, transition.old.name())
            .and(Tone::Plain, " → ")
            .and(Tone::State, transition.new.name());
        if let Some(us) = transition.in_old_us {
            let about = if transition.estimated { "~" } else { "" };
            event = event.and(Tone::Aside, format!("  after {about}{}", Micros(us)));
        }
        if let Some(reason) = &transition.reason {
            event = event.and(Tone::Plain, "  ").and(Tone::Failure, recorded(reason));
        }
        // Once per connection, where it begins.
        if matches!(transition.new, State::SynSent | State::SynRecv)
            && let Some(words) = translation(&transition.connection.ends())
        {
            event = event.and(Tone::Aside, format!("  {words}"));
        }
        if transition.gap {
            event = event.and(Tone::Plain, "  ").and(Tone::Failure, "GAP: what came before was not seen");
        }
        let ends = (transition.connection.ends().local, transition.connection.ends().peer);
        self.line(
            transition.time,
            transition.connection.process.as_deref(),
            transition.connection.role,
            ends,
            &event,
        );
    }

    fn http(&mut self, http: &Http) {
        let ends = (http.connection.ends().local, http.connection.ends().peer);
        self.line(http.time, http.connection.process.as_deref(), http.connection.role, ends, &exchange(http));
    }

    fn dns(&mut self, dns: &Dns) {
        let ends = (dns.network.local, dns.network.peer);
        self.line(dns.time, dns.process.as_ref(), Some(Role::Client), ends, &lookup(dns));
    }

    fn connection(&mut self, summary: &Connection) {
        let carried = carried(summary, ["sent", "received"]);
        let (Some(carried), Some(network)) = (carried, summary.connection.network) else { return };
        let (sent, received) = (Size(summary.bytes.sent), Size(summary.bytes.received));
        let event = carried.and(Tone::Aside, format!("; {sent} sent, {received} received"));
        let ends = (network.local, network.peer);
        self.line(summary.time, summary.connection.process.as_deref(), summary.connection.role, ends, &event);
    }

    fn loss(&mut self, lost: &Loss) {
        self.header();
        let time = Phrase::new(Tone::Aside, lost.time.time_of_day(&self.zone)).and(Tone::Plain, " ");
        let _ = writeln!(self.text, "{}", time.then(loss(lost)).painted(&self.palette));
    }
}

impl<W: Write> Sink for Table<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Ready(_) => self.header(),
            Record::Transition(transition) => self.transition(transition),
            Record::Http(http) => self.http(http),
            Record::Connection(summary) => self.connection(summary),
            Record::Dns(dns) => self.dns(dns),
            Record::Loss(loss) => self.loss(loss),
            Record::End(end) => {
                let _ = writeln!(self.text, "{}", totals(end).painted(&self.palette));
            }
            Record::Session(_) | Record::Segment(_) | Record::Finding(_) | Record::Unknown => {}
        }
        if self.text.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(self.text.as_bytes())?;
        self.text.clear();
        self.output.flush()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
