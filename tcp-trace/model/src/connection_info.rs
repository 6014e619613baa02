//! What all records of a connection say of it, kept once for all of them.

use std::sync::Arc;

use crate::{
    event::Role,
    network::{ConnectionId, Container, Network, Process},
    text::Text,
};

/// A connection, as each of its records describes it. Records that were made before more became known keep what they have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Which connection.
    pub id: ConnectionId,
    /// What the socket is for, when known.
    pub role: Option<Role>,
    /// Both ends, when known.
    pub network: Option<Network>,
    /// The process, when known; connections of one process share it.
    pub process: Option<Arc<Process>>,
    /// The container that the process runs in, when its cgroup shows one; shared likewise.
    pub container: Option<Arc<Container>>,
    /// The connection of the other end, if that is on this host.
    pub peer_connection: Option<ConnectionId>,
}

impl ConnectionInfo {
    /// A connection of which nothing else is known yet.
    pub fn new(id: ConnectionId) -> Self {
        Self { id, ..Self::default() }
    }

    /// Both ends; unspecified addresses while they are not known.
    pub fn ends(&self) -> Network {
        self.network.unwrap_or_default()
    }

    /// The program that the process runs, when known.
    pub fn program(&self) -> Option<&Text> {
        self.process.as_deref().map(|process| &process.name)
    }
}
