//! Phrases that the formats for people share. Text from outside leaves here escaped.

use super::{
    phrase::{Phrase, Tone, cut},
    units::{Micros, Size},
};
use crate::record::{End, Http, Integrity, Loss, LossPlace, Outcome, Process, Text};

/// Longest piece of text from the network that is shown whole, in columns.
const TEXT_MAX: usize = 120;

/// A process as `curl[13838]`.
pub(super) fn named(process: &Process) -> String {
    format!("{}[{}]", printable(&process.name), process.pid)
}

/// Escaped, and shortened when it is very long.
pub(super) fn printable(text: &Text) -> String {
    cut(&text.printable().to_string(), TEXT_MAX)
}

/// A string of a recording, which may have been written by anybody.
pub(super) fn recorded(text: &str) -> String {
    printable(&Text::from(text))
}

/// A method and a target, which can be missing.
pub(super) fn request_line(http: &Http) -> Option<String> {
    let request = http.http.request.as_ref()?;
    Some(format!("{} {}", printable(&request.method), printable(&request.target)))
}

/// A status code with its reason, which can be empty.
pub(super) fn status(http: &Http) -> Option<Phrase> {
    let response = http.http.response.as_ref()?;
    let text = format!("{} {}", response.status_code, printable(&response.reason));
    let tone = match response.status_code {
        400..500 => Tone::Warning,
        500.. => Tone::Failure,
        _ => Tone::Plain,
    };
    Some(Phrase::new(tone, text.trim_end()))
}

/// An exchange in one line: `GET /a → 200 OK  12 B in 1.23 ms`.
pub(super) fn exchange(http: &Http) -> Phrase {
    let request = request_line(http).unwrap_or_else(|| "(no request seen)".to_owned());
    let size = http.http.response.as_ref().map(|response| Size(response.body.size));
    let response = status(http).zip(size).map(|(status, size)| status.and(Tone::Plain, format!("  {size}")));
    let outcome = match http.outcome {
        Outcome::Ok if response.is_none() => Some((Tone::Warning, "(no response seen)")),
        Outcome::Ok => None,
        Outcome::NoResponse => Some((Tone::Failure, "no response")),
        Outcome::Reset => Some((Tone::Failure, "RESET")),
        Outcome::Upgraded => Some((Tone::Plain, "upgraded")),
    };
    let comma = if response.is_some() { ", " } else { "" };
    let mut phrase = Phrase::plain(format!("{request} → ")).then(response.unwrap_or_default());
    if let Some((tone, outcome)) = outcome {
        phrase = phrase.and(Tone::Plain, comma).and(tone, outcome);
    }
    phrase = phrase.and(Tone::Aside, format!(" in {}", Micros(http.timing.total_us)));
    if let Some(incomplete) = incomplete(http.integrity) {
        phrase = phrase.and(Tone::Warning, format!("  ({incomplete})"));
    }
    if let Some(host) = named_host(http) {
        phrase = phrase.and(Tone::Plain, format!("  host {host}"));
    }
    phrase
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

/// Lost events in words.
pub(super) fn loss(loss: &Loss) -> Phrase {
    let why = match loss.place {
        LossPlace::Ring => "the ring buffer was full (a larger --ring-size or a filter helps)",
        LossPlace::Program => "they happened while another was being reported",
        LossPlace::Reader => "they could not be understood",
        LossPlace::Table => "too many connections or lookups at once",
    };
    let cpu = loss.cpu.map(|cpu| format!(" on cpu {cpu}")).unwrap_or_default();
    let what = format!("*** LOST {}{cpu}", counted(loss.events, "event"));
    Phrase::new(Tone::Failure, what).and(Tone::Plain, format!(": {why}"))
}

/// `1 event`, `2 events`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The totals of a session in one line. What was lost stands out.
pub(super) fn totals(end: &End) -> Phrase {
    let connections = counted(end.connections, "connection");
    let http = counted(end.http, "HTTP exchange");
    let events = counted(end.events, "event");
    let lookups = if end.dns > 0 { format!("{}, ", counted(end.dns, "lookup")) } else { String::new() };
    let phrase = Phrase::plain(format!("{connections}, {http}, {lookups}{events}, "));
    match end.lost {
        0 => phrase.and(Tone::Plain, "0 lost"),
        lost => phrase.and(Tone::Failure, format!("{lost} LOST")),
    }
}
