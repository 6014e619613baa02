//! The last use of each socket, which the eBPF programs keep by its cookie.

use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
};
use tcp_trace_ebpf::RawLastUse;
use tcp_trace_model::{
    event::{Cookie, LastUse},
    time::Time,
};

use super::{clock::Clock, error::KernelError};

/// The ABI's [`RawLastUse`] as bytes of the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct LastUsePod(RawLastUse);
// SAFETY: a #[repr(C)] struct of integers and bytes without padding, valid for every bit pattern.
unsafe impl Pod for LastUsePod {}

/// The map of last uses. It has room for those sockets that were used last; of others nothing is known.
pub struct LastUses {
    map: HashMap<MapData, u64, LastUsePod>,
    clock: Clock,
}

impl LastUses {
    pub(super) fn new(map: Map, clock: Clock) -> Result<Self, KernelError> {
        let map = HashMap::try_from(map);
        let map = map.map_err(|error| KernelError::failed("use the map of last uses", error))?;
        Ok(Self { map, clock })
    }

    /// Who used the socket last, since tracing began; `None` when nobody did.
    pub fn of(&self, cookie: Cookie) -> Option<LastUse> {
        // An entry that cannot be read is one that is not known.
        let LastUsePod(raw) = self.map.get(&cookie, 0).ok()?;
        Some(LastUse {
            time: Time(raw.time_ns.wrapping_add(self.clock.offset_ns())),
            pid: raw.pid,
            tid: raw.tid,
            thread: raw.comm.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
            is_write: raw.is_write == 1,
        })
    }

    /// The same, for the last time.
    pub fn take(&mut self, cookie: Cookie) -> Option<LastUse> {
        let last_use = self.of(cookie)?;
        // The kernel removes what nobody uses by itself, when it needs the room.
        let _ = self.map.remove(&cookie);
        Some(last_use)
    }
}
