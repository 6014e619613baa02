//! HTTP that is fed with segments, as connections do it.

use tcp_trace_model::{
    event::{Direction, Elided, Elision, Flags, Role, Segment},
    time::Time,
};

use super::super::{Cause, ConnectionEnd, End, Exchanges, HttpConnection};
use crate::stream::{Chunks, Duplex, testing};

/// The parser of a connection with the streams before it.
pub(super) struct Fed {
    stream: Duplex,
    http: HttpConnection,
    /// By direction: whether payload is left out that is not needed.
    is_skipped: [bool; 2],
    first_fin: Option<(Direction, Time)>,
    fin: [Option<Time>; 2],
}

const DIRECTIONS: [Direction; 2] = [Direction::Out, Direction::In];

fn hand(
    http: &mut HttpConnection,
    direction: Direction,
    mut chunks: Chunks<'_>,
    is_other_incomplete: bool,
    exchanges: &mut Exchanges,
) {
    while let Some(chunk) = chunks.next_chunk() {
        http.input(direction, chunk, is_other_incomplete, exchanges);
    }
}

impl Fed {
    pub(super) fn new(role: Option<Role>) -> Self {
        Self {
            stream: Duplex::default(),
            http: HttpConnection::new(role),
            is_skipped: [false; 2],
            first_fin: None,
            fin: [None; 2],
        }
    }

    /// The number of a direction's first byte is known.
    pub(super) fn start(&mut self, direction: Direction, sequence: u32) {
        self.stream.half_mut(direction).start(sequence);
        self.http.start(direction);
    }

    pub(super) fn is_http(&self) -> Option<bool> {
        self.http.is_http()
    }

    pub(super) fn requests(&self) -> Option<Direction> {
        self.http.requests()
    }

    pub(super) fn retained_bytes(&self) -> usize {
        let is_read = self.is_http() != Some(false);
        let held = self.stream.halves().iter().map(|half| half.held_bytes()).sum::<usize>();
        self.http.retained_bytes() + if is_read { held } else { 0 }
    }

    pub(super) fn stalled(&mut self, direction: Direction, cause: Cause, from: Time, to: Time) {
        self.http.stalled(direction, cause, from, to);
    }

    fn segment(&mut self, segment: Segment<'_>, time: Time, exchanges: &mut Exchanges) {
        let direction = segment.direction;
        let left = Elided { next: segment.sequence, us: 0 };
        let is_skipped = self.is_skipped[direction.index()];
        let elision = if is_skipped { Elision::After(left) } else { Elision::None };
        let segment = Segment { elision, ..segment };
        self.stream.segment(time, &segment);
        let is_other_incomplete = self.stream.half(direction.opposite()).has_held();
        let chunks = self.stream.half_mut(direction).read(time, &segment);
        hand(&mut self.http, direction, chunks, is_other_incomplete, exchanges);
    }

    pub(super) fn payload(
        &mut self,
        direction: Direction,
        sequence: u32,
        bytes: &[u8],
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        self.segment(testing::payload(direction, sequence, bytes), time, exchanges);
    }

    /// A segment without its payload.
    pub(super) fn skipped(
        &mut self,
        direction: Direction,
        sequence: u32,
        length: u32,
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        self.segment(testing::segment(direction, Flags::default(), sequence, length), time, exchanges);
    }

    pub(super) fn finished(
        &mut self,
        direction: Direction,
        sequence: u32,
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        self.first_fin = self.first_fin.or(Some((direction, time)));
        self.fin[direction.index()] = Some(time);
        self.segment(testing::segment(direction, Flags::FIN, sequence, 0), time, exchanges);
    }

    /// All before this number has passed, a FIN included.
    pub(super) fn has_passed(
        &mut self,
        direction: Direction,
        sequence: u32,
        time: Time,
        exchanges: &mut Exchanges,
    ) {
        let lasts_until_fin = self.http.lasts_until_fin(direction);
        let chunks = self.stream.half_mut(direction).advance_to(sequence, lasts_until_fin, time);
        hand(&mut self.http, direction, chunks, false, exchanges);
    }

    pub(super) fn give_up_holes(&mut self, time: Time, exchanges: &mut Exchanges) {
        for direction in DIRECTIONS {
            let is_other_incomplete = self.stream.half(direction.opposite()).has_held();
            let chunks = self.stream.half_mut(direction).give_up(time);
            hand(&mut self.http, direction, chunks, is_other_incomplete, exchanges);
        }
    }

    pub(super) fn finish(&mut self, time: Time, end: End, exchanges: &mut Exchanges) {
        self.give_up_holes(time, exchanges);
        let end = ConnectionEnd { end, first_fin: self.first_fin, fin: self.fin };
        self.http.finish(time, end, exchanges);
    }

    /// The number before which no payload of a direction is needed.
    pub(super) fn skip_until(&self, direction: Direction) -> Option<u32> {
        testing::unneeded_until(self.stream.half(direction), self.http.need(direction))
    }

    /// Payload before this number may never be reported.
    pub(super) fn skip(&mut self, direction: Direction, until: u32) {
        self.is_skipped[direction.index()] = true;
        testing::elide_until(self.stream.half_mut(direction), until);
    }
}
