//! `live`: prints what happens as it happens.

use std::{io, process::ExitCode};

use jiff::tz::TimeZone;

use super::{
    CliError,
    args::{Format, Live},
    target,
};
use crate::{
    session,
    sink::{JsonLines, Ladder, Sink, Table},
};

pub(super) fn run(arguments: Live, log: bool) -> Result<ExitCode, CliError> {
    let (settings, command) = target::settings(&arguments.tracing, std::time::Duration::ZERO, log)?;
    let output = io::stdout().lock();
    let mut sink: Box<dyn Sink> = match arguments.format {
        Format::Table => Box::new(Table::new(output, TimeZone::system())),
        Format::Ladder => Box::new(Ladder::new(output)),
        Format::Jsonl => Box::new(JsonLines::new(output)),
    };
    session::run(settings, command, sink.as_mut(), "standard output")
}
