//! Who sent requests.

use std::net::IpAddr;

use tcp_trace_model::{
    event::Role,
    record::{Http, Text},
};

/// Whose requests can belong together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// A process on this host. A process id that came to another program is another process.
    Process {
        /// Its id.
        pid: u32,
        /// Its name.
        name: Text,
    },
    /// An address on this host: which process it was is not known.
    Local(IpAddr),
    /// An address whose end is not in the recording: its requests come from the server's end.
    Remote(IpAddr),
    /// Which end of the connection sent the request is not known.
    Unknown,
}

impl Client {
    pub(super) fn of(http: &Http) -> Self {
        match (http.connection.role, &http.connection.process) {
            (Some(Role::Client), Some(process)) => {
                Self::Process { pid: process.pid, name: process.name.clone() }
            }
            (Some(Role::Client), None) => Self::Local(http.connection.ends().local.address),
            (Some(Role::Server), _) => Self::Remote(http.connection.ends().peer.address),
            (Some(Role::Listener) | None, _) => Self::Unknown,
        }
    }
}
