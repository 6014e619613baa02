//! The registers of a function at its beginning and where it returns, in a program on a uprobe.
//!
//! The object is the same for all machines, and its context is `struct pt_regs` of the machine it runs on. The verifier takes no
//! place in it that is computed, so each is an instruction of its own; those of the other machine are dead code to it.

use core::arch::asm;

use aya_ebpf::{EbpfContext as _, programs::ProbeContext};
use tcp_trace_ebpf::MACHINE_X86_64;

use crate::maps::MACHINE;

#[inline(always)]
fn is_x86_64() -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    unsafe { core::ptr::read_volatile(&raw const MACHINE) == MACHINE_X86_64 }
}

/// The register at `X86` or `ARM` of `struct pt_regs`.
#[inline(always)]
fn register<const X86: i32, const ARM: i32>(ctx: &ProbeContext) -> u64 {
    let value: u64;
    let registers = ctx.as_ptr();
    // SAFETY: both load a register from the context, which the verifier checks.
    unsafe {
        if is_x86_64() {
            asm!("{value} = *(u64 *)({registers} + {at})", value = out(reg) value, registers = in(reg) registers, at = const X86);
        } else {
            asm!("{value} = *(u64 *)({registers} + {at})", value = out(reg) value, registers = in(reg) registers, at = const ARM);
        }
    }
    value
}

/// The first argument.
#[inline(always)]
pub(crate) fn first(ctx: &ProbeContext) -> u64 {
    register::<112, 0>(ctx)
}

/// The second argument.
#[inline(always)]
pub(crate) fn second(ctx: &ProbeContext) -> u64 {
    register::<104, 8>(ctx)
}

/// The third argument.
#[inline(always)]
pub(crate) fn third(ctx: &ProbeContext) -> u64 {
    register::<96, 16>(ctx)
}

/// The fourth argument.
#[inline(always)]
pub(crate) fn fourth(ctx: &ProbeContext) -> u64 {
    register::<88, 24>(ctx)
}

/// The fifth argument.
#[inline(always)]
pub(crate) fn fifth(ctx: &ProbeContext) -> u64 {
    register::<72, 32>(ctx)
}

/// The second argument of a function of Rust that returns a large result: on x86-64, its place is the first of all, on AArch64 it is in a
/// register of its own.
#[inline(always)]
pub(crate) fn second_behind_result(ctx: &ProbeContext) -> u64 {
    register::<96, 8>(ctx)
}

/// The goroutine that runs: the address of its `g`, in Go's own calling convention (`src/cmd/compile/abi-internal.md`).
#[inline(always)]
pub(crate) fn goroutine(ctx: &ProbeContext) -> u64 {
    register::<8, 224>(ctx)
}

/// What is the second in Go's convention, an argument or a result.
#[inline(always)]
pub(crate) fn go_second(ctx: &ProbeContext) -> u64 {
    register::<40, 8>(ctx)
}

/// And the third.
#[inline(always)]
pub(crate) fn go_third(ctx: &ProbeContext) -> u64 {
    register::<88, 16>(ctx)
}

/// What is returned, and the first argument, or receiver, in Go's convention.
#[inline(always)]
pub(crate) fn returned(ctx: &ProbeContext) -> u64 {
    register::<80, 0>(ctx)
}

/// The stack pointer.
#[inline(always)]
pub(crate) fn stack_pointer(ctx: &ProbeContext) -> u64 {
    register::<152, 248>(ctx)
}
