//! Byte-level conversations and the exchanges they are: each one whole, byte by byte, and out of order with repeats.

mod corpus;
mod fed;
mod generated;
mod skip;
mod times;

use fed::Fed;
use tcp_trace_model::{
    event::{Direction, Role},
    exchange::{Exchange, Integrity, Outcome},
    time::Time,
};

use super::*;

const ISN: [u32; 2] = [u32::MAX - 20, 5000];

/// One side's turn in a conversation.
#[derive(Clone, Debug)]
enum Turn {
    Client(Vec<u8>),
    Server(Vec<u8>),
    ServerFin,
}
use Turn::{Client as C, Server as S, ServerFin};

fn c(text: &str) -> Turn {
    C(text.as_bytes().to_vec())
}

fn s(text: &str) -> Turn {
    S(text.as_bytes().to_vec())
}

/// How a turn is cut into segments.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Bytes,
    /// Pieces of this size, every two swapped, each sent twice.
    Shuffled(usize),
}

/// Plays a conversation to the client's end of a connection and ends it.
fn play(turns: &[Turn], cut: Cut, end: End) -> (Exchanges, Fed) {
    let mut http = Fed::new(Some(Role::Client));
    let mut exchanges = Vec::new();
    let mut next = ISN.map(|isn| isn.wrapping_add(1));
    let mut now = 0;
    http.start(Direction::Out, next[0]);
    http.start(Direction::In, next[1]);
    for turn in turns {
        let (direction, bytes) = match turn {
            C(bytes) => (Direction::Out, bytes.as_slice()),
            S(bytes) => (Direction::In, bytes.as_slice()),
            ServerFin => {
                http.finished(Direction::In, next[1], Time(now), &mut exchanges);
                continue;
            }
        };
        let start = next[direction.index()];
        for (at, length) in pieces(bytes.len(), cut) {
            now += 1_000;
            let sequence = start.wrapping_add(u32::try_from(at).unwrap());
            http.payload(direction, sequence, &bytes[at..at + length], Time(now), &mut exchanges);
        }
        next[direction.index()] = start.wrapping_add(u32::try_from(bytes.len()).unwrap());
    }
    http.finish(Time(now), end, &mut exchanges);
    (exchanges, http)
}

fn pieces(length: usize, cut: Cut) -> Vec<(usize, usize)> {
    let by = |size: usize| (0..length).step_by(size).map(move |at| (at, size.min(length - at)));
    match cut {
        Cut::Whole => vec![(0, length)],
        Cut::Bytes => by(1).collect(),
        Cut::Shuffled(size) => {
            let pieces: Vec<_> = by(size).collect();
            pieces.chunks(2).flat_map(|pair| pair.iter().rev().chain(pair.iter())).copied().collect()
        }
    }
}

/// An exchange in one line: `GET /a 0 -> 200 12`, then what is unusual about it.
fn line(exchange: &Exchange) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = exchange.request.as_ref().map_or("-".to_owned(), |request| {
        format!("{} {} {}", text(&request.method.0), text(&request.target.0), request.body.size)
    });
    let response = exchange
        .response
        .as_ref()
        .map_or("-".to_owned(), |response| format!("{} {}", response.status_code, response.body.size));
    let mut line = format!("{request} -> {response}");
    if exchange.outcome != Outcome::Ok {
        line += &format!(" {:?}", exchange.outcome);
    }
    if exchange.integrity != Integrity::Complete {
        line += &format!(" {:?}", exchange.integrity);
    }
    line
}

fn lines(exchanges: &[Box<Exchange>]) -> Vec<String> {
    exchanges.iter().map(|exchange| line(exchange)).collect()
}

#[track_caller]
fn check_end(name: &str, turns: &[Turn], end: End, expected: &[&str]) {
    for cut in [Cut::Whole, Cut::Bytes, Cut::Shuffled(7), Cut::Shuffled(1)] {
        let (exchanges, http) = play(turns, cut, end);
        assert_eq!(lines(&exchanges), expected, "{name}, {cut:?}");
        for (position, exchange) in exchanges.iter().enumerate() {
            assert_eq!(exchange.index, position as u64, "{name}, {cut:?}");
        }
        let is_other = expected.is_empty() && !turns.is_empty();
        assert_eq!(http.is_http(), Some(!is_other), "{name}, {cut:?}");
    }
}

