//! What the table looks like.

use std::sync::Arc;

use tcp_trace_model::{
    event::State,
    record::{
        Body, ConnectionId, ConnectionInfo, DnsAnswer, DnsOutcome, DnsQuestion, End, Ended, Ends, Exchange,
        Fields, Frames, Integrity, LossPlace, Message, Network, NetworkType, Outcome, Part, Ready, Request,
        Response, Stall, Stalls, Timing, Transport, Unlinked, Url, Version, WebSocket,
    },
};

use super::*;

const TIME: Time = Time(1_790_000_000_123_456_789);

fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint { address: address.parse().unwrap(), port }
}

fn network(local: Endpoint, peer: Endpoint) -> Network {
    Network { kind: NetworkType::Ipv4, local, peer, netns: None, translated: None }
}

fn curl() -> Option<Arc<Process>> {
    Some(Arc::new(Process { pid: 13838, name: "curl".into(), ..Process::default() }))
}

fn transition(old: State, new: State, in_old_us: Option<u64>) -> Transition {
    Transition {
        time: TIME,
        connection: Arc::new(ConnectionInfo {
            id: ConnectionId::of_socket(4101, 0),
            role: Some(Role::Client),
            network: Some(network(endpoint("127.0.0.1", 41352), endpoint("127.0.0.1", 8080))),
            process: curl(),
            ..ConnectionInfo::default()
        }),
        old,
        new,
        in_old_us,
        estimated: false,
        gap: false,
        reason: None,
    }
}

fn http(target: &str) -> Http {
    Http {
        time: TIME,
        connection: Arc::new(ConnectionInfo {
            id: ConnectionId::of_socket(4101, 0),
            role: Some(Role::Server),
            network: Some(network(endpoint("127.0.0.1", 8080), endpoint("127.0.0.1", 41352))),
            ..ConnectionInfo::default()
        }),
        exchange: Box::new(Exchange {
            request: Some(Request {
                method: "GET".into(),
                target: target.into(),
                version: Some(Version::default()),
                headers: Fields::new(),
                header_size: 79,
                body: Body { size: 0 },
            }),
            response: Some(Response {
                status_code: 200,
                reason: "OK".into(),
                version: Some(Version::default()),
                headers: Fields::new(),
                header_size: 148,
                body: Body { size: 12 },
                place: 0..0,
            }),
            timing: Timing { started: TIME, total_us: 1_234, ..Timing::default() },
            ..Exchange::default()
        }),
    }
}

