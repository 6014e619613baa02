//! Frames as the corpus writes them, with an encoder for each end.
//!
//! - `preface`; `settings NAME=N..`, `settings ack`; `ping TEXT`, `pong TEXT`; `goaway LAST ERROR [TEXT]`; `window ID N`;
//!   `rst ID ERROR`; `priority ID`.
//! - `headers ID [end] [padded N] [priority] [split N] [open] | name: value | ..`: a head or trailers; `split` cuts the block into frames of
//!   so many bytes, `open` leaves the last of these out. A line may go on with `plain`, whose fields are not compressed. A field whose
//!   name has `!` behind it is never indexed.
//! - `push ID PROMISED | name: value | ..`: PUSH_PROMISE.
//! - `data ID [end] [padded N] [cut N] TEXT`: with escapes; `cut` cuts it into frames of so many bytes.
//! - `frame TYPE FLAGS ID TEXT`: any other; `raw TEXT`: bytes.

use tcp_trace_model::http2::ErrorCode;

use crate::{
    hpack::encoder::{Encoder, Form},
    http2::PREFACE,
    stream::testing::unescaped,
};

const SETTINGS: [(&str, u16); 7] = [
    ("header_table_size", 1),
    ("enable_push", 2),
    ("max_concurrent_streams", 3),
    ("initial_window_size", 4),
    ("max_frame_size", 5),
    ("max_header_list_size", 6),
    ("enable_connect_protocol", 8),
];

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Options of a line, taken off its beginning.
struct Options<'a> {
    rest: &'a str,
}

impl<'a> Options<'a> {
    fn word(&mut self) -> &'a str {
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        self.rest = rest;
        word
    }

    fn number(&mut self) -> u32 {
        let word = self.word();
        word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
    }

    fn flag(&mut self, name: &str) -> bool {
        let is_there =
            self.rest == name || self.rest.starts_with(name) && self.rest[name.len()..].starts_with(' ');
        if is_there {
            self.word();
        }
        is_there
    }

    fn option(&mut self, name: &str) -> Option<u32> {
        self.flag(name).then(|| self.number())
    }
}

/// The bytes of a line, as one end sends them.
pub(super) fn bytes(encoder: &mut Encoder, line: &str) -> Vec<u8> {
    let mut options = Options { rest: line };
    match options.word() {
        "preface" => PREFACE.to_vec(),
        "raw" => unescaped(options.rest),
        "settings" if options.flag("ack") => frame(4, 1, 0, &[]),
        "settings" => {
            let mut payload = Vec::new();
            for setting in options.rest.split_whitespace() {
                let (name, value) = setting.split_once('=').expect("NAME=N");
                let known = SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
                let number = known.unwrap_or_else(|| name.parse().expect("a setting"));
                payload.extend(number.to_be_bytes());
                payload.extend(value.parse::<u32>().expect("a number").to_be_bytes());
            }
            frame(4, 0, 0, &payload)
        }
        word @ ("ping" | "pong") => {
            let mut payload = unescaped(options.rest);
            payload.resize(8, 0);
            frame(6, u8::from(word == "pong"), 0, &payload)
        }
        "goaway" => {
            let (last, error) = (options.number(), options.word());
            let ErrorCode(error) = error.parse().unwrap();
            frame(
                7,
                0,
                0,
                &[&last.to_be_bytes()[..], &error.to_be_bytes(), &unescaped(options.rest)].concat(),
            )
        }
        "window" => {
            let (id, bytes) = (options.number(), options.number());
            frame(8, 0, id, &bytes.to_be_bytes())
        }
        "rst" => {
            let (id, error) = (options.number(), options.word());
            let ErrorCode(error) = error.parse().unwrap();
            frame(3, 0, id, &error.to_be_bytes())
        }
        "priority" => frame(2, 0, options.number(), &[0, 0, 0, 0, 15]),
        "frame" => {
            let (kind, flags, id) = (options.number(), options.number(), options.number());
            frame(kind.try_into().unwrap(), flags.try_into().unwrap(), id, &unescaped(options.rest))
        }
        "headers" => headers(encoder, options),
        "push" => {
            let (id, promised) = (options.number(), options.number());
            let block = block(encoder, options.rest, Form::Indexed);
            frame(5, 4, id, &[&promised.to_be_bytes()[..], &block].concat())
        }
        "data" => data(options),
        other => panic!("{other:?} is no frame"),
    }
}

fn block(encoder: &mut Encoder, fields: &str, form: Form) -> Vec<u8> {
    let mut block = Vec::new();
    for field in fields.split('|').map(str::trim).filter(|field| !field.is_empty()) {
        let at = 1 + field[1..].find(':').expect("name: value");
        let (name, value) = (&field[..at], &field[at + 1..]);
        let form = if name.ends_with('!') { Form::Never } else { form };
        encoder.field(&mut block, &unescaped(name.trim_end_matches('!')), &unescaped(value.trim()), form);
    }
    block
}

fn padded(payload: Vec<u8>, padding: Option<u32>) -> (Vec<u8>, u8) {
    match padding {
        None => (payload, 0),
        Some(padding) => {
            let length = u8::try_from(padding).unwrap();
            ([&[length][..], &payload, &vec![0; padding as usize]].concat(), 0x8)
        }
    }
}

fn headers(encoder: &mut Encoder, mut options: Options<'_>) -> Vec<u8> {
    let id = options.number();
    let mut flags = u8::from(options.flag("end"));
    let padding = options.option("padded");
    let has_priority = options.flag("priority");
    let (split, is_open) = (options.option("split"), options.flag("open"));
    let form = if options.flag("plain") { Form::Plain } else { Form::Indexed };
    let block = block(encoder, options.rest, form);
    let (first, rest) = block.split_at(split.map_or(block.len(), |split| (split as usize).min(block.len())));
    let priority = if has_priority { &[0, 0, 0, 0, 15][..] } else { &[] };
    let (first, padded) = padded([priority, first].concat(), padding);
    flags |= padded | if has_priority { 0x20 } else { 0 };
    let mut rest: Vec<_> =
        rest.chunks(split.filter(|split| *split > 0).map_or(usize::MAX, |split| split as usize)).collect();
    if is_open {
        rest.pop();
    }
    let is_whole = rest.is_empty() && !is_open;
    let mut bytes = frame(1, flags | if is_whole { 0x4 } else { 0 }, id, &first);
    for (at, fragment) in rest.iter().enumerate() {
        let is_last = at + 1 == rest.len() && !is_open;
        bytes.extend(frame(9, if is_last { 0x4 } else { 0 }, id, fragment));
    }
    bytes
}

fn data(mut options: Options<'_>) -> Vec<u8> {
    let id = options.number();
    let end = u8::from(options.flag("end"));
    let (padding, cut) = (options.option("padded"), options.option("cut"));
    let text = unescaped(options.rest);
    let pieces: Vec<&[u8]> = if text.is_empty() {
        vec![&[]]
    } else {
        text.chunks(cut.map_or(text.len(), |cut| cut as usize)).collect()
    };
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let (payload, padded) = padded(piece.to_vec(), padding);
        let end = if at + 1 == pieces.len() { end } else { 0 };
        bytes.extend(frame(0, padded | end, id, &payload));
    }
    bytes
}
