//! Prints a ladder in 80 columns.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use tcp_trace_core::{
    prose::{Micros, Palette, Phrase, Size, Tone, cut, padded, width},
    timeline::Side,
};
use tcp_trace_model::{
    event::{Flags, State},
    record::{By, Close, Connection, Dns, How, Http, Outcome, Segment, Timing, Tls, TlsAlert, Transition},
};

use super::{
    layout::{COLUMNS, Layout, process, relative},
    model::{Event, Ladder, Row},
};
use crate::sink::{
    footer,
    words::{exchange, given_up, incomplete, named, outcome, printable, recorded, request_line, status},
    words_dns::lookup,
    words_protocol::carried,
    words_timing::{mostly_wait, phases},
    words_tls,
};

/// A response for which one waits at least so long stands out, in microseconds.
const SLOW_US: u64 = 1_000_000;
/// Columns of the longest reason for an ending.
const REASON_MAX: usize = 40;

/// Prints one connection.
pub(super) fn ladder(ladder: &Ladder<'_>, zone: &TimeZone, palette: &Palette) -> String {
    let layout = Layout::new(ladder);
    let mut text = heading(ladder, layout, zone);
    for row in &ladder.rows {
        let time = format!("{:>width$}", relative(row.time, ladder.opened), width = layout.time);
        let time = Phrase::new(Tone::Aside, time);
        let process = padded(&process(ladder, row.side), layout.process);
        let line = time.and(Tone::Plain, format!("  {process} ")).then(draw(ladder, row, layout.inner));
        write_line(&mut text, line, palette);
        let margin = " ".repeat(layout.margin());
        for more in lines(row.event, layout.inner - 1).into_iter().skip(1) {
            let line = Phrase::plain(&margin).then(beside(row.side, more, layout.inner));
            write_line(&mut text, line, palette);
        }
    }
    if ladder.has_unseen_arrival() {
        let meaning = ": arrival not observed: lost on the way, or arrived unseen";
        write_line(&mut text, Phrase::new(Tone::Warning, "?").and(Tone::Plain, meaning), palette);
    }
    if let Some((side, summary)) = ladder.summary()
        && let Some(carried) = carried(summary, verbs(ladder, side))
    {
        write_line(&mut text, carried, palette);
    }
    write_line(&mut text, ending(ladder), palette);
    text.push('\n');
    text
}

