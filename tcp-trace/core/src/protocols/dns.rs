//! DNS over TCP.

use tcp_trace_model::event::Direction;

use super::{Cx, First, Guess, Layer, Protocol, Start, Step};
use crate::{dns::Streams, stream::Chunk};

impl Protocol for Streams {
    fn guess(first: &First<'_>) -> Guess {
        if first.start.is_dns && first.start.from_start == [true; 2] { Guess::Yes } else { Guess::No }
    }

    fn new(_: Start) -> Self {
        Self::default()
    }

    fn input<'a>(&mut self, direction: Direction, chunk: Chunk<'a>, cx: &mut Cx<'_>) -> Step<'a> {
        let before = cx.found.messages.len();
        Self::input(self, direction, chunk, &mut cx.found.messages);
        if cx.found.messages.len() > before {
            cx.found.protocol = Some("dns");
        }
        if self.is_over() { Step::to(Layer::Opaque) } else { Step::Stay }
    }
}
