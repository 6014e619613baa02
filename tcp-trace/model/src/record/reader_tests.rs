//! What a reader makes of whole, cut, broken and foreign files.

use proptest::prelude::*;

use super::*;

/// A recording of each known type, a later type, unknown fields, and text that is not ASCII.
const RECORDING: &str = include_str!("reader_sample.jsonl");

/// What was read: each record with its line, what was broken, and how it stops.
type Read = (Vec<(Vec<u8>, Record)>, Vec<BrokenLine>, Ending);

fn read(bytes: &[u8]) -> Result<Read, ReadError> {
    let mut reader = Reader::new(bytes);
    let (mut records, mut broken) = (Vec::new(), Vec::new());
    while let Some(line) = reader.next_line()? {
        match line {
            Line::Record { raw, record } => records.push((raw.to_vec(), record)),
            Line::Broken(line) => broken.push(line),
        }
    }
    Ok((records, broken, reader.ending()))
}

/// The recording with a line of the test's in place of line `number`.
fn with_line(number: usize, line: &str) -> String {
    let mut lines: Vec<_> = RECORDING.lines().collect();
    lines[number - 1] = line;
    lines.join("\n") + "\n"
}

#[test]
fn frequent_lines_are_what_serde_makes_of_any_line() {
    for line in RECORDING.lines() {
        assert_eq!(parse(line.as_bytes()), Ok(serde_json::from_str(line).unwrap()), "{line}");
        // A type that does not come first is found too.
        let turned = format!(" {line}");
        assert_eq!(parse(turned.as_bytes()), parse(line.as_bytes()));
    }
}

