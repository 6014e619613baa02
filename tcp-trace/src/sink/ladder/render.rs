//! Prints a ladder in 80 columns.

use std::fmt::Write as _;

use super::{
    Rest,
    model::{Event, Ladder, Row, Side},
};
use crate::{
    event::{Flags, State},
    record::{By, Close, Connection, How, Http, Outcome, Segment, Timing, Transition},
    sink::{
        units::{Micros, Size},
        words::{counted, cut, exchange, incomplete, loss, named, recorded, request_line, status, totals},
    },
    time::Time,
};

/// Columns between the two lanes.
const INNER: usize = 44;
/// Columns of the time and of the acting process, unless a longer one needs more.
const TIME: usize = 9;
const PROCESS: usize = 18;

/// Prints one connection.
pub(super) fn ladder(ladder: &Ladder<'_>) -> String {
    let start = ladder.opened;
    let last = ladder.rows.last().map_or(0, |row| relative(row.time, start).len());
    let longest = [Side::Client, Side::Server].map(|side| process(ladder, side).chars().count());
    let (time_width, process_width) = (TIME.max(last), longest.into_iter().fold(PROCESS, usize::max));
    let mut text = heading(ladder, time_width, process_width);
    for row in &ladder.rows {
        let (time, process, drawn) =
            (relative(row.time, start), process(ladder, row.side), draw(ladder, row));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{time:>time_width$}  {process:<process_width$} {drawn}");
    }
    if ladder.has_unseen_arrival() {
        text.push_str("?: not seen to arrive: lost on the way, or arrived unseen\n");
    }
    text.push_str(&ending(ladder));
    text.push('\n');
    text
}

/// Prints what is to say of the session as a whole.
pub(super) fn rest(rest: &Rest) -> String {
    let mut text = String::new();
    for lost in &rest.losses {
        let _ = writeln!(text, "*** {}", loss(lost));
    }
    if rest.further_losses > 0 {
        let _ = writeln!(text, "*** LOST {} more after these", counted(rest.further_losses, "event"));
    }
    if !rest.losses.is_empty() {
        text.push_str("*** what is above may have gaps\n");
    }
    if rest.left_out > 0 {
        let records = counted(rest.left_out, "record");
        let _ = writeln!(text, "*** {records} left out: more than a ladder can hold; `record` keeps all");
    }
    if let Some(end) = &rest.end {
        let _ = writeln!(text, "{}", totals(end));
    }
    text
}

fn heading(ladder: &Ladder<'_>, time_width: usize, process_width: usize) -> String {
    let label = |side| {
        let address = ladder.endpoint(side).map_or("?".to_owned(), |endpoint| endpoint.to_string());
        let state = if ladder.end(side).is_some() { "" } else { " (not traced)" };
        format!("{address}{state}")
    };
    let (left, right) = names(ladder);
    let (client, server) = (label(Side::Client), label(Side::Server));
    let whole = INNER + 2;
    let room = whole - left.len();
    let mut text = format!("{:>time_width$}  {:<process_width$} {left}{right:>room$}\n", "ms", "process");
    let margin = " ".repeat(time_width + 2 + process_width + 1);
    if client.len() + server.len() < whole {
        let room = whole - client.len();
        let _ = writeln!(text, "{margin}{client}{server:>room$}");
    } else {
        // Addresses are never cut: each has a line.
        let _ = writeln!(text, "{margin}{client}\n{margin}{server:>whole$}");
    }
    if ladder.is_older() {
        let _ = writeln!(text, "{margin}(its beginning was not seen)");
    }
    text
}

/// What the left and the right side are called.
fn names(ladder: &Ladder<'_>) -> (&'static str, &'static str) {
    if ladder.has_roles { ("client", "server") } else { ("one end", "other end") }
}

fn process(ladder: &Ladder<'_>, side: Side) -> String {
    match ladder.end(side) {
        Some(end) => end.process.map_or("-".to_owned(), named),
        None => "(not traced)".to_owned(),
    }
}

