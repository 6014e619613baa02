//! What `/proc` says of processes: which sockets they have, their programs, their cgroups (proc(5)).
//!
//! Processes end at any time: one that has vanished is left out, and never an error.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::PathBuf,
};

use rustix::{
    fs::{Mode, OFlags, RawDir, open, readlinkat_raw},
    io::Errno,
    param::clock_ticks_per_second,
};
use tcp_trace_model::record::ProcessState;

/// As much of a command line as is read.
const COMMAND_BYTES_MAX: u64 = 4096;

/// A process that has a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id (the kernel's tgid), in the pid namespace of `/proc`.
    pub pid: u32,
    /// The name of its main thread (`comm`, at most 15 bytes).
    pub name: Vec<u8>,
    /// Effective user id.
    pub uid: u32,
}

/// Which process has which socket.
#[derive(Debug, Default)]
pub struct SocketOwners {
    processes: Vec<Process>,
    /// Socket inode to index in `processes`.
    by_inode: HashMap<u32, usize>,
    /// The ids of the further processes that have a socket, by its inode.
    others: HashMap<u32, Vec<u32>>,
    /// How many files each process has open, by its id.
    open_files: HashMap<u32, u64>,
    unreadable: u64,
}

impl SocketOwners {
    /// Walks the open files of all processes once. Fails when `/proc` cannot be read.
    pub fn read() -> io::Result<Self> {
        let mut owners = Self::default();
        let mut files = Vec::new();
        for pid in pids()? {
            files.clear();
            match socket_files(pid, &mut files) {
                Ok(count) => {
                    owners.add(pid, &files, || describe(pid));
                    if !files.is_empty() {
                        owners.open_files.insert(pid, count);
                    }
                }
                Err(error) => owners.unreadable += u64::from(error == Errno::ACCESS || error == Errno::PERM),
            }
        }
        Ok(owners)
    }

    /// The process that has the socket of this inode number; of several the one with the lowest id.
    ///
    /// `None` for inode 0, which is no file, and when the process could not be looked into.
    pub fn of(&self, inode: u32) -> Option<&Process> {
        self.by_inode.get(&inode).map(|index| &self.processes[*index])
    }

    /// How many files a process has open that has sockets; `None` when it is not known.
    pub fn open_files(&self, pid: u32) -> Option<u64> {
        self.open_files.get(&pid).copied()
    }

    /// The ids of the further processes that have the socket.
    pub fn others(&self, inode: u32) -> &[u32] {
        self.others.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// How many processes could not be looked into (ptrace(2), "read" access; root may).
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Adds a process that has these sockets, unless it has vanished. It is described only if nobody else has one of them.
    fn add(&mut self, pid: u32, files: &[SocketFile], describe: impl FnOnce() -> Option<Process>) {
        for file in files {
            // Its own first descriptors of a socket are not there yet.
            if self.by_inode.contains_key(&file.inode) {
                let others = self.others.entry(file.inode).or_default();
                if others.last() != Some(&pid) {
                    others.push(pid);
                }
            }
        }
        if files.iter().all(|file| self.by_inode.contains_key(&file.inode)) {
            return;
        }
        let Some(process) = describe() else { return };
        let index = self.processes.len();
        self.processes.push(process);
        for file in files {
            self.by_inode.entry(file.inode).or_insert(index);
        }
    }
}

/// The executable file of a process, or `None` for a kernel thread, a process that has vanished, and one that may
/// not be looked into. Ends in ` (deleted)` when the file was replaced, as the kernel says.
pub fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The path of a process's cgroup v2, as seen from this process's cgroup namespace, or `None` when the process has
/// vanished or there is no cgroup v2.
pub fn cgroup(pid: u32) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    cgroup_v2(&String::from_utf8_lossy(&text)).map(str::to_owned)
}

fn cgroup_v2(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The words of a process's command line, or nothing for a kernel thread and a process that has vanished. Of a very long
/// one only the beginning.
pub fn command(pid: u32) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = |file: fs::File| file.take(COMMAND_BYTES_MAX).read_to_end(&mut bytes);
    if fs::File::open(format!("/proc/{pid}/cmdline")).and_then(read).is_err() {
        return Vec::new();
    }
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if words.is_empty() { Vec::new() } else { words.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect() }
}

/// How many files a process may have open (RLIMIT_NOFILE, the soft limit); `None` when it has vanished, may not be
/// looked into, or has no limit.
pub fn files_limit(pid: u32) -> Option<u64> {
    files_limit_in(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
}

fn files_limit_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The ids of all processes, ascending.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    numbered("/proc")
}

/// The entries of a folder whose names are numbers, ascending.
fn numbered(folder: &str) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// An open file that is a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// Number of the descriptor.
    pub fd: u32,
    /// Inode number of the socket.
    pub inode: u32,
}

