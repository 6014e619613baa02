//! When the parts of exchanges, calls and pings were, and how long they waited.

use tcp_trace_model::http2::{Blocked, GrpcMessages, Pings};

use super::*;
use crate::{hpack::encoder::Encoder, stream::testing::Cut};

/// Plays frames at times, in milliseconds.
fn play(lines: &[(u64, &str)]) -> Fed {
    let mut encoders = [Encoder::default(), Encoder::default()];
    let mut fed = Fed::new(false, Some(Role::Client));
    for (ms, line) in lines {
        fed.now = Time(ms * 1_000_000);
        let (side, line) = line.split_at(2);
        let direction = if side == "> " { Direction::Out } else { Direction::In };
        fed.bytes(direction, &script::bytes(&mut encoders[direction.index()], line), Cut::Whole);
    }
    fed
}

const BEGINNING: [(u64, &str); 3] = [(1, "> preface"), (2, "> settings"), (3, "< settings")];

fn play_behind(lines: &[(u64, &str)]) -> Fed {
    play(&[&BEGINNING[..], lines].concat())
}

#[test]
fn phases_are_those_of_the_stream() {
    let fed = play_behind(&[
        (10, "> headers 1 | :method: POST | :scheme: http | :path: /a"),
        (12, "> headers 3 end | :method: GET | :scheme: http | :path: /b"),
        (15, "> data 1 end abc"),
        (20, "< headers 3 | :status: 200"),
        (30, "< headers 1 | :status: 103"),
        (31, "< headers 1 | :status: 200"),
        (40, "< data 3 end x"),
        (50, "< data 1 end x"),
        (70, "> headers 5 end | :method: GET | :scheme: http | :path: /c"),
        (75, "< headers 5 end | :status: 200"),
    ]);
    let timings: Vec<_> = fed.found.exchanges.iter().map(|exchange| &exchange.timing).collect();
    let phases = |at: usize| {
        let timing = timings[at];
        (timing.started.0 / 1_000_000, timing.send_us, timing.wait_us, timing.receive_us, timing.idle_us)
    };
    assert_eq!(phases(0), (12, Some(0), Some(8_000), Some(20_000), Some(0)));
    assert_eq!(phases(1), (10, Some(5_000), Some(16_000), Some(19_000), Some(0)));
    assert_eq!(timings[1].informational_us, [20_000]);
    assert_eq!(phases(2), (70, Some(0), Some(5_000), Some(0), Some(20_000)));
    let reused: Vec<_> = fed.found.exchanges.iter().map(|exchange| exchange.reused).collect();
    assert_eq!(reused, [Some(true), Some(false), Some(true)]);
}

#[test]
fn a_body_says_which_window_it_waited_for() {
    let fed = play_behind(&[
        (4, "> settings initial_window_size=10"),
        (10, "> headers 1 end | :method: GET | :scheme: http | :path: /a"),
        (11, "> headers 3 end | :method: GET | :scheme: http | :path: /b"),
        (20, "< headers 1 | :status: 200"),
        (21, r"< data 1 \{10*x}"),
        (22, "< headers 3 | :status: 200"),
        (30, "> window 3 1000000"),
        (32, r"< data 3 cut 16384 \{65525*x}"),
        (60, "> window 0 100000"),
        (61, "< data 3 end x"),
        (90, "> window 1 10"),
        (91, "< data 1 end x"),
    ]);
    let blocked: Vec<_> = fed
        .found
        .exchanges
        .iter()
        .map(|exchange| exchange.stream.as_ref().unwrap().details.response_blocked)
        .collect();
    // The second one's connection was exhausted from 32 to 60 ms, which held the first one up, too.
    assert_eq!(
        blocked,
        [
            Some(Blocked { stream_us: 0, connection_us: 28_000 }),
            Some(Blocked { stream_us: 69_000, connection_us: 28_000 })
        ]
    );
}

#[test]
fn a_window_that_was_exhausted_at_the_end_held_nothing_up() {
    let fed = play_behind(&[
        (4, "> settings initial_window_size=3"),
        (10, "> headers 1 end | :method: GET | :scheme: http | :path: /a"),
        (20, "< headers 1 | :status: 200"),
        (21, "< data 1 end abc"),
        (90, "> window 1 10"),
    ]);
    assert_eq!(fed.found.exchanges[0].stream.as_ref().unwrap().details.response_blocked, None);
}

#[test]
fn an_upload_waits_for_the_server() {
    let fed = play_behind(&[
        (10, "> headers 1 | :method: POST | :scheme: http | :path: /a"),
        (11, r"> data 1 cut 16000 \{65535*x}"),
        (21, "< window 1 10"),
        (31, "< window 0 10"),
        (32, "> data 1 end abc"),
        (40, "< headers 1 end | :status: 200"),
    ]);
    let details = &fed.found.exchanges[0].stream.as_ref().unwrap().details;
    assert_eq!(details.request_blocked, Some(Blocked { stream_us: 10_000, connection_us: 20_000 }));
}

#[test]
fn messages_of_a_call_have_their_times_and_it_lasts_until_its_trailers() {
    let fed = play_behind(&[
        (10, "> headers 1 | :method: POST | :scheme: http | :path: /s/m | content-type: application/grpc"),
        (12, r"> data 1 \0\0\0\0\x01a"),
        (13, "< headers 1 | :status: 200 | content-type: application/grpc"),
        (20, r"< data 1 \0\0\0\0\x02a"),
        (25, "< data 1 b"),
        (50, r"< data 1 \0\0\0\0\x01c"),
        (60, "> data 1 end"),
        (100, "< headers 1 end | grpc-status: 0"),
    ]);
    let exchange = &fed.found.exchanges[0];
    let grpc = exchange.stream.as_ref().unwrap().grpc.as_ref().unwrap();
    let messages = |count, bytes, first_us, last_us| GrpcMessages {
        count,
        bytes,
        first_us: Some(first_us),
        last_us: Some(last_us),
        cut: false,
    };
    assert_eq!(grpc.request, messages(1, 1, 2_000, 2_000));
    assert_eq!(grpc.response, messages(2, 3, 15_000, 40_000));
    assert_eq!(exchange.timing.total_us, 90_000);
}

#[test]
fn a_ping_takes_until_its_answer() {
    let mut fed = play_behind(&[(10, "> ping a"), (12, "> ping b"), (15, "< pong a"), (27, "< pong b")]);
    fed.finish(End::Fin);
    let expected = Pings { count: 2, answered: 2, least_us: Some(5_000), most_us: Some(15_000) };
    assert_eq!(fed.found.http2.unwrap().pings_sent, Some(expected));
}
