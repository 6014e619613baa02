//! What of an exchange's time was lost on the way, as the sender's and as the receiver's host see it.

mod generated;
mod left_out;

use tcp_trace_model::{
    event::{Elided, Elision},
    record::{ConnectionId, Stall},
};

use super::*;

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
    Elided(u64, usize, usize, (usize, u64)),
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
fn play_with(
    role: Role,
    steps: &[Step],
    response_length: usize,
) -> (Vec<tcp_trace_model::record::Http>, Host) {
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
            elision: Elision::None,
            verdict: Default::default(),
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
            Step::Elided(ms, from, to, (next, ago)) => {
                segment.sequence = number(SERVER_ISN, from);
                segment.length = u32::try_from(to - from).unwrap();
                let us = u32::try_from(ago * 1_000).unwrap();
                segment.elision = Elision::After(Elided { next: number(SERVER_ISN, next), us });
                ms
            }
            ClientWindow(ms, full) | ServerWindow(ms, full) => {
                is_full[usize::from(!is_clients)] = full;
                segment.zero_window = full;
                ms
            }
            Lost(ms) => {
                host.pipeline.events_lost(Time(start + ms * 1_000_000));
                host.take();
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
        host.pipeline.event(&event);
        host.take();
    }
    host.finish();
    let id = ConnectionId::of_socket(cookie, 0);
    let exchanges = host.out.iter().filter_map(|record| match record {
        Record::Http(http) if http.connection.id == id => Some(http.clone()),
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
fn line(http: &tcp_trace_model::record::Http) -> String {
    let stalls = http.exchange.timing.stalls.clone().unwrap_or_default();
    let timing = &http.exchange.timing;
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

#[test]
fn idle_time_before_the_first_request_is_since_established() {
    for role in [Role::Client, Role::Server] {
        let (exchanges, _) = play_with(role, &[WHOLE_REQUEST, Response(20, 0, 3_000)], RESPONSE_LENGTH);
        let idle_us = exchanges[0].exchange.timing.idle_us.unwrap();
        assert!((10_000..10_010).contains(&idle_us), "{idle_us}");
        assert_eq!(exchanges[0].exchange.reused, Some(false));
    }
}
