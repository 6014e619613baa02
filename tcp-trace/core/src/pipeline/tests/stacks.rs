//! Where connections were used, through the pipeline.

use std::sync::Arc;

use tcp_trace_model::{
    event::{LastUse, Registers, Stack, StackTrigger},
    record::{self, Frame, Operation, SharedStack, Stacks},
};

use super::*;

fn stack(trigger: StackTrigger, tid: u32) -> EventKind<'static> {
    EventKind::Stack(Stack {
        trigger,
        owner: owner(13838, "api"),
        tid,
        thread: b"worker".to_vec(),
        registers: Registers { ip: tid.into(), ..Registers::default() },
        ring_full: false,
        bytes: b"",
    })
}

fn host_with_stacks(filter: Filter) -> Host {
    let mut host = Host::new(Filter::default());
    host.pipeline = Pipeline::new(Settings { filter, stacks: true, ..Settings::default() });
    host
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
    let mut host = host_with_stacks(Filter::default());
    host.handshake();
    host.event(CLIENT, stack(StackTrigger::Connect, 7));
    host.event(CLIENT, stack(StackTrigger::EndOfStream, 8));
    host.event(CLIENT, stack(StackTrigger::EndOfStream, 9));
    let asked: Vec<_> = host.stacks.iter().map(|question| question.registers.ip).collect();
    assert_eq!(asked, [7, 8], "nobody needs what comes second");
    host.pipeline.ask_last_uses();
    host.take();
    host.last_uses.sort_unstable();
    assert_eq!(host.last_uses, [CLIENT, SERVER]);
    for (tid, is_write) in [(8, false), (9, true)] {
        let time = Time(host.now);
        let last_use = LastUse { time, pid: 13838, tid, thread: b"worker".to_vec(), is_write };
        host.pipeline.last_use(CLIENT, last_use);
    }
    host.finish();
    assert_eq!(host.summary("c4102").stacks, None, "of this one there were none");
    assert!(host.pipeline.awaits_stacks() && host.connections() == 1, "the other summary waits");
    let ids: Vec<_> = host.stacks.iter().map(|question| question.id).collect();
    host.pipeline.stack_resolved(ids[1], Arc::new(in_function("read_to_the_end")));
    host.take();
    assert!(host.pipeline.awaits_stacks() && host.connections() == 1);
    host.pipeline.stack_resolved(ids[0], Arc::new(in_function("open_pool")));
    host.take();
    assert!(!host.pipeline.awaits_stacks());
    let stacks = stacks(&host, "c4101");
    let tids = [&stacks.connect, &stacks.first_use, &stacks.eof].map(|one| one.as_ref().map(|one| one.tid));
    assert_eq!(tids, [Some(7), None, Some(8)]);
    let last_use = stacks.last_use.as_ref().unwrap();
    assert_eq!((last_use.tid, last_use.operation), (9, Operation::Write));
    let json = tcp_trace_model::json::to_string(stacks).unwrap();
    let read: Stacks = serde_json::from_str(&json).unwrap();
    assert_eq!(read, *stacks);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["connect"]["stack"]["frames"][0]["function"], "open_pool");
}

#[test]
fn the_last_use_is_asked_for_when_a_socket_closes() {
    let mut host = host_with_stacks(Filter::default());
    host.handshake();
    assert!(host.last_uses.is_empty());
    host.state(CLIENT, endpoints(41352, 8080), State::Established, State::Close, None, 104);
    assert_eq!(host.last_uses, [CLIENT]);
}

#[test]
fn summaries_come_out_in_their_order_and_are_given_up_at_the_end() {
    let mut host = host_with_stacks(Filter::default());
    host.handshake();
    host.event(CLIENT, stack(StackTrigger::Connect, 7));
    host.event(SERVER, stack(StackTrigger::FirstUse, 8));
    host.finish();
    assert_eq!(host.connections(), 0);
    let second = host.stacks[1].id;
    host.pipeline.stack_resolved(second, Arc::new(in_function("accept")));
    host.take();
    assert_eq!(host.connections(), 0, "it waits for the one before it");
    host.pipeline.give_up_stacks();
    host.take();
    assert_eq!(host.connections(), 2);
    let connect = stacks(&host, "c4101").connect.as_ref().unwrap();
    assert_eq!(connect.stack.get(), None);
}

#[test]
fn a_stack_that_did_not_fit_into_the_ring_buffer_says_so() {
    let mut host = host_with_stacks(Filter::default());
    host.handshake();
    let EventKind::Stack(taken) = stack(StackTrigger::Connect, 7) else { unreachable!("it is a stack") };
    host.event(CLIENT, EventKind::Stack(Stack { ring_full: true, ..taken }));
    host.finish();
    let connect = stacks(&host, "c4101").connect.as_ref().unwrap();
    assert_eq!(connect.stack.get().unwrap().missing.as_deref(), Some("the ring buffer was too full"));
    assert_eq!(host.stacks, []);
}

#[test]
fn what_is_not_selected_asks_for_no_stack() {
    let mut host = host_with_stacks(Filter { port: vec![9], ..Filter::default() });
    host.handshake();
    host.event(CLIENT, stack(StackTrigger::Connect, 7));
    host.pipeline.ask_last_uses();
    host.take();
    assert_eq!((host.stacks, host.last_uses), (vec![], vec![]));
}

#[test]
fn what_was_not_resolved_in_time_says_so() {
    let json = serde_json::to_value(SharedStack::default()).unwrap();
    assert_eq!(json["missing"], "it was not resolved in time");
}
