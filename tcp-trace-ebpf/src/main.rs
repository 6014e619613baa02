//! The eBPF programs of tcp-trace: one hook per file below `probes`.
#![no_std]
#![no_main]
// Built with RUSTC_BOOTSTRAP=1, as build-std is too: see `cargo xtask ebpf`.
#![feature(asm_experimental_arch)]

mod emit;
mod filter;
mod maps;
mod packet;
mod probes;
mod process_filter;
mod registers;
mod sock;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that this cannot be reached: a program that could panic does not load.
    loop {}
}
