//! Who and where: connection ids, addresses, processes, segment flags.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    event::{Endpoints, Flags, Owner},
    text::{Text, Word},
};

/// A connection's name in a recording: `c` and the socket's cookie. Unique in the file, and the same for
/// one socket from birth to the end of TIME_WAIT. A socket that connects again after a failure keeps its
/// cookie: its second connection is `c4101.1`. A half-open connection that never became a socket has its
/// listener's cookie: `c2h1` is the first of listener `c2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct ConnectionId {
    /// The socket's cookie.
    pub cookie: u64,
    /// Which connection of the socket, from 0.
    pub incarnation: u32,
    /// Which of the half-open connections of a listener, from 1; 0 for sockets.
    pub half_open: u32,
}

impl ConnectionId {
    /// Connection number `incarnation` of the socket with this cookie.
    pub fn of_socket(cookie: u64, incarnation: u32) -> Self {
        Self { cookie, incarnation, half_open: 0 }
    }

    /// Half-open connection number `half_open`, from 1, of the listener with this cookie.
    pub fn half_open(cookie: u64, half_open: u32) -> Self {
        Self { cookie, incarnation: 0, half_open }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.cookie)?;
        if self.incarnation > 0 {
            write!(f, ".{}", self.incarnation)?;
        }
        if self.half_open > 0 {
            write!(f, "h{}", self.half_open)?;
        }
        Ok(())
    }
}

impl FromStr for ConnectionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let digits = text.strip_prefix('c')?;
            let (digits, half_open) = digits.split_once('h').unwrap_or((digits, "0"));
            let (cookie, incarnation) = digits.split_once('.').unwrap_or((digits, "0"));
            let half_open = half_open.parse().ok()?;
            Some(Self { cookie: cookie.parse().ok()?, incarnation: incarnation.parse().ok()?, half_open })
        };
        parse().ok_or_else(|| format!("{text:?} is not a connection id like \"c4101\""))
    }
}

impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Word::deserialize(deserializer)?.0.parse().map_err(D::Error::custom)
    }
}

/// IP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum NetworkType {
    /// IPv4, also on a socket that is IPv6 by family (IPv4-mapped).
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// IP address.
    pub address: IpAddr,
    /// TCP port; 0 while it is not chosen.
    pub port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip(), port: address.port() }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address, endpoint.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// Both ends of a connection, seen from the socket that reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Network {
    /// IP version.
    #[serde(rename = "type")]
    pub kind: NetworkType,
    /// The end on this host that reports.
    pub local: Endpoint,
    /// The other end.
    pub peer: Endpoint,
    /// Inode number of the network namespace (`/proc/PID/ns/net`), when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// The addresses with which its segments leave this host, where it translates them (NAT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<Ends>,
}

/// Both ends, seen from the socket that reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ends {
    /// The end that reports.
    pub local: Endpoint,
    /// The other end.
    pub peer: Endpoint,
}

impl From<Ends> for Endpoints {
    fn from(ends: Ends) -> Self {
        Self { local: ends.local.into(), peer: ends.peer.into() }
    }
}

impl From<Endpoints> for Ends {
    fn from(endpoints: Endpoints) -> Self {
        Self { local: endpoints.local.into(), peer: endpoints.peer.into() }
    }
}

impl Default for Network {
    /// What stands for ends that are not known.
    fn default() -> Self {
        let nowhere = Endpoint { address: Ipv4Addr::UNSPECIFIED.into(), port: 0 };
        Self { kind: NetworkType::Ipv4, local: nowhere, peer: nowhere, netns: None, translated: None }
    }
}

impl Network {
    /// The recorded form of `endpoints`.
    pub fn new(endpoints: Endpoints, netns: Option<u32>) -> Self {
        let kind = match endpoints.local {
            SocketAddr::V4(_) => NetworkType::Ipv4,
            SocketAddr::V6(_) => NetworkType::Ipv6,
        };
        Self { kind, local: endpoints.local.into(), peer: endpoints.peer.into(), netns, translated: None }
    }

    /// Whether the socket is connected to itself: what it sends comes back to it.
    pub fn is_to_itself(&self) -> bool {
        self.local == self.peer && self.local.port != 0
    }

    /// Both ends as socket addresses.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints { local: self.local.into(), peer: self.peer.into() }
    }
}

/// The process that owns a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of its main thread (`comm`).
    pub name: Text,
    /// Path of its executable, when it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Text>,
    /// Real user id.
    pub uid: u32,
}

impl From<&Owner> for Process {
    fn from(owner: &Owner) -> Self {
        Self {
            pid: owner.pid,
            name: Text(owner.name.clone()),
            executable: owner.info.executable.clone().map(Text),
            uid: owner.uid,
        }
    }
}

/// The container that a process runs in, by the name of its cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Container {
    /// The container's id, as its runtime prints it.
    pub id: String,
    /// `docker`, `containerd`, `cri-o` or `podman`, if the cgroup's name shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
}

/// TCP control bits as a list of names, `["SYN","ACK"]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "Vec<String>"))]
pub struct FlagNames(pub Flags);

impl Serialize for FlagNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.names())
    }
}

impl<'de> Deserialize<'de> for FlagNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A name that this version does not know is left out, as unknown fields are.
        let names = Vec::<String>::deserialize(deserializer)?;
        let flags = Flags::NAMES
            .into_iter()
            .filter(|(_, name)| names.iter().any(|n| n == name))
            .fold(Flags::default(), |all, (flag, _)| all.with(flag));
        Ok(Self(flags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_id_is_c_and_the_cookie() {
        for (incarnation, expected) in [(0, "\"c4101\""), (2, "\"c4101.2\"")] {
            let id = ConnectionId::of_socket(4101, incarnation);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, expected);
            assert_eq!(serde_json::from_str::<ConnectionId>(&json).unwrap(), id);
        }
        assert!(serde_json::from_str::<ConnectionId>("\"4101\"").is_err());
    }

    #[test]
    fn flags_are_a_list_of_names() {
        let flags = FlagNames(Flags::SYN.with(Flags::ACK));
        let json = serde_json::to_string(&flags).unwrap();
        assert_eq!(json, r#"["SYN","ACK"]"#);
        assert_eq!(serde_json::from_str::<FlagNames>(&json).unwrap(), flags);
    }
}
