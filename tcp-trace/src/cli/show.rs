//! `show`: prints a recording as `live` would have, from a file or a pipe, without privileges.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use tcp_trace_core::prose::counted;
use tcp_trace_model::record::{
    Record,
    reader::{BrokenLine, Ending},
};

use super::{
    CliError,
    args::{Format, Grouping, Show},
    output::{self, Style},
    run::say,
};
use crate::{
    recording::{Item, RecordingError, Source},
    sink::{Counting, JsonLines, Sink},
};

/// Lines that are no records are reported one by one up to here; of further ones only the number is.
const BROKEN_REPORTED_MAX: u64 = 5;

pub(super) fn run(arguments: &Show) -> Result<ExitCode, CliError> {
    let source =
        Source::open(&arguments.file, arguments.exchanges.add_to(arguments.filters.of_recording()?))?;
    let stdout = || io::stdout().lock();
    let style = || Style::of_stdout(&arguments.printing);
    let output = match (arguments.group, arguments.printing.format) {
        (Some(Grouping::Page), _) => Output::records(style().waterfall()),
        (None, Format::Jsonl) => Output::Lines(JsonLines::new(Box::new(stdout()))),
        (None, Format::Table | Format::Ladder) => Output::records(style().sink(stdout())),
    };
    let mut report = |line: String| say(line);
    match Replay::new(source, output, &mut report).run() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::Read(error)) => Err(error.into()),
        // The reader of the output has seen enough.
        Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Failure::Write(error)) => Err(CliError::io(format!("cannot write {}", output::NAME), error)),
    }
}

/// Where the chosen lines go.
enum Output<'a> {
    /// As they are: nothing that a later version added is lost.
    Lines(JsonLines<Box<dyn Write + 'a>>),
    /// To be printed for people.
    Records(Counting<Box<dyn Sink + 'a>>),
}

impl<'a> Output<'a> {
    fn records(sink: Box<dyn Sink + 'a>) -> Self {
        Self::Records(Counting::new(sink))
    }

    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::Lines(lines) => lines,
            Self::Records(sink) => sink,
        }
    }
}

/// What breaks off a replay.
#[derive(Debug)]
enum Failure {
    Read(RecordingError),
    Write(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// A recording on its way to the output.
struct Replay<'a, R> {
    source: Source<R>,
    output: Output<'a>,
    report: &'a mut dyn FnMut(String),
    broken: u64,
}

impl<'a, R: Read> Replay<'a, R> {
    fn new(source: Source<R>, output: Output<'a>, report: &'a mut dyn FnMut(String)) -> Self {
        Self { source, output, report, broken: 0 }
    }

    fn run(&mut self) -> Result<(), Failure> {
        let result = self.lines();
        if !matches!(result, Err(Failure::Write(_))) {
            // What could be read is shown.
            self.output.sink().finish()?;
        }
        result?;
        self.report_missing();
        Ok(())
    }

    fn lines(&mut self) -> Result<(), Failure> {
        loop {
            if self.source.may_wait() {
                // A pipe may have nothing more for a while.
                self.output.sink().flush()?;
            }
            let Some(item) = self.source.next_item().map_err(Failure::Read)? else { return Ok(()) };
            match (item, &mut self.output) {
                (Item::Excluded, _) => {}
                (Item::Broken(line), _) => self.broken(&line),
                (Item::Record { raw, .. }, Output::Lines(lines)) => lines.line(raw)?,
                (Item::Record { mut record, .. }, Output::Records(sink)) => {
                    self.source.selection().complete(&mut record);
                    if let Record::End(end) = &mut record
                        && !self.source.selection().is_all()
                    {
                        // Of what is shown, as a session with this filter counts.
                        let counts = sink.counts();
                        (end.connections, end.http, end.dns) = (counts.connections, counts.http, counts.dns);
                        end.protocols.clone_from(&counts.protocols);
                    }
                    sink.record(&record)?;
                }
            }
        }
    }

    fn broken(&mut self, line: &BrokenLine) {
        self.broken += 1;
        if self.broken <= BROKEN_REPORTED_MAX {
            self.report(format!("{line}; skipped"));
        }
    }

    fn report(&mut self, line: String) {
        (self.report)(format!("{}: {line}", self.source.name()));
    }

    fn report_missing(&mut self) {
        match self.broken {
            0 => {}
            1 => self.report("1 line was skipped".to_owned()),
            lines => self.report(format!("{lines} lines were skipped")),
        }
        let connections = self.source.selection().left_out();
        if connections > 0 {
            self.report(format!(
                "left out {} whose process or port became known too late; reading from a file instead of a pipe \
                 finds them",
                counted(connections, "connection")
            ));
        }
        let lookups = self.source.selection().lookups_left_out();
        if lookups > 0 {
            self.report(format!(
                "left out {} that selected connections may have used; reading from a file instead of a pipe finds \
                 them",
                counted(lookups, "lookup")
            ));
        }
        match self.source.ending() {
            Ending::Complete => {}
            Ending::InLine { number } => self.report(format!(
                "cut off in line {number}: everything before it is shown, the totals are missing"
            )),
            Ending::WithoutEnd { last } => self.report(format!(
                "no `end` after line {last}: cut off there or still being recorded; the totals are missing"
            )),
        }
    }
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
