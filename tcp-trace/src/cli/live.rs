//! `live`: prints what happens as it happens.

use std::{io, process::ExitCode, time::Duration};

use super::{
    CliError,
    args::{Format, Live},
    output::Output,
    output_file::OutputFile,
    run::say,
    trace_settings,
};
use crate::{
    session::{self, SessionError, Settings},
    sink::ChunkWriter,
};

pub(super) fn run(arguments: &Live, log: bool) -> Result<ExitCode, CliError> {
    let (settings, mut command) = trace_settings::settings(&arguments.tracing, Duration::ZERO, log)?;
    let format = arguments.printing.format;
    let has_command = command.is_some();
    let path = arguments.output.as_deref();
    let is_new = path.is_some_and(|path| !path.exists());
    let output = Output::new(path, format, has_command)?;
    if let Some(command) = command.as_mut().filter(|_| output.needs_stdout()) {
        command.stdout(io::stderr());
    }
    if format == Format::Ladder && !has_command {
        say("tracing; each connection is drawn when it ends, and Ctrl-C draws the others");
    }
    let (name, style) = (output.name(), output.style(&arguments.printing));
    // A ladder is drawn before its TIME_WAIT is over.
    let settings = Settings { follow_time_wait: format != Format::Ladder, ..settings };
    let result = ChunkWriter::new(output.writer()).map_err(SessionError::io("cannot start a thread"));
    let result = result.and_then(|output| {
        let backlog = output.backlog();
        let mut sink = style.live_sink(output);
        session::run(settings, command, sink.as_mut(), Some(backlog))
    });
    if let Some(path) = path.filter(|_| result.is_err()) {
        OutputFile::leave_no_empty(path, is_new);
    }
    result.map_err(|error| CliError::session(error, &name))
}
