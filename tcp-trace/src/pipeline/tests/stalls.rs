//! What of an exchange's time was lost on the way, as the sender's and as the receiver's host see it.

use proptest::prelude::*;

use super::*;
use crate::{
    event::{LeftOff, Skipping},
    record::{ConnectionId, Stall},
};

/// 2,000 bytes of request and 3,000 of response, head and body.
const REQUEST_LENGTH: usize = 2_000;
const RESPONSE_LENGTH: usize = 3_000;
/// A response so long that the kernel side is told to leave most of it out.
const LONG: usize = 1 << 20;

/// A step of a conversation: at so many milliseconds, bytes from and to.
#[derive(Clone, Copy, Debug)]
enum Step {
    Request(u64, usize, usize),
    Response(u64, usize, usize),
    /// The same without payload, with how far the kernel side had come, and how many milliseconds before.
    LeftOff(u64, usize, usize, (usize, u64)),
    /// The client's, the server's window is full, or is not any more.
    ClientWindow(u64, bool),
    ServerWindow(u64, bool),
    Lost(u64),
}
use Step::{ClientWindow, Lost, Request, Response, ServerWindow};

fn message(start: &str, length: usize) -> Vec<u8> {
    let mut bytes = format!("{start}\r\nContent-Length: ").into_bytes();
    let body = length - bytes.len() - "1234567\r\n\r\n".len();
    bytes.extend(format!("{body:07}\r\n\r\n").bytes());
    bytes.resize(length, b'x');
    bytes
}

/// Plays a conversation to one end of a connection that is established at 0 ms.
fn play_with(role: Role, steps: &[Step], response_length: usize) -> (Vec<crate::record::Http>, Host) {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let start = host.now;
    let (cookie, ends, pid) = match role {
        Role::Client => (CLIENT, endpoints(41352, 8080), owner(13838, "curl")),
        _ => (SERVER, endpoints(8080, 41352), owner(812, "nginx")),
    };
    host.event(cookie, EventKind::Owner(pid));
    let request = message("POST /a HTTP/1.1", REQUEST_LENGTH);
    let response = message("HTTP/1.1 200 OK", response_length);
    let number = |isn: u32, at: usize| isn.wrapping_add(1).wrapping_add(u32::try_from(at).unwrap());
    // Of the client, and of the server.
    let mut last = [CLIENT_ISN + 1, SERVER_ISN + 1];
    let mut is_full = [false; 2];
    for step in steps {
        let is_clients = matches!(step, Request(..) | ClientWindow(..));
        let direction = if is_clients == (role == Role::Client) { Direction::Out } else { Direction::In };
        let mut segment = Segment {
            direction,
            flags: Flags::ACK,
            sequence: last[usize::from(!is_clients)],
            acknowledgment: 0,
            length: 0,
            payload: &[],
            endpoints: ends,
            netns: Some(NETNS),
            state: Some(State::Established),
            zero_window: is_full[usize::from(!is_clients)],
            skipping: Skipping::No,
        };
        let ms = match *step {
            Request(ms, from, to) => {
                (segment.sequence, segment.payload) = (number(CLIENT_ISN, from), &request[from..to]);
                ms
            }
            Response(ms, from, to) => {
                (segment.sequence, segment.payload) = (number(SERVER_ISN, from), &response[from..to]);
                ms
            }
            Step::LeftOff(ms, from, to, (next, ago)) => {
                segment.sequence = number(SERVER_ISN, from);
                segment.length = u32::try_from(to - from).unwrap();
                let us = u32::try_from(ago * 1_000).unwrap();
                segment.skipping = Skipping::Since(LeftOff { next: number(SERVER_ISN, next), us });
                ms
            }
            ClientWindow(ms, full) | ServerWindow(ms, full) => {
                is_full[usize::from(!is_clients)] = full;
                segment.zero_window = full;
                ms
            }
            Lost(ms) => {
                host.pipeline.events_lost(Time(start + ms * 1_000_000), &mut host.out);
                continue;
            }
        };
        segment.length = segment.length.max(u32::try_from(segment.payload.len()).unwrap());
        let end = segment.sequence.wrapping_add(segment.length);
        let highest = &mut last[usize::from(!is_clients)];
        if end.wrapping_sub(*highest).cast_signed() > 0 {
            *highest = end;
        }
        host.now = start + ms * 1_000_000;
        let event = Event { time: Time(host.now), cookie, kind: EventKind::Segment(segment) };
        host.pipeline.event(&event, &mut host.out);
    }
    host.finish();
    let id = ConnectionId::of_socket(cookie, 0);
    let exchanges = host.out.iter().filter_map(|record| match record {
        Record::Http(http) if http.connection == id => Some((**http).clone()),
        _ => None,
    });
    (exchanges.collect(), host)
}

