//! The pieces: what is done once per event, for any number of events.

use std::{hint::black_box, io, net::SocketAddr};

use tcp_trace::{
    kernel::decode,
    sink::{JsonLines, Sink as _},
};
use tcp_trace_core::{
    http::HttpConnection,
    pipeline::{Output, Pipeline, Settings},
    stream::{Chunk, Half},
};
use tcp_trace_model::{
    event::{Direction, Elision, Endpoints, Event, EventKind, Flags, Owner, Role, Segment},
    record::{Record, reader},
    time::Time,
};

use crate::{life, raw};

const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: application/octet-stream\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\nhello, world\n";
/// What a browser sends, and what it is answered: 1.2 KB and 0.6 KB of heads.
const BROWSER_REQUEST: &[u8] = include_bytes!("browser_request.txt");
const BROWSER_RESPONSE: &[u8] = include_bytes!("browser_response.txt");
/// What an Ethernet segment carries.
const SEGMENT: usize = 1448;
/// When the first event is, in nanoseconds since the epoch.
const BEGIN: u64 = 1_795_248_000_000_000_000;
/// Connections that the exchanges are spread over.
const CONNECTIONS: u64 = 32;

/// A piece of work.
pub struct Work {
    /// What it is called in baselines.
    pub name: &'static str,
    /// What one of it is.
    pub unit: &'static str,
    /// Does it so many times.
    pub run: fn(u64),
}

/// All pieces.
pub fn works() -> &'static [Work] {
    const WORKS: &[Work] = &[
        Work { name: "decode", unit: "segment", run: decode_segments },
        Work { name: "state-machine", unit: "life of 5 transitions", run: live },
        Work { name: "stream", unit: "segment", run: read_stream },
        Work { name: "http1", unit: "exchange", run: parse_http },
        Work { name: "json", unit: "http record", run: write_json },
        Work { name: "exchange", unit: "exchange, from ring buffer to JSON", run: record_exchanges },
        Work {
            name: "browser",
            unit: "exchange of a browser, from ring buffer to JSON",
            run: record_browser,
        },
        Work { name: "transition", unit: "transition, from event to JSON", run: record_transitions },
        Work { name: "life", unit: "life of 5 transitions, from event to JSON", run: record_lives },
        Work { name: "show", unit: "http line read", run: read_lines },
    ];
    WORKS
}

fn decode_segments(count: u64) {
    let bytes = raw::segment(1, BEGIN, true, 1, RESPONSE);
    for _ in 0..count {
        let _ = black_box(decode(black_box(&bytes), 0));
    }
}

fn live(count: u64) {
    let mut pipeline = Pipeline::new(Settings::default());
    for number in 0..count {
        let begin = BEGIN + number * 100_000;
        for event in life::transitions(number + 1, begin) {
            pipeline.event(&event);
        }
        pipeline.tick(Time(begin));
        while let Some(output) = pipeline.poll() {
            black_box(&output);
        }
    }
}

/// Hands what the pipeline writes to `take`, and lets it use the memory again.
fn take_records(pipeline: &mut Pipeline, mut take: impl FnMut(&Record)) {
    while let Some(output) = pipeline.poll() {
        if let Output::Record(record) = output {
            take(&record);
            Pipeline::take_back(record);
        }
    }
}

fn read_stream(count: u64) {
    let mut half = Half::default();
    half.start(0);
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut segment = Segment {
        direction: Direction::In,
        flags: Flags::ACK,
        sequence: 0,
        acknowledgment: 0,
        length: SEGMENT as u32,
        payload: &[b'x'; SEGMENT],
        endpoints: Endpoints { local: nowhere, peer: nowhere },
        netns: None,
        state: None,
        zero_window: false,
        elision: Elision::None,
        verdict: Default::default(),
    };
    for number in 0..count {
        let mut chunks = half.read(Time(BEGIN + number), black_box(&segment));
        while let Some(chunk) = chunks.next_chunk() {
            black_box(chunk);
        }
        segment.sequence = segment.sequence.wrapping_add(SEGMENT as u32);
    }
}

