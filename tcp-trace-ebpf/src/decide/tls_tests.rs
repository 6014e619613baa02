//! Calls in calls, calls whose end was not seen, and what of their plaintext is reported.

use super::*;
use crate::{CALL_LIBRARY_SHIFT, LIBRARY_GNUTLS};

const READ: u64 = CALL_RECEIVES;
const WRITE: u64 = 0;

fn begin(thread: &mut TlsThread, sp: u64, address: u64, hook: u64) -> bool {
    let Some(call) = thread.begin(sp) else { return false };
    *call = TlsCall { object: TlsKey { address, ..TlsKey::default() }, sp, hook, ..TlsCall::default() };
    true
}

/// What is reported when the call ends.
fn end(thread: &mut TlsThread, sp: u64) -> Option<(u64, u8)> {
    let call = thread.end(sp).filter(|call| call.is_reported == 0 && !call.is_silent())?;
    Some((call.object.address, call.direction()))
}

fn current(thread: &mut TlsThread) -> Option<u64> {
    thread.current().map(|call| call.object.address)
}

#[test]
fn a_call_ends_where_it_began() {
    let mut thread = TlsThread::default();
    assert_eq!(current(&mut thread), None);
    assert!(begin(&mut thread, 1000, 0xa, READ));
    assert_eq!(current(&mut thread), Some(0xa));
    assert_eq!(end(&mut thread, 900), None, "some other function's return");
    assert_eq!(end(&mut thread, 1000), Some((0xa, DIRECTION_IN)));
    assert_eq!(current(&mut thread), None);
    assert_eq!(end(&mut thread, 1000), None);
}

#[test]
fn what_an_inner_call_of_the_same_object_passed_counts_once() {
    let mut thread = TlsThread::default();
    assert!(begin(&mut thread, 1000, 0xa, READ));
    assert!(begin(&mut thread, 900, 0xa, READ));
    assert_eq!(end(&mut thread, 900), Some((0xa, DIRECTION_IN)));
    assert_eq!(end(&mut thread, 1000), None);
    assert!(begin(&mut thread, 1000, 0xa, READ), "the next call");
    assert_eq!(end(&mut thread, 1000), Some((0xa, DIRECTION_IN)));
}

#[test]
fn what_a_silent_call_passes_is_not_reported() {
    let mut thread = TlsThread::default();
    assert!(begin(&mut thread, 1000, 0xa, WRITE | CALL_IS_SILENT));
    for _ in 0..2 {
        assert!(begin(&mut thread, 900, 0xa, WRITE));
        assert_eq!(end(&mut thread, 900), None);
    }
    assert!(begin(&mut thread, 900, 0xb, WRITE));
    assert_eq!(end(&mut thread, 900), Some((0xb, DIRECTION_OUT)), "another object's");
    assert_eq!(end(&mut thread, 1000), None);
    assert!(thread.is_outside());
    assert!(begin(&mut thread, 1000, 0xa, WRITE));
    assert!(!thread.is_outside());
    assert_eq!(end(&mut thread, 1000), Some((0xa, DIRECTION_OUT)));
}

#[test]
fn of_several_sockets_none_is_the_calls() {
    let mut call = TlsCall::default();
    call.note_socket(1, true);
    call.note_socket(1, true);
    assert_eq!((call.socket, call.is_excluded), (1, 1));
    for cookie in [2, 1, 1] {
        call.note_socket(cookie, false);
        assert_eq!((call.socket, call.is_excluded), (0, 0));
    }
}

#[test]
fn a_function_that_begins_higher_in_the_stack_is_not_inside() {
    let call = TlsCall { sp: 1000, ..TlsCall::default() };
    assert!(!call.is_over(999));
    assert!(call.is_over(1000) && call.is_over(1001));
}

