//! Network namespaces of a test's own.

use std::{
    fs::{self, File},
    io,
    net::UdpSocket,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    panic::resume_unwind,
    path::PathBuf,
    process::Command,
    thread,
};

use rustix::{
    ioctl,
    mount::{UnmountFlags, mount_bind, unmount},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use crate::{
    Folder, InterfaceRequest, output, require_root,
    witness::{forget_namespace, note_namespace},
};

/// `SIOCSIFFLAGS` (`include/uapi/linux/sockios.h`).
const SET_INTERFACE_FLAGS: ioctl::Opcode = 0x8914;
/// `IFF_UP` (`include/uapi/linux/if.h`).
const INTERFACE_UP: u16 = 1;

/// A network namespace that goes with its handle and the sockets in it. It is mounted, as `ip netns` does it,
/// so that other programs find it. Making one takes no other program.
#[derive(Debug)]
pub struct Namespace {
    mount_point: PathBuf,
    _folder: Folder,
}

impl Namespace {
    /// Makes one, with loopback up.
    pub fn new() -> Self {
        require_root();
        let folder = Folder::new();
        let mount_point = folder.file("netns");
        let make = || {
            // SAFETY: only the network namespace of this thread changes, no table of descriptors.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("root can make network namespaces");
            set_loopback_up().expect("root can change interfaces");
            fs::write(&mount_point, "").expect("the folder is ours");
            mount_bind("/proc/thread-self/ns/net", &mount_point).expect("root can mount a namespace");
        };
        thread::scope(|scope| scope.spawn(make).join()).unwrap_or_else(|panic| resume_unwind(panic));
        note_namespace(mount_point.clone());
        Self { mount_point, _folder: folder }
    }

    /// Runs `work` on a thread in this namespace. Sockets and processes that it makes stay in the namespace,
    /// whoever uses them later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter_and_work = || {
            let file = File::open(&self.mount_point).expect("it is mounted");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root can enter network namespaces");
            work()
        };
        let result = thread::scope(|scope| scope.spawn(enter_and_work).join());
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Sets a setting of the namespace below `/proc/sys/net`, such as `ipv4/tcp_fin_timeout`.
    pub fn set(&self, setting: &str, value: &str) {
        let path = format!("/proc/sys/net/{setting}");
        self.run(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("cannot set {path}: {error}"));
    }

    /// A command that will run in it, in a process with the id of the one that is started.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// A file that refers to it, for other programs.
    pub fn path(&self) -> String {
        self.mount_point.display().to_string()
    }

    /// Inode number of the namespace.
    pub fn inode(&self) -> u32 {
        let inode = fs::metadata(&self.mount_point).expect("it is mounted").ino();
        u32::try_from(inode).expect("inode numbers of namespaces are small")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        forget_namespace(&self.mount_point);
        // A mount that is left costs memory until reboot, and nothing else.
        let _ = unmount(&self.mount_point, UnmountFlags::DETACH);
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

/// Sets the loopback interface of this thread's network namespace up.
fn set_loopback_up() -> io::Result<()> {
    // Any socket will do.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let request = InterfaceRequest::new("lo", INTERFACE_UP);
    // SAFETY: SIOCSIFFLAGS reads a `struct ifreq`, which the request is.
    unsafe { ioctl::ioctl(&socket, ioctl::Setter::<SET_INTERFACE_FLAGS, _>::new(request)) }?;
    Ok(())
}

/// Two namespaces joined by a veth pair: 10.99.0.1 and fd99::1 in the first, 10.99.0.2 and fd99::2 in the
/// second.
pub fn joined_namespaces() -> (Namespace, Namespace) {
    let (first, second) = (Namespace::new(), Namespace::new());
    let peer = second.path();
    let pair = ["link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", &peer];
    output(first.command("ip").args(pair));
    for (namespace, host) in [(&first, 1), (&second, 2)] {
        let ip = |arguments: &[&str]| output(namespace.command("ip").args(arguments));
        ip(&["address", "add", &format!("10.99.0.{host}/24"), "dev", "veth0"]);
        // Without duplicate address detection the address can be used at once.
        ip(&["address", "add", &format!("fd99::{host}/64"), "dev", "veth0", "nodad"]);
        ip(&["link", "set", "veth0", "up"]);
    }
    (first, second)
}
