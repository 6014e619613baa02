//! Begins a line of its own on a terminal that another program writes to as well.

use std::{
    io::{self, Write},
    os::fd::AsFd,
};

use rustix::termios::tcgetwinsize;

/// Columns of a terminal that does not know how many it has.
const COLUMNS: usize = 80;

/// A terminal on which a command may have left the cursor in the middle of a line: what is written between two flushes
/// begins at the beginning of one.
///
/// Nothing says where the cursor is. A line's width of spaces ends in the next line, unless the cursor was in the first
/// column: there it fills that line, and terminals wrap only when more comes. A carriage return then leads to the beginning
/// of an empty line in both cases. Shells do so before their prompt.
pub(super) struct FreshLine<W> {
    output: W,
    text: Vec<u8>,
}

impl<W: Write + AsFd> FreshLine<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, text: Vec::new() }
    }
}

/// What leads to the beginning of a line of so many columns.
fn leading(columns: usize) -> String {
    format!("{}\r", " ".repeat(columns))
}

impl<W: Write + AsFd> Write for FreshLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.is_empty() {
            let columns = tcgetwinsize(&self.output).map_or(0, |size| usize::from(size.ws_col));
            self.text.extend(leading(if columns > 0 { columns } else { COLUMNS }).as_bytes());
        }
        self.text.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(&self.text)?;
        self.text.clear();
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal of five columns shows: it wraps when a character comes for which there is no room.
    fn shown(text: &str) -> Vec<String> {
        let (mut lines, mut column) = (vec![[' '; 5]], 0);
        for character in text.chars() {
            match character {
                '\r' => column = 0,
                '\n' => {
                    lines.push([' '; 5]);
                    column = 0;
                }
                _ => {
                    if column == 5 {
                        lines.push([' '; 5]);
                        column = 0;
                    }
                    let last = lines.len() - 1;
                    lines[last][column] = character;
                    column += 1;
                }
            }
        }
        lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    #[test]
    fn a_line_is_begun_wherever_the_cursor_is() {
        for (before, expected) in [
            ("", &["x"][..]),
            ("a\n", &["a", "x"]),
            ("a", &["a", "x"]),
            ("abcd", &["abcd", "x"]),
            ("abcde", &["abcde", "x"]),
            ("abcdef", &["abcde", "f", "x"]),
            // A progress bar that returned to its beginning.
            ("50%\r", &["x"]),
        ] {
            assert_eq!(shown(&format!("{before}{}x", leading(5))), expected, "{before:?}");
        }
    }
}
