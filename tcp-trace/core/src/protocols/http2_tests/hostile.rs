//! What is sent to cost memory stays within what is said of it, and nothing that is sent makes it panic.

use proptest::{collection::vec, prelude::*};

use super::{script::frame, *};
use crate::{
    hpack::encoder::{Encoder, Form},
    http2::{PREFACE, STREAMS_MAX, TEXT_MAX},
    stream::testing::Cut,
};

/// Bytes that a connection keeps at most: the fields of open streams, a block and a frame of each end, their tables, and the streams.
const RETAINED_MAX: usize = (4 << 20) + 8 * TEXT_MAX + 2 * (128 << 10) + STREAMS_MAX * 1024;

/// A connection that has begun.
fn begun() -> Fed {
    let mut fed = Fed::new(false, Some(Role::Client));
    fed.whole(Direction::Out, &[PREFACE, &frame(4, 0, 0, &[])].concat());
    fed.whole(Direction::In, &frame(4, 0, 0, &[]));
    fed
}

const HEAD: [(&[u8], &[u8]); 3] = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")];

#[test]
fn a_block_of_references_to_large_fields_keeps_few_of_them() {
    let mut fed = begun();
    let mut encoder = Encoder::default();
    let mut block = encoder.block(&HEAD);
    encoder.field(&mut block, b"x", &[b'y'; 4_000], Form::Inserted);
    // Each of these bytes stands for 4 KB.
    block.resize(16_000, 0xbe);
    for stream in 0..2_000 {
        // Only the first one inserts what it refers to.
        let block = if stream == 0 { &block[..] } else { &[&encoder.block(&HEAD), &block[5_000..]].concat() };
        fed.whole(Direction::Out, &frame(1, 5, 1 + 2 * stream, block));
        assert!(fed.retained_bytes() <= RETAINED_MAX, "{}", fed.retained_bytes());
    }
    let details = &fed.found.exchanges[0].stream.as_ref().unwrap().details;
    assert!(details.omitted_fields > 5_000, "{details:?}");
    assert_eq!(fed.found.exchanges.len(), 2_000 - STREAMS_MAX, "the oldest streams are given up");
}

#[test]
fn continuations_without_end_are_not_kept() {
    for fragment in [&[][..], &[0; 16_000]] {
        let mut fed = begun();
        fed.whole(Direction::Out, &frame(1, 1, 1, &[0x82]));
        for _ in 0..10_000 {
            fed.whole(Direction::Out, &frame(9, 0, 1, fragment));
        }
        assert!(fed.retained_bytes() < 4 * TEXT_MAX, "{}", fed.retained_bytes());
        fed.whole(Direction::Out, &frame(9, 4, 1, &[]));
        fed.whole(Direction::In, &frame(1, 5, 1, &[0x88]));
        assert_eq!(fed.found.exchanges.len(), 1);
    }
}

#[test]
fn streams_that_are_reset_at_once_leave_nothing() {
    let mut fed = begun();
    let mut encoder = Encoder::default();
    for stream in 0..50_000 {
        let id = 1 + 2 * stream;
        fed.whole(
            Direction::Out,
            &[frame(1, 5, id, &encoder.block(&HEAD)), frame(3, 0, id, &[0, 0, 0, 8])].concat(),
        );
        assert!(fed.retained_bytes() < 10_000, "{}", fed.retained_bytes());
    }
    assert_eq!(fed.found.exchanges.len(), 50_000);
    fed.finish(End::Fin);
    let totals = fed.found.http2.unwrap();
    assert_eq!((totals.concurrent_max, totals.resets), (1, 50_000));
}

