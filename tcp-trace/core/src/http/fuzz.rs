//! What fuzzers run: any bytes, and what holds whatever they are.

use tcp_trace_model::{
    event::{Direction, Role},
    time::Time,
};

use super::{
    ConnectionEnd, End, Exchanges, HttpConnection,
    chunked::{Chunked, Then},
    head, line,
};
use crate::stream::Chunk;

/// A head: both readers agree, and how it is cut changes nothing.
///
/// # Panics
/// When that does not hold.
pub fn head(bytes: &[u8]) {
    let head = &bytes[head::leading_empty_lines(bytes)..];
    if let Some(end) = head::end(head, 0).filter(|end| *end <= head::HEAD_MAX) {
        if let Some(request) = head::fast_request(&head[..end]) {
            assert_eq!(line::request(&head[..end]), Ok(request));
        }
        if let Some(response) = head::fast_response(&head[..end]) {
            assert_eq!(line::response(&head[..end]), Ok(response));
        }
    }
    for direction in [Direction::Out, Direction::In] {
        assert_eq!(exchanges(direction, bytes, 1), exchanges(direction, bytes, bytes.len().max(1)));
    }
}

/// A chunked body: how it is cut changes nothing.
///
/// # Panics
/// When that does not hold.
pub fn chunked(bytes: &[u8]) {
    let whole = body(bytes, bytes.len().max(1));
    for piece in [1, 2, 3, 7] {
        assert_eq!(body(bytes, piece), whole, "pieces of {piece} bytes");
    }
}

/// Payload and framing bytes of a chunked body, and how it ended.
fn body(bytes: &[u8], piece: usize) -> (u64, usize, Then) {
    let mut chunked = Chunked::default();
    let (mut payload, mut consumed) = (0, 0);
    for piece in bytes.chunks(piece) {
        let fed = chunked.feed(piece);
        payload += fed.payload;
        consumed += fed.consumed;
        if fed.then != Then::More {
            return (payload, consumed, fed.then);
        }
    }
    (payload, consumed, Then::More)
}

/// The exchanges of a client that sends GET and what follows in `direction` in pieces.
fn exchanges(direction: Direction, bytes: &[u8], piece: usize) -> Exchanges {
    const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    let mut http = HttpConnection::new(Some(Role::Client));
    let mut exchanges = Vec::new();
    [Direction::Out, Direction::In].into_iter().for_each(|direction| http.start(direction));
    let mut ends = [0_u64; 2];
    let pieces = bytes.chunks(piece).map(|piece| (direction, piece));
    for (direction, bytes) in std::iter::once((Direction::Out, GET)).chain(pieces) {
        let offset = &mut ends[direction.index()];
        http.input(direction, Chunk::Bytes { offset: *offset, bytes, time: Time(0) }, false, &mut exchanges);
        *offset += bytes.len() as u64;
    }
    http.finish(Time(0), ConnectionEnd::without_fin(End::Fin), &mut exchanges);
    exchanges
}
