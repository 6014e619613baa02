//! What the eBPF programs and user space share: the ABI (layout of every ring-buffer record, globals, names of maps and
//! programs), and the programs' decisions as pure functions, so that they are tested on the host.
//!
//! All numbers are in host byte order unless a field says otherwise; user space and the kernel are the same host.
#![no_std]

mod abi;
pub mod decide;

pub use abi::*;
