//! Where in its process the sockets of a finding were opened and used: those of one place are counted together.

use std::collections::{BTreeMap, HashMap};

use tcp_trace_model::record::{
    Connection, Evidence, Fact, FindingStack, LastUse, Operation, Stack, StackMoment, Stacks, Use,
};

use super::{Facts, finding::Case, snapshot::Process};
use crate::{
    blame::{Blame, Interpreter},
    prose::counted,
};

/// Places and threads that a finding names of each kind; the rest is counted.
const PLACES_MAX: usize = 4;
/// Frames of a stack in a finding: the innermost ones.
const FRAMES_MAX: usize = 32;

/// What is known of where sockets were used; empty without a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CallSites {
    facts: Vec<(String, Fact)>,
    /// The line that opened all of them, if it was one.
    pub(super) opened_at: Option<String>,
    /// The most frequent stack of each kind.
    pub(super) stacks: Vec<FindingStack>,
}

/// A kind of use: its name in the evidence, and how to find it.
type Kind = (&'static str, StackMoment, fn(&Stacks) -> Option<&Use>);

const OPENED: Kind = ("opened_at", StackMoment::Connect, |stacks| stacks.connect.as_ref());
const FIRST_USED: Kind = ("first_used_at", StackMoment::FirstUse, |stacks| stacks.first_use.as_ref());
/// The first use that was seen of a socket that is older than the trace.
const USED: Kind = ("used_at", StackMoment::Use, |stacks| stacks.first_use.as_ref());
const END_READ: Kind = ("end_read_at", StackMoment::Eof, |stacks| stacks.eof.as_ref());

impl CallSites {
    /// Of the sockets of these cases.
    pub(super) fn of(facts: &Facts<'_>, cases: &[Case<'_>]) -> Self {
        let life = |case: &Case<'_>| facts.history.life(case.socket.diag.cookie)?.summary.as_deref();
        let all: Vec<&Connection> = cases.iter().filter_map(life).collect();
        let (new, older): (Vec<_>, Vec<_>) = all.iter().copied().partition(|one| one.seen_from_start);
        let mut call_sites = Self::default();
        let opened = call_sites.add(OPENED, &new).filter(|(_, count)| *count == cases.len());
        call_sites.opened_at = opened.map(|(place, _)| place);
        if !older.is_empty() {
            let were = if older.len() == 1 { "was" } else { "were" };
            let what = format!("not seen: {} {were} opened before the trace", counted(older.len(), "socket"));
            call_sites.facts.push(("opening".to_owned(), what.into()));
        }
        call_sites.add(FIRST_USED, &new);
        call_sites.add(USED, &older);
        call_sites.add(END_READ, &all);
        let threads = all.iter().filter_map(|one| one.stacks.as_ref()?.last_use.as_ref()).map(thread);
        let threads = most_first(threads);
        if !threads.is_empty() {
            call_sites.facts.push(("last_used_by".to_owned(), listed(&threads, "thread").into()));
        }
        call_sites
    }

    /// Adds where these were used in this way, and gives the most frequent place with how many it has.
    fn add(&mut self, (name, moment, of): Kind, connections: &[&Connection]) -> Option<(String, usize)> {
        let stacks = || {
            let uses = connections.iter().filter_map(|one| of(one.stacks.as_ref()?));
            uses.map(|one| {
                one.stack.get().map_or((UNRESOLVED.to_owned(), None), |stack| (place(stack), Some(stack)))
            })
        };
        let places = most_first(stacks().map(|(place, _)| place));
        let first = places.first()?.clone();
        let of_first = stacks().filter(|(place, _)| *place == first.0).filter_map(|(_, stack)| stack);
        if let Some((stack, sockets)) = most_frequent(of_first) {
            let place = first.0.clone();
            self.stacks.push(FindingStack { moment, place, sockets, stack: bounded(stack) });
        }
        self.facts.push((name.to_owned(), listed(&places, "place").into()));
        Some(first)
    }

    /// With what is known as further evidence.
    pub(super) fn and(&self, mut evidence: Evidence) -> Evidence {
        evidence.0.extend(self.facts.iter().cloned());
        evidence
    }
}

