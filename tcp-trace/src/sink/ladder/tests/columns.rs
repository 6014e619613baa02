//! A ladder fits into 80 columns, whatever was recorded of IPv4 connections.

use proptest::prelude::*;
use tcp_trace_core::prose::width;
use tcp_trace_model::record::{Loss, LossPlace, Stall, Stalls};

use super::*;

/// Every line fits, and the lanes are straight.
#[track_caller]
fn fits(text: &str) {
    for line in text.lines() {
        assert!(width(line) <= 80, "{} columns: {line}\n{text}", width(line));
    }
    let column = |line: &str, lane: Option<usize>| lane.map(|at| width(&line[..at]));
    for ladder in text.split("\n\n") {
        let rows: Vec<_> = ladder.lines().filter(|line| line.contains(['│', '┤'])).collect();
        for row in &rows {
            let lanes = |row: &str| (column(row, row.find(['│', '├'])), column(row, row.rfind(['│', '┤'])));
            assert_eq!(lanes(row), lanes(rows[0]), "{row}\n{text}");
        }
    }
}

#[test]
fn an_ordinary_session_fits() {
    fits(&print(&session()));
}

#[test]
fn the_longest_names_numbers_and_addresses_fit() {
    for (name, pid) in [
        ("fifteen-letters", 4_194_303),
        ("fifteen-letters", u32::MAX),
        ("日本語日本", 4_194_303),
        ("\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}", 1),
        ("", 1),
    ] {
        for last_us in [2_000, 100_000_000_000, (u64::MAX - START) / 1_000] {
            let mut records = session();
            for record in &mut records {
                let ends = |network: &mut Network| {
                    network.local.address =
                        [192, 168, 100, if network.local.port == 8080 { 200 } else { 201 }].into();
                    network.peer.address =
                        [192, 168, 100, if network.peer.port == 8080 { 200 } else { 201 }].into();
                };
                match record {
                    Record::Connection(summary) => {
                        let info = Arc::make_mut(&mut summary.connection);
                        info.process =
                            Some(Arc::new(Process { pid, name: name.into(), ..Process::default() }));
                        info.network.as_mut().map(ends);
                        summary.duration_us = Some(last_us);
                        summary.bytes = Bytes { sent: u64::MAX, received: 1_500_000 };
                        summary.close.by = By::Both;
                        summary.close.reason = Some("a-reason-without-a-space-".repeat(10));
                    }
                    Record::Transition(transition) => {
                        Arc::make_mut(&mut transition.connection).network.as_mut().map(ends);
                        transition.reason = Some("ECONNREFUSED ".repeat(20));
                        transition.in_old_us = Some(last_us);
                        if transition.old == State::LastAck {
                            transition.time = at(last_us);
                        }
                    }
                    Record::Segment(segment) if !segment.flags.0.has(Flags::SYN) => {
                        segment.seq = X.wrapping_sub(1);
                        segment.ack = Some(Y.wrapping_sub(1));
                        (segment.length, segment.retransmit) = (u32::MAX, true);
                    }
                    Record::Http(http) => {
                        http.exchange.request.as_mut().unwrap().target = "/日本語".repeat(50).as_str().into();
                        http.exchange.request.as_mut().unwrap().body.size = 1_500_000;
                        http.exchange.response.as_mut().unwrap().reason = "größe ".repeat(50).as_str().into();
                        http.exchange.integrity = Integrity::Gap;
                        http.exchange.outcome = Outcome::Reset;
                        http.exchange.timing.wait_us = Some(1_234_567_890);
                    }
                    _ => {}
                }
            }
            let text = print(&records);
            fits(&text);
            assert!(text.contains(&format!("[{pid}] ")), "the process id is never cut:\n{text}");
            assert!(text.contains(" again ▶│"), "nor is what was sent again:\n{text}");
            // One end alone has the longest label there is.
            fits(&print(&only_client(records)));
        }
    }
}

fn only_client(records: Vec<Record>) -> Vec<Record> {
    let of_client = |record: &Record| match record {
        Record::Transition(transition) => transition.connection.id == connection(4101),
        Record::Segment(segment) => segment.connection.id == connection(4101),
        Record::Http(http) => http.connection.id == connection(4101),
        Record::Connection(summary) => summary.connection.id == connection(4101),
        _ => true,
    };
    records.into_iter().filter(of_client).collect()
}

