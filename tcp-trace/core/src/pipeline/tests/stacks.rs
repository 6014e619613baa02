//! Where connections were used, through the pipeline.

use std::sync::Arc;

use tcp_trace_model::{
    event::{LastUse, Moment, Registers, Stack},
    record::{self, Frame, Operation, SharedStack, Stacks},
};

use super::*;

fn stack(moment: Moment, tid: u32, resolved: &SharedStack) -> EventKind<'static> {
    EventKind::Stack(Stack {
        moment,
        owner: owner(13838, "api"),
        tid,
        thread: b"worker".to_vec(),
        registers: Registers::default(),
        ring_full: false,
        bytes: b"",
        resolved: resolved.clone(),
    })
}

fn in_function(name: &str) -> record::Stack {
    let frame = Frame { function: Some(name.to_owned()), ..Frame::default() };
    record::Stack { frames: vec![frame], ..record::Stack::default() }
}

fn stacks<'a>(host: &'a Host, id: &str) -> &'a Stacks {
    host.summary(id).stacks.as_ref().unwrap()
}

#[test]
fn a_summary_has_the_first_stack_of_each_moment_and_the_last_use() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let resolved = [(); 3].map(|()| SharedStack::default());
    host.event(CLIENT, stack(Moment::Connect, 7, &resolved[0]));
    host.event(CLIENT, stack(Moment::EndOfStream, 8, &resolved[1]));
    host.event(CLIENT, stack(Moment::EndOfStream, 9, &resolved[2]));
    for (tid, is_write) in [(8, false), (9, true)] {
        let time = Time(host.now);
        let last_use = LastUse { time, pid: 13838, tid, thread: b"worker".to_vec(), is_write };
        host.pipeline.last_use(CLIENT, last_use);
    }
    assert_eq!(host.pipeline.open_sockets().filter(|cookie| *cookie == CLIENT).count(), 1);
    host.finish();
    let stacks = stacks(&host, "c4101");
    let tids = [&stacks.connect, &stacks.first_use, &stacks.eof].map(|one| one.as_ref().map(|one| one.tid));
    assert_eq!(tids, [Some(7), None, Some(8)]);
    let last_use = stacks.last_use.as_ref().unwrap();
    assert_eq!((last_use.tid, last_use.operation), (9, Operation::Write));
    assert_eq!(host.summary("c4102").stacks, None, "of this one there were none");
    // The summary is complete once they are resolved.
    assert!(!stacks.are_resolved());
    resolved[0].set(Arc::new(in_function("open_pool")));
    assert!(!stacks.are_resolved());
    resolved[1].set(Arc::new(in_function("read_to_the_end")));
    assert!(stacks.are_resolved());
    let json = tcp_trace_model::json::to_string(stacks).unwrap();
    let read: Stacks = serde_json::from_str(&json).unwrap();
    assert_eq!(read, *stacks);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["connect"]["stack"]["frames"][0]["function"], "open_pool");
    assert!(!resolved[2].is_awaited(), "nobody keeps what comes second");
}

#[test]
fn what_is_not_asked_for_keeps_no_stack() {
    let mut host = Host::new(Filter { port: vec![9], ..Filter::default() });
    host.handshake();
    let resolved = SharedStack::default();
    host.event(CLIENT, stack(Moment::Connect, 7, &resolved));
    assert!(!resolved.is_awaited());
    assert_eq!(host.pipeline.open_sockets().count(), 0);
}

#[test]
fn what_was_not_resolved_in_time_says_so() {
    let json = serde_json::to_value(SharedStack::default()).unwrap();
    assert_eq!(json["missing"], "it was not resolved in time");
}
