//! Where in its process a connection was used.

use tcp_trace_model::{
    event::{self, Moment},
    record::{LastUse, Operation, Text, Use},
    time::Time,
};

use super::Connection;

impl Connection {
    /// Notes where its process was at `time`.
    pub fn learn_stack(&mut self, time: Time, stack: &event::Stack<'_>) {
        let stacks = self.stacks.get_or_insert_default();
        let known = match stack.moment {
            Moment::Connect => &mut stacks.connect,
            Moment::FirstUse => &mut stacks.first_use,
            Moment::EndOfStream => &mut stacks.eof,
        };
        known.get_or_insert_with(|| Use {
            time,
            pid: stack.owner.pid,
            tid: stack.tid,
            thread: Text::from(stack.thread.clone()),
            stack: stack.resolved.clone(),
        });
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
