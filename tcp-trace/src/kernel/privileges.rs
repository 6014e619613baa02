//! Which capabilities this process has (capabilities(7)).

use std::{fs, io};

/// A capability that tracing uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name, `CAP_BPF`.
    pub name: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    bit: u32,
    /// Whether CAP_SYS_ADMIN, which on older kernels was needed in its place, does as well.
    is_part_of_admin: bool,
}

const CAP_SYS_ADMIN: u32 = 21;

impl Capability {
    /// The capabilities without which nothing can be traced.
    pub const NEEDED: [Self; 3] = [
        Self::needed("CAP_BPF", "load eBPF programs and maps", 39),
        Self::needed("CAP_PERFMON", "attach to tracepoints and read kernel memory", 38),
        Self::needed("CAP_NET_ADMIN", "see the segments of every cgroup", 12),
    ];
    /// Those without which something is not known.
    pub const USEFUL: [Self; 2] = [
        Self {
            name: "CAP_SYS_ADMIN",
            purpose: "list the sockets of other network namespaces, and to read TLS libraries before Linux 6.6",
            bit: CAP_SYS_ADMIN,
            is_part_of_admin: true,
        },
        Self::PTRACE,
    ];
    /// The one without which other users' processes cannot be inspected.
    pub const PTRACE: Self = Self {
        name: "CAP_SYS_PTRACE",
        purpose: "find the processes of sockets opened before tcp-trace started",
        bit: 19,
        is_part_of_admin: false,
    };

    const fn needed(name: &'static str, purpose: &'static str, bit: u32) -> Self {
        Self { name, purpose, bit, is_part_of_admin: true }
    }

    /// Whether the set `effective` holds it.
    pub fn is_in(self, effective: u64) -> bool {
        let holds = |bit: u32| effective >> bit & 1 == 1;
        holds(self.bit) || self.is_part_of_admin && holds(CAP_SYS_ADMIN)
    }
}

/// The effective capabilities of this process, a bit each.
pub fn effective_capabilities() -> io::Result<u64> {
    parse(&fs::read_to_string("/proc/self/status")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/status has no CapEff line"))
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// ` (missing here: CAP_BPF, CAP_PERFMON)`, or nothing when all are there or it cannot be told.
pub(super) fn missing_here() -> String {
    let Ok(effective) = effective_capabilities() else {
        return String::new();
    };
    let missing: Vec<_> = Capability::NEEDED
        .into_iter()
        .filter(|capability| !capability.is_in(effective))
        .map(|capability| capability.name)
        .collect();
    if missing.is_empty() { String::new() } else { format!(" (missing here: {})", missing.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_is_its_own_bit() {
        let effective = parse("Name:\tx\nCapEff:\t0000008000001000\nCapBnd:\t0\n").unwrap();
        let held: Vec<_> = Capability::NEEDED.iter().filter(|c| c.is_in(effective)).map(|c| c.name).collect();
        assert_eq!(held, ["CAP_BPF", "CAP_NET_ADMIN"]);
    }

    #[test]
    fn cap_sys_admin_stands_for_all_that_is_needed() {
        assert!(Capability::NEEDED.iter().all(|capability| capability.is_in(1 << CAP_SYS_ADMIN)));
        let useful = Capability::USEFUL.map(|capability| capability.is_in(1 << CAP_SYS_ADMIN));
        assert_eq!(useful, [true, false], "but not for looking into processes");
    }

    #[test]
    fn a_status_without_the_line_is_not_guessed() {
        assert_eq!(parse("Name:\tx\n"), None);
    }
}
