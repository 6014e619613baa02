//! Tests of what heads and ends of messages mean.

use tcp_trace_model::event::Role;

use super::*;
use crate::{
    http::{ConnectionEnd, End},
    stream::Chunk,
};

/// A second request leaves, and a 408 comes so many milliseconds later, over a path with a round trip of 40 ms.
fn timed_out(ms_later: u64) -> Vec<String> {
    const OK: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    let ms = |ms: u64| Time(ms * 1_000_000);
    let (mut http, mut exchanges) = (HttpConnection::new(Some(Role::Client)), Vec::new());
    http.learn_rtt(40_000);
    let mut offsets = [0_u64; 2];
    for (direction, bytes, time) in [
        (Direction::Out, &b"GET /1 HTTP/1.1\r\n\r\n"[..], 0),
        (Direction::In, OK, 41),
        (Direction::Out, b"GET /2 HTTP/1.1\r\n\r\n", 1_000),
        (Direction::In, TIMEOUT, 1_000 + ms_later),
    ] {
        http.start(direction);
        let offset = &mut offsets[direction.index()];
        let chunk = Chunk::Bytes { offset: *offset, bytes, time: ms(time) };
        http.input(direction, chunk, false, &mut exchanges);
        *offset += bytes.len() as u64;
    }
    http.finish(ms(2_000), ConnectionEnd::without_fin(End::Reset(None)), &mut exchanges);
    let in_words = |exchange: &tcp_trace_model::exchange::Exchange| {
        let target = exchange.request.as_ref().map(|request| request.target.printable().to_string());
        let status = exchange.response.as_ref().map(|response| response.status_code);
        format!("{} {} {:?}", exchange.index, target.unwrap_or_default(), status)
    };
    exchanges.iter().map(|exchange| in_words(exchange)).collect()
}

#[test]
fn a_request_is_found_whose_directions_beginning_was_not_seen() {
    let (mut http, mut exchanges) = (HttpConnection::new(Some(Role::Server)), Vec::new());
    // The SYN was not seen, the SYN+ACK was.
    http.start(Direction::Out);
    for (direction, bytes) in [
        (Direction::In, &b"GET / HTTP/1.1\r\n\r\n"[..]),
        (Direction::Out, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ] {
        http.input(direction, Chunk::Bytes { offset: 0, bytes, time: Time(0) }, false, &mut exchanges);
    }
    http.finish(Time(0), ConnectionEnd::without_fin(End::Fin), &mut exchanges);
    let [exchange] = exchanges.as_slice() else { panic!("{exchanges:#?}") };
    assert!(exchange.request.is_some() && exchange.response.is_some(), "{exchange:?}");
}

#[test]
fn a_408_that_crossed_a_request_answers_nothing() {
    assert_eq!(timed_out(9), ["0 /1 Some(204)", "1  Some(408)", "2 /2 None"]);
    assert_eq!(timed_out(40), ["0 /1 Some(204)", "1 /2 Some(408)"]);
}
