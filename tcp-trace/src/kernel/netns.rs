//! The network namespaces of the host, and ways into them (network_namespaces(7)).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    panic,
    path::{Path, PathBuf},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{cgroup::unescape, process::pids, rtnetlink::Rtnetlink, sock_diag::SockDiag};

/// The calling process's own namespace.
const OWN: &str = "/proc/self/ns/net";
/// How many ways into one namespace are kept: processes can end before they are used.
const PATHS_MAX: usize = 4;

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkNamespace {
    /// Its inode number, as in the link `/proc/PID/ns/net` to `net:[inode]`, and as in events.
    pub inode: u32,
    /// Whether it is that of this process, which needs no privileges.
    pub is_own: bool,
    /// Files that refer to it, the most lasting first.
    pub paths: Vec<PathBuf>,
}

impl NetworkNamespace {
    /// Opens a file that refers to it.
    ///
    /// `NotFound` when what kept the namespace alive is gone, `PermissionDenied` when it is a process that this one
    /// may not look into (ptrace(2), "read" access).
    pub fn open(&self) -> io::Result<OwnedFd> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for path in &self.paths {
            match open_if(path, self.inode) {
                Ok(file) => return Ok(file),
                // A refusal says more than that another way is gone.
                Err(error) if failure.kind() == io::ErrorKind::NotFound => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    /// Does something in it: on this thread if it is this process's own, else as [`within`].
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        if self.is_own { Ok(work()) } else { within(self.open()?.as_fd(), work) }
    }

    /// A socket that lists its TCP sockets. `EPERM` without CAP_SYS_ADMIN unless it is this process's own.
    pub fn sock_diag(&self) -> io::Result<SockDiag> {
        if self.is_own { SockDiag::open() } else { SockDiag::in_namespace(self.open()?.as_fd()) }
    }

    /// A socket that asks for its routes. `EPERM` without CAP_SYS_ADMIN unless it is this process's own.
    pub fn rtnetlink(&self) -> io::Result<Rtnetlink> {
        if self.is_own { Rtnetlink::open() } else { Rtnetlink::in_namespace(self.open()?.as_fd()) }
    }
}

/// Does something in the network namespace that `namespace` refers to, on a thread of its own.
///
/// `EPERM` without CAP_SYS_ADMIN in the user namespaces of both.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let enter = || {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, enter)?;
        thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

/// What was found.
#[derive(Debug)]
pub struct Namespaces {
    /// The namespaces, this process's own first, the others by inode number.
    pub found: Vec<NetworkNamespace>,
    /// How many processes could not be looked into: they can be in other namespaces.
    pub unreadable: u64,
}

/// Finds the network namespaces of all processes, and those that are mounted (`ip netns`, container runtimes).
///
/// Not found are namespaces that only a thread, an open file or a socket keeps alive, and mounts that are in
/// another mount namespace only. Fails when `/proc` cannot be read.
pub fn find() -> io::Result<Namespaces> {
    let own = inode_of(&fs::read_link(OWN)?.to_string_lossy()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{OWN} is not a network namespace"))
    })?;
    let mut ways = BTreeMap::<u32, Vec<PathBuf>>::new();
    ways.insert(own, vec![OWN.into()]);
    for (inode, path) in mounted(&fs::read_to_string("/proc/self/mountinfo")?) {
        ways.entry(inode).or_default().push(path.into());
    }
    let mut unreadable = 0;
    for pid in pids()? {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        match fs::read_link(&path) {
            Ok(link) => {
                if let Some(inode) = inode_of(&link.to_string_lossy()) {
                    let paths = ways.entry(inode).or_default();
                    if paths.len() < PATHS_MAX {
                        paths.push(path);
                    }
                }
            }
            Err(error) => unreadable += u64::from(error.kind() == io::ErrorKind::PermissionDenied),
        }
    }
    let mut found: Vec<_> = ways
        .into_iter()
        .map(|(inode, paths)| NetworkNamespace { inode, is_own: inode == own, paths })
        .collect();
    found.sort_by_key(|namespace| !namespace.is_own);
    Ok(Namespaces { found, unreadable })
}

/// The inode number of the network namespace that a file refers to; `None` when it refers to none.
pub fn inode_of_file(path: &Path) -> io::Result<Option<u32>> {
    let file = File::open(path)?;
    let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if let Some(inode) = inode_of(&link.to_string_lossy()) {
        return Ok(Some(inode));
    }
    // Of one that is mounted the link is the path.
    let (metadata, own) = (file.metadata()?, fs::metadata(OWN)?);
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let inode = mounted(&mounts).map(|(inode, _)| inode).find(|inode| u64::from(*inode) == metadata.ino());
    Ok(inode.filter(|_| metadata.dev() == own.dev()))
}

/// Opens a file if it is still the one meant: a process id can be another process's by now, and another file be
/// mounted over the path.
fn open_if(path: &Path, inode: u32) -> io::Result<OwnedFd> {
    let file = File::open(path)?;
    let is_same = file.metadata()?.ino() == u64::from(inode);
    if is_same { Ok(file.into()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The namespaces that are mounted, with the mount points, from the text of `/proc/self/mountinfo` (proc(5)).
fn mounted(mountinfo: &str) -> impl Iterator<Item = (u32, String)> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let is_namespace = filesystem.split(' ').next()? == "nsfs";
        let inode = inode_of(root).filter(|_| is_namespace)?;
        Some((inode, unescape(point)))
    })
}

/// The inode number in `net:[4026531840]`.
pub fn inode_of(link: &str) -> Option<u32> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_namespaces_are_found_wherever_they_are() {
        let mounts = "26 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      90 26 0:4 net:[4026532281] /run/netns/a\\040b rw shared:1 - nsfs nsfs rw\n\
                      91 26 0:4 mnt:[4026532282] /run/mnt rw - nsfs nsfs rw\n\
                      92 26 0:4 net:[4026532283] /run/docker/netns/5c rw - nsfs nsfs rw\n\
                      93 26 0:5 net:[4026532284] /mnt rw - tmpfs none rw\n\
                      cut - nsfs\n94 26 0:4 net:[x] /mnt rw - nsfs\n";
        let found: Vec<_> = mounted(mounts).collect();
        assert_eq!(
            found,
            [(4026532281, "/run/netns/a b".to_owned()), (4026532283, "/run/docker/netns/5c".to_owned())]
        );
    }

    #[test]
    fn the_own_namespace_comes_first_and_opens() {
        let namespaces = find().unwrap();
        let own = &namespaces.found[0];
        assert!(own.is_own && namespaces.found[1..].iter().all(|namespace| !namespace.is_own));
        assert_eq!(own.paths[0], PathBuf::from(OWN));
        own.open().unwrap();
        own.sock_diag().unwrap();
    }

    #[test]
    fn a_file_of_a_namespace_has_its_inode_number() {
        let own = find().unwrap().found[0].inode;
        assert_eq!(inode_of_file(Path::new(OWN)).unwrap(), Some(own));
        assert_eq!(inode_of_file(Path::new("/proc/self/ns/mnt")).unwrap(), None);
        assert_eq!(inode_of_file(Path::new("/dev/null")).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_another_by_now_is_not_taken() {
        let gone =
            NetworkNamespace { inode: 1, is_own: false, paths: vec![OWN.into(), "/no/such/file".into()] };
        assert_eq!(gone.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
