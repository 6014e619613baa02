//! The loop of a session: events, ticks, signals, and the command's end.

use std::{collections::HashSet, io, process::ExitCode, time::Duration};

use tcp_trace_core::pipeline::{self, Pipeline, Skip, SkipPlaintext, TICK_US};
use tcp_trace_model::{
    event::Cookie,
    record::{ConnectionId, LossPlace},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

#[cfg(feature = "capture")]
use super::capture::{Capture, Frame};
use super::{
    SessionError, Settings,
    command::TracedCommand,
    dispatch::Dispatch,
    enrich::Enricher,
    output::Output,
    plaintext::Plaintext,
    routes::Routes,
    sockets::{Answer, Sockets},
    stacks::Stacks,
};
use crate::{
    kernel::{NewlyLost, Readiness, Tracer, WAKE_PAUSE, decode, wakes_reader},
    uprobes::Target,
};

/// Records that are taken from the ring buffer before signals and ticks have their turn.
const BATCH: usize = 4096;
/// More records than a ring buffer of the usual size holds: taken at once where all that happened so far is needed.
/// Not without bound, because a flood has no end.
const ALL: usize = 1 << 20;
/// When the ring buffer is looked at again after a record that is announced: the next one is not, within
/// [`WAKE_PAUSE`]. Most records are none of these and wait for the next tick. On a busy host it costs less to read many
/// of them seldom than a few of them often, because each time some other process has to wait for its processor.
const LOOK_SOON: Duration = Duration::from_millis(2);
const _: () = assert!(LOOK_SOON.as_nanos() > WAKE_PAUSE.as_nanos());
/// How long connections of a command that has ended may take to close.
const CLOSING: Duration = Duration::from_secs(3);
/// How long the kernel's lists of sockets are waited for at the end, before and after the programs are detached.
const LAST_LIST: Duration = Duration::from_secs(5);
/// What so many of them in turn lack is gone.
const LISTS: usize = 4;
/// How often the ring buffer is looked at meanwhile.
const LIST_TICK: Duration = Duration::from_millis(20);

/// The signals that end a session.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// What woke the loop.
enum Wake {
    Announced(io::Result<()>),
    Look,
    Tick,
    Signal,
    TimeOver,
    CommandEnded(io::Result<()>),
    Sockets(Answer),
    Library(Target),
}

/// The loop of a session that is attached.
pub(super) struct EventLoop<'a> {
    tracer: Tracer,
    pipeline: Pipeline,
    dispatch: Dispatch<'a>,
    enricher: Enricher,
    plaintext: Plaintext,
    duration: Option<Duration>,
    settle: Duration,
    events: u64,
    decode_errors: u64,
    /// When to look at the ring buffer before the next tick.
    look: Option<Instant>,
    #[cfg(feature = "capture")]
    capture: Option<Capture>,
}

impl<'a> EventLoop<'a> {
    pub(super) fn new(
        settings: Settings,
        mut tracer: Tracer,
        plaintext: Plaintext,
        output: Output<'a>,
    ) -> Result<Self, SessionError> {
        let no_thread = || SessionError::io("cannot start a thread");
        let sockets = Sockets::new(tracer.clock()).map_err(no_thread())?;
        let routes = Routes::new().map_err(no_thread())?;
        let stacks = match tracer.take_last_uses() {
            Some(last_uses) => Some((Stacks::new().map_err(no_thread())?, last_uses)),
            None => None,
        };
        // What a command will do begins with sockets of its own.
        let wants_existing = !settings.filter.followed;
        #[cfg(feature = "capture")]
        let capture = Capture::begin(&settings, &tracer);
        let mut pipeline = Pipeline::new(pipeline::Settings {
            filter: settings.filter,
            show_secrets: settings.show_secrets,
            leave_time_wait: !settings.follow_time_wait,
            reset_reasons: tracer.reset_reasons().clone(),
            stacks: stacks.is_some(),
            since: tracer.attached(),
        });
        if wants_existing {
            pipeline.expect_existing();
            sockets.ask_existing();
        } else {
            tracer.mark_existing_loaded();
        }
        Ok(Self {
            tracer,
            pipeline,
            dispatch: Dispatch::new(output, sockets, routes, stacks),
            enricher: Enricher::new(),
            plaintext,
            duration: settings.duration,
            settle: settings.settle,
            events: 0,
            decode_errors: 0,
            look: None,
            #[cfg(feature = "capture")]
            capture,
        })
    }

