//! `record`: writes a session as JSON Lines.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, ExitCode},
};

use super::{CliError, args::Record, output, trace_settings};
use crate::{
    session::{self, SessionError, Settings},
    sink::{ChunkWriter, JsonLines},
};

pub(super) fn run(arguments: Record, log: bool) -> Result<ExitCode, CliError> {
    let (settings, command) =
        trace_settings::settings(&arguments.tracing, arguments.settle.unwrap_or_default(), log)?;
    let path = &arguments.output;
    if path == Path::new("-") {
        return record(settings, command, io::stdout(), output::NAME);
    }
    let is_new = !path.exists();
    let name = path.display().to_string();
    let file =
        RecordingFile::open(path).map_err(|error| CliError::io(format!("cannot write {name}"), &error))?;
    let result = record(settings, command, file, &name);
    let was_nothing_written = is_new && path.metadata().is_ok_and(|metadata| metadata.len() == 0);
    if result.is_err() && was_nothing_written {
        // Tracing could not start: leave no empty file behind. If that fails there is nothing to be done.
        let _ = std::fs::remove_file(path);
    }
    result
}

fn record(
    settings: Settings,
    command: Option<Command>,
    output: impl Write + Send + 'static,
    name: &str,
) -> Result<ExitCode, CliError> {
    let result = ChunkWriter::new(output).map_err(SessionError::io("cannot start a thread"));
    let result = result.and_then(|output| {
        let backlog = output.backlog();
        session::run(settings, command, &mut JsonLines::new(output), Some(backlog))
    });
    result.map_err(|error| CliError::session(error, name))
}

/// The file that is recorded to. What was in it stays until there is something to record.
struct RecordingFile {
    file: File,
    has_old_content: bool,
}

impl RecordingFile {
    /// Opens it for its owner only: it holds what went over the network.
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(Self { file, has_old_content: metadata.is_file() && metadata.len() > 0 })
    }
}

impl Write for RecordingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.has_old_content) {
            self.file.set_len(0)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
