//! What fuzzers run: any bytes in place of the kernel's, and what holds whatever they are.

use tcp_trace_model::event::EventKind;

pub use super::{rtnetlink::fuzz::answer as rtnetlink, sock_diag::fuzz::answer as sock_diag};

/// Bytes of the largest fixed part of a record.
const FIXED_MAX: usize = 168;

/// A record of the ring buffer: what comes of it was in it, and is no longer than it says.
///
/// # Panics
/// When that does not hold.
pub fn record(bytes: &[u8]) {
    let Ok(event) = super::decode(bytes, 0) else { return };
    let (time, cookie) = (&bytes[..8], &bytes[8..16]);
    assert_eq!(event.time.0.to_ne_bytes(), time, "no offset was added");
    assert_eq!(event.cookie.to_ne_bytes(), cookie);
    let (payload, length) = match &event.kind {
        EventKind::Segment(segment) => (segment.payload, segment.length as usize),
        EventKind::Datagram(datagram) => (datagram.payload, datagram.length as usize),
        EventKind::Stack(stack) => (stack.bytes, stack.bytes.len()),
        EventKind::Plaintext(plaintext) => (plaintext.payload, plaintext.length as usize),
        EventKind::Ciphertext(ciphertext) => (ciphertext.bytes, ciphertext.bytes.len()),
        EventKind::StateChange(_)
        | EventKind::Translation(_)
        | EventKind::Owner(_)
        | EventKind::Reset(_)
        | EventKind::Subflow(_)
        | EventKind::TlsObjectGone(_) => (&[][..], 0),
    };
    assert!(payload.len() <= length, "{} of {length} bytes", payload.len());
    assert!(payload.is_empty() || bytes.windows(payload.len()).any(|part| part == payload));
    assert!(payload.len() < bytes.len());
    // A record's fixed part does not come from nowhere.
    assert!(bytes.len() >= FIXED_MAX || !matches!(event.kind, EventKind::StateChange(_)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_of_a_kind_are_an_event_or_an_error(kind in 0..13_u32, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = bytes;
            if let Some(place) = bytes.get_mut(16..20) {
                place.copy_from_slice(&kind.to_ne_bytes());
            }
            record(&bytes);
        }

        #[test]
        fn any_answers_are_objects_or_errors(
            messages in prop::collection::vec((0..80_u16, 0..3_u32, prop::collection::vec(any::<u8>(), 0..120)), 1..4),
            rest in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut datagram = Vec::new();
            for (kind, sequence, payload) in messages {
                datagram.extend((payload.len() as u32 + 16).to_ne_bytes());
                datagram.extend(kind.to_ne_bytes());
                datagram.extend([0; 2]);
                datagram.extend(sequence.to_ne_bytes());
                datagram.extend([0; 4]);
                datagram.extend(payload);
                datagram.resize(datagram.len().next_multiple_of(4), 0);
            }
            datagram.extend(rest);
            sock_diag(&datagram);
            rtnetlink(&datagram);
        }
    }
}
