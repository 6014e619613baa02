//! The lines about the session itself: `session`, `ready`, `loss`, `end`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Text;
use crate::time::Time;

/// Value of [`Session::format`].
pub const FORMAT: &str = "tcp-trace";
/// The version of the recording format that this program writes.
pub const VERSION: u32 = 1;

/// First line: what recorded this, where, and what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Session {
    /// When the session was started.
    pub time: Time,
    /// Always [`FORMAT`].
    pub format: String,
    /// The format's version, [`VERSION`].
    pub version: u32,
    /// Program and version that wrote it.
    pub tool: String,
    /// Host name.
    pub host: Text,
    /// Kernel release.
    pub kernel: Text,
    /// The command line of the program that recorded.
    pub command: Vec<Text>,
    /// What was asked for; empty when everything was.
    pub filter: Filter,
    /// Features that this kernel or these privileges do not give, and what that costs.
    pub missing: Vec<Missing>,
}

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
    /// Paths in the cgroup v2 hierarchy; what is below them is meant too.
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

/// A feature that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Missing {
    /// What is missing.
    pub feature: String,
    /// Why, and what it costs.
    pub reason: String,
}

/// Tracing is attached; nothing that happens after this line is missed without being counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ready {
    /// When.
    pub time: Time,
}

/// Where events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LossPlace {
    /// The ring buffer between kernel and user space was full.
    Ring,
    /// The kernel skipped a program, because it was running on that processor already.
    Program,
    /// User space could not make sense of what the kernel sent.
    Reader,
    /// A bounded table was full.
    Table,
    /// The output did not take records in time: a pipe that nobody read, or a busy disk.
    Output,
}

/// Events that were lost since the last such line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Loss {
    /// When it was noticed: at most one tick after it happened.
    pub time: Time,
    /// Where.
    #[serde(rename = "where")]
    pub place: LossPlace,
    /// How many events; for `output`, how many records.
    pub events: u64,
    /// The processor on which they were lost, for the ring buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
}

/// Last line: the totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct End {
    /// When.
    pub time: Time,
    /// Number of `connection` lines.
    pub connections: u64,
    /// Number of `http` lines.
    pub http: u64,
    /// Number of `dns` lines.
    #[serde(default)]
    pub dns: u64,
    /// Events that came from the kernel.
    pub events: u64,
    /// Events that were lost; 0 means nothing was.
    pub lost: u64,
    /// Whether a signal ended the session.
    pub interrupted: bool,
}
