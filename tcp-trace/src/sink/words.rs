//! Phrases that the formats for people share. Text from outside leaves here escaped.

use tcp_trace_core::prose::{Micros, Phrase, Size, Tone, counted, cut};
use tcp_trace_model::{
    event::State,
    record::{
        Connection, End, Ended, Frames, Http, Integrity, Loss, LossPlace, Message, Outcome, Part, Process,
        Text, Transition,
    },
};

use super::{words_http2, words_protocol::protocol, words_timing::phases};

/// Longest piece of text from the network that is shown whole, in columns.
const TEXT_MAX: usize = 120;

/// A process as `curl[13838]`.
pub(super) fn named(process: &Process) -> String {
    format!("{}[{}]", printable(&process.name), process.pid)
}

/// A number with commas between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Escaped, and shortened when it is very long.
pub(super) fn printable(text: &Text) -> String {
    cut(&text.printable().to_string(), TEXT_MAX)
}

/// A string of a recording, which may have been written by anybody.
pub(super) fn recorded(text: &str) -> String {
    printable(&Text::from(text))
}

/// The segments of a connection that the kernel refused, if there were any.
pub(super) fn refused(summary: &Connection) -> Option<Phrase> {
    let all: u64 = summary.refused.values().sum();
    if all == 0 {
        return None;
    }
    let reasons: Vec<_> =
        summary.refused.iter().map(|(why, count)| format!("{count} {}", why.name())).collect();
    let segments = counted(all, "segment");
    Some(Phrase::new(Tone::Failure, format!("{segments} refused by the kernel: {}", reasons.join(", "))))
}

/// A method and a target, which can be missing.
pub(super) fn request_line(http: &Http) -> Option<String> {
    let request = http.exchange.request.as_ref()?;
    Some(format!("{} {}", printable(&request.method), printable(&request.target)))
}

/// A status code with its reason, which can be empty.
pub(super) fn status(http: &Http) -> Option<Phrase> {
    let response = http.exchange.response.as_ref()?;
    let text = match response.status_code {
        // HPACK took it from what was not seen.
        0 => "status unknown".to_owned(),
        code => format!("{code} {}", printable(&response.reason)),
    };
    Some(Phrase::new(status_tone(response.status_code), text.trim_end()))
}

/// Whether a status code is one of an error.
pub(super) fn status_tone(code: u16) -> Tone {
    match code {
        400..500 => Tone::Warning,
        500.. => Tone::Failure,
        _ => Tone::Plain,
    }
}

/// An exchange in one line: `GET /a → 200 OK  12 B in 1.23 ms`.
pub(super) fn exchange(http: &Http) -> Phrase {
    let request = request_line(http).unwrap_or_else(|| "(no request seen)".to_owned());
    let size = http.exchange.response.as_ref().map(|response| Size(response.body.size));
    let response = status(http).zip(size).map(|(status, size)| status.and(Tone::Plain, format!("  {size}")));
    let outcome = match outcome(http) {
        None if response.is_none() => Some((Tone::Warning, "(no response seen)".to_owned())),
        outcome => outcome,
    };
    let word = if matches!(&outcome, Some((Tone::Failure, _))) { ", after" } else { " in" };
    let comma = if response.is_some() { ", " } else { "" };
    let interim: Vec<_> = http.exchange.informational.iter().map(u16::to_string).collect();
    let interim = if interim.is_empty() { String::new() } else { format!("({}) ", interim.join(", ")) };
    let mut phrase = Phrase::plain(format!("{request} → {interim}")).then(response.unwrap_or_default());
    if let Some((tone, outcome)) = outcome {
        phrase = phrase.and(Tone::Plain, comma).and(tone, outcome);
    }
    phrase = phrase.and(Tone::Aside, format!("{word} {}", Micros(http.exchange.timing.total_us)));
    for phase in phases(&http.exchange.timing) {
        let length = phase.length();
        if let Some(lost) = phase.lost {
            phrase = phrase.and(Tone::Aside, format!(", {length} ")).and(Tone::Warning, format!("({lost})"));
        }
    }
    phrase = phrase.then(words_http2::stream(http));
    if let Some(incomplete) = incomplete(http) {
        phrase = phrase.and(Tone::Warning, format!("  ({incomplete})"));
    }
    if let Some(host) = named_host(http) {
        phrase = phrase.and(Tone::Plain, format!("  host {host}"));
    }
    phrase
}