#[test]
fn tls_in_tls_is_two_objects() {
    let mut thread = TlsThread::default();
    assert!(begin(&mut thread, 1000, 0xb, WRITE));
    assert!(begin(&mut thread, 900, 0xa, WRITE));
    assert_eq!(current(&mut thread), Some(0xa));
    assert!(!begin(&mut thread, 800, 0xc, WRITE), "a third one");
    assert_eq!(end(&mut thread, 800), None);
    assert_eq!(end(&mut thread, 900), Some((0xa, DIRECTION_OUT)));
    assert_eq!(current(&mut thread), Some(0xb));
    assert!(begin(&mut thread, 900, 0xa, READ), "it reads while it writes");
    assert_eq!(end(&mut thread, 900), Some((0xa, DIRECTION_IN)));
    assert_eq!(end(&mut thread, 1000), Some((0xb, DIRECTION_OUT)));
}

#[test]
fn a_call_that_returned_unseen_gives_its_place_to_the_next() {
    let mut thread = TlsThread::default();
    assert!(begin(&mut thread, 1000, 0xa, WRITE));
    for sp in [1000, 1100] {
        assert!(begin(&mut thread, sp, 0xb, WRITE));
        assert_eq!(current(&mut thread), Some(0xb));
    }
    assert!(begin(&mut thread, 900, 0xc, WRITE), "deeper: it seems to be inside");
    assert_eq!(end(&mut thread, 900), Some((0xc, DIRECTION_OUT)));
    assert!(begin(&mut thread, 900, 0xc, WRITE));
    assert!(begin(&mut thread, 950, 0xd, WRITE));
    assert_eq!(end(&mut thread, 950), Some((0xd, DIRECTION_OUT)));
}

#[test]
fn the_number_of_bytes_is_returned_or_stored() {
    let minus_one = -1_i64 as u64;
    for (hook, returned, expected) in [
        (WRITE, 5, Some(5)),
        (WRITE, 0, Some(0)),
        (WRITE, minus_one, Some(0)),
        // The upper half of the register is nobody's.
        (WRITE, 0xdead_beef_ffff_ffff, Some(0)),
        (WRITE, 0xdead_beef_0000_0005, Some(5)),
        (CALL_RETURNS_LONG, 1 << 32, Some(1 << 32)),
        (CALL_RETURNS_LONG, minus_one, Some(0)),
        (CALL_COUNTS_AT_FOURTH, 1, None),
        (CALL_COUNTS_AT_FIFTH, 1, None),
        (CALL_COUNTS_AT_FOURTH, 0, Some(0)),
    ] {
        assert_eq!(count_returned(hook, returned), expected, "{hook} {returned:#x}");
    }
    assert_eq!(count_argument(READ), None);
    assert_eq!(count_argument(READ | CALL_COUNTS_AT_FOURTH), Some(3));
    assert_eq!(count_argument(CALL_COUNTS_AT_FIFTH), Some(4));
    let call = TlsCall { hook: READ | u64::from(LIBRARY_GNUTLS) << CALL_LIBRARY_SHIFT, ..TlsCall::default() };
    assert_eq!((call.direction(), call.library()), (DIRECTION_IN, LIBRARY_GNUTLS));
}

#[test]
fn skipping_concerns_one_object_at_an_address() {
    let skip = TlsSkip { until: 100, generation: 7, padding: 0 };
    for (skip, generation, offset, expected) in [
        (None, 7, 0, 0),
        (Some(&skip), 7, 0, 100),
        (Some(&skip), 7, 90, 10),
        (Some(&skip), 7, 100, 0),
        (Some(&skip), 7, 200, 0),
        (Some(&skip), 8, 0, 0),
    ] {
        assert_eq!(skipped(skip, generation, offset), expected);
    }
}

#[test]
fn ciphertexts_become_rare() {
    let reported = (1..=70).filter(|number| is_ciphertext_reported(*number));
    assert!(reported.eq([1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64]));
}