fn parse_http(count: u64) {
    let mut connection = HttpConnection::new(Some(Role::Server));
    let mut exchanges = Vec::new();
    let (mut request, mut response) = (0_u64, 0_u64);
    for number in 0..count {
        let time = BEGIN + number * 10_000;
        let bytes = Chunk::Bytes { offset: request, bytes: REQUEST, time: Time(time) };
        connection.input(Direction::In, bytes, false, &mut exchanges);
        let bytes = Chunk::Bytes { offset: response, bytes: RESPONSE, time: Time(time + 5_000) };
        connection.input(Direction::Out, bytes, false, &mut exchanges);
        request += REQUEST.len() as u64;
        response += RESPONSE.len() as u64;
        black_box(&mut exchanges).clear();
    }
}

fn write_json(count: u64) {
    let written = http_record();
    let mut sink = JsonLines::new(io::sink());
    for _ in 0..count {
        // io::sink() takes everything.
        let _ = sink.record(black_box(&written));
    }
}

/// The record of an exchange.
fn http_record() -> Record {
    let mut recorder = Recorder::new(REQUEST, RESPONSE);
    let mut written = Record::Unknown;
    for turn in 0..2 {
        recorder.exchange(1, turn * CONNECTIONS, |record| {
            if let Record::Http(_) = record {
                written = record.clone();
            }
        });
    }
    written
}

fn read_lines(count: u64) {
    let mut line = Vec::new();
    // A Vec takes everything.
    let mut sink = JsonLines::new(&mut line);
    let _ = sink.record(&http_record());
    let _ = sink.finish();
    for _ in 0..count {
        let _ = black_box(reader::parse(black_box(line.trim_ascii_end())));
    }
}

fn record_transitions(count: u64) {
    let mut sink = JsonLines::new(io::sink());
    live_through(count, 1, |record| {
        if let Record::Transition(_) = record {
            // io::sink() takes everything.
            let _ = sink.record(record);
        }
    });
}

fn record_lives(count: u64) {
    let mut sink = JsonLines::new(io::sink());
    live_through(count, life::LENGTH, |record| {
        // io::sink() takes everything.
        let _ = sink.record(record);
    });
}

/// So many times so many transitions, of one life after the other.
fn live_through(count: u64, transitions: u64, mut take: impl FnMut(&Record)) {
    let mut pipeline = Pipeline::new(Settings::default());
    for number in 0..(count * transitions).div_ceil(life::LENGTH) {
        // So far from each other that summaries come out.
        let begin = BEGIN + number * 10_000_000;
        for event in life::transitions(number + 1, begin) {
            pipeline.event(&event);
            take_records(&mut pipeline, &mut take);
        }
        pipeline.tick(Time(begin));
        take_records(&mut pipeline, &mut take);
    }
}

fn record_exchanges(count: u64) {
    record_all(count, REQUEST, RESPONSE);
}

fn record_browser(count: u64) {
    record_all(count, BROWSER_REQUEST, BROWSER_RESPONSE);
}

fn record_all(count: u64, request: &'static [u8], response: &'static [u8]) {
    let mut recorder = Recorder::new(request, response);
    let mut sink = JsonLines::new(io::sink());
    for number in 0..count {
        recorder.exchange(1 + number % CONNECTIONS, number, |record| {
            // io::sink() takes everything.
            let _ = sink.record(record);
        });
    }
}

