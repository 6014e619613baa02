//! The loop of a session: events, ticks, signals, and the command's end.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use tokio::{
    process::Child,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{Settings, output::Output};
use crate::{
    cli::CliError,
    kernel::{Readiness, Tracer, decode},
    pipeline::{self, Pipeline, TICK_US},
    record::{LossPlace, Record},
};

/// Records that are taken from the ring buffer before signals and ticks have their turn.
const BATCH: usize = 4096;
/// How long connections of a command that has ended may take to close.
const SETTLE: Duration = Duration::from_secs(3);

/// Why a session broke off.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The sink could not write.
    Output(io::Error),
    /// Anything else.
    Other(CliError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

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
    Events(io::Result<()>),
    Tick,
    Signal,
    TimeOver,
    CommandEnded(io::Result<ExitStatus>),
}

/// A session that is attached.
pub(super) struct Reader<'a> {
    tracer: Tracer,
    output: Output<'a>,
    pipeline: Pipeline,
    duration: Option<Duration>,
    events: u64,
    decode_errors: u64,
    records: Vec<Record>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: Settings, tracer: Tracer, output: Output<'a>) -> Self {
        let pipeline = pipeline::Settings {
            filter: settings.filter,
            show_secrets: settings.show_secrets,
            reset_reasons: tracer.reset_reasons().clone(),
        };
        Self {
            tracer,
            output,
            pipeline: Pipeline::new(pipeline),
            duration: settings.duration,
            events: 0,
            decode_errors: 0,
            records: Vec::new(),
        }
    }

    /// Reads until the session ends. The exit code is the command's.
    pub(super) async fn run(
        mut self,
        command: Option<std::process::Command>,
        mut signals: Signals,
    ) -> Result<ExitCode, ReadError> {
        let other = |what: &str, error: &io::Error| ReadError::Other(CliError::io(what, error));
        let ring = self.tracer.readiness().map_err(|error| other("cannot wait for events", &error))?;
        let mut child = match command {
            None => None,
            Some(command) => {
                let name = command.get_program().display().to_string();
                let child = tokio::process::Command::from(command).spawn();
                Some(child.map_err(|error| other(&format!("cannot run {name}"), &error))?)
            }
        };
        let mut tick = interval(Duration::from_micros(TICK_US));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = self.duration.map(|duration| Instant::now() + duration);
        let mut exit_status = None;
        let mut has_more = false;
        let interrupted = loop {
            match wake(&ring, has_more, &mut tick, &mut signals, deadline, child.as_mut()).await {
                Wake::Events(result) => {
                    result.map_err(|error| other("cannot wait for events", &error))?;
                    has_more = self.read(BATCH)? == BATCH;
                }
                Wake::Tick => {
                    self.tick()?;
                    if exit_status.is_some() && self.is_settled()? {
                        break false;
                    }
                }
                Wake::Signal => break true,
                Wake::TimeOver => break false,
                Wake::CommandEnded(status) => {
                    exit_status = Some(status.map_err(|error| other("cannot wait for the command", &error))?);
                    child = None;
                    deadline = Some(Instant::now() + SETTLE);
                }
            }
        };
        if let Some(child) = &child {
            terminate(child);
        }
        self.end(interrupted)?;
        Ok(exit_status.map_or(ExitCode::SUCCESS, exit_code))
    }

    /// Takes up to `limit` records from the ring buffer, and says how many there were.
    fn read(&mut self, limit: usize) -> Result<usize, ReadError> {
        let offset = self.tracer.clock().offset_ns();
        let Self { tracer, pipeline, records, events, decode_errors, .. } = self;
        let count = tracer.drain(limit, |bytes| {
            *events += 1;
            match decode(bytes, offset) {
                Ok(event) => pipeline.event(&event, records),
                Err(error) => {
                    log::debug!("record of the ring buffer: {error}");
                    *decode_errors += 1;
                }
            }
        });
        self.put_records()?;
        Ok(count)
    }

    fn tick(&mut self) -> Result<(), ReadError> {
        self.tracer.flush_log();
        let now = self.tracer.clock().now();
        self.pipeline.tick(now, &mut self.records);
        self.put_records()?;
        self.report_losses()?;
        Ok(self.output.flush()?)
    }

    fn put_records(&mut self) -> Result<(), ReadError> {
        for record in self.records.drain(..) {
            self.output.put(record)?;
        }
        Ok(())
    }

    fn report_losses(&mut self) -> Result<(), ReadError> {
        let now = self.tracer.clock().now();
        let ring = self.tracer.newly_lost().map_err(|error| ReadError::Other(error.into()))?;
        if !ring.is_empty() {
            self.pipeline.events_lost(now, &mut self.records);
            self.put_records()?;
        }
        for (cpu, events) in ring {
            self.output.loss(now, LossPlace::Ring, events, Some(cpu))?;
        }
        self.output.loss(now, LossPlace::Reader, std::mem::take(&mut self.decode_errors), None)?;
        Ok(self.output.loss(now, LossPlace::Table, self.pipeline.take_lost(), None)?)
    }

    /// Whether the connections of a command that has ended are closed.
    fn is_settled(&mut self) -> Result<bool, ReadError> {
        // What the command did last may still be in the ring buffer.
        self.read(usize::MAX)?;
        Ok(!self.pipeline.has_open_followed())
    }

    fn end(mut self, interrupted: bool) -> Result<(), ReadError> {
        self.tracer.detach();
        self.read(usize::MAX)?;
        self.tracer.flush_log();
        let now = self.tracer.clock().now();
        self.pipeline.finish(now, &mut self.records);
        self.put_records()?;
        self.report_losses()?;
        Ok(self.output.end(self.tracer.clock().now(), self.events, interrupted)?)
    }
}

async fn wake(
    ring: &Readiness,
    has_more: bool,
    tick: &mut tokio::time::Interval,
    signals: &mut Signals,
    deadline: Option<Instant>,
    child: Option<&mut Child>,
) -> Wake {
    tokio::select! {
        // Signals and ticks first: a flood of events must not starve them.
        biased;
        () = signals.any() => Wake::Signal,
        _ = tick.tick() => Wake::Tick,
        () = async { match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        } } => Wake::TimeOver,
        status = async { match child {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        } } => Wake::CommandEnded(status),
        result = async { if has_more { Ok(()) } else { ring.wait().await } } => Wake::Events(result),
    }
}

/// Passes the end of the session on to the command that is still running.
fn terminate(child: &Child) {
    let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // It may have ended this moment.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// The command's exit code, or 128 and the signal's number, as shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(u8::MAX).into()
}
