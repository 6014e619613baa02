//! Builds and checks what cargo alone cannot: `cargo xtask ebpf`, `cargo xtask test`, `cargo xtask bench`,
//! `cargo xtask kernels`, `cargo xtask capture`.

mod apt;
mod bench;
mod capture;
mod checks;
mod command;
mod ebpf;
mod kernels;
mod object_file;
mod rust_src;
mod tidy;
mod toolchain;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask ebpf            build the eBPF object into tcp-trace/bpf/
       cargo xtask ebpf --check    rebuild it and fail unless the bytes are the same
       cargo xtask test            every check: fmt, clippy, tidy, unit, ebpf, e2e (as root)
       cargo xtask test --only X   one of them; arguments after -- go to the test programs
       cargo xtask bench           what tracing costs, beside other tools (as root; --help says more)
       cargo xtask kernels         the program and its loopback tests in VMs, on Debian's kernels
       cargo xtask capture         records the ring buffer of end-to-end scenes for replays (as root)
       cargo xtask capture --kernels  the same of the loopback tests in VMs, on Debian's kernels";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["ebpf"] => ebpf::build(),
        ["ebpf", "--check"] => ebpf::check(),
        ["test"] => checks::all(),
        ["test", "--only", name, rest @ ..] if checks::exists(name) => checks::only(name, rest),
        ["bench", rest @ ..] => bench::run_with(rest),
        ["kernels"] => kernels::run(),
        ["capture"] => capture::here(),
        ["capture", "--kernels"] => capture::on_kernels(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
