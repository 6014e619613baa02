//! Sizes of the filter's maps, and bits of its globals.

/// Words of one set in [`maps::PORTS`](crate::maps::PORTS).
pub const PORT_WORDS: usize = 65536 / 64;
/// Sets in [`maps::PORTS`](crate::maps::PORTS).
pub const PORT_SETS: usize = 3;
/// The set of ports of which either end must have one.
pub const PORTS_EITHER: u8 = 1;
/// The set of ports of which the local end must have one.
pub const PORTS_LOCAL: u8 = 2;
/// The set of ports of which the peer must have one.
pub const PORTS_PEER: u8 = 4;

/// Where [`maps::PORTS`](crate::maps::PORTS) has a port of one of the sets: the index of a word, and its bit.
#[inline(always)]
pub const fn port_place(set: u8, port: u16) -> (u32, u64) {
    (set.trailing_zeros() * PORT_WORDS as u32 + port as u32 / 64, 1 << (port % 64))
}

/// Values of one kind of filter that the maps have room for. When there are more, user space decides that kind alone.
pub const FILTER_VALUES_MAX: usize = 1024;
/// Excluded cgroups that are remembered: the most recently seen ones.
pub const EXCLUDED_CGROUPS_MAX: usize = 65536;
/// Processes are selected by their id.
pub const BY_PID: u8 = 1;
/// Processes are selected by their name.
pub const BY_COMM: u8 = 2;
/// Followed processes are selected.
pub const BY_FOLLOWED: u8 = 4;
/// Processes are selected by their cgroup.
pub const BY_CGROUP: u8 = 8;

/// Value in [`maps::FOLLOWED`](crate::maps::FOLLOWED): children are followed, the process itself is not (tcp-trace).
pub const FOLLOW_CHILDREN: u8 = 1;
/// Value in [`maps::FOLLOWED`](crate::maps::FOLLOWED): the process and its children are followed.
pub const FOLLOW_PROCESS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_every_set_has_a_bit_of_its_own() {
        let mut words = [0_u64; PORT_SETS * PORT_WORDS];
        for set in [PORTS_EITHER, PORTS_LOCAL, PORTS_PEER] {
            for port in 0..=u16::MAX {
                let (word, bit) = port_place(set, port);
                assert_eq!(words[word as usize] & bit, 0, "port {port} of set {set}");
                words[word as usize] |= bit;
            }
        }
        assert!(words.iter().all(|word| *word == u64::MAX));
    }
}
