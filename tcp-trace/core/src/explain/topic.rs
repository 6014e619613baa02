//! What a file of notes says: a group of topics.
//!
//! ```text
//! = Title of the group
//!
//! # NAME, ALIAS, ANOTHER ALIAS
//! The summary, in one line.
//! see: NAME, NAME
//!
//! A paragraph, in as many lines as it takes.
//! - An item.
//! 1. A numbered one.
//!     A line that starts with four spaces is printed as it is.
//! ```

use crate::prose::join;

/// Topics that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// In the order of the file.
    pub topics: Vec<Topic>,
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name, and others by which it is found.
    pub names: Vec<&'static str>,
    /// Names in other languages, by which it is found too.
    pub foreign_names: Vec<&'static str>,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Names of topics that are close to it.
    pub see: Vec<&'static str>,
    /// The rest.
    pub body: Vec<Block>,
}

/// A piece of a note's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Running text.
    Paragraph(String),
    /// One item of a list, behind its mark: `- ` or `1. `.
    Item(&'static str, String),
    /// A line that keeps its form.
    Verbatim(&'static str),
}

impl Topic {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// Everything that it is found by.
    pub fn all_names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().chain(&self.foreign_names).copied()
    }
}

impl Block {
    /// What it says.
    pub fn text(&self) -> &str {
        match self {
            Self::Paragraph(text) | Self::Item(_, text) => text,
            Self::Verbatim(text) => text,
        }
    }
}

/// Takes a file apart. It is total; that the files of the program are complete is tested.
pub(super) fn parse(text: &'static str) -> Group {
    let mut sections = text.split("\n# ");
    let title = sections.next().unwrap_or_default().trim_start_matches("= ").trim();
    Group { title, topics: sections.map(topic).collect() }
}

fn topic(section: &'static str) -> Topic {
    let (head, body) = section.split_once("\n\n").unwrap_or((section, ""));
    let mut lines = head.lines();
    let names = list(lines.next().unwrap_or_default());
    let summary = lines.next().unwrap_or_default();
    let see = lines.next().and_then(|line| line.strip_prefix("see: ")).map(list).unwrap_or_default();
    Topic { names, foreign_names: Vec::new(), summary, see, body: blocks(body) }
}

fn list(text: &'static str) -> Vec<&'static str> {
    text.split(", ").map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn blocks(body: &'static str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut goes_on = false;
    for line in body.lines() {
        let text = line.trim();
        let last = if goes_on { blocks.last_mut() } else { None };
        goes_on = !text.is_empty() && !line.starts_with("    ");
        if text.is_empty() {
            continue;
        } else if !goes_on {
            blocks.push(Block::Verbatim(line));
        } else if let Some((mark, item)) = marked(text) {
            blocks.push(Block::Item(mark, item.to_owned()));
        } else if let Some(Block::Paragraph(paragraph) | Block::Item(_, paragraph)) = last {
            join(paragraph, text);
        } else {
            blocks.push(Block::Paragraph(text.to_owned()));
        }
    }
    blocks
}

/// The mark of an item, and what is behind it.
fn marked(line: &'static str) -> Option<(&'static str, &'static str)> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let mark = if digits > 0 { ". " } else { "- " };
    let is_item = line[digits..].starts_with(mark);
    is_item.then(|| line.split_at(digits + mark.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_group_of_topics() {
        let group = parse(
            "= States\n\n# TIME_WAIT, TIME-WAIT\nWaits.\nsee: LISTEN, RST\n\nOne\ntwo.\n- an\n  item\n12. another\n\
             \x20   $ ss\n    kept  so\nMore.\n\nLast.\n\n# LISTEN\nListens.\n",
        );
        assert_eq!(group.title, "States");
        let [waits, listens] = group.topics.as_slice() else { panic!("{group:?}") };
        assert_eq!((waits.name(), waits.summary), ("TIME_WAIT", "Waits."));
        assert_eq!(
            (waits.names.as_slice(), waits.see.as_slice()),
            (&["TIME_WAIT", "TIME-WAIT"][..], &["LISTEN", "RST"][..])
        );
        let text = |text: &str| text.to_owned();
        assert_eq!(
            waits.body,
            [
                Block::Paragraph(text("One two.")),
                Block::Item("- ", text("an item")),
                Block::Item("12. ", text("another")),
                Block::Verbatim("    $ ss"),
                Block::Verbatim("    kept  so"),
                Block::Paragraph(text("More.")),
                Block::Paragraph(text("Last.")),
            ]
        );
        assert_eq!((listens.name(), listens.summary), ("LISTEN", "Listens."));
        assert!(listens.see.is_empty() && listens.body.is_empty());
    }

    #[test]
    fn whatever_the_text_it_is_taken_apart() {
        for text in ["", "\n", "= ", "# A", "= A\n# B", "= A\n\n# \n\n\n# , \nsee: ", "x\n# A\nb\nc\n\n    "]
        {
            parse(text);
        }
    }
}
