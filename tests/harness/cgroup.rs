//! A cgroup of a test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::require_root;

/// A cgroup, removed with its handle.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    path: String,
}

impl Cgroup {
    /// Makes it, by its path from the root of the v2 hierarchy.
    pub fn new(path: &str) -> Self {
        require_root();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the kernel lists mounts");
        let is_cgroup2 = |line: &&str| line.contains(" - cgroup2 ");
        let mount = mounts.lines().find(is_cgroup2).expect("the cgroup v2 hierarchy is mounted");
        let root = mount.split(' ').nth(4).expect("a mount point");
        let folder = Path::new(root).join(path.trim_start_matches('/'));
        fs::create_dir_all(&folder).expect("root can make cgroups");
        Self { folder, path: format!("/{}", path.trim_start_matches('/')) }
    }

    /// Its path from the root of the hierarchy.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its folder, where the hierarchy is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that will run in it, in a process with the id of the one that is started.
    pub fn command(&self, program: &str) -> Command {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", program]);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A cgroup that is left costs some memory until reboot, and nothing else.
        let _ = fs::remove_dir(&self.folder);
    }
}
