//! A DNS lookup (RFC 1035): question, answers, outcome, and the connection that follows it.

use serde::{Deserialize, Serialize};

/// The question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "DnsQuestion"))]
pub struct Question {
    /// The name without its last dot, in presentation format (RFC 1035, section 5.1): printable ASCII. The root is `.`.
    pub name: String,
    /// The type of records, `A`, `AAAA`, `TYPE65280`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Question {
    /// Whether it is the same question: servers need not keep the case of letters (RFC 4343).
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name.eq_ignore_ascii_case(&other.name)
    }
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "DnsAnswer"))]
pub struct Answer {
    /// Whose record it is, as in [`Question::name`].
    pub name: String,
    /// Its type, as in [`Question::kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// How long it may be cached, in seconds.
    pub ttl: u32,
    /// An address, a name, or whatever the type has, in presentation format.
    pub data: String,
}

/// What carried a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A datagram each way.
    Udp,
    /// A connection; a length stands before each message (RFC 1035, section 4.2.2).
    Tcp,
}

/// How a lookup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "DnsOutcome"))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There are answers of the queried type.
    Ok,
    /// The name exists, and has no record of this type (RFC 2308, section 2.2).
    NoData,
    /// The name does not exist.
    Nxdomain,
    /// The server could not find out.
    Servfail,
    /// The server does not want to.
    Refused,
    /// The server says something else: see the rcode.
    Error,
    /// The answer does not fit into a datagram: TCP is to be used.
    Truncated,
    /// None arrived in time, or before the session or its connection ended.
    NoAnswer,
    /// None was seen, but events were lost meanwhile.
    Unseen,
    /// A message is not DNS, or is broken.
    Malformed,
}

/// The lookup that a connection used: the same process queried this name and got the peer's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resolved {
    /// Number of the lookup: that of its `dns` line.
    pub lookup: u64,
    /// The queried name.
    pub name: String,
    /// From the question to the answer, in microseconds.
    pub duration_us: u64,
    /// From the answer to the connect, in microseconds.
    pub age_us: u64,
}