/// Adds the open files of a process that are sockets, and says how many files it has open in all.
///
/// `ENOENT` when it has vanished, `EACCES` when it may not be looked into (ptrace(2), "read" access).
pub fn socket_files(pid: u32, files: &mut Vec<SocketFile>) -> rustix::io::Result<u64> {
    let count = socket_files_in(&format!("/proc/{pid}/fd"), files)?;
    if count > 0 {
        return Ok(count);
    }
    // A main thread that has ended has no files any more, and the others, which share theirs, go on.
    for thread in numbered(&format!("/proc/{pid}/task")).unwrap_or_default() {
        let count = socket_files_in(&format!("/proc/{pid}/task/{thread}/fd"), files).unwrap_or_default();
        if count > 0 {
            return Ok(count);
        }
    }
    Ok(0)
}

fn socket_files_in(folder: &str, files: &mut Vec<SocketFile>) -> rustix::io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder: OwnedFd = open(folder, flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut entries = RawDir::new(folder.as_fd(), &mut buffer);
    let mut count = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        // The other entries are `.` and `..`.
        let Some(fd) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) else { continue };
        count += 1;
        let mut link = [0; 32];
        // Longer links are cut: no socket's is. A file that is closed meanwhile is no error.
        if let Ok(length) = readlinkat_raw(&folder, entry.file_name(), &mut link[..]) {
            files.extend(socket_inode(&link[..length]).map(|inode| SocketFile { fd, inode }));
        }
    }
    Ok(count)
}

/// The inode number in `socket:[4711]`.
fn socket_inode(link: &[u8]) -> Option<u32> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Name of a process (`comm`); `None` when it is gone.
pub fn name(pid: u32) -> Option<Vec<u8>> {
    let mut name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Some(name)
}

/// When a process started, in ticks since boot (proc(5), field 22 of `stat`); `None` when it is gone.
pub fn started(pid: u32) -> Option<u64> {
    field_behind_name(&fs::read(format!("/proc/{pid}/stat")).ok()?, 19)
}

/// How long ago the kernel started, in milliseconds, to a hundredth of a second.
pub fn uptime_ms() -> Option<u64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    // In seconds, with two digits behind the point.
    let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000 + hundredths.parse::<u64>().ok()? * 10)
}

/// How long a process had run at this [`uptime_ms`], in milliseconds, to a tick; `None` when it is gone.
pub fn age_ms(pid: u32, uptime_ms: u64) -> Option<u64> {
    let started_ms = started(pid)? * 1_000 / clock_ticks_per_second();
    Some(uptime_ms.saturating_sub(started_ms))
}

/// The id of a process's parent (proc(5), field 4 of `stat`); `None` when it is gone.
pub fn parent(pid: u32) -> Option<u32> {
    field_behind_name(&fs::read(format!("/proc/{pid}/stat")).ok()?, 1)
}

