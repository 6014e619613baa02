//! What a waterfall looks like.

use std::sync::Arc;

use tcp_trace_core::{
    page_loads::testing::{Exchange, START, get},
    prose::width,
};
use tcp_trace_model::{
    event::State,
    exchange::Outcome,
    record::{
        Close, Connection, ConnectionId, ConnectionInfo, HttpTotals, Loss, LossPlace, Resolved, StateSpan,
    },
    time::Time,
};

use super::*;

/// The summary of a connection whose SYN was sent this many microseconds after the start.
fn connection(cookie: u64, us: u64, connect_us: u64, dns: Option<Resolved>) -> Record {
    let connection = Arc::new(ConnectionInfo::new(ConnectionId::of_socket(cookie, 0)));
    let entered = Time(START).after_micros(us);
    let states = vec![
        StateSpan { state: State::SynSent, entered, duration_us: Some(connect_us), estimated: false },
        StateSpan { state: State::Established, entered: entered.after_micros(connect_us), ..open() },
    ];
    let http = Some(HttpTotals { requests: 1, surplus: 0, protocol: "http/1.1".to_owned() });
    let close = Close::default();
    Record::Connection(Box::new(Connection { connection, states, dns, http, close, ..Connection::default() }))
}

fn open() -> StateSpan {
    StateSpan { state: State::Established, entered: Time(0), duration_us: None, estimated: false }
}

fn lookup(number: u64, duration_us: u64, age_us: u64) -> Option<Resolved> {
    Some(Resolved { lookup: number, name: "shop".to_owned(), duration_us, age_us })
}

fn http(exchange: Exchange) -> Record {
    Record::Http(exchange.0)
}

fn printed(records: &[Record], columns: usize, palette: Palette) -> String {
    let mut text = Vec::new();
    let mut sink = Waterfall::new(&mut text, TimeZone::UTC, columns).painted(palette);
    records.iter().for_each(|record| sink.record(record).unwrap());
    sink.finish().unwrap();
    String::from_utf8(text).unwrap()
}

fn plain(records: &[Record], columns: usize) -> String {
    printed(records, columns, Palette::PLAIN)
}

/// A page with everything that a page can have.
fn shop() -> Vec<Record> {
    const PAGE: &str = "http://shop/de/";
    let mut reset = get(130, "http://shop/api/cart").referer(PAGE).on(1, 2).is("application/json");
    reset.0.exchange.outcome = Outcome::Reset;
    reset.0.exchange.reason = Some("reset by the server during the response".into());
    let mut silent = get(140, "http://shop/api/\u{1b}[31m").referer(PAGE).on(2, 1).lasting(60);
    silent.0.exchange.response = None;
    silent.0.exchange.timing.wait_us = None;
    silent.0.exchange.timing.receive_us = None;
    silent.0.exchange.outcome = Outcome::NoResponse;
    silent.0.exchange.reason = Some("closed by the server before the response".into());
    vec![
        http(get(50, "http://shop/").document().on(1, 0).redirected("/de/")),
        http(get(61, PAGE).document().on(1, 1).lasting(30)),
        http(
            get(110, "http://cdn/fonts/inter-regular-latin-extended.woff2?v=4")
                .referer(PAGE)
                .on(2, 0)
                .is("font/woff2"),
        ),
        http(reset),
        http(silent),
        http(
            get(150, "http://shop/missing.png")
                .referer(PAGE)
                .on(1, 3)
                .is("text/html")
                .status(404, "Not Found"),
        ),
        http(get(160, "http://shop/socket").with("Origin", "http://shop").on(3, 0).status(503, "Busy")),
        connection(1, 30_000, 20_000, lookup(7, 25_000, 5_000)),
        // It follows the same lookup, and did not wait for it.
        connection(2, 95_000, 5_000, lookup(7, 25_000, 70_000)),
        connection(3, 155_000, 5_000, None),
    ]
}

