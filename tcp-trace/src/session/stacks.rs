//! Stacks are resolved beside the loop, so that the ring buffer is never kept waiting.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use tcp_trace_core::pipeline::{Pipeline, StackId, StackQuestion};
use tcp_trace_model::record::Stack;

use crate::symbols::{LocatedStack, Locator, Namer};

/// Stacks, of at most 16 KiB, that wait until their code is found; that of further ones is not known.
const WAITING_MAX: usize = 2048;
/// How many of them are looked at ahead, for processes that may soon be gone.
const AHEAD_MAX: usize = 64;
/// Stacks whose code was found and that wait for names, likewise.
const LOCATED_MAX: usize = 2048;

/// A stack that was resolved.
type Answer = (StackId, Arc<Stack>);

/// The threads that resolve stacks. One finds the code of stacks, which has to be done while their processes are there; the
/// other names it, which takes time.
pub(super) struct Stacks {
    questions: SyncSender<StackQuestion>,
    /// Bounded by what the threads may have to do.
    answers: Receiver<Answer>,
}

impl Stacks {
    /// Starts the threads. They end when this is dropped and they have done what they were asked for.
    pub(super) fn new() -> io::Result<Self> {
        let (questions, asked) = sync_channel(WAITING_MAX);
        let (naming, located) = sync_channel(LOCATED_MAX);
        let (answering, answers) = channel();
        let also_answering = answering.clone();
        thread::Builder::new()
            .name("locator".to_owned())
            .spawn(move || locate(&asked, &naming, &also_answering))?;
        thread::Builder::new().name("namer".to_owned()).spawn(move || name(&located, &answering))?;
        Ok(Self { questions, answers })
    }

    /// Has a stack resolved, or answers at once that there are too many.
    pub(super) fn resolve(&self, question: StackQuestion, pipeline: &mut Pipeline) {
        let id = question.id;
        if self.questions.try_send(question).is_err() {
            pipeline.stack_resolved(id, Arc::new(Stack::missing(TOO_MANY)));
        }
    }

    /// Hands the pipeline the stacks that are resolved by now.
    pub(super) fn answer(&self, pipeline: &mut Pipeline) {
        for (id, stack) in self.answers.try_iter() {
            pipeline.stack_resolved(id, stack);
        }
    }
}

/// Why the functions of stacks are not known that come while too many wait.
const TOO_MANY: &str = "too many stacks at once";
/// Why a stack has no functions whose code ended a parser.
const UNREADABLE: &str = "its executable could not be read";

/// The first thread's own.
fn locate(
    asked: &Receiver<StackQuestion>,
    naming: &SyncSender<(StackId, LocatedStack)>,
    answers: &Sender<Answer>,
) {
    let mut locator = Locator::default();
    let mut waiting: VecDeque<StackQuestion> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let Ok(question) = asked.recv() else { return };
            locator.hold(&question.owner);
            waiting.push_back(question);
        }
        // What has come meanwhile may be gone when it is its turn.
        for question in asked.try_iter().take(AHEAD_MAX - waiting.len()) {
            locator.hold(&question.owner);
            waiting.push_back(question);
        }
        let Some(StackQuestion { id, owner, registers, bytes }) = waiting.pop_front() else { continue };
        // Executables may be anything, and are read by parsers of others: whatever happens is no end of tracing.
        let located = catch_unwind(AssertUnwindSafe(|| locator.locate(&owner, registers, &bytes)));
        let located = located.unwrap_or_else(|_| {
            locator = Locator::default();
            Err(Stack::missing(UNREADABLE))
        });
        let missing = match located.map(|located| naming.try_send((id, located))) {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => Stack::missing(TOO_MANY),
            Err(missing) => missing,
        };
        if answers.send((id, Arc::new(missing))).is_err() {
            return;
        }
    }
}

/// The second thread's own.
fn name(located: &Receiver<(StackId, LocatedStack)>, answers: &Sender<Answer>) {
    let mut namer = Namer::default();
    for (id, located) in located {
        let named = catch_unwind(AssertUnwindSafe(|| namer.name(located)));
        let named = named.unwrap_or_else(|_| {
            namer = Namer::default();
            Arc::new(Stack::missing(UNREADABLE))
        });
        if answers.send((id, named)).is_err() {
            return;
        }
    }
}