/// Prints the lookups that no connection follows.
pub(super) fn without_connection<'a>(lookups: impl Iterator<Item = &'a Dns>, palette: &Palette) -> String {
    let mut text = String::new();
    for dns in lookups {
        if text.is_empty() {
            text.push_str("Lookups without a connection:\n");
        }
        let process = dns.process.as_ref().map_or("-".to_owned(), named);
        write_line(&mut text, Phrase::plain(format!("{process}: ")).then(lookup(dns)), palette);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Prints one line, or more when it is too long for one.
fn write_line(text: &mut String, line: Phrase, palette: &Palette) {
    footer::write_line(text, line, COLUMNS, palette);
}

/// The names of the columns, and below them when it begins, and the addresses.
fn heading(ladder: &Ladder<'_>, layout: Layout, zone: &TimeZone) -> String {
    let label = |side| {
        let address = ladder.endpoint(side).map_or("?".to_owned(), |endpoint| endpoint.to_string());
        let state = match ladder.end(side) {
            Some(_) => "",
            None if ladder.is_to_itself() => " (the same socket)",
            None => " (not traced)",
        };
        format!("{address}{state}")
    };
    let (left, right) = names(ladder);
    let (client, server) = (label(Side::Client), label(Side::Server));
    let whole = layout.inner + 2;
    let room = whole - left.len();
    let (time_width, process_width) = (layout.time, layout.process);
    let mut text = format!("{:>time_width$}  {:<process_width$} {left}{right:>room$}\n", "ms", "process");
    let margin = " ".repeat(layout.margin());
    let opened = cut(&ladder.opened.date_and_time(zone), layout.margin() - 1);
    let opened = padded(&opened, layout.margin());
    if client.len() + server.len() < whole {
        let room = whole - client.len();
        let _ = writeln!(text, "{opened}{client}{server:>room$}");
    } else {
        // Addresses are never cut: each has a line.
        let _ = writeln!(text, "{opened}{client}\n{margin}{server:>whole$}");
    }
    if ladder.is_older() {
        let _ = writeln!(text, "{margin}(its start was not seen)");
    }
    text
}

/// What the left and the right side are called.
fn names(ladder: &Ladder<'_>) -> (&'static str, &'static str) {
    if ladder.has_roles { ("client", "server") } else { ("left end", "right end") }
}

/// Who sent what the end of a side sent, and what it received.
fn verbs(ladder: &Ladder<'_>, side: Side) -> [&'static str; 2] {
    match (ladder.has_roles, side) {
        (true, Side::Client) => ["the client sent", "the server sent"],
        (true, Side::Server) => ["the server sent", "the client sent"],
        (false, Side::Client) => ["the left end sent", "the right end sent"],
        (false, Side::Server) => ["the right end sent", "the left end sent"],
    }
}

/// The lanes of a row, with `inner` columns between them.
fn draw(ladder: &Ladder<'_>, row: &Row<'_>, inner: usize) -> Phrase {
    let is_unseen = row.arrived == Some(false);
    let arrow = |label: &dyn Fn(usize) -> Phrase, is_unseen| arrow(row.side, label, is_unseen, inner);
    match row.event {
        Event::State(transition) => beside(row.side, state(transition), inner),
        Event::Segment(sent) => arrow(&|room| segment(ladder, row.side, sent, room), is_unseen),
        Event::ClientHello(tls) => arrow(&|room| client_hello(tls, room), false),
        Event::ServerHello(tls) => arrow(&|room| server_hello(tls, room), false),
        Event::Alert(alert) => arrow(&|room| tls_alert(alert, room), false),
        Event::TlsEnd(tls) => beside(row.side, tls_end(tls).cut(inner - 2), inner),
        Event::Request(http) => arrow(&|room| request(http, room), false),
        Event::Response(http) => arrow(&|room| response(http, room), false),
        // The first line; the others are drawn below it.
        Event::Timing(_) | Event::Unusual(_) => {
            beside(row.side, lines(row.event, inner - 1).into_iter().next().unwrap_or_default(), inner)
        }
        Event::Exchange(http) => beside(row.side, exchange(http).cut(inner - 2), inner),
    }
}

/// A text at a side's lane.
fn beside(side: Side, text: Phrase, inner: usize) -> Phrase {
    let text = text.cut(inner - 1);
    let spaces = " ".repeat(inner - 1 - text.width());
    match side {
        Side::Client => Phrase::plain("│ ").then(text).and(Tone::Plain, format!("{spaces}│")),
        Side::Server => Phrase::plain(format!("│{spaces}")).then(text).and(Tone::Plain, " │"),
    }
}

/// An arrow from a side to the other, with a label on it that is made for so many columns. It does not reach the
/// other when the arrival is unseen.
fn arrow(from: Side, label: &dyn Fn(usize) -> Phrase, is_unseen: bool, inner: usize) -> Phrase {
    let reach = if is_unseen { 2 } else { 0 };
    // Each end of the arrow and each end of the label has a column.
    let room = inner - 4 - reach;
    let label = label(room);
    let line = "─".repeat(room.saturating_sub(label.width()));
    let unseen = |text| if is_unseen { Phrase::new(Tone::Warning, text) } else { Phrase::default() };
    match from {
        Side::Client => {
            let arrow = Phrase::plain("├─ ").then(label).and(Tone::Plain, format!(" {line}▶"));
            arrow.then(unseen(" ?")).and(Tone::Plain, "│")
        }
        Side::Server => {
            let arrow = Phrase::plain(format!("◀{line} ")).then(label).and(Tone::Plain, " ─┤");
            Phrase::plain("│").then(unseen("? ")).then(arrow)
        }
    }
}

/// A state, with the time spent in the one before it, and the error that it was entered by.
fn state(transition: &Transition) -> Phrase {
    let Transition { new, in_old_us, estimated, reason, .. } = transition;
    let mut phrase = Phrase::new(Tone::State, new.name());
    if let Some(us) = in_old_us {
        let about = if *estimated { "~" } else { "" };
        phrase = phrase.and(Tone::Aside, format!(" after {about}{}", Micros(*us)));
    }
    if *new == State::TimeWait {
        phrase = phrase.and(Tone::Plain, ", for 60 s");
    }
    if transition.gap {
        phrase =
            phrase.and(Tone::Plain, ", ").and(Tone::Failure, format!("GAP before {}", transition.old.name()));
    }
    let failure = reason.as_ref().map(|reason| recorded(reason));
    match failure.or_else(|| given_up(transition).map(str::to_owned)) {
        Some(failure) => phrase.and(Tone::Plain, ", ").and(Tone::Failure, failure),
        None => phrase,
    }
}

/// A segment in `room` columns. That it was sent again stays when its numbers have to be cut.
fn segment(ladder: &Ladder<'_>, side: Side, segment: &Segment, room: usize) -> Phrase {
    let Segment { flags, seq, ack, length, retransmit, refused, .. } = segment;
    let flags = flags.0;
    let names: Vec<_> = flags.names().filter(|name| *name != "PSH").collect();
    let tone = if flags.has(Flags::RST) { Tone::Failure } else { Tone::Plain };
    let (own, other) = (ladder.initial_sequence(side), ladder.initial_sequence(side.opposite()));
    let (own_name, other_name) = if side == Side::Client { ("x", "y") } else { ("y", "x") };
    let mut numbers = if flags.has(Flags::SYN) {
        format!(" {own_name}={seq}")
    } else {
        format!(" seq={}", numbered(*seq, own, own_name))
    };
    if let Some(ack) = ack {
        let _ = write!(numbers, " ack={}", numbered(*ack, other, other_name));
    }
    if *length > 0 {
        let _ = write!(numbers, " len={length}");
    }
    let again = if *retransmit { " again" } else { "" };
    let refused = refused.map_or(String::new(), |why| format!(" refused: {}", why.name()));
    let label = Phrase::new(tone, names.join("+")).and(Tone::Plain, numbers);
    let room = room.saturating_sub(again.len() + refused.len());
    label.cut(room).and(Tone::Warning, again).and(Tone::Failure, refused)
}

/// A sequence number as its distance from the initial one, as textbooks have it: `x+1`.
fn numbered(number: u32, initial: Option<u32>, name: &str) -> String {
    match initial.map(|initial| number.wrapping_sub(initial)) {
        Some(distance) => format!("{name}+{distance}"),
        None => number.to_string(),
    }
}

/// What a client offers, in `room` columns. Its name for the server stays when the rest has to be cut.
fn client_hello(tls: &Tls, room: usize) -> Phrase {
    let name = tls.client.server_name.as_ref().map_or(String::new(), |name| format!(" {}", printable(name)));
    Phrase::plain(cut(&format!("ClientHello{name}, {}", words_tls::offered(tls)), room))
}

/// What a server chose, in `room` columns.
fn server_hello(tls: &Tls, room: usize) -> Phrase {
    // A request for another ClientHello comes first, where there was one.
    let name = if tls.hello_retry_request { "HelloRetryRequest" } else { "ServerHello" };
    Phrase::plain(cut(&format!("{name} {}", words_tls::chosen(tls)), room))
}

fn tls_alert(alert: &TlsAlert, room: usize) -> Phrase {
    // How sessions are closed.
    let tone = if alert.fatal == Some(true) { Tone::Failure } else { Tone::Plain };
    Phrase::plain("TLS alert: ").and(tone, words_tls::alert_name(alert)).cut(room)
}

/// How a TLS handshake ended.
fn tls_end(tls: &Tls) -> Phrase {
    match words_tls::failure(tls) {
        None => {
            let resumed = if tls.resumed == Some(true) { ", resumed" } else { "" };
            let took = words_tls::took(tls).map_or(String::new(), |took| format!(" {took}"));
            Phrase::plain(format!("TLS established{resumed}")).and(Tone::Aside, took)
        }
        Some(why) if tls.outcome.is_failure() => Phrase::new(Tone::Failure, format!("TLS FAILED: {why}")),
        Some(why) => Phrase::new(Tone::Warning, format!("TLS: {why}")),
    }
}

/// A request in `room` columns. The size stays when the target has to be cut.
fn request(http: &Http, room: usize) -> Phrase {
    let body = http.exchange.request.as_ref().map_or(0, |request| request.body.size);
    let size = if body > 0 { format!(" +{}", Size(body)) } else { String::new() };
    let line = request_line(http).unwrap_or_default();
    let line = stream(http) + &line;
    Phrase::plain(cut(&line, room.saturating_sub(1 + size.len())) + &size)
}

/// The stream of a message, of HTTP/2: several are under way at a time.
fn stream(http: &Http) -> String {
    http.exchange.stream.as_ref().map_or(String::new(), |stream| format!("[{}] ", stream.id))
}

/// A response in `room` columns. The size stays when the reason has to be cut.
fn response(http: &Http, room: usize) -> Phrase {
    let size = http.exchange.response.as_ref().map_or(0, |response| response.body.size);
    let size = format!(", {}", Size(size));
    let wait = mostly_wait(http).map_or(String::new(), |us| format!(" in {}", Micros(us)));
    let tone = if mostly_wait(http) >= Some(SLOW_US) { Tone::Warning } else { Tone::Aside };
    let status = Phrase::plain(stream(http)).then(status(http).unwrap_or_default());
    let rest = size.len() + wait.len();
    status.cut(room.saturating_sub(1 + rest)).and(Tone::Plain, size).and(tone, wait)
}

/// The lines of what can have more than one, in `room` columns each.
fn lines(event: Event<'_>, room: usize) -> Vec<Phrase> {
    match event {
        Event::Timing(http) => timing(&http.exchange.timing, room),
        Event::Unusual(http) => unusual(http, room),
        _ => Vec::new(),
    }
}

/// Where the time went: in one line, unless something was lost on the way.
fn timing(timing: &Timing, room: usize) -> Vec<Phrase> {
    let mut lines: Vec<Phrase> = Vec::new();
    for phase in phases(timing) {
        let length = phase.length();
        let Some(lost) = phase.lost else {
            match lines.last_mut().filter(|line| line.width() + 2 + length.len() <= room) {
                Some(line) => *line = std::mem::take(line).and(Tone::Aside, format!(", {length}")),
                None => lines.push(Phrase::new(Tone::Aside, length)),
            }
            continue;
        };
        let whole = format!("{length} ({lost})");
        match lines.last_mut().filter(|line| line.width() + 2 + width(&whole) <= room) {
            Some(line) => *line = std::mem::take(line).and(Tone::Warning, format!(", {whole}")),
            None => {
                lines.extend(wrapped(&whole, room).into_iter().map(|line| Phrase::new(Tone::Warning, line)));
            }
        }
    }
    lines
}

/// What did not go as it should, in words, in lines of `room` columns.
fn unusual(http: &Http, room: usize) -> Vec<Phrase> {
    let (tone, outcome) = match http.exchange.outcome {
        Outcome::Reset if http.exchange.reason.is_none() => {
            (Tone::Failure, "RESET before the response ended".to_owned())
        }
        Outcome::Upgraded if http.exchange.reason.is_none() && http.exchange.websocket.is_none() => {
            (Tone::Plain, "upgraded to another protocol".to_owned())
        }
        _ => outcome(http).unwrap_or((Tone::Plain, String::new())),
    };
    let incomplete = incomplete(http).unwrap_or_default();
    let semicolon = if outcome.is_empty() || incomplete.is_empty() { "" } else { "; " };
    let whole = width(&outcome) + semicolon.len() + width(incomplete);
    if whole <= room {
        let phrase = Phrase::new(tone, outcome).and(Tone::Plain, semicolon).and(Tone::Warning, incomplete);
        return vec![phrase];
    }
    let lines = |tone, text: &str| wrapped(text, room).into_iter().map(move |line| Phrase::new(tone, line));
    lines(tone, &outcome).chain(lines(Tone::Warning, incomplete)).collect()
}

/// A text in lines of at most `room` columns, broken between words. A longer word is cut.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, room)),
        }
    }
    lines
}

