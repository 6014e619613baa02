//! Does what the pipeline asks of the session: writes records, asks the kernel, resolves stacks.

use std::{
    io,
    time::{Duration, Instant},
};

use tcp_trace_core::pipeline::{self, Pipeline, Skip, SkipPlaintext};
use tcp_trace_model::event::Cookie;

use super::{output::Output, routes::Routes, sockets::Sockets, stacks::Stacks};
use crate::kernel::LastUses;

/// How long the last stacks are waited for.
const LAST_STACKS: Duration = Duration::from_secs(5);
/// How often it is looked whether they are there.
const LOOK: Duration = Duration::from_millis(10);

/// Whatever answers the pipeline, and the way out.
pub(super) struct Dispatch<'a> {
    pub(super) output: Output<'a>,
    pub(super) sockets: Sockets,
    routes: Routes,
    /// Where they are recorded.
    stacks: Option<(Stacks, LastUses)>,
    /// For the kernel side, once the ring buffer is read.
    pub(super) skips: Vec<Skip>,
    /// Likewise.
    pub(super) plaintext_skips: Vec<SkipPlaintext>,
    /// Events that the pipeline gave up, and that are not reported.
    lost: u64,
}

impl<'a> Dispatch<'a> {
    pub(super) fn new(
        output: Output<'a>,
        sockets: Sockets,
        routes: Routes,
        stacks: Option<(Stacks, LastUses)>,
    ) -> Self {
        Self { output, sockets, routes, stacks, skips: Vec::new(), plaintext_skips: Vec::new(), lost: 0 }
    }

    /// Does what the pipeline puts out.
    #[inline]
    pub(super) fn take(&mut self, pipeline: &mut Pipeline) -> io::Result<()> {
        while let Some(output) = pipeline.poll() {
            match output {
                pipeline::Output::Record(record) => {
                    self.output.put(&record)?;
                    Pipeline::take_back(record);
                }
                pipeline::Output::Skip(skip) => self.skips.push(skip),
                pipeline::Output::SkipPlaintext(skip) => self.plaintext_skips.push(skip),
                pipeline::Output::AskRoute(question) => self.routes.ask(question, pipeline),
                pipeline::Output::ListNamespaces(namespaces) => self.sockets.ask_listed(namespaces),
                pipeline::Output::ResolveStack(question) => {
                    // Without them, the kernel side reports none.
                    if let Some((stacks, _)) = &self.stacks {
                        stacks.resolve(*question, pipeline);
                    }
                }
                pipeline::Output::AskLastUse(cookie) => self.last_use(cookie, pipeline),
                pipeline::Output::Lost(events) => self.lost += events,
            }
        }
        Ok(())
    }

    fn last_use(&mut self, cookie: Cookie, pipeline: &mut Pipeline) {
        let last_use = self.stacks.as_mut().and_then(|(_, last_uses)| last_uses.take(cookie));
        if let Some(last_use) = last_use {
            pipeline.last_use(cookie, last_use);
        }
    }

    /// Hands the pipeline the answers that have come.
    pub(super) fn answer(&mut self, pipeline: &mut Pipeline) -> io::Result<()> {
        self.routes.answer(pipeline);
        if let Some((stacks, _)) = &self.stacks {
            stacks.answer(pipeline);
        }
        self.take(pipeline)
    }

    /// Events that the pipeline gave up since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Waits for the last routes, not for ever.
    pub(super) async fn finish_routes(&mut self, pipeline: &mut Pipeline) {
        self.routes.finish(pipeline).await;
    }

    /// Waits for the last stacks, not for ever, and puts out all records.
    pub(super) async fn finish_stacks(&mut self, pipeline: &mut Pipeline) -> io::Result<()> {
        let deadline = Instant::now() + LAST_STACKS;
        loop {
            self.answer(pipeline)?;
            if !pipeline.awaits_stacks() || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        pipeline.give_up_stacks();
        self.take(pipeline)
    }
}
