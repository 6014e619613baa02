//! Payload that nobody needs to see may be left out.

use proptest::prelude::*;
use tcp_trace_model::{
    event::{Direction, Role},
    time::Time,
};

use super::{
    super::{End, Exchanges},
    GET, OK,
    fed::Fed,
    lines,
};
use crate::stream::SKIP_MAX;

fn client() -> (Fed, Exchanges) {
    let mut http = Fed::new(Some(Role::Client));
    http.start(Direction::Out, 0);
    http.start(Direction::In, 0);
    let mut exchanges = Vec::new();
    http.payload(Direction::Out, 0, GET.as_bytes(), Time(0), &mut exchanges);
    (http, exchanges)
}

fn respond(http: &mut Fed, exchanges: &mut Exchanges, sequence: u32, bytes: &str) -> u32 {
    http.payload(Direction::In, sequence, bytes.as_bytes(), Time(0), exchanges);
    sequence + u32::try_from(bytes.len()).unwrap()
}

#[test]
fn inside_a_body_the_payload_is_not_needed_until_its_end() {
    let (mut http, mut exchanges) = client();
    assert_eq!(http.skip_until(Direction::In), None, "a head is needed");
    let at = respond(&mut http, &mut exchanges, 0, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nab");
    assert_eq!(http.skip_until(Direction::In), Some(at + 4998));
    assert_eq!(http.skip_until(Direction::Out), None, "the next request is needed");
    http.skipped(Direction::In, at, 4998, Time(0), &mut exchanges);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 5000"]);
    assert_eq!(http.skip_until(Direction::In), None);
}

#[test]
fn each_framing_says_what_it_does_not_need() {
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nab", Some(14)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab", None),
        ("HTTP/1.1 200 OK\r\n\r\nab", Some(SKIP_MAX)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", Some(SKIP_MAX)),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Some(SKIP_MAX)),
        ("HTTP/1.1 101 OK\r\n\r\n", Some(SKIP_MAX)),
        ("HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n\r\n\x01\x09ab", Some(7)),
        ("HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n\r\n", None),
    ] {
        let (mut http, mut exchanges) = client();
        let at = respond(&mut http, &mut exchanges, 0, head);
        assert_eq!(http.skip_until(Direction::In), expected.map(|ahead| at + ahead), "{head:?}");
    }
    let mut other = Fed::new(Some(Role::Client));
    other.start(Direction::Out, 0);
    other.payload(Direction::Out, 0, b"\x16\x03", Time(0), &mut Vec::new());
    assert_eq!(other.skip_until(Direction::Out), None, "what is no HTTP is not followed at all");
}

