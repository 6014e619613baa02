//! Tests of places: sockets of one line are counted together, and what was not seen is said.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, ConnectionInfo, Finding, Frame, Record, SharedStack},
    time::Time,
};

use super::*;
use crate::diagnosis::{History, testing::Host};

const OPENED: Time = Time(1_789_999_000_000_000_000);

fn stack(line: u32, caller: &str) -> Stack {
    let frame = |function: &str, file: &str, line| Frame {
        function: Some(function.to_owned()),
        module: Some("/usr/bin/api".into()),
        file: Some(file.into()),
        line: Some(line),
        ..Frame::default()
    };
    let inner =
        Frame { function: Some("connect".into()), module: Some("/lib/libc.so.6".into()), ..Frame::default() };
    let frames = vec![inner, frame("open_pool", "/src/pool.c", line), frame(caller, "/src/main.c", 7)];
    Stack { frames, ..Stack::default() }
}

fn one_use(stack: Stack) -> Use {
    let shared = SharedStack::default();
    shared.set(Arc::new(stack));
    Use { time: OPENED, pid: 812, tid: 815, thread: "reader".into(), stack: shared }
}

fn last_use(tid: u32) -> LastUse {
    LastUse { time: OPENED, pid: 812, tid, thread: "reader".into(), operation: Operation::Read }
}

/// The finding for sockets in CLOSE_WAIT with these summaries.
fn judged(sockets: Vec<(bool, Option<Stacks>)>) -> Finding {
    let (mut host, mut history) = (Host::new(), History::default());
    let api = host.process(812, "api");
    for (port, (seen_from_start, stacks)) in (40_000..).zip(sockets) {
        let local = format!("10.0.0.9:{port}");
        let socket = host.socket(Some(api), State::CloseWait, &local, "10.0.0.5:80").idle(100);
        history.record(&Record::Connection(Box::new(Connection {
            connection: Arc::new(ConnectionInfo {
                role: Some(Role::Client),
                ..ConnectionInfo::new(socket.connection())
            }),
            open: true,
            seen_from_start,
            stacks,
            ..Connection::default()
        })));
    }
    let findings = host.judge_with("close_wait", &history);
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    finding.clone()
}

fn connected(stack: Stack) -> (bool, Option<Stacks>) {
    (true, Some(Stacks { connect: Some(one_use(stack)), ..Stacks::default() }))
}

