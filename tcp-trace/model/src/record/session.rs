//! The lines about the session itself: `session`, `ready`, `loss`, `end`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Unlinked;
use crate::{filter::Filter, text::Text, time::Time};

/// Value of [`Session::format`].
pub const FORMAT: &str = "tcp-trace";
/// The version of the recording format that this program writes.
pub const VERSION: u32 = 1;

/// First line: what recorded this, where, and with which filter.
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
    /// The filter; empty if everything was selected.
    pub filter: Filter,
    /// Features that this kernel or these privileges do not give, and what that costs.
    pub missing: Vec<Missing>,
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
    /// The output did not accept records in time: a pipe without a reader, or a busy disk.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Number of `tls` lines.
    #[serde(default, skip_serializing_if = "crate::omit::is_zero")]
    pub tls: u64,
    /// Number of `connection` lines by `protocol`, of those that nothing reads further; `unknown` where `first_bytes` stands instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub protocols: BTreeMap<String, u64>,
    /// Events that came from the kernel.
    pub events: u64,
    /// Events that were lost; 0 means nothing was.
    pub lost: u64,
    /// What TLS libraries' calls showed that could be linked to no connection; absent if all could.
    #[serde(default, skip_serializing_if = "Unlinked::is_none")]
    pub unlinked: Unlinked,
    /// Whether a signal ended the session.
    pub interrupted: bool,
}
