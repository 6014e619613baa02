//! Stacks are resolved beside the loop, so that the ring buffer is never kept waiting; summaries wait for theirs.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tcp_trace_core::pipeline::Pipeline;
use tcp_trace_model::{
    event::{Event, EventKind, Owner, Registers, State},
    record::{self, Record, SharedStack, Stack},
};

use super::output::Output;
use crate::{
    kernel::LastUses,
    symbols::{LocatedStack, Locator, Namer},
};

/// Stacks, of at most 16 KiB, that wait until their code is found; that of further ones is not known.
const WAITING_MAX: usize = 2048;
/// How many of them are looked at ahead, for processes that may soon be gone.
const AHEAD_MAX: usize = 64;
/// Stacks whose code was found and that wait for names, likewise.
const LOCATED_MAX: usize = 2048;
/// Summaries that wait for their stacks; further ones come out without them.
const HELD_MAX: usize = 10_000;
/// How long the last stacks are waited for.
const LAST_STACKS: Duration = Duration::from_secs(5);
/// How often it is looked whether they are there.
const LOOK: Duration = Duration::from_millis(10);

/// A stack to resolve.
struct Job {
    owner: Owner,
    registers: Registers,
    bytes: Box<[u8]>,
    resolved: SharedStack,
}

/// The threads that resolve stacks, and the records that wait for them. One finds the code of stacks, which has to be done
/// while their processes are there; the other names it, which takes time.
pub(super) struct Stacks {
    jobs: SyncSender<Job>,
    last_uses: LastUses,
    held: VecDeque<Record>,
}

impl Stacks {
    /// Starts the threads. They end when this is dropped and they have done what they were asked for.
    pub(super) fn new(last_uses: LastUses) -> io::Result<Self> {
        let (jobs, asked) = sync_channel(WAITING_MAX);
        let (naming, located) = sync_channel(LOCATED_MAX);
        thread::Builder::new().name("locator".to_owned()).spawn(move || locate(&asked, &naming))?;
        thread::Builder::new().name("namer".to_owned()).spawn(move || name(&located))?;
        Ok(Self { jobs, last_uses, held: VecDeque::new() })
    }

    /// Passes an event on, with what belongs to it.
    pub(super) fn event(&mut self, event: &Event<'_>, pipeline: &mut Pipeline, records: &mut Vec<Record>) {
        match &event.kind {
            EventKind::StateChange(change) if change.new == State::Close => {
                if let Some(last_use) = self.last_uses.take(event.cookie) {
                    pipeline.last_use(event.cookie, last_use);
                }
            }
            _ => {}
        }
        pipeline.event(event, records);
        let EventKind::Stack(stack) = &event.kind else { return };
        if !stack.resolved.is_awaited() {
            return;
        }
        if stack.ring_full {
            return stack.resolved.set(Arc::new(Stack::missing("the ring buffer was too full")));
        }
        let job = Job {
            owner: stack.owner.clone(),
            registers: stack.registers,
            bytes: Box::from(stack.bytes),
            resolved: stack.resolved.clone(),
        };
        if self.jobs.try_send(job).is_err() {
            stack.resolved.set(Arc::new(Stack::missing(TOO_MANY)));
        }
    }

    /// Tells the pipeline the last uses of all sockets that are open.
    pub(super) fn tell_last_uses(&self, pipeline: &mut Pipeline) {
        let open: Vec<_> = pipeline.open_sockets().collect();
        for cookie in open {
            if let Some(last_use) = self.last_uses.of(cookie) {
                pipeline.last_use(cookie, last_use);
            }
        }
    }

    /// Puts a record out, or holds it until its stacks are resolved.
    pub(super) fn put(&mut self, record: Record, output: &mut Output<'_>) -> io::Result<()> {
        if is_complete(&record) || self.held.len() >= HELD_MAX {
            return output.put(&record);
        }
        self.held.push_back(record);
        Ok(())
    }

    /// Puts out the records whose stacks are resolved by now, in their order.
    pub(super) fn put_resolved(&mut self, output: &mut Output<'_>) -> io::Result<()> {
        while self.held.front().is_some_and(is_complete) {
            if let Some(record) = self.held.pop_front() {
                output.put(&record)?;
            }
        }
        Ok(())
    }

    /// Waits for the last stacks, not for ever, and puts out all records.
    pub(super) async fn finish(mut self, output: &mut Output<'_>) -> io::Result<()> {
        let deadline = Instant::now() + LAST_STACKS;
        loop {
            self.put_resolved(output)?;
            if self.held.is_empty() || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        for record in &self.held {
            output.put(record)?;
        }
        Ok(())
    }
}

/// Puts out what has come, through what waits for stacks where they are asked for.
pub(super) fn put_all(
    records: &mut Vec<Record>,
    stacks: Option<&mut Stacks>,
    output: &mut Output<'_>,
    pipeline: &mut Pipeline,
) -> io::Result<()> {
    let result = match stacks {
        Some(stacks) => records.drain(..).try_for_each(|record| stacks.put(record, output)),
        None => records.iter().try_for_each(|record| output.put(record)),
    };
    pipeline.take_back(records);
    result
}

fn is_complete(record: &Record) -> bool {
    match record {
        Record::Connection(connection) => connection.stacks.as_ref().is_none_or(record::Stacks::are_resolved),
        _ => true,
    }
}

/// Why the functions of stacks are not known that come while too many wait.
const TOO_MANY: &str = "too many stacks at once";
/// Why a stack has no functions whose code ended a parser.
const UNREADABLE: &str = "its executable could not be read";

/// The first thread's own.
fn locate(asked: &Receiver<Job>, naming: &SyncSender<(LocatedStack, SharedStack)>) {
    let mut locator = Locator::default();
    let mut waiting: VecDeque<Job> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let Ok(job) = asked.recv() else { return };
            locator.hold(&job.owner);
            waiting.push_back(job);
        }
        // What has come meanwhile may be gone when it is its turn.
        for job in asked.try_iter().take(AHEAD_MAX - waiting.len()) {
            locator.hold(&job.owner);
            waiting.push_back(job);
        }
        let Some(Job { owner, registers, bytes, resolved }) = waiting.pop_front() else { continue };
        // Executables may be anything, and are read by parsers of others: whatever happens is no end of tracing.
        let located = catch_unwind(AssertUnwindSafe(|| locator.locate(&owner, registers, &bytes)));
        let located = located.unwrap_or_else(|_| {
            locator = Locator::default();
            Err(Stack::missing(UNREADABLE))
        });
        match located {
            Ok(located) => {
                if naming.try_send((located, resolved.clone())).is_err() {
                    resolved.set(Arc::new(Stack::missing(TOO_MANY)));
                }
            }
            Err(missing) => resolved.set(Arc::new(missing)),
        }
    }
}

/// The second thread's own.
fn name(located: &Receiver<(LocatedStack, SharedStack)>) {
    let mut namer = Namer::default();
    for (located, resolved) in located {
        let named = catch_unwind(AssertUnwindSafe(|| namer.name(located)));
        resolved.set(named.unwrap_or_else(|_| {
            namer = Namer::default();
            Arc::new(Stack::missing(UNREADABLE))
        }));
    }
}