#[track_caller]
fn check(name: &str, turns: &[Turn], expected: &[&str]) {
    check_end(name, turns, End::Fin, expected);
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_request_is_linked_with_its_response() {
    check("content-length", &[c(GET), s(OK)], &["GET /a 0 -> 200 5"]);
    check("empty body", &[c(GET), s("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")], &["GET /a 0 -> 200 0"]);
    check("any method", &[c("X-Y.z /a HTTP/1.1\r\n\r\n"), s(OK)], &["X-Y.z /a 0 -> 200 5"]);
    check(
        "HTTP/1.0",
        &[c("GET / HTTP/1.0\r\n\r\n"), s("HTTP/1.0 200 OK\r\n\r\nbye"), ServerFin],
        &["GET / 0 -> 200 3"],
    );
    check(
        "bare LF",
        &[c("GET / HTTP/1.1\nHost: h\n\n"), s("HTTP/1.1 200 OK\nContent-Length: 1\n\nx")],
        &["GET / 0 -> 200 1"],
    );
    check(
        "no reason phrase",
        &[c(GET), s("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")],
        &["GET /a 0 -> 200 0"],
    );
    check("empty lines before the request", &[c("\r\n\r\n"), c(GET), s(OK)], &["GET /a 0 -> 200 5"]);
}

#[test]
fn bodies_of_requests_are_counted() {
    check(
        "content-length",
        &[c("POST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), s(OK)],
        &["POST /p 3 -> 200 5"],
    );
    check(
        "chunked",
        &[
            c(
                "PUT /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n",
            ),
            s(OK),
        ],
        &["PUT /p 5 -> 200 5"],
    );
    check(
        "100-continue",
        &[
            c("POST /p HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"),
            s("HTTP/1.1 100 Continue\r\n\r\n"),
            c("abc"),
            s(OK),
        ],
        &["POST /p 3 -> 200 5"],
    );
    check(
        "the response comes before the body has ended",
        &[
            c("POST /p HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc"),
            s("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
            c("def"),
            c(GET),
            s(OK),
        ],
        &["POST /p 6 -> 413 0", "GET /a 0 -> 200 5"],
    );
}

#[test]
fn responses_without_a_body_have_none_whatever_their_fields_say() {
    check(
        "HEAD",
        &[c("HEAD /h HTTP/1.1\r\n\r\n"), s("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"), c(GET), s(OK)],
        &["HEAD /h 0 -> 200 0", "GET /a 0 -> 200 5"],
    );
    for status in ["204 No Content", "304 Not Modified"] {
        let response = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let number = &status[..3];
        check(
            status,
            &[c(GET), s(&response), c(GET), s(OK)],
            &[&format!("GET /a 0 -> {number} 0"), "GET /a 0 -> 200 5"],
        );
    }
}

#[test]
fn a_connection_carries_many_exchanges() {
    check(
        "keep-alive, all framings",
        &[
            c(GET),
            s(OK),
            c(GET),
            s("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnone\r\n0\r\n\r\n"),
            c(GET),
            s(
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
            ),
            ServerFin,
        ],
        &["GET /a 0 -> 200 5", "GET /a 0 -> 404 4", "GET /a 0 -> 200 13"],
    );
    let pipelined = "GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /4 HTTP/1.1\r\n\r\n";
    let answers = format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{OK}{OK}");
    check(
        "pipelining",
        &[c(pipelined), s(&answers)],
        &["GET /1 0 -> 200 5", "HEAD /2 0 -> 200 0", "POST /3 2 -> 200 5", "GET /4 0 -> 200 5"],
    );
}

#[test]
fn what_is_not_over_at_the_end_says_how() {
    check_end("no response", &[c(GET)], End::Fin, &["GET /a 0 -> - NoResponse"]);
    check_end("reset before the response", &[c(GET)], End::Reset(None), &["GET /a 0 -> - Reset"]);
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
    check_end("truncated", &[c(GET), s(part)], End::Fin, &["GET /a 0 -> 200 5 Truncated Truncated"]);
    check_end(
        "reset in the body",
        &[c(GET), s(part)],
        End::Reset(None),
        &["GET /a 0 -> 200 5 Reset Truncated"],
    );
    let close = "HTTP/1.1 200 OK\r\n\r\nhello";
    check_end("close-delimited", &[c(GET), s(close)], End::Fin, &["GET /a 0 -> 200 5"]);
    check_end(
        "close-delimited and reset",
        &[c(GET), s(close)],
        End::Reset(None),
        &["GET /a 0 -> 200 5 Reset Truncated"],
    );
    check_end(
        "still going on",
        &[c(GET), s(close)],
        End::Unknown,
        &["GET /a 0 -> 200 5 Truncated Truncated"],
    );
    let post = "POST /p HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
    check_end("request body cut", &[c(post)], End::Fin, &["POST /p 3 -> - NoResponse Truncated"]);
}

#[test]
fn after_an_upgrade_there_are_no_messages() {
    check(
        "101",
        &[
            c("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
            s("HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02"),
            c(GET),
        ],
        &["GET /ws 0 -> 101 0 Upgraded"],
    );
    check(
        "CONNECT",
        &[c("CONNECT h:443 HTTP/1.1\r\n\r\n"), s("HTTP/1.1 200 OK\r\n\r\n"), c("\x16\x03\x01")],
        &["CONNECT h:443 0 -> 200 0 Upgraded"],
    );
    check(
        "CONNECT refused",
        &[
            c("CONNECT h:443 HTTP/1.1\r\n\r\n"),
            s("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
            c(GET),
            s(OK),
        ],
        &["CONNECT h:443 0 -> 403 0", "GET /a 0 -> 200 5"],
    );
}

#[test]
fn a_response_that_nobody_asked_for_stands_alone() {
    check(
        "408 to an idle connection",
        &[s("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")],
        &["- -> 408 0"],
    );
}

#[test]
fn other_protocols_are_recognised_and_keep_no_memory() {
    for (name, turns) in [
        ("TLS", vec![c("\x16\x03\x01\x02\x00"), s("\x16\x03\x03")]),
        ("SSH, the server speaks first", vec![s("SSH-2.0-OpenSSH\r\n"), c("SSH-2.0-x\r\n")]),
        ("SMTP", vec![s("220 mail ESMTP\r\n"), c("EHLO x\r\n")]),
        ("Redis", vec![c("*1\r\n$4\r\nPING\r\n"), s("+PONG\r\n")]),
        ("HTTP/2", vec![c("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]),
    ] {
        check(name, &turns, &[]);
        assert_eq!(play(&turns, Cut::Whole, End::Fin).1.retained_bytes(), 0, "{name}");
    }
}

#[test]
fn an_illegal_message_ends_what_is_open_as_invalid() {
    check(
        "bad chunk size",
        &[c(GET), s("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZ\r\n")],
        &["GET /a 0 -> 200 5 Invalid Truncated"],
    );
    check(
        "garbage in place of a response",
        &[c(GET), s("garbage\r\n\r\n")],
        &["GET /a 0 -> - Invalid Truncated"],
    );
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * HEAD_MAX));
    let (exchanges, http) = play(&[c(GET), s(&endless)], Cut::Shuffled(1000), End::Fin);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 0 Invalid Truncated"]);
    assert_eq!(http.retained_bytes(), 0);
}

#[test]
fn nothing_is_kept_between_messages() {
    for cut in [Cut::Whole, Cut::Bytes, Cut::Shuffled(3)] {
        assert_eq!(play(&[c(GET), s(OK)], cut, End::Unknown).1.retained_bytes(), 0);
    }
}

/// Plays `turns` whole, but the bytes `hole` of the server's stream are never seen.
fn play_with_hole(turns: &[Turn], hole: std::ops::Range<usize>, role: Role) -> Vec<String> {
    let mut http = Fed::new(Some(role));
    let mut exchanges = Vec::new();
    let mut next = [0, 0];
    let directions =
        if role == Role::Client { [Direction::Out, Direction::In] } else { [Direction::In, Direction::Out] };
    directions.into_iter().for_each(|direction| http.start(direction, 0));
    for turn in turns {
        let (side, bytes) = match turn {
            C(bytes) => (0, bytes),
            S(bytes) => (1, bytes),
            ServerFin => continue,
        };
        let (start, end) = (next[side], next[side] + bytes.len());
        for (from, to) in [(start, hole.start.clamp(start, end)), (hole.end.clamp(start, end), end)] {
            let (from, to) =
                if side == 0 { if from == start { (start, end) } else { (end, end) } } else { (from, to) };
            if from < to {
                let part = &bytes[from - start..to - start];
                http.payload(directions[side], u32::try_from(from).unwrap(), part, Time(0), &mut exchanges);
            }
        }
        next[side] = end;
    }
    http.finish(Time(0), End::Fin, &mut exchanges);
    lines(&exchanges)
}

#[test]
fn bytes_that_were_not_seen_are_a_gap_and_nothing_is_guessed() {
    let turns = [c(GET), s(OK), c(GET), s(OK), c("GET /last HTTP/1.1\r\n\r\n"), s(OK)];
    let body = OK.len() - 3..OK.len() - 1;
    assert_eq!(
        play_with_hole(&turns, body, Role::Client),
        ["GET /a 0 -> 200 5 Gap", "GET /a 0 -> 200 5", "GET /last 0 -> 200 5",]
    );
    // The second response's head is lost: its hole is only known to be one when the connection ends, so the
    // requests are seen by then, and no response may be paired with them by guess.
    let head = OK.len()..OK.len() + 4;
    let after = play_with_hole(&turns, head, Role::Server);
    assert_eq!(after[0], "GET /a 0 -> 200 5");
    assert!(after[1..].iter().all(|line| line.ends_with("Gap")), "{after:?}");
}

#[test]
fn a_connection_seen_from_the_middle_is_read_from_its_next_request() {
    let mut http = Fed::new(None);
    let mut exchanges = Vec::new();
    http.payload(Direction::Out, 100, b"rest of a body", Time(0), &mut exchanges);
    http.payload(Direction::In, 500, GET.as_bytes(), Time(0), &mut exchanges);
    http.payload(Direction::Out, 114, OK.as_bytes(), Time(0), &mut exchanges);
    assert_eq!(lines(&exchanges), ["GET /a 0 -> 200 5"]);
    assert_eq!(http.requests(), Some(Direction::In));
}