#[test]
fn bytes_of_a_body_that_never_come_are_no_gap_when_that_was_meant() {
    let (mut http, mut exchanges) = client();
    let at = respond(&mut http, &mut exchanges, 0, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nab");
    let until = http.skip_until(Direction::In).unwrap();
    http.skip(Direction::In, until);
    // Nothing before the segment with the body's last bytes, and then the next exchange.
    respond(&mut http, &mut exchanges, at + 4990, "12345678");
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 5000"]);
    http.payload(Direction::Out, GET.len() as u32, GET.as_bytes(), Time(0), &mut exchanges);
    respond(&mut http, &mut exchanges, until, OK);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 5000", "GET /a 0 -> 200 5"]);
}

#[test]
fn the_segment_after_a_body_that_never_came_ends_it() {
    let (mut http, mut exchanges) = client();
    http.payload(Direction::Out, GET.len() as u32, GET.as_bytes(), Time(0), &mut exchanges);
    respond(&mut http, &mut exchanges, 0, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nab");
    let until = http.skip_until(Direction::In).unwrap();
    http.skip(Direction::In, until);
    // The next head comes out of order, so that it has to be held.
    respond(&mut http, &mut exchanges, until + 10, &OK[10..]);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 5000"]);
    respond(&mut http, &mut exchanges, until, &OK[..10]);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 5000", "GET /a 0 -> 200 5"]);
}

#[test]
fn a_fin_ends_a_body_that_was_left_out() {
    let (mut http, mut exchanges) = client();
    let at = respond(&mut http, &mut exchanges, 0, "HTTP/1.1 200 OK\r\n\r\nab");
    let until = http.skip_until(Direction::In).unwrap();
    http.skip(Direction::In, until);
    http.finished(Direction::In, at + 3000, Time(0), &mut exchanges);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 3002"]);
}

#[test]
fn bytes_that_were_not_meant_to_be_left_out_stay_a_gap() {
    let (mut http, mut exchanges) = client();
    let at = respond(&mut http, &mut exchanges, 0, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    respond(&mut http, &mut exchanges, at + 2, "e");
    assert_eq!(lines(&exchanges), [""; 0], "they may still come");
    http.finish(Time(0), End::Fin, &mut exchanges);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 5 Gap"]);
}

#[test]
fn a_head_that_is_left_out_is_a_gap() {
    let (mut http, mut exchanges) = client();
    http.skipped(Direction::In, 0, 100, Time(0), &mut exchanges);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> - NoResponse Gap"]);
}

proptest! {
    /// Whatever `skip_until` allows to leave out is left out, in either way.
    #[test]
    fn leaving_out_what_is_not_needed_changes_nothing(
        bodies in prop::collection::vec((0..3000_usize, any::<bool>()), 1..6),
        size in 1..700_usize,
        is_told_each_time: bool,
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (length, is_chunked) in &bodies {
            let framed = super::generated::framed(*length, *is_chunked);
            stream.extend_from_slice(format!("HTTP/1.1 200 OK\r\n{framed}").as_bytes());
            expected.push(format!("GET /a 0 -> 200 {length}"));
        }
        let (mut http, mut exchanges) = client();
        for number in 1..bodies.len() {
            let sequence = u32::try_from(number * GET.len()).unwrap();
            http.payload(Direction::Out, sequence, GET.as_bytes(), Time(0), &mut exchanges);
        }
        for (at, segment) in stream.chunks(size).enumerate() {
            let start = u32::try_from(at * size).unwrap();
            let length = u32::try_from(segment.len()).unwrap();
            let is_needed = http.skip_until(Direction::In).is_none_or(|until| start + length > until);
            if is_needed {
                http.payload(Direction::In, start, segment, Time(0), &mut exchanges);
            } else if is_told_each_time {
                http.skipped(Direction::In, start, length, Time(0), &mut exchanges);
            }
            if let (false, Some(until)) = (is_told_each_time, http.skip_until(Direction::In)) {
                http.skip(Direction::In, until);
            }
        }
        http.finished(Direction::In, u32::try_from(stream.len()).unwrap(), Time(0), &mut exchanges);
        prop_assert_eq!(lines(&exchanges), expected);
    }
}

/// What was seen of a response, whether its FIN was, how many numbers had passed at the end, and the exchange.
#[test]
fn what_the_socket_had_come_to_tells_what_nobody_saw() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhi";
    let length = whole.len() as u32;
    for (seen, fin, passed, expected) in [
        ("", None, 0, "GET /a 0 -> - NoResponse"),
        ("", None, 1, "GET /a 0 -> - NoResponse"),
        ("", None, length, "GET /a 0 -> - NoResponse Gap"),
        ("", Some(length), length + 1, "GET /a 0 -> - NoResponse Gap"),
        (whole, None, length, "GET /a 0 -> 200 2"),
        (whole, Some(length), length + 1, "GET /a 0 -> 200 2"),
        (&whole[..length as usize - 2], None, length, "GET /a 0 -> 200 2 Gap"),
        (&whole[..length as usize - 2], None, length - 2, "GET /a 0 -> 200 0 Truncated Truncated"),
        (until_close, Some(21), 22, "GET /a 0 -> 200 2"),
        (until_close, Some(25), 26, "GET /a 0 -> 200 6 Gap"),
    ] {
        let (mut http, mut exchanges) = client();
        respond(&mut http, &mut exchanges, 0, seen);
        if let Some(fin) = fin {
            http.finished(Direction::In, fin, Time(0), &mut exchanges);
        }
        http.give_up_holes(Time(0), &mut exchanges);
        http.has_passed(Direction::In, passed, Time(0), &mut exchanges);
        http.finish(Time(0), End::Fin, &mut exchanges);
        assert_eq!(lines(&exchanges), [expected], "{seen:?} {fin:?} {passed}");
    }
}

#[test]
fn what_was_left_out_on_purpose_is_no_gap_at_the_end() {
    for (fin, passed, expected) in [
        (None, 5_000, "GET /a 0 -> 200 5000"),
        (Some(5_000), 5_001, "GET /a 0 -> 200 5000"),
        (None, 4_000, "GET /a 0 -> 200 4000 Truncated Truncated"),
    ] {
        let (mut http, mut exchanges) = client();
        let at = respond(&mut http, &mut exchanges, 0, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
        let until = http.skip_until(Direction::In).unwrap();
        http.skip(Direction::In, until);
        if let Some(fin) = fin {
            http.finished(Direction::In, at + fin, Time(0), &mut exchanges);
        }
        http.has_passed(Direction::In, at + passed, Time(0), &mut exchanges);
        http.finish(Time(0), End::Fin, &mut exchanges);
        assert_eq!(lines(&exchanges), [expected], "{fin:?} {passed}");
    }
}
