//! `record`: writes a session as JSON Lines.

use std::{io, process::ExitCode};

use super::{
    CliError,
    args::{Format, Record},
    output::Output,
    output_file::OutputFile,
    trace_settings,
};
use crate::{
    session::{self, SessionError},
    sink::{ChunkWriter, JsonLines},
};

pub(super) fn run(arguments: Record, log: bool) -> Result<ExitCode, CliError> {
    let (settings, mut command) =
        trace_settings::settings(&arguments.tracing, arguments.settle.unwrap_or_default(), log)?;
    let path = arguments.output.as_path();
    let is_new = !path.exists();
    let output = Output::new(Some(path), Format::Jsonl, command.is_some())?;
    if let Some(command) = command.as_mut().filter(|_| output.needs_stdout()) {
        // What it prints must not be among the records.
        command.stdout(io::stderr());
    }
    let name = output.name();
    let result = ChunkWriter::new(output.writer()).map_err(SessionError::io("cannot start a thread"));
    let result = result.and_then(|output| {
        let backlog = output.backlog();
        session::run(settings, command, &mut JsonLines::new(output), Some(backlog))
    });
    if result.is_err() {
        OutputFile::leave_no_empty(path, is_new);
    }
    result.map_err(|error| CliError::session(error, &name))
}