    /// Runs until the session ends. The exit code is the command's.
    pub(super) async fn run(
        mut self,
        command: Option<std::process::Command>,
        mut signals: Signals,
    ) -> Result<ExitCode, SessionError> {
        let mut command = TracedCommand::start(command)?;
        let result = self.follow(&mut command, &mut signals).await;
        // Whyever it ends: what was started for the session does not outlive it unnoticed.
        command.terminate().await;
        self.end(result?, signals).await?;
        Ok(command.exit_code())
    }

    /// Runs until something ends the session; true when that was a signal.
    async fn follow(
        &mut self,
        command: &mut TracedCommand,
        signals: &mut Signals,
    ) -> Result<bool, SessionError> {
        let ring = self.tracer.readiness().map_err(SessionError::io("cannot wait for events"))?;
        let mut tick = interval(Duration::from_micros(TICK_US));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = self.duration.map(|duration| Instant::now() + duration);
        let mut has_more = false;
        // Whether a signal ended it, once only TIME_WAIT is waited for.
        let mut settling = None;
        loop {
            let others = (&mut self.dispatch.sockets, &mut self.plaintext);
            let wake =
                wake(&ring, has_more, (&mut tick, self.look), signals, deadline, command, others).await;
            let mut ended = None;
            match wake {
                Wake::Announced(result) => {
                    result.map_err(SessionError::io("cannot wait for events"))?;
                    has_more = self.read(BATCH)? == BATCH;
                }
                Wake::Look => {
                    self.look = self.look.filter(|look| *look > Instant::now());
                    has_more = self.read(BATCH)? == BATCH;
                }
                Wake::Tick => {
                    self.tick()?;
                    let is_over =
                        settling.is_none() && command.has_ended() && self.drain_and_check_closed()?;
                    ended = is_over.then_some(false);
                }
                Wake::Signal => ended = Some(true),
                Wake::TimeOver => ended = Some(false),
                Wake::CommandEnded(result) => {
                    result.map_err(SessionError::io("cannot wait for the command"))?;
                    deadline = Some(Instant::now() + CLOSING);
                }
                Wake::Sockets(answer) => self.take(answer)?,
                Wake::Library(target) => self.plaintext.attach(&mut self.tracer, &target),
            }
            match (ended, settling) {
                (None, Some(interrupted)) if !self.pipeline.has_mini_sockets() => return Ok(interrupted),
                (None, _) => {}
                // The time to settle is over, or whoever asked twice does not want to wait.
                (Some(_), Some(interrupted)) => return Ok(interrupted),
                (Some(interrupted), None) => {
                    command.terminate().await;
                    if !self.drain_and_check_settling()? {
                        return Ok(interrupted);
                    }
                    settling = Some(interrupted);
                    deadline = Some(Instant::now() + self.settle);
                }
            }
        }
    }

    /// Takes up to `limit` records from the ring buffer, and says how many there were.
    fn read(&mut self, limit: usize) -> Result<usize, SessionError> {
        let offset = self.tracer.clock().offset_ns();
        let Self { tracer, pipeline, enricher, plaintext, dispatch, events, decode_errors, .. } = self;
        #[cfg(feature = "capture")]
        let capture = &mut self.capture;
        let (mut written, mut was_announced) = (Ok(()), false);
        let count = tracer.drain(limit, |bytes| {
            *events += 1;
            #[cfg(feature = "capture")]
            if let Some(capture) = capture {
                capture.put(&Frame::Event(bytes));
            }
            if written.is_err() {
                return;
            }
            match decode(bytes, offset) {
                Ok(mut event) => {
                    was_announced |= wakes_reader(&event);
                    if let Some(owner) = enricher.enrich(&mut event) {
                        plaintext.look_at(owner.pid);
                    }
                    pipeline.event(&event);
                    // While the records are still in the processor's caches.
                    written = dispatch.take(pipeline);
                }
                Err(error) => {
                    log::debug!("record of the ring buffer: {error}");
                    *decode_errors += 1;
                }
            }
        });
        written?;
        if was_announced {
            self.look = Some(Instant::now() + LOOK_SOON);
        }
        for (id, path) in self.enricher.drain_new_cgroups() {
            if !self.pipeline.filter().asks_for_cgroup(&path) {
                self.tracer.exclude_cgroup(id);
            }
        }
        self.dispatch.answer(&mut self.pipeline)?;
        self.take_outputs()?;
        Ok(count)
    }

