//! What is shown of a recording, and what is said of its faults.

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tcp_trace_core::{
    pipeline::testing::{LIVES, Life, play},
    selection::Selection,
};
use tcp_trace_model::record::Filter;

use super::*;
use crate::sink::{Ladder, Table, Waterfall};

const RECORDING: &str = include_str!("../../model/src/record/reader_sample.jsonl");

/// Prints what is selected of a recording.
fn replay(
    input: impl Read,
    filter: Filter,
    output: Output<'_>,
    report: &mut dyn FnMut(String),
) -> Result<(), Failure> {
    let source = Source::new("it".to_owned(), input, Selection::new(filter));
    Replay::new(source, output, report).run()
}

fn no_report(line: String) {
    panic!("{line}")
}

/// What is printed, and what is said on stderr.
fn show(bytes: &[u8], format: Format, filter: Filter) -> (String, Vec<String>) {
    let (mut printed, mut told) = (Vec::new(), Vec::new());
    let output = match format {
        Format::Table => Output::records(Box::new(Table::new(&mut printed, TimeZone::UTC))),
        Format::Ladder => Output::records(Box::new(Ladder::new(&mut printed, TimeZone::UTC))),
        Format::Jsonl => Output::Lines(JsonLines::new(Box::new(&mut printed))),
    };
    let mut report = |line: String| told.push(line.strip_prefix("it: ").unwrap().to_owned());
    replay(bytes, filter, output, &mut report).unwrap();
    (String::from_utf8(printed).unwrap(), told)
}

/// What is printed with `--group page`.
fn pages(bytes: &[u8]) -> String {
    let mut printed = Vec::new();
    let output = Output::records(Box::new(Waterfall::new(&mut printed, TimeZone::UTC, 80)));
    replay(bytes, Filter::default(), output, &mut |_| {}).unwrap();
    String::from_utf8(printed).unwrap()
}

fn all(text: &str, format: Format) -> (String, Vec<String>) {
    show(text.as_bytes(), format, Filter::default())
}

fn comm(name: &str) -> Filter {
    Filter { comm: vec![name.to_owned()], ..Filter::default() }
}

#[test]
fn json_lines_come_out_as_they_are() {
    assert_eq!(all(RECORDING, Format::Jsonl), (RECORDING.to_owned(), vec![]));
}

