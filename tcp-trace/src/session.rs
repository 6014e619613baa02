//! A tracing session: attach, read, end. Shared by every verb that traces.

#[cfg(any(test, feature = "capture"))]
mod capture;
mod command;
mod dispatch;
mod enrich;
mod error;
mod event_loop;
mod namespaces;
mod output;
mod plaintext;
mod routes;
mod sockets;
mod stacks;

use std::{
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use tcp_trace_model::record::{FORMAT, Filter, Ready, Record, Session, Text, VERSION};

pub use self::error::SessionError;
use crate::{
    kernel::{Options, Tracer},
    sink::{Backlog, Sink},
};

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What to attach.
    pub kernel: Options,
    /// Which connections come out.
    pub filter: Filter,
    /// When to end by itself.
    pub duration: Option<Duration>,
    /// How long to wait at the end until all TIME_WAIT is over.
    pub settle: Duration,
    /// Whether connections are followed to the end of their TIME_WAIT; otherwise, to its beginning.
    pub follow_time_wait: bool,
    /// Whether credentials in header fields are kept.
    pub show_secrets: bool,
}

/// Runs a session until its time is over, `command` has ended, or a signal comes. The result is the
/// command's exit code, or success; that is also the result when the reader of the output has gone.
/// Where what `sink` renders is written by a thread, `backlog` is that thread's: records are dropped and counted while it
/// is full.
///
/// # Errors
/// When it cannot be started, or the kernel, the command or `sink` fails while it runs.
pub fn run(
    settings: Settings,
    command: Option<Command>,
    sink: &mut dyn Sink,
    backlog: Option<Backlog>,
) -> Result<ExitCode, SessionError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SessionError::io("cannot start"))?;
    // Signals are caught before anything is attached, so that none can fall between.
    let signals = runtime.block_on(async { event_loop::Signals::new() });
    let signals = signals.map_err(SessionError::io("cannot catch signals"))?;
    let looks = || thread::Builder::new().spawn(plaintext::Found::everywhere).ok();
    let looking = settings.kernel.tls.then(looks).flatten();
    let mut tracer = Tracer::attach(&settings.kernel, &settings.filter)?;
    // Without it, all is new when it is looked for.
    let found = looking.and_then(|looking| looking.join().ok()).unwrap_or_default();
    let plaintext = plaintext::Plaintext::start(&mut tracer, found, command.as_ref())
        .map_err(SessionError::io("cannot start a thread"))?;
    let mut output = output::Output::new(sink, backlog, &settings.filter);
    let started = output.put(&Record::Session(Box::new(head(&settings, &tracer)))).and_then(|()| {
        output.put(&Record::Ready(Ready { time: tracer.clock().now() }))?;
        output.flush()
    });
    // Where nothing can be written, nothing begins. Whoever takes it slowly is not waited for.
    let started = started.and_then(|()| match runtime.block_on(output.written(std::future::ready(()))) {
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Ok(()),
        written => written,
    });
    for missing in tracer.missing() {
        log::warn!("{}: {}", missing.feature, missing.reason);
    }
    log::info!("attached");
    let result = match started {
        Ok(()) => event_loop::EventLoop::new(settings, tracer, plaintext, output)
            .and_then(|event_loop| runtime.block_on(event_loop.run(command, signals))),
        Err(error) => Err(error.into()),
    };
    match result {
        Err(SessionError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        result => result,
    }
}

fn head(settings: &Settings, tracer: &Tracer) -> Session {
    let uname = rustix::system::uname();
    Session {
        time: tracer.clock().now(),
        format: FORMAT.to_owned(),
        version: VERSION,
        tool: format!("tcp-trace {}", env!("CARGO_PKG_VERSION")),
        host: Text::from(uname.nodename().to_bytes().to_vec()),
        kernel: Text::from(uname.release().to_bytes().to_vec()),
        command: std::env::args_os().map(|word| Text::from(word.into_encoded_bytes())).collect(),
        filter: settings.filter.clone(),
        missing: tracer.missing().to_vec(),
    }
}
