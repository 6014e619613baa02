//! What the filter excludes.

use super::*;

#[test]
fn a_connection_is_excluded_when_an_end_lacks_its_port() {
    // 80 is in every set.
    let excluded = |sets, local, peer| are_ports_excluded(sets, local, peer, |_, port| port == 80);
    for (sets, local, peer, is_excluded) in [
        (0, 1, 2, false),
        (PORTS_LOCAL, 80, 2, false),
        (PORTS_LOCAL, 1, 80, true),
        (PORTS_PEER, 1, 80, false),
        (PORTS_PEER, 80, 2, true),
        (PORTS_EITHER, 1, 80, false),
        (PORTS_EITHER, 80, 2, false),
        (PORTS_EITHER, 1, 2, true),
        (PORTS_LOCAL | PORTS_PEER, 80, 2, true),
        (PORTS_LOCAL | PORTS_PEER, 80, 80, false),
        (PORTS_LOCAL | PORTS_EITHER, 1, 80, true),
        // A port that is not chosen yet may become a selected one.
        (PORTS_LOCAL, 0, 2, false),
        (PORTS_EITHER, 0, 2, false),
        (PORTS_LOCAL | PORTS_PEER, 0, 2, true),
        // Connections to DNS servers may be needed for the names.
        (PORTS_LOCAL, 1, DNS_PORT, false),
        (PORTS_EITHER, 1, DNS_PORT, false),
        // A DNS server's own connections are as any other.
        (PORTS_EITHER, DNS_PORT, 2, true),
    ] {
        assert_eq!(excluded(sets, local, peer), is_excluded, "sets {sets}, {local} to {peer}");
    }
}

#[test]
fn the_peers_port_selects_where_no_other_is_needed() {
    let selected = |sets, peer| is_selected_by_peer(sets, peer, |_, port| port == 80);
    for (sets, peer, is_selected) in [
        (0, 2, true),
        (PORTS_PEER, 80, true),
        (PORTS_PEER, 2, false),
        (PORTS_EITHER, 80, true),
        (PORTS_EITHER, 2, false),
        (PORTS_LOCAL, 80, false),
        (PORTS_LOCAL | PORTS_EITHER, 80, false),
        (PORTS_LOCAL, DNS_PORT, true),
    ] {
        assert_eq!(selected(sets, peer), is_selected, "sets {sets}, to {peer}");
    }
}

#[test]
fn each_end_is_looked_up_in_its_own_set() {
    let excluded = |sets, local, peer| {
        are_ports_excluded(sets, local, peer, |set, port| {
            (set, port) == (PORTS_LOCAL, 80) || (set, port) == (PORTS_PEER, 90)
        })
    };
    assert!(!excluded(PORTS_LOCAL | PORTS_PEER, 80, 90));
    assert!(excluded(PORTS_LOCAL | PORTS_PEER, 90, 80));
}

#[test]
fn network_namespaces_matter_except_for_dns() {
    for (are_selected, peer, is_judged) in
        [(true, 80, true), (true, DNS_PORT, false), (false, 80, false), (false, DNS_PORT, false)]
    {
        assert_eq!(is_judged_by_network(are_selected, peer), is_judged, "{are_selected}, port {peer}");
    }
}

#[derive(Clone, Copy)]
struct Process {
    pid: bool,
    followed: bool,
    comm: Option<bool>,
    excluded_cgroup: bool,
}

impl Listed for Process {
    fn is_pid_selected(&self) -> bool {
        self.pid
    }

    fn is_followed(&self) -> bool {
        self.followed
    }

    fn is_comm_selected(&self) -> Option<bool> {
        self.comm
    }

    fn is_cgroup_excluded(&self) -> bool {
        self.excluded_cgroup
    }
}

#[test]
fn a_process_is_excluded_when_it_lacks_one_of_the_kinds_in_use() {
    let all = Process { pid: true, followed: true, comm: Some(true), excluded_cgroup: false };
    let none = Process { pid: false, followed: false, comm: Some(false), excluded_cgroup: true };
    let every = BY_PID | BY_COMM | BY_FOLLOWED | BY_CGROUP;
    for (kinds, process, is_excluded) in [
        (0, none, false),
        (every, all, false),
        (BY_PID, none, true),
        (BY_FOLLOWED, none, true),
        (BY_COMM, none, true),
        (BY_CGROUP, none, true),
        (every, Process { pid: false, ..all }, true),
        (every, Process { followed: false, ..all }, true),
        (every, Process { comm: Some(false), ..all }, true),
        (every, Process { excluded_cgroup: true, ..all }, true),
        // A name that cannot be read may be a selected one.
        (every, Process { comm: None, ..all }, false),
        (BY_COMM, Process { pid: false, followed: false, excluded_cgroup: true, ..all }, false),
    ] {
        assert_eq!(is_process_excluded(kinds, &process), is_excluded, "kinds {kinds}");
    }
}
