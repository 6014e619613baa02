//! The corpus: conversations in `http2/corpus/*.txt` and their exchanges, cut in three ways.
//!
//! A case begins with `== name`. Then, each on a line:
//! - `> frame`, `< frame`: what the client, the server sends, see `script`; adjacent lines of one side go together.
//! - `open`: both send what they begin with, the client first.
//! - `fin client`, `fin server`; `end reset client`, `end reset server`, `end open`, `end ETIMEDOUT`: how the connection ends; with FINs
//!   when nothing is said.
//! - `segment`: what follows is another segment than what is before it.
//! - `middle`: what is before it was not seen; `middle unknown`: nor which end is the client's. Such a case is only played whole.
//! - `lost`: what this side has sent before it, behind its last `segment`, was never seen.
//! - `= exchange`: an exchange that comes out, in order; see [`line`].
//! - `+ name: value`, `- name: value`: a field of the request, the response of the exchange before.
//! - `~ totals`: what is said of the connection, see [`totals`].

use std::fmt::Write as _;

use tcp_trace_model::{
    event::{Direction, Role},
    exchange::{Exchange, Version},
    http2::{Grpc, GrpcMessages, Http2Totals},
};

use super::{Fed, script};
use crate::{
    hpack::encoder::Encoder,
    http::{
        End, Exchanges,
        testing::{end, missing_field, side, unusual, websocket_and_reason},
    },
    stream::testing::Cut,
};

const CASES_MIN: usize = 120;
const FILES: [(&str, &str); 6] = [
    ("1-streams", include_str!("../../http2/corpus/1-streams.txt")),
    ("2-fields", include_str!("../../http2/corpus/2-fields.txt")),
    ("3-endings", include_str!("../../http2/corpus/3-endings.txt")),
    ("4-grpc", include_str!("../../http2/corpus/4-grpc.txt")),
    ("5-late", include_str!("../../http2/corpus/5-late.txt")),
    ("6-beginnings", include_str!("../../http2/corpus/6-beginnings.txt")),
];

#[derive(Debug)]
enum Step {
    Bytes(Direction, Vec<u8>),
    Lost(Direction, usize),
    Fin(Direction),
}

#[derive(Debug)]
struct Case {
    name: String,
    steps: Vec<Step>,
    end: End,
    is_middle: bool,
    role: Option<Role>,
    expected: Vec<String>,
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut previous = "";
    let mut encoders = [Encoder::default(), Encoder::default()];
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "==" {
            cases.push(Case {
                name: rest.to_owned(),
                steps: Vec::new(),
                end: End::Fin,
                is_middle: false,
                role: Some(Role::Client),
                expected: Vec::new(),
            });
            encoders = [Encoder::default(), Encoder::default()];
            previous = "";
            continue;
        }
        let case = cases.last_mut().expect("a case has a name");
        let mut add = |word: &str, rest: &str, previous: &str| {
            let direction = if word == ">" { Direction::Out } else { Direction::In };
            let bytes = script::bytes(&mut encoders[direction.index()], rest);
            match case.steps.last_mut() {
                Some(Step::Bytes(_, before)) if previous == word => before.extend(bytes),
                _ => case.steps.push(Step::Bytes(direction, bytes)),
            }
        };
        match word {
            ">" | "<" => add(word, rest, previous),
            "open" => {
                add(">", "preface", "");
                add(">", "settings enable_push=1", ">");
                add("<", "settings", "");
                add("<", "settings ack", "<");
                add(">", "settings ack", "");
            }
            "fin" => case.steps.push(Step::Fin(side(rest).expect("client or server"))),
            "segment" => {}
            "lost" => {
                if let Some(Step::Bytes(direction, bytes)) = case.steps.pop() {
                    case.steps.push(Step::Lost(direction, bytes.len()));
                }
            }
            "middle" => {
                case.steps.clear();
                case.is_middle = true;
                if rest == "unknown" {
                    case.role = None;
                }
            }
            "end" => case.end = end(rest),
            "=" | "+" | "-" | "~" => case.expected.push(line.to_owned()),
            _ => panic!("{line}"),
        }
        previous = word;
    }
    cases
}

fn play(case: &Case, cut: Cut) -> (Exchanges, String) {
    let mut fed = Fed::new(case.is_middle, case.role);
    for step in &case.steps {
        match step {
            Step::Fin(direction) => fed.fin(*direction),
            Step::Lost(direction, length) => fed.pass_unseen(*direction, *length),
            Step::Bytes(direction, bytes) => {
                fed.bytes(*direction, bytes, cut);
                if case.steps.iter().any(|step| matches!(step, Step::Lost(..))) {
                    fed.give_up();
                }
            }
        }
    }
    fed.finish(case.end);
    let mut said = fed.found.http2.as_deref().map(totals).unwrap_or_default();
    if let (Some(protocol), None) = (fed.found.protocol, &fed.found.http2) {
        said = protocol.to_owned();
    }
    if let Some(answer) = fed.found.answer {
        write!(said, ", answered in {answer}").unwrap();
    }
    let said = if said.is_empty() { "-".to_owned() } else { said };
    (std::mem::take(&mut fed.found.exchanges), said)
}

