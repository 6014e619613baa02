//! The sockets of one network namespace.

use std::{collections::HashSet, io};

use tcp_trace_core::diagnosis::{Snapshot, snapshot::Socket};

use crate::kernel::{
    netns::NetworkNamespace,
    sock_diag::{DiagError, States},
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
    Ok(())
}
