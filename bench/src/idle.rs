//! Connections that are open and do nothing.

use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Opens so many to a port of loopback.
pub(crate) fn open(port: u16, connections: usize) -> Result<Vec<TcpStream>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("cannot raise the limit of open files")?;
    (0..connections)
        .map(|number| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .with_context(|| format!("cannot open idle connection {number} of {connections}"))
        })
        .collect()
}
