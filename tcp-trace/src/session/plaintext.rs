//! The files whose TLS is hooked: those that are there at the start, and those that processes execute later.

use std::{
    collections::HashMap,
    io,
    path::Path,
    process::Command,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    kernel::{KernelError, Tracer},
    uprobes::{Finder, Target},
};

/// A process is looked at again for libraries that it loads later, but not sooner.
const AGAIN: Duration = Duration::from_secs(1);
/// Processes that wait to be looked at. Further ones are when they are seen again.
const WAITING_MAX: usize = 1024;
/// Processes of which it is remembered when they were looked at.
const REMEMBERED_MAX: usize = 8192;

/// Looks for files in a thread, and has them hooked.
pub(super) struct Plaintext {
    /// `None` when plaintext is not asked for, or cannot be had.
    search: Option<Search>,
}

struct Search {
    processes: SyncSender<u32>,
    found: UnboundedReceiver<Target>,
    /// When each process was looked at.
    looked: HashMap<u32, Instant>,
}

/// What was found before anything was attached.
#[derive(Default)]
pub(super) struct Found {
    finder: Finder,
    targets: Vec<Target>,
}

impl Found {
    /// Looks through all processes, which takes as long as it takes to attach everything else.
    pub(super) fn everywhere() -> Self {
        let mut finder = Finder::default();
        let targets = finder.everywhere();
        Self { finder, targets }
    }
}

impl Plaintext {
    /// Hooks what was found, what is new since then, and what `command` executes, and starts the thread, which ends when this is
    /// dropped.
    pub(super) fn start(tracer: &mut Tracer, found: Found, command: Option<&Command>) -> io::Result<Self> {
        if !tracer.reports_plaintext() {
            return Ok(Self { search: None });
        }
        let Found { mut finder, mut targets } = found;
        let begun = Instant::now();
        targets.extend(finder.everywhere());
        targets.extend(command.and_then(|command| finder.at(Path::new(command.get_program()))));
        let found = begun.elapsed();
        let results: Vec<_> = targets.iter().map(|target| attach(tracer, target)).collect();
        // One file may be special; where none can be hooked, it is the kernel or the privileges.
        if results.iter().all(Result::is_err)
            && let Some(Err(error)) = results.first()
        {
            tracer.give_up_plaintext(error);
            return Ok(Self { search: None });
        }
        log::debug!(
            "{} files with TLS: found in {found:?}, hooked in {:?}",
            targets.len(),
            begun.elapsed().saturating_sub(found)
        );
        let (processes, asked) = mpsc::sync_channel(WAITING_MAX);
        let (finding, found) = unbounded_channel();
        thread::Builder::new()
            .name("libraries".to_owned())
            .spawn(move || search(finder, &asked, &finding))?;
        Ok(Self { search: Some(Search { processes, found, looked: HashMap::new() }) })
    }

    /// Looks for what a process has loaded, unless that was done just now.
    pub(super) fn look_at(&mut self, pid: u32) {
        let Some(search) = &mut self.search else { return };
        let now = Instant::now();
        let is_fresh = |looked: &Instant| now.duration_since(*looked) < AGAIN;
        if search.looked.get(&pid).is_some_and(is_fresh) {
            return;
        }
        if search.looked.len() >= REMEMBERED_MAX {
            search.looked.retain(|_, looked| is_fresh(looked));
        }
        if search.looked.len() < REMEMBERED_MAX && search.processes.try_send(pid).is_ok() {
            search.looked.insert(pid, now);
        }
    }

    /// Waits for a file that is to be hooked, or for ever.
    pub(super) async fn target(&mut self) -> Target {
        match &mut self.search {
            Some(search) => match search.found.recv().await {
                Some(target) => target,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// Hooks a file that was found later.
    pub(super) fn attach(&mut self, tracer: &mut Tracer, target: &Target) {
        // A failure was logged, and the next file may be another matter.
        let _ = attach(tracer, target);
    }
}

fn attach(tracer: &mut Tracer, target: &Target) -> Result<(), KernelError> {
    let begun = Instant::now();
    let attached = tracer.attach_hooks(&target.file, &target.hooks);
    match &attached {
        Ok(()) => log::debug!(
            "TLS of {}: {} hooks, attached in {:?}",
            target.known.path.display(),
            target.hooks.len(),
            begun.elapsed()
        ),
        Err(error) => {
            log::warn!(
                "TLS of {} is not read: {:#}",
                target.known.path.display(),
                anyhow::anyhow!("{error}")
            );
        }
    }
    attached
}

fn search(mut finder: Finder, processes: &Receiver<u32>, found: &UnboundedSender<Target>) {
    for pid in processes {
        for target in finder.in_process(pid) {
            if found.send(target).is_err() {
                return;
            }
        }
    }
}
