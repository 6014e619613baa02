//! `diagnose`: says which sockets are stuck, in whose code, and what to do.

use std::{
    io::{self, BufReader, Read as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use tcp_trace_core::{
    diagnosis::{Facts, History, Snapshot, Verdict, judge, recorded},
    prose::Age,
    selection::Selection,
};
use tcp_trace_model::record::{
    Filter, Record,
    reader::{Ending, Line, Reader, parse},
};

use super::{
    CliError,
    args::Diagnose,
    args_diagnose::{self, DiagnoseFormat, us},
    print,
    run::say,
    show, unseen,
};
use crate::{
    inspect,
    kernel::{Clock, Options, RING_BYTES_DEFAULT},
    session::{self, Settings},
    sink::{Findings, JsonLines, Sink},
};

/// Exit code when there are findings.
const FINDINGS: u8 = 1;
/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

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
        (None, Some(duration)) => traced(filters.of_host()?, duration, log)?,
        (None, None) => Seen { now: now(&filters.of_host()?)?, before: None, history: History::default() },
    };
    let facts = Facts::new(&seen.now, seen.before.as_ref(), &seen.history);
    unseen::sentences(&facts).into_iter().for_each(say);
    let verdict = judge(&facts, &args_diagnose::thresholds(arguments));
    match write(arguments, &seen, &verdict) {
        // The reader of the output has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::io(format!("cannot write {}", print::OUTPUT), &error))
        }
        _ if verdict.findings.is_empty() => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::from(FINDINGS)),
    }
}

fn now(filter: &Filter) -> Result<Snapshot, CliError> {
    let clock = Clock::new().map_err(|error| CliError::io("cannot read the time", error))?;
    inspect::snapshot(clock, filter).map_err(CliError::diag)
}

/// A snapshot, a trace of this duration, and another snapshot.
fn traced(filter: Filter, duration: Duration, log: bool) -> Result<Seen, CliError> {
    let before = now(&filter)?;
    let settings = Settings {
        kernel: Options { ring_bytes: RING_BYTES_DEFAULT, follow_children: false, log, stacks: true },
        filter: filter.clone(),
        duration: Some(duration),
        settle: Duration::ZERO,
        show_secrets: false,
    };
    say(format!("tracing for {}; Ctrl-C ends it and judges", Age(us(duration))));
    let mut collector = Collector(History::default());
    session::run(settings, None, &mut collector, "the history")?;
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
    let (name, file) = show::open(path);
    let cannot_read = |error: &dyn std::fmt::Display| CliError::io(format!("cannot read {name}"), error);
    let mut file = file.map_err(|error| cannot_read(&error))?;
    let mut selection = Selection::new(filter.clone());
    let length = show::learn(&mut file, &mut selection).map_err(|error| cannot_read(&error))?;
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, file.take(length)));
    let (mut history, mut broken) = (History::default(), 0u64);
    history.filtered(filter);
    while let Some(line) = reader.next_line().map_err(|error| cannot_read(&error))? {
        match line {
            Line::Broken(_) => broken += 1,
            Line::Record { raw, record } => {
                let Some(held) = selection.pass(raw, &record) else { continue };
                // They were records when they came; they still are.
                held.iter().filter_map(|line| parse(line).ok()).for_each(|record| history.record(&record));
                history.record(&record);
            }
        }
    }
    if broken > 0 {
        say(format!("{name}: lines that are no records and were skipped: {broken}"));
    }
    if reader.ending() != Ending::Complete {
        say(format!(
            "{name}: it was cut off or is still being recorded: connections that were open there are not judged"
        ));
    }
    let mut now = recorded::snapshot(&history);
    now.choose(filter);
    Ok(Seen { now, before: None, history })
}

fn write(arguments: &Diagnose, seen: &Seen, verdict: &Verdict) -> io::Result<()> {
    let output = io::stdout().lock();
    let records = verdict.findings.iter().map(|finding| Record::Finding(Box::new(finding.clone())));
    match arguments.format {
        DiagnoseFormat::Json => {
            let mut lines = JsonLines::new(output);
            records.into_iter().try_for_each(|record| lines.record(&record))?;
            lines.finish()
        }
        DiagnoseFormat::Text => {
            let mut text = Findings::new(output, print::palette(arguments.colour));
            records.into_iter().try_for_each(|record| text.record(&record))?;
            text.line(&args_diagnose::totals(&seen.now, &seen.history, verdict));
            text.finish()
        }
    }
}