fn play(role: Role, steps: &[Step]) -> String {
    let (exchanges, _) = play_with(role, steps, RESPONSE_LENGTH);
    let lines: Vec<_> = exchanges.iter().map(line).collect();
    lines.join("; ")
}

/// The phases in milliseconds, each with what was lost of it: `r` retransmits, `l` late segments, and the milliseconds
/// of that; `w` milliseconds of a full window.
fn line(http: &crate::record::Http) -> String {
    let stalls = http.timing.stalls.clone().unwrap_or_default();
    let timing = &http.timing;
    let phases = [
        ("send", timing.send_us, stalls.send),
        ("wait", timing.wait_us, stalls.wait),
        ("receive", timing.receive_us, stalls.receive),
    ];
    let phases = phases.map(|(name, us, stall)| {
        let us = us.map_or("-".to_owned(), |us| (us / 1_000).to_string());
        let lost = stall.map_or(String::new(), |stall| {
            let Stall { retransmits, out_of_order, retransmit_us, zero_window_us } = stall;
            let (segments_ms, window_ms) = (retransmit_us / 1_000, zero_window_us / 1_000);
            format!(" ({retransmits}r {out_of_order}l {segments_ms}, w {window_ms})")
        });
        format!("{name} {us}{lost}")
    });
    phases.join(", ")
}

const WHOLE_REQUEST: Step = Request(10, 0, REQUEST_LENGTH);