/// What is said of a connection: the most streams, resets, GOAWAY, PING sent and received, and why it was not read any more.
fn totals(totals: &Http2Totals) -> String {
    let mut text = format!("streams {}, resets {}", totals.concurrent_max, totals.resets);
    for goaway in &totals.goaway {
        let debug = goaway.debug.as_ref().map_or(String::new(), |debug| format!(" {}", debug.printable()));
        let by = format!("{:?}", goaway.by).to_lowercase();
        write!(text, ", goaway by {by}: {} {}{debug}", goaway.last_stream, goaway.error).unwrap();
    }
    for (name, pings) in [("sent", totals.pings_sent), ("received", totals.pings_received)] {
        if let Some(pings) = pings {
            write!(text, ", pings {name} {} answered {}", pings.count, pings.answered).unwrap();
        }
    }
    totals.illegal.iter().for_each(|illegal| write!(text, ", {illegal}").unwrap());
    text
}

/// An exchange in one line: stream, method, target, bytes of the body, status, bytes of the body; then what is unusual.
fn line(exchange: &Exchange) -> String {
    let mut line = exchange.stream.as_ref().map_or("-".to_owned(), |stream| stream.id.to_string());
    let long = |text: String| if text.len() > 60 { format!("{}...", &text[..60]) } else { text };
    match &exchange.request {
        None => line += " -",
        Some(request) => {
            let (method, target) =
                (request.method.printable().to_string(), request.target.printable().to_string());
            write!(line, " {} {} {}", long(method), long(target), request.body.size).unwrap();
        }
    }
    match &exchange.response {
        None => line += " -> -",
        Some(response) => write!(line, " -> {} {}", response.status_code, response.body.size).unwrap(),
    }
    let version = |version: Option<Version>| version.map_or("?".to_owned(), |version| version.to_string());
    let versions: Vec<_> = (exchange.request.iter().map(|request| version(request.version)))
        .chain(exchange.response.iter().map(|response| version(response.version)))
        .collect();
    let mut parts = Vec::new();
    if versions.iter().any(|version| version != "2") {
        parts.push(format!("versions {}", versions.join(" ")));
    }
    parts.extend(unusual(exchange));
    if let Some(stream) = &exchange.stream {
        let details = &stream.details;
        parts.extend(details.reset.map(|reset| format!("{:?} {}", reset.by, reset.error)));
        parts.extend(details.goaway.map(|error| format!("goaway {error}")));
        parts.extend(details.pushed_by.map(|by| format!("pushed by {by}")));
        for (name, fields) in
            [("request", &details.request_trailers), ("response", &details.response_trailers)]
        {
            if !fields.is_empty() {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| {
                        format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
                    })
                    .collect();
                parts.push(format!("{name} trailers {}", fields.join(", ")));
            }
        }
        for (name, count) in [("unknown", details.unknown_fields), ("omitted", details.omitted_fields)] {
            if count > 0 {
                parts.push(format!("{name} {count}"));
            }
        }
        if !details.never_indexed.is_empty() {
            let names: Vec<_> =
                details.never_indexed.iter().map(|name| name.printable().to_string()).collect();
            parts.push(format!("never indexed {}", names.join(" ")));
        }
        parts.extend(stream.grpc.as_deref().map(call));
    }
    parts.extend(websocket_and_reason(exchange));
    parts.into_iter().fold(line, |line, part| format!("{line} | {part}"))
}

fn call(grpc: &Grpc) -> String {
    let text = |text: &Option<_>| {
        text.as_ref()
            .map_or("?".to_owned(), |text: &tcp_trace_model::text::Text| text.printable().to_string())
    };
    let status = grpc.status.map_or("?".to_owned(), |status| status.to_string());
    let message =
        grpc.message.as_ref().map_or(String::new(), |message| format!(" ({})", message.printable()));
    let timeout = grpc.timeout_us.map_or(String::new(), |us| format!(", within {us} us"));
    let messages = |messages: GrpcMessages| {
        format!("{} {} B{}", messages.count, messages.bytes, if messages.cut { " cut" } else { "" })
    };
    let (up, down) = (messages(grpc.request), messages(grpc.response));
    format!("{} {} {status}{message}, up {up}, down {down}{timeout}", text(&grpc.service), text(&grpc.method))
}

fn mismatch(case: &Case, (exchanges, said): &(Exchanges, String)) -> Option<String> {
    let mut lines: Vec<_> = exchanges.iter().map(|exchange| format!("= {}", line(exchange))).collect();
    if case.expected.iter().any(|line| line.starts_with('~')) {
        lines.push(format!("~ {said}"));
    }
    let expected: Vec<_> = case.expected.iter().filter(|line| line.starts_with(['=', '~'])).collect();
    if lines.iter().ne(expected.iter().copied()) {
        return Some(format!("is\n{}\n~ {said}\nnot\n{}", lines.join("\n"), case.expected.join("\n")));
    }
    let missing =
        missing_field(&case.expected, exchanges, |bytes| String::from_utf8_lossy(bytes).into_owned());
    missing.map(|line| format!("has no field {line}"))
}

#[test]
fn every_conversation_of_the_corpus_gives_its_exchanges_however_it_is_cut() {
    let (mut count, mut failures) = (0, Vec::new());
    for (file, text) in FILES {
        for case in parse(text) {
            count += 1;
            let is_whole = case.is_middle || case.steps.iter().any(|step| matches!(step, Step::Lost(..)));
            let cuts = [Cut::Whole, Cut::Bytes, Cut::Shuffled(1), Cut::Shuffled(20), Cut::Shuffled(300)];
            for cut in cuts.into_iter().take(if is_whole { 1 } else { 5 }) {
                let played = play(&case, cut);
                if let Some(mismatch) = mismatch(&case, &played) {
                    failures.push(format!("{file}: {}, {cut:?} {mismatch}", case.name));
                    break;
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n\n"));
    assert!(count >= CASES_MIN, "{count} cases");
}
