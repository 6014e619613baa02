//! The sockets of one network namespace.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use tcp_trace_core::diagnosis::{Snapshot, snapshot::Socket};
use tcp_trace_model::event::State;

use crate::kernel::{
    netns::NetworkNamespace,
    sock_diag::{DiagError, SockDiag, States},
};

/// Adds the sockets of a namespace.
pub(super) fn read(namespace: &NetworkNamespace, snapshot: &mut Snapshot) -> Result<(), DiagError> {
    let mut diag = match namespace.sock_diag() {
        // What kept it alive has ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !namespace.is_own => return Ok(()),
        opened => opened.map_err(|error| DiagError::failed("request TCP sockets", error))?,
    };
    let first = snapshot.sockets.len();
    let dump = diag.dump(States::ALL, true, &mut |diag| {
        let netns = namespace.inode;
        snapshot.sockets.push(Socket { netns, diag, entered: None, holders: 0..0, is_chosen: true });
    })?;
    if dump.restarts > 0 {
        // A list that was begun again gives sockets twice: the later word counts.
        let mut known = HashSet::new();
        let mut listed: Vec<_> = snapshot.sockets.drain(first..).rev().collect();
        listed.retain(|socket| known.insert(socket.diag.cookie));
        snapshot.sockets.append(&mut listed);
    }
    snapshot.blindspots.is_incomplete |= dump.incomplete;
    snapshot.blindspots.malformed += dump.malformed;
    add_unclosed_mptcp(&mut diag, &mut snapshot.sockets, first);
    Ok(())
}

/// MPTCP sockets that the peer has closed and the process has not, in the place of their subflows, which stay ESTABLISHED: MPTCP
/// ends a connection by a DATA_FIN (RFC 8684, section 3.3.3) before TCP does. `sockets` has those of the namespace from `first` on.
fn add_unclosed_mptcp(diag: &mut SockDiag, sockets: &mut [Socket], first: usize) {
    let mut unclosed = HashMap::new();
    let states = [State::CloseWait].into_iter().collect();
    let result = diag.dump_mptcp(states, &mut |socket| {
        unclosed.insert(socket.endpoints, socket);
    });
    if let Err(error) = result {
        log::debug!("MPTCP sockets are not listed: {error}");
    }
    for subflow in sockets[first..].iter_mut().filter(|socket| socket.state() == State::Established) {
        if let Some(outer) = unclosed.remove(&subflow.diag.endpoints) {
            // The subflow's cookie is that of the connection, and its own figures say when the peer was last heard of.
            subflow.diag = tcp_trace_model::socket::Socket {
                cookie: subflow.diag.cookie,
                info: subflow.diag.info,
                ..outer
            };
        }
    }
}
