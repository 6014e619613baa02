//! What fuzzers run: any bytes, and what holds whatever they are.

use std::net::{Ipv4Addr, SocketAddr};

use tcp_trace_model::{
    event::{Direction, Endpoints, Owner},
    lookup::{Outcome, Transport},
    time::Time,
};

use super::{ANSWERS_MAX, DNS_PORT, Lookups, Source, StreamMessage, Streams, message::DATA_BYTES_MAX, parse};
use crate::stream::Chunk;

/// Bytes of a header (RFC 1035, section 4.1.1), and where it says whether the message is an answer.
const HEADER: usize = 12;
const QR: (usize, u8) = (2, 0x80);
/// Characters of the longest name in presentation format: each of its 255 bytes as `\DDD`.
const NAME_MAX: usize = 255 * 4;

/// A datagram: what it says is printable and bounded, and as a question that the same message answers it is one lookup.
///
/// # Panics
/// When that does not hold.
pub fn message(bytes: &[u8]) {
    let Ok(message) = parse(bytes) else {
        assert!(bytes.len() < HEADER, "{} bytes are no message", bytes.len());
        assert_eq!(lookups(bytes, bytes), [Outcome::Malformed; 2]);
        return;
    };
    assert!(message.answers.len() <= ANSWERS_MAX);
    let names = message.answers.iter().map(|answer| &answer.name);
    for name in names.chain(message.question.as_ref().map(|question| &question.name)) {
        assert!(is_printable(name) && !name.is_empty() && name.len() <= NAME_MAX, "{name:?}");
    }
    for answer in &message.answers {
        assert!(is_printable(&answer.kind) && answer.data.len() <= DATA_BYTES_MAX, "{answer:?}");
    }
    let [mut question, mut answer] = [bytes.to_vec(), bytes.to_vec()];
    question[QR.0] &= !QR.1;
    answer[QR.0] |= QR.1;
    let outcomes = lookups(&question, &answer);
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    // A name can be a pointer into the header, and is another one then.
    let asked = [question, answer].map(|bytes| parse(&bytes).map(|message| message.question));
    assert!(asked[0] != asked[1] || outcomes[0] != Outcome::NoAnswer, "{outcomes:?}");
}

/// A direction of a connection: its messages are what it is made of, and how it is cut changes nothing.
///
/// # Panics
/// When that does not hold.
pub fn stream(bytes: &[u8]) {
    let whole = messages(bytes, bytes.len().max(1));
    let mut rest = bytes;
    for StreamMessage { bytes, .. } in &whole {
        let (length, message) = rest.split_first_chunk().expect("it came from there");
        assert_eq!(usize::from(u16::from_be_bytes(*length)), bytes.len());
        rest = message.strip_prefix(bytes.as_slice()).expect("it came from there");
    }
    for piece in [1, 2, 3, 7] {
        assert_eq!(messages(bytes, piece), whole, "pieces of {piece} bytes");
    }
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// What becomes of a question and an answer.
fn lookups(question: &[u8], answer: &[u8]) -> Vec<Outcome> {
    let (mut lookups, mut over) = (Lookups::default(), Vec::new());
    for (direction, bytes) in [(Direction::Out, question), (Direction::In, answer)] {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let source = Source {
            cookie: 1,
            endpoints: Endpoints { local: address(40_000), peer: address(DNS_PORT) },
            netns: None,
            transport: Transport::Udp,
            connection: None,
            owner: Some(Owner::new(1, "fuzz")),
        };
        lookups.message(Time(0), source, direction, (bytes, bytes.len()), &mut over);
    }
    lookups.finish(Time(0), &mut over);
    over.iter().map(|lookup| lookup.outcome).collect()
}

/// The messages of a stream that comes in pieces.
fn messages(bytes: &[u8], piece: usize) -> Vec<StreamMessage> {
    let (mut streams, mut messages) = (Streams::default(), Vec::new());
    let mut offset = 0;
    for bytes in bytes.chunks(piece) {
        streams.input(Direction::In, Chunk::Bytes { offset, bytes, time: Time(0) }, &mut messages);
        offset += bytes.len() as u64;
    }
    messages
}
