//! Settings and counters of a network namespace (ip-sysctl in the kernel's documentation, `/proc/net/netstat`).

use std::fs;

use tcp_trace_core::diagnosis::snapshot::Network;

use crate::kernel::netns::NetworkNamespace;

/// Counters of `/proc/net/netstat` that are used.
const TCP_EXTENDED_COUNTERS: [&str; 7] = [
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDrop",
    "TCPReqQFullDoCookies",
    "SyncookiesSent",
    "SyncookiesFailed",
    "TCPTimeWaitOverflow",
];
/// Counters of `/proc/net/snmp` that are used.
const IP_COUNTERS: [&str; 1] = ["OutNoRoutes"];
/// The same, of TCP.
const TCP_COUNTERS: [&str; 1] = ["PassiveOpens"];

/// Reads them, as far as they can be read.
pub(super) fn read(namespace: &NetworkNamespace) -> Option<Network> {
    let netns = namespace.inode;
    namespace.within(move || here(netns)).ok()
}

/// Those of this thread's namespace: `/proc/sys/net` is that of whoever reads it.
fn here(netns: u32) -> Network {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).ok();
    let number = |name: &str| setting(name)?.trim().parse().ok();
    let port_range = setting("ipv4/ip_local_port_range").and_then(|text| ports(&text));
    let reserved = setting("ipv4/ip_local_reserved_ports").unwrap_or_default();
    let text = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let mut counters = counters_of(&text("netstat"), "TcpExt:", &TCP_EXTENDED_COUNTERS);
    let snmp = text("snmp");
    counters.extend(counters_of(&snmp, "Ip:", &IP_COUNTERS));
    counters.extend(counters_of(&snmp, "Tcp:", &TCP_COUNTERS));
    Network {
        netns,
        port_range,
        reserved_ports: port_range.map_or(0, |range| reserved_within(&reserved, range)),
        max_syn_backlog: number("ipv4/tcp_max_syn_backlog"),
        somaxconn: number("core/somaxconn"),
        syncookies: number("ipv4/tcp_syncookies"),
        reuses_time_wait: number("ipv4/tcp_tw_reuse").filter(|_| number("ipv4/tcp_timestamps") != Some(0)),
        max_time_wait: number("ipv4/tcp_max_tw_buckets"),
        counters,
    }
}

/// `32768\t60999`.
fn ports(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace().map(|word| word.parse().ok());
    Some((words.next()??, words.next()??))
}

/// How many of the ports in `8080,9000-9009` are in a range.
fn reserved_within(text: &str, (low, high): (u16, u16)) -> u16 {
    let spans = text.trim().split(',').filter_map(|span| {
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        Some((first.parse::<u16>().ok()?.max(low), last.parse::<u16>().ok()?.min(high)))
    });
    spans.map(|(first, last)| if first <= last { last - first + 1 } else { 0 }).fold(0, u16::saturating_add)
}

/// These counters among `TcpExt: NAME NAME ...` and the values in the line below.
fn counters_of(text: &str, prefix: &str, wanted: &[&str]) -> Vec<(String, u64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return Vec::new() };
    names
        .split_whitespace()
        .zip(values.split_whitespace())
        .filter(|(name, _)| wanted.contains(name))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_reserved_ports_are_counted() {
        assert_eq!(ports("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(ports("32768"), None);
        let reserved = |text| reserved_within(text, (100, 199));
        assert_eq!(reserved("\n"), 0);
        assert_eq!(reserved("50,100,150-159,190-300\n"), 1 + 10 + 10);
        assert_eq!(reserved("300-400,x,7-"), 0);
    }

    #[test]
    fn counters_are_found_by_their_names() {
        let text = "TcpExt: SyncookiesSent Other ListenOverflows\nTcpExt: 3 4 5\nIpExt: A\nIpExt: 1\n";
        let found = counters_of(text, "TcpExt:", &TCP_EXTENDED_COUNTERS);
        assert_eq!(found, [("SyncookiesSent".to_owned(), 3), ("ListenOverflows".to_owned(), 5)]);
        assert_eq!(counters_of("TcpExt: A\n", "TcpExt:", &["A"]), []);
    }

    #[test]
    fn this_host_has_settings_and_counters() {
        let network = here(7);
        assert!(network.ports() > Some(0) && network.somaxconn > Some(0));
        for name in ["ListenOverflows", "OutNoRoutes", "PassiveOpens"] {
            assert!(network.counter(name).is_some(), "{name}");
        }
    }
}
