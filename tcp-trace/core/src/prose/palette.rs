//! The colours in which the formats for people are printed.

use anstyle::{AnsiColor, Style};

use super::phrase::Tone;

/// A style for each tone. The sinks know nothing of terminals: they print in what they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    state: Style,
    aside: Style,
    warning: Style,
    failure: Style,
}

impl Palette {
    /// Text alone.
    pub const PLAIN: Self =
        Self { state: Style::new(), aside: Style::new(), warning: Style::new(), failure: Style::new() };
    /// Few colours, of the 16 that every terminal has and its user has chosen.
    pub const COLOURED: Self = Self {
        state: AnsiColor::Cyan.on_default(),
        aside: Style::new().dimmed(),
        warning: AnsiColor::Yellow.on_default(),
        failure: AnsiColor::Red.on_default(),
    };

    /// The style of words in this tone.
    pub fn style(&self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::State => self.state,
            Tone::Aside => self.aside,
            Tone::Warning => self.warning,
            Tone::Failure => self.failure,
        }
    }
}
