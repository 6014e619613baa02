//! Standard output: in which format, and whether in colours.

use std::{
    env,
    ffi::OsStr,
    io::{self, IsTerminal as _, Write},
};

use clap::ColorChoice;
use jiff::tz::TimeZone;
use rustix::termios::tcgetwinsize;
use tcp_trace_core::prose::Palette;

use super::args::{Colour, Format, Printing};
use crate::sink::{COLUMNS_DEFAULT, JsonLines, Ladder, Sink, Table, Waterfall};

/// How errors call it.
pub(super) const NAME: &str = "standard output";

/// What prints records to `output`, which is standard output or leads there.
pub(super) fn sink<'a>(printing: Printing, output: impl Write + 'a) -> Box<dyn Sink + 'a> {
    let palette = palette(printing.colour);
    match printing.format {
        Format::Table => Box::new(Table::new(output, TimeZone::system()).painted(palette)),
        Format::Ladder => Box::new(Ladder::new(output).painted(palette)),
        Format::Jsonl => Box::new(JsonLines::new(output)),
    }
}

/// What prints the pages of a recording there.
pub(super) fn waterfall(colour: Colour) -> Box<dyn Sink> {
    Box::new(Waterfall::new(io::stdout().lock(), TimeZone::system(), columns()).painted(palette(colour)))
}

/// Columns of the terminal. `COLUMNS` counts more, for what is piped into a pager.
fn columns() -> usize {
    let typed = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || Some(usize::from(tcgetwinsize(io::stdout()).ok()?.ws_col));
    typed.or_else(terminal).filter(|columns| *columns > 0).unwrap_or(COLUMNS_DEFAULT)
}

/// The colours chosen on the command line.
pub(super) fn palette(colour: Colour) -> Palette {
    let is_terminal = io::stdout().is_terminal();
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
}