fn list<'a>(finding: &'a Finding, name: &str) -> Vec<&'a str> {
    match finding.evidence.get(name) {
        Some(Fact::List(list)) => list.iter().map(String::as_str).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn sockets_of_one_line_are_counted_together_the_most_first() {
    let lines = [16, 88, 88, 88, 16, 3];
    let finding = judged(lines.map(|line| connected(stack(line, "main"))).into());
    let expected = [
        "pool.c:88 (open_pool): 3 sockets",
        "pool.c:16 (open_pool): 2 sockets",
        "pool.c:3 (open_pool): 1 socket",
    ];
    assert_eq!(list(&finding, "opened_at"), expected);
    let [most] = finding.stacks.as_slice() else { panic!("{finding:#?}") };
    assert_eq!(
        (most.moment, most.place.as_str(), most.sockets),
        (StackMoment::Connect, "pool.c:88 (open_pool)", 3)
    );
    assert_eq!(most.stack, stack(88, "main"));
    assert!(!finding.summary.contains("opened at"), "{}", finding.summary);
}

#[test]
fn one_line_that_opened_all_is_in_the_summary() {
    let callers = ["retry", "main", "main"];
    let finding = judged(callers.map(|caller| connected(stack(88, caller))).into());
    let start = "3 sockets of api (pid 812), connected to 10.0.0.5:80, opened at pool.c:88 (open_pool), in CLOSE_WAIT";
    assert!(finding.summary.starts_with(start), "{}", finding.summary);
    assert_eq!(list(&finding, "opened_at"), ["pool.c:88 (open_pool): 3 sockets"]);
    let [most] = finding.stacks.as_slice() else { panic!("{finding:#?}") };
    assert_eq!(
        (most.sockets, &most.stack),
        (2, &stack(88, "main")),
        "of the stacks there, the most frequent"
    );
}

#[test]
fn further_places_are_counted() {
    let finding = judged((1..=9).chain([1, 2, 3, 4]).map(|line| connected(stack(line, "main"))).collect());
    let places = list(&finding, "opened_at");
    assert_eq!((places.len(), places[4]), (PLACES_MAX + 1, "5 other places: 5 sockets"));
}

#[test]
fn of_what_is_older_than_the_trace_the_opening_was_not_seen() {
    let older = Stacks { first_use: Some(one_use(stack(5, "main"))), ..Stacks::default() };
    let finding = judged(vec![(false, Some(older)), (false, None), connected(stack(88, "main"))]);
    let expected = Fact::from("not seen: 2 sockets were opened before the trace");
    assert_eq!(finding.evidence.get("opening"), Some(&expected));
    assert_eq!(list(&finding, "used_at"), ["pool.c:5 (open_pool): 1 socket"]);
    assert_eq!(finding.evidence.get("first_used_at"), None);
    assert!(!finding.summary.contains("opened at"), "one of them only: {}", finding.summary);
}

#[test]
fn end_and_threads_are_reported() {
    let stacks = |tid| Stacks {
        first_use: Some(one_use(stack(20, "main"))),
        eof: Some(one_use(stack(30, "main"))),
        last_use: Some(last_use(tid)),
        ..Stacks::default()
    };
    let finding = judged([815, 816, 815].map(|tid| (true, Some(stacks(tid)))).into());
    assert_eq!(list(&finding, "first_used_at"), ["pool.c:20 (open_pool): 3 sockets"]);
    assert_eq!(list(&finding, "end_read_at"), ["pool.c:30 (open_pool): 3 sockets"]);
    let threads = ["reader (tid 815), a read: 2 sockets", "reader (tid 816), a read: 1 socket"];
    assert_eq!(list(&finding, "last_used_by"), threads);
    let moments: Vec<_> = finding.stacks.iter().map(|stack| stack.moment).collect();
    assert_eq!(moments, [StackMoment::FirstUse, StackMoment::Eof]);
}

#[test]
fn what_could_not_be_resolved_says_why() {
    let finding = judged(vec![connected(Stack::missing("the process had ended"))]);
    assert_eq!(list(&finding, "opened_at"), ["unknown code (the process had ended): 1 socket"]);
    let unresolved = Use { stack: SharedStack::default(), ..one_use(Stack::default()) };
    let stacks = Stacks { eof: Some(unresolved), ..Stacks::default() };
    let finding = judged(vec![(true, Some(stacks))]);
    assert_eq!(list(&finding, "end_read_at"), [format!("{UNRESOLVED}: 1 socket")]);
    assert_eq!(finding.stacks, []);
}

#[test]
fn long_stacks_are_cut() {
    let mut long = stack(88, "main");
    long.frames.extend((0..100).map(|line| stack(line, "deep").frames[1].clone()));
    let finding = judged(vec![connected(long)]);
    assert_eq!((finding.stacks[0].stack.frames.len(), finding.stacks[0].stack.truncated), (FRAMES_MAX, true));
}

#[test]
fn without_a_trace_nothing_is_claimed() {
    let mut host = Host::new();
    let api = host.process(812, "api");
    host.socket(Some(api), State::CloseWait, "10.0.0.9:1", "10.0.0.5:80").idle(100);
    let findings = host.judge("close_wait");
    assert!(
        ["opening", "opened_at", "last_used_by"].iter().all(|name| findings[0].evidence.get(name).is_none())
    );
    assert!(findings[0].advice.contains("--for 60s"), "{}", findings[0].advice);
}
