//! From the arguments to the exit code.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;

use super::{
    CliError,
    args::{Cli, Verb},
    check, demo, diagnose, explain, live, record, show, stats, usage_error,
};

/// Runs the command line `arguments`, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error)
            if error.use_stderr()
                && error.kind() != clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            return failed(&CliError::usage(format!("{}; see --help", usage_error::in_one_line(&error))));
        }
        // Help and version.
        Err(error) => error.exit(),
    };
    start_logging(cli.verbose);
    let log = cli.verbose >= 2;
    let result = match cli.verb {
        Verb::Live(arguments) => live::run(&arguments, log),
        Verb::Record(arguments) => record::run(arguments, log),
        Verb::Show(arguments) => show::run(&arguments),
        Verb::Diagnose(arguments) => diagnose::run(&arguments, log),
        Verb::Stats(arguments) => stats::run(&arguments, log),
        Verb::Demo(arguments) => demo::run(&arguments, log),
        Verb::Check => Ok(check::run()),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::DemoPair => demo::pair(),
        Verb::DemoServer => demo::server(),
        Verb::DemoClient { server } => demo::client(server),
    };
    result.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &CliError) -> ExitCode {
    say(error);
    error.exit_code()
}

/// Prints a line on stderr. If that fails, there is nothing to be done.
pub(super) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "tcp-trace: {line}");
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    // A logger that is already there is a test's; it may stay.
    let _ = env_logger::Builder::new()
        .filter_level(log::LevelFilter::Warn)
        .filter_module("tcp_trace", level)
        .format(|line, record| writeln!(line, "tcp-trace: {}", record.args()))
        .try_init();
}
