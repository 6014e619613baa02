//! `record`: writes a session as JSON Lines.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    process::ExitCode,
};

use super::{CliError, args::Record, target};
use crate::{session, sink::JsonLines};

pub(super) fn run(arguments: Record, log: bool) -> Result<ExitCode, CliError> {
    let (settings, command) = target::settings(&arguments.tracing, log)?;
    let path = &arguments.output;
    if path == Path::new("-") {
        return session::run(settings, command, &mut JsonLines::new(io::stdout().lock()), "standard output");
    }
    let is_new = !path.exists();
    let name = path.display().to_string();
    let file = open(path).map_err(|error| CliError::io(format!("cannot write {name}"), &error))?;
    let result = session::run(settings, command, &mut JsonLines::new(file), &name);
    let was_nothing_written = is_new && path.metadata().is_ok_and(|metadata| metadata.len() == 0);
    if result.is_err() && was_nothing_written {
        // Tracing could not start: leave no empty file behind. If that fails there is nothing to be done.
        let _ = std::fs::remove_file(path);
    }
    result
}

/// Opens the recording for its owner only: it holds what went over the network.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
