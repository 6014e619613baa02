//! `show`: prints a recording as `live` would have, from a file or a pipe, without privileges.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom, Write},
    os::fd::AsFd as _,
    path::Path,
    process::ExitCode,
};

use tcp_trace_core::selection::Selection;
use tcp_trace_model::record::{
    Record,
    reader::{self, BrokenLine, Ending, Line, ReadError, Reader},
};

use super::{
    CliError,
    args::{Format, Grouping, Show},
    print,
    run::say,
};
use crate::sink::{JsonLines, Sink};

/// Lines that are no records are told one by one up to here; of further ones only the number is.
const BROKEN_TOLD_MAX: u64 = 5;
/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

pub(super) fn run(arguments: &Show) -> Result<ExitCode, CliError> {
    let (name, file) = open(&arguments.file);
    let cannot_read = |error: &dyn std::fmt::Display| CliError::io(format!("cannot read {name}"), error);
    let mut file = file.map_err(|error| cannot_read(&error))?;
    let output = match (arguments.group, arguments.printing.format) {
        (Some(Grouping::Page), _) => Output::Records(print::waterfall(arguments.printing.colour)),
        (None, Format::Jsonl) => Output::Lines(JsonLines::new(Box::new(io::stdout().lock()))),
        (None, Format::Table | Format::Ladder) => Output::Records(print::sink(arguments.printing)),
    };
    let mut selection = Selection::new(arguments.filters.of_recording()?);
    let length = learn(&mut file, &mut selection).map_err(|error| cannot_read(&error))?;
    let mut tell = |line: String| say(format!("{name}: {line}"));
    let mut replay = Replay::new(selection, output, &mut tell);
    match replay.run(file.take(length)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::Read(error)) => Err(cannot_read(&error)),
        // The reader of the output has seen enough.
        Err(Failure::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Failure::Write(error)) => Err(CliError::io(format!("cannot write {}", print::OUTPUT), error)),
    }
}

/// Opens a recording, and says what errors call it; '-' is stdin.
pub(super) fn open(path: &Path) -> (String, io::Result<File>) {
    if path == Path::new("-") {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
        ("standard input".to_owned(), stdin)
    } else {
        (path.display().to_string(), File::open(path))
    }
}

/// Learns which connections are chosen where the recording can be read twice, and says how much of it there is
/// to read: it may still grow.
pub(super) fn learn(file: &mut File, selection: &mut Selection) -> Result<u64, ReadError> {
    if selection.is_all() || !file.metadata()?.is_file() {
        return Ok(u64::MAX);
    }
    let start = file.stream_position()?;
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, &mut *file));
    while let Some(line) = reader.next_line()? {
        if let Line::Record { raw, record } = line {
            selection.learn(raw, &record);
        }
    }
    selection.settle();
    let length = file.stream_position()? - start;
    file.seek(SeekFrom::Start(start))?;
    Ok(length)
}

/// Where the chosen lines go.
enum Output<'a> {
    /// As they are: nothing that a later version added is lost.
    Lines(JsonLines<Box<dyn Write + 'a>>),
    /// To be printed for people.
    Records(Box<dyn Sink + 'a>),
}

impl Output<'_> {
    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::Lines(lines) => lines,
            Self::Records(sink) => sink.as_mut(),
        }
    }
}

/// What breaks off a replay.
#[derive(Debug)]
enum Failure {
    Read(ReadError),
    Write(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// A recording on its way to the output.
struct Replay<'a> {
    selection: Selection,
    output: Output<'a>,
    tell: &'a mut dyn FnMut(String),
    connections: u64,
    http: u64,
    dns: u64,
    broken: u64,
}

impl<'a> Replay<'a> {
    fn new(selection: Selection, output: Output<'a>, tell: &'a mut dyn FnMut(String)) -> Self {
        Self { selection, output, tell, connections: 0, http: 0, dns: 0, broken: 0 }
    }

    fn run(&mut self, input: impl Read) -> Result<(), Failure> {
        let mut reader = Reader::new(BufReader::with_capacity(BUFFER, input));
        let result = self.lines(&mut reader);
        if !matches!(result, Err(Failure::Write(_))) {
            // What could be read is shown.
            self.output.sink().finish()?;
        }
        result?;
        self.tell_what_is_missing(reader.ending());
        Ok(())
    }

    fn lines(&mut self, reader: &mut Reader<BufReader<impl Read>>) -> Result<(), Failure> {
        loop {
            if reader.input().buffer().is_empty() {
                // A pipe may have nothing more for a while.
                self.output.sink().flush()?;
            }
            match reader.next_line().map_err(Failure::Read)? {
                None => return Ok(()),
                Some(Line::Broken(line)) => self.broken(&line),
                Some(Line::Record { raw, record }) => {
                    let Some(held) = self.selection.pass(raw, &record) else { continue };
                    for line in held {
                        // It was a record when it came; it still is.
                        reader::parse(&line).map_or(Ok(()), |record| self.put(&line, record))?;
                    }
                    self.put(raw, record)?;
                }
            }
        }
    }

    fn put(&mut self, raw: &[u8], mut record: Record) -> Result<(), Failure> {
        let sink = match &mut self.output {
            Output::Lines(lines) => return Ok(lines.line(raw)?),
            Output::Records(sink) => sink,
        };
        self.selection.complete(&mut record);
        match &mut record {
            Record::Connection(_) => self.connections += 1,
            Record::Http(_) => self.http += 1,
            Record::Dns(_) => self.dns += 1,
            // Of what is shown, as a session with this filter counts.
            Record::End(end) if !self.selection.is_all() => {
                (end.connections, end.http, end.dns) = (self.connections, self.http, self.dns);
            }
            _ => {}
        }
        Ok(sink.record(&record)?)
    }

    fn broken(&mut self, line: &BrokenLine) {
        self.broken += 1;
        if self.broken <= BROKEN_TOLD_MAX {
            (self.tell)(format!("{line}; it is skipped"));
        }
    }

    fn tell_what_is_missing(&mut self, ending: Ending) {
        match self.broken {
            0 => {}
            1 => (self.tell)("1 line was skipped".to_owned()),
            lines => (self.tell)(format!("{lines} lines were skipped")),
        }
        if self.selection.left_out() > 0 {
            let connections = self.selection.left_out();
            (self.tell)(format!(
                "connections left out: {connections}, whose process or port came too late to be waited for; \
                 from a file, instead of a pipe, all are found"
            ));
        }
        if self.selection.lookups_left_out() > 0 {
            let lookups = self.selection.lookups_left_out();
            (self.tell)(format!(
                "lookups that were not waited for: {lookups}; from a file, instead of a pipe, those that a chosen \
                 connection follows are found"
            ));
        }
        match ending {
            Ending::Complete => {}
            Ending::InLine { number } => (self.tell)(format!(
                "cut off in line {number}: what is before that line is shown, the totals are missing"
            )),
            Ending::WithoutEnd { last } => (self.tell)(format!(
                "no `end` behind line {last}: cut off there, or still being recorded; the totals are missing"
            )),
        }
    }
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
