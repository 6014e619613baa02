//! Where records are printed: to which stream or file, in which format, in whose time, and whether in colours.

use std::{
    env,
    ffi::OsStr,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    path::Path,
};

use clap::ColorChoice;
use jiff::tz::TimeZone;
use rustix::termios::tcgetwinsize;
use tcp_trace_core::prose::Palette;

use super::{
    CliError,
    args::{Colour, Format, Printing},
    fresh_line::FreshLine,
    output_file::OutputFile,
};
use crate::sink::{COLUMNS_DEFAULT, JsonLines, Ladder, Sink, Table, Waterfall};

/// How errors call standard output.
pub(super) const NAME: &str = "standard output";

/// Where `live` and `record` write.
pub(super) enum Output {
    Stdout,
    /// The same as a command's own.
    Stderr,
    /// A file, and its name.
    File(OutputFile, String),
}

impl Output {
    /// A command that is followed keeps standard output: people's formats then go to standard error. JSON Lines are for
    /// another program: they have standard output, unless a file is named.
    pub(super) fn new(file: Option<&Path>, format: Format, has_command: bool) -> Result<Self, CliError> {
        match file {
            Some(path) if path == Path::new("-") => Ok(Self::Stdout),
            Some(path) => {
                let name = path.display().to_string();
                match OutputFile::open(path) {
                    Ok(file) => Ok(Self::File(file, name)),
                    Err(error) => Err(CliError::io(format!("cannot write {name}"), &error)),
                }
            }
            None if has_command && format != Format::Jsonl => Ok(Self::Stderr),
            None => Ok(Self::Stdout),
        }
    }

    /// How errors call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdout => NAME.to_owned(),
            Self::Stderr => "standard error".to_owned(),
            Self::File(_, name) => name.clone(),
        }
    }

    /// Whether a command must not write to standard output, because what is printed there would be mixed with it.
    pub(super) fn needs_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// How to print there.
    pub(super) fn style(&self, printing: &Printing) -> Style {
        match self {
            Self::Stdout => Style::new(printing, &io::stdout()),
            Self::Stderr => Style::new(printing, &io::stderr()),
            Self::File(file, _) => Style::new(printing, file.file()),
        }
    }

    /// What is written there. With a command whose output is on the same terminal, each piece begins a line.
    pub(super) fn writer(self) -> Box<dyn Write + Send> {
        match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::Stderr if io::stderr().is_terminal() => Box::new(FreshLine::new(io::stderr())),
            Self::Stderr => Box::new(io::stderr()),
            Self::File(file, _) => Box::new(file),
        }
    }
}

/// How to print, where it has been decided where.
#[derive(Clone, Debug)]
pub(super) struct Style {
    format: Format,
    palette: Palette,
    zone: TimeZone,
}

impl Style {
    fn new(printing: &Printing, stream: &(impl AsFd + IsTerminal)) -> Self {
        let is_terminal = stream.is_terminal();
        Self {
            format: printing.format,
            palette: painted(printing.colour, is_terminal),
            zone: zone(printing.times.utc, is_terminal),
        }
    }

    /// How to print to standard output.
    pub(super) fn of_stdout(printing: &Printing) -> Self {
        Self::new(printing, &io::stdout())
    }

    /// What prints records to `output`, in one piece at the end where a format draws connections.
    pub(super) fn sink<'a>(self, output: impl Write + 'a) -> Box<dyn Sink + 'a> {
        match self.format {
            Format::Table => Box::new(Table::new(output, self.zone).painted(self.palette)),
            Format::Ladder => Box::new(self.ladder(output)),
            Format::Jsonl => Box::new(JsonLines::new(output)),
        }
    }

    /// The same while things happen: a connection is drawn when it has ended.
    pub(super) fn live_sink<'a>(self, output: impl Write + 'a) -> Box<dyn Sink + 'a> {
        match self.format {
            Format::Ladder => Box::new(self.ladder(output).as_they_end()),
            Format::Table | Format::Jsonl => self.sink(output),
        }
    }

    /// What draws connections.
    pub(super) fn ladder<W: Write>(self, output: W) -> Ladder<W> {
        Ladder::new(output, self.zone).painted(self.palette)
    }

    /// What prints the pages of a recording to standard output.
    pub(super) fn waterfall(self) -> Box<dyn Sink> {
        Box::new(
            Waterfall::new(io::stdout().lock(), self.zone, terminal_columns().unwrap_or(COLUMNS_DEFAULT))
                .painted(self.palette),
        )
    }
}

/// People at a terminal live by their own clock. What is kept may be read elsewhere.
fn zone(utc: bool, is_terminal: bool) -> TimeZone {
    if utc || !is_terminal { TimeZone::UTC } else { TimeZone::system() }
}

/// Columns of the terminal that standard output is, if it is one. `COLUMNS` counts more, for what is piped into a pager.
pub(super) fn terminal_columns() -> Option<usize> {
    let typed = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || Some(usize::from(tcgetwinsize(io::stdout()).ok()?.ws_col));
    typed.or_else(terminal).filter(|columns| *columns > 0)
}

/// The colours of standard output that were chosen on the command line.
pub(super) fn palette(colour: Colour) -> Palette {
    painted(colour, io::stdout().is_terminal())
}

fn painted(colour: Colour, is_terminal: bool) -> Palette {
    let (no_color, term) = (env::var_os("NO_COLOR"), env::var_os("TERM"));
    if is_coloured(colour.when, is_terminal, no_color.as_deref(), term.as_deref()) {
        Palette::COLOURED
    } else {
        Palette::PLAIN
    }
}

/// An empty `NO_COLOR` counts as none (https://no-color.org). What was typed counts more than both variables.
fn is_coloured(when: ColorChoice, is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    match when {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            is_terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_user_does_not_refuse_them() {
        use ColorChoice::{Always, Auto, Never};
        for (when, is_terminal, no_color, term, expected) in [
            (Auto, true, None, Some("xterm"), true),
            (Auto, true, Some(""), None, true),
            (Auto, true, Some("1"), Some("xterm"), false),
            (Auto, true, None, Some("dumb"), false),
            (Auto, false, None, Some("xterm"), false),
            (Always, false, Some("1"), Some("dumb"), true),
            (Never, true, None, Some("xterm"), false),
        ] {
            let (no_color, term) = (no_color.map(OsStr::new), term.map(OsStr::new));
            let is = is_coloured(when, is_terminal, no_color, term);
            assert_eq!(is, expected, "{when:?} {is_terminal} {no_color:?} {term:?}");
        }
    }

    #[test]
    fn a_command_keeps_standard_output_unless_it_is_for_another_program() {
        let of = |file: Option<&str>, format, has_command| {
            Output::new(file.map(Path::new), format, has_command).unwrap()
        };
        for (file, format, has_command, expected) in [
            (None, Format::Table, false, NAME),
            (None, Format::Ladder, false, NAME),
            (None, Format::Table, true, "standard error"),
            (None, Format::Ladder, true, "standard error"),
            (None, Format::Jsonl, true, NAME),
            (Some("-"), Format::Table, true, NAME),
            (Some("/dev/null"), Format::Table, true, "/dev/null"),
        ] {
            let output = of(file, format, has_command);
            assert_eq!(output.name(), expected, "{file:?} {format:?} {has_command}");
            assert_eq!(output.needs_stdout(), expected == NAME);
        }
    }

    #[test]
    fn local_times_are_for_terminals() {
        assert_eq!((zone(false, false), zone(true, true)), (TimeZone::UTC, TimeZone::UTC));
        assert_eq!(zone(false, true), TimeZone::system());
    }
}
