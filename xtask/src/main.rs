//! Builds and checks what cargo alone cannot: `cargo xtask ebpf`, `cargo xtask test`, `cargo xtask setup`,
//! `cargo xtask bench`, `cargo xtask kernels`, `cargo xtask capture`.

mod apt;
mod background;
mod bench;
mod capture;
mod checks;
mod command;
mod ebpf;
mod kernels;
mod object_file;
mod rust_src;
mod setup;
mod stack;
mod tidy;
mod toolchain;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask ebpf            build the eBPF object into tcp-trace/bpf/
       cargo xtask ebpf --check    rebuild it and fail unless the bytes are the same
       cargo xtask test            every check (as root); installs first what the machine lacks, on Debian and Ubuntu
         --no-install              name what is missing instead
         --skip X                  leave a check out; may be repeated
         --only X                  run one check; further arguments go to the test programs
       cargo xtask setup [CHECK..] installs what these checks need, or all
       cargo xtask bench           what tracing costs, beside other tools (as root; --help says more)
       cargo xtask kernels [X..]   the same as `cargo xtask test --only kernels`; X is a kernel (6.1) or part of a test's name
       cargo xtask capture         records the ring buffer of end-to-end scenes for replays (as root)
       cargo xtask capture --kernels  the same of the loopback tests in VMs, on Debian's kernels";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["ebpf"] => ebpf::build(),
        ["ebpf", "--check"] => ebpf::check(),
        ["test", rest @ ..] => match TestArguments::parse(rest) {
            Some(arguments) => arguments.run(),
            None => return usage(),
        },
        ["setup", names @ ..] if names.iter().all(|name| checks::exists(name)) => checks::install(names),
        ["bench", rest @ ..] => bench::run_with(rest),
        ["kernels", rest @ ..] => checks::only("kernels", rest, true),
        ["capture"] => capture::here(),
        ["capture", "--kernels"] => capture::on_kernels(),
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}\nchecks: {}", checks::names());
    ExitCode::from(2)
}

/// What follows `cargo xtask test`.
#[derive(Debug, Default, PartialEq)]
struct TestArguments<'a> {
    no_install: bool,
    skipped: Vec<&'a str>,
    /// One check, and what goes to the test programs.
    only: Option<(&'a str, &'a [&'a str])>,
}

impl<'a> TestArguments<'a> {
    /// `None` when they make no sense.
    fn parse(mut words: &'a [&'a str]) -> Option<Self> {
        let mut arguments = Self::default();
        loop {
            match words {
                [] => return Some(arguments),
                ["--no-install", rest @ ..] => {
                    arguments.no_install = true;
                    words = rest;
                }
                ["--skip", name, rest @ ..] if checks::exists(name) => {
                    arguments.skipped.push(name);
                    words = rest;
                }
                ["--only", name, rest @ ..] if checks::exists(name) && arguments.skipped.is_empty() => {
                    arguments.only = Some((name, rest));
                    return Some(arguments);
                }
                _ => return None,
            }
        }
    }

    fn run(&self) -> anyhow::Result<()> {
        match self.only {
            Some((name, rest)) => checks::only(name, rest, !self.no_install),
            None => checks::all(&self.skipped, !self.no_install),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_test_are_understood_or_refused() {
        let parse = |words: &'static [&'static str]| TestArguments::parse(words);
        assert_eq!(parse(&[]), Some(TestArguments::default()));
        let skipped = TestArguments { skipped: vec!["e2e", "kernels"], ..TestArguments::default() };
        assert_eq!(parse(&["--skip", "e2e", "--skip", "kernels"]), Some(skipped));
        let only = ("e2e", ["--test", "lives", "--", "--nocapture"].as_slice());
        let only = TestArguments { no_install: true, only: Some(only), ..TestArguments::default() };
        let words = &["--no-install", "--only", "e2e", "--test", "lives", "--", "--nocapture"];
        assert_eq!(parse(words), Some(only));
        for refused in
            [&["--only", "all"][..], &["--only"], &["--skip"], &["e2e"], &["--skip", "e2e", "--only", "e2e"]]
        {
            assert_eq!(TestArguments::parse(refused), None, "{refused:?}");
        }
    }
}
