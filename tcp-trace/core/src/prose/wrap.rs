//! Lines of a given maximum width, for text that may mix Chinese and Latin.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What does not begin a line.
const CLOSING: &str = "，。、；：？！）》」』】,.;:?!)]";
/// What does not end a line.
const OPENING: &str = "（《「『【([";

/// Columns of a text on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Breaks `text` into lines of at most `room` columns, unless a word alone is longer. Between Chinese characters a
/// line can end anywhere.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for Atom { text, after_space } in atoms(text) {
        let space = usize::from(after_space && !line.is_empty());
        if !line.is_empty() && width(&line) + space + width(&text) > room {
            lines.push(std::mem::take(&mut line));
        } else if space > 0 {
            line.push(' ');
        }
        line.push_str(&text);
    }
    lines.push(line);
    lines
}

/// Adds a line of the same paragraph. Chinese is written without spaces; beside Latin letters there is one.
pub fn join(text: &mut String, line: &str) {
    if let (Some(before), Some(after)) = (text.chars().next_back(), line.chars().next()) {
        let is_punctuation = |character| is_wide(character) && !character.is_alphanumeric();
        let is_chinese = is_wide(before) && is_wide(after);
        if !is_chinese && !is_punctuation(before) && !is_punctuation(after) {
            text.push(' ');
        }
    }
    text.push_str(line);
}

/// What stays on one line.
struct Atom {
    text: String,
    after_space: bool,
}

fn atoms(text: &str) -> Vec<Atom> {
    let mut atoms: Vec<Atom> = Vec::new();
    let mut after_space = false;
    for character in text.chars() {
        if character == ' ' {
            after_space = true;
            continue;
        }
        match atoms.last_mut() {
            Some(last) if !after_space && sticks(&last.text, character) => last.text.push(character),
            _ => atoms.push(Atom { text: character.to_string(), after_space }),
        }
        after_space = false;
    }
    atoms
}

/// Whether no line ends between `before` and `next`.
fn sticks(before: &str, next: char) -> bool {
    let last = before.chars().next_back();
    let is_one_word = !is_wide(next) && !last.is_some_and(is_wide);
    is_one_word || CLOSING.contains(next) || last.is_some_and(|last| OPENING.contains(last))
}

fn is_wide(character: char) -> bool {
    character.width() == Some(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words_or_chinese_characters() {
        for (text, room, expected) in [
            ("", 10, &[""][..]),
            ("one two three", 7, &["one two", "three"]),
            ("one two three", 8, &["one two", "three"]),
            ("a-word-that-is-too-long for it", 10, &["a-word-that-is-too-long", "for it"]),
            ("连接关闭之后", 8, &["连接关闭", "之后"]),
            ("连接关闭之后", 9, &["连接关闭", "之后"]),
            // Punctuation stays with what is before it, even when that makes the line shorter.
            ("连接关闭，之后", 8, &["连接关", "闭，之后"]),
            ("连接（关闭）之后", 6, &["连接", "（关", "闭）之", "后"]),
            // Latin words are not cut, with a space before them or without.
            ("进入 TIME_WAIT 状态", 10, &["进入", "TIME_WAIT", "状态"]),
            ("进入TIME_WAIT，状态", 14, &["进入", "TIME_WAIT，状", "态"]),
            ("进入 TIME_WAIT 状态", 14, &["进入 TIME_WAIT", "状态"]),
        ] {
            assert_eq!(wrap(text, room), expected, "{text} in {room}");
        }
    }

    #[test]
    fn lines_are_joined_as_they_would_be_written() {
        for (before, after, expected) in [
            ("", "one", "one"),
            ("one", "two", "one two"),
            ("连接", "关闭", "连接关闭"),
            ("收到", "RST", "收到 RST"),
            ("RST", "之后", "RST 之后"),
            ("收到 RST，", "then", "收到 RST，then"),
            ("RST", "（复位）", "RST（复位）"),
        ] {
            let mut text = before.to_owned();
            join(&mut text, after);
            assert_eq!(text, expected);
        }
    }
}
