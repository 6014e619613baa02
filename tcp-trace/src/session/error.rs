//! Why a session failed, by kinds that the command line can tell apart.

use std::io;

use crate::kernel::KernelError;

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Attaching to the kernel, or reading what it reports, failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An operation of the session itself failed.
    #[error("{operation}: {source}")]
    Io {
        /// What could not be done: `cannot start a thread`.
        operation: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The command to follow could not be started.
    #[error("{name}: {source}")]
    Command {
        /// The command's file.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The sink could not write its records.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl SessionError {
    /// Turns the system's reason into an error of this operation.
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}