#[test]
fn a_mebibyte_of_settings_and_other_floods_are_not_kept() {
    let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 1].repeat(2_700));
    let goaway = frame(7, 0, 0, &[0; 16_000]);
    for (name, frame) in [
        ("settings", settings),
        ("settings of nothing", frame(4, 0, 0, &[])),
        ("pings", frame(6, 0, 0, b"12345678")),
        ("priorities", frame(2, 0, 1, &[0; 5])),
        ("windows", frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("goaway", goaway),
        ("what nobody knows", frame(99, 0, 0, &[0; 16_000])),
        ("data of nobody", frame(0, 0, 99, &[0; 16_000])),
    ] {
        let mut fed = begun();
        for _ in 0..(1 << 20) / frame.len().min(1 << 10) {
            fed.whole(Direction::In, &frame);
            assert!(fed.retained_bytes() < 10_000, "{name}: {}", fed.retained_bytes());
        }
        fed.finish(End::Fin);
        assert_eq!(fed.found.http2.unwrap().illegal, None, "{name}");
    }
}

#[test]
fn a_frame_of_a_mebibyte_is_passed_over() {
    let mut fed = Fed::new(false, Some(Role::Client));
    let allow = frame(4, 0, 0, &[0, 5, 0, 0xff, 0xff, 0xff]);
    fed.whole(Direction::Out, &[PREFACE, &allow].concat());
    fed.whole(Direction::In, &allow);
    let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 1].repeat(1 << 18));
    settings.chunks(10_000).for_each(|piece| fed.whole(Direction::In, piece));
    assert!(fed.retained_bytes() < 10_000, "{}", fed.retained_bytes());
    // A block of that length too: what it has is not known.
    frame(1, 5, 1, &vec![0x82; 1 << 20]).chunks(10_000).for_each(|piece| fed.whole(Direction::Out, piece));
    fed.whole(Direction::In, &frame(1, 5, 1, &[0x88]));
    let exchange = &fed.found.exchanges[0];
    assert_eq!(exchange.request.as_ref().unwrap().target.printable().to_string(), "«unknown»");
    assert_eq!(exchange.response.as_ref().unwrap().status_code, 200);
}

/// Frames that are mostly legal.
fn frames() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let kind = prop_oneof![4 => 0_u8..10, 1 => any::<u8>()];
    let flags = prop_oneof![4 => proptest::sample::select(vec![0_u8, 1, 4, 5, 12, 0x24]), 1 => any::<u8>()];
    let stream = prop_oneof![4 => 0_u32..8, 1 => any::<u32>()];
    let payload = prop_oneof![
        4 => proptest::sample::select(vec![&b"\x82\x86\x84"[..], b"\x88", b"", b"\0\0\0\x08", b"12345678", b"\0\x04\0\0\0\x0a"])
            .prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..40),
    ];
    vec((any::<bool>(), (kind, flags, stream, payload)), 0..40).prop_map(|frames| {
        let of = |(is_client, (kind, flags, stream, payload)): (bool, (u8, u8, u32, Vec<u8>))| {
            (is_client, frame(kind, flags, stream, &payload))
        };
        frames.into_iter().map(of).collect()
    })
}

fn played(frames: &[(bool, Vec<u8>)], is_middle: bool, cut: Cut) -> Found {
    let mut fed = if is_middle { Fed::new(true, None) } else { begun() };
    for (is_client, bytes) in frames {
        fed.bytes(if *is_client { Direction::Out } else { Direction::In }, bytes, cut);
        assert!(fed.retained_bytes() <= RETAINED_MAX);
    }
    fed.finish(End::Fin);
    fed.found
}

proptest! {
    #[test]
    fn any_frames_give_the_same_however_they_are_cut(frames in frames(), seed in 1_u64..1_000) {
        let whole = played(&frames, false, Cut::Whole);
        for cut in [Cut::Bytes, Cut::Shuffled(seed)] {
            let cut = played(&frames, false, cut);
            prop_assert_eq!(&cut.exchanges, &whole.exchanges);
            prop_assert_eq!(&cut.http2, &whole.http2);
        }
        played(&frames, true, Cut::Whole);
    }

    #[test]
    fn any_bytes_are_read_without_panic(pieces in vec((any::<bool>(), vec(any::<u8>(), 1..60)), 0..20)) {
        played(&pieces, false, Cut::Whole);
        played(&pieces, true, Cut::Whole);
    }
}
