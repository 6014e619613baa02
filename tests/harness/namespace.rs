//! Network namespaces of a test's own.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::output;

/// A network namespace that is removed with its handle.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, with loopback up.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tcp-trace-{}-{number}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self { name };
        output(namespace.command("ip").args(["link", "set", "lo", "up"]));
        namespace
    }

    /// A command that will run in it, in a process with the id of the one that is started.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Inode number of the namespace, as `stat` tells it.
    pub fn inode(&self) -> u32 {
        let path = format!("/run/netns/{}", self.name);
        let stat = output(Command::new("stat").args(["--dereference", "--format=%i", &path]));
        String::from_utf8_lossy(&stat.stdout).trim().parse().expect("an inode number")
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Whatever goes wrong here was told by the test already.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Two namespaces joined by a veth pair: 10.99.0.1 and fd99::1 in the first, 10.99.0.2 and fd99::2 in the second.
pub fn joined_namespaces() -> (Namespace, Namespace) {
    let (first, second) = (Namespace::new(), Namespace::new());
    let pair = ["link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", &second.name];
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
