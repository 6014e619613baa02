//! `diagnose`: says which sockets are stuck, in whose code, and what to do.

use std::{io, path::Path, process::ExitCode, time::Duration};

use tcp_trace_core::{
    diagnosis::{Facts, History, Report, Snapshot, judge, recorded},
    prose::Age,
};
use tcp_trace_model::record::{Filter, Record};

use super::{
    CliError,
    args::Diagnose,
    args_diagnose::{self, DiagnoseFormat, us},
    coverage, output,
    run::say,
};
use crate::{
    inspect,
    kernel::{Capability, Clock, Options, RING_BYTES_DEFAULT, effective_capabilities},
    session::{self, Settings},
    sink::{Findings, JsonLines, Sink},
};

/// Exit code when there are findings.
const FINDINGS: u8 = 1;

/// What is judged.
struct Seen {
    now: Snapshot,
    before: Option<Snapshot>,
    history: History,
}

pub(super) fn run(arguments: &Diagnose, log: bool) -> Result<ExitCode, CliError> {
    let filters = &arguments.filters;
    let seen = match (&arguments.from, arguments.during) {
        (Some(file), _) => recording(file, &filters.of_recording()?)?,
        (None, Some(duration)) => traced(filters.of_host()?, duration, !arguments.no_tls, log)?,
        (None, None) => Seen { now: now(&filters.of_host()?)?, before: None, history: History::default() },
    };
    let facts = Facts::new(&seen.now, seen.before.as_ref(), &seen.history);
    let effective = effective_capabilities().unwrap_or_default();
    coverage::sentences(&facts, Capability::PTRACE.is_in(effective)).into_iter().for_each(say);
    let report = judge(&facts, &args_diagnose::thresholds(arguments));
    match write(arguments, &seen, &report) {
        // The reader of the output has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::io(format!("cannot write {}", output::NAME), &error))
        }
        _ if report.findings.is_empty() => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::from(FINDINGS)),
    }
}

fn now(filter: &Filter) -> Result<Snapshot, CliError> {
    let clock = Clock::new().map_err(|error| CliError::io("cannot read the time", error))?;
    inspect::snapshot(clock, filter).map_err(CliError::diag)
}

/// A snapshot, a trace of this duration, and another snapshot.
fn traced(filter: Filter, duration: Duration, tls: bool, log: bool) -> Result<Seen, CliError> {
    let before = now(&filter)?;
    let settings = Settings {
        kernel: Options { ring_bytes: RING_BYTES_DEFAULT, follow_children: false, log, stacks: true, tls },
        filter: filter.clone(),
        duration: Some(duration),
        settle: Duration::ZERO,
        follow_time_wait: true,
        show_secrets: false,
    };
    say(format!("tracing for {}; press Ctrl-C to stop early", Age(us(duration))));
    let mut collector = Collector(History::default());
    session::run(settings, None, &mut collector, None)
        .map_err(|error| CliError::session(error, "the history"))?;
    Ok(Seen { now: now(&filter)?, before: Some(before), history: collector.0 })
}

/// Feeds the history of a session.
struct Collector(History);

impl Sink for Collector {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        self.0.record(record);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a recording says, and the sockets that are open at its end.
fn recording(path: &Path, filter: &Filter) -> Result<Seen, CliError> {
    let mut history = History::default();
    history.filtered(filter);
    let open = "connections that were open at its end are not examined";
    super::recorded::read(path, filter, open, |record| history.record(record))?;
    let mut now = recorded::snapshot(&history);
    now.choose(filter);
    Ok(Seen { now, before: None, history })
}

fn write(arguments: &Diagnose, seen: &Seen, report: &Report) -> io::Result<()> {
    let output = io::stdout().lock();
    let records = report.findings.iter().map(|finding| Record::Finding(Box::new(finding.clone())));
    match arguments.format {
        DiagnoseFormat::Json => {
            let mut lines = JsonLines::new(output);
            records.into_iter().try_for_each(|record| lines.record(&record))?;
            lines.finish()
        }
        DiagnoseFormat::Text => {
            let mut text =
                Findings::new(output, output::palette(arguments.colour), output::terminal_columns());
            records.into_iter().try_for_each(|record| text.record(&record))?;
            text.line(&args_diagnose::totals(&seen.now, &seen.history, report));
            text.finish()
        }
    }
}