#[test]
fn what_was_lost_is_told_by_each_end_in_its_phase() {
    use Role::{Client, Server};
    for (name, role, steps, expected) in [
        (
            "nothing is lost",
            Client,
            &[
                Request(10, 0, 1_000),
                Request(11, 1_000, 2_000),
                Response(20, 0, 1_500),
                Response(25, 1_500, 3_000),
            ][..],
            "send 1, wait 9, receive 5",
        ),
        (
            "the request is sent again: the client waits",
            Client,
            &[WHOLE_REQUEST, Request(210, 0, 2_000), Response(220, 0, 3_000)],
            "send 0, wait 210 (1r 0l 200, w 0), receive 0",
        ),
        (
            "and again: overlapping times count once",
            Client,
            &[WHOLE_REQUEST, Request(210, 0, 2_000), Request(610, 0, 2_000), Response(620, 0, 3_000)],
            "send 0, wait 610 (2r 0l 600, w 0), receive 0",
        ),
        (
            "the server sees only that the request comes late",
            Server,
            &[Request(210, 0, 2_000), Response(220, 0, 3_000)],
            "send 0, wait 10, receive 0",
        ),
        (
            "and nothing when it comes twice because the acknowledgment was lost",
            Server,
            &[WHOLE_REQUEST, Request(210, 0, 2_000), Response(220, 0, 3_000)],
            "send 0, wait 210, receive 0",
        ),
        (
            "a part of the request is sent again before it is whole",
            Client,
            &[
                Request(10, 0, 1_000),
                Request(20, 1_000, 1_500),
                Request(300, 1_000, 1_500),
                Request(310, 1_500, 2_000),
                Response(320, 0, 3_000),
            ],
            "send 300 (1r 0l 280, w 0), wait 10, receive 0",
        ),
        (
            "of a time that began before the phase, the part in it counts",
            Client,
            &[
                Request(10, 0, 1_000),
                Request(30, 1_000, 2_000),
                Request(210, 0, 1_000),
                Response(220, 0, 3_000),
            ],
            "send 20, wait 190 (1r 0l 180, w 0), receive 0",
        ),
        (
            "a part of the request comes late: the server sees the hole",
            Server,
            &[
                Request(10, 0, 1_000),
                Request(20, 1_500, 2_000),
                Request(300, 1_000, 1_500),
                Response(320, 0, 3_000),
            ],
            "send 290 (0r 1l 280, w 0), wait 20, receive 0",
        ),
        (
            "in the request's head",
            Server,
            &[Request(10, 0, 20), Request(20, 30, 2_000), Request(300, 20, 30), Response(320, 0, 3_000)],
            "send 290 (0r 1l 280, w 0), wait 20, receive 0",
        ),
        (
            "the server sends a part of the response again",
            Server,
            &[
                WHOLE_REQUEST,
                Response(20, 0, 1_000),
                Response(25, 1_000, 2_000),
                Response(225, 0, 1_000),
                Response(230, 2_000, 3_000),
            ],
            "send 0, wait 10, receive 210 (1r 0l 205, w 0)",
        ),
        (
            "the client sees the hole, and two segments fill it",
            Client,
            &[
                WHOLE_REQUEST,
                Response(20, 0, 1_000),
                Response(25, 2_000, 3_000),
                Response(225, 1_000, 1_500),
                Response(230, 1_500, 2_000),
            ],
            "send 0, wait 10, receive 210 (0r 2l 205, w 0)",
        ),
        (
            "the response's beginning comes late: the client waits",
            Client,
            &[WHOLE_REQUEST, Response(25, 1_000, 3_000), Response(225, 0, 1_000)],
            "send 0, wait 215 (0r 1l 200, w 0), receive 0",
        ),
        (
            "the rest of the response's head comes late",
            Client,
            &[WHOLE_REQUEST, Response(20, 0, 10), Response(25, 1_000, 3_000), Response(225, 10, 1_000)],
            "send 0, wait 10, receive 205 (0r 1l 200, w 0)",
        ),
        (
            "a response that comes twice has lost nothing",
            Client,
            &[WHOLE_REQUEST, Response(20, 0, 1_000), Response(220, 0, 1_000), Response(230, 1_000, 3_000)],
            "send 0, wait 10, receive 210",
        ),
        (
            "the client's window is full during the response: seen from the client",
            Client,
            &[
                WHOLE_REQUEST,
                Response(20, 0, 1_000),
                ClientWindow(30, true),
                ClientWindow(930, false),
                Response(940, 1_000, 3_000),
            ],
            "send 0, wait 10, receive 920 (0r 0l 0, w 900)",
        ),
        (
            "and from the server",
            Server,
            &[
                WHOLE_REQUEST,
                Response(20, 0, 1_000),
                ClientWindow(30, true),
                ClientWindow(930, false),
                Response(940, 1_000, 3_000),
            ],
            "send 0, wait 10, receive 920 (0r 0l 0, w 900)",
        ),
        (
            "twice, and a retransmit in another kind's time",
            Server,
            &[
                WHOLE_REQUEST,
                Response(20, 0, 1_000),
                ClientWindow(30, true),
                Response(90, 0, 1_000),
                ClientWindow(130, false),
                ClientWindow(200, true),
                ClientWindow(250, false),
                Response(260, 1_000, 3_000),
            ],
            "send 0, wait 10, receive 240 (1r 0l 70, w 150)",
        ),
        (
            "the server's window is full during the request",
            Client,
            &[
                Request(10, 0, 1_000),
                ServerWindow(20, true),
                ServerWindow(520, false),
                Request(530, 1_000, 2_000),
                Response(540, 0, 3_000),
            ],
            "send 520 (0r 0l 0, w 500), wait 10, receive 0",
        ),
        (
            "a window that is full from before is counted from the phase's beginning on",
            Server,
            &[ClientWindow(5, true), WHOLE_REQUEST, ClientWindow(110, false), Response(120, 0, 3_000)],
            "send 0, wait 110 (0r 0l 0, w 100), receive 0",
        ),
        (
            "a window that is still full when the session ends",
            Server,
            &[WHOLE_REQUEST, Response(20, 0, 1_000), ClientWindow(30, true), ClientWindow(930, true)],
            "send 0, wait 10, receive - (0r 0l 0, w 900)",
        ),
        (
            "a request that nobody answers",
            Client,
            &[WHOLE_REQUEST, Request(210, 0, 2_000), Request(610, 0, 2_000)],
            "send 0, wait - (2r 0l 600, w 0), receive -",
        ),
        (
            "a hole after lost events is no hole",
            Client,
            &[
                WHOLE_REQUEST,
                Response(20, 0, 1_000),
                Response(25, 2_000, 2_500),
                Lost(30),
                Response(225, 1_000, 2_000),
                Response(230, 2_500, 3_000),
            ],
            "send 0, wait 10, receive 210",
        ),
    ] {
        assert_eq!(play(role, steps), expected, "{name}");
    }
}

