//! What can be typed.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

pub(super) use super::{args_diagnose::Diagnose, args_stats::Stats};

use super::{exchange_filters::ExchangeFilters, filters::Filters};
use crate::kernel::{RING_BYTES_DEFAULT, RING_BYTES_MIN};

/// Trace every TCP connection on this host from SYN to TIME_WAIT, with the HTTP requests that it carries.
#[derive(Debug, Parser)]
#[command(name = "tcp-trace", version, arg_required_else_help = true)]
pub(super) struct Cli {
    /// Print more on stderr; -vv also shows the diagnostics of the eBPF programs
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Output", display_order = 1000)]
    pub(super) verbose: u8,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Print every state transition and HTTP exchange as it happens; with a command: on stderr, as it keeps stdout
    Live(Live),
    /// Record a session as JSON Lines
    Record(Record),
    /// Print a recording as `live` would have printed it; needs no privileges
    Show(Show),
    /// Find stuck sockets and failed requests: where, why, and how to fix them; exits with 1 if there are findings
    Diagnose(Box<Diagnose>),
    /// Count requests, errors, percentiles and connections, of this host for a while or of recordings
    Stats(Box<Stats>),
    /// Trace one HTTP request between two demo processes and print its ladder (sequence diagram)
    Demo(Demo),
    /// Report what this kernel and your privileges allow
    Check,
    /// Explain a TCP state, an error, an HTTP status or a term that tcp-trace prints; needs no privileges
    Explain(Explain),
    /// The traced part of `demo`
    #[command(hide = true)]
    DemoPair,
    /// The server of `demo`
    #[command(hide = true)]
    DemoServer,
    /// The client of `demo`
    #[command(hide = true)]
    DemoClient { server: std::net::SocketAddr },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tcp-trace live --port 8080 --comm nginx
  tcp-trace live -- curl http://localhost
  tcp-trace live --format ladder -- curl http://localhost
  tcp-trace live --format jsonl --duration 30s | jq 'select(.type == \"http\")'")]
pub(super) struct Live {
    /// File to write instead of stdout (mode 0600); '-' for stdout
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tracing: Tracing,
    #[command(flatten)]
    pub(super) printing: Printing,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tcp-trace record -o session.jsonl --duration 5m
  tcp-trace record -o session.jsonl --stacks -- ./server
  ssh HOST tcp-trace record -o - | tcp-trace show -")]
pub(super) struct Record {
    /// File to write (mode 0600); '-' for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// At the end, wait up to this long for connections to leave TIME_WAIT, such as 65s
    #[arg(long, value_name = "D", value_parser = duration)]
    pub(super) settle: Option<Duration>,
    #[command(flatten)]
    pub(super) tracing: Tracing,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tcp-trace show session.jsonl --comm nginx
  tcp-trace show session.jsonl --port 8080 --format ladder
  tcp-trace show session.jsonl --group page")]
pub(super) struct Show {
    /// Recording to print; '-' for stdin
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) filters: Filters,
    #[command(flatten)]
    pub(super) exchanges: ExchangeFilters,
    /// Print the HTTP exchanges in groups instead of in a format
    #[arg(long, value_name = "WHAT", value_enum, conflicts_with = "format")]
    pub(super) group: Option<Grouping>,
    #[command(flatten)]
    pub(super) printing: Printing,
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) colour: Colour,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A topic such as TIME_WAIT, ECONNREFUSED or 404, several separated by commas, or words to search for; without
    /// any, lists all topics
    #[arg(value_name = "TOPIC")]
    pub(super) topic: Vec<String>,
    /// Language of the notes; default: from LC_ALL, LC_MESSAGES or LANG
    #[arg(long, value_enum)]
    pub(super) lang: Option<NotesLanguage>,
    #[command(flatten)]
    pub(super) colour: Colour,
}

/// A language of the notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum NotesLanguage {
    /// English
    En,
    /// Simplified Chinese
    Zh,
}

/// How `live` and `show` print.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Printing {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) colour: Colour,
}

/// Whose times of day.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Times {
    /// Print times in UTC, as in files and pipes; on a terminal they are local. JSON Lines always have UTC
    #[arg(long)]
    pub(super) utc: bool,
}

/// Whether in colours.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Colour {
    /// When to use colours; `auto`: on a terminal, unless NO_COLOR is set; never in JSON Lines
    #[arg(long = "color", value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub(super) when: ColorChoice,
}

/// A way to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One line per transition, HTTP exchange and DNS lookup
    Table,
    /// A sequence diagram of each connection, printed when it has ended
    Ladder,
    /// JSON Lines, the recording format; on stdout, where a command's own output then goes to stderr
    Jsonl,
}