/// Milliseconds since the start, to the microsecond.
fn relative(time: Time, start: Time) -> String {
    let us = time.micros_since(start);
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

/// The lanes of a row.
fn draw(ladder: &Ladder<'_>, row: &Row<'_>) -> String {
    let is_unseen = row.arrived == Some(false);
    match row.event {
        Event::State(transition) => beside(row.side, &state(transition)),
        Event::Segment(sent) => arrow(row.side, &segment(ladder, row.side, sent), is_unseen),
        Event::Request(http) => arrow(row.side, &request(http), false),
        Event::Response(http) => arrow(row.side, &response(http), false),
        Event::Timing(http) => beside(row.side, &timing(&http.timing)),
        Event::Unusual(http) => beside(row.side, &unusual(http)),
        Event::Exchange(http) => beside(row.side, &cut(&exchange(http), INNER - 2)),
    }
}

/// A text at a side's lane.
fn beside(side: Side, text: &str) -> String {
    match side {
        Side::Client => format!("│ {text:<width$}│", width = INNER - 1),
        Side::Server => format!("│{text:>width$} │", width = INNER - 1),
    }
}

/// An arrow from a side to the other, with a label on it. It does not reach the other when the arrival is unseen.
fn arrow(from: Side, label: &str, is_unseen: bool) -> String {
    let label = format!(" {label} ");
    let reach = if is_unseen { 2 } else { 0 };
    let line = "─".repeat((INNER - 2 - reach).saturating_sub(label.chars().count()));
    match (from, is_unseen) {
        (Side::Client, false) => format!("├─{label}{line}▶│"),
        (Side::Client, true) => format!("├─{label}{line}▶ ?│"),
        (Side::Server, false) => format!("│◀{line}{label}─┤"),
        (Side::Server, true) => format!("│? ◀{line}{label}─┤"),
    }
}

/// A state, with the time spent in the one before it, and the error that it was entered by.
fn state(transition: &Transition) -> String {
    let Transition { new, in_old_us, estimated, reason, .. } = transition;
    let about = if *estimated { "~" } else { "" };
    let after = in_old_us.map_or(String::new(), |us| format!(" after {about}{}", Micros(us)));
    let note = if *new == State::TimeWait { ", for 60 s" } else { "" };
    let reason = reason.as_ref().map_or(String::new(), |reason| format!(", {}", recorded(reason)));
    format!("{}{after}{note}{reason}", new.name())
}

fn segment(ladder: &Ladder<'_>, side: Side, segment: &Segment) -> String {
    let Segment { flags, seq, ack, length, retransmit, .. } = segment;
    let flags = flags.0;
    let names: Vec<_> = flags.names().filter(|name| *name != "PSH").collect();
    let mut label = names.join("+");
    let (own, other) = (ladder.initial_sequence(side), ladder.initial_sequence(side.opposite()));
    let (own_name, other_name) = if side == Side::Client { ("x", "y") } else { ("y", "x") };
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
    let mut label = request_line(http).unwrap_or_default();
    let body = http.http.request.as_ref().map_or(0, |request| request.body.size);
    // The size stays when the target has to be cut.
    let size = if body > 0 { format!(" +{}", Size(body)) } else { String::new() };
    label = cut(&label, (INNER - 5).saturating_sub(size.len()));
    label + &size
}

fn response(http: &Http) -> String {
    let size = http.http.response.as_ref().map_or(0, |response| response.body.size);
    let size = format!(", {}", Size(size));
    cut(&status(http).unwrap_or_default(), (INNER - 5).saturating_sub(size.len())) + &size
}

fn timing(timing: &Timing) -> String {
    let part = |name, us: Option<u64>| us.map(|us| format!("{name} {}", Micros(us)));
    let parts =
        [part("send", timing.send_us), part("wait", timing.wait_us), part("receive", timing.receive_us)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What did not go as it should, in words.
fn unusual(http: &Http) -> String {
    let outcome = match http.outcome {
        Outcome::Ok => None,
        Outcome::NoResponse => Some("no response"),
        Outcome::Reset => Some("RESET before the response ended"),
        Outcome::Upgraded => Some("upgraded to another protocol"),
    };
    [outcome, incomplete(http.integrity)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn ending(ladder: &Ladder<'_>) -> String {
    let Some((side, summary)) = ladder.summary() else {
        return "how it ended is not in these records\n".to_owned();
    };
    let Connection { close, bytes, duration_us, .. } = summary;
    let how = how(ladder, side, close);
    let reason = close.reason.as_ref().map_or(String::new(), |reason| format!(" ({})", recorded(reason)));
    let (up, down) =
        if side == Side::Client { (bytes.sent, bytes.received) } else { (bytes.received, bytes.sent) };
    let (up, down, duration) = (Size(up), Size(down), Micros(*duration_us));
    let (left, right) = names(ladder);
    format!("{how}{reason} after {duration}; {up} to the {right}, {down} to the {left}\n")
}

/// Who ended it and how, as `side` tells.
fn how(ladder: &Ladder<'_>, side: Side, close: &Close) -> String {
    let (left, right) = names(ladder);
    let name = |side| if side == Side::Client { left } else { right };
    let by = match close.by {
        By::Local => format!(" by the {}", name(side)),
        By::Peer => format!(" by the {}", name(side.opposite())),
        By::Both => " by both at once".to_owned(),
        By::None => String::new(),
    };
    match close.how {
        How::Fin => format!("closed{by}"),
        How::Rst => format!("reset{by}"),
        How::Refused => format!("refused{by}"),
        How::Timeout => "timed out".to_owned(),
        How::Open => "still open".to_owned(),
        How::Unknown => "gone; nothing seen says why".to_owned(),
    }
}