/// The end of a response that is left out except for its beginning and what is not in order.
fn long(role: Role, steps: &[Step]) -> String {
    let mut all = vec![WHOLE_REQUEST, Response(20, 0, 1_000)];
    all.extend(steps);
    let (exchanges, host) = play_with(role, &all, LONG);
    let cookie = if role == Role::Client { CLIENT } else { SERVER };
    let skip = host.pipeline.skips.iter().find(|skip| skip.cookie == cookie);
    assert!(skip.is_some_and(|skip| skip.until.is_some()), "the body is left out");
    let lines: Vec<_> = exchanges
        .iter()
        .map(|http| {
            let body = http.http.response.as_ref().unwrap().body.size;
            assert!(body < LONG as u64 && body > LONG as u64 - 200, "{body}");
            assert_eq!(http.integrity, crate::record::Integrity::Complete);
            line(http)
        })
        .collect();
    lines.join("; ")
}

#[test]
fn of_payload_that_is_left_out_it_shows_what_is_not_in_order() {
    let end = (LONG - 1_000, LONG);
    for (name, role, steps, expected) in [
        (
            "nothing",
            Role::Client,
            &[Step::LeftOff(50, end.0, end.1, (end.0, 1))][..],
            "send 0, wait 10, receive 30",
        ),
        (
            "the receiver sees a hole, and its filling",
            Role::Client,
            &[
                Step::LeftOff(30, 402_000, 403_000, (400_000, 1)),
                Step::LeftOff(230, 400_000, 402_000, (500_000, 150)),
                Step::LeftOff(250, end.0, end.1, (end.0, 1)),
            ],
            "send 0, wait 10, receive 230 (0r 1l 200, w 0)",
        ),
        (
            "that lasts beyond the arrival of the last segment",
            Role::Client,
            &[
                Step::LeftOff(30, 402_000, 403_000, (400_000, 1)),
                Step::LeftOff(50, end.0, end.1, (end.0, 1)),
                Step::LeftOff(230, 400_000, 402_000, (LONG, 180)),
            ],
            "send 0, wait 10, receive 210 (0r 1l 200, w 0)",
        ),
        (
            "the sender has sent the bytes not later than the last ones before",
            Role::Server,
            &[
                Step::LeftOff(330, 400_000, 402_000, (500_000, 280)),
                Step::LeftOff(350, end.0, end.1, (end.0, 1)),
            ],
            "send 0, wait 10, receive 330 (1r 0l 280, w 0)",
        ),
    ] {
        assert_eq!(long(role, steps), expected, "{name}");
    }
}

#[test]
fn idle_time_before_the_first_request_is_since_established() {
    for role in [Role::Client, Role::Server] {
        let (exchanges, _) = play_with(role, &[WHOLE_REQUEST, Response(20, 0, 3_000)], RESPONSE_LENGTH);
        let idle_us = exchanges[0].timing.idle_us.unwrap();
        assert!((10_000..10_010).contains(&idle_us), "{idle_us}");
        assert_eq!(exchanges[0].reused, Some(false));
    }
}

/// What may happen to the segment of a message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    SentAgain(u64),
    Delayed(u64),
}

fn fates(is_lossy: bool) -> impl Strategy<Value = Vec<(Fate, u64)>> {
    let fate = if is_lossy {
        prop_oneof![
            Just(Fate::Arrives),
            (1..500_u64).prop_map(Fate::SentAgain),
            (1..500_u64).prop_map(Fate::Delayed)
        ]
        .boxed()
    } else {
        Just(Fate::Arrives).boxed()
    };
    prop::collection::vec((fate, 0..40_u64), 1..30)
}

