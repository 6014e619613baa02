//! Who has the sockets of a snapshot open: one pass over the open files of all processes.

use std::os::unix::ffi::OsStringExt as _;

use rustix::io::Errno;
use tcp_trace_core::diagnosis::{
    Snapshot,
    snapshot::{Holder, Process},
};
use tcp_trace_model::record::{Process as Named, Text};

use crate::kernel::process::{self, SocketFile};

/// Descriptors that are kept: 20 for each of 100,000 sockets.
const HOLDERS_MAX: usize = 2_000_000;

/// Fills in holders and processes. A process that vanishes meanwhile is left out.
///
/// `uptime_ms` is that of the moment before the sockets were read, so that no process seems older beside what they say.
pub(super) fn read(snapshot: &mut Snapshot, uptime_ms: Option<u64>) {
    let pids = match process::pids() {
        Ok(pids) => pids,
        Err(error) => {
            log::warn!("cannot list processes, so sockets are shown without them: {error}");
            return;
        }
    };
    let mut inodes: Vec<(u32, u32)> = (0..)
        .zip(&snapshot.sockets)
        .filter(|(_, socket)| socket.diag.inode != 0)
        .map(|(index, socket)| (socket.diag.inode, index))
        .collect();
    inodes.sort_unstable();
    let (mut held, mut files) = (Vec::new(), Vec::new());
    for pid in pids {
        files.clear();
        match process::socket_files(pid, &mut files) {
            Ok(count) => add(snapshot, &inodes, &mut held, &files, (pid, count, uptime_ms)),
            Err(Errno::ACCESS | Errno::PERM) => snapshot.blindspots.processes += 1,
            Err(_) => {}
        }
    }
    // Stable: those of one socket stay in the order of their process ids.
    held.sort_by_key(|(socket, _)| *socket);
    for group in held.chunk_by(|one, other| one.0 == other.0) {
        let start = snapshot.holders.len() as u32;
        snapshot.holders.extend(group.iter().map(|(_, holder)| *holder));
        snapshot.sockets[group[0].0 as usize].holders = start..snapshot.holders.len() as u32;
    }
}

/// Adds what a process has open of the sockets, if it has any.
fn add(
    snapshot: &mut Snapshot,
    inodes: &[(u32, u32)],
    held: &mut Vec<(u32, Holder)>,
    files: &[SocketFile],
    (pid, count, uptime_ms): (u32, u64, Option<u64>),
) {
    let socket = |file: &SocketFile| {
        let at = inodes.partition_point(|(inode, _)| *inode < file.inode);
        inodes.get(at).filter(|(inode, _)| *inode == file.inode).map(|(_, socket)| *socket)
    };
    let mut found = files.iter().filter_map(|file| Some((socket(file)?, file.fd))).peekable();
    if found.peek().is_none() {
        return;
    }
    let Some(described) = process::describe(pid) else { return };
    let process = snapshot.processes.len() as u32;
    for (socket, fd) in found {
        if held.len() < HOLDERS_MAX {
            held.push((socket, Holder { process, fd: Some(fd) }));
        } else {
            snapshot.blindspots.holders += 1;
        }
    }
    snapshot.processes.push(Process {
        named: Named {
            pid,
            name: Text::from(described.name),
            executable: process::executable(pid).map(|path| Text::from(path.into_os_string().into_vec())),
            uid: described.uid,
        },
        command: process::command(pid).into_iter().map(Text::from).collect(),
        state: process::state(pid),
        files: count,
        files_limit: process::files_limit(pid),
        cgroup: process::cgroup(pid),
        parent: process::parent(pid),
        age_ms: uptime_ms.and_then(|uptime_ms| process::age_ms(pid, uptime_ms)),
        sleeps: process::sleeps(pid),
    });
}
