//! Topics as text for a terminal.

use super::{Block, Language, Library, Topic};
use crate::prose::{Palette, Tone};
use crate::prose::{width, wrap};

/// Columns of everything that is printed.
const COLUMNS: usize = 80;
/// Columns of the names in a list, with what is before them.
const NAMES: usize = 23;

/// What is printed, in lines.
#[derive(Debug)]
pub struct Page<'a> {
    text: String,
    language: Language,
    palette: &'a Palette,
}

impl<'a> Page<'a> {
    /// The list of all topics.
    pub fn list(library: &Library, palette: &'a Palette) -> String {
        let mut page = Self { text: String::new(), language: library.language(), palette };
        page.wrapped("", page.words().usage);
        for group in library.groups() {
            page.line("");
            page.painted(Tone::State, group.title);
            group.topics.iter().for_each(|topic| page.entry(topic));
        }
        page.text
    }

    /// A list of what was found.
    pub fn found(topics: &[&Topic], language: Language, palette: &'a Palette) -> String {
        let mut page = Self { text: String::new(), language, palette };
        topics.iter().for_each(|topic| page.entry(topic));
        page.line("");
        page.wrapped("", page.words().more);
        page.text
    }

    /// One topic.
    pub fn topic(topic: &Topic, language: Language, palette: &'a Palette) -> String {
        let mut page = Self { text: String::new(), language, palette };
        page.painted(Tone::State, topic.name());
        if let [_, aliases @ ..] = topic.names.as_slice()
            && !aliases.is_empty()
        {
            page.aside(page.words().also, aliases);
        }
        page.wrapped("", topic.summary);
        let mut before = None;
        for block in &topic.body {
            page.block(block, before);
            before = Some(block);
        }
        if !topic.see.is_empty() {
            page.line("");
            page.aside(page.words().see, &topic.see);
        }
        page.text
    }

    fn words(&self) -> &'static Words {
        words(self.language)
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn painted(&mut self, tone: Tone, text: &str) {
        let style = self.palette.style(tone);
        self.line(&format!("{style}{text}{style:#}"));
    }

    /// A text whose first line begins with `start` and whose further ones are as far in.
    fn wrapped(&mut self, start: &str, text: &str) {
        let indent = width(start);
        for (number, line) in wrap(text, COLUMNS - indent).iter().enumerate() {
            let start = if number == 0 { start.to_owned() } else { " ".repeat(indent) };
            self.line(&format!("{start}{line}"));
        }
    }

    fn aside(&mut self, what: &str, names: &[&str]) {
        let names = names.join(self.words().comma);
        for line in wrap(&format!("{what}{names}"), COLUMNS) {
            self.painted(Tone::Aside, &line);
        }
    }

    fn block(&mut self, block: &Block, before: Option<&Block>) {
        let is_verbatim = |block: &Block| matches!(block, Block::Verbatim(_));
        let is_apart = before.is_none_or(|before| is_verbatim(before) != is_verbatim(block));
        if is_apart || matches!(block, Block::Paragraph(_)) {
            self.line("");
        }
        match block {
            Block::Paragraph(text) => self.wrapped("", text),
            Block::Item(mark, text) => self.wrapped(mark, text),
            Block::Verbatim(text) => self.line(text),
        }
    }

    /// A name and a summary; the summary has its own lines when the name is too long for its column.
    fn entry(&mut self, topic: &Topic) {
        let (name, palette) = (topic.name(), self.palette);
        let style = palette.style(Tone::State);
        let mut lines = wrap(topic.summary, COLUMNS - NAMES).into_iter();
        let indent = " ".repeat(NAMES);
        let columns = 2 + width(name);
        if columns + 2 <= NAMES {
            let spaces = " ".repeat(NAMES - columns);
            let summary = lines.next().unwrap_or_default();
            self.line(&format!("  {style}{name}{style:#}{spaces}{summary}"));
        } else {
            self.line(&format!("  {style}{name}{style:#}"));
        }
        lines.for_each(|line| self.line(&format!("{indent}{line}")));
    }
}

/// What the pages say themselves.
struct Words {
    usage: &'static str,
    more: &'static str,
    also: &'static str,
    see: &'static str,
    comma: &'static str,
}

fn words(language: Language) -> &'static Words {
    match language {
        Language::En => &Words {
            usage: "tcp-trace explain NAME shows one of these; other words search in all of them.",
            more: "tcp-trace explain NAME shows one of these.",
            also: "also: ",
            see: "see also: ",
            comma: ", ",
        },
        Language::Zh => &Words {
            usage: "tcp-trace explain 名称：显示其中一条；其他词则在全部内容里查找。",
            more: "tcp-trace explain 名称：显示其中一条。",
            also: "又名：",
            see: "另见：",
            comma: "、",
        },
    }
}

/// What to say when no topic has these words.
pub fn nothing_found(words: &[String], nearest: &[&str], language: Language) -> String {
    // It may have been typed by anything; it is printed on a terminal.
    let words = words.join(" ").escape_debug().to_string();
    let names = nearest.join(", ");
    match (language, nearest.is_empty()) {
        (Language::En, true) => format!("no topic matches {words}: `tcp-trace explain` lists all topics"),
        (Language::En, false) => format!("no topic matches {words}; did you mean {names}?"),
        (Language::Zh, true) => format!("没有关于 {words} 的内容：tcp-trace explain 列出全部条目"),
        (Language::Zh, false) => format!("没有关于 {words} 的内容；相近的有：{names}"),
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
