//! Where in its process a connection was used.

use tcp_trace_model::{
    event::{self, StackTrigger},
    record::{LastUse, Operation, SharedStack, Text, Use},
    time::Time,
};

use super::Connection;

impl Connection {
    /// Notes where its process was at `time`; gives what is to be resolved for that, unless it was known.
    pub fn learn_stack(&mut self, time: Time, stack: &event::Stack<'_>) -> Option<SharedStack> {
        let stacks = self.stacks.get_or_insert_default();
        let known = match stack.trigger {
            StackTrigger::Connect => &mut stacks.connect,
            StackTrigger::FirstUse => &mut stacks.first_use,
            StackTrigger::EndOfStream => &mut stacks.eof,
        };
        if known.is_some() {
            return None;
        }
        let unresolved = SharedStack::default();
        *known = Some(Use {
            time,
            pid: stack.owner.pid,
            tid: stack.tid,
            thread: Text::from(stack.thread.clone()),
            stack: unresolved.clone(),
        });
        Some(unresolved)
    }

    /// Notes its last use, in place of an earlier one.
    pub fn learn_last_use(&mut self, last_use: event::LastUse) {
        let operation = if last_use.is_write { Operation::Write } else { Operation::Read };
        self.stacks.get_or_insert_default().last_use = Some(LastUse {
            time: last_use.time,
            pid: last_use.pid,
            tid: last_use.tid,
            thread: Text::from(last_use.thread),
            operation,
        });
    }
}