#[test]
fn the_table_is_that_of_live() {
    let (table, told) = all(RECORDING, Format::Table);
    insta::assert_snapshot!(table, @"
    2026-09-21 UTC  PROCESS                LOCAL                   PEER                  EVENT
    14:13:20.000010 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        CLOSE → SYN_SENT
    14:13:20.000014 -                      127.0.0.1:8080        ← 127.0.0.1:41352       LISTEN → SYN_RECV
    14:13:20.000022 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        SYN_SENT → ESTABLISHED  after 12 us
    14:13:20.000900 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        GET /größe?x=1 → 503 Service Unavailable  12 B in 800 us  host localhost:8080
    14:13:20.000960 *** LOST 12 events on cpu 1: the ring buffer was full (a larger --ring-size or a filter helps)
    14:13:20.001000 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        ESTABLISHED → CLOSE  after 978 us  ECONNRESET
    2 sockets, 1 HTTP exchange, 40 events, 12 LOST
    ");
    assert!(told.is_empty());
}

#[test]
fn the_ladder_is_that_of_live() {
    let (ladder, _) = all(RECORDING, Format::Ladder);
    insta::assert_snapshot!(ladder, @"
    URL      http://localhost:8080/größe?x=1
    address  127.0.0.1:8080
    time     connect 12 us + idle 78 us + wait 750 us + receive 50 us = 890 us
           ms  process            client                                  server
    2026-09-21 14:13:20.000 UTC   127.0.0.1:41352                 127.0.0.1:8080
        0.000  curl[13838]        │ SYN_SENT                                   │
        0.002  curl[13838]        ├─ SYN x=1598938749 ────────────────────────▶│
        0.004  nginx[812]         │                                   SYN_RECV │
        0.006  nginx[812]         │? ◀────────── SYN+ACK y=2044270846 ack=x+1 ─┤
        0.012  curl[13838]        │ ESTABLISHED after 12 us                    │
        0.090  curl[13838]        ├─ GET /größe?x=1 ──────────────────────────▶│
        0.840  nginx[812]         │◀─────────── 503 Service Unavailable, 12 B ─┤
        0.890  curl[13838]        │ send 0 us, wait 750 us, receive 50 us      │
        0.990  curl[13838]        │ CLOSE after 978 us, ECONNRESET             │
    ?: arrival not observed: lost on the way, or arrived unseen
    reset by the server (ECONNRESET) after 990 us;
        79 B to the server, 160 B to the client

    *** LOST 12 events on cpu 1: the ring buffer was full (a larger --ring-size or a
        filter helps)
    *** the output above may have gaps
    more: tcp-trace explain LOST, 503, ECONNRESET, life-of-a-URL,
        three-way-handshake
    2 sockets, 1 HTTP exchange, 40 events, 12 LOST
    ");
}

#[test]
fn the_requests_of_each_process_are_grouped() {
    insta::assert_snapshot!(pages(RECORDING.as_bytes()), @"
    ░ lookup  ▒ connect  · idle  ▸ send  ─ wait  █ receive  × broke off
    start: ms until the request; took: ms from there to its end; + new connection

    2026-09-21 14:13:20.000 UTC Requests without a page
    curl[13838]: 1 request on 1 connection, 12 B in 890 us, 1 failed
    start  request                       size connection                        took
     0.09  GET lo…8080/größe?x=1 503     12 B +c4101 #0  ▒·──────────────────█  0.80
    1 connection opened in 12 us
    failed: 503 Service Unavailable

    *** LOST 12 events on cpu 1: the ring buffer was full (a larger --ring-size or a
        filter helps)
    *** the output above may have gaps
    2 sockets, 1 HTTP exchange, 40 events, 12 LOST
    ");
}

#[test]
fn a_filter_chooses_connections_and_the_totals_are_theirs() {
    let (table, _) = show(RECORDING.as_bytes(), Format::Table, comm("nginx"));
    insta::assert_snapshot!(table, @"
    2026-09-21 UTC  PROCESS                LOCAL                   PEER                  EVENT
    14:13:20.000960 *** LOST 12 events on cpu 1: the ring buffer was full (a larger --ring-size or a filter helps)
    14:13:20.000014 nginx[812]             127.0.0.1:8080        ← 127.0.0.1:41352       LISTEN → SYN_RECV
    1 socket, 0 HTTP exchanges, 40 events, 12 LOST
    ");
    let (table, told) = show(RECORDING.as_bytes(), Format::Table, comm("curl"));
    insta::assert_snapshot!(table, @"
    2026-09-21 UTC  PROCESS                LOCAL                   PEER                  EVENT
    14:13:20.000010 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        CLOSE → SYN_SENT
    14:13:20.000022 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        SYN_SENT → ESTABLISHED  after 12 us
    14:13:20.000900 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        GET /größe?x=1 → 503 Service Unavailable  12 B in 800 us  host localhost:8080
    14:13:20.000960 *** LOST 12 events on cpu 1: the ring buffer was full (a larger --ring-size or a filter helps)
    14:13:20.001000 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        ESTABLISHED → CLOSE  after 978 us  ECONNRESET
    1 socket, 1 HTTP exchange, 40 events, 12 LOST
    ");
    assert!(told.is_empty());
    let (lines, _) = show(RECORDING.as_bytes(), Format::Jsonl, comm("curl"));
    let expected: Vec<_> = RECORDING.lines().filter(|line| !line.contains("c4102")).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected, "the lines themselves are not changed");
}

#[test]
fn a_recording_that_is_cut_is_shown_up_to_there_and_says_so() {
    let (printed, told) = all(&RECORDING[..RECORDING.len() - 20], Format::Jsonl);
    let whole = RECORDING.lines().count();
    assert_eq!(printed.lines().collect::<Vec<_>>(), RECORDING.lines().take(whole - 1).collect::<Vec<_>>());
    let expected = format!("cut off in line {whole}: everything before it is shown, the totals are missing");
    assert_eq!(told, [expected]);
    let (_, told) = all(&printed, Format::Table);
    let last = whole - 1;
    let expected =
        format!("no `end` after line {last}: cut off there or still being recorded; the totals are missing");
    assert_eq!(told, [expected]);
}

#[test]
fn broken_lines_are_reported_and_counted() {
    let (first, rest) = RECORDING.split_once('\n').unwrap();
    let (printed, told) = all(&format!("{first}\nhello\n{rest}"), Format::Jsonl);
    assert_eq!(printed, RECORDING);
    assert_eq!(told, ["line 2: not JSON: expected value at column 1; skipped", "1 line was skipped"]);
    let (_, told) = all(&format!("{first}\n{}{rest}", "7\n".repeat(100)), Format::Table);
    assert_eq!(told.len(), 6);
    assert_eq!(told[4], "line 6: not a JSON object; skipped");
    assert_eq!(told[5], "100 lines were skipped");
}

/// Takes this many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_fails_ends_the_replay() {
    let output = Output::Lines(JsonLines::new(Box::new(Full(10))));
    let result = replay(RECORDING.as_bytes(), Filter::default(), output, &mut no_report);
    assert!(matches!(result, Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe));
}

/// Gives some bytes and then fails.
struct Torn<'a>(&'a [u8]);

impl Read for Torn<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::HostUnreachable.into()) } else { self.0.read(into) }
    }
}

