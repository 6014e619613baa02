//! Ladders of what does not go by the book: one end, no summary, RST, loss, IPv6, hostile text.

use tcp_trace_model::record::{End, Loss, LossPlace};

use super::*;

fn id_of(record: &Record) -> Option<ConnectionId> {
    match record {
        Record::Transition(transition) => Some(transition.connection.id),
        Record::Segment(segment) => Some(segment.connection.id),
        Record::Http(http) => Some(http.connection.id),
        Record::Connection(summary) => Some(summary.connection.id),
        _ => None,
    }
}

fn only(id: u64) -> Vec<Record> {
    session().into_iter().filter(|record| id_of(record) == Some(connection(id))).collect()
}

fn without_summaries(records: Vec<Record>) -> Vec<Record> {
    records.into_iter().filter(|record| !matches!(record, Record::Connection(_))).collect()
}

fn is_arrival(record: &Record, wanted: Flags) -> bool {
    matches!(record, Record::Segment(segment) if segment.direction == Direction::In && segment.flags.0 == wanted)
}

fn rows(text: &str) -> usize {
    text.lines().filter(|line| line.contains('│')).count()
}

#[test]
fn a_server_alone_has_the_arrivals_and_its_own_exchange() {
    insta::assert_snapshot!(print(&only(4102)), @"
           ms  process            client                                  server
    2026-09-21 14:13:20.000 UTC   127.0.0.1:41352 (not traced)    127.0.0.1:8080
        0.000  (not traced)       ├─ SYN x=1598938749 ────────────────────────▶│
        0.000  nginx[812]         │                                   SYN_RECV │
        0.005  nginx[812]         │◀──────────── SYN+ACK y=2044270846 ack=x+1 ─┤
        0.015  (not traced)       ├─ ACK seq=x+1 ack=y+1 ─────────────────────▶│
        0.016  nginx[812]         │                    ESTABLISHED after 16 us │
        0.090  (not traced)       ├─ GET /a ──────────────────────────────────▶│
        0.940  nginx[812]         │◀──────────────────────────── 200 OK, 12 B ─┤
        0.990  nginx[812]         │      send 0 us, wait 850 us, receive 50 us │
        1.091  (not traced)       ├─ FIN+ACK seq=x+80 ack=y+161 ──────────────▶│
        1.092  nginx[812]         │                   CLOSE_WAIT after 1.08 ms │
        1.187  nginx[812]         │                       LAST_ACK after 95 us │
        1.188  nginx[812]         │◀────────────── FIN+ACK seq=y+161 ack=x+81 ─┤
        1.197  (not traced)       ├─ ACK seq=x+81 ack=y+162 ──────────────────▶│
        1.199  nginx[812]         │                          CLOSE after 12 us │
    closed by the client after 1.50 ms; 79 B to the server, 160 B to the client
    ");
}

#[test]
fn an_arrival_that_was_not_seen_is_not_called_a_loss() {
    // Packets that reach a TIME_WAIT mini-socket are never seen to arrive: saying LOST would be false.
    let records: Vec<_> = session().into_iter().filter(|record| !is_arrival(record, Flags::SYN)).collect();
    let text = print(&records);
    let syn = text.lines().find(|line| line.contains("SYN x=")).unwrap();
    assert!(syn.ends_with("▶ ?│"), "{text}");
    assert_eq!(
        syn.chars().count(),
        text.lines().nth(2).unwrap().chars().count(),
        "the lane is straight: {text}"
    );
    assert!(text.contains("?: arrival not observed"), "{text}");
    assert!(!text.contains("LOST"), "{text}");
}

#[test]
fn a_fin_whose_acknowledgment_was_seen_has_arrived() {
    let fin = Flags::FIN.with(Flags::ACK);
    let records: Vec<_> = session().into_iter().filter(|record| !is_arrival(record, fin)).collect();
    let text = print(&records);
    assert!(text.contains("FIN+ACK") && !text.contains('?'), "{text}");
}

#[test]
fn of_two_equal_segments_the_one_before_the_arrival_is_the_one_that_arrived() {
    let mut records = session();
    let mut again = segment(1_000, 4101, Flags::SYN, X, None)[0].clone();
    if let Record::Segment(segment) = &mut again {
        segment.time = at(5);
        segment.retransmit = false;
    }
    records.insert(1, again);
    let text = print(&records);
    let syns: Vec<_> = text.lines().filter(|line| line.contains(" SYN x=")).collect();
    assert_eq!(syns.len(), 2, "{text}");
    assert!(syns[0].contains("0.005") && syns[0].ends_with("▶ ?│"), "{text}");
    assert!(syns[1].contains("0.010") && syns[1].ends_with("▶│"), "{text}");
}

#[test]
fn a_fin_with_payload_that_an_offload_cut_is_one_fin() {
    let (fin, psh) = (Flags::FIN.with(Flags::ACK), Flags::PSH);
    let [mut sent, mut arrived] = segment(10, 4101, fin, X + 1, Some(Y + 1));
    if let (Record::Segment(sent), Record::Segment(arrived)) = (&mut sent, &mut arrived) {
        (sent.length, sent.flags) = (3000, FlagNames(fin.with(psh)));
        (arrived.seq, arrived.length) = (X + 1 + 1448, 3000 - 1448);
    }
    let text = print(&[sent, arrived, summary(4101, By::Local, How::Fin), summary(4102, By::Peer, How::Fin)]);
    assert_eq!(text.matches("FIN+ACK").count(), 1, "{text}");
    assert!(text.contains("seq=x+1 ack=y+1 len=3000 ─"), "{text}");
}

#[test]
fn without_summaries_the_diagram_is_whole_but_for_its_ending() {
    // What `kill -9` leaves of a recording, and what is left of connections beyond the records that are kept.
    let (whole, cut) = (print(&session()), print(&without_summaries(session())));
    assert_eq!(rows(&cut), rows(&whole), "{cut}");
    let expected = whole.replace(
        "closed by the client after 1.50 ms; 79 B to the server, 160 B to the client",
        "its end is not in these records",
    );
    assert_eq!(cut, expected);
}

#[test]
fn ends_that_are_older_than_the_recording_are_paired_by_their_addresses() {
    let late = |netns_of_server| {
        let mut records = session();
        records
            .retain(|record| !matches!(record, Record::Segment(segment) if segment.flags.0.has(Flags::SYN)));
        for record in &mut records {
            let info = match record {
                Record::Transition(transition) => &mut transition.connection,
                Record::Connection(summary) => {
                    summary.handshake = None;
                    summary.seen_from_start = false;
                    &mut summary.connection
                }
                _ => continue,
            };
            if info.id == connection(4102) {
                Arc::make_mut(info).network.as_mut().unwrap().netns = Some(netns_of_server);
            }
        }
        print(&records)
    };
    let one = late(1);
    assert_eq!(one.matches("closed by").count(), 1, "{one}");
    assert!(one.contains("(its start was not seen)"), "{one}");
    assert!(one.contains(&format!("seq={}", X + 80)), "absolute without a handshake: {one}");
    // 127.0.0.1 of another network namespace is another machine.
    assert_eq!(late(2).matches("closed by").count(), 2);
}

#[test]
fn reused_ports_are_two_connections() {
    // The same addresses later, only the server's end of it recorded: not the first one's other end.
    // No handshake distinguishes them.
    let without_syn = |id| {
        let mut records = without_summaries(only(id));
        records
            .retain(|record| !matches!(record, Record::Segment(segment) if segment.flags.0.has(Flags::SYN)));
        records
    };
    assert_eq!(print(&[without_syn(4101), without_syn(4102)].concat()).matches("its end is not").count(), 1);
    let mut records = without_syn(4101);
    let later = 10_000_000_000;
    for mut record in without_syn(4102) {
        match &mut record {
            Record::Transition(transition) => transition.time.0 += later,
            Record::Http(http) => {
                http.time.0 += later;
                http.exchange.timing.started.0 += later;
            }
            Record::Segment(segment) => segment.time.0 += later,
            _ => {}
        }
        records.push(record);
    }
    assert_eq!(print(&records).matches("its end is not").count(), 2);
}

#[test]
fn an_end_of_unknown_role_is_not_called_a_client() {
    let mut transition = state(0, 4101, State::Established, State::CloseWait, None);
    if let Record::Transition(transition) = &mut transition {
        Arc::make_mut(&mut transition.connection).role = None;
    }
    let text = print(&[transition]);
    assert!(!text.contains("client") && !text.contains("server"), "{text}");
    assert!(text.contains("CLOSE_WAIT"), "{text}");
}

#[test]
fn a_refused_connection() {
    let mut close = state(64, 4101, State::SynSent, State::Close, Some(64));
    if let Record::Transition(transition) = &mut close {
        transition.reason = Some("ECONNREFUSED".to_owned());
    }
    let rst = Flags::RST.with(Flags::ACK);
    let mut summary = summary(4101, By::Peer, How::Refused);
    if let Record::Connection(summary) = &mut summary {
        summary.handshake = None;
        summary.duration_us = Some(64);
        summary.bytes = Bytes { sent: 0, received: 0 };
    }
    let records = [
        state(0, 4101, State::Close, State::SynSent, None),
        segment(10, 4101, Flags::SYN, X, None)[0].clone(),
        segment(57, 4102, rst, 0, Some(X + 1))[1].clone(),
        close,
        summary,
    ];
    insta::assert_snapshot!(print(&records), @"
           ms  process            client                                  server
    2026-09-21 14:13:20.000 UTC   127.0.0.1:41352    127.0.0.1:8080 (not traced)
        0.000  curl[13838]        │ SYN_SENT                                   │
        0.010  curl[13838]        ├─ SYN x=1598938749 ────────────────────────▶│
        0.060  (not traced)       │◀─────────────────── RST+ACK seq=0 ack=x+1 ─┤
        0.064  curl[13838]        │ CLOSE after 64 us, ECONNREFUSED            │
    refused by the server after 64 us; 0 B to the server, 0 B to the client
    ");
}

#[test]
fn a_reset_in_the_middle_of_a_response_says_so() {
    let mut records: Vec<_> = session().into_iter().take(9).collect();
    for id in [4102, 4101] {
        let mut http = http(100, id);
        if let Record::Http(http) = &mut http {
            http.exchange.outcome = Outcome::Reset;
            http.exchange.integrity = Integrity::Truncated;
        }
        records.push(http);
    }
    let rst = Flags::RST.with(Flags::ACK);
    records.extend(segment(1_000, 4102, rst, Y + 161, Some(X + 80)));
    records.push(state(1_000, 4102, State::Established, State::Close, Some(971)));
    records.push(state(1_003, 4101, State::Established, State::Close, Some(981)));
    records.extend([summary(4101, By::Peer, How::Rst), summary(4102, By::Local, How::Rst)]);
    insta::assert_snapshot!(print(&records), @"
    time     connect 22 us + idle 78 us + wait 850 us + receive 50 us = 1.00 ms
           ms  process            client                                  server
    2026-09-21 14:13:20.000 UTC   127.0.0.1:41352                 127.0.0.1:8080
        0.000  curl[13838]        │ SYN_SENT                                   │
        0.010  curl[13838]        ├─ SYN x=1598938749 ────────────────────────▶│
        0.013  nginx[812]         │                                   SYN_RECV │
        0.018  nginx[812]         │◀──────────── SYN+ACK y=2044270846 ack=x+1 ─┤
        0.022  curl[13838]        │ ESTABLISHED after 22 us                    │
        0.025  curl[13838]        ├─ ACK seq=x+1 ack=y+1 ─────────────────────▶│
        0.100  curl[13838]        ├─ GET /a ──────────────────────────────────▶│
        0.950  nginx[812]         │◀──────────────────────────── 200 OK, 12 B ─┤
        1.000  nginx[812]         │                         CLOSE after 971 us │
        1.000  nginx[812]         │◀────────────── RST+ACK seq=y+161 ack=x+80 ─┤
        1.000  curl[13838]        │ send 0 us, wait 850 us, receive 50 us      │
        1.000  curl[13838]        │ RESET before the response ended; truncated │
        1.003  curl[13838]        │ CLOSE after 981 us                         │
    reset by the server after 1.50 ms; 79 B to the server, 160 B to the client
    ");
}

#[test]
fn the_reason_of_an_invalid_message_is_folded_between_the_lanes() {
    let mut records: Vec<_> = session().into_iter().take(9).collect();
    let mut http = http(100, 4101);
    if let Record::Http(http) = &mut http {
        http.exchange.outcome = Outcome::Invalid;
        http.exchange.integrity = Integrity::Truncated;
        http.exchange.reason = Some("response: both Transfer-Encoding and Content-Length".into());
    }
    records.push(http);
    let text = print(&records);
    let end: Vec<_> = text.lines().rev().take(4).collect();
    insta::assert_snapshot!(end.into_iter().rev().collect::<Vec<_>>().join("\n"), @"
        1.000  curl[13838]        │ INVALID response: both Transfer-Encoding   │
                                  │ and Content-Length                         │
    its end is not in these records
    ");
}

#[test]
fn an_exchange_that_only_the_server_saw_is_shown() {
    let records: Vec<_> = session()
        .into_iter()
        .filter(|record| !matches!(record, Record::Http(http) if http.connection.id == connection(4101)))
        .collect();
    let text = print(&records);
    assert!(text.contains("GET /a") && text.contains("200 OK, 12 B"), "{text}");
    let timing = text.lines().find(|line| line.contains("wait 850 us")).unwrap();
    assert!(timing.contains("nginx[812]"), "the server's times are not the client's: {text}");
}

#[test]
fn long_ipv6_addresses_are_whole_and_apart() {
    let (a, b) = ("2001:db8:aaaa:bbbb:cccc:dddd:eeee:1", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:2");
    let mut records = only(4101);
    for record in &mut records {
        let info = match record {
            Record::Transition(transition) => &mut transition.connection,
            Record::Connection(summary) => &mut summary.connection,
            _ => continue,
        };
        if let Some(network) = &mut Arc::make_mut(info).network {
            network.kind = NetworkType::Ipv6;
            network.local.address = a.parse().unwrap();
            network.peer.address = b.parse().unwrap();
        }
    }
    let text = print(&records);
    insta::assert_snapshot!(text.lines().take(4).collect::<Vec<_>>().join("\n"), @"
    time     connect 22 us + idle 78 us + wait 850 us + receive 50 us = 1.00 ms
           ms  process            client                                  server
    2026-09-21 14:13:20.000 UTC   [2001:db8:aaaa:bbbb:cccc:dddd:eeee:1]:41352
                                  [2001:db8:aaaa:bbbb:cccc:dddd:eeee:2]:8080 (not traced)
    ");
}

#[test]
fn nothing_recorded_can_steer_the_terminal() {
    let mut records = session();
    for record in &mut records {
        match record {
            Record::Http(http) => {
                http.exchange.request.as_mut().unwrap().target = "/\u{1b}[2J\u{202e}\r\n".into();
                http.exchange.response.as_mut().unwrap().reason = "\u{9b}2J".into();
            }
            Record::Transition(transition) => transition.reason = Some("\u{1b}[1A".to_owned()),
            Record::Connection(summary) => {
                summary.close.reason = Some("\u{1b}[1A\n".to_owned());
                let process = Arc::make_mut(&mut summary.connection).process.as_mut().unwrap();
                Arc::make_mut(process).name = "\u{1b}]0;\u{7}".into();
            }
            _ => {}
        }
    }
    let text = print(&records);
    assert!(text.contains(r"GET /\u{1b}[2J\u{202e}"), "{text}");
    assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    let folded = 1;
    assert_eq!(text.lines().count(), print(&session()).lines().count() + folded, "{text}");
}

#[test]
fn a_process_that_only_the_summary_knows_is_on_every_line() {
    let mut records = session();
    for record in &mut records {
        match record {
            Record::Transition(transition) => Arc::make_mut(&mut transition.connection).process = None,
            Record::Http(http) => Arc::make_mut(&mut http.connection).process = None,
            _ => {}
        }
    }
    assert_eq!(print(&records), print(&session()));
}

#[test]
fn a_long_process_name_and_a_long_life_keep_the_lanes_straight() {
    let mut records = session();
    for record in &mut records {
        match record {
            Record::Connection(summary) if summary.connection.id == connection(4101) => {
                let process =
                    Process { pid: 4_194_303, name: "fifteen-letters".into(), ..Process::default() };
                Arc::make_mut(&mut summary.connection).process = Some(Arc::new(process));
            }
            Record::Transition(last) if last.old == State::LastAck => last.time = at(4_000_000_000),
            _ => {}
        }
    }
    let text = print(&records);
    let columns = |line: &str| line.chars().position(|c| "│├".contains(c));
    let lanes: Vec<_> = text.lines().filter_map(columns).collect();
    assert!(lanes.iter().all(|lane| *lane == lanes[0]), "{text}");
    assert!(text.contains("1.208  fifteen-letters[4194303] │"), "{text}");
    assert!(text.contains("4000000.000  nginx[812] "), "{text}");
}

#[test]
fn losses_and_totals_are_shown_whatever_was_left_out() {
    let mut output = Vec::new();
    // No room for the client's end too.
    let mut ladder = Ladder::holding(&mut output, TimeZone::UTC, 3_000);
    for record in session() {
        ladder.record(&record).unwrap();
    }
    for cpu in 0..25 {
        let loss = Loss { time: at(2000), place: LossPlace::Ring, events: 12, cpu: Some(cpu) };
        ladder.record(&Record::Loss(loss)).unwrap();
    }
    let end = End {
        time: at(3000),
        connections: 2,
        http: 2,
        dns: 0,
        tls: 0,
        protocols: Default::default(),
        events: 84,
        lost: 300,
        unlinked: Default::default(),
        interrupted: false,
    };
    ladder.record(&Record::End(end)).unwrap();
    ladder.finish().unwrap();
    let text = String::from_utf8(output).unwrap();
    assert!(!text.contains("SYN x="), "{text}");
    assert!(text.contains("*** LOST 12 events on cpu 0: the ring buffer was full"), "{text}");
    assert!(text.contains("*** LOST 60 events after these"), "{text}");
    assert!(text.contains("*** 2 sockets left out: more than a ladder can hold"), "{text}");
    assert!(text.ends_with("2 sockets, 2 HTTP exchanges, 84 events, 300 LOST\n"), "{text}");
}
