//! Loads and attaches the eBPF programs, and hands out the ring buffer and the loss counters.

use std::{collections::HashMap as StdHashMap, fs, fs::File, io, os::fd::AsFd, sync::Arc};

use aya::{
    Ebpf, EbpfError, EbpfLoader, Pod,
    maps::{Array, MapData, PerCpuArray, RingBuf},
};
use aya_log::EbpfLogger;
use tcp_trace_ebpf::{
    LAST_USES_MAX, MACHINE_AARCH64, MACHINE_X86_64, Offsets, Registers, TLS_GOROUTINES_MAX, TLS_OBJECTS_MAX,
    TLS_THREADS_MAX, globals, maps, skip_entry, skip_index,
};
use tcp_trace_model::{
    event::{Cookie, Direction, TlsObject},
    record::{Filter, Missing},
    time::Time,
};

use super::{
    btf::Btf,
    clock::Clock,
    error::{KernelError, root_errno},
    filters::{self, FilterUpdates, KernelFilter},
    last_use::LastUses,
    losses::{Losses, NewlyLost},
    offsets, privileges, probes,
    uprobes::{Hook, PlaintextSkips, Uprobes},
    wakeup::Readiness,
};

/// The compiled programs: see `cargo xtask ebpf`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/tcp-trace.bpf.o"));

/// Where the running kernel describes its types.
const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Size of the ring buffer unless `--ring-size` says otherwise: a burst of some 20,000 small messages.
pub const RING_BYTES_DEFAULT: u32 = 16 << 20;
/// The reader is woken when this part of the ring buffer is full; before, it looks by itself.
const WAKE_PART: u32 = 4;
/// Smallest ring buffer: one page.
pub const RING_BYTES_MIN: u32 = 4096;

pub(super) const EPERM: i32 = 1;
pub(super) const EACCES: i32 = 13;

/// Whose registers the programs on functions read.
const MACHINE: u8 = if cfg!(target_arch = "aarch64") { MACHINE_AARCH64 } else { MACHINE_X86_64 };

/// The ABI's [`Offsets`] as bytes for the loader.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct OffsetsPod(Offsets);
// SAFETY: a #[repr(C)] struct of u32 only, so without padding and valid for every bit pattern.
unsafe impl Pod for OffsetsPod {}

/// The ABI's [`Registers`], likewise.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct RegistersPod(Registers);
// SAFETY: as above.
unsafe impl Pod for RegistersPod {}

/// What to attach and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the ring buffer: a power of two, at least [`RING_BYTES_MIN`].
    pub ring_bytes: u32,
    /// Whether children of this process are followed.
    pub follow_children: bool,
    /// Whether the eBPF programs log diagnostics.
    pub log: bool,
    /// Whether the stacks of the processes that use sockets are asked for, and the last use of each socket.
    pub stacks: bool,
    /// Whether the plaintext of TLS libraries is asked for.
    pub tls: bool,
}

/// Attached programs. Dropping it, or the end of the process in any way, detaches them.
pub struct Tracer {
    /// `None` once detached; the maps live on.
    ebpf: Option<Ebpf>,
    ring: RingBuf<MapData>,
    losses: Losses,
    skips: Array<MapData, u64>,
    updates: FilterUpdates,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    clock: Clock,
    attached: Time,
    missing: Vec<Missing>,
    reset_reasons: StdHashMap<u32, Arc<str>>,
    last_uses: Option<LastUses>,
    /// `None` when plaintext is not asked for.
    plaintext_skips: Option<PlaintextSkips>,
    uprobes: Option<Uprobes>,
}

