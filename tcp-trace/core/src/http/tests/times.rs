//! When things happened, what came before, and what is bounded.

use proptest::prelude::*;
use tcp_trace_model::{
    event::{Direction, Role},
    exchange::Outcome,
    time::Time,
};

use super::{
    super::{Cause, End, INFORMATIONAL_MAX, OPEN_MAX},
    GET, OK,
    fed::Fed,
};

#[test]
fn times_are_those_of_the_bytes() {
    let mut http = Fed::new(Some(Role::Client));
    let mut exchanges = Vec::new();
    http.start(Direction::Out, 0);
    http.start(Direction::In, 0);
    let (first, second) = GET.as_bytes().split_at(9);
    http.payload(Direction::Out, 0, first, Time(1_000_000), &mut exchanges);
    http.payload(Direction::Out, 9, second, Time(1_010_000), &mut exchanges);
    let (first, second) = OK.as_bytes().split_at(9);
    http.payload(Direction::In, 0, first, Time(1_210_000), &mut exchanges);
    http.payload(Direction::In, 9, second, Time(1_213_000), &mut exchanges);
    let timing = &exchanges[0].timing;
    assert_eq!((timing.send_us, timing.wait_us, timing.receive_us), (Some(10), Some(200), Some(3)));
    assert_eq!((timing.started, timing.total_us), (Time(1_000_000), 213));
}

/// How long a client waited for 100, whose response comes `at` with these bytes and whose body is sent 300 us after the head, or never.
fn waited_for_100(answer: Option<(u64, &str)>, body: bool) -> Option<u64> {
    const HEAD: &str = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut http = Fed::new(Some(Role::Client));
    let mut exchanges = Vec::new();
    http.start(Direction::Out, 0);
    http.start(Direction::In, 0);
    http.payload(Direction::Out, 0, HEAD.as_bytes(), Time(1_000_000), &mut exchanges);
    if let Some((us, bytes)) = answer {
        http.payload(Direction::In, 0, bytes.as_bytes(), Time(1_000_000 + us * 1_000), &mut exchanges);
    }
    if body {
        let number = u32::try_from(HEAD.len()).unwrap();
        http.payload(Direction::Out, number, b"ok", Time(1_300_000), &mut exchanges);
    }
    http.finish(Time(1_900_000), End::Unknown, &mut exchanges);
    exchanges[0].timing.expect_us
}

#[test]
fn the_wait_for_100_ends_with_a_response_or_with_the_body() {
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    const REFUSED: &str = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(waited_for_100(Some((40, CONTINUE)), true), Some(40));
    assert_eq!(waited_for_100(Some((50, REFUSED)), false), Some(50));
    assert_eq!(waited_for_100(None, true), Some(300), "the client's patience was over");
    assert_eq!(waited_for_100(None, false), Some(900), "both waited");
}

#[test]
fn an_exchange_says_how_long_its_connection_was_idle_before_it() {
    for (is_from_start, first) in [(true, Some(false)), (false, None)] {
        let mut http = Fed::new(Some(Role::Client));
        let mut exchanges = Vec::new();
        if is_from_start {
            http.start(Direction::Out, 0);
            http.start(Direction::In, 0);
        }
        let (mut sent, mut received) = (0, 0);
        // The third request is pipelined: it begins before the second response has ended.
        for (direction, us) in [
            (Direction::Out, 1_000),
            (Direction::In, 1_100),
            (Direction::Out, 5_100),
            (Direction::Out, 5_150),
            (Direction::In, 5_200),
            (Direction::In, 5_300),
        ] {
            let (sequence, text) =
                if direction == Direction::Out { (&mut sent, GET) } else { (&mut received, OK) };
            http.payload(direction, *sequence, text.as_bytes(), Time(us * 1_000), &mut exchanges);
            *sequence += u32::try_from(text.len()).unwrap();
        }
        let told: Vec<_> =
            exchanges.iter().map(|exchange| (exchange.reused, exchange.timing.idle_us)).collect();
        assert_eq!(told, [(first, None), (Some(true), Some(4_000)), (Some(true), Some(0))]);
    }
}