#[test]
fn a_call_that_begins_again_is_reported_once() {
    let mut goroutine = Goroutine { stack: [0x1000, 0x3000], ..Goroutine::default() };
    let sp = goroutine.relative(0x2e00);
    let call = goroutine.calls.begin(sp).unwrap();
    let object = TlsKey { address: 0xc000, ..TlsKey::default() };
    *call = TlsCall { sp, object, count_at: 5, hook: WRITE, ..TlsCall::default() };
    assert!(!goroutine.calls.is_again(sp, 0xc000, 5), "it was not reported");
    goroutine.calls.begin(sp).unwrap().is_reported = 1;
    // Its stack had to grow.
    goroutine.stack = [0x5000, 0x9000];
    let again = goroutine.relative(0x8e00);
    assert!(goroutine.calls.is_again(again, 0xc000, 5));
    for (sp, object, length, what) in [
        (0x8d00, 0xc000, 5, "a call inside of it"),
        (0x8e00, 0xd000, 5, "of another object"),
        (0x8e00, 0xc000, 6, "with other bytes"),
    ] {
        assert!(!goroutine.calls.is_again(goroutine.relative(sp), object, length), "{what}");
    }
    assert!(goroutine.end(again).is_some());
    assert!(!goroutine.calls.is_again(again, 0xc000, 5), "the next one");
}

#[test]
fn a_goroutine_is_in_its_call_wherever_its_stack_is() {
    let mut goroutine = Goroutine { stack: [0x1000, 0x3000], ..Goroutine::default() };
    let begin = |goroutine: &mut Goroutine, sp: u64, buffer: u64| {
        let (sp, buffer) = (goroutine.relative(sp), goroutine.kept(buffer));
        let call = goroutine.calls.begin(sp).unwrap();
        *call = TlsCall { sp, buffer, hook: READ, ..TlsCall::default() };
    };
    for (buffer, expected) in
        [(0x2f00, 0x8f00), (0x1000, 0x7000), (0x2fff, 0x8fff), (0x3000, 0x3000), (0xfff, 0xfff)]
    {
        begin(&mut goroutine, 0x2e00, buffer);
        // A call inside of it, as of a session inside of another.
        begin(&mut goroutine, 0x2d00, 0xc000_0000);
        // Now it is larger, and elsewhere.
        goroutine.stack = [0x5000, 0x9000];
        assert!(goroutine.calls.is_in(goroutine.relative(0x8d00)));
        assert_eq!(goroutine.end(goroutine.relative(0x8c00)), None, "some other function's return");
        let inner = goroutine.end(goroutine.relative(0x8d00)).map(|call| call.buffer);
        assert_eq!(inner, Some(0xc000_0000));
        let outer = goroutine.end(goroutine.relative(0x8e00)).map(|call| call.buffer);
        assert_eq!(outer, Some(expected), "{buffer:x}");
        assert!(goroutine.calls.is_outside() && !goroutine.calls.is_in(goroutine.relative(0x8e00)));
        goroutine.stack = [0x1000, 0x3000];
    }
}

#[test]
fn what_rustls_takes_is_one_piece_or_a_list() {
    let at = 0x7ffc_0000;
    for (words, count, expected) in [
        ([0, 0x1000, 20, 0xdead], 20, Some(Chunks { at: at + 8, length: 1 })),
        ([0, 0x1000, 20, 0xdead], 5, Some(Chunks { at: at + 8, length: 1 })),
        ([0, 0x1000, 20, 0xdead], 21, None),
        ([0x5000, 3, 0, 50], 50, Some(Chunks { at: 0x5000, length: 3 })),
        ([0x5000, 3, 0, 50], 51, None),
        ([0x5000, 3, 10, 50], 40, None),
    ] {
        assert_eq!(Chunks::of(words, at, count), expected, "{words:x?} {count}");
    }
}

#[test]
fn what_is_written_is_of_a_connection_when_it_is_between_two_things_of_it() {
    assert_eq!(distance(0x1000, 0x1400, 0x1098), Some(0x98));
    assert_eq!(distance(0x1000, 0x1400, 0x1000), Some(0));
    for written in [0xfff, 0x1400, 0x2098] {
        assert_eq!(distance(0x1000, 0x1400, written), None, "{written:x}");
    }
    assert_eq!(distance(0x1400, 0x1000, 0x1200), None, "it is not behind it");
}

#[test]
fn what_rustls_has_decrypted_is_borrowed_or_owned() {
    assert_eq!(received([1 << 63, 0x1000, 20, 0]), Some((0x1000, 20)));
    assert_eq!(received([32, 0x1000, 20, 0]), Some((0x1000, 20)));
    assert_eq!(received([19, 0x1000, 20, 0]), None);
    assert_eq!(received([1 << 63 | 1, 0x1000, 20, 0]), None);
}
