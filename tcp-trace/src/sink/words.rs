//! Phrases that the formats for people share. Text from outside leaves here escaped.

use super::units::{Micros, Size};
use crate::record::{End, Http, Integrity, Loss, LossPlace, Outcome, Process, Text};

/// Longest piece of text from the network that is shown whole, in characters.
const TEXT_MAX: usize = 120;

/// A process as `curl[13838]`.
pub(super) fn named(process: &Process) -> String {
    format!("{}[{}]", process.name.printable(), process.pid)
}

/// Escaped, and shortened when it is very long.
pub(super) fn printable(text: &Text) -> String {
    cut(&text.printable().to_string(), TEXT_MAX)
}

/// A string of a recording, which may have been written by anybody.
pub(super) fn recorded(text: &str) -> String {
    printable(&Text::from(text))
}

/// At most `room` characters; the last is `…` when there were more.
pub(super) fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// A method and a target, which can be missing.
pub(super) fn request_line(http: &Http) -> Option<String> {
    let request = http.http.request.as_ref()?;
    Some(format!("{} {}", printable(&request.method), printable(&request.target)))
}

/// A status code with its reason, which can be empty.
pub(super) fn status(http: &Http) -> Option<String> {
    let response = http.http.response.as_ref()?;
    let text = format!("{} {}", response.status_code, printable(&response.reason));
    Some(text.trim_end().to_owned())
}

/// An exchange in one line: `GET /a → 200 OK  12 B in 1.23 ms`.
pub(super) fn exchange(http: &Http) -> String {
    let request = request_line(http).unwrap_or_else(|| "(no request seen)".to_owned());
    let size = http.http.response.as_ref().map(|response| Size(response.body.size));
    let response = status(http).zip(size).map(|(status, size)| format!("{status}  {size}"));
    let answer = match (http.outcome, response) {
        (Outcome::Ok, Some(response)) => response,
        (Outcome::Ok, None) => "(no response seen)".to_owned(),
        (Outcome::NoResponse, None) => "no response".to_owned(),
        (Outcome::NoResponse, Some(response)) => format!("{response}, no response"),
        (Outcome::Reset, None) => "RESET".to_owned(),
        (Outcome::Reset, Some(response)) => format!("{response}, RESET"),
        (Outcome::Upgraded, None) => "upgraded".to_owned(),
        (Outcome::Upgraded, Some(response)) => format!("{response}, upgraded"),
    };
    let mut text = format!("{request} → {answer} in {}", Micros(http.timing.total_us));
    if let Some(incomplete) = incomplete(http.integrity) {
        text.push_str(&format!("  ({incomplete})"));
    }
    if let Some(host) = named_host(http) {
        text.push_str(&format!("  host {host}"));
    }
    text
}

/// What is wrong with a message's bytes, if anything.
pub(super) fn incomplete(integrity: Integrity) -> Option<&'static str> {
    match integrity {
        Integrity::Complete => None,
        Integrity::Truncated => Some("truncated"),
        Integrity::Gap => Some("gap: bytes were not seen"),
    }
}

/// The host that a request names, when neither its target nor one of the addresses says it already.
fn named_host(http: &Http) -> Option<String> {
    let host = http.url.as_ref()?.host.as_ref()?;
    let target = &http.http.request.as_ref()?.target.0;
    let in_target = !target.starts_with(b"/") && target != b"*";
    let is_address = [http.network.local, http.network.peer].iter().any(|end| {
        let bare = match end.address {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        };
        host.0 == bare.as_bytes() || host.0 == end.to_string().as_bytes()
    });
    if in_target || is_address || host.0.is_empty() { None } else { Some(printable(host)) }
}

/// Lost events in words, without the asterisks.
pub(super) fn loss(loss: &Loss) -> String {
    let why = match loss.place {
        LossPlace::Ring => "the ring buffer was full (a larger --ring-size or a filter helps)",
        LossPlace::Program => "they happened while another was being reported",
        LossPlace::Reader => "they could not be understood",
        LossPlace::Table => "too many connections at once",
    };
    let cpu = loss.cpu.map(|cpu| format!(" on cpu {cpu}")).unwrap_or_default();
    format!("LOST {}{cpu}: {why}", counted(loss.events, "event"))
}

/// `1 event`, `2 events`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The totals of a session in one line. What was lost stands out.
pub(super) fn totals(end: &End) -> String {
    let parts = [
        counted(end.connections, "connection"),
        counted(end.http, "HTTP exchange"),
        counted(end.events, "event"),
        if end.lost == 0 { "0 lost".to_owned() } else { format!("{} LOST", end.lost) },
    ];
    parts.join(", ")
}
