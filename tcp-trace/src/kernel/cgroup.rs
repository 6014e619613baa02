//! The root of the cgroup v2 hierarchy, where the segment programs are attached.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Opens the root cgroup where it is mounted, or through a mount of our own that nobody else sees.
pub(super) fn open_root() -> io::Result<OwnedFd> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    match mount_point(&mounts) {
        Some(path) => File::open(path).map(OwnedFd::from),
        None => {
            let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(&context)?;
            Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
        }
    }
}

/// Where the whole hierarchy is mounted, if it is.
pub fn mounted_at() -> Option<String> {
    mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// Where the whole cgroup2 hierarchy is mounted, from the text of `/proc/self/mountinfo` (proc(5)).
fn mount_point(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let is_root = root == "/" && filesystem.split(' ').next()? == "cgroup2";
        is_root.then(|| unescape(point))
    })
}

/// Undoes the octal escapes of space, tab, newline and backslash.
pub(super) fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_wherever_it_is_mounted() {
        let hybrid = "37 31 0:38 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
                      38 31 0:39 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid).as_deref(), Some("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn a_mount_of_a_part_of_the_hierarchy_is_not_the_root() {
        let part = "40 31 0:39 /machine /mnt/part rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(part), None);
    }

    #[test]
    fn spaces_in_the_path_are_unescaped() {
        let escaped = "38 31 0:39 / /mnt/my\\040cgroups rw - cgroup2 none rw\n";
        assert_eq!(mount_point(escaped).as_deref(), Some("/mnt/my cgroups"));
    }

    #[test]
    fn lines_that_are_cut_short_are_passed_over() {
        assert_eq!(mount_point("38 31 0:39\n - cgroup2\n38 - cgroup2 x\n"), None);
    }
}