/// What lies between the ring buffer and the sink.
struct Recorder {
    pipeline: Pipeline,
    /// Records of the ring buffer, patched from exchange to exchange.
    raw: [Vec<u8>; 2],
    /// Their payload.
    payloads: [&'static [u8]; 2],
}

/// Where time, cookie, sequence and acknowledgment number are in a record.
const TIME: std::ops::Range<usize> = 0..8;
const COOKIE: std::ops::Range<usize> = 8..16;
const SEQUENCE: std::ops::Range<usize> = 64..68;
const ACKNOWLEDGMENT: std::ops::Range<usize> = 68..72;

impl Recorder {
    fn new(request: &'static [u8], response: &'static [u8]) -> Self {
        let mut pipeline = Pipeline::new(Settings::default());
        for cookie in 1..=CONNECTIONS {
            // From the middle of their lives on; whose they are is known, so nothing waits for it.
            let change = life::transitions(cookie, BEGIN).nth(1);
            let owner = Event { time: Time(BEGIN), cookie, kind: EventKind::Owner(Owner::new(812, "nginx")) };
            for event in change.iter().chain([&owner]) {
                pipeline.event(event);
            }
        }
        pipeline.tick(Time(BEGIN + 1_000_000_000));
        take_records(&mut pipeline, |_| {});
        let raw = [raw::segment(0, 0, false, 0, request), raw::segment(0, 0, true, 0, response)];
        Self { pipeline, raw, payloads: [request, response] }
    }

    /// Hands the records of one exchange of a connection, the server's end, to `take`: the line comes when the next request acknowledges
    /// the response.
    fn exchange(&mut self, cookie: u64, number: u64, mut take: impl FnMut(&Record)) {
        let time = BEGIN + number * 10_000;
        let turn = (number / CONNECTIONS) as u32;
        let [request, response] = self.payloads.map(|payload| payload.len() as u32);
        let numbers = [
            (0, turn.wrapping_mul(request), turn.wrapping_mul(response)),
            (5_000, turn.wrapping_mul(response), (turn + 1).wrapping_mul(request)),
        ];
        for (raw, (delay, sequence, acknowledgment)) in self.raw.iter_mut().zip(numbers) {
            raw[TIME].copy_from_slice(&(time + delay).to_ne_bytes());
            raw[COOKIE].copy_from_slice(&cookie.to_ne_bytes());
            raw[SEQUENCE].copy_from_slice(&sequence.to_ne_bytes());
            raw[ACKNOWLEDGMENT].copy_from_slice(&acknowledgment.to_ne_bytes());
            if let Ok(event) = decode(raw, 0) {
                self.pipeline.event(&event);
                take_records(&mut self.pipeline, &mut take);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_become_http_records() {
        for (request, response) in [(REQUEST, RESPONSE), (BROWSER_REQUEST, BROWSER_RESPONSE)] {
            let mut recorder = Recorder::new(request, response);
            let mut records = Vec::new();
            for number in 0..100 {
                recorder.exchange(1 + number % CONNECTIONS, number, |record| records.push(record.clone()));
            }
            recorder.pipeline.finish(Time(BEGIN + 1_000_000_000));
            take_records(&mut recorder.pipeline, |record| records.push(record.clone()));
            let complete =
                |record: &&Record| matches!(record, Record::Http(http) if http.exchange.response.is_some());
            assert_eq!(records.iter().filter(complete).count(), 100);
        }
    }

    #[test]
    fn what_is_written_is_an_exchange() {
        assert!(matches!(http_record(), Record::Http(http) if http.exchange.response.is_some()));
    }

    #[test]
    fn lives_become_connection_records() {
        let mut pipeline = Pipeline::new(Settings::default());
        let mut records = Vec::new();
        for event in life::transitions(1, BEGIN) {
            pipeline.event(&event);
        }
        pipeline.finish(Time(BEGIN + 1_000_000_000));
        take_records(&mut pipeline, |record| records.push(record.clone()));
        let count = |wanted: fn(&&Record) -> bool| records.iter().filter(wanted).count();
        assert_eq!(count(|record| matches!(record, Record::Transition(_))), 5);
        assert_eq!(count(|record| matches!(record, Record::Connection(_))), 1);
    }
}
