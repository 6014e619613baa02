//! The segments of a connection, each once: where it was sent, with its arrival at the other end merged in.

use std::collections::HashMap;

use tcp_trace_core::timeline::{Life, Pair, Side, control};
use tcp_trace_model::{
    event::{Direction, Flags},
    record::Segment,
};

use super::model::{Event, Row};

/// One row per segment: at the time when it was sent, or when it arrived, if only that was seen.
pub(super) fn segment_rows<'a>(pair: &Pair<'a>) -> Vec<Row<'a>> {
    let mut rows = direction(Side::Client, pair.client, pair.server);
    rows.extend(direction(Side::Server, pair.server, pair.client));
    rows
}

/// What a segment has in common at both ends: its flags, the sequence number of its end, and what it
/// acknowledges. Not its beginning: offloads cut a segment with payload into several and join them again.
type Key = (Flags, u32, Option<u32>);

fn key(segment: &Segment) -> Key {
    (control(segment), segment.seq.wrapping_add(segment.length), segment.ack)
}

fn direction<'a>(sender: Side, from: Option<&'a Life>, to: Option<&'a Life>) -> Vec<Row<'a>> {
    let row = |segment: &'a Segment, arrived| Row {
        time: segment.time,
        side: sender,
        arrived,
        event: Event::Segment(segment),
    };
    let sent = in_order(from, Direction::Out);
    let mut rows: Vec<_> = sent.iter().map(|segment| row(segment, to.map(|_| false))).collect();
    let mut by_key: HashMap<Key, Vec<usize>> = HashMap::new();
    for (index, segment) in sent.iter().enumerate() {
        by_key.entry(key(segment)).or_default().push(index);
    }
    for arrival in in_order(to, Direction::In) {
        // The last one sent before: if an earlier one is without an arrival, it is the one that went missing.
        let sent = by_key.get_mut(&key(arrival)).and_then(|indices| {
            let before = indices.partition_point(|index| rows[*index].time <= arrival.time);
            Some(indices.remove(before.checked_sub(1)?))
        });
        match sent {
            Some(index) => rows[index].arrived = Some(true),
            None => rows.push(row(arrival, Some(true))),
        }
    }
    for acknowledgment in in_order(from, Direction::In).into_iter().chain(in_order(to, Direction::Out)) {
        if let Some(index) = acknowledged_fin(&sent, acknowledgment) {
            rows[index].arrived = rows[index].arrived.map(|_| true);
        }
    }
    rows
}

/// The FIN whose arrival an acknowledgment proves: the last one sent before. What comes to a mini-socket is not seen.
fn acknowledged_fin(sent: &[&Segment], acknowledgment: &Segment) -> Option<usize> {
    let ack = acknowledgment.ack?;
    let before = sent.partition_point(|segment| segment.time <= acknowledgment.time);
    sent[..before].iter().rposition(|segment| {
        let is_fin = segment.flags.0.has(Flags::FIN);
        is_fin && segment.seq.wrapping_add(segment.length).wrapping_add(1) == ack
    })
}

fn in_order(life: Option<&Life>, direction: Direction) -> Vec<&Segment> {
    let segments = life.map(|life| life.segments.as_slice()).unwrap_or_default();
    let mut segments: Vec<_> = segments.iter().filter(|segment| segment.direction == direction).collect();
    segments.sort_by_key(|segment| segment.time);
    segments
}
