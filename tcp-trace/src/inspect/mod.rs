//! What the host's sockets are now: the kernel's lists, `/proc`, and settings, read into a snapshot.

mod network;
mod processes;
mod sockets;

use tcp_trace_core::diagnosis::Snapshot;
use tcp_trace_model::record::Filter;

use crate::kernel::{Clock, netns, process, sock_diag::DiagError};

/// Reads everything once. What this process may not see is left out and counted in the snapshot.
///
/// Fails when not even the sockets of this process's own network namespace can be listed.
pub fn snapshot(clock: Clock, filter: &Filter) -> Result<Snapshot, DiagError> {
    let namespaces = netns::find().map_err(|error| DiagError::failed("find network namespaces", error))?;
    let uptime_ms = process::uptime_ms();
    let mut snapshot = Snapshot { time: clock.now(), ..Snapshot::default() };
    snapshot.blindspots.namespaces_of = namespaces.unreadable;
    for namespace in &namespaces.found {
        match sockets::read(namespace, &mut snapshot) {
            Ok(()) => snapshot.networks.extend(network::read(namespace)),
            Err(error) if namespace.is_own => return Err(error),
            Err(error) => {
                log::info!("cannot read the sockets of network namespace {}: {error}", namespace.inode);
                snapshot.blindspots.namespaces.push(namespace.inode);
            }
        }
    }
    // After the sockets, so that whoever got one meanwhile is found.
    processes::read(&mut snapshot, uptime_ms);
    snapshot.put_acceptors_first();
    snapshot.choose(filter);
    Ok(snapshot)
}
