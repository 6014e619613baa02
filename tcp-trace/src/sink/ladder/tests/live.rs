//! Which connections are drawn, and when.

use super::*;

/// What is printed of these records and of some time after them, before the session ends.
fn drawn(records: &[Record]) -> String {
    let mut output = Vec::new();
    let mut ladder = Ladder::new(&mut output, TimeZone::UTC).as_they_end();
    for record in records {
        ladder.record(record).unwrap();
        ladder.flush().unwrap();
    }
    (0..2 * FLUSHES_PER_LOOK).for_each(|_| ladder.flush().unwrap());
    drop(ladder);
    String::from_utf8(output).unwrap()
}

/// A connection that was there before, and its end.
fn older(id: u64, change: impl Fn(&mut Connection)) -> [Record; 2] {
    let Record::Connection(mut summary) = summary(id, By::None, How::Unknown) else { unreachable!() };
    (summary.seen_from_start, summary.bytes) = (false, Bytes::default());
    change(&mut summary);
    [state(7, id, State::TimeWait, State::Close, None), Record::Connection(summary)]
}

#[test]
fn a_connection_is_drawn_when_both_its_ends_have_ended() {
    let records = session();
    let (server, others) = records.split_last().unwrap();
    assert_eq!(drawn(others), "", "the server's end is open");
    let text = drawn(&records);
    assert_eq!(text.matches("closed by the client").count(), 1, "{text}");
    assert_eq!(text, print(&records), "as it would be drawn at the end");
    // An end whose other end is not traced.
    assert!(drawn(std::slice::from_ref(server)).contains("closed by the client"));
}

#[test]
fn what_was_drawn_is_not_drawn_again_at_the_end() {
    let mut output = Vec::new();
    let mut ladder = Ladder::new(&mut output, TimeZone::UTC).as_they_end();
    session().iter().for_each(|record| ladder.record(record).unwrap());
    (0..2 * FLUSHES_PER_LOOK).for_each(|_| ladder.flush().unwrap());
    assert_eq!((ladder.store.lives().count(), ladder.store.bytes()), (0, 0), "its memory is free");
    ladder.finish().unwrap();
    drop(ladder);
    assert_eq!(String::from_utf8(output).unwrap(), print(&session()));
}

#[test]
fn older_connections_on_which_nothing_happened_are_counted() {
    let records: Vec<_> = [4101, 4102].into_iter().flat_map(|id| older(id, |_| {})).collect();
    assert_eq!(
        print(&records),
        "1 older connection on which nothing happened: not drawn\n",
        "two ends of one"
    );
    assert_eq!(drawn(&records), "");
}

#[test]
fn an_older_connection_has_no_age() {
    let text = print(&older(4101, |summary| summary.bytes.sent = 79));
    assert!(text.contains("(its start was not seen)"), "{text}");
    assert!(text.contains("ended (cause unknown); 79 B to the server, 0 B to the client"), "{text}");
}

#[test]
fn a_connect_that_the_client_gave_up_says_so() {
    let text = print(&[
        state(0, 4101, State::Close, State::SynSent, None),
        state(1_000_000, 4101, State::SynSent, State::Close, Some(1_000_000)),
    ]);
    assert!(text.contains("CLOSE after 1.00 s, given up, no answer"), "{text}");
}