/// What keeps a process from running, if something does (proc(5), field 3 of `stat`); `None` also when it is gone.
pub fn state(pid: u32) -> Option<ProcessState> {
    state_in(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn state_in(stat: &[u8]) -> Option<ProcessState> {
    ProcessState::from_letter(u8::try_from(field_behind_name::<char>(stat, 0)?).ok()?)
}

/// What is in a field of `stat`, counted from the one behind the name, which stands in parentheses and may itself have any
/// character.
fn field_behind_name<T: std::str::FromStr>(stat: &[u8], field: usize) -> Option<T> {
    let after_name = stat.rsplit(|byte| *byte == b')').next()?;
    str::from_utf8(after_name).ok()?.split_whitespace().nth(field)?.parse().ok()
}

/// The numbers of the system calls that wait for a time, a signal or a child process: nanosleep(), clock_nanosleep(), pause(),
/// rt_sigsuspend(), rt_sigtimedwait(), wait4(), waitid().
#[cfg(target_arch = "x86_64")]
const SLEEPING_CALLS: &[u32] = &[35, 230, 34, 130, 128, 61, 247];
/// The same, of which the generic table has no pause().
#[cfg(target_arch = "aarch64")]
const SLEEPING_CALLS: &[u32] = &[101, 115, 133, 137, 260, 95];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SLEEPING_CALLS: &[u32] = &[];

/// Whether each thread of a process is in a system call that waits for a time, a signal or a child process (proc(5), `syscall`). False
/// where that cannot be read.
pub fn sleeps(pid: u32) -> bool {
    let threads = numbered(&format!("/proc/{pid}/task")).unwrap_or_default();
    let sleeps = |thread: &u32| {
        let call = fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall"));
        call.is_ok_and(|call| is_sleeping_call(&call))
    };
    !threads.is_empty() && threads.iter().all(sleeps)
}

fn is_sleeping_call(call: &str) -> bool {
    let number = call.split_whitespace().next().and_then(|number| number.parse().ok());
    number.is_some_and(|number| SLEEPING_CALLS.contains(&number))
}

/// Name and user of a process, or `None` when it has vanished.
pub fn describe(pid: u32) -> Option<Process> {
    let name = name(pid)?;
    // The folder belongs to the effective user, unlike the files in it (task_dump_owner()).
    let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    Some(Process { pid, name, uid })
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsRawFd as _};

    use super::*;

    #[test]
    fn a_socket_of_ours_is_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let inode = socket_inode(link.to_str().unwrap().as_bytes()).unwrap();
        let owners = SocketOwners::read().unwrap();
        let owner = owners.of(inode).unwrap();
        let comm = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!((owner.pid, owner.name.as_slice()), (std::process::id(), comm.trim_end().as_bytes()));
        assert_eq!(owner.uid, rustix::process::geteuid().as_raw());
        assert_eq!(owners.of(0), None);
    }

    #[test]
    fn of_several_processes_the_first_has_the_socket() {
        let mut owners = SocketOwners::default();
        let process = |pid| Process { pid, name: b"x".to_vec(), uid: 0 };
        let files = |inodes: &[u32]| -> Vec<_> {
            inodes.iter().map(|inode| SocketFile { fd: 3, inode: *inode }).collect()
        };
        owners.add(10, &files(&[7, 8, 7]), || Some(process(10)));
        owners.add(11, &files(&[8, 9, 8]), || Some(process(11)));
        owners.add(13, &files(&[7, 8]), || panic!("it has no socket of its own"));
        owners.add(12, &files(&[12]), || None);
        let pids = [7, 8, 9, 12].map(|inode| owners.of(inode).map(|process| process.pid));
        assert_eq!(pids, [Some(10), Some(10), Some(11), None]);
        assert_eq!([7, 8, 9].map(|inode| owners.others(inode)), [&[13][..], &[11, 13], &[]]);
    }

    #[test]
    fn vanished_processes_are_no_error() {
        assert_eq!((executable(u32::MAX), cgroup(u32::MAX), describe(u32::MAX)), (None, None, None));
        assert_eq!(socket_files(u32::MAX, &mut Vec::new()), Err(Errno::NOENT));
        assert_eq!((command(u32::MAX), files_limit(u32::MAX)), (vec![], None));
    }

    #[test]
    fn the_start_of_a_process_is_found_behind_any_name() {
        let stat = b"7 (a) S 1 (b)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert_eq!(field_behind_name(stat, 19), Some(4711));
        assert_eq!(field_behind_name::<u64>(b"", 19), None);
        assert_eq!((state_in(b""), state_in(stat)), (None, None));
        assert_eq!(state_in(b"7 (a) T) T 1 2"), Some(ProcessState::Stopped));
        assert!(started(std::process::id()).is_some());
    }

    #[test]
    fn a_process_that_was_just_started_is_young() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let uptime_ms = uptime_ms().unwrap();
        let [own, of_child] = [std::process::id(), child.id()].map(|pid| age_ms(pid, uptime_ms).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_child <= own, "{of_child} {own}");
        assert_eq!(age_ms(u32::MAX, uptime_ms), None);
    }

    #[test]
    fn a_process_that_runs_does_not_sleep() {
        assert!(!sleeps(std::process::id()));
        assert!(!is_sleeping_call("running"));
        assert!(!is_sleeping_call(""));
        for number in SLEEPING_CALLS {
            assert!(is_sleeping_call(&format!("{number} 0x0 0x0 0x7ffc 0x0 0x0 0x0 0x7ffc 0x7f00\n")));
        }
    }

    #[test]
    fn this_process_has_an_executable() {
        assert_eq!(executable(std::process::id()), std::env::current_exe().ok());
    }

    #[test]
    fn this_process_has_a_command_line_and_a_limit() {
        let words: Vec<_> = std::env::args_os().map(std::ffi::OsString::into_encoded_bytes).collect();
        assert_eq!(command(std::process::id()), words);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        assert_eq!(files_limit(std::process::id()), limit);
        assert_eq!(files_limit_in("Max open files            unlimited            unlimited"), None);
    }

    #[test]
    fn the_descriptors_of_sockets_are_found_among_all() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut files = Vec::new();
        let count = socket_files(std::process::id(), &mut files).unwrap();
        let fd = listener.as_raw_fd().cast_unsigned();
        assert!(files.iter().any(|file| file.fd == fd));
        assert!(count > files.len() as u64, "{count} files, standard output among them");
    }

    #[test]
    fn only_sockets_are_sockets() {
        assert_eq!(socket_inode(b"socket:[4711]"), Some(4711));
        for link in
            [&b"pipe:[4711]"[..], b"socket:[]", b"socket:[47", b"socket:[99999999999]", b"/socket:[1]"]
        {
            assert_eq!(socket_inode(link), None);
        }
    }

    #[test]
    fn the_cgroup_is_that_of_version_2() {
        assert_eq!(cgroup_v2("4:memory:/a\n1:name=systemd:/b\n0::/c:d\n"), Some("/c:d"));
        assert_eq!(cgroup_v2("4:memory:/a\n10::/b\n"), None);
    }
}
