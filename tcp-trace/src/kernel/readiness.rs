//! Waiting for the ring buffer to have records.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Becomes ready when the kernel has written records that were not announced before.
pub struct Readiness {
    ring: AsyncFd<OwnedFd>,
}

impl Readiness {
    /// Watches the ring buffer `ring`. Needs to be called in a tokio runtime.
    pub(super) fn new(ring: BorrowedFd<'_>) -> io::Result<Self> {
        let ring = ring.try_clone_to_owned()?;
        // SAFETY: the descriptor is owned by the AsyncFd, so it stays open and the same.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        Ok(Self { ring: ring.map_err(|error| error.into_parts().1)? })
    }

    /// Waits for records. Only a further record makes it ready again, so whoever waits has to empty the
    /// ring buffer first.
    pub async fn wait(&self) -> io::Result<()> {
        self.ring.readable().await?.clear_ready();
        Ok(())
    }
}
