//! Which payload is needed, and what comes of it where the kernel side leaves it out.

use tcp_trace_model::event::{Elided, Elision};

use super::{script::frame, *};
use crate::{hpack::encoder::Encoder, stream::Need};

/// A connection whose client has asked for this path, and what its client and its server begin with.
fn asked(fields: &str, response: &str) -> Fed {
    let mut encoders = [Encoder::default(), Encoder::default()];
    let mut fed = Fed::new(false, Some(Role::Client));
    for (at, direction, line) in [
        (0, Direction::Out, "preface"),
        (0, Direction::Out, "settings max_frame_size=1000000"),
        (1, Direction::In, "settings"),
        (0, Direction::Out, fields),
        (1, Direction::In, response),
    ] {
        fed.whole(direction, &script::bytes(&mut encoders[at], line));
    }
    fed
}

/// The header of a frame of DATA that ends its stream.
fn data_header(length: usize) -> Vec<u8> {
    frame(0, 1, 1, &vec![0; length])[..9].to_vec()
}

impl Fed {
    /// Bytes that pass unreported, behind which the kernel side reports what follows.
    fn elided(&mut self, direction: Direction, length: usize, then: &[u8]) {
        let next = self.next[direction.index()].wrapping_add(u32::try_from(length).unwrap());
        testing::elide_until(self.stream.half_mut(direction), next);
        let segment = testing::payload(direction, next, then);
        self.segment(&Segment { elision: Elision::After(Elided { next, us: 0 }), ..segment });
        self.next[direction.index()] = next.wrapping_add(u32::try_from(then.len()).unwrap());
    }
}

const GET: &str = "headers 1 end | :method: GET | :scheme: http | :authority: h | :path: /a";
const OK: &str = "headers 1 | :status: 200";

#[test]
fn of_a_frame_of_data_only_the_header_is_needed() {
    let mut fed = asked(GET, OK);
    assert_eq!(fed.layer.need(Direction::In), Need::All);
    fed.whole(Direction::In, &data_header(900_000));
    let offset = fed.stream.half(Direction::In).offset();
    assert_eq!(fed.layer.need(Direction::In), Need::From(offset + 900_000));
    fed.whole(Direction::In, &[0; 1_000]);
    assert_eq!(fed.layer.need(Direction::In), Need::From(offset + 900_000), "wherever in it");
    fed.elided(Direction::In, 899_000, &frame(6, 0, 0, b"12345678"));
    assert_eq!(fed.found.exchanges[0].response.as_ref().unwrap().body.size, 900_000);
    fed.finish(End::Fin);
    assert_eq!(fed.found.http2.as_ref().unwrap().pings_received.unwrap().count, 1, "what follows is read");
}

#[test]
fn of_messages_the_prefixes_are_needed() {
    let call = "headers 1 end | :method: POST | :scheme: http | :path: /s/m | content-type: application/grpc";
    let mut fed = asked(call, "headers 1 | :status: 200 | content-type: application/grpc");
    fed.whole(Direction::In, &[data_header(500_010), b"\0\0\x03\xd0\x90".to_vec()].concat());
    let offset = fed.stream.half(Direction::In).offset();
    assert_eq!(fed.layer.need(Direction::In), Need::From(offset + 250_000));
    fed.elided(Direction::In, 250_000, b"\0\0\x03\xd0\x90");
    fed.elided(Direction::In, 250_000, &[]);
    fed.fin(Direction::In);
    let response = fed.found.exchanges[0].stream.as_ref().unwrap().grpc.as_ref().unwrap().response;
    assert_eq!((response.count, response.bytes, response.cut), (2, 500_000, false));
}

#[test]
fn what_is_illegal_is_not_needed_any_more() {
    let mut fed = asked(GET, OK);
    fed.whole(Direction::In, &frame(6, 0, 0, b"1"));
    assert_eq!(fed.layer.need(Direction::In), Need::Nothing);
    assert_eq!(fed.layer.need(Direction::Out), Need::All);
}
