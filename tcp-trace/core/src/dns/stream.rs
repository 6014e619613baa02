//! DNS messages in the byte streams of a TCP connection: each has its length before it (RFC 1035, section 4.2.2).

use tcp_trace_model::{event::Direction, time::Time};

use super::message::parse;
use crate::stream::Chunk;

/// Bytes of the length before a message.
const LENGTH: usize = 2;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMessage {
    /// When its last byte passed.
    pub time: Time,
    /// Which way it went.
    pub direction: Direction,
    /// The message without its length.
    pub bytes: Vec<u8>,
}

/// Both directions of a connection to a DNS server, from their first bytes on.
#[derive(Debug, Default)]
pub struct Streams {
    /// By [`Direction::index`].
    sides: [Side; 2],
}

/// One direction.
#[derive(Debug, Default)]
struct Side {
    /// The beginning of a message: at most one, whose length is 16 bits.
    buffer: Vec<u8>,
    /// Where messages begin is not known any more, or they are none.
    is_over: bool,
}

impl Streams {
    /// Takes what comes next in a direction; messages that are complete are appended.
    pub fn input(&mut self, direction: Direction, chunk: Chunk<'_>, messages: &mut Vec<StreamMessage>) {
        let Side { buffer, is_over } = &mut self.sides[direction.index()];
        match chunk {
            _ if *is_over => {}
            Chunk::Gap { .. } | Chunk::Elided { .. } | Chunk::Fin { .. } => *is_over = true,
            Chunk::Bytes { bytes, time, .. } => {
                buffer.extend_from_slice(bytes);
                while !*is_over && let Some(bytes) = take_message(buffer) {
                    *is_over |= parse(&bytes).is_err();
                    messages.push(StreamMessage { time, direction, bytes });
                }
            }
        }
        if *is_over {
            *buffer = Vec::new();
        }
    }

    /// Whether no more messages can come.
    pub fn is_over(&self) -> bool {
        self.sides.iter().all(|side| side.is_over)
    }
}

/// Takes a whole message, if there is one.
fn take_message(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = buffer.split_first_chunk::<LENGTH>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let message = rest.get(..length)?.to_vec();
    buffer.drain(..LENGTH + length);
    Some(message)
}