#[test]
fn what_could_be_read_is_shown_when_reading_fails() {
    let mut printed = Vec::new();
    let output = Output::Lines(JsonLines::new(Box::new(&mut printed)));
    let result = replay(Torn(RECORDING.as_bytes()), Filter::default(), output, &mut no_report);
    let Err(Failure::Read(error)) = result else { panic!("{result:?}") };
    assert_eq!(error.to_string(), "cannot read it: host unreachable");
    assert_eq!(printed, RECORDING.as_bytes());
}

/// Counts what was visible each time more was read.
struct Slow<'a> {
    lines: std::str::SplitInclusive<'a, char>,
    visible: &'a std::cell::RefCell<Vec<u8>>,
    counts: Vec<usize>,
}

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.counts.push(self.visible.borrow().iter().filter(|byte| **byte == b'\n').count());
        self.lines.next().map_or(Ok(0), |line| line.as_bytes().read(into))
    }
}

struct Shared<'a>(&'a std::cell::RefCell<Vec<u8>>);

impl Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_came_through_a_pipe_is_visible_before_more_comes() {
    let visible = std::cell::RefCell::default();
    let mut slow = Slow { lines: RECORDING.split_inclusive('\n'), visible: &visible, counts: Vec::new() };
    let output = Output::Lines(JsonLines::new(Box::new(Shared(&visible))));
    replay(&mut slow, Filter::default(), output, &mut no_report).unwrap();
    assert_eq!(slow.counts, (0..=RECORDING.lines().count()).collect::<Vec<_>>());
}

/// What `live` prints of these records.
fn live(records: &[Record], format: Format) -> String {
    let mut printed = Vec::new();
    let mut sink: Box<dyn Sink + '_> = match format {
        Format::Table => Box::new(Table::new(&mut printed, TimeZone::UTC)),
        Format::Ladder => Box::new(Ladder::new(&mut printed, TimeZone::UTC)),
        Format::Jsonl => Box::new(JsonLines::new(&mut printed)),
    };
    records.iter().for_each(|record| sink.record(record).unwrap());
    sink.finish().unwrap();
    drop(sink);
    String::from_utf8(printed).unwrap()
}

proptest! {
    #[test]
    fn what_is_recorded_and_read_again_prints_as_it_did_live(
        lives in prop::collection::vec((0..LIVES).prop_map(Life::of), 1..4),
        picks in prop::collection::vec(0..3_usize, 1..30),
        lost in prop::collection::vec(prop::bool::weighted(0.05), 100),
    ) {
        let records = play(Filter::default(), &lives, &picks, |number| lost[number % lost.len()]);
        let head = RECORDING.lines().next().unwrap();
        let recording = format!("{head}\n{}", live(&records, Format::Jsonl));
        for format in [Format::Table, Format::Ladder] {
            prop_assert_eq!(live(&records, format), all(&recording, format).0);
        }
        prop_assert_eq!(&all(&recording, Format::Jsonl).0, &recording);
    }

    #[test]
    fn nothing_in_a_file_makes_a_format_panic(
        changes in prop::collection::vec(
            (RECORDING.find('\n').unwrap() + 1..RECORDING.len(), prop::sample::select(b"0123456789c\"{}-.,".to_vec())), 0..40
        )
    ) {
        let mut bytes = RECORDING.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        for format in [Format::Table, Format::Ladder, Format::Jsonl] {
            show(&bytes, format, Filter::default());
            show(&bytes, format, comm("curl"));
        }
        pages(&bytes);
    }
}

/// Recordings that an earlier version made: each line is what is written of what was read, and what is printed stays.
#[test]
fn recordings_made_before_are_read_as_they_were() {
    for (name, recording) in [
        ("http", include_str!("../../recordings/http.jsonl")),
        ("lookups", include_str!("../../recordings/lookups.jsonl")),
    ] {
        for line in recording.lines() {
            let record: Record = serde_json::from_str(line).unwrap();
            assert_eq!(tcp_trace_model::json::to_string(&record).unwrap(), line);
        }
        for (kind, format) in [("table", Format::Table), ("ladder", Format::Ladder)] {
            let (printed, report) = all(recording, format);
            insta::assert_snapshot!(format!("{name}-{kind}"), printed);
            assert!(report.is_empty(), "{report:?}");
        }
    }
}
