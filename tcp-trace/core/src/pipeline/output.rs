//! What a pipeline gives its session to do, in order.

use std::collections::VecDeque;

use tcp_trace_model::{
    event::{Cookie, Direction, TlsObject},
    record::Record,
};

use super::{RouteQuestion, StackQuestion};

/// Something for the session to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// To write. A record that was read may go back with [`Pipeline::take_back`](super::Pipeline::take_back).
    Record(Record),
    /// To set in the kernel side.
    Skip(Skip),
    /// To set in the kernel side, for a TLS library's calls.
    SkipPlaintext(SkipPlaintext),
    /// To ask the kernel, and to answer with [`Pipeline::route`](super::Pipeline::route).
    AskRoute(RouteQuestion),
    /// Network namespaces whose mini-sockets and half-open connections the kernel has to list, in order. To answer with
    /// [`Pipeline::listed`](super::Pipeline::listed) or [`Pipeline::not_listed`](super::Pipeline::not_listed) for each, and
    /// then [`Pipeline::lists_over`](super::Pipeline::lists_over).
    ListNamespaces(Vec<u32>),
    /// To resolve, and to answer in any case with [`Pipeline::stack_resolved`](super::Pipeline::stack_resolved): a summary
    /// may wait for it.
    ResolveStack(Box<StackQuestion>),
    /// Who used this socket last: to answer with [`Pipeline::last_use`](super::Pipeline::last_use) before the next event,
    /// if anybody did.
    AskLastUse(Cookie),
    /// Events that were given up because a bounded table was full: to report.
    Lost(u64),
}

/// Payload that is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Of which socket.
    pub cookie: Cookie,
    /// Of which direction.
    pub direction: Direction,
    /// Before which sequence number; `None` when all is needed again.
    pub until: Option<u32>,
}

/// Plaintext that is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipPlaintext {
    /// Of which object.
    pub object: TlsObject,
    /// Of which direction.
    pub direction: Direction,
    /// Before which offset ([`Plaintext::offset`](tcp_trace_model::event::Plaintext::offset)); `None` when all is needed again.
    pub until: Option<u64>,
}

/// What is to be done and was not taken yet. It keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    queue: VecDeque<Output>,
    lost: u64,
    /// Empty lists with room for records.
    pub(super) spare: Vec<Vec<Record>>,
}

impl Outputs {
    /// The first that was not taken; losses come last, in one.
    #[inline]
    pub(super) fn poll(&mut self) -> Option<Output> {
        match self.queue.pop_front() {
            Some(output) => Some(output),
            None if self.lost > 0 => Some(Output::Lost(std::mem::take(&mut self.lost))),
            None => None,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    #[inline]
    pub(super) fn record(&mut self, record: Record) {
        self.push(Output::Record(record));
    }

    /// Counts events that were given up.
    pub(super) fn lose(&mut self, events: u64) {
        self.lost += events;
    }
}
