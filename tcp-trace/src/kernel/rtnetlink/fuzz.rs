//! What a fuzzer runs: any bytes in place of an answer.

use super::answer::{Answer, Link, Neighbour, Way, answer as find};

/// The request that is answered.
const SEQUENCE: u32 = 1;

/// A datagram, whose object may be of any kind: what it says is no longer than it is.
///
/// # Panics
/// When that does not hold.
pub fn answer(datagram: &[u8]) {
    let Ok(Answer::Object(payload)) = find(datagram, SEQUENCE) else { return };
    assert!(payload.len() < datagram.len());
    // Errors are answers too.
    let _ = Way::parse(payload);
    if let Ok(Link { name: Some(name) }) = Link::parse(payload) {
        assert!(name.0.len() <= payload.len() && !name.0.contains(&0));
    }
    if let Ok(Neighbour { mac: Some(mac), .. }) = Neighbour::parse(payload) {
        assert!(
            mac.len() < 3 * payload.len()
                && mac.chars().all(|digit| digit == ':' || digit.is_ascii_hexdigit())
        );
    }
}