fn print(records: &[Record]) -> String {
    let mut output = Vec::new();
    let mut table = Table::new(&mut output, TimeZone::UTC);
    for record in records {
        table.record(record).unwrap();
    }
    table.finish().unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn transitions_and_exchanges_have_a_line_each() {
    let lines = print(&[
        Record::Ready(Ready { time: TIME }),
        Record::Transition(transition(State::Close, State::SynSent, None)),
        Record::Transition(transition(State::SynSent, State::Established, Some(45))),
        Record::Http(http("/a?x=1")),
        Record::End(End {
            time: TIME,
            connections: 1,
            http: 1,
            events: 20,
            interrupted: true,
            ..End::default()
        }),
    ]);
    insta::assert_snapshot!(lines, @"
    2026-09-21 UTC  PROCESS                LOCAL                   PEER                  EVENT
    14:13:20.123456 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        CLOSE → SYN_SENT
    14:13:20.123456 curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        SYN_SENT → ESTABLISHED  after 45 us
    14:13:20.123456 -                      127.0.0.1:8080        ← 127.0.0.1:41352       GET /a?x=1 → 200 OK  12 B in 1.23 ms
    1 socket, 1 HTTP exchange, 20 events, 0 lost
    ");
}

#[test]
fn colours_are_for_states_times_and_what_failed() {
    let mut refused = transition(State::SynSent, State::Close, Some(64));
    refused.reason = Some("ECONNREFUSED".to_owned());
    let mut not_found = http("/a");
    not_found.exchange.response.as_mut().unwrap().status_code = 404;
    let mut broken = http("/b");
    broken.exchange.response.as_mut().unwrap().status_code = 500;
    broken.exchange.outcome = Outcome::Reset;
    broken.exchange.integrity = Integrity::Truncated;
    let records = [
        Record::Transition(refused),
        Record::Http(not_found),
        Record::Http(broken),
        Record::Loss(Loss { time: TIME, place: LossPlace::Table, events: 12, cpu: None }),
        Record::End(End {
            time: TIME,
            connections: 1,
            http: 1,
            events: 20,
            lost: 12,
            interrupted: true,
            ..End::default()
        }),
    ];
    let mut output = Vec::new();
    let mut table = Table::new(&mut output, TimeZone::UTC).painted(Palette::COLOURED);
    for record in &records {
        table.record(record).unwrap();
    }
    table.finish().unwrap();
    let coloured = String::from_utf8(output).unwrap();
    let named = [("\u{1b}[36m", "<s>"), ("\u{1b}[2m", "<t>"), ("\u{1b}[33m", "<w>"), ("\u{1b}[31m", "<f>")];
    let mut marked = coloured.replace("\u{1b}[0m", "<>");
    for (code, name) in named {
        marked = marked.replace(code, name);
    }
    insta::assert_snapshot!(marked, @"
    2026-09-21 UTC  PROCESS                LOCAL                   PEER                  EVENT
    <t>14:13:20.123456<> curl[13838]            127.0.0.1:41352       → 127.0.0.1:8080        <s>SYN_SENT<> → <s>CLOSE<><t>  after 64 us<>  <f>ECONNREFUSED<>
    <t>14:13:20.123456<> -                      127.0.0.1:8080        ← 127.0.0.1:41352       GET /a → <w>404 OK<>  12 B<t> in 1.23 ms<>
    <t>14:13:20.123456<> -                      127.0.0.1:8080        ← 127.0.0.1:41352       GET /b → <f>500 OK<>  12 B, <f>RESET<><t>, after 1.23 ms<><w>  (truncated)<>
    <t>14:13:20.123456<> <f>*** LOST 12 events<>: too many connections or lookups at once
    1 socket, 1 HTTP exchange, 20 events, <f>12 LOST<>
    ");
    let plain = ["<s>", "<t>", "<w>", "<f>", "<>"].iter().fold(marked, |text, mark| text.replace(mark, ""));
    assert_eq!(plain, print(&records), "colours change nothing else");
}

#[test]
fn wide_characters_keep_the_columns_straight() {
    let mut wide = transition(State::Close, State::SynSent, None);
    let process = Process { pid: 1, name: "日本語".into(), ..Process::default() };
    Arc::make_mut(&mut wide.connection).process = Some(Arc::new(process));
    let narrow = Record::Transition(transition(State::Close, State::SynSent, None));
    let text = print(&[Record::Transition(wide), narrow]);
    let columns =
        |line: &str| line.find("127.0.0.1:41352").map(|at| tcp_trace_core::prose::width(&line[..at]));
    let lines: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(columns(lines[0]), columns(lines[1]), "{text}");
}

#[test]
fn what_is_unusual_is_said_in_words() {
    let unusual = |outcome, integrity, has_response: bool| {
        let mut http = http("/a");
        http.exchange.outcome = outcome;
        http.exchange.integrity = integrity;
        if !has_response {
            http.exchange.response = None;
        }
        exchange(&http).to_string()
    };
    assert_eq!(
        unusual(Outcome::NoResponse, Integrity::Complete, false),
        "GET /a → no response, after 1.23 ms"
    );
    assert_eq!(unusual(Outcome::Reset, Integrity::Complete, false), "GET /a → RESET, after 1.23 ms");
    assert_eq!(
        unusual(Outcome::Reset, Integrity::Truncated, true),
        "GET /a → 200 OK  12 B, RESET, after 1.23 ms  (truncated)"
    );
    assert_eq!(
        unusual(Outcome::Ok, Integrity::Gap, true),
        "GET /a → 200 OK  12 B in 1.23 ms  (gap: bytes were not seen)"
    );
}

#[test]
fn reasons_are_reported_with_the_byte_where_it_broke_off() {
    let told = |outcome, reason: &str, ended, missing| {
        let mut http = http("/a");
        (http.exchange.outcome, http.exchange.reason, http.exchange.ended, http.exchange.missing) =
            (outcome, Some(reason.to_owned().into()), ended, missing);
        http.exchange.integrity = Integrity::Truncated;
        exchange(&http).to_string()
    };
    let ended = |part, offset| Some(Ended { message: Message::Response, part, offset });
    let fault = "request: Content-Length \"-5\" is not a number";
    for (line, expected) in [
        (told(Outcome::Invalid, fault, None, None), "INVALID request: Content-Length \"-5\" is not a number"),
        (
            told(Outcome::Reset, "reset by the server during the response", ended(Part::Body, 12), Some(8)),
            "RESET by the server during the response, at byte 12 of the response's body, 8 B missing",
        ),
        (
            told(Outcome::Truncated, "closed by the client during the response", ended(Part::Head, 7), None),
            "TRUNCATED: closed by the client during the response, at byte 7 of the response's head",
        ),
        (
            told(Outcome::NoResponse, "closed by the client before the response", ended(Part::None, 0), None),
            "no response: closed by the client before the response",
        ),
    ] {
        assert_eq!(line, format!("GET /a → 200 OK  12 B, {expected}, after 1.23 ms"));
    }
    let mut websocket = http("/ws");
    websocket.exchange.outcome = Outcome::Upgraded;
    let server = Frames { text: 2, close: 1, bytes: 9, close_code: Some(1000), ..Frames::default() };
    websocket.exchange.websocket = Some(Box::new(WebSocket { client: Frames::default(), server }));
    let line = exchange(&websocket).to_string();
    assert!(line.contains("upgraded, WebSocket 0 frames 0 B up, 3 frames 9 B close 1000 down"), "{line}");
}

#[test]
fn a_failed_connection_says_why() {
    let mut refused = transition(State::SynSent, State::Close, Some(64));
    refused.reason = Some("ECONNREFUSED".to_owned());
    let line = print(&[Record::Transition(refused)]);
    assert!(line.ends_with("SYN_SENT → CLOSE  after 64 us  ECONNREFUSED\n"), "{line}");
    let after_a_gap = Transition { gap: true, ..transition(State::LastAck, State::Close, None) };
    let line = print(&[Record::Transition(after_a_gap)]);
    assert!(line.ends_with("LAST_ACK → CLOSE  GAP: what came before was not seen\n"), "{line}");
}

#[test]
fn losses_stand_out() {
    let loss = Loss { time: TIME, place: LossPlace::Ring, events: 12, cpu: Some(1) };
    let unlinked = Unlinked { objects: 2, bytes: 9 };
    let end = End { time: TIME, connections: 1, http: 1, events: 20, lost: 12, unlinked, ..End::default() };
    insta::assert_snapshot!(print(&[Record::Loss(loss), Record::End(end)]), @"
    2026-09-21 UTC  PROCESS                LOCAL                   PEER                  EVENT
    14:13:20.123456 *** LOST 12 events on cpu 1: the ring buffer was full (a larger --ring-size or a filter helps)
    1 socket, 1 HTTP exchange, 20 events, 2 TLS sessions without a connection, 12 LOST
    ");
}

#[test]
fn addresses_are_never_cut_and_listeners_have_no_peer() {
    let mut v6 = transition(State::Established, State::CloseWait, Some(2_000_000));
    let ends = network(endpoint("2001:db8:aaaa:bbbb:cccc:dddd:eeee:1", 41352), endpoint("2001:db8::2", 8080));
    let info = Arc::make_mut(&mut v6.connection);
    (info.network, info.process) = (Some(ends), None);
    let mut listener = transition(State::Close, State::Listen, None);
    Arc::make_mut(&mut listener.connection).role = Some(Role::Listener);
    insta::assert_snapshot!(print(&[Record::Transition(v6), Record::Transition(listener)]), @"
    2026-09-21 UTC  PROCESS                LOCAL                   PEER                  EVENT
    14:13:20.123456 -                      [2001:db8:aaaa:bbbb:cccc:dddd:eeee:1]:41352 → [2001:db8::2]:8080    ESTABLISHED → CLOSE_WAIT  after 2.00 s
    14:13:20.123456 curl[13838]            127.0.0.1:41352                               CLOSE → LISTEN
    ");
}

#[test]
fn the_network_cannot_steer_the_terminal() {
    let line = print(&[Record::Http(http("/\u{1b}[2J\r\n\u{202e}x"))]);
    assert!(line.contains(r"GET /\u{1b}[2J\u{d}\u{a}\u{202e}x → 200 OK"), "{line}");
    assert_eq!(line.lines().count(), 2, "a heading and one line: {line}");
}

#[test]
fn nor_can_a_recording_that_somebody_else_made() {
    let mut transition = transition(State::SynSent, State::Close, None);
    transition.reason = Some("\u{1b}[2Jgone".to_owned());
    let process = Process { pid: 1, name: "\u{1b}]0;x\u{7}".into(), ..Process::default() };
    Arc::make_mut(&mut transition.connection).process = Some(Arc::new(process));
    let mut http = http("/");
    if let (Some(request), Some(response)) = (&mut http.exchange.request, &mut http.exchange.response) {
        request.method = "\u{1b}c".into();
        response.reason = "\u{9b}2J".into();
    }
    http.exchange.url =
        Some(Url { scheme: None, host: Some("\r\u{1b}[1A".into()), path: "/".into(), query: None });
    let text = print(&[Record::Transition(transition), Record::Http(http)]);
    assert_eq!(text.chars().filter(|c| c.is_control() && *c != '\n').count(), 0, "{text:?}");
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn a_translated_connection_says_where_it_sends_to_where_it_begins() {
    let own = network(endpoint("127.0.0.1", 41352), endpoint("10.9.9.9", 80));
    let translated = Some(Ends { local: own.local, peer: endpoint("127.0.0.1", 15_001) });
    let of = |old, new| {
        let mut transition = transition(old, new, None);
        Arc::make_mut(&mut transition.connection).network = Some(Network { translated, ..own });
        Record::Transition(transition)
    };
    let text = print(&[of(State::Close, State::SynSent), of(State::SynSent, State::Established)]);
    let lines: Vec<_> = text.lines().filter(|line| line.contains("SYN_SENT")).collect();
    assert!(
        lines[0].contains("→ 10.9.9.9:80 ") && lines[0].ends_with("sends to 127.0.0.1:15001 (NAT)"),
        "{text}"
    );
    assert!(!lines[1].contains("15001"), "{text}");
}

#[test]
fn the_heading_comes_once_and_above_everything() {
    let ready = || Record::Ready(Ready { time: TIME });
    let line = || Record::Transition(transition(State::Close, State::SynSent, None));
    for records in [vec![ready(), line(), ready()], vec![line(), ready(), line()]] {
        let text = print(&records);
        assert_eq!(text.matches("PROCESS").count(), 1, "{text}");
        assert!(text.starts_with("2026-09-21 UTC  PROCESS "), "{text}");
    }
}

#[test]
fn a_connect_that_was_given_up_says_so() {
    let given_up = transition(State::SynSent, State::Close, Some(1_000_000));
    let refused = Transition { reason: Some("ECONNREFUSED".to_owned()), ..given_up.clone() };
    let unseen = Transition { gap: true, ..given_up.clone() };
    let text = print(&[given_up, refused, unseen].map(Record::Transition));
    assert!(text.contains("SYN_SENT → CLOSE  after 1.00 s  given up, no answer\n"), "{text}");
    assert_eq!(text.matches("given up").count(), 1, "{text}");
}

#[test]
fn a_new_day_has_a_heading_and_what_is_late_has_none() {
    const DAY: u64 = 86_400_000_000_000;
    let at = |ns: u64| {
        Record::Transition(Transition { time: Time(ns), ..transition(State::Close, State::SynSent, None) })
    };
    let midnight = TIME.0 / DAY * DAY + DAY;
    let records = [midnight - 2, midnight + 1, midnight - 1, midnight + 3].map(at);
    let zone = TimeZone::posix("<+0545>-5:45").unwrap();
    for (zone, expected) in [
        (
            TimeZone::UTC,
            &["2026-09-21 UTC  PROCESS", "23:59:59.99", "2026-09-22 UTC  PROCESS", "00:0", "23:5", "00:0"][..],
        ),
        (zone, &["2026-09-22 +0545 PROCESS", "05:44:59.99", "05:45:00.00", "05:44:59.99", "05:45:00.00"]),
    ] {
        let mut output = Vec::new();
        let mut table = Table::new(&mut output, zone);
        records.iter().for_each(|record| table.record(record).unwrap());
        table.finish().unwrap();
        drop(table);
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text.lines().count(), expected.len(), "{text}");
        for (line, expected) in text.lines().zip(expected) {
            assert!(line.starts_with(expected), "{expected} in\n{text}");
            let event = line.find("EVENT").or(line.find("CLOSE")).map(|at| line[..at].chars().count());
            assert_eq!(event, Some(85), "columns are columns:\n{text}");
        }
    }
}

#[test]
fn an_ipv4_transition_fits_into_120_columns() {
    let mut longest = transition(State::SynSent, State::Established, Some(123));
    let ends = network(endpoint("192.168.100.200", 41352), endpoint("192.168.100.201", 18080));
    Arc::make_mut(&mut longest.connection).network = Some(ends);
    let text = print(&[Record::Transition(longest)]);
    assert!(text.lines().all(|line| line.chars().count() <= 121), "{text}");
}

#[test]
fn a_host_is_shown_when_it_is_more_than_the_address() {
    let with_host = |target: &str, host: &str| {
        let mut http = http(target);
        http.exchange.url =
            Some(Url { scheme: None, host: Some(host.into()), path: "/".into(), query: None });
        exchange(&http).to_string()
    };
    assert_eq!(with_host("/a", "example.com"), "GET /a → 200 OK  12 B in 1.23 ms  host example.com");
    assert_eq!(with_host("/a", "127.0.0.1:8080"), "GET /a → 200 OK  12 B in 1.23 ms");
    assert_eq!(
        with_host("http://example.com/a", "example.com"),
        "GET http://example.com/a → 200 OK  12 B in 1.23 ms"
    );
}

#[test]
fn long_targets_are_shortened() {
    let text = exchange(&http(&"/é".repeat(100))).to_string();
    assert!(text.contains("/… →"), "{text}");
    assert!(text.chars().count() < 160, "{text}");
}

fn dns(outcome: DnsOutcome, answers: &[(&str, &str)]) -> Dns {
    let ends = network(endpoint("127.0.0.1", 40000), endpoint("127.0.0.53", 53));
    let answer = |(kind, data): &(&str, &str)| DnsAnswer {
        name: "example.com".to_owned(),
        kind: (*kind).to_owned(),
        ttl: 60,
        data: (*data).to_owned(),
    };
    Dns {
        time: TIME,
        lookup: 1,
        question: Some(DnsQuestion { name: "example.com".to_owned(), kind: "A".to_owned() }),
        answers: answers.iter().map(answer).collect(),
        rcode: None,
        outcome,
        started: TIME,
        duration_us: (outcome != DnsOutcome::NoAnswer).then_some(1_200),
        retransmits: 0,
        process: curl().as_deref().cloned(),
        cgroup: None,
        server: ends.peer,
        transport: Transport::Udp,
        network: ends,
        connection: None,
        error: None,
    }
}

#[test]
fn a_lookup_has_a_line_and_its_failure_is_in_words() {
    let ok = DnsOutcome::Ok;
    let many = [("A", "192.0.2.1"); 6];
    for (dns, expected) in [
        (dns(ok, &[("CNAME", "x.example"), ("A", "192.0.2.1")]), "192.0.2.1  in 1.20 ms"),
        (dns(ok, &many), "192.0.2.1, 192.0.2.1, 192.0.2.1, 192.0.2.1, 2 more  in 1.20 ms"),
        (dns(DnsOutcome::NoData, &[]), "no A record  in 1.20 ms"),
        (dns(DnsOutcome::Nxdomain, &[]), "no such name (NXDOMAIN)  in 1.20 ms"),
        (dns(DnsOutcome::Servfail, &[]), "the server failed (SERVFAIL)  in 1.20 ms"),
        (dns(DnsOutcome::Refused, &[]), "the server refused (REFUSED)  in 1.20 ms"),
        (Dns { rcode: Some("NOTIMP".to_owned()), ..dns(DnsOutcome::Error, &[]) }, "NOTIMP  in 1.20 ms"),
        (dns(DnsOutcome::Truncated, &[]), "too long for UDP  in 1.20 ms"),
        (Dns { retransmits: 2, ..dns(DnsOutcome::NoAnswer, &[]) }, "no answer  (asked 3 times)"),
        (
            Dns { error: Some("answer 1: \u{1b}[31m".to_owned()), ..dns(DnsOutcome::Malformed, &[]) },
            r"malformed  (answer 1: \u{1b}[31m)  in 1.20 ms",
        ),
    ] {
        let mut output = Vec::new();
        let mut table = Table::new(&mut output, TimeZone::UTC);
        table.record(&Record::Dns(Box::new(dns))).unwrap();
        table.finish().unwrap();
        let text = String::from_utf8(output).unwrap();
        let line = text.lines().last().unwrap();
        let start = "14:13:20.123456 curl[13838]            127.0.0.1:40000       → 127.0.0.53:53         DNS A example.com → ";
        assert_eq!(line, format!("{start}{expected}"));
    }
}

#[test]
fn what_was_lost_on_the_way_and_idle_time_before_a_failure_are_reported() {
    let mut slow = http("/slow");
    let wait = Stall { retransmits: 1, retransmit_us: 800, ..Stall::default() };
    slow.exchange.timing.wait_us = Some(1_000);
    slow.exchange.timing.stalls = Some(Stalls { wait: Some(wait), ..Stalls::default() });
    let mut unanswered = http("/idle");
    unanswered.exchange.response = None;
    unanswered.exchange.outcome = Outcome::NoResponse;
    unanswered.exchange.reason = Some("closed by the server before the response".into());
    (unanswered.exchange.reused, unanswered.exchange.timing.idle_us) = (Some(true), Some(60_000_000));
    let text = print(&[Record::Http(slow), Record::Http(unanswered)]);
    let events: Vec<_> = text.lines().skip(1).collect();
    for (event, expected) in events.iter().zip([
        "GET /slow → 200 OK  12 B in 1.23 ms, wait 1.00 ms (800 us of it: 1 retransmit)",
        "GET /idle → no response: closed by the server before the response, reused after 60.0 s idle, after 1.23 ms",
    ]) {
        assert!(event.ends_with(expected), "{event}");
    }
    assert_eq!(events.len(), 2);
}
