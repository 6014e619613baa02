//! The `dns` line: one lookup of a name.

use serde::{Deserialize, Serialize};

use super::{ConnectionId, Endpoint, Network, Process};
use crate::time::Time;

pub use crate::lookup::{Answer, Outcome, Question, Resolved, Transport};

/// One lookup, written when its answer arrives or it is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Dns {
    /// When the answer arrived, or the lookup was given up.
    pub time: Time,
    /// Number of the lookup, unique in the file.
    pub lookup: u64,
    /// The question; absent if it could not be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// The answer's records in their order: aliases (CNAME) before what they lead to.
    pub answers: Vec<Answer>,
    /// The answer's code, `NOERROR`; absent without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rcode: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// When the query was first sent.
    pub started: Time,
    /// From the first question to the answer, in microseconds; absent without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// How often the question was sent again.
    #[serde(default, skip_serializing_if = "crate::omit::is_zero")]
    pub retransmits: u32,
    /// The process that sent the query, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Path of its cgroup in the v2 hierarchy, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The server.
    pub server: Endpoint,
    /// What carried it.
    pub transport: Transport,
    /// Both ends.
    pub network: Network,
    /// The connection that carried it, of TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// What was wrong with a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A server's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Server {
    /// A name.
    pub address: String,
    /// Where it comes from.
    pub source: ServerSource,
}

/// Where a server's name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ServerSource {
    /// From the lookup that the connection used.
    Dns,
    /// From the Host field of its first HTTP request.
    Host,
    /// From the ClientHello with which its client began TLS (server_name, RFC 6066, section 3).
    Sni,
}
