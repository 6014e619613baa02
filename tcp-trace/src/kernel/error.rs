//! Why tracing could not be attached, and what the user can do about it.

use std::io;

use thiserror::Error;

use super::{btf::BtfError, clock::ClockError};

/// Tracing could not be attached.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The process may not do it.
    #[error(
        "not permitted: {what}. tcp-trace needs the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN{missing}; \
         run it as root, or: sudo setcap cap_bpf,cap_perfmon,cap_net_admin=ep $(command -v tcp-trace)"
    )]
    NotPermitted {
        /// What was refused.
        what: String,
        /// The ones that this process lacks: empty, or ` (missing here: ...)`.
        missing: String,
    },
    /// The kernel lacks something that there is no way round.
    #[error("this kernel lacks {feature}: {reason}")]
    Missing {
        /// What is missing.
        feature: String,
        /// How it showed, and since when kernels have it.
        reason: String,
    },
    /// Something else failed.
    #[error("cannot {what}")]
    Failed {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl KernelError {
    pub(super) fn failed(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    pub(super) fn missing(feature: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Missing { feature: feature.into(), reason: reason.into() }
    }
}

impl From<BtfError> for KernelError {
    fn from(error: BtfError) -> Self {
        Self::missing("a struct field that tcp-trace reads", error.to_string())
    }
}

impl From<ClockError> for KernelError {
    fn from(error: ClockError) -> Self {
        Self::failed("read the clocks", error)
    }
}

/// The operating system's error at the root of `error`, if that is what it is.
pub(super) fn root_errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        current = error.source();
    }
    None
}