impl Tracer {
    /// Loads and attaches everything. What `filter` certainly excludes is dropped as early as that is known.
    pub fn attach(options: &Options, filter: &Filter) -> Result<Self, KernelError> {
        let clock = Clock::new()?;
        let btf_bytes = fs::read(VMLINUX_BTF).map_err(|error| {
            KernelError::missing("BTF", format!("{VMLINUX_BTF}: {error}; it needs CONFIG_DEBUG_INFO_BTF=y"))
        })?;
        let btf = Btf::parse(&btf_bytes)?;
        let mut ebpf = load(&btf, options, KernelFilter(filter))?;
        // While it has all its maps.
        let uprobes = options.tls.then(|| Uprobes::load(&mut ebpf, OBJECT)).transpose();
        let (uprobes, no_uprobes) =
            uprobes.map_or_else(|error| (None, Some(error)), |uprobes| (uprobes, None));
        let logger = options.log.then(|| EbpfLogger::init(&mut ebpf)).transpose();
        let logger = logger.map_err(|error| KernelError::failed("read the programs' log", error))?;
        if options.follow_children {
            filters::follow_children(&mut ebpf)?;
        }
        KernelFilter(filter).set(&mut ebpf)?;
        let updates = FilterUpdates::new(&mut ebpf, filter)?;
        let ring = RingBuf::try_from(taken(&mut ebpf, maps::EVENTS)?);
        let counters = PerCpuArray::try_from(taken(&mut ebpf, maps::COUNTERS)?);
        let ring = ring.map_err(|error| KernelError::failed("map the ring buffer", error))?;
        let counters = counters.map_err(|error| KernelError::failed("use the loss counters", error))?;
        let mut missing = probes::attach(&mut ebpf, &btf, options)?;
        missing.extend(no_uprobes.as_ref().map(without_uprobes));
        let attached = clock.now();
        let reset_reasons = reset_reasons(&btf);
        let skips = Array::try_from(taken(&mut ebpf, maps::SKIP)?);
        let skips = skips.map_err(|error| KernelError::failed("use the map of skipped payload", error))?;
        let losses = Losses::new(counters, &ebpf)?;
        let last_uses = options.stacks.then(|| taken(&mut ebpf, maps::LAST_USES)).transpose()?;
        let last_uses = last_uses.map(|map| LastUses::new(map, clock)).transpose()?;
        let plaintext_skips = uprobes.is_some().then(|| PlaintextSkips::new(&mut ebpf)).transpose()?;
        let ebpf = Some(ebpf);
        Ok(Self {
            ebpf,
            ring,
            losses,
            skips,
            updates,
            logger,
            clock,
            attached,
            missing,
            reset_reasons,
            last_uses,
            plaintext_skips,
            uprobes,
        })
    }

    /// Since when all programs are attached.
    pub fn attached(&self) -> Time {
        self.attached
    }

    /// Notes that no plaintext is reported, and why.
    pub fn give_up_plaintext(&mut self, error: &KernelError) {
        self.missing.push(without_uprobes(error));
        self.plaintext_skips = None;
    }

    /// Whether plaintext can be reported, and is asked for.
    pub fn reports_plaintext(&self) -> bool {
        self.plaintext_skips.is_some()
    }

    /// What this kernel does not give.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// The kernel's names of the reasons for which it sends an RST.
    pub fn reset_reasons(&self) -> &StdHashMap<u32, Arc<str>> {
        &self.reset_reasons
    }

    /// The last uses of sockets, when stacks are asked for; the first time.
    pub fn take_last_uses(&mut self) -> Option<LastUses> {
        self.last_uses.take()
    }

    /// The clock of the events.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What to wait on for records. Needs to be called in a tokio runtime.
    pub fn readiness(&self) -> io::Result<Readiness> {
        Readiness::new(self.ring.as_fd())
    }

    /// Hands at most `limit` records to `consume`; returns how many there were.
    pub fn drain(&mut self, limit: usize, mut consume: impl FnMut(&[u8])) -> usize {
        for count in 0..limit {
            match self.ring.next() {
                Some(record) => consume(&record),
                None => return count,
            }
        }
        limit
    }

    /// Events lost since the last call.
    pub fn newly_lost(&mut self) -> Result<Vec<NewlyLost>, KernelError> {
        self.losses.newly()
    }

    /// Tells the programs which payload is not needed: that of a socket's direction before the sequence number.
    pub fn skip(&mut self, cookie: Cookie, direction: Direction, until: Option<u32>) {
        let index = skip_index(cookie, direction.index() as u8);
        let entry = until.map_or(0, |until| skip_entry(cookie, until));
        if let Err(error) = self.skips.set(index, entry, 0) {
            // They go on handing it over: that costs time, and nothing else.
            log::debug!("cannot mark payload as skippable: {error}");
        }
    }

    /// The same of plaintext: that of an object's direction before the offset.
    pub fn skip_plaintext(&mut self, object: TlsObject, direction: Direction, until: Option<u64>) {
        if let Some(skips) = &mut self.plaintext_skips {
            skips.set(object, direction, until);
        }
    }

    /// Attaches the programs that report plaintext to a file, when plaintext is asked for.
    pub fn attach_hooks(&mut self, file: &File, hooks: &[Hook]) -> Result<(), KernelError> {
        match (&mut self.ebpf, &mut self.uprobes) {
            (Some(ebpf), Some(uprobes)) => uprobes.attach(ebpf, file, hooks),
            _ => Ok(()),
        }
    }

