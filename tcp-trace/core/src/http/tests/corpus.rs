//! The conformance corpus: conversations in `corpus/*.txt` and their exchanges, cut in three ways.
//!
//! A case begins with `== name`. Then, each on a line:
//! - `> bytes`, `< bytes`: what the client, the server sends; adjacent lines of one side go together. Escapes are those of
//!   Rust's byte strings, and `\{N*x}` is `x` N times.
//! - `fin client`, `fin server`: a FIN. `end reset client`, `end reset server`, `end open`, `end ETIMEDOUT`: how the
//!   connection ends; with FINs when nothing is said.
//! - `segment`: what follows is another segment than what is before it.
//! - `middle`: the beginning of the connection was not seen. Such a case is only played whole.
//! - `= exchange`: an exchange that comes out, in order; see [`line`].
//! - `+ name: value`, `- name: value`: a field of the request, the response of the exchange before.

use std::fmt::Write as _;

use tcp_trace_model::{
    event::{Direction, Role},
    exchange::{Exchange, Version},
    time::Time,
};

use super::{
    super::{
        End, Exchanges,
        testing::{end, missing_field, side, unusual, websocket_and_reason},
    },
    fed::Fed,
};
use crate::stream::testing::{Cut, pieces, unescaped};

const CASES_MIN: usize = 245;
const FILES: [(&str, &str); 7] = [
    ("1-framing", include_str!("../corpus/1-framing.txt")),
    ("2-chunked", include_str!("../corpus/2-chunked.txt")),
    ("3-heads", include_str!("../corpus/3-heads.txt")),
    ("4-lengths", include_str!("../corpus/4-lengths.txt")),
    ("5-order", include_str!("../corpus/5-order.txt")),
    ("6-websocket", include_str!("../corpus/6-websocket.txt")),
    ("7-endings", include_str!("../corpus/7-endings.txt")),
];

#[derive(Clone, Debug)]
pub(super) enum Step {
    Bytes(Direction, Vec<u8>),
    Fin(Direction),
}

#[derive(Debug)]
pub(super) struct Case {
    name: String,
    pub(super) steps: Vec<Step>,
    end: End,
    is_middle: bool,
    expected: Vec<String>,
}

impl Case {
    pub(super) fn of(steps: Vec<Step>) -> Self {
        Self { name: String::new(), steps, end: End::Fin, is_middle: false, expected: Vec::new() }
    }
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut previous = "";
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "==" {
            let (steps, end) = (Vec::new(), End::Fin);
            cases.push(Case { name: rest.to_owned(), steps, end, is_middle: false, expected: vec![] });
            previous = "";
            continue;
        }
        let case = cases.last_mut().expect("a case has a name");
        match word {
            ">" | "<" => {
                let bytes = unescaped(rest);
                match case.steps.last_mut() {
                    Some(Step::Bytes(_, before)) if previous == word => before.extend(bytes),
                    _ => {
                        let direction = if word == ">" { Direction::Out } else { Direction::In };
                        case.steps.push(Step::Bytes(direction, bytes));
                    }
                }
            }
            "fin" => case.steps.push(Step::Fin(side(rest).expect("client or server"))),
            "segment" => {}
            "middle" => case.is_middle = true,
            "end" => case.end = end(rest),
            "=" | "+" | "-" => case.expected.push(line.to_owned()),
            _ => panic!("{line}"),
        }
        previous = word;
    }
    cases
}

pub(super) fn play(case: &Case, cut: Cut) -> Exchanges {
    let mut http = Fed::new(Some(Role::Client));
    let mut exchanges = Vec::new();
    // Near the end of the sequence numbers, so that they wrap.
    let mut next = [u32::MAX - 30, 77];
    if !case.is_middle {
        http.start(Direction::Out, next[0]);
        http.start(Direction::In, next[1]);
    }
    for step in &case.steps {
        match step {
            Step::Fin(direction) => {
                http.finished(*direction, next[direction.index()], Time(0), &mut exchanges);
            }
            Step::Bytes(direction, bytes) => {
                let start = next[direction.index()];
                for (at, length) in pieces(bytes.len(), cut) {
                    let sequence = start.wrapping_add(u32::try_from(at).unwrap());
                    http.payload(*direction, sequence, &bytes[at..at + length], Time(0), &mut exchanges);
                }
                next[direction.index()] = start.wrapping_add(u32::try_from(bytes.len()).unwrap());
            }
        }
    }
    http.finish(Time(0), case.end, &mut exchanges);
    exchanges
}

/// An exchange in one line: method, target, bytes of the body, status, bytes of the body; then what is unusual.
pub(super) fn line(exchange: &Exchange) -> String {
    let mut line = exchange.request.as_ref().map_or("-".to_owned(), |request| {
        let (method, target) = (request.method.0.escape_ascii(), request.target.0.escape_ascii());
        let long = |text: String| if text.len() > 60 { format!("{}...", &text[..60]) } else { text };
        format!("{method} {} {}", long(target.to_string()), request.body.size)
    });
    match &exchange.response {
        None => line += " -> -",
        Some(response) => {
            let reason = response.reason.0.escape_ascii();
            write!(line, " -> {} {} ({reason})", response.status_code, response.body.size).unwrap();
        }
    }
    let versions = (
        exchange.request.as_ref().map_or("1".to_owned(), |request| version(request.version)),
        exchange.response.as_ref().map_or("1".to_owned(), |response| version(response.version)),
    );
    let mut parts = Vec::new();
    if (versions.0.as_str(), versions.1.as_str()) != ("1", "1") {
        parts.push(format!("versions {} {}", versions.0, versions.1));
    }
    parts.extend(unusual(exchange));
    parts.extend(exchange.missing.map(|missing| format!("missing {missing}")));
    parts.extend(websocket_and_reason(exchange));
    parts.into_iter().fold(line, |line, part| format!("{line} | {part}"))
}

/// A minor version, or that it is not known.
fn version(version: Option<Version>) -> String {
    version.map_or("unknown".to_owned(), |version| version.minor.to_string())
}

fn mismatch(case: &Case, exchanges: &[Box<Exchange>]) -> Option<String> {
    let lines: Vec<_> = exchanges.iter().map(|exchange| format!("= {}", line(exchange))).collect();
    let expected: Vec<_> = case.expected.iter().filter(|line| line.starts_with('=')).collect();
    if lines.iter().ne(expected.iter().copied()) {
        return Some(format!("is\n{}\nnot\n{}", lines.join("\n"), case.expected.join("\n")));
    }
    let missing = missing_field(&case.expected, exchanges, |bytes| bytes.escape_ascii().to_string());
    missing.map(|line| format!("has no field {line}"))
}

#[test]
fn every_conversation_of_the_corpus_gives_its_exchanges_however_it_is_cut() {
    let (mut count, mut failures) = (0, Vec::new());
    for (file, text) in FILES {
        for case in parse(text) {
            count += 1;
            let cuts = [Cut::Whole, Cut::Bytes, Cut::Shuffled(1), Cut::Shuffled(20), Cut::Shuffled(300)];
            for cut in cuts.into_iter().take(if case.is_middle { 1 } else { 5 }) {
                let exchanges = play(&case, cut);
                if let Some(mismatch) = mismatch(&case, &exchanges) {
                    failures.push(format!("{}: {}, {cut:?} {mismatch}", file, case.name));
                    break;
                }
                assert!(exchanges.iter().zip(0..).all(|(exchange, index)| exchange.index == index));
            }
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n\n"));
    assert!(count >= CASES_MIN, "{count} cases");
}
