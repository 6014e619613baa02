//! Prints a ladder in 80 columns.

use std::fmt::Write as _;

use super::model::{Event, Ladder, Row, Side};
use crate::{
    event::{Flags, State},
    record::{By, Connection, How, Http, Loss, Record, Timing},
    sink::units::{Micros, Size, totals},
    time::Time,
};

/// Columns between the two lanes.
const INNER: usize = 44;
/// Columns of the acting process.
const PROCESS: usize = 18;

/// Prints one connection.
pub(super) fn ladder(ladder: &Ladder, text: &mut String) {
    heading(ladder, text);
    let start = ladder.opened();
    for row in &ladder.rows {
        let process = process(ladder, row.side);
        let (time, drawn) = (relative(row.time, start), draw(ladder, row));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{time:>9}  {process:<PROCESS$} {drawn}");
    }
    text.push_str(&ending(ladder));
    text.push('\n');
}

/// Prints what is to say of the session as a whole.
pub(super) fn end(records: &[Record], left_out: u64, text: &mut String) {
    for record in records {
        match record {
            Record::Loss(Loss { events, place, .. }) => {
                let _ = writeln!(text, "*** LOST {events} events ({place:?}): what is above may have gaps");
            }
            Record::End(end) => {
                let _ = writeln!(text, "{}", totals(end));
            }
            _ => {}
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "*** {left_out} further records were left out of this ladder");
    }
}

fn heading(ladder: &Ladder, text: &mut String) {
    let label = |side| {
        let address = ladder.endpoint(side).map_or("?".to_owned(), |endpoint| endpoint.to_string());
        let state = if ladder.end(side).is_some() { "" } else { " (not traced)" };
        format!("{address}{state}")
    };
    let (client, server) = (label(Side::Client), label(Side::Server));
    let room = (INNER + 2).saturating_sub(client.len());
    let _ = writeln!(text, "{:>9}  {:<PROCESS$} client{:>INNER$}", "ms", "process", "server");
    let _ = writeln!(text, "{:>9}  {:<PROCESS$} {client}{server:>room$}", "", "");
}

fn process(ladder: &Ladder, side: Side) -> String {
    match (ladder.process(side), ladder.end(side)) {
        (Some(process), _) => format!("{}[{}]", process.name.printable(), process.pid),
        (None, Some(_)) => "-".to_owned(),
        (None, None) => "(not traced)".to_owned(),
    }
}

/// Milliseconds since the start, to the microsecond.
fn relative(time: Time, start: Time) -> String {
    let us = time.micros_since(start);
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

/// The lanes of a row.
fn draw(ladder: &Ladder, row: &Row) -> String {
    match &row.event {
        Event::State { new, in_old_us, estimated, .. } => {
            beside(row.side, &state(*new, *in_old_us, *estimated))
        }
        Event::Segment { .. } => arrow(row.side, &segment(ladder, row)),
        Event::Request(http) => arrow(row.side, &request(http)),
        Event::Response(http) => arrow(row.side, &response(http)),
        Event::Timing(parts) => beside(row.side, &timing(parts)),
    }
}

/// A text at a side's lane.
fn beside(side: Side, text: &str) -> String {
    match side {
        Side::Client => format!("│ {text:<width$}│", width = INNER - 1),
        Side::Server => format!("│{text:>width$} │", width = INNER - 1),
    }
}

/// An arrow from a side to the other, with a label on it.
fn arrow(from: Side, label: &str) -> String {
    let label = format!(" {label} ");
    let line = "─".repeat((INNER - 1).saturating_sub(label.chars().count() + 1));
    match from {
        Side::Client => format!("├─{label}{line}▶│"),
        Side::Server => format!("│◀{line}{label}─┤"),
    }
}

fn state(new: State, in_old_us: Option<u64>, estimated: bool) -> String {
    let about = if estimated { "~" } else { "" };
    let after = in_old_us.map_or(String::new(), |us| format!(" after {about}{}", Micros(us)));
    let note = if new == State::TimeWait { ", for 60 s" } else { "" };
    format!("{}{after}{note}", new.name())
}

fn segment(ladder: &Ladder, row: &Row) -> String {
    let Event::Segment { flags, seq, ack, length, retransmit } = &row.event else {
        return String::new();
    };
    let names: Vec<_> = flags.names().filter(|name| *name != "PSH").collect();
    let mut label = names.join("+");
    let own = ladder.initial_sequence(row.side);
    let other = ladder.initial_sequence(row.side.opposite());
    let (own_name, other_name) = if row.side == Side::Client { ("x", "y") } else { ("y", "x") };
    if flags.has(Flags::SYN) {
        let _ = write!(label, " {own_name}={seq}");
    } else {
        let _ = write!(label, " seq={}", numbered(*seq, own, own_name));
    }
    if let Some(ack) = ack {
        let _ = write!(label, " ack={}", numbered(*ack, other, other_name));
    }
    if *length > 0 {
        let _ = write!(label, " len={length}");
    }
    if *retransmit {
        label.push_str(" again");
    }
    if row.arrived == Some(false) {
        label.push_str(" LOST");
    }
    label
}

/// A sequence number as its distance from the initial one, as textbooks have it: `x+1`.
fn numbered(number: u32, initial: Option<u32>, name: &str) -> String {
    match initial.map(|initial| number.wrapping_sub(initial)) {
        Some(distance) => format!("{name}+{distance}"),
        None => number.to_string(),
    }
}

fn request(http: &Http) -> String {
    let Some(request) = &http.http.request else {
        return String::new();
    };
    let body = request.body.size;
    let mut label = format!("{} {}", request.method.printable(), request.target.printable());
    if body > 0 {
        let _ = write!(label, " +{}", Size(body));
    }
    cut(&label)
}

fn response(http: &Http) -> String {
    let Some(response) = &http.http.response else {
        return String::new();
    };
    cut(&format!("{} {}, {}", response.status_code, response.reason.printable(), Size(response.body.size)))
}

fn timing(timing: &Timing) -> String {
    let part = |name, us: Option<u64>| us.map(|us| format!("{name} {}", Micros(us)));
    let parts =
        [part("send", timing.send_us), part("wait", timing.wait_us), part("receive", timing.receive_us)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What fits on an arrow.
fn cut(text: &str) -> String {
    let room = INNER - 5;
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room - 1).chain(['…']).collect()
}

fn ending(ladder: &Ladder) -> String {
    let summary = |side| ladder.end(side);
    let (side, end) = match (summary(Side::Client), summary(Side::Server)) {
        (Some(end), _) => (Side::Client, end),
        (None, Some(end)) => (Side::Server, end),
        (None, None) => return String::new(),
    };
    let who = |side| {
        if side == Side::Client { "the client" } else { "the server" }
    };
    let by = match end.close.by {
        By::Local => who(side),
        By::Peer => who(side.opposite()),
        By::Both => "both at once",
        By::None => "neither side",
    };
    let Connection { close, bytes, duration_us, .. } = end;
    let how = match close.how {
        How::Fin => format!("closed by {by}"),
        How::Rst => format!("reset by {by}"),
        How::Refused => format!("refused by {by}"),
        How::Timeout => "timed out".to_owned(),
        How::Open => "still open".to_owned(),
        How::Unknown => "gone; nothing seen says why".to_owned(),
    };
    let reason = close.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    let (up, down) =
        if side == Side::Client { (bytes.sent, bytes.received) } else { (bytes.received, bytes.sent) };
    let (up, down, duration) = (Size(up), Size(down), Micros(*duration_us));
    format!("{how}{reason} after {duration}; {up} to the server, {down} to the client\n")
}