    /// Tells the programs that user space has the list of the sockets that are older than tracing: from now on they decide
    /// by the first process of a socket themselves.
    pub fn mark_existing_loaded(&mut self) {
        self.updates.mark_existing_loaded();
    }

    /// Excludes a cgroup in the programs.
    pub fn exclude_cgroup(&mut self, id: u64) {
        self.updates.exclude_cgroup(id);
    }

    /// Passes the programs' log records on to the `log` crate.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Detaches the programs. The ring buffer can still be drained.
    pub fn detach(&mut self) {
        if let Some(mut ebpf) = self.ebpf.take()
            && let Some(mut uprobes) = self.uprobes.take()
        {
            uprobes.detach(&mut ebpf);
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.detach();
    }
}

fn load(btf: &Btf<'_>, options: &Options, filter: KernelFilter<'_>) -> Result<Ebpf, KernelError> {
    let offsets = OffsetsPod(offsets::look_up(btf)?);
    let wake_bytes = (options.ring_bytes / WAKE_PART).max(1);
    let log_level = u8::from(options.log) * aya_log::Level::Trace as u8;
    EbpfLoader::new()
        .override_global(globals::OFFSETS, &offsets, true)
        .override_global(globals::FILTERS_PORTS, &filter.ports(), true)
        .override_global(globals::FILTERS_PROCESS, &filter.processes(), true)
        .override_global(globals::FILTERS_NETWORKS, &filter.networks(), true)
        .override_global(globals::WAKE_BYTES, &wake_bytes, true)
        .override_global(globals::STACKS, &u8::from(options.stacks), true)
        .override_global(globals::TLS, &u8::from(options.tls), true)
        .override_global(globals::MACHINE, &MACHINE, true)
        .override_global(globals::REGISTERS, &RegistersPod(offsets::registers()), true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries(maps::EVENTS, options.ring_bytes)
        .map_max_entries(maps::EXCLUDED_CGROUPS, filter.excluded_cgroups_max())
        .map_max_entries(maps::LAST_USES, if options.stacks { LAST_USES_MAX as u32 } else { 1 })
        .map_max_entries(maps::TLS_OBJECTS, if options.tls { TLS_OBJECTS_MAX as u32 } else { 1 })
        .map_max_entries(maps::TLS_SKIPS, if options.tls { 2 * TLS_OBJECTS_MAX as u32 } else { 1 })
        .map_max_entries(maps::TLS_GOROUTINES, if options.tls { TLS_GOROUTINES_MAX as u32 } else { 1 })
        .map_max_entries(maps::TLS_THREADS, if options.tls { TLS_THREADS_MAX as u32 } else { 1 })
        .load(OBJECT)
        .map_err(|error| match error {
            EbpfError::MapError(error) => refused("create the maps", error),
            error => refused("load the programs", error),
        })
}

/// An error of the operating system: a lack of privileges is told apart.
pub(super) fn refused(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> KernelError {
    match root_errno(&error) {
        Some(EPERM | EACCES) => {
            KernelError::NotPermitted { what: format!("cannot {what}"), missing: privileges::missing_here() }
        }
        _ => KernelError::failed(what, error),
    }
}

fn without_uprobes(error: &KernelError) -> Missing {
    let reason = format!("what TLS carries is unknown: {error}");
    Missing { feature: "uprobes".to_owned(), reason }
}

/// The names of `enum sk_rst_reason` without their common start. Unspecified is no reason.
fn reset_reasons(btf: &Btf<'_>) -> StdHashMap<u32, Arc<str>> {
    const START: &str = "SK_RST_REASON_";
    const NONE: &str = "NOT_SPECIFIED";
    btf.enumeration("sk_rst_reason")
        .into_iter()
        .filter_map(|(number, name)| {
            let name = std::str::from_utf8(name).ok()?.strip_prefix(START)?;
            (name != NONE).then(|| (number, Arc::from(name)))
        })
        .collect()
}

pub(super) fn taken(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, KernelError> {
    ebpf.take_map(name).ok_or_else(|| not_in_object(name))
}

pub(super) fn not_in_object(name: &str) -> KernelError {
    let source = io::Error::new(io::ErrorKind::NotFound, "it is not in the embedded eBPF object");
    KernelError::failed(format!("use the map {name}"), source)
}
