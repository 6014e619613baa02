//! Which connections and exchanges the user selected.

mod exchanges;

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::exchanges::{ExchangeFilter, HttpProtocol, Pattern, Status};
use crate::{
    container,
    event::{Endpoints, Owner, ProcessInfo},
    exchange::Exchange,
    network::{ConnectionId, Process},
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
    /// Ids of containers, or their beginnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container: Vec<String>,
    /// systemd units, such as `nginx.service`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unit: Vec<String>,
    /// Connections, by their names in recordings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connection: Vec<ConnectionId>,
    /// Exchanges. A connection passes when one of its exchanges does.
    #[serde(default, skip_serializing_if = "ExchangeFilter::is_empty")]
    pub exchanges: ExchangeFilter,
    /// What each of these selects is excluded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<Filter>,
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Its name.
    pub connection: Option<ConnectionId>,
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

    /// Whether a connection passes, whatever its exchanges are; `None` while that is unknown.
    pub fn judge(&self, facts: Facts<'_>) -> Option<bool> {
        let excluded = self.excluding_connections().map(|not| not.judge(facts).map(|is_meant| !is_meant));
        all(self.kinds(facts).into_iter().chain(excluded))
    }

    /// Whether a connection passes when no more will be known of it: what may be excluded is not.
    pub fn judge_finally(&self, facts: Facts<'_>) -> bool {
        let is_excluded = self.excluding_connections().any(|not| not.judge(facts) == Some(true));
        all(self.kinds(facts)) == Some(true) && !is_excluded
    }

    fn kinds(&self, facts: Facts<'_>) -> [Option<bool>; 5] {
        [
            self.judge_connection(facts),
            self.judge_ports(facts),
            self.judge_addresses(facts),
            self.judge_netns(facts),
            self.judge_owner(facts),
        ]
    }

    /// What excludes connections, and not only some of their exchanges.
    fn excluding_connections(&self) -> impl Iterator<Item = &Self> {
        self.not.iter().filter(|not| not.exchanges.is_empty())
    }

    /// Whether exchanges are selected one by one.
    pub fn selects_exchanges(&self) -> bool {
        !self.exchanges.is_empty() || self.not.iter().any(|not| !not.exchanges.is_empty())
    }

    /// Whether an exchange of a connection that passes is selected.
    pub fn selects(&self, exchange: &Exchange) -> bool {
        let is_excluded = |not: &Self| !not.exchanges.is_empty() && not.exchanges.selects(exchange);
        self.exchanges.selects(exchange) && !self.not.iter().any(is_excluded)
    }

    /// The same filter of connections, without those of exchanges.
    pub fn of_connections(&self) -> Self {
        let not = self.excluding_connections().cloned().collect();
        Self { exchanges: ExchangeFilter::default(), not, ..self.clone() }
    }

    /// The same filter of exchanges, without those of connections.
    pub fn of_exchanges(&self) -> Self {
        let not = self.not.iter().filter(|not| !not.exchanges.is_empty()).cloned().collect();
        Self { exchanges: self.exchanges.clone(), not, ..Self::default() }
    }

    fn judge_connection(&self, facts: Facts<'_>) -> Option<bool> {
        if self.connection.is_empty() {
            return Some(true);
        }
        facts.connection.map(|connection| self.connection.contains(&connection))
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
        if self.cgroup.is_empty() && self.container.is_empty() && self.unit.is_empty() {
            return Some(true);
        }
        let path = owner.info.cgroup.as_deref()?;
        let named = container::identify(path);
        let is_container = |start: &String| {
            named.container.as_ref().is_some_and(|container| container.id.starts_with(start.as_str()))
        };
        let is_unit = |wanted: &String| named.unit.as_ref() == Some(wanted);
        Some(
            self.asks_for_cgroup(path)
                && (self.container.is_empty() || self.container.iter().any(is_container))
                && (self.unit.is_empty() || self.unit.iter().any(is_unit)),
        )
    }

    /// Whether some processes are asked for, and others are not.
    pub fn asks_for_processes(&self) -> bool {
        let Self { pid, comm, cgroup, container, unit, followed, .. } = self;
        let is_any = pid.is_empty() && comm.is_empty() && cgroup.is_empty();
        !(is_any && container.is_empty() && unit.is_empty()) || *followed
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

/// Whether all of these are true, as far as they are known.
fn all(parts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut whole = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            Some(true) => {}
            None => whole = None,
        }
    }
    whole
}

#[cfg(test)]
#[path = "filter/tests.rs"]
mod tests;
