//! What goes wrong, in one line, and the exit code that says of which kind it is.

use std::{fmt, io, process::ExitCode};

use crate::{
    kernel::{KernelError, sock_diag::DiagError},
    recording::RecordingError,
    session::SessionError,
};

/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;
const NOT_PERMITTED: u8 = 3;
const KERNEL: u8 = 4;
const IO: u8 = 5;
/// Exit codes of what cannot be run, as shells have them.
const NOT_EXECUTABLE: u8 = 126;
const NO_SUCH_COMMAND: u8 = 127;

/// Why a verb failed.
#[derive(Debug)]
pub struct CliError {
    code: u8,
    message: String,
}

impl CliError {
    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    /// Reading or writing failed.
    pub fn io(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self { code: IO, message: format!("{what}: {error}") }
    }

    /// A command cannot be run.
    pub fn command(name: impl fmt::Display, error: &io::Error) -> Self {
        let (code, message) = match error.kind() {
            io::ErrorKind::NotFound => (NO_SUCH_COMMAND, format!("{name}: no such command")),
            _ => (NOT_EXECUTABLE, format!("cannot run {name}: {error}")),
        };
        Self { code, message }
    }

    /// A command whose file is there cannot be started.
    pub fn start(name: impl fmt::Display, error: &io::Error) -> Self {
        match error.kind() {
            // What `execve()` says of the file that its `#!` line, or its ELF header, names.
            io::ErrorKind::NotFound => Self {
                code: NO_SUCH_COMMAND,
                message: format!("cannot run {name}: its interpreter or loader does not exist"),
            },
            _ => Self::command(name, error),
        }
    }

    /// A session failed whose sink writes to what `output` names.
    pub fn session(error: SessionError, output: &str) -> Self {
        match error {
            SessionError::Kernel(error) => error.into(),
            SessionError::Io { operation, source } => Self::io(operation, source),
            SessionError::Command { name, source } => Self::start(name, &source),
            SessionError::Output(source) => Self::io(format!("cannot write {output}"), source),
        }
    }

    /// The kernel did not list its sockets.
    pub fn diag(error: DiagError) -> Self {
        let code = if matches!(error, DiagError::Unsupported) { KERNEL } else { IO };
        Self { code, message: format!("{:#}", anyhow::Error::new(error)) }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        self.code.into()
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<KernelError> for CliError {
    fn from(error: KernelError) -> Self {
        let code = match error {
            KernelError::NotPermitted { .. } => NOT_PERMITTED,
            KernelError::Missing { .. } => KERNEL,
            KernelError::Failed { .. } => IO,
        };
        Self { code, message: format!("{:#}", anyhow::Error::new(error)) }
    }
}

impl From<RecordingError> for CliError {
    fn from(error: RecordingError) -> Self {
        Self { code: IO, message: error.to_string() }
    }
}
