//! The binary: runs the command line and exits with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tcp_trace::cli::run(std::env::args_os())
}
