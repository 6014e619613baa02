//! What can be typed behind `diagnose`, and what its last line says.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tcp_trace_core::{
    diagnosis::{History, Report, Snapshot, Thresholds},
    prose::{Age, counted},
};

use super::{
    args::{Colour, duration},
    filters::Filters,
};

/// Which sockets to judge, by what, and how to print.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tcp-trace diagnose
  tcp-trace diagnose --comm nginx --for 30s
  tcp-trace diagnose --from session.jsonl --slow 500ms")]
pub(super) struct Diagnose {
    #[command(flatten)]
    pub(super) filters: Filters,
    /// Also trace for this long, such as 30s: finds failed connects and HTTP errors, and when they happened; needs root
    #[arg(long = "for", help_heading = "What to examine", value_name = "D", value_parser = duration, conflicts_with = "from")]
    pub(super) during: Option<Duration>,
    /// With --for: do not read what TLS libraries encrypt and decrypt
    #[arg(long, help_heading = "What to examine", requires = "during")]
    pub(super) no_tls: bool,
    /// Examine a recording instead of this host; '-' for stdin
    #[arg(long, help_heading = "What to examine", value_name = "FILE")]
    pub(super) from: Option<PathBuf>,
    /// How long a socket may wait for a process: in CLOSE_WAIT or FIN_WAIT2, with unread data, or not accepted
    #[arg(long, help_heading = "Limits", value_name = "D", value_parser = duration, default_value = "60s")]
    min_age: Duration,
    /// How long retransmits, probes or a closed window may last without progress
    #[arg(long, help_heading = "Limits", value_name = "D", value_parser = duration, default_value = "10s")]
    min_stall: Duration,
    /// How long an HTTP exchange may take; at least 100ms
    #[arg(long, help_heading = "Limits", value_name = "D", value_parser = duration, default_value = "1s")]
    slow: Duration,
    /// Report a slow server from this many slow exchanges (per server and path)
    #[arg(long, help_heading = "Limits", value_name = "N", default_value_t = Thresholds::DEFAULT.slow_count)]
    slow_count: u64,
    /// Report responses 408, 502, 503 and 504 from this many (per server and cause)
    #[arg(long, help_heading = "Limits", value_name = "N", default_value_t = Thresholds::DEFAULT.gateway_errors)]
    gateway_errors: u64,
    /// Report half-open connections from this many with an unanswered SYN+ACK (per listener)
    #[arg(long, help_heading = "Limits", value_name = "N", default_value_t = Thresholds::DEFAULT.half_open)]
    half_open: u64,
    /// Report sockets in TIME_WAIT, or orphans in FIN_WAIT2, from this many (per service)
    #[arg(long, help_heading = "Limits", value_name = "N", default_value_t = Thresholds::DEFAULT.time_wait)]
    time_wait: u64,
    /// Report ephemeral ports when this percentage is in use towards one destination
    #[arg(long, help_heading = "Limits", value_name = "PERCENT", default_value_t = Thresholds::DEFAULT.ports_percent,
          value_parser = clap::value_parser!(u64).range(1..=100))]
    ports: u64,
    /// Rate a finding as critical from this many sockets with one cause
    #[arg(long, help_heading = "Limits", value_name = "N", default_value_t = Thresholds::DEFAULT.many)]
    many: u64,
    /// How to print
    #[arg(long, help_heading = "Output", value_enum, default_value_t = DiagnoseFormat::Text)]
    pub(super) format: DiagnoseFormat,
    #[command(flatten)]
    pub(super) colour: Colour,
}

/// A way to print findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DiagnoseFormat {
    /// Text for people
    Text,
    /// One `finding` record per line
    Json,
}

/// Microseconds of a time that was typed.
pub(super) fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The limits that were typed.
pub(super) fn thresholds(arguments: &Diagnose) -> Thresholds {
    Thresholds {
        min_age_us: us(arguments.min_age),
        min_stall_us: us(arguments.min_stall),
        slow_us: us(arguments.slow),
        slow_count: arguments.slow_count,
        gateway_errors: arguments.gateway_errors,
        half_open: arguments.half_open,
        time_wait: arguments.time_wait,
        ports_percent: arguments.ports,
        many: arguments.many,
    }
}

/// `2 findings in 812 sockets of 3 network namespaces.`, and what was passed over.
pub(super) fn totals(now: &Snapshot, history: &History, report: &Report) -> String {
    let findings = match report.findings.len() {
        0 => "No findings".to_owned(),
        count => counted(count, "finding"),
    };
    let sockets = now.sockets.iter().filter(|socket| socket.is_chosen).count();
    let mut judged = Vec::new();
    if sockets > 0 || history.from.is_none() {
        judged.push(match now.networks.len() {
            0 | 1 => counted(sockets, "socket"),
            count => format!("{} of {count} network namespaces", counted(sockets, "socket")),
        });
    }
    if let (Some(from), Some(to)) = (history.from, history.to) {
        let ended = counted(history.ended_connections(), "connection");
        judged.push(format!("{ended} that ended within {}", Age(to.micros_since(from))));
    }
    let mut text = format!("{findings} in {}", judged.join(" and "));
    text += ".";
    for (state, count) in &report.too_young {
        text += &format!(" {} in {state} skipped: younger than --min-age.", counted(*count, "socket"));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tcp_trace_model::time::Time;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        diagnose: Diagnose,
    }

    #[test]
    fn the_defaults_are_those_of_the_thresholds() {
        let typed = Typed::try_parse_from(["diagnose"]).unwrap();
        assert_eq!(thresholds(&typed.diagnose), Thresholds::DEFAULT);
    }

    #[test]
    fn the_last_line_says_what_was_judged() {
        let (now, report) = (Snapshot::default(), Report::default());
        assert_eq!(totals(&now, &History::default(), &report), "No findings in 0 sockets.");
        let mut history = History::default();
        (history.from, history.to) = (Some(Time(0)), Some(Time(2_000_000_000)));
        let expected = "No findings in 0 connections that ended within 2 s.";
        assert_eq!(totals(&now, &history, &report), expected);
    }

    #[test]
    fn a_recording_is_not_traced() {
        let error = Typed::try_parse_from(["diagnose", "--for", "1s", "--from", "x"]).unwrap_err();
        assert!(error.to_string().contains("cannot be used with"), "{error}");
    }
}
