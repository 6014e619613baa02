//! What corpora of HTTP conversations share, whatever the version: how a connection ends, what is unusual about an exchange, and the
//! fields that it has to have.

use tcp_trace_model::{
    event::Direction,
    exchange::{Ended, Exchange, Frames, Integrity, Outcome},
};

use super::End;

/// Which end a word names.
pub(crate) fn side(word: &str) -> Option<Direction> {
    match word {
        "client" => Some(Direction::Out),
        "server" => Some(Direction::In),
        _ => None,
    }
}

/// How a connection ends, by the words behind `end`.
pub(crate) fn end(words: &str) -> End {
    match words.split_once(' ') {
        Some(("reset", by)) => End::Reset(side(by)),
        _ if words == "reset" => End::Reset(None),
        _ if words == "open" => End::Unknown,
        _ if words == "ETIMEDOUT" => End::Failed("ETIMEDOUT"),
        _ => panic!("end {words}"),
    }
}

/// What is unusual about an exchange of any version, but for its reason and its WebSocket.
pub(crate) fn unusual(exchange: &Exchange) -> Vec<String> {
    let mut parts = Vec::new();
    if exchange.outcome != Outcome::Ok {
        parts.push(format!("{:?}", exchange.outcome).to_lowercase());
    }
    if exchange.integrity != Integrity::Complete {
        parts.push(format!("{:?}", exchange.integrity).to_lowercase());
    }
    if !exchange.informational.is_empty() {
        parts.push(format!("informational {:?}", exchange.informational));
    }
    if let Some(Ended { message, part, offset }) = exchange.ended {
        parts.push(format!("ended {message:?} {part:?} {offset}").to_lowercase());
    }
    parts
}

/// The frames of its WebSocket, each way, and its reason.
pub(crate) fn websocket_and_reason(exchange: &Exchange) -> impl Iterator<Item = String> {
    let websocket = exchange.websocket.as_ref();
    let websocket =
        websocket.map(|both| format!("up {}, down {}", frames(&both.client), frames(&both.server)));
    websocket.into_iter().chain(exchange.reason.as_ref().map(|reason| reason.to_string()))
}

/// Frames by opcode, 0 to 2 and 8 to 10, then the bytes.
fn frames(frames: &Frames) -> String {
    let Frames { continuation, text, binary, close, ping, pong, bytes, close_code } = frames;
    let code = close_code.map_or(String::new(), |code| format!(" code {code}"));
    format!("{continuation} {text} {binary} {close} {ping} {pong}: {bytes} B{code}")
}

/// The first expected line with a field, `+` of a request or `-` of a response, that the exchange of the line with `=` before it does
/// not have. `text` is how the corpus writes bytes.
pub(crate) fn missing_field<'a>(
    expected: &'a [String],
    exchanges: &[Box<Exchange>],
    text: fn(&[u8]) -> String,
) -> Option<&'a String> {
    let mut at = 0;
    expected.iter().find(|line| {
        at += usize::from(line.starts_with('='));
        line.starts_with(['+', '-']) && !has_field(&exchanges[at - 1], line, text)
    })
}

fn has_field(exchange: &Exchange, line: &str, text: fn(&[u8]) -> String) -> bool {
    let headers = match line.split_at(1).0 {
        "+" => exchange.request.as_ref().map(|request| &request.headers),
        _ => exchange.response.as_ref().map(|response| &response.headers),
    };
    let mut fields = headers.into_iter().flat_map(tcp_trace_model::fields::Fields::iter);
    fields.any(|(name, value)| format!("{}: {}", text(name), text(value)).trim_end() == &line[2..])
}
