//! The paths of cgroups by their ids, which sockets have (`cgroup_id()`).
//!
//! A cgroup v2's id is the inode number of its folder (`kernfs_ino()`, on 64-bit kernels). It is not used again for
//! another cgroup, and a cgroup v2 keeps its path for life.

use std::{
    collections::{HashMap, HashSet},
    io,
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::fs::{FileType, Mode, OFlags, RawDir, fstat, openat};

use super::cgroup::open_root;

/// Most cgroups that are remembered, and most that one walk finds.
const CGROUPS_MAX: usize = 100_000;
/// Most ids that are remembered to be no cgroup's.
const UNKNOWN_MAX: usize = 10_000;

/// Remembers the paths of cgroups, also of those that are removed meanwhile.
#[derive(Debug)]
pub struct CgroupPaths {
    root: OwnedFd,
    paths: HashMap<u64, String>,
    unknown: HashSet<u64>,
}

impl CgroupPaths {
    /// Opens the cgroup v2 hierarchy. Fails when it is neither mounted nor can be.
    pub fn open() -> io::Result<Self> {
        Ok(Self { root: open_root()?, paths: HashMap::new(), unknown: HashSet::new() })
    }

    /// The path of a cgroup from the root of the hierarchy, `/` for the root itself.
    ///
    /// Looks at the whole hierarchy when an id is asked for that is not known yet. `None` for a cgroup that was
    /// removed before it was looked for: that is remembered too, so that it costs one look.
    pub fn path(&mut self, id: u64) -> Option<&str> {
        if !self.paths.contains_key(&id) && !self.unknown.contains(&id) {
            self.look();
            if !self.paths.contains_key(&id) {
                if self.unknown.len() >= UNKNOWN_MAX {
                    self.unknown.clear();
                }
                self.unknown.insert(id);
            }
        }
        self.paths.get(&id).map(String::as_str)
    }

    /// All cgroups that are there, in no order: id and path.
    pub fn all(&mut self) -> impl Iterator<Item = (u64, &str)> {
        self.look();
        self.paths.iter().map(|(id, path)| (*id, path.as_str()))
    }

    fn look(&mut self) {
        if self.paths.len() >= CGROUPS_MAX {
            self.paths.clear();
        }
        if let Ok(root) = fstat(&self.root) {
            self.paths.insert(root.st_ino, "/".to_owned());
        }
        let mut found = 0;
        let mut pending = vec![b".".to_vec()];
        while let Some(folder) = pending.pop() {
            // A cgroup that is removed meanwhile has nothing in it.
            let Ok(children) = children(&self.root, &folder) else { continue };
            for (id, name) in children {
                let path = [folder.as_slice(), b"/", &name].concat();
                self.paths.insert(id, String::from_utf8_lossy(&path[1..]).into_owned());
                pending.push(path);
                found += 1;
                if found == CGROUPS_MAX {
                    return;
                }
            }
        }
    }
}

/// The folders in a folder: inode number and name of each.
fn children(root: &OwnedFd, folder: &[u8]) -> rustix::io::Result<Vec<(u64, Vec<u8>)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(root, folder, flags, Mode::empty())?;
    let mut children = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(folder.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            children.push((entry.ino(), name.to_vec()));
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    /// A folder stands for the hierarchy: the walk is the same.
    fn with_folders(name: &str, folders: &[&str]) -> (std::path::PathBuf, CgroupPaths) {
        let top = std::env::temp_dir().join(format!("tcp-trace-{name}-{}", std::process::id()));
        for folder in folders {
            fs::create_dir_all(top.join(folder)).unwrap();
        }
        let root = fs::File::open(&top).unwrap().into();
        (top, CgroupPaths { root, paths: HashMap::new(), unknown: HashSet::new() })
    }

    #[test]
    fn ids_are_inode_numbers() {
        let (top, mut paths) = with_folders("ids", &["a/b", "c"]);
        fs::write(top.join("a/cgroup.procs"), "").unwrap();
        let id = |path: &str| fs::metadata(top.join(path)).unwrap().ino();
        let ids = [id("."), id("a"), id("a/b"), id("c")];
        let found = ids.map(|id| paths.path(id).map(str::to_owned));
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(found, ["/", "/a", "/a/b", "/c"].map(|path| Some(path.to_owned())));
        let mut all: Vec<_> = paths.all().map(|(_, path)| path.to_owned()).collect();
        all.sort();
        assert_eq!(all, ["/", "/a", "/a/b", "/c"]);
    }

    #[test]
    fn an_unknown_id_is_looked_for_once_and_a_known_one_is_kept() {
        let (top, mut paths) = with_folders("unknown", &["a"]);
        let id = fs::metadata(top.join("a")).unwrap().ino();
        assert_eq!(paths.path(u64::MAX), None);
        assert!(paths.unknown.contains(&u64::MAX));
        fs::create_dir(top.join("later")).unwrap();
        let later = fs::metadata(top.join("later")).unwrap().ino();
        assert_eq!(paths.path(later), Some("/later"), "looked again for an id that was never asked for");
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(paths.path(id), Some("/a"), "it is gone, and known");
    }
}
