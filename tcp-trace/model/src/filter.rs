//! Which connections the user asked for.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Endpoints, Owner, ProcessInfo},
    network::Process,
};

/// The filters of a session, as given. Values of one kind are alternatives; kinds restrict each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Filter {
    /// Process ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pid: Vec<u32>,
    /// Process names, whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comm: Vec<String>,
    /// Ports of either end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<u16>,
    /// Ports of the end that reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_port: Vec<u16>,
    /// Ports of the other end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer_port: Vec<u16>,
    /// Networks of either end, in CIDR notation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addr: Vec<Cidr>,
    /// Inode numbers of network namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub netns: Vec<u32>,
    /// Paths in the cgroup v2 hierarchy, including everything below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroup: Vec<String>,
    /// Whether only the command after `--` and its descendants were followed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub followed: bool,
}

/// A network in CIDR notation; a lone address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(transparent)]
pub struct Cidr(pub ipnet::IpNet);

impl Cidr {
    /// Whether `address` lies in this network. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl std::str::FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net = text
            .parse::<ipnet::IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(ipnet::IpNet::from))
            .map_err(|_| "expected an IP address or a network such as 10.0.0.0/8 or ::1".to_owned())?;
        Ok(Self(net))
    }
}

/// Whether the segments of a connection leave this host with other addresses than its socket's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Translated {
    /// Not as far as is known.
    #[default]
    No,
    /// Its first segment will tell.
    Unknown,
    /// With these.
    To(Endpoints),
}

/// What is known of a connection when it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Both ends, as far as known: the socket's own addresses.
    pub endpoints: Option<Endpoints>,
    /// The other addresses that its segments leave this host with.
    pub translated: Translated,
    /// Inode number of its network namespace, when known.
    pub netns: Option<u32>,
    /// Its process, when known.
    pub owner: Option<&'a Owner>,
}

impl Facts<'_> {
    /// Judges by the socket's own addresses, and where they do not pass, by the translated ones.
    fn either(&self, judge: impl Fn(Endpoints) -> Option<bool>) -> Option<bool> {
        match (judge(self.endpoints?), self.translated) {
            (Some(false), Translated::Unknown) => None,
            (Some(false), Translated::To(translated)) => judge(translated),
            (verdict, _) => verdict,
        }
    }
}

/// A recorded process, as far as a filter goes by it.
pub fn owner(process: &Process, cgroup: Option<&str>) -> Owner {
    let info = ProcessInfo { cgroup: cgroup.map(Arc::from), ..ProcessInfo::default() };
    Owner { name: process.name.0.clone(), info, ..Owner::new(process.pid, "") }
}

impl Filter {
    /// Whether the filter lets everything through.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a connection passes; `None` while that cannot be told from what is known.
    pub fn judge(&self, facts: Facts<'_>) -> Option<bool> {
        let parts = [
            self.judge_ports(facts),
            self.judge_addresses(facts),
            self.judge_netns(facts),
            self.judge_owner(facts),
        ];
        if parts.contains(&Some(false)) {
            Some(false)
        } else if parts.contains(&None) {
            None
        } else {
            Some(true)
        }
    }

    fn judge_ports(&self, facts: Facts<'_>) -> Option<bool> {
        if self.port.is_empty() && self.local_port.is_empty() && self.peer_port.is_empty() {
            return Some(true);
        }
        facts.either(|Endpoints { local, peer }| {
            let (local, peer) = (local.port(), peer.port());
            let is_peer = self.peer_port.is_empty() || self.peer_port.contains(&peer);
            let is_either = |port| self.port.is_empty() || self.port.contains(&port);
            let is_local = self.local_port.is_empty() || self.local_port.contains(&local);
            match (is_peer && (is_either(local) || is_either(peer)), is_local) {
                (true, true) => Some(true),
                // A port that the kernel has not chosen yet may still match.
                _ if local == 0 && is_peer => None,
                _ => Some(false),
            }
        })
    }

    fn judge_addresses(&self, facts: Facts<'_>) -> Option<bool> {
        if self.addr.is_empty() {
            return Some(true);
        }
        facts.either(|Endpoints { local, peer }| {
            let matches = self.addr.iter().any(|net| net.contains(local.ip()) || net.contains(peer.ip()));
            if !matches && local.port() == 0 { None } else { Some(matches) }
        })
    }

    fn judge_netns(&self, facts: Facts<'_>) -> Option<bool> {
        if self.netns.is_empty() { Some(true) } else { facts.netns.map(|netns| self.asks_for_netns(netns)) }
    }

