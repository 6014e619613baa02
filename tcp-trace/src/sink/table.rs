//! One line per transition, per HTTP exchange and per lookup of a name.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use jiff::tz::TimeZone;
use tcp_trace_core::prose::{Micros, Palette, Phrase, Size, Tone, padded, translation};
use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Dns, Endpoint, Http, Loss, Process, Record, TlsHandshake, Transition},
    time::Time,
};

use super::{
    Sink,
    words::{exchange, given_up, loss, named, recorded, refused, totals},
    words_dns::lookup,
    words_protocol::carried,
    words_tls::handshake,
};

/// Written at once when this many bytes are waiting.
const BUFFER: usize = 64 << 10;
/// Columns of the time, and of time and process with the spaces between and behind them.
const TIME: usize = 15;
const TIME_AND_PROCESS: usize = 39;
/// Days, and what a zone is called, begin with a quarter of an hour, in nanoseconds: no zone is nearer to UTC than that.
const QUARTER_NS: u64 = 900 * 1_000_000_000;

/// Writes lines for a terminal. Nothing from the network reaches it unescaped.
#[derive(Debug)]
pub struct Table<W> {
    output: W,
    zone: TimeZone,
    palette: Palette,
    text: String,
    /// The day of the heading that was written last.
    day: String,
    /// The quarter of an hour whose day that is.
    quarter: Option<u64>,
}

impl<W: Write> Table<W> {
    /// Writes to `output`, with times of day in `zone`.
    pub fn new(output: W, zone: TimeZone) -> Self {
        Self { output, zone, palette: Palette::PLAIN, text: String::new(), day: String::new(), quarter: None }
    }

    /// In colours.
    pub fn painted(self, palette: Palette) -> Self {
        Self { palette, ..self }
    }

    /// The names of the columns, above whatever comes first of a day: that of the time is the day, with its zone.
    fn header(&mut self, time: Time) {
        let quarter = time.0 / QUARTER_NS;
        // Lines of different connections may be out of order: what is late makes no heading.
        if self.quarter.is_some_and(|last| quarter <= last) {
            return;
        }
        self.quarter = Some(quarter);
        let day = time.day(&self.zone);
        if day != self.day {
            let first = padded(&format!("{day:<TIME$} PROCESS"), TIME_AND_PROCESS);
            let _ = writeln!(self.text, "{first}{:<21}   {:<21} EVENT", "LOCAL", "PEER");
            self.day = day;
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
        self.header(time);
        let time = Phrase::new(Tone::Aside, time.time_of_day(&self.zone));
        let process = padded(&process.map_or("-".to_owned(), named), 22);
        let (local, peer) =
            (local.to_string(), if role == Some(Role::Listener) { String::new() } else { peer.to_string() });
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
        if let Some(words) = given_up(transition) {
            event = event.and(Tone::Plain, "  ").and(Tone::Failure, words);
        }
        // Once per connection, where it begins.
        if matches!(transition.new, State::SynSent | State::SynRecv)
            && let Some(words) = translation(&transition.connection.ends())
        {
            event = event.and(Tone::Aside, format!("  {words}"));
        }
        if transition.new == State::Established && transition.connection.ends().is_to_itself() {
            event = event.and(Tone::Plain, "  ").and(Tone::Warning, "connected to itself");
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

    fn tls(&mut self, tls: &TlsHandshake) {
        let ends = (tls.connection.ends().local, tls.connection.ends().peer);
        let (process, role) = (tls.connection.process.as_deref(), tls.connection.role);
        self.line(tls.time, process, role, ends, &handshake(&tls.tls));
    }

    fn dns(&mut self, dns: &Dns) {
        let ends = (dns.network.local, dns.network.peer);
        self.line(dns.time, dns.process.as_ref(), Some(Role::Client), ends, &lookup(dns));
    }

    fn connection(&mut self, summary: &Connection) {
        let Some(network) = summary.connection.network else { return };
        let ends = (network.local, network.peer);
        let (process, role) = (summary.connection.process.as_deref(), summary.connection.role);
        if let Some(carried) = carried(summary, ["sent", "received"]) {
            let (sent, received) = (Size(summary.bytes.sent), Size(summary.bytes.received));
            let event = carried.and(Tone::Aside, format!("; {sent} sent, {received} received"));
            self.line(summary.time, process, role, ends, &event);
        }
        if let Some(event) = refused(summary) {
            self.line(summary.time, process, role, ends, &event);
        }
    }

    fn loss(&mut self, lost: &Loss) {
        self.header(lost.time);
        let time = Phrase::new(Tone::Aside, lost.time.time_of_day(&self.zone)).and(Tone::Plain, " ");
        let _ = writeln!(self.text, "{}", time.then(loss(lost)).painted(&self.palette));
    }
}

impl<W: Write> Sink for Table<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Ready(ready) => self.header(ready.time),
            Record::Transition(transition) => self.transition(transition),
            Record::Http(http) => self.http(http),
            Record::Connection(summary) => self.connection(summary),
            Record::Tls(tls) => self.tls(tls),
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