fn head(fields: &str) -> String {
    format!(r#"{{"type":"session","time":"2026-09-21T14:13:20Z",{fields}}}"#)
}

#[test]
fn each_line_is_a_record_and_passed_on_as_it_is() {
    let (records, broken, ending) = read(RECORDING.as_bytes()).unwrap();
    let lines: Vec<_> = RECORDING.lines().map(str::as_bytes).collect();
    assert_eq!(records.iter().map(|(raw, _)| raw.as_slice()).collect::<Vec<_>>(), lines);
    assert_eq!((broken, ending), (vec![], Ending::Complete));
    let kinds: Vec<_> = records.iter().map(|(_, record)| std::mem::discriminant(record)).collect();
    assert_eq!(
        kinds.iter().collect::<std::collections::HashSet<_>>().len(),
        9,
        "every type is in the sample"
    );
}

#[test]
fn what_later_versions_add_is_ignored() {
    let line = r#"{"type":"ready","time":"2026-09-21T14:13:20Z","new":{"field":[1,2.5,null]}}"#;
    let (records, broken, _) = read(with_line(2, line).as_bytes()).unwrap();
    assert!(matches!(records[1].1, Record::Ready(_)));
    assert!(broken.is_empty());
}

#[test]
fn a_recording_without_its_end_says_after_which_line() {
    let lines: Vec<_> = RECORDING.lines().collect();
    let count = lines.len();
    let without_end = lines[..count - 1].join("\n");
    for text in [without_end.clone(), without_end + "\n"] {
        let (records, broken, ending) = read(text.as_bytes()).unwrap();
        assert_eq!((records.len(), broken), (count - 1, vec![]));
        assert_eq!(ending, Ending::WithoutEnd { last: count as u64 - 1 });
    }
}

#[test]
fn a_line_that_is_cut_off_is_named() {
    let text = &RECORDING[..RECORDING.len() - 3];
    let (records, broken, ending) = read(text.as_bytes()).unwrap();
    let count = RECORDING.lines().count();
    assert_eq!((records.len(), broken), (count - 1, vec![]));
    assert_eq!(ending, Ending::InLine { number: count as u64 });
    // What some file systems leave after a power cut.
    let zeros = RECORDING.lines().next().unwrap().to_owned() + "\n\0\0\0\0";
    assert_eq!(read(zeros.as_bytes()).unwrap().2, Ending::InLine { number: 2 });
}

#[test]
fn what_follows_the_end_is_no_cut() {
    let (_, broken, ending) = read((RECORDING.to_owned() + "{\"type\"").as_bytes()).unwrap();
    assert_eq!((broken.len(), ending), (1, Ending::Complete));
}

#[test]
fn a_broken_line_is_skipped_with_its_number_and_reason() {
    for (line, expected) in [
        ("{\"type\":\"ready\"", "line 3: not JSON: EOF while parsing an object at column 15"),
        ("ready", "line 3: not JSON: expected value at column 1"),
        ("7", "line 3: not a JSON object"),
        ("{}", "line 3: missing field `type`"),
        (r#"{"type":"ready"}"#, "line 3: missing field `time`"),
        (r#"{"type":"ready","time":7}"#, "line 3: invalid type: integer `7`, expected a string"),
        (
            r#"{"type":"loss","time":"2026-09-21T14:13:20Z","where":"\u001b","events":1}"#,
            r"unknown variant `\u{1b}`",
        ),
    ] {
        let text = with_line(3, line);
        let (records, broken, ending) = read(text.as_bytes()).unwrap();
        let [broken] = broken.as_slice() else { panic!("{line}: {broken:?}") };
        assert!(broken.to_string().contains(expected), "{line}: {broken}");
        assert_eq!((records.len(), ending), (RECORDING.lines().count() - 1, Ending::Complete), "{line}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_no_json() {
    let mut bytes = RECORDING.as_bytes().to_vec();
    let at = RECORDING.find("größe").unwrap() + 2;
    bytes[at] = 0xff;
    let (_, broken, _) = read(&bytes).unwrap();
    assert!(broken[0].to_string().contains("not UTF-8 at column "), "{broken:?}");
}

#[test]
fn empty_lines_and_carriage_returns_do_not_matter() {
    let text = RECORDING.replace('\n', "\r\n\n");
    let (records, broken, ending) = read(text.as_bytes()).unwrap();
    assert_eq!((records.len(), broken, ending), (RECORDING.lines().count(), vec![], Ending::Complete));
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let text = with_line(3, &"x".repeat(LINE_BYTES_MAX + 1_000_000));
    let mut reader = Reader::new(text.as_bytes());
    let mut broken = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        if let Line::Broken(line) = line {
            broken.push(line.to_string());
        }
    }
    assert_eq!(broken, ["line 3: longer than 16 MiB"]);
    assert!(reader.line.capacity() < 2 * LINE_BYTES_MAX + 1024);
    assert_eq!(reader.ending(), Ending::Complete);
}

#[test]
fn what_is_no_recording_is_refused_at_the_first_line() {
    for (text, expected) in [
        (String::new(), "it is empty"),
        ("\n\n".to_owned(), "it is empty"),
        ("GET / HTTP/1.1\n".to_owned(), "its first line is not JSON"),
        ("{\"type\":\"sess".to_owned(), "its first line is cut off"),
        ("{\"type\":\"ready\"}\n".to_owned(), "its first line is no `session`"),
        ("[1]\n".to_owned(), "its first line is no `session`"),
        (head(r#""format":"tcp-trace""#), "its first line is no `session`"),
        (head(r#""format":"pcap","version":1"#), "its `format` is another one"),
        (head(r#""format":"tcp-trace","version":1"#).replace("session", "ready"), "no `session`"),
    ] {
        let error = read(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::NotARecording(_)), "{text}: {error}");
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_newer_version_is_refused_whatever_else_it_says() {
    let error = read(head(r#""format":"tcp-trace","version":2,"host":[]"#).as_bytes()).unwrap_err();
    assert!(matches!(error, ReadError::Newer(2)));
    assert!(
        error.to_string().contains("version 2") && error.to_string().contains("version 1 only"),
        "{error}"
    );
}

#[test]
fn a_first_line_with_wrong_fields_is_a_broken_line_of_a_recording() {
    let (records, broken, _) =
        read(with_line(1, &head(r#""format":"tcp-trace","version":1"#)).as_bytes()).unwrap();
    assert_eq!(broken[0].to_string(), "line 1: missing field `tool`");
    assert_eq!(records.len(), RECORDING.lines().count() - 1);
}

#[test]
fn a_recording_that_is_cut_at_any_byte_gives_the_records_before() {
    let (whole, ..) = read(RECORDING.as_bytes()).unwrap();
    let first = RECORDING.find('\n').unwrap();
    for cut in 0..RECORDING.len() {
        let bytes = &RECORDING.as_bytes()[..cut];
        if cut < first {
            assert!(matches!(read(bytes), Err(ReadError::NotARecording(_))), "{cut}");
            continue;
        }
        let (records, broken, ending) = read(bytes).unwrap();
        assert_eq!(records, whole[..records.len()], "{cut}");
        assert!(broken.is_empty(), "{cut}: {broken:?}");
        let newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!((newlines..=newlines + 1).contains(&records.len()), "{cut}");
        let is_complete = records.len() == whole.len();
        assert_eq!(ending == Ending::Complete, is_complete, "{cut}");
        let is_in_line = !is_complete && records.len() == newlines && !bytes.ends_with(b"\n");
        assert_eq!(matches!(ending, Ending::InLine { .. }), is_in_line, "{cut}: {ending:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&bytes);
        let mut after_head = RECORDING.lines().next().unwrap().as_bytes().to_vec();
        after_head.push(b'\n');
        after_head.extend(&bytes);
        let (records, ..) = read(&after_head).unwrap();
        prop_assert!(!records.is_empty());
    }

    #[test]
    fn bytes_that_change_harm_only_their_lines(
        changes in prop::collection::vec((RECORDING.find('\n').unwrap() + 1..RECORDING.len(), any::<u8>()), 0..20)
    ) {
        let mut bytes = RECORDING.as_bytes().to_vec();
        for (at, byte) in &changes {
            bytes[*at] = *byte;
        }
        let (records, broken, _) = read(&bytes).unwrap();
        let (whole, ..) = read(RECORDING.as_bytes()).unwrap();
        // A change breaks its line, and the next one when it was the newline.
        let kept = whole.iter().filter(|line| records.contains(line)).count();
        prop_assert!(kept + 2 * changes.len() >= whole.len(), "{broken:?}");
    }
}
