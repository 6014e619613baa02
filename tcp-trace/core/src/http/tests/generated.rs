//! Generated conversations, and any bytes: however they are cut, the exchanges are the same.

use proptest::prelude::*;
use tcp_trace_model::{
    event::{Direction, Role},
    time::Time,
};

use super::{
    super::{End, fuzz},
    C, Cut, GET, OK, S, c,
    corpus::{self, Case, Step},
    fed::Fed,
    lines, play, s,
};
use crate::stream::testing;

#[derive(Clone, Debug)]
struct Message {
    method: &'static str,
    request_body: usize,
    is_request_chunked: bool,
    response_body: usize,
    is_response_chunked: bool,
}

fn message() -> impl Strategy<Value = Message> {
    let methods = prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE", "PATCH", "X"]);
    (methods, 0..200_usize, any::<bool>(), 0..500_usize, any::<bool>()).prop_map(
        |(method, request_body, is_request_chunked, response_body, is_response_chunked)| Message {
            method,
            request_body,
            is_request_chunked,
            response_body,
            is_response_chunked,
        },
    )
}

pub(super) fn framed(body: usize, is_chunked: bool) -> String {
    let bytes = "b".repeat(body);
    match (is_chunked, body) {
        (true, 0) => "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        (true, _) => format!("Transfer-Encoding: chunked\r\n\r\n{body:x}\r\n{bytes}\r\n0\r\n\r\n"),
        (false, _) => format!("Content-Length: {body}\r\n\r\n{bytes}"),
    }
}

proptest! {
    #[test]
    fn any_sequence_of_exchanges_is_read_however_it_is_cut(
        messages in prop::collection::vec(message(), 1..8),
        is_pipelined: bool,
        size in 1..100_usize,
    ) {
        let mut requests = Vec::new();
        let mut responses = Vec::new();
        let mut expected = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let is_head = message.method == "HEAD";
            let request = framed(message.request_body, message.is_request_chunked);
            requests.push(c(&format!("{} /{index} HTTP/1.1\r\n{request}", message.method)));
            let response = framed(message.response_body, message.is_response_chunked);
            let response = if is_head { format!("{}\r\n\r\n", response.split("\r\n").next().unwrap()) } else { response };
            responses.push(s(&format!("HTTP/1.1 200 OK\r\n{response}")));
            let body = if is_head { 0 } else { message.response_body };
            expected.push(format!("{} /{index} {} -> 200 {body}", message.method, message.request_body));
        }
        let turns: Vec<_> = if is_pipelined {
            requests.into_iter().chain(responses).collect()
        } else {
            requests.into_iter().zip(responses).flat_map(|(request, response)| [request, response]).collect()
        };
        for cut in [Cut::Whole, Cut::Bytes, Cut::Shuffled(size)] {
            prop_assert_eq!(lines(&play(&turns, cut, End::Fin).0), expected.clone());
        }
    }

    #[test]
    fn any_bytes_are_survived(
        segments in prop::collection::vec((any::<bool>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..60)), 0..40),
        has_role: bool,
    ) {
        let mut http = Fed::new(has_role.then_some(Role::Server));
        let mut exchanges = Vec::new();
        if has_role {
            http.start(Direction::In, 0);
        }
        for (is_out, sequence, bytes) in segments {
            let direction = if is_out { Direction::Out } else { Direction::In };
            http.payload(direction, sequence.into(), &bytes, Time(0), &mut exchanges);
        }
        http.finish(Time(0), End::Reset(None), &mut exchanges);
    }

    #[test]
    fn any_changed_byte_of_a_conversation_is_survived(at: prop::sample::Index, value: u8) {
        let mut bytes = format!("{GET}{GET}").into_bytes();
        let position = at.index(bytes.len());
        bytes[position] = value;
        let answers = format!("{OK}{OK}").into_bytes();
        play(&[C(bytes), S(answers.clone())], Cut::Shuffled(5), End::Fin);
        let mut bytes = answers;
        let position = at.index(bytes.len());
        bytes[position] = value;
        play(&[c(GET), c(GET), S(bytes)], Cut::Bytes, End::Fin);
    }
}

