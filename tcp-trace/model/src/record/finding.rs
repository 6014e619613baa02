//! The `finding` line: what is wrong with some sockets, why, and what to do.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use super::{ConnectionId, Network, Process, Stack, Text, is_zero};
use crate::{event::State, time::Time};

/// What `diagnose` found: sockets that have the same fault for the same reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// When it was judged.
    pub time: Time,
    /// Name of the rule, such as `close_wait`.
    pub code: String,
    /// Which of the rule's causes, such as `not_closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub summary: String,
    /// The process that has the sockets, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Its command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Text>,
    /// Other processes that have the same sockets open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<Process>,
    /// What was measured.
    pub evidence: Evidence,
    /// Where in the process most of the sockets were opened and used, a stack for each kind of use that was traced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stacks: Vec<FindingStack>,
    /// Why this happens.
    pub why: String,
    /// What to change in code or configuration.
    pub advice: String,
    /// The topic of `explain` about it.
    pub explain: String,
    /// Examples: the worst first.
    pub connections: Vec<FindingConnection>,
    /// Connections that are concerned and not among the examples.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connections_omitted: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing: it ends by itself, or affects little.
    #[default]
    Notice,
    /// Something is stuck or fails.
    Warning,
    /// The service fails, or is about to.
    Critical,
}

/// One of the connections that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FindingConnection {
    /// Which connection, as in recordings: `c` and the socket's cookie.
    pub connection: ConnectionId,
    /// Its state.
    pub state: State,
    /// Both ends.
    pub network: Network,
    /// Number of the file descriptor in the finding's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd: Option<u32>,
    /// How long it has been in this state, in microseconds, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_us: Option<u64>,
    /// Bytes that the process has not read, and 1 for a FIN that it has not read. For a listener, the connections
    /// that wait to be accepted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub receive_queue: u32,
    /// Bytes that the peer has not acknowledged, and 1 for a FIN.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub send_queue: u32,
    /// What else is known about it, as text: the last HTTP exchange, the process at the other end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl FindingConnection {
    /// A connection of which nothing else is known.
    pub fn new(connection: ConnectionId, state: State, network: Network) -> Self {
        Self {
            connection,
            state,
            network,
            fd: None,
            age_us: None,
            receive_queue: 0,
            send_queue: 0,
            notes: Vec::new(),
        }
    }
}

/// A stack that sockets of a finding have in common: the most frequent one at the most frequent place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FindingStack {
    /// What was done there.
    pub moment: StackMoment,
    /// The line to blame: of the innermost function that is the program's own.
    pub place: String,
    /// How many of the finding's sockets have this stack.
    pub sockets: u64,
    /// The functions, at most 32.
    pub stack: Stack,
}

/// What was done with a socket where a stack was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StackMoment {
    /// It was opened by connect().
    Connect,
    /// It was read or written for the first time.
    FirstUse,
    /// It was read or written; it was opened before the trace, so this may not be the first time.
    Use,
    /// A read returned 0.
    Eof,
}

/// Named numbers and words, in the order in which they are shown. A name's suffix is its unit: `_us`, `_bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "std::collections::BTreeMap<String, Fact>"))]
pub struct Evidence(pub Vec<(String, Fact)>);

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Fact {
    /// A number.
    Number(u64),
    /// Words.
    Words(String),
    /// Several.
    List(Vec<String>),
}

impl Evidence {
    /// With one more.
    #[must_use]
    pub fn and(mut self, name: &str, fact: impl Into<Fact>) -> Self {
        self.0.push((name.to_owned(), fact.into()));
        self
    }

    /// With one more, if it is known.
    #[must_use]
    pub fn and_known(self, name: &str, fact: Option<impl Into<Fact>>) -> Self {
        match fact {
            Some(fact) => self.and(name, fact),
            None => self,
        }
    }

    /// The fact of this name.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, fact)| fact)
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Fact {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Fact {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<String> for Fact {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Fact {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl From<Vec<String>> for Fact {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, fact)| (name, fact)))
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads a map in the order in which it is written.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Evidence;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of evidence")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Evidence, A::Error> {
        let mut evidence = Evidence::default();
        while let Some(entry) = map.next_entry()? {
            evidence.0.push(entry);
        }
        Ok(evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_a_map_in_its_order() {
        let evidence = Evidence::default()
            .and("sockets", 3u32)
            .and("oldest_us", 7u64)
            .and("cause", "leak")
            .and("peers", vec!["10.0.0.1:80 (3)".to_owned()])
            .and_known("none", None::<u64>);
        let json = serde_json::to_string(&evidence).unwrap();
        assert_eq!(json, r#"{"sockets":3,"oldest_us":7,"cause":"leak","peers":["10.0.0.1:80 (3)"]}"#);
        assert_eq!(serde_json::from_str::<Evidence>(&json).unwrap(), evidence);
    }

    #[test]
    fn the_worst_severity_is_the_greatest() {
        assert!(Severity::Critical > Severity::Warning && Severity::Warning > Severity::Notice);
    }
}
