//! `stats`: figures of this host's traffic or of recordings.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use tcp_trace_core::{prose::Age, stats::Stats};
use tcp_trace_model::record::{Filter, Record};

use super::{
    CliError,
    args_diagnose::us,
    args_stats::{self, StatsFormat},
    output, recorded,
    run::say,
};
use crate::{
    kernel::{Options, RING_BYTES_DEFAULT},
    session::{self, Settings},
    sink::{Sink, StatsTable, stats_csv, stats_json},
};

pub(super) fn run(arguments: &args_stats::Stats, log: bool) -> Result<ExitCode, CliError> {
    let mut stats = Stats::new(arguments.by.dimension());
    match arguments.during {
        Some(duration) => {
            let filter = arguments.exchanges.add_to(arguments.filters.of_host()?);
            traced(&mut stats, filter, duration, !arguments.no_tls, log)?;
        }
        None => {
            let filter = arguments.exchanges.add_to(arguments.filters.of_recording()?);
            let open = "what was open at its end is not counted";
            let mut read = |file| recorded::read(file, &filter, open, |record| stats.record(record));
            arguments.files.iter().try_for_each(|file| read(file))?;
        }
    }
    match write(arguments, &stats) {
        // The reader of the output has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::io(format!("cannot write {}", output::NAME), &error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn traced(
    stats: &mut Stats,
    filter: Filter,
    duration: Duration,
    tls: bool,
    log: bool,
) -> Result<(), CliError> {
    let settings = Settings {
        kernel: Options { ring_bytes: RING_BYTES_DEFAULT, follow_children: false, log, stacks: false, tls },
        filter,
        duration: Some(duration),
        settle: Duration::ZERO,
        // What is counted of a connection is known when TIME_WAIT begins.
        follow_time_wait: false,
        show_secrets: false,
    };
    say(format!("tracing for {}; press Ctrl-C to stop early", Age(us(duration))));
    session::run(settings, None, &mut Collector(stats), None)
        .map_err(|error| CliError::session(error, "the figures"))?;
    Ok(())
}

/// Counts the records of a session.
struct Collector<'a>(&'a mut Stats);

impl Sink for Collector<'_> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        self.0.record(record);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(arguments: &args_stats::Stats, stats: &Stats) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let (order, top) = (arguments.sort.order(), arguments.top);
    let text = match arguments.format {
        StatsFormat::Json => stats_json(stats, order, top),
        StatsFormat::Csv => stats_csv(stats, order, top),
        StatsFormat::Text => StatsTable::new(output::palette(arguments.colour), output::terminal_columns())
            .of(stats, order, top),
    };
    output.write_all(text.as_bytes())?;
    output.flush()
}