proptest! {
    #[test]
    fn what_fuzzers_run_holds_for_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::head(&bytes);
        fuzz::chunked(&bytes);
    }

    /// Bytes that look like heads and chunks reach further than random ones.
    #[test]
    fn what_fuzzers_run_holds_for_likely_bytes(words in prop::collection::vec(prop::sample::select(WORDS), 0..30)) {
        let bytes = words.concat();
        fuzz::head(bytes.as_bytes());
        fuzz::chunked(bytes.as_bytes());
    }
}

const WORDS: &[&str] = &[
    "GET ",
    "POST",
    "/a",
    " ",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/1.9",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\0",
    "\t",
    ":",
    "Host: h",
    "Content-Length: 3",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Connection: close",
    "A",
    ";",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 100 ",
    "HTTP/1.1 101 x",
    "HTTP/1.1 204",
    "Upgrade: websocket",
    "CONNECT h:1 HTTP/1.1",
    "0",
    "3",
    "abc",
    "5",
    "ffffffffffffffff",
    "é",
    "GET / HTTP/1.1\r\n",
    "HTTP/1.1 200 OK\r\n",
    "\u{81}\u{1}",
];

/// A body's framing, and the body as it is sent with its size.
fn any_framing() -> impl Strategy<Value = (String, usize)> {
    let chunk = (1..300_usize, prop::sample::select(vec!["", ";a", ";b=\"c;d\"", " "]));
    let trailers = prop::sample::select(vec!["", "T: u\r\n", "T:\r\nV: w\r\n x\r\n"]);
    let chunked = (prop::collection::vec(chunk, 0..5), trailers).prop_map(|(chunks, trailers)| {
        let body: String = chunks
            .iter()
            .map(|(size, extension)| format!("{size:x}{extension}\r\n{}\r\n", "x".repeat(*size)))
            .collect();
        let size = chunks.iter().map(|(size, _)| size).sum();
        (format!("Transfer-Encoding: chunked\r\n\r\n{body}0\r\n{trailers}\r\n"), size)
    });
    let length = (0..2000_usize)
        .prop_map(|size| (format!("Content-Length: {size}\r\n\r\n{}", "x".repeat(size)), size));
    prop_oneof![chunked, length]
}

proptest! {
    #[test]
    fn any_framings_are_read_whatever_the_order_of_their_segments(
        exchanges in prop::collection::vec((any_framing(), any_framing(), 0..3_usize), 1..6),
        is_last_until_close: bool,
        is_pipelined: bool,
        seed in 1..u64::MAX,
    ) {
        let (mut requests, mut responses, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        let last = exchanges.len() - 1;
        for (at, ((request, up), (response, down), interim)) in exchanges.into_iter().enumerate() {
            requests.push(format!("PUT /{at} HTTP/1.1\r\n{request}"));
            let (response, down) = match is_last_until_close && at == last {
                true => ("\r\nthe rest".to_owned(), 8),
                false => (response, down),
            };
            let informational = "HTTP/1.1 102 Processing\r\nA: b\r\n\r\n".repeat(interim);
            responses.push(format!("{informational}HTTP/1.1 200 OK\r\n{response}"));
            let codes = if interim == 0 { String::new() } else { format!(" | informational {:?}", vec![102; interim]) };
            expected.push(format!("PUT /{at} {up} -> 200 {down} (OK){codes}"));
        }
        let sent = |text: String| Step::Bytes(Direction::Out, text.into_bytes());
        let answered = |text: String| Step::Bytes(Direction::In, text.into_bytes());
        let mut steps: Vec<_> = if is_pipelined {
            vec![sent(requests.concat()), answered(responses.concat())]
        } else {
            requests.into_iter().zip(responses).flat_map(|(up, down)| [sent(up), answered(down)]).collect()
        };
        steps.push(Step::Fin(Direction::In));
        let case = Case::of(steps);
        for cut in [testing::Cut::Whole, testing::Cut::Bytes, testing::Cut::Shuffled(seed)] {
            let lines: Vec<_> = corpus::play(&case, cut).iter().map(|exchange| corpus::line(exchange)).collect();
            prop_assert_eq!(&lines, &expected, "{:?}", cut);
        }
    }
}
