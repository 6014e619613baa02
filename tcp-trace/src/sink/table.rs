//! One line per transition and per HTTP exchange.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use jiff::tz::TimeZone;

use super::{
    Sink,
    units::{Micros, Size, totals},
};
use crate::{
    event::Role,
    record::{End, Endpoint, Http, Integrity, Loss, LossPlace, Outcome, Process, Record, Transition},
    time::Time,
};

/// Longest request target that is shown whole.
const TARGET_MAX: usize = 120;
/// Written at once when so many bytes are waiting.
const BUFFER: usize = 64 << 10;

/// Writes lines for a terminal. Nothing from the network reaches it unescaped.
#[derive(Debug)]
pub struct Table<W> {
    output: W,
    zone: TimeZone,
    text: String,
}

impl<W: Write> Table<W> {
    /// Writes to `output`, with times of day in `zone`.
    pub fn new(output: W, zone: TimeZone) -> Self {
        Self { output, zone, text: String::new() }
    }

    fn line(
        &mut self,
        time: Time,
        process: Option<&Process>,
        role: Option<Role>,
        (local, peer): (Endpoint, Endpoint),
        event: &str,
    ) {
        let arrow = match role {
            Some(Role::Client) => "→",
            Some(Role::Server) => "←",
            _ => " ",
        };
        let time = time.time_of_day(&self.zone);
        let process = process
            .map_or("-".to_owned(), |process| format!("{}[{}]", process.name.printable(), process.pid));
        let (local, peer) =
            (local.to_string(), if role == Some(Role::Listener) { String::new() } else { peer.to_string() });
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{time} {process:<22} {local:<21} {arrow} {peer:<21} {event}");
    }

    fn transition(&mut self, transition: &Transition) {
        let mut event = format!("{} → {}", transition.old.name(), transition.new.name());
        if let Some(us) = transition.in_old_us {
            let about = if transition.estimated { "~" } else { "" };
            let _ = write!(event, "  after {about}{}", Micros(us));
        }
        if let Some(reason) = &transition.reason {
            let _ = write!(event, "  {reason}");
        }
        let ends = (transition.network.local, transition.network.peer);
        self.line(transition.time, transition.process.as_ref(), transition.role, ends, &event);
    }

    fn http(&mut self, http: &Http) {
        let ends = (http.network.local, http.network.peer);
        self.line(http.time, http.process.as_ref(), http.role, ends, &exchange(http));
    }

    fn loss(&mut self, loss: &Loss) {
        let why = match loss.place {
            LossPlace::Ring => "the ring buffer was full (a larger --ring-size or a filter helps)",
            LossPlace::Reader => "they could not be understood",
            LossPlace::Table => "too many connections at once",
        };
        let cpu = loss.cpu.map(|cpu| format!(" on cpu {cpu}")).unwrap_or_default();
        let time = loss.time.time_of_day(&self.zone);
        let _ = writeln!(self.text, "{time} *** LOST {} events{cpu}: {why}", loss.events);
    }

    fn end(&mut self, end: &End) {
        let _ = writeln!(self.text, "{}", totals(end));
    }
}

/// An exchange in words: `GET /a → 200 OK  12 B in 1.23 ms`.
fn exchange(http: &Http) -> String {
    let mut text = match &http.http.request {
        Some(request) => {
            let target = request.target.printable().to_string();
            format!("{} {}", request.method.printable(), shortened(&target))
        }
        None => "(no request seen)".to_owned(),
    };
    if let Some(response) = &http.http.response {
        let _ = write!(text, " → {} {}", response.status_code, response.reason.printable());
        text.truncate(text.trim_end().len());
        let _ = write!(text, "  {}", Size(response.body.size));
    }
    match http.outcome {
        Outcome::Ok => {}
        Outcome::NoResponse => text.push_str(" → no response"),
        Outcome::Reset => text.push_str("  RESET"),
        Outcome::Upgraded => text.push_str("  upgraded"),
    }
    let _ = write!(text, " in {}", Micros(http.timing.total_us));
    match http.integrity {
        Integrity::Complete => {}
        Integrity::Truncated => text.push_str("  (truncated)"),
        Integrity::Gap => text.push_str("  (gap: bytes were not seen)"),
    }
    text
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TARGET_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl<W: Write> Sink for Table<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Ready(_) => {
                let _ = writeln!(
                    self.text,
                    "{:<15} {:<22} {:<21}   {:<21} EVENT",
                    "TIME", "PROCESS", "LOCAL", "PEER"
                );
            }
            Record::Transition(transition) => self.transition(transition),
            Record::Http(http) => self.http(http),
            Record::Loss(loss) => self.loss(loss),
            Record::End(end) => self.end(end),
            Record::Session(_) | Record::Segment(_) | Record::Connection(_) | Record::Unknown => {}
        }
        if self.text.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(self.text.as_bytes())?;
        self.text.clear();
        self.output.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
