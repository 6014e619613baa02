//! Responses that were sent and did not arrive.

use tcp_trace_model::exchange::{Ended, Exchange, Integrity, Message, Outcome, Part};

/// Reason of an exchange of which bytes are missing.
pub(crate) const UNSEEN: &str = "bytes were not seen";

/// Says of an exchange whose response was sent whole that its client has reset the connection before all of it had arrived: the client
/// acknowledged so many bytes of its direction. Unchanged where these have all of it.
pub fn cut_by_reset(exchange: &mut Exchange, acknowledged: u64) {
    let Some(response) = &exchange.response else { return };
    let place = response.place.clone();
    if exchange.outcome != Outcome::Ok
        || exchange.integrity != Integrity::Complete
        || acknowledged >= place.end
    {
        return;
    }
    let arrived = acknowledged.saturating_sub(place.start);
    let is_chunked = response.headers.first("transfer-encoding").is_some();
    let has_length = !is_chunked && response.headers.first("content-length").is_some();
    let (part, offset) = match arrived.checked_sub(response.header_size) {
        // The framing of the chunked coding lies between.
        Some(body) => (Part::Body, body.min(response.body.size)),
        None if arrived > 0 => (Part::Head, arrived),
        None => (Part::None, 0),
    };
    let when = if part == Part::None { "before" } else { "during" };
    (exchange.integrity, exchange.outcome) = (Integrity::Truncated, Outcome::Reset);
    exchange.reason = Some(format!("reset by the client {when} the response").into());
    exchange.ended = Some(Ended { message: Message::Response, part, offset });
    exchange.missing = (part == Part::Body && has_length).then(|| place.end - acknowledged);
}

/// Says of an exchange that is illegal that bytes were not seen: its connection carries a part of what the process reads, and the rest of it
/// may come later, on another one.
pub fn may_lack_bytes(exchange: &mut Exchange) {
    if exchange.outcome == Outcome::Invalid {
        let outcome = if exchange.response.is_some() { Outcome::Ok } else { Outcome::NoResponse };
        (exchange.integrity, exchange.outcome) = (Integrity::Gap, outcome);
        exchange.reason = Some(UNSEEN.into());
    }
}