    fn tick(&mut self) -> Result<(), SessionError> {
        self.tracer.flush_log();
        let now = self.tracer.clock().now();
        // What has happened before now comes first: nothing is given up that is only unread.
        if self.read(ALL)? < ALL {
            #[cfg(feature = "capture")]
            if let Some(capture) = &mut self.capture {
                capture.put(&Frame::Tick(now));
            }
            self.pipeline.tick(now);
        }
        self.take_outputs()?;
        self.report_losses()?;
        Ok(self.dispatch.output.flush()?)
    }

    /// Takes what the kernel listed.
    fn take(&mut self, answer: Answer) -> Result<(), SessionError> {
        // What happened before the list was read comes first.
        self.read(ALL)?;
        let now = self.tracer.clock().now();
        match answer {
            Answer::Existing(sockets) => {
                self.pipeline.existing(now, &sockets);
                self.tracer.mark_existing_loaded();
            }
            Answer::Listed(lists, processor_time) => {
                for list in lists {
                    match list.sockets {
                        Some((read, sockets)) => self.pipeline.listed(list.netns, read, &sockets),
                        None => self.pipeline.not_listed(list.netns, now),
                    }
                }
                // Some 500,000 years fit.
                self.pipeline.lists_over(processor_time.as_micros() as u64);
            }
            // It came too late.
            Answer::Present(..) => {}
        }
        self.take_outputs()
    }

    /// Reads what came; whether the end then has to wait for TIME_WAIT to be over.
    fn drain_and_check_settling(&mut self) -> Result<bool, SessionError> {
        if self.settle.is_zero() {
            return Ok(false);
        }
        self.read(ALL)?;
        let waits = self.pipeline.has_mini_sockets();
        if waits {
            log::info!("waiting up to {:?} for the end of TIME_WAIT; press Ctrl-C to stop now", self.settle);
        }
        Ok(waits)
    }

    /// Does what the pipeline puts out.
    fn take_outputs(&mut self) -> Result<(), SessionError> {
        self.dispatch.take(&mut self.pipeline)?;
        for Skip { cookie, direction, until } in self.dispatch.skips.drain(..) {
            self.tracer.skip(cookie, direction, until);
        }
        for SkipPlaintext { object, direction, until } in self.dispatch.plaintext_skips.drain(..) {
            self.tracer.skip_plaintext(object, direction, until);
        }
        Ok(())
    }

    fn report_losses(&mut self) -> Result<(), SessionError> {
        let now = self.tracer.clock().now();
        let newly_lost = self.tracer.newly_lost()?;
        if !newly_lost.is_empty() {
            self.pipeline.events_lost(now);
            self.take_outputs()?;
        }
        for NewlyLost { place, cpu, events } in newly_lost {
            self.dispatch.output.loss(now, place, events, cpu)?;
        }
        let (undecoded, given_up) = (std::mem::take(&mut self.decode_errors), self.dispatch.take_lost());
        self.dispatch.output.loss(now, LossPlace::Reader, undecoded, None)?;
        Ok(self.dispatch.output.loss(now, LossPlace::Table, given_up, None)?)
    }

    /// Reads what came; whether the connections of a command that has ended are then closed.
    fn drain_and_check_closed(&mut self) -> Result<bool, SessionError> {
        // What the command did last may still be in the ring buffer.
        self.read(ALL)?;
        Ok(!self.pipeline.has_open_followed())
    }