    fn judge_owner(&self, facts: Facts<'_>) -> Option<bool> {
        if !self.asks_for_processes() {
            return Some(true);
        }
        let owner = facts.owner?;
        let is_pid = self.pid.is_empty() || self.pid.contains(&owner.pid);
        let is_name = self.comm.is_empty() || self.comm.iter().any(|name| name.as_bytes() == owner.name);
        if !(is_pid && is_name && (!self.followed || owner.followed)) {
            return Some(false);
        }
        if self.cgroup.is_empty() {
            return Some(true);
        }
        owner.info.cgroup.as_deref().map(|path| self.asks_for_cgroup(path))
    }

    /// Whether some processes are asked for, and others are not.
    pub fn asks_for_processes(&self) -> bool {
        !(self.pid.is_empty() && self.comm.is_empty() && self.cgroup.is_empty()) || self.followed
    }

    /// Whether connections in a network namespace, by its inode number, may pass.
    pub fn asks_for_netns(&self, netns: u32) -> bool {
        self.netns.is_empty() || self.netns.contains(&netns)
    }

    /// Whether processes of a cgroup, by its path, may pass: it is one of those that are asked for, or below one.
    pub fn asks_for_cgroup(&self, path: &str) -> bool {
        let is_within = |top: &String| {
            path.strip_prefix(top.trim_end_matches('/'))
                .is_some_and(|below| below.is_empty() || below.starts_with('/'))
        };
        self.cgroup.is_empty() || self.cgroup.iter().any(is_within)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn endpoints(local_port: u16) -> Option<Endpoints> {
        Some(Endpoints {
            local: SocketAddr::from(([10, 0, 0, 1], local_port)),
            peer: SocketAddr::from(([10, 0, 0, 2], 8080)),
        })
    }

    fn owner(followed: bool) -> Owner {
        Owner { followed, ..Owner::new(7, "curl") }
    }

    fn judge(filter: &Filter, endpoints: Option<Endpoints>, owner: Option<&Owner>) -> Option<bool> {
        filter.judge(Facts { endpoints, translated: Translated::No, netns: Some(4_026_531_840), owner })
    }

    #[test]
    fn no_filter_lets_everything_through_at_once() {
        assert_eq!(judge(&Filter::default(), None, None), Some(true));
    }

    #[test]
    fn a_port_matches_either_end() {
        let filter = |port| Filter { port: vec![port], ..Filter::default() };
        assert_eq!(judge(&filter(8080), endpoints(41352), None), Some(true));
        assert_eq!(judge(&filter(41352), endpoints(41352), None), Some(true));
        assert_eq!(judge(&filter(80), endpoints(41352), None), Some(false));
    }

    #[test]
    fn a_port_that_is_not_chosen_yet_leaves_it_open() {
        let filter = Filter { port: vec![41352], ..Filter::default() };
        assert_eq!(judge(&filter, endpoints(0), None), None);
        assert_eq!(judge(&Filter { port: vec![8080], ..filter }, endpoints(0), None), Some(true));
    }

    #[test]
    fn a_port_can_be_asked_for_at_one_end() {
        let local = |port| Filter { local_port: vec![port], ..Filter::default() };
        let peer = |port| Filter { peer_port: vec![port], ..Filter::default() };
        for (filter, local_port, expected) in [
            (local(41352), 41352, Some(true)),
            (local(8080), 41352, Some(false)),
            (local(41352), 0, None),
            (peer(8080), 41352, Some(true)),
            (peer(8080), 0, Some(true)),
            (peer(41352), 41352, Some(false)),
            (peer(41352), 0, Some(false)),
            (Filter { port: vec![41352], ..peer(8080) }, 41352, Some(true)),
            (Filter { port: vec![41352], ..peer(8080) }, 0, None),
            (Filter { port: vec![41352], ..local(1) }, 41352, Some(false)),
        ] {
            assert_eq!(judge(&filter, endpoints(local_port), None), expected, "{filter:?}");
        }
    }

    #[test]
    fn an_address_matches_a_network_of_either_end() {
        let filter = |net: &str| Filter { addr: vec![net.parse().unwrap()], ..Filter::default() };
        assert_eq!(judge(&filter("10.0.0.0/8"), endpoints(1), None), Some(true));
        assert_eq!(judge(&filter("10.0.0.2"), endpoints(1), None), Some(true));
        assert_eq!(judge(&filter("192.0.2.0/24"), endpoints(1), None), Some(false));
        assert_eq!(judge(&filter("::1"), endpoints(1), None), Some(false));
    }

    #[test]
    fn each_kind_matches_the_sockets_own_addresses_or_the_translated_ones() {
        // REDIRECT of 10.0.0.2:8080 to 127.0.0.1:15001.
        let translated = Endpoints {
            local: SocketAddr::from(([10, 0, 0, 1], 41352)),
            peer: SocketAddr::from(([127, 0, 0, 1], 15_001)),
        };
        let addr = |net: &str| vec![net.parse().unwrap()];
        for (filter, without, with) in [
            (Filter { port: vec![8080], ..Filter::default() }, true, true),
            (Filter { port: vec![15_001], ..Filter::default() }, false, true),
            (Filter { peer_port: vec![15_001], ..Filter::default() }, false, true),
            (Filter { local_port: vec![15_001], ..Filter::default() }, false, false),
            (Filter { addr: addr("10.0.0.2"), ..Filter::default() }, true, true),
            (Filter { addr: addr("127.0.0.0/8"), ..Filter::default() }, false, true),
            (Filter { addr: addr("127.0.0.1"), port: vec![8080], ..Filter::default() }, false, true),
            (Filter { addr: addr("192.0.2.1"), port: vec![8080], ..Filter::default() }, false, false),
        ] {
            let judge = |translated| {
                filter.judge(Facts { endpoints: endpoints(41352), translated, netns: None, owner: None })
            };
            assert_eq!(judge(Translated::No), Some(without), "{filter:?}");
            assert_eq!(judge(Translated::To(translated)), Some(with), "{filter:?}");
            assert_eq!(
                judge(Translated::Unknown),
                without.then_some(true),
                "{filter:?}: it may become known"
            );
        }
    }

    #[test]
    fn the_process_is_waited_for() {
        let filter = Filter { comm: vec!["curl".to_owned()], ..Filter::default() };
        assert_eq!(judge(&filter, endpoints(1), None), None);
        assert_eq!(judge(&filter, endpoints(1), Some(&owner(false))), Some(true));
        let other = Filter { comm: vec!["cur".to_owned()], ..Filter::default() };
        assert_eq!(judge(&other, endpoints(1), Some(&owner(false))), Some(false), "whole names only");
    }

    #[test]
    fn a_network_namespace_is_asked_for_by_its_inode_number() {
        let filter = Filter { netns: vec![7, 4_026_531_840], ..Filter::default() };
        let judge =
            |netns| filter.judge(Facts { endpoints: None, translated: Translated::No, netns, owner: None });
        assert_eq!(judge(Some(4_026_531_840)), Some(true));
        assert_eq!(judge(Some(8)), Some(false));
        assert_eq!(judge(None), None, "it may become known");
    }

    #[test]
    fn a_cgroup_is_asked_for_with_all_below_it() {
        for (asked, path, expected) in [
            ("/system.slice", Some("/system.slice"), Some(true)),
            ("/system.slice", Some("/system.slice/nginx.service"), Some(true)),
            ("/system.slice", Some("/system.slice2"), Some(false)),
            ("/system.slice/nginx.service", Some("/system.slice"), Some(false)),
            ("/", Some("/"), Some(true)),
            ("/", Some("/a/b"), Some(true)),
            ("/a", Some("/"), Some(false)),
            ("/a", None, None),
        ] {
            let filter = Filter { cgroup: vec!["/other".to_owned(), asked.to_owned()], ..Filter::default() };
            let info = ProcessInfo { cgroup: path.map(Arc::from), ..ProcessInfo::default() };
            let owner = Owner { info, ..owner(false) };
            assert_eq!(judge(&filter, None, Some(&owner)), expected, "{asked} {path:?}");
            let filter = Filter { pid: vec![8], ..filter };
            assert_eq!(judge(&filter, None, Some(&owner)), Some(false), "the process already says no");
        }
        let filter = Filter { cgroup: vec!["/a".to_owned()], ..Filter::default() };
        assert_eq!(judge(&filter, None, None), None);
    }

    #[test]
    fn kinds_restrict_each_other_and_one_no_is_enough() {
        let filter = Filter { port: vec![80], pid: vec![7], ..Filter::default() };
        assert_eq!(judge(&filter, endpoints(1), None), Some(false), "the port already says no");
        let filter = Filter { port: vec![8080], pid: vec![7], ..Filter::default() };
        assert_eq!(judge(&filter, endpoints(1), Some(&owner(false))), Some(true));
        let filter = Filter { followed: true, ..filter };
        assert_eq!(judge(&filter, endpoints(1), Some(&owner(false))), Some(false));
        assert_eq!(judge(&filter, endpoints(1), Some(&owner(true))), Some(true));
    }
}
