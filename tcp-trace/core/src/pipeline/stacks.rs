//! Stacks, which the session resolves, and the summaries that wait for theirs.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tcp_trace_model::{
    event::{self, Cookie, LastUse, Owner, Registers},
    record::{self, Record, SharedStack, Stack},
    time::Time,
};

use super::{
    Pipeline,
    output::{Output, Outputs},
    table::Tracked,
};

/// Summaries that wait for their stacks; further ones come out without them.
const WAITING_MAX: usize = 10_000;

/// Names a stack that is to be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackId(u64);

/// A stack to resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackQuestion {
    /// Its name.
    pub id: StackId,
    /// The process.
    pub owner: Owner,
    /// What the thread had in its registers.
    pub registers: Registers,
    /// Its stack from the stack pointer on, or the beginning of it.
    pub bytes: Box<[u8]>,
}

/// Which stacks are being resolved, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    asked: u64,
    /// Each is answered, so the session bounds them.
    unresolved: HashMap<StackId, SharedStack>,
    waiting: VecDeque<Box<record::Connection>>,
}

impl Stacks {
    /// Takes where the process of a connection was at `time`, and asks what that means unless it is known already.
    fn take(&mut self, time: Time, stack: &event::Stack<'_>, tracked: &mut Tracked, out: &mut Outputs) {
        let Some(unresolved) = tracked.connection.learn_stack(time, stack) else { return };
        if stack.ring_full {
            return unresolved.set(Arc::new(Stack::missing("the ring buffer was too full")));
        }
        self.asked += 1;
        let id = StackId(self.asked);
        self.unresolved.insert(id, unresolved);
        let (owner, registers, bytes) = (stack.owner.clone(), stack.registers, Box::from(stack.bytes));
        out.push(Output::ResolveStack(Box::new(StackQuestion { id, owner, registers, bytes })));
    }

    /// Writes a summary once its stacks are resolved.
    pub(super) fn write(&mut self, summary: Box<record::Connection>, out: &mut Outputs) {
        if is_complete(&summary) || self.waiting.len() >= WAITING_MAX {
            out.record(Record::Connection(summary));
        } else {
            self.waiting.push_back(summary);
        }
    }

    fn resolved(&mut self, id: StackId, stack: Arc<Stack>, out: &mut Outputs) {
        if let Some(unresolved) = self.unresolved.remove(&id) {
            unresolved.set(stack);
        }
        // In their order.
        while let Some(summary) = self.waiting.pop_front_if(|summary| is_complete(summary)) {
            out.record(Record::Connection(summary));
        }
    }
}

fn is_complete(summary: &record::Connection) -> bool {
    summary.stacks.as_ref().is_none_or(record::Stacks::are_resolved)
}

impl Pipeline {
    /// Takes the stack of a thread that used a socket.
    pub(super) fn stack(&mut self, time: Time, cookie: Cookie, stack: &event::Stack<'_>) {
        if let Some(tracked) = self.connections.get_mut(cookie).filter(|tracked| !tracked.gate.is_shut()) {
            self.stacks.take(time, stack, tracked, &mut self.cx.out);
        }
    }

    /// Takes the answer to an [`Output::ResolveStack`].
    pub fn stack_resolved(&mut self, id: StackId, stack: Arc<Stack>) {
        self.stacks.resolved(id, stack, &mut self.cx.out);
    }

    /// Whether a summary waits for its stacks.
    pub fn awaits_stacks(&self) -> bool {
        !self.stacks.waiting.is_empty()
    }

    /// Writes the summaries that wait for stacks: the rest will not be resolved.
    pub fn give_up_stacks(&mut self) {
        for summary in self.stacks.waiting.drain(..) {
            self.cx.out.record(Record::Connection(summary));
        }
    }

    /// Asks for the last use of every socket that is open, where stacks are wanted: the session ends.
    pub fn ask_last_uses(&mut self) {
        if !self.cx.settings.stacks {
            return;
        }
        let open = self.connections.iter();
        let open = open.filter(|tracked| !tracked.gate.is_shut() && tracked.connection.has_socket());
        for tracked in open {
            self.cx.out.push(Output::AskLastUse(tracked.connection.id().cookie));
        }
    }

    /// Takes the answer to an [`Output::AskLastUse`], when there is one.
    pub fn last_use(&mut self, cookie: Cookie, last_use: LastUse) {
        if let Some(tracked) = self.connections.get_mut(cookie) {
            tracked.connection.learn_last_use(last_use);
        }
    }
}