#[test]
fn a_page_is_a_line_per_request() {
    insta::assert_snapshot!(plain(&shop(), 80), @r"
    ░ lookup  ▒ connect  · idle  ▸ send  ─ wait  █ receive  × broke off
    start: ms until the request; took: ms from there to its end; + new connection
    ~ the page is inferred and may be wrong

    2026-09-21 14:13:20.000 UTC http://shop/de/
    firefox[100]: 7 requests on 3 connections, 5.86 KiB in 200 ms, 4 failed
    start  request                       size connection                        took
     50.0  GET /                 302   1000 B +c1 #0     ░░░▒▒─█                10.0
     61.0  GET /de/              200   1000 B  c1 #1           ────             30.0
    110.0  GET cd…nded.woff2?v=4 200   1000 B +c2 #0              ▒▒──          10.0
    130.0  GET /api/cart         200   1000 B  c1 #2                  ─×        10.0
           └ RESET by the server during the response
    140.0  GET /api/\u{1b}[31m     -           c2 #1                   ──────×  60.0
           └ no response: closed by the server before the response
    150.0  GET /missing.png      404   1000 B  c1 #3                    ──      10.0
    160.0 ~GET /socket           503   1000 B +c3 #0                     ▒─     10.0
    1 lookup in 25.0 ms; 3 connections opened in up to 20.0 ms
    slowest: GET /api/\u{1b}[31m  60.0 ms
    failed: 404 Not Found, 503 Busy, RESET by the server during the response, no
        response
    ~ inferred: 1 by Origin (its latest page)
    ");
    insta::assert_snapshot!(plain(&shop(), 120), @r"
    ░ lookup  ▒ connect  · idle  ▸ send  ─ wait  █ receive  × broke off
    start: ms until the request; took: ms from there to its end; + new connection
    ~ the page is inferred and may be wrong

    2026-09-21 14:13:20.000 UTC http://shop/de/
    firefox[100]: 7 requests on 3 connections, 5.86 KiB in 200 ms, 4 failed
    start  request                                kind          size connection                                         took
     50.0  GET /                                  html  302   1000 B +c1 #0     ░░░░░▒▒▒▒▒─█                            10.0
     61.0  GET /de/                               html  200   1000 B  c1 #1                ───────                      30.0
    110.0  GET cdn/fon…r-latin-extended.woff2?v=4 font  200   1000 B +c2 #0                       ▒·───                 10.0
    130.0  GET /api/cart                          json  200   1000 B  c1 #2                             ──×             10.0
           └ RESET by the server during the response
    140.0  GET /api/\u{1b}[31m                            -           c2 #1                               ───────────×  60.0
           └ no response: closed by the server before the response
    150.0  GET /missing.png                       html  404   1000 B  c1 #3                                 ──█         10.0
    160.0 ~GET /socket                                  503   1000 B +c3 #0                                  ▒──█       10.0
    1 lookup in 25.0 ms; 3 connections opened in up to 20.0 ms
    slowest: GET /api/\u{1b}[31m  60.0 ms
    failed: 404 Not Found, 503 Busy, RESET by the server during the response, no response
    ~ inferred: 1 by Origin (its latest page)
    ");
}

#[test]
fn lines_fit_and_nothing_from_outside_steers_the_terminal() {
    for columns in [80, 93, 100, 120, 200] {
        let text = plain(&shop(), columns);
        for line in text.lines() {
            assert!(width(line) <= columns, "{columns}: {line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
    assert_eq!(plain(&shop(), 10), plain(&shop(), 80));
    assert_eq!(plain(&shop(), 10_000), plain(&shop(), 240));
}

#[test]
fn failures_are_in_colours_and_the_text_is_the_same() {
    let coloured = printed(&shop(), 100, Palette::COLOURED);
    for painted in [
        "\u{1b}[31mRESET by the server during the response\u{1b}[0m",
        "\u{1b}[33m404\u{1b}[0m",
        "\u{1b}[31m503\u{1b}[0m",
        "\u{1b}[31m×\u{1b}[0m",
        "\u{1b}[31m, 4 failed\u{1b}[0m",
    ] {
        assert!(coloured.contains(painted), "{painted:?} in {coloured}");
    }
    let codes = ["\u{1b}[36m", "\u{1b}[2m", "\u{1b}[33m", "\u{1b}[31m", "\u{1b}[0m"];
    assert_eq!(codes.iter().fold(coloured, |text, code| text.replace(code, "")), plain(&shop(), 100));
}

#[test]
fn other_requests_pages_that_were_not_seen_and_servers_ends_say_what_they_are() {
    let api = |ms, url| get(ms, url).by(7, "curl").is("application/json");
    let mut older = api(5, "http://api/v1/b").on(4, 0);
    older.0.exchange.reused = None;
    let mut nobody = api(900, "http://api/v1/c").on(5, 0);
    Arc::make_mut(&mut nobody.0.connection).process = None;
    let records = [
        http(api(0, "http://api/v1/a").on(3, 0)),
        http(older),
        http(nobody),
        http(get(1_000, "http://shop/a.css").referer("https://shop/").on(6, 0).at_server([10, 9, 9, 9])),
    ];
    insta::assert_snapshot!(plain(&records, 80), @"
    ░ lookup  ▒ connect  · idle  ▸ send  ─ wait  █ receive  × broke off
    start: ms until the request; took: ms from there to its end; + new connection

    2026-09-21 14:13:20.000 UTC Requests without a page
    curl[7]: 2 requests on 2 connections, 1.95 KiB in 15.0 ms
    start  request                  size connection                             took
     0.00  GET api/v1/a     200   1000 B +c3 #0     ──────────────████         10.00
     5.00  GET api/v1/b     200   1000 B ?c4 #0             ───────────────███ 10.00
    1 connection opened; 1 connection possibly opened before these records (?)
    slowest: GET api/v1/a  10.0 ms, waited 8.00 ms

    2026-09-21 14:13:20.900 UTC Requests without a page
    an unknown process at 10.0.0.1: 1 request on 1 connection, 1000 B in 10.0 ms
    start  request                  size connection                             took
     0.00  GET api/v1/c     200   1000 B +c5 #0     ─────────────────────█████ 10.00
    1 connection opened

    2026-09-21 14:13:21.000 UTC https://shop/  (document not recorded)
    10.9.9.9, as nginx[812] saw it: 1 request on 1 connection, 1000 B in 10.0 ms
    start  request                  size connection                             took
     0.00  GET shop/a.css   200   1000 B +c6 #0     ─────────────────────█████ 10.00
    1 connection opened
    ");
}

#[test]
fn what_was_lost_or_finds_no_room_is_reported() {
    let mut text = Vec::new();
    let mut sink = Waterfall::holding(&mut text, TimeZone::UTC, 80, 1_500);
    let lost = Loss { time: Time(START), place: LossPlace::Ring, events: 3, cpu: None };
    for record in
        [http(get(0, "http://shop/").document()), http(get(9, "http://shop/b").on(2, 0)), Record::Loss(lost)]
    {
        sink.record(&record).unwrap();
    }
    sink.finish().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("1 request on 1 connection"), "{text}");
    assert!(
        text.ends_with(
            "*** LOST 3 events: the ring buffer was full (a larger --ring-size or a filter
    helps)
*** the output above may have gaps
*** 1 socket left out: more than waterfalls can hold; a filter helps\n"
        ),
        "{text}"
    );
    assert_eq!(plain(&[], 80), "no HTTP exchanges\n\n");
}

#[test]
fn a_connection_that_was_opened_ahead_is_no_part_of_the_request() {
    let page = |ms| {
        let records =
            [http(get(ms, "http://shop/").document().on(1, 0)), connection(1, 0, 1_000, lookup(1, 9, 9))];
        plain(&records, 80).lines().nth(6).unwrap().to_owned()
    };
    insta::assert_snapshot!(page(1_001), @"1001.0  GET /            200   1000 B +c1 #0     ▒······················─   10.0");
    insta::assert_snapshot!(page(1_002), @" 0.00  GET /            200   1000 B +c1 #0     ─────────────────────█████ 10.00");
}
