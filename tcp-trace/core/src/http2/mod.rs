//! HTTP/2 from a connection's bytes (RFC 9113): frames, streams, and the exchange of each stream; gRPC on top of it. Pure.
//!
//! It may begin in the middle of a connection: what is believed then are frames that fit each other exactly.

mod block;
mod connection;
mod ending;
mod flow;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod grpc;
mod input;
mod pings;
mod stream;

pub use block::{FIELDS_MAX, TEXT_MAX};
pub use connection::{HttpTwo, PREFACE, STREAMS_MAX};
pub use frames::HEADER;

/// Whether bytes in the middle of a connection are HTTP/2: whole frames from the first to the last.
pub fn is_amid(bytes: &[u8]) -> bool {
    frames::tile(bytes, |_| false, 0)
}

/// The header of a frame of HTTP/2 in the middle of a connection, if these bytes are that and nothing else.
pub fn header_alone(bytes: &[u8]) -> Option<[u8; HEADER]> {
    frames::header_alone(bytes)
}

/// Whether what a server sends first is HTTP/2: SETTINGS (RFC 9113, section 3.4). `None` when more bytes are needed.
pub fn is_server_preface(bytes: &[u8]) -> Option<bool> {
    frames::begins_with_settings(bytes)
}
