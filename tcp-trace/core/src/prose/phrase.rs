//! Text whose words have tones and whose width on a terminal is known.

use std::fmt;

use super::{Palette, wrap::width};

/// What a word is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// A state of a connection.
    State,
    /// Times, which are on every line.
    Aside,
    /// What may be wrong.
    Warning,
    /// What failed or was lost.
    Failure,
}

/// Pieces of text, each in a tone. Its `Display` is the text alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrase(Vec<(Tone, String)>);

impl Phrase {
    /// One piece, in this tone.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self(vec![(tone, text.into())])
    }

    /// One piece in the plain tone.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(Tone::Plain, text)
    }

    /// With `text`, which may be empty, behind it.
    pub fn and(mut self, tone: Tone, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.0.push((tone, text));
        }
        self
    }

    /// With another phrase behind it.
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Columns on a terminal.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| width(text)).sum()
    }

    /// At most `room` columns; the last is `…` when there were more.
    pub fn cut(self, room: usize) -> Self {
        if self.width() <= room {
            return self;
        }
        let mut kept = Vec::new();
        let mut left = room;
        for (tone, text) in self.0 {
            let columns = width(&text);
            // What is left has to hold the `…` too.
            if columns >= left {
                kept.push((tone, shortened(&text, left)));
                break;
            }
            left -= columns;
            kept.push((tone, text));
        }
        Self(kept)
    }

    /// In lines of at most `room` columns, broken behind a semicolon where there is one, else between words. Further
    /// lines begin behind `margin` spaces.
    pub fn folded(self, room: usize, margin: usize) -> Self {
        if self.width() <= room {
            return self;
        }
        let text = self.to_string();
        let (mut breaks, mut start, mut indent) = (Vec::new(), 0, 0);
        while indent + width(&text[start..]) > room {
            let line = &text[start..];
            // A label in the first line is as wide as the margin.
            let first = if start == 0 { margin } else { 0 };
            let fits = |at: usize| indent + width(&line[..at]) <= room;
            let spaces = || {
                let all = line.match_indices(' ').map(|(at, _)| at);
                all.skip_while(|at| *at <= first).take_while(|at| fits(*at))
            };
            let Some(at) = spaces().filter(|at| line[..*at].ends_with(';')).last().or(spaces().last()) else {
                break;
            };
            breaks.push(start + at);
            start += at + 1;
            indent = margin;
        }
        self.broken_at(&breaks, margin)
    }

    /// With the spaces at these places turned into line breaks.
    fn broken_at(self, breaks: &[usize], margin: usize) -> Self {
        let mut start = 0;
        let pieces = self.0.into_iter().map(|(tone, text)| {
            let mut broken = String::with_capacity(text.len());
            for (at, character) in text.char_indices() {
                if breaks.contains(&(start + at)) {
                    broken.push('\n');
                    broken.push_str(&" ".repeat(margin));
                } else {
                    broken.push(character);
                }
            }
            start += text.len();
            (tone, broken)
        });
        Self(pieces.collect())
    }

    /// In colours.
    pub fn painted(&self, palette: &Palette) -> impl fmt::Display {
        fmt::from_fn(|f| {
            self.0.iter().try_for_each(|(tone, text)| {
                let style = palette.style(*tone);
                write!(f, "{style}{text}{style:#}")
            })
        })
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(_, text)| f.write_str(text))
    }
}

/// With spaces behind it, in at least `columns` columns.
pub fn padded(text: &str, columns: usize) -> String {
    let spaces = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(spaces))
}

/// At most `room` columns of a text; the last is `…` when there were more.
pub fn cut(text: &str, room: usize) -> String {
    if width(text) <= room { text.to_owned() } else { shortened(text, room) }
}

/// As much of a text as leaves a column for `…`, with that.
fn shortened(text: &str, room: usize) -> String {
    let mut kept: String = text.chars().take(room).collect();
    while width(&kept) >= room && kept.pop().is_some() {}
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase() -> Phrase {
        Phrase::plain("reset ").and(Tone::Failure, "by the server").and(Tone::Aside, " after 1.50 ms")
    }

    #[test]
    fn without_colours_it_is_the_text_alone() {
        assert_eq!(phrase().painted(&Palette::PLAIN).to_string(), "reset by the server after 1.50 ms");
        assert_eq!(phrase().to_string(), "reset by the server after 1.50 ms");
    }

    #[test]
    fn colours_end_where_their_word_ends() {
        assert_eq!(
            phrase().painted(&Palette::COLOURED).to_string(),
            "reset \u{1b}[31mby the server\u{1b}[0m\u{1b}[2m after 1.50 ms\u{1b}[0m"
        );
    }

    #[test]
    fn widths_are_columns() {
        for (text, columns) in [("curl", 4), ("größe", 5), ("e\u{301}", 1), ("日本", 4), ("…", 1), ("│─▶", 3)]
        {
            assert_eq!(Phrase::plain(text).width(), columns, "{text}");
        }
        assert_eq!(padded("日本", 6), "日本  ");
        assert_eq!(padded("curl", 2), "curl");
    }

    #[test]
    fn what_is_cut_ends_in_dots_and_fits() {
        for (room, expected) in [
            (33, "reset by the server after 1.50 ms"),
            (32, "reset by the server after 1.50 …"),
            (19, "reset by the serve…"),
            (6, "reset…"),
            (1, "…"),
        ] {
            let cut = phrase().cut(room);
            assert_eq!((cut.to_string().as_str(), cut.width()), (expected, room));
        }
        // A wide character is not halved.
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
    }

    #[test]
    fn long_lines_are_folded_at_semicolons_or_words() {
        for (text, expected) in [
            ("short; enough", "short; enough"),
            ("closed after 1 s; bytes to both", "closed after 1 s;\n    bytes to both"),
            ("one two three four five six seven", "one two three four\n    five six seven"),
            ("a-word-that-does-not-fit-anywhere", "a-word-that-does-not-fit-anywhere"),
        ] {
            let folded = Phrase::plain(&text[..3]).and(Tone::Failure, &text[3..]).folded(20, 4);
            assert_eq!(folded.to_string(), expected);
        }
    }
}
