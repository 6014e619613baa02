//! Waiting for the ring buffer to have records.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use tcp_trace_ebpf::{UNHURRIED_MAX, WAKE_PAUSE_NS};
use tcp_trace_model::event::{Event, EventKind};
use tokio::io::{Interest, unix::AsyncFd};

/// After the reader was woken, it may not be woken again for this long.
pub const WAKE_PAUSE: Duration = Duration::from_nanos(WAKE_PAUSE_NS);

/// Whether a record wakes the reader by itself, and not only when many wait: one that names a process, which may end at any
/// time, and one with much payload.
pub fn wakes_reader(event: &Event<'_>) -> bool {
    match &event.kind {
        EventKind::Owner(_) | EventKind::Stack(_) => true,
        EventKind::StateChange(change) => change.owner.is_some(),
        EventKind::Segment(segment) => segment.payload.len() > UNHURRIED_MAX,
        EventKind::Plaintext(plaintext) => plaintext.payload.len() > UNHURRIED_MAX,
        EventKind::Translation(_)
        | EventKind::Datagram(_)
        | EventKind::Reset(_)
        | EventKind::Subflow(_)
        | EventKind::Ciphertext(_)
        | EventKind::TlsObjectGone(_) => false,
    }
}

/// Becomes ready when the kernel wakes the reader.
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

    /// Waits until the kernel wakes the reader.
    pub async fn wait(&self) -> io::Result<()> {
        self.ring.readable().await?.clear_ready();
        Ok(())
    }
}