fn ending(ladder: &Ladder<'_>) -> Phrase {
    let Some((side, summary)) = ladder.summary() else {
        return Phrase::new(Tone::Warning, "its end is not in these records");
    };
    let Connection { close, bytes, duration_us, .. } = summary;
    let reason = close.reason.as_ref();
    let reason = reason.map_or(String::new(), |reason| format!(" ({})", cut(&recorded(reason), REASON_MAX)));
    let (up, down) =
        if side == Side::Client { (bytes.sent, bytes.received) } else { (bytes.received, bytes.sent) };
    let (up, down) = (Size(up), Size(down));
    // How old a connection is that was there before is not known.
    let age_us = duration_us.filter(|_| summary.seen_from_start);
    let after = age_us.map_or(String::new(), |us| format!(" after {}", Micros(us)));
    let (left, right) = names(ladder);
    let rest = format!("{after}; {up} to the {right}, {down} to the {left}");
    how(ladder, side, close).and(Tone::Plain, reason + &rest)
}

/// Who ended it and how, according to `side`.
fn how(ladder: &Ladder<'_>, side: Side, close: &Close) -> Phrase {
    let (left, right) = names(ladder);
    let name = |side| if side == Side::Client { left } else { right };
    let by = match close.by {
        By::Local => format!(" by the {}", name(side)),
        By::Peer => format!(" by the {}", name(side.opposite())),
        By::Both => " by both at once".to_owned(),
        By::None => String::new(),
    };
    match close.how {
        How::Fin => Phrase::plain(format!("closed{by}")),
        How::Rst => Phrase::new(Tone::Failure, "reset").and(Tone::Plain, by),
        How::Refused => Phrase::new(Tone::Failure, "refused").and(Tone::Plain, by),
        How::Timeout => Phrase::new(Tone::Failure, "timed out"),
        How::Open => Phrase::plain("still open"),
        How::Error => Phrase::new(Tone::Failure, "failed"),
        How::Abandoned => Phrase::new(Tone::Warning, format!("given up{by}")),
        How::Unknown => Phrase::new(Tone::Warning, "ended (cause unknown)"),
    }
}