    async fn end(mut self, interrupted: bool, mut signals: Signals) -> Result<(), SessionError> {
        let missing = self.missing().await?;
        self.tracer.detach();
        self.dispatch.output.begin_end();
        // Nothing more comes: what is there is all read, however much it is.
        while self.read(ALL)? == ALL {}
        self.pipeline.are_missing(&missing);
        self.last_list().await?;
        self.dispatch.finish_routes(&mut self.pipeline).await;
        self.tracer.flush_log();
        let now = self.tracer.clock().now();
        self.pipeline.ask_last_uses();
        self.take_outputs()?;
        #[cfg(feature = "capture")]
        if let Some(capture) = self.capture.take() {
            capture.end(now);
        }
        // Whoever is open knows of them.
        self.report_losses()?;
        self.pipeline.finish(now);
        self.take_outputs()?;
        self.dispatch.finish_stacks(&mut self.pipeline).await?;
        self.report_losses()?;
        let mut output = self.dispatch.output;
        output.end(self.tracer.clock().now(), self.events, self.pipeline.unlinked(), interrupted)?;
        Ok(output.written(signals.any()).await?)
    }
}

impl EventLoop<'_> {
    /// The connections that are open as far as was seen and that the kernel has no more: found while the programs are attached, so that
    /// what closes later is none of them.
    async fn missing(&mut self) -> Result<Vec<ConnectionId>, SessionError> {
        if self.pipeline.expects_existing() {
            return Ok(Vec::new());
        }
        self.read(ALL)?;
        let mut missing = self.pipeline.with_sockets();
        let until = Instant::now() + LAST_LIST;
        // A list that is read while it changes may leave one out, and a socket leaves it just before its end is reported.
        for _ in 0..LISTS {
            if missing.is_empty() {
                break;
            }
            self.dispatch.sockets.ask_present();
            let Some((present, complete)) = self.present(until).await? else { return Ok(Vec::new()) };
            // The ends of those that it lacks were reported before.
            self.read(ALL)?;
            self.pipeline.retain_missing(&mut missing, &present, &complete);
        }
        Ok(missing)
    }

    /// Which sockets there are, while events are read.
    async fn present(&mut self, until: Instant) -> Result<Option<(HashSet<Cookie>, Vec<u32>)>, SessionError> {
        while Instant::now() < until {
            match self.dispatch.sockets.answer_within(LIST_TICK).await {
                Some(Answer::Present(present, complete)) => return Ok(Some((present, complete))),
                Some(answer) => self.take(answer)?,
                None => {
                    self.read(ALL)?;
                }
            }
        }
        Ok(None)
    }

    /// Learns what is still open, and whose it is.
    async fn last_list(&mut self) -> Result<(), SessionError> {
        // In a short session the first list is on its way still, and new enough.
        let is_first = self.pipeline.expects_existing();
        if !is_first && !self.pipeline.has_open() {
            return Ok(());
        }
        if !is_first {
            self.dispatch.sockets.ask_existing();
        }
        while let Some(answer) = self.dispatch.sockets.answer_within(LAST_LIST).await {
            match answer {
                Answer::Existing(sockets) if !is_first => {
                    self.pipeline.still_open(self.tracer.clock().now(), sockets);
                    return Ok(());
                }
                Answer::Existing(sockets) => {
                    let now = self.tracer.clock().now();
                    self.read(ALL)?;
                    self.pipeline.existing(self.tracer.clock().now(), &sockets);
                    self.tracer.mark_existing_loaded();
                    self.pipeline.still_open(now, sockets);
                    return Ok(());
                }
                answer @ (Answer::Present(..) | Answer::Listed(..)) => self.take(answer)?,
            }
        }
        log::warn!(
            "the kernel's socket list did not arrive in time: summaries of open connections may be incomplete"
        );
        Ok(())
    }
}

async fn wake(
    ring: &Readiness,
    has_more: bool,
    (tick, look): (&mut Interval, Option<Instant>),
    signals: &mut Signals,
    deadline: Option<Instant>,
    command: &mut TracedCommand,
    (sockets, plaintext): (&mut Sockets, &mut Plaintext),
) -> Wake {
    tokio::select! {
        // Signals and ticks first: a flood of events must not starve them.
        biased;
        () = signals.any() => Wake::Signal,
        _ = tick.tick() => Wake::Tick,
        () = until(deadline) => Wake::TimeOver,
        result = command.ended() => Wake::CommandEnded(result),
        answer = sockets.answer() => Wake::Sockets(answer),
        target = plaintext.target() => Wake::Library(target),
        result = ring.wait() => Wake::Announced(result),
        () = async { if !has_more { until(look).await } } => Wake::Look,
    }
}

/// Waits until then, or for ever.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
