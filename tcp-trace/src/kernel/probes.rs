//! The programs on tracepoints and cgroups: which there are, and how they are loaded and attached.

use std::{
    os::fd::AsFd,
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, Program, ProgramError},
};
use tcp_trace_ebpf::programs;
use tcp_trace_model::record::Missing;

use super::{
    KernelError,
    btf::Btf,
    cgroup,
    tracer::{EACCES, EPERM, Options, refused},
};

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

/// Loads all programs, and attaches them when each is loaded. Gives what this kernel does not have.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf<'_>, options: &Options) -> Result<Vec<Missing>, KernelError> {
    let aya_btf = AyaBtf::from_sys_fs().map_err(|error| KernelError::missing("BTF", error.to_string()))?;
    let cgroup =
        cgroup::open_root().map_err(|error| refused("open the root of the cgroup v2 hierarchy", error))?;
    let (mut missing, mut probes) = (Vec::new(), Vec::new());
    for probe in Probe::ALL {
        if probe.follows && !options.follow_children || probe.for_stacks && !options.stacks {
            continue;
        }
        let exists = probe.tracepoint.is_none_or(|name| {
            btf.tracepoint_arguments(name).is_some_and(|arguments| arguments >= probe.arguments)
        });
        match (exists, probe.without) {
            (true, _) => probes.push(probe),
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
    load_all(ebpf, &probes, &aya_btf)?;
    for probe in probes {
        attach_one(ebpf, &probe, &cgroup).map_err(|error| cannot_attach(&probe, error))?;
    }
    Ok(missing)
}

/// Loads these programs with a thread for each processor: the verifier takes up to 0.1 s for one.
fn load_all(ebpf: &mut Ebpf, probes: &[Probe], btf: &AyaBtf) -> Result<(), KernelError> {
    let of_probe = |(name, program)| {
        let place = probes.iter().position(|probe| probe.name == name)?;
        Some((place, program))
    };
    let waiting = Mutex::new(ebpf.programs_mut().filter_map(of_probe).collect::<Vec<_>>());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        let mut refused = Vec::new();
        while let Some((place, program)) = next() {
            if let Err(error) = load(&probes[place], program, btf) {
                refused.push((place, error));
            }
        }
        refused
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let refused = thread::scope(|scope| {
        let start = || thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..processors.min(probes.len())).map_while(|_| start()).collect();
        let mut refused = work();
        for other in others {
            // What a thread panics with is this thread's.
            refused.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        refused
    });
    // The first one in the order of the probes, whichever thread was faster: a kernel gives the same reason each time.
    match refused.into_iter().min_by_key(|(place, _)| *place) {
        Some((place, error)) => Err(cannot_attach(&probes[place], error)),
        None => Ok(()),
    }
}

fn load(probe: &Probe, program: &mut Program, btf: &AyaBtf) -> Result<(), ProgramError> {
    match probe.tracepoint {
        Some(tracepoint) => <&mut BtfTracePoint>::try_from(program)?.load(tracepoint, btf),
        None => <&mut CgroupSkb>::try_from(program)?.load(),
    }
}

fn attach_one(ebpf: &mut Ebpf, probe: &Probe, cgroup: impl AsFd) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(probe.name).ok_or(ProgramError::NotLoaded)?;
    if probe.tracepoint.is_some() {
        <&mut BtfTracePoint>::try_from(program)?.attach()?;
    } else {
        let direction = if probe.name == programs::EGRESS {
            CgroupSkbAttachType::Egress
        } else {
            CgroupSkbAttachType::Ingress
        };
        // A link stands beside those of others by its nature; the "multi" flag is refused with links.
        <&mut CgroupSkb>::try_from(program)?.attach(cgroup, direction, CgroupAttachMode::Single)?;
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