/// How an exchange ended, unless it is as it should be, and why.
pub(super) fn outcome(http: &Http) -> Option<(Tone, String)> {
    let reason = http.exchange.reason.as_deref().map(recorded);
    let because = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let (tone, mut text) = match http.exchange.outcome {
        Outcome::Ok if http.exchange.ended.is_some() => {
            (Tone::Warning, format!("request incomplete{because}"))
        }
        Outcome::Ok => return None,
        Outcome::NoResponse => (Tone::Failure, format!("no response{because}")),
        Outcome::Reset => {
            let who = reason.as_ref().and_then(|reason| reason.strip_prefix("reset"));
            (Tone::Failure, format!("RESET{}", who.unwrap_or(&because)))
        }
        Outcome::Truncated => (Tone::Failure, format!("TRUNCATED{because}")),
        Outcome::Upgraded => (Tone::Plain, format!("upgraded{because}")),
        Outcome::Invalid => (Tone::Failure, format!("INVALID {}", reason.unwrap_or_default())),
    };
    if let Some(Ended { message, part, offset }) =
        http.exchange.ended.filter(|ended| ended.part != Part::None)
    {
        let message = if message == Message::Request { "request" } else { "response" };
        text += &match part {
            Part::Trailer => format!(", in the {message}'s trailer, behind {} of its body", Size(offset)),
            _ => format!(", at byte {offset} of the {message}'s {}", part.name()),
        };
    }
    if let Some(missing) = http.exchange.missing {
        text += &format!(", {} missing", Size(missing));
    }
    let idle_us = http.exchange.timing.idle_us.filter(|us| *us > 0 && http.exchange.reused == Some(true));
    if let (Outcome::Reset | Outcome::NoResponse, Some(us)) = (http.exchange.outcome, idle_us) {
        // The other end may have given the connection up meanwhile.
        text += &format!(", reused after {} idle", Micros(us));
    }
    if let Some(websocket) = &http.exchange.websocket {
        text += &format!(", WebSocket {} up, {} down", frames(&websocket.client), frames(&websocket.server));
    }
    Some((tone, text))
}

/// `3 frames 20 B close 1000`.
fn frames(frames: &Frames) -> String {
    let Frames { continuation, text, binary, close, ping, pong, bytes, close_code } = *frames;
    // A recording may have been written by anybody, so the sum may be too large.
    let count = [continuation, text, binary, close, ping, pong].into_iter().fold(0, u64::saturating_add);
    let code = close_code.map_or(String::new(), |code| format!(" close {code}"));
    format!("{} {}{code}", counted(count, "frame"), Size(bytes))
}

/// What is wrong with a message's bytes, if anything that the outcome does not say.
pub(super) fn incomplete(http: &Http) -> Option<&'static str> {
    match http.exchange.integrity {
        Integrity::Complete => None,
        Integrity::Truncated if http.exchange.reason.is_some() => None,
        Integrity::Truncated => Some("truncated"),
        Integrity::Gap => Some("gap: bytes were not seen"),
    }
}

/// The host that a request names, when neither its target nor one of the addresses says it already.
fn named_host(http: &Http) -> Option<String> {
    let host = http.exchange.url.as_ref()?.host.as_ref()?;
    let target = &http.exchange.request.as_ref()?.target.0;
    let in_target = !target.starts_with(b"/") && **target != *b"*";
    let is_address = [http.connection.ends().local, http.connection.ends().peer].iter().any(|end| {
        let bare = match end.address {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        };
        host.0 == bare.as_bytes() || host.0 == end.to_string().as_bytes()
    });
    if in_target || is_address || host.0.is_empty() { None } else { Some(printable(host)) }
}

/// What a client that closes without an error before its handshake is over has done: nobody refused it.
pub(super) fn given_up(transition: &Transition) -> Option<&'static str> {
    let Transition { old, new, reason, gap, .. } = transition;
    let is_given_up = (*old, *new) == (State::SynSent, State::Close) && reason.is_none() && !gap;
    is_given_up.then_some("given up, no answer")
}

/// Lost events in words.
pub(super) fn loss(loss: &Loss) -> Phrase {
    let why = match loss.place {
        LossPlace::Ring => "the ring buffer was full (a larger --ring-size or a filter helps)",
        LossPlace::Program => "they happened while another was being reported",
        LossPlace::Reader => "they could not be decoded",
        LossPlace::Table => "too many connections or lookups at once",
        LossPlace::Output => "the output did not take them in time (a faster reader or a filter helps)",
    };
    let cpu = loss.cpu.map(|cpu| format!(" on cpu {cpu}")).unwrap_or_default();
    let what = format!("*** LOST {}{cpu}", counted(loss.events, "event"));
    Phrase::new(Tone::Failure, what).and(Tone::Plain, format!(": {why}"))
}

/// The totals of a session in one line. What was lost stands out. Sockets, as a connection between two processes of this
/// host has one at each end, and a listener is one.
pub(super) fn totals(end: &End) -> Phrase {
    let sockets = counted(end.connections, "socket");
    let http = counted(end.http, "HTTP exchange");
    let events = counted(end.events, "event");
    let lookups = if end.dns > 0 { format!("{}, ", counted(end.dns, "lookup")) } else { String::new() };
    let handshakes =
        if end.tls > 0 { format!("{}, ", counted(end.tls, "TLS handshake")) } else { String::new() };
    let protocols: Vec<_> =
        end.protocols.iter().map(|(name, count)| format!("{count} {}", protocol(name))).collect();
    let protocols = if protocols.is_empty() { String::new() } else { format!(" ({})", protocols.join(", ")) };
    let phrase = Phrase::plain(format!("{sockets}{protocols}, {http}, {handshakes}{lookups}{events}, "));
    let phrase = match end.unlinked.objects {
        0 => phrase,
        objects => {
            phrase.and(Tone::Warning, format!("{} without a connection, ", counted(objects, "TLS session")))
        }
    };
    match end.lost {
        0 => phrase.and(Tone::Plain, "0 lost"),
        lost => phrase.and(Tone::Failure, format!("{lost} LOST")),
    }
}
