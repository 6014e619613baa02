//! Why sockets could not be asked for.

use std::io;

use thiserror::Error;

use super::MessageError;

/// Sockets could not be asked for.
#[derive(Debug, Error)]
pub enum DiagError {
    /// A system call failed, or the kernel refused.
    #[error("cannot {what} over netlink")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The kernel has no inet_diag for TCP: `ENOENT` as the answer to a list.
    #[error("the kernel does not list TCP sockets: it lacks CONFIG_INET_DIAG or the module tcp_diag")]
    Unsupported,
    /// The answer is not netlink.
    #[error("malformed answer from the kernel")]
    Malformed(#[from] MessageError),
}

impl DiagError {
    pub(crate) fn failed(what: &'static str, error: impl Into<io::Error>) -> Self {
        Self::Failed { what, source: error.into() }
    }
}
