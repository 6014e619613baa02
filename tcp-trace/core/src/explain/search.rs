//! Which topics are meant.

use std::cmp::Reverse;

use super::{Library, Topic};

/// Topics that are found by their text, at most.
const FOUND_MAX: usize = 10;
/// Names that are suggested, at most.
const NEAREST_MAX: usize = 3;
/// What a word counts for in a name.
const IN_NAME: u32 = 100;
/// In its summary.
const IN_SUMMARY: u32 = 10;
/// Anywhere else.
const IN_BODY: u32 = 1;

impl Library {
    /// The topic that is called so. Case, spaces, hyphens and underscores do not matter.
    pub fn named(&self, words: &[String]) -> Option<&Topic> {
        let wanted = normal(&words.concat());
        let is_name = |topic: &&Topic| topic.names.iter().any(|name| normal(name) == wanted);
        // A name in the language that is printed comes first.
        let is_foreign = |topic: &&Topic| topic.foreign_names.iter().any(|name| normal(name) == wanted);
        self.topics().find(is_name).or_else(|| self.topics().find(is_foreign))
    }

    /// The topics of a list with commas, such as a ladder prints; `None` unless they are several and all exist.
    pub fn listed(&self, words: &[String]) -> Option<Vec<&Topic>> {
        let text = words.join(" ");
        let names: Vec<_> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let topics = names.iter().map(|name| self.named(&[(*name).to_owned()]));
        if names.len() > 1 { topics.collect() } else { None }
    }

    /// The topics that contain all words, best first.
    pub fn containing(&self, words: &[String]) -> Vec<&Topic> {
        let words: Vec<_> = words.iter().flat_map(|word| word.split_whitespace()).map(letters).collect();
        let mut found: Vec<_> =
            self.topics().filter_map(|topic| Some((Reverse(score(topic, &words)?), topic))).collect();
        // Stable: topics that are equally good stay in the order of the list.
        found.sort_by_key(|(score, _)| *score);
        found.into_iter().map(|(_, topic)| topic).take(FOUND_MAX).collect()
    }

    /// The names that were perhaps meant, nearest first.
    pub fn nearest(&self, words: &[String]) -> Vec<&'static str> {
        let wanted = normal(&words.concat());
        let farthest = (wanted.chars().count() / 3).clamp(1, 3);
        let nearest = |topic: &Topic| {
            let distances = topic.all_names().map(|name| (distance(&normal(name), &wanted), name));
            distances.min_by_key(|(distance, _)| *distance).filter(|(distance, _)| *distance <= farthest)
        };
        let mut names: Vec<_> = self.topics().filter_map(nearest).collect();
        names.sort_by_key(|(distance, _)| *distance);
        names.into_iter().map(|(_, name)| name).take(NEAREST_MAX).collect()
    }
}

/// How well a topic fits, when it contains all words.
fn score(topic: &Topic, words: &[String]) -> Option<u32> {
    let mut sum = 0;
    for word in words {
        sum += if topic.all_names().any(|name| contains(name, word)) {
            IN_NAME
        } else if contains(topic.summary, word) {
            IN_SUMMARY
        } else if topic.body.iter().any(|block| contains(block.text(), word)) {
            IN_BODY
        } else {
            return None;
        };
    }
    if sum > 0 { Some(sum) } else { None }
}

/// Letters and digits in lower case; what has none, such as `~`, as it is.
fn normal(text: &str) -> String {
    let kept: String = text.chars().filter(|character| character.is_alphanumeric()).collect();
    if kept.is_empty() { text.trim().to_owned() } else { kept.to_lowercase() }
}

/// A word to look for: in lower case, without hyphens and underscores.
fn letters(word: &str) -> String {
    let kept: String = word.chars().filter(|character| !is_joint(*character)).collect();
    if kept.is_empty() { word.to_owned() } else { kept.to_lowercase() }
}

fn is_joint(character: char) -> bool {
    matches!(character, '-' | '_')
}

/// Whether a word of `text` begins with `word`, whose case and joints are gone. Chinese has no spaces: there
/// every character begins a word.
fn contains(text: &str, word: &str) -> bool {
    let mut before = ' ';
    text.char_indices().any(|(at, character)| {
        let begins = !(before.is_ascii_alphanumeric() && character.is_ascii_alphanumeric());
        before = character;
        begins && begins_with(&text[at..], word)
    })
}

fn begins_with(text: &str, word: &str) -> bool {
    let mut letters = text.chars().filter(|character| !is_joint(*character)).flat_map(char::to_lowercase);
    word.chars().all(|wanted| letters.next() == Some(wanted))
}

/// The number of letters to change, add, leave out, or swap with their neighbour, to come from one text to the
/// other (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<_>, Vec<_>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for (row, letter) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, candidate) in other.iter().enumerate() {
            let changed = rows[row][column] + usize::from(letter != candidate);
            let mut least = changed.min(rows[row][column + 1] + 1).min(current[column] + 1);
            let is_swapped =
                row > 0 && column > 0 && one[row - 1] == *candidate && *letter == other[column - 1];
            if is_swapped {
                least = least.min(rows[row - 1][column - 1] + 1);
            }
            current.push(least);
        }
        rows.push(current);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
