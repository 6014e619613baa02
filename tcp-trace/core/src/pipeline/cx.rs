//! What the parts of a pipeline share.

use std::{collections::HashMap, sync::Arc};

use tcp_trace_model::{event::Cookie, record::Filter, time::Time};

use super::{output::Outputs, owners::Owners};
use crate::{conn::RecordStart, protocols::Found};

/// What a pipeline is asked for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which connections come out.
    pub filter: Filter,
    /// Whether credentials in header fields are kept.
    pub show_secrets: bool,
    /// The running kernel's names of the reasons for which it sends an RST.
    pub reset_reasons: HashMap<u32, Arc<str>>,
    /// Whether stacks are recorded, and the last use of each socket with them.
    pub stacks: bool,
    /// Whether a connection is over when its TIME_WAIT begins: its summary says when that will end.
    pub leave_time_wait: bool,
    /// Since when every change of a socket is reported. What happened before was seen in parts: it is not of this session, and
    /// the list of existing sockets has what is left of it.
    pub since: Time,
}

/// What every part may use beside what it owns.
#[derive(Debug, Default)]
pub(super) struct Cx {
    pub(super) settings: Settings,
    pub(super) owners: Owners,
    pub(super) out: Outputs,
    /// What layers found in the payload at hand; reused from event to event.
    pub(super) found: Found,
    /// How the TLS records begin in the segment at hand.
    pub(super) starts: Vec<RecordStart>,
    /// Connections whose gate waits again.
    pub(super) waiting: Vec<Cookie>,
    /// The last Host field that named no server.
    pub(super) nameless_host: Vec<u8>,
}
