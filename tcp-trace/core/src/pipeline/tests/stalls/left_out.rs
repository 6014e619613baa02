//! Payload that is not seen: bodies that the kernel side leaves out, except for what is not in order, and lost events.

use super::*;

/// The end of a response that is left out except for its beginning and what is not in order.
fn long(role: Role, steps: &[Step]) -> String {
    let mut all = vec![WHOLE_REQUEST, Response(20, 0, 1_000)];
    all.extend(steps);
    let (exchanges, host) = play_with(role, &all, LONG);
    let cookie = if role == Role::Client { CLIENT } else { SERVER };
    let skip = host.skips.iter().find(|skip| skip.cookie == cookie);
    assert!(skip.is_some_and(|skip| skip.until.is_some()), "the body is left out");
    let lines: Vec<_> = exchanges
        .iter()
        .map(|http| {
            let body = http.exchange.response.as_ref().unwrap().body.size;
            assert!(body < LONG as u64 && body > LONG as u64 - 200, "{body}");
            assert_eq!(http.exchange.integrity, tcp_trace_model::record::Integrity::Complete);
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
            &[Step::Elided(50, end.0, end.1, (end.0, 1))][..],
            "send 0, wait 10, receive 30",
        ),
        (
            "the receiver sees a hole, and its filling",
            Role::Client,
            &[
                Step::Elided(30, 402_000, 403_000, (400_000, 1)),
                Step::Elided(230, 400_000, 402_000, (500_000, 150)),
                Step::Elided(250, end.0, end.1, (end.0, 1)),
            ],
            "send 0, wait 10, receive 230 (0r 1l 200, w 0)",
        ),
        (
            "that lasts beyond the arrival of the last segment",
            Role::Client,
            &[
                Step::Elided(30, 402_000, 403_000, (400_000, 1)),
                Step::Elided(50, end.0, end.1, (end.0, 1)),
                Step::Elided(230, 400_000, 402_000, (LONG, 180)),
            ],
            "send 0, wait 10, receive 210 (0r 1l 200, w 0)",
        ),
        (
            "the sender has sent the bytes not later than the last ones before",
            Role::Server,
            &[
                Step::Elided(330, 400_000, 402_000, (500_000, 280)),
                Step::Elided(350, end.0, end.1, (end.0, 1)),
            ],
            "send 0, wait 10, receive 330 (1r 0l 280, w 0)",
        ),
    ] {
        assert_eq!(long(role, steps), expected, "{name}");
    }
}

#[test]
fn a_body_until_the_fin_lasts_until_the_hole_before_it_is_filled() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let (start, ends) = (host.now, endpoints(41352, 8080));
    let head: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nab";
    let number = |at: usize| SERVER_ISN + 1 + u32::try_from(head.len() + at).unwrap();
    let mut segment = |ms: u64, direction, flags, sequence, payload: &[u8], length, elision| {
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
            elision,
            verdict: Default::default(),
        };
        let kind = EventKind::Segment(segment);
        host.pipeline.event(&Event { time: Time(host.now), cookie: CLIENT, kind });
        host.take();
    };
    let (out, inward, fin) = (Direction::Out, Direction::In, Flags::FIN.with(Flags::ACK));
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    segment(10, out, Flags::ACK, CLIENT_ISN + 1, REQUEST, length(REQUEST), Elision::None);
    segment(20, inward, Flags::ACK, SERVER_ISN + 1, head, length(head), Elision::None);
    // Its body is left out: 1000 bytes pass unseen, 500 are missing.
    segment(30, inward, fin, number(1_500), b"", 0, Elision::After(Elided { next: number(1_000), us: 5 }));
    segment(
        230,
        inward,
        Flags::ACK,
        number(1_000),
        b"",
        500,
        Elision::After(Elided { next: number(1_500), us: 9 }),
    );
    let http = host.out.iter().find_map(|record| match record {
        Record::Http(http) => Some(http),
        _ => None,
    });
    let http = http.expect("the exchange is over");
    assert_eq!(http.exchange.response.as_ref().unwrap().body.size, 1_502);
    assert_eq!(line(http), "send 0, wait 10, receive 210 (0r 1l 200, w 0)");
}

#[test]
fn after_a_loss_nothing_waits_for_the_bytes_that_were_lost() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let client = endpoints(41352, 8080);
    let (out, inward) = (Direction::Out, Direction::In);
    host.segment(
        CLIENT,
        client,
        out,
        Flags::ACK,
        (CLIENT_ISN + 1, SERVER_ISN + 1),
        REQUEST,
        State::Established,
    );
    // The segment with the response's head and the first byte of its body never came through the ring buffer.
    let response = (SERVER_ISN + RESPONSE.len() as u32, CLIENT_ISN + 1 + REQUEST.len() as u32);
    host.segment(CLIENT, client, inward, Flags::ACK, response, b"i", State::Established);
    let integrity = |host: &Host| {
        host.out.iter().find_map(|record| match record {
            Record::Http(http) => Some(http.exchange.integrity),
            _ => None,
        })
    };
    assert_eq!(integrity(&host), None, "it might still come");
    host.pipeline.events_lost(Time(host.now));
    host.take();
    assert_eq!(integrity(&host), Some(tcp_trace_model::exchange::Integrity::Gap));
}
