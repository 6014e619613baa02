//! `live`: prints what happens as it happens.

use std::{io, process::ExitCode};

use super::{CliError, args::Live, output, trace_settings};
use crate::{
    session::{self, SessionError},
    sink::ChunkWriter,
};

pub(super) fn run(arguments: Live, log: bool) -> Result<ExitCode, CliError> {
    let (settings, command) = trace_settings::settings(&arguments.tracing, std::time::Duration::ZERO, log)?;
    let result = ChunkWriter::new(io::stdout()).map_err(SessionError::io("cannot start a thread"));
    let result = result.and_then(|output| {
        let backlog = output.backlog();
        let mut sink = output::sink(arguments.printing, output);
        session::run(settings, command, sink.as_mut(), Some(backlog))
    });
    result.map_err(|error| CliError::session(error, output::NAME))
}
