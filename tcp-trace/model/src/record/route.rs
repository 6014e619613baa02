//! Which way a connection's segments leave this host.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Text;

/// The route to a connection's peer, as the kernel's tables had it when it was established or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Route {
    /// How far it is.
    #[serde(rename = "type")]
    pub kind: RouteType,
    /// The interface that segments leave by.
    pub interface: Interface,
    /// The source address that the kernel chooses towards this peer for programs that do not choose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_source: Option<IpAddr>,
    /// The next hop; absent if the peer is this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<NextHop>,
}

/// How far a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RouteType {
    /// An address of this host's network namespace (`RTN_LOCAL`).
    Local,
    /// A neighbour: no router between.
    OnLink,
    /// Behind a router.
    Gateway,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interface {
    /// Its index in its network namespace.
    pub index: u32,
    /// Its name, when it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
}

/// The peer itself, or the router towards it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NextHop {
    /// Its IP address. It can be IPv6 on a route of IPv4 (RFC 9229).
    pub address: IpAddr,
    /// Its link-layer address as `5e:00:53:00:00:01`; absent while it is not resolved, and on links without such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its state in the neighbour table (`NUD_*`), in the kernel's word: `REACHABLE`, `STALE`, `DELAY`, `PROBE`,
    /// `FAILED`, `INCOMPLETE`, `NOARP`, `PERMANENT`. Absent when it is not in the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}
