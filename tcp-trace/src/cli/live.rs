//! `live`: prints what happens as it happens.

use std::process::ExitCode;

use super::{CliError, args::Live, print, target};
use crate::session;

pub(super) fn run(arguments: Live, log: bool) -> Result<ExitCode, CliError> {
    let (settings, command) = target::settings(&arguments.tracing, std::time::Duration::ZERO, log)?;
    let mut sink = print::sink(arguments.printing);
    session::run(settings, command, sink.as_mut()).map_err(|error| CliError::session(error, print::OUTPUT))
}
