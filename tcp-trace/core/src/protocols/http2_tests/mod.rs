//! HTTP/2 as a connection's layers read it: the corpus, what is cut and skipped, and what is hostile.

mod corpus;
mod hostile;
mod script;
mod skip;
mod times;

use tcp_trace_model::{
    event::{Direction, Flags, Role, Segment},
    time::Time,
};

use super::{Cx, Found, Layer, Start};
use crate::{
    http::{ConnectionEnd, End},
    stream::{Chunks, Duplex, testing},
};

/// Layers that are fed with segments, as connections do it, seen from the client.
struct Fed {
    stream: Duplex,
    layer: Layer,
    found: Found,
    /// The number of the next byte of each direction.
    next: [u32; 2],
    first_fin: Option<(Direction, Time)>,
    fin: [Option<Time>; 2],
    now: Time,
}

fn hand(layer: &mut Layer, direction: Direction, mut chunks: Chunks<'_>, is_held: bool, found: &mut Found) {
    while let Some(chunk) = chunks.next_chunk() {
        layer.input(direction, chunk, &mut Cx::new(is_held, found));
    }
}

impl Fed {
    /// A connection that is seen from its beginning, or from its middle, where it need not be known which end is the client's.
    fn new(is_middle: bool, role: Option<Role>) -> Self {
        let start = Start { from_start: [!is_middle; 2], ..Start::of_role(role) };
        // Near the end of the sequence numbers, so that they wrap.
        let next = [u32::MAX - 30, 77];
        let mut stream = Duplex::default();
        if !is_middle {
            stream.half_mut(Direction::Out).start(next[0]);
            stream.half_mut(Direction::In).start(next[1]);
        }
        Self {
            stream,
            layer: Layer::first(start),
            found: Found::default(),
            next,
            first_fin: None,
            fin: [None; 2],
            now: Time(0),
        }
    }

    fn segment(&mut self, segment: &Segment<'_>) {
        let direction = segment.direction;
        self.stream.segment(self.now, segment);
        let is_held = self.stream.half(direction.opposite()).has_held();
        let chunks = self.stream.half_mut(direction).read(self.now, segment);
        hand(&mut self.layer, direction, chunks, is_held, &mut self.found);
    }

    /// Bytes in pieces.
    fn bytes(&mut self, direction: Direction, bytes: &[u8], cut: testing::Cut) {
        let start = self.next[direction.index()];
        for (at, length) in testing::pieces(bytes.len(), cut) {
            let sequence = start.wrapping_add(u32::try_from(at).unwrap());
            self.segment(&testing::payload(direction, sequence, &bytes[at..at + length]));
        }
        self.next[direction.index()] = start.wrapping_add(u32::try_from(bytes.len()).unwrap());
    }

    fn whole(&mut self, direction: Direction, bytes: &[u8]) {
        self.bytes(direction, bytes, testing::Cut::Whole);
    }

    /// Bytes that nobody sees.
    fn pass_unseen(&mut self, direction: Direction, length: usize) {
        let next = &mut self.next[direction.index()];
        *next = next.wrapping_add(u32::try_from(length).unwrap());
    }

    fn fin(&mut self, direction: Direction) {
        self.first_fin = self.first_fin.or(Some((direction, self.now)));
        self.fin[direction.index()] = Some(self.now);
        self.segment(&testing::segment(direction, Flags::FIN, self.next[direction.index()], 0));
    }

    /// What is missing was lost.
    fn give_up(&mut self) {
        for direction in [Direction::Out, Direction::In] {
            let is_held = self.stream.half(direction.opposite()).has_held();
            let chunks = self.stream.half_mut(direction).give_up(self.now);
            hand(&mut self.layer, direction, chunks, is_held, &mut self.found);
        }
    }

    fn finish(&mut self, end: End) {
        self.give_up();
        let end = ConnectionEnd { end, first_fin: self.first_fin, fin: self.fin };
        self.layer.finish(self.now, end, &mut Cx::new(false, &mut self.found));
    }

    /// Bytes that the layer keeps.
    fn retained_bytes(&self) -> usize {
        match &self.layer {
            Layer::Http2(layer) => layer.retained_bytes(),
            _ => 0,
        }
    }
}