/// What shows the lines that a process opens its sockets at, where a trace was not made.
pub(super) fn how_to_find_lines(process: Option<&Process>) -> String {
    let named = process.map(|process| &process.named);
    let executable = named.and_then(|named| named.executable.as_ref().or(Some(&named.name)));
    let interpreter = executable.and_then(|path| Interpreter::of(&path.0));
    let pid = named.map_or_else(|| "PID".to_owned(), |named| named.pid.to_string());
    let threads = "`--for 60s` shows which threads use the sockets";
    match interpreter {
        None => "`--for 60s` shows which lines open the sockets that leak while it traces.".to_owned(),
        Some(Interpreter::Node) => format!(
            "{threads}, and lines if node was started with --perf-basic-prof --interpreted-frames-native-stack."
        ),
        Some(Interpreter::Python) => format!(
            "{threads}, and functions if Python (3.12 or later) was started with -X perf. For lines now: py-spy dump \
             --pid {pid}."
        ),
        Some(Interpreter::Jvm) => format!(
            "{threads}, and methods that were compiled before `jcmd {pid} Compiler.perfmap`. For lines now: jstack {pid}, \
             where a thread's id is its nid."
        ),
        Some(Interpreter::Ruby) => format!("{threads}. For lines now: rbspy dump --pid {pid}."),
        Some(Interpreter::Php | Interpreter::Perl) => {
            format!("{threads}; it cannot show lines of this interpreter.")
        }
    }
}

/// What stands for a place that was not found in time.
const UNRESOLVED: &str = "unknown code (it was not resolved in time)";

/// The line to blame, or why it is not known.
fn place(stack: &Stack) -> String {
    match (&stack.missing, Blame::of(stack)) {
        (Some(reason), blame @ Blame::Unknown) => format!("{blame} ({reason})"),
        (_, blame) => blame.to_string(),
    }
}

/// `reader (tid 815), a read`.
fn thread(last_use: &LastUse) -> String {
    let operation = match last_use.operation {
        Operation::Read => "a read",
        Operation::Write => "a write",
    };
    format!("{} (tid {}), {operation}", last_use.thread.printable(), last_use.tid)
}

/// How many there are of each, most first.
fn most_first(names: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::<String, usize>::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    // Stable: of equally many the order of names counts.
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// `pool.c:12 (open_pool): 37 sockets`, and how many have others.
fn listed(counts: &[(String, usize)], what: &str) -> Vec<String> {
    let (named, rest) = counts.split_at(counts.len().min(PLACES_MAX));
    let mut list: Vec<_> =
        named.iter().map(|(name, count)| format!("{name}: {}", counted(*count, "socket"))).collect();
    if !rest.is_empty() {
        let sockets: usize = rest.iter().map(|(_, count)| count).sum();
        list.push(format!(
            "{}: {}",
            counted(rest.len(), &format!("other {what}")),
            counted(sockets, "socket")
        ));
    }
    list
}

/// The stack that most of them have, the first of equally many, and how many have it.
fn most_frequent<'a>(stacks: impl Iterator<Item = &'a Stack>) -> Option<(&'a Stack, u64)> {
    let mut counts = HashMap::<&Stack, (u64, usize)>::new();
    for (index, stack) in stacks.enumerate() {
        counts.entry(stack).or_insert((0, index)).0 += 1;
    }
    let best = counts.into_iter().max_by_key(|(_, (count, index))| (*count, std::cmp::Reverse(*index)));
    best.map(|(stack, (count, _))| (stack, count))
}

fn bounded(stack: &Stack) -> Stack {
    let truncated = stack.truncated || stack.frames.len() > FRAMES_MAX;
    let frames = stack.frames.iter().take(FRAMES_MAX).cloned().collect();
    Stack { frames, truncated, missing: stack.missing.clone() }
}

#[cfg(test)]
#[path = "call_sites_tests.rs"]
mod tests;