#[test]
fn endings_and_losses_are_folded() {
    let mut records = session();
    for record in &mut records {
        if let Record::Connection(summary) = record {
            summary.bytes = Bytes { sent: 1_500_000, received: 1_500_000_000 };
        }
    }
    records.push(Record::Loss(Loss { time: at(0), place: LossPlace::Ring, events: 12, cpu: Some(1) }));
    let text = print(&records);
    fits(&text);
    let end: Vec<_> = text.lines().rev().take(6).collect();
    insta::assert_snapshot!(end.into_iter().rev().collect::<Vec<_>>().join("\n"), @"
    closed by the client after 1.50 ms;
        1.43 MiB to the server, 1.40 GiB to the client

    *** LOST 12 events on cpu 1: the ring buffer was full (a larger --ring-size or a
        filter helps)
    *** the output above may have gaps
    ");
}

#[test]
fn colours_change_nothing_else() {
    let mut records = session();
    for record in &mut records {
        match record {
            Record::Http(http) => http.exchange.response.as_mut().unwrap().status_code = 404,
            Record::Connection(summary) => summary.close.how = How::Rst,
            Record::Segment(segment) if segment.flags.0.has(Flags::FIN) => segment.retransmit = true,
            _ => {}
        }
    }
    let mut output = Vec::new();
    let mut ladder = Ladder::new(&mut output, TimeZone::UTC).painted(Palette::COLOURED);
    for record in &records {
        ladder.record(record).unwrap();
    }
    ladder.finish().unwrap();
    let coloured = String::from_utf8(output).unwrap();
    for word in [
        "\u{1b}[36mESTABLISHED\u{1b}[0m\u{1b}[2m after 22 us\u{1b}[0m",
        "\u{1b}[33m404 OK\u{1b}[0m, 12 B",
        "\u{1b}[33m again\u{1b}[0m",
        "\u{1b}[31mreset\u{1b}[0m by the client",
        "\u{1b}[2m    0.022\u{1b}[0m  curl",
    ] {
        assert!(coloured.contains(word), "{word:?} in {coloured:?}");
    }
    let codes = ["\u{1b}[36m", "\u{1b}[2m", "\u{1b}[33m", "\u{1b}[31m", "\u{1b}[0m"];
    let plain = codes.iter().fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(plain, print(&records));
}

proptest! {
    #[test]
    fn any_names_and_texts_fit(
        name in ".{0,15}", pid in any::<u32>(), target in ".{0,80}", reason in ".{0,80}", us in 0..1u64 << 52,
    ) {
        let mut records = session();
        for record in &mut records {
            match record {
                Record::Connection(summary) => {
                    let process = Process { pid, name: name.as_str().into(), ..Process::default() };
                    Arc::make_mut(&mut summary.connection).process = Some(Arc::new(process));
                    summary.close.reason = Some(reason.clone());
                    summary.duration_us = Some(us);
                }
                Record::Transition(transition) => transition.reason = Some(reason.clone()),
                Record::Http(http) => {
                    http.exchange.request.as_mut().unwrap().target = target.as_str().into();
                    http.exchange.response.as_mut().unwrap().reason = reason.as_str().into();
                    http.exchange.timing.send_us = Some(us);
                }
                _ => {}
            }
        }
        fits(&print(&records));
    }
}

#[test]
fn what_was_lost_on_the_way_has_lines_of_its_own() {
    let mut records = session();
    for record in &mut records {
        if let Record::Http(http) = record {
            let lost = |zero_window_us| Stall {
                retransmits: 1,
                retransmit_us: 400,
                zero_window_us,
                ..Stall::default()
            };
            http.exchange.timing.stalls =
                Some(Stalls { wait: Some(lost(0)), receive: Some(lost(50)), ..Stalls::default() });
        }
    }
    let text = print(&records);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("of it") || line.contains("full)"))
        .map(|line| line[line.find('│').unwrap()..].trim_end())
        .collect();
    assert_eq!(
        lines,
        [
            "│ wait 850 us (400 us of it: 1 retransmit)   │",
            "│ receive 50 us (400 us of it: 1 retransmit; │",
            "│ 50 us of it: receiver's window was full)   │",
        ]
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}