/// What exchanges are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Grouping {
    /// A waterfall of each page that a browser or another client loaded
    Page,
}

/// What to trace, and for how long.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub(super) struct Tracing {
    #[command(flatten)]
    pub(super) filters: Filters,
    #[command(flatten)]
    pub(super) exchanges: ExchangeFilters,
    /// Stop after this time, such as 30s or 5m
    #[arg(long, help_heading = "Tracing", value_name = "D", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Size of the ring buffer between kernel and user space: a power of two, such as 64MiB
    #[arg(long, help_heading = "Tracing", value_name = "SIZE", value_parser = ring_size, default_value = "16MiB")]
    pub(super) ring_size: u32,
    /// Record the values of Authorization, Cookie, Set-Cookie and Proxy-Authorization
    #[arg(long, help_heading = "Tracing")]
    pub(super) show_secrets: bool,
    /// Record which code opened each connection and read its EOF, and which thread used it last; for accepted and
    /// existing connections, the code that first used them. In recordings and JSON Lines only
    #[arg(long, help_heading = "Tracing")]
    pub(super) stacks: bool,
    /// Do not read what TLS libraries encrypt and decrypt: no uprobes are attached
    #[arg(long, help_heading = "Tracing")]
    pub(super) no_tls: bool,
    /// Run CMD and trace only it and its children until it ends
    #[arg(last = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let error = || "expected a time such as 500ms, 30s or 5m".to_owned();
    let duration: SignedDuration = text.parse().map_err(|_| error())?;
    Duration::try_from(duration).map_err(|_| error()).and_then(|duration| {
        if duration.is_zero() {
            Err("the duration must be greater than zero".to_owned())
        } else {
            Ok(duration)
        }
    })
}

fn ring_size(text: &str) -> Result<u32, String> {
    const UNITS: [(&str, u32); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (digits, unit) = UNITS
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .unwrap_or((text, 1));
    digits
        .trim_end()
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| bytes.is_power_of_two() && *bytes >= RING_BYTES_MIN)
        .ok_or_else(|| {
            let default = RING_BYTES_DEFAULT >> 20;
            format!("expected a power of two of at least 4KiB, such as 64MiB (default {default}MiB)")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
    }

    fn live(line: &str) -> Live {
        match parse(line).unwrap().verb {
            Verb::Live(live) => live,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_the_command() {
        let live = live("tcp-trace live --format jsonl -- curl -v http://localhost/");
        assert_eq!(live.tracing.command, ["curl", "-v", "http://localhost/"]);
        assert_eq!(live.printing.format, Format::Jsonl);
    }

    #[test]
    fn a_recording_is_shown_with_the_filters_and_formats_of_live() {
        let line = "tcp-trace show - --port 80 --pid 7 --comm curl --addr ::1 --format ladder --color never";
        let Verb::Show(show) = parse(line).unwrap().verb else { panic!("another verb") };
        assert_eq!(show.file, PathBuf::from("-"));
        let filter = show.filters.of_recording().unwrap();
        assert_eq!((filter.port, filter.pid, filter.comm), (vec![80], vec![7], vec!["curl".to_owned()]));
        assert_eq!(filter.addr, ["::1".parse().unwrap()]);
        assert!(!filter.followed);
        assert_eq!(show.printing.format, Format::Ladder);
        assert_eq!(show.printing.colour.when, ColorChoice::Never);
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        for (line, expected) in [
            ("tcp-trace live --port 0", "expected a port number, from 1 to 65535"),
            ("tcp-trace live --port http", "expected a port number"),
            ("tcp-trace live --addr 10.0.0.0/33", "expected an IP address or a network"),
            ("tcp-trace live --comm a-very-long-process-name", "try a-very-long-pro"),
            ("tcp-trace live --netns a,,b", "expected an inode number, a name or a path"),
            ("tcp-trace live --cgroup /a/../b", "a path without '..'"),
            ("tcp-trace live --duration soon", "expected a time such as 500ms"),
            ("tcp-trace live --ring-size 5000", "expected a power of two"),
            ("tcp-trace live --pid x", "expected a process id"),
            ("tcp-trace live --color red", "invalid value 'red' for '--color <WHEN>'"),
            ("tcp-trace show", "<FILE>"),
            (
                "tcp-trace show a --group page --format table",
                "'--group <WHAT>' cannot be used with '--format",
            ),
            ("tcp-trace show a --group process", "[possible values: page]"),
            ("tcp-trace live --group page", "unexpected argument '--group'"),
            ("tcp-trace show a.jsonl --duration 1s", "unexpected argument '--duration'"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(ring_size("4096"), Ok(4096));
        assert_eq!(ring_size("64MiB"), Ok(64 << 20));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
    }
}
