//! What is asked for, as the programs are told of it: sizes of its maps, and bits of its globals.

/// Words of one set in [`maps::PORTS`](crate::maps::PORTS).
pub const PORT_WORDS: usize = 65536 / 64;
/// Sets in [`maps::PORTS`](crate::maps::PORTS).
pub const PORT_SETS: usize = 3;
/// The set of ports of which either end has to have one.
pub const PORTS_EITHER: u8 = 1;
/// The set of ports of which the local end has to have one.
pub const PORTS_LOCAL: u8 = 2;
/// The set of ports of which the peer has to have one.
pub const PORTS_PEER: u8 = 4;

/// Values of one kind of filter that the maps have room for. When there are more, user space decides that kind alone.
pub const FILTER_VALUES_MAX: usize = 1024;
/// Cgroups that are not asked for and remembered, of those that were seen last.
pub const OTHER_CGROUPS_MAX: usize = 65536;
/// Owners are asked for by their process id.
pub const OWNERS_PID: u8 = 1;
/// Owners are asked for by their name.
pub const OWNERS_COMM: u8 = 2;
/// Owners are asked for that are followed.
pub const OWNERS_FOLLOWED: u8 = 4;
/// Owners are asked for by their cgroup.
pub const OWNERS_CGROUP: u8 = 8;