/// The steps of a request and a response in segments of 100 bytes, by their time.
fn conversation(fates: &[(Fate, u64)], windows: &[(u64, bool, bool)]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut now = 1;
    for (index, at) in (0..REQUEST_LENGTH + RESPONSE_LENGTH).step_by(100).enumerate() {
        let (fate, pause) = fates[index % fates.len()];
        now += pause;
        let at_time = |ms| match at.checked_sub(REQUEST_LENGTH) {
            None => Request(ms, at, at + 100),
            Some(at) => Response(ms, at, at + 100),
        };
        match fate {
            Fate::Arrives => steps.push((now, at_time(now))),
            Fate::SentAgain(later) => {
                steps.extend([(now, at_time(now)), (now + later, at_time(now + later))]);
            }
            Fate::Delayed(later) => steps.push((now + later, at_time(now + later))),
        }
    }
    steps.extend(windows.iter().map(|&(ms, is_clients, is_full)| {
        (ms, if is_clients { ClientWindow(ms, is_full) } else { ServerWindow(ms, is_full) })
    }));
    steps.sort_by_key(|(ms, _)| *ms);
    steps.into_iter().map(|(_, step)| step).collect()
}

proptest! {
    #[test]
    fn no_more_is_lost_of_a_phase_than_it_lasted(
        fates in fates(true),
        windows in prop::collection::vec((0..3_000_u64, any::<bool>(), any::<bool>()), 0..10),
        is_client: bool,
    ) {
        let role = if is_client { Role::Client } else { Role::Server };
        let (exchanges, _) = play_with(role, &conversation(&fates, &windows), RESPONSE_LENGTH);
        for http in exchanges {
            let timing = &http.timing;
            let stalls = timing.stalls.clone().unwrap_or_default();
            for (us, stall) in
                [(timing.send_us, stalls.send), (timing.wait_us, stalls.wait), (timing.receive_us, stalls.receive)]
            {
                let (us, stall) = (us.unwrap_or(u64::MAX), stall.unwrap_or_default());
                prop_assert!(stall.retransmit_us <= us && stall.zero_window_us <= us, "{us} {stall:?}");
            }
        }
    }

    #[test]
    fn without_loss_nothing_is_told(fates in fates(false), is_client: bool) {
        let role = if is_client { Role::Client } else { Role::Server };
        let (exchanges, _) = play_with(role, &conversation(&fates, &[]), RESPONSE_LENGTH);
        prop_assert_eq!(exchanges.len(), 1);
        prop_assert_eq!(&exchanges[0].timing.stalls, &None);
    }
}

#[test]
fn a_body_until_the_fin_lasts_until_the_hole_before_it_is_filled() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let (start, ends) = (host.now, endpoints(41352, 8080));
    let head: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nab";
    let number = |at: usize| SERVER_ISN + 1 + u32::try_from(head.len() + at).unwrap();
    let mut segment = |ms: u64, direction, flags, sequence, payload: &[u8], length, skipping| {
        host.now = start + ms * 1_000_000;
        let segment = Segment {
            direction,
            flags,
            sequence,
            acknowledgment: 0,
            length,
            payload,
            endpoints: ends,
            netns: None,
            state: Some(State::Established),
            zero_window: false,
            skipping,
        };
        let kind = EventKind::Segment(segment);
        host.pipeline.event(&Event { time: Time(host.now), cookie: CLIENT, kind }, &mut host.out);
    };
    let (out, inward, fin) = (Direction::Out, Direction::In, Flags::FIN.with(Flags::ACK));
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    segment(10, out, Flags::ACK, CLIENT_ISN + 1, REQUEST, length(REQUEST), Skipping::No);
    segment(20, inward, Flags::ACK, SERVER_ISN + 1, head, length(head), Skipping::No);
    // Its body is left out: 1000 bytes pass unseen, 500 are missing.
    segment(30, inward, fin, number(1_500), b"", 0, Skipping::Since(LeftOff { next: number(1_000), us: 5 }));
    segment(
        230,
        inward,
        Flags::ACK,
        number(1_000),
        b"",
        500,
        Skipping::Since(LeftOff { next: number(1_500), us: 9 }),
    );
    let http = host.out.iter().find_map(|record| match record {
        Record::Http(http) => Some(http),
        _ => None,
    });
    let http = http.expect("the exchange is over");
    assert_eq!(http.http.response.as_ref().unwrap().body.size, 1_502);
    assert_eq!(line(http), "send 0, wait 10, receive 210 (0r 1l 200, w 0)");
}
