//! Loads and attaches the eBPF programs, and hands out the ring buffer and the loss counters.

use std::{collections::HashMap as StdHashMap, fs, fs::File, io, os::fd::AsFd, sync::Arc};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfError, EbpfLoader, Pod,
    maps::{Array, MapData, PerCpuArray, RingBuf},
    programs::{CgroupAttachMode, CgroupSkbAttachType, ProgramError},
};
use aya_log::EbpfLogger;
use tcp_trace_ebpf::{
    LAST_USES_MAX, MACHINE_AARCH64, MACHINE_X86_64, Offsets, Registers, TLS_GOROUTINES_MAX, TLS_OBJECTS_MAX,
    TLS_THREADS_MAX, globals, maps, programs, skip_entry, skip_index,
};
use tcp_trace_model::{
    event::{Cookie, Direction, TlsObject},
    record::{Filter, Missing},
    time::Time,
};

use super::{
    btf::Btf,
    cgroup,
    clock::Clock,
    error::{KernelError, root_errno},
    filters::{self, FilterUpdates, KernelFilter},
    last_use::LastUses,
    losses::{Losses, NewlyLost},
    offsets, privileges,
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

/// Whose registers the programs on functions read.
const MACHINE: u8 = if cfg!(target_arch = "aarch64") { MACHINE_AARCH64 } else { MACHINE_X86_64 };

const EPERM: i32 = 1;
const EACCES: i32 = 13;

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

/// One thing that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the program.
    pub name: &'static str,
    /// The tracepoint; `None` for the segment programs, which are attached to the root cgroup.
    tracepoint: Option<&'static str>,
    /// How many arguments the tracepoint needs to have.
    arguments: usize,
    /// What is not known without it; `None` where nothing can be traced without it.
    pub without: Option<&'static str>,
    /// Whether it is attached only to follow a command.
    pub follows: bool,
    /// Whether it is attached only for stacks.
    pub for_stacks: bool,
}

impl Probe {
    /// All of them, in the order in which they are attached.
    pub const ALL: [Self; 10] = [
        Self::needed(programs::EGRESS, None, false),
        Self::needed(programs::INGRESS, None, false),
        Self::needed(programs::RECEIVE, Some(programs::RECEIVE), false),
        Self {
            name: programs::SEND,
            tracepoint: Some(programs::SEND),
            arguments: 0,
            without: Some(
                "a server that writes before it reads is identified only when it closes, and a DNS lookup over UDP \
                 has no process and is not linked to the connection that used it",
            ),
            follows: false,
            for_stacks: false,
        },
        Self {
            name: programs::RESET,
            tracepoint: Some(programs::RESET),
            arguments: 3,
            without: Some("the kernel's reason for sending an RST is unknown"),
            follows: false,
            for_stacks: false,
        },
        Self {
            name: programs::END_OF_STREAM,
            tracepoint: Some(programs::END_OF_STREAM),
            arguments: 0,
            without: Some(
                "the read that returned EOF is unknown, and only reads that returned data count as the last use \
                 (available from Linux 6.3 on)",
            ),
            follows: false,
            for_stacks: true,
        },
        Self::needed(programs::FORK, Some(programs::FORK), true),
        Self::needed(programs::FREE, Some(programs::FREE), true),
        Self::needed(programs::STATE_NESTED, Some(programs::STATE), false),
        // Last: what changes its state from here on is seen by all the others too.
        Self::needed(programs::STATE, Some(programs::STATE), false),
    ];

    const fn needed(name: &'static str, tracepoint: Option<&'static str>, follows: bool) -> Self {
        Self { name, tracepoint, arguments: 0, without: None, follows, for_stacks: false }
    }
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
        let mut missing = attach_probes(&mut ebpf, &btf, options)?;
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

fn attach_probes(ebpf: &mut Ebpf, btf: &Btf<'_>, options: &Options) -> Result<Vec<Missing>, KernelError> {
    let aya_btf = AyaBtf::from_sys_fs().map_err(|error| KernelError::missing("BTF", error.to_string()))?;
    let cgroup =
        cgroup::open_root().map_err(|error| refused("open the root of the cgroup v2 hierarchy", error))?;
    let mut missing = Vec::new();
    for probe in Probe::ALL {
        if probe.follows && !options.follow_children || probe.for_stacks && !options.stacks {
            continue;
        }
        let exists = probe.tracepoint.is_none_or(|name| {
            btf.tracepoint_arguments(name).is_some_and(|arguments| arguments >= probe.arguments)
        });
        match (exists, probe.without) {
            (true, _) => {
                attach(ebpf, &probe, &aya_btf, &cgroup).map_err(|error| cannot_attach(&probe, error))?;
            }
            (false, Some(without)) => missing
                .push(Missing { feature: format!("tracepoint {}", probe.name), reason: without.to_owned() }),
            (false, None) => {
                return Err(KernelError::missing(
                    format!("tracepoint {}", probe.name),
                    "it is not in the kernel's BTF",
                ));
            }
        }
    }
    Ok(missing)
}

fn attach(ebpf: &mut Ebpf, probe: &Probe, btf: &AyaBtf, cgroup: impl AsFd) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(probe.name).ok_or(ProgramError::NotLoaded)?;
    if let Some(tracepoint) = probe.tracepoint {
        let program: &mut aya::programs::BtfTracePoint = program.try_into()?;
        program.load(tracepoint, btf)?;
        program.attach()?;
    } else {
        let direction = if probe.name == programs::EGRESS {
            CgroupSkbAttachType::Egress
        } else {
            CgroupSkbAttachType::Ingress
        };
        let program: &mut aya::programs::CgroupSkb = program.try_into()?;
        program.load()?;
        // A link stands beside those of others by its nature; the "multi" flag is refused with links.
        program.attach(cgroup, direction, CgroupAttachMode::Single)?;
    }
    Ok(())
}

fn cannot_attach(probe: &Probe, error: ProgramError) -> KernelError {
    let ProgramError::LoadError { io_error, verifier_log } = &error else {
        return refused(&format!("attach the eBPF program {}", probe.name), error);
    };
    let log = verifier_log.to_string();
    match (verifier_reason(&log), io_error.raw_os_error()) {
        // Without a word of the verifier it is the privileges that lack.
        (None, Some(EPERM | EACCES)) => refused(&format!("load the eBPF program {}", probe.name), error),
        (reason, _) => KernelError::missing(
            format!("support for the eBPF program {}", probe.name),
            format!(
                "{} ({io_error}). tcp-trace runs on Linux 5.15 and later",
                reason.unwrap_or("the verifier gives no reason")
            ),
        ),
    }
}

/// The line of a verifier's log that says why a program was refused: the last one that is not statistics.
fn verifier_reason(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = ["processed ", "stack depth ", "verification time ", "max_states"];
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_reason_stands_before_its_statistics() {
        let log = "0: (79) r6 = *(u64 *)(r1 +0)\nunknown func bpf_sk_storage_get#107\n\
                   verification time 31 usec\nstack depth 0\nprocessed 5 insns\n";
        assert_eq!(verifier_reason(log), Some("unknown func bpf_sk_storage_get#107"));
        assert_eq!(verifier_reason("processed 5 insns\n\n"), None);
    }
}