#[test]
fn requests_without_answers_and_interim_responses_without_end_are_bounded() {
    let mut http = Fed::new(Some(Role::Client));
    let mut exchanges = Vec::new();
    http.start(Direction::Out, 0);
    http.start(Direction::In, 0);
    let requests = GET.repeat(OPEN_MAX + 10);
    http.payload(Direction::Out, 0, requests.as_bytes(), Time(0), &mut exchanges);
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(INFORMATIONAL_MAX + 10);
    http.payload(Direction::In, 0, interim.as_bytes(), Time(0), &mut exchanges);
    http.finish(Time(0), End::Fin, &mut exchanges);
    assert_eq!(exchanges.len(), OPEN_MAX + 1);
    assert_eq!(exchanges[0].informational.len(), INFORMATIONAL_MAX);
    let last = &exchanges[OPEN_MAX];
    assert_eq!(last.outcome, Outcome::Invalid);
    assert_eq!(last.reason.as_deref(), Some("request: 4096 requests wait for a response already"));
}

#[test]
fn what_holds_up_a_request_that_only_its_response_shows_to_be_one_counts() {
    const HEAD: &str = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
    let mut http = Fed::new(Some(Role::Client));
    let mut exchanges = Vec::new();
    // Seen from the middle: nobody knows whether this is a request or part of a body.
    http.payload(Direction::Out, 0, HEAD.as_bytes(), Time(1_000_000), &mut exchanges);
    http.stalled(Direction::Out, Cause::Retransmit, Time(1_000_000), Time(1_200_000));
    http.payload(
        Direction::Out,
        u32::try_from(HEAD.len()).unwrap(),
        b"body",
        Time(1_200_000),
        &mut exchanges,
    );
    for full in [1_450_000, 1_460_000] {
        http.stalled(Direction::Out, Cause::ZeroWindow, Time(1_400_000), Time(full));
    }
    for again in 0..100_u64 {
        let late = Time(1_500_000 + again * 1_000);
        http.stalled(Direction::Out, Cause::Retransmit, Time(1_200_000), late);
    }
    http.payload(Direction::In, 0, OK.as_bytes(), Time(1_700_000), &mut exchanges);
    let timing = &exchanges[0].timing;
    assert_eq!((timing.send_us, timing.wait_us), (Some(200), Some(500)));
    let stalls = timing.stalls.clone().unwrap();
    let [send, wait] = [stalls.send, stalls.wait].map(Option::unwrap);
    assert_eq!((send.retransmits, send.retransmit_us), (1, 200));
    assert_eq!((wait.retransmit_us, wait.zero_window_us), (399, 60), "of many the times are known");
}

proptest! {
    #[test]
    fn a_stall_is_never_longer_than_its_phase(
        steps in prop::collection::vec((0..9_u8, 0..2_000_u64, 0..3_000_u64), 1..60),
    ) {
        let mut http = Fed::new(Some(Role::Client));
        let mut exchanges = Vec::new();
        http.start(Direction::Out, 0);
        http.start(Direction::In, 0);
        let texts = [GET.repeat(20), OK.repeat(20)];
        let (mut at, mut now) = ([0, 0], 10_000);
        for (what, pause, before) in steps {
            now += pause;
            let direction = if what % 2 == 0 { Direction::Out } else { Direction::In };
            let cause = match what / 2 {
                0 | 4 => {
                    let (text, at) = (&texts[direction.index()], &mut at[direction.index()]);
                    let end = (*at + 13).min(text.len());
                    let number = u32::try_from(*at).unwrap();
                    http.payload(direction, number, &text.as_bytes()[*at..end], Time(now), &mut exchanges);
                    *at = end;
                    continue;
                }
                1 => Cause::Retransmit,
                2 => Cause::OutOfOrder,
                _ => Cause::ZeroWindow,
            };
            http.stalled(direction, cause, Time(now.saturating_sub(before)), Time(now));
        }
        for exchange in exchanges {
            let timing = exchange.timing;
            let stalls = timing.stalls.unwrap_or_default();
            for (us, stall) in
                [(timing.send_us, stalls.send), (timing.wait_us, stalls.wait), (timing.receive_us, stalls.receive)]
            {
                let (us, stall) = (us.unwrap_or_default(), stall.unwrap_or_default());
                prop_assert!(stall.retransmit_us <= us && stall.zero_window_us <= us, "{us} {stall:?}");
            }
        }
    }
}
