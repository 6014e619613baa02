//! Where in a process a socket was used.

use super::Owner;
use crate::time::Time;

/// When a stack was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackTrigger {
    /// The process connects the socket.
    Connect,
    /// The first read or write of a socket that was accepted, or that is older than tracing.
    FirstUse,
    /// The first read that met the end of the stream.
    EndOfStream,
}

/// Registers of a thread in user mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer; 0 when the thread has no user mode, as those of the kernel.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, or what a program without frame pointers uses the register for.
    pub fp: u64,
    /// Link register, on architectures that have one.
    pub lr: u64,
}

/// Where a process was when it used a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack<'a> {
    /// When.
    pub trigger: StackTrigger,
    /// The process.
    pub owner: Owner,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Name of the thread (`comm`, at most 15 bytes).
    pub thread: Vec<u8>,
    /// What it had in its registers.
    pub registers: Registers,
    /// Whether the ring buffer was too full for the stack.
    pub ring_full: bool,
    /// Its stack from the stack pointer on, or the beginning of it.
    pub bytes: &'a [u8],
}

/// The last read or write of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub time: Time,
    /// Process id (the kernel's tgid), in the initial pid namespace.
    pub pid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// Name of the thread (`comm`, at most 15 bytes).
    pub thread: Vec<u8>,
    /// Whether it wrote.
    pub is_write: bool,
}
