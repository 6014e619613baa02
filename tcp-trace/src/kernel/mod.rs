//! Where user space meets the kernel: the only module with `unsafe` and aya.

mod btf;
pub mod cgroup;
pub mod cgroup_paths;
mod clock;
mod decode;
mod error;
mod filters;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod last_use;
mod losses;
mod netlink;
pub mod netns;
mod offsets;
mod privileges;
mod probes;
pub mod process;
pub mod rtnetlink;
pub mod sock_diag;
mod tracer;
mod uprobes;
mod wakeup;

pub use clock::{Clock, ClockError};
pub use decode::{DecodeError, decode};
pub use error::KernelError;
pub use last_use::LastUses;
pub use losses::NewlyLost;
pub use privileges::{Capability, effective_capabilities};
pub use probes::Probe;
pub use tracer::{Options, RING_BYTES_DEFAULT, RING_BYTES_MIN, Tracer};
pub use uprobes::{Hook, HookKind};
pub use wakeup::{Readiness, WAKE_PAUSE, wakes_reader};
