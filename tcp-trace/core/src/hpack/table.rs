//! The dynamic table (RFC 7541, sections 2.3.2 and 4).

use std::collections::VecDeque;

/// Bytes of a dynamic table that are kept, as RFC 7541 section 4.1 counts them: with 32 for each entry. An encoder that was allowed
/// more can refer to what is not kept any more; that is unknown.
pub const TABLE_MAX: usize = 64 << 10;
/// What SETTINGS_HEADER_TABLE_SIZE is at first (RFC 9113, section 6.5.2).
pub(super) const SIZE_AT_FIRST: usize = 4096;
/// What an entry counts beside its name and its value (section 4.1).
const OVERHEAD: usize = 32;

/// An entry. Of one that was made from what is unknown, so is that part.
#[derive(Debug)]
struct Entry {
    /// Name and value.
    text: Box<[u8]>,
    /// Where the value begins.
    value: usize,
    is_name_known: bool,
    is_value_known: bool,
}

/// Name and value, as far as they are known.
pub(super) type Parts<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

impl Entry {
    fn new((name, value): Parts<'_>) -> Self {
        let (known_name, known_value) = (name.unwrap_or_default(), value.unwrap_or_default());
        Self {
            text: [known_name, known_value].concat().into(),
            value: known_name.len(),
            is_name_known: name.is_some(),
            is_value_known: value.is_some(),
        }
    }

    fn parts(&self) -> Parts<'_> {
        // By construction the value begins inside.
        let (name, value) = self.text.split_at_checked(self.value).unwrap_or_default();
        (self.is_name_known.then_some(name), self.is_value_known.then_some(value))
    }

    /// Its size, or at least that where a part of it is unknown.
    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// What an index leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Entry(Parts<'a>),
    /// There may be such an entry: it was inserted before anybody looked, or is not kept.
    Unknown,
    /// There is none.
    None,
}

/// The entries whose insertion was seen.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    /// The sum of their sizes.
    size: usize,
    /// The size that the encoder has set; `None` when it may have set another before anybody looked.
    max: Option<usize>,
    /// Whether the encoder has no entries beside these.
    is_whole: bool,
}

impl Table {
    /// That of a connection that begins.
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, max: Some(SIZE_AT_FIRST), is_whole: true }
    }

    /// That of a connection that has begun.
    pub(super) fn late() -> Self {
        Self { max: None, is_whole: false, ..Self::new() }
    }

    /// Whether an index can lead to what is unknown.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Bytes that are kept.
    pub(super) fn retained_bytes(&self) -> usize {
        let text: usize = self.entries.iter().map(|entry| entry.text.len()).sum();
        text + self.entries.capacity() * size_of::<Entry>()
    }

    /// The entry at an index that counts from 0.
    pub(super) fn get(&self, index: usize) -> Found<'_> {
        match self.entries.get(index) {
            Some(entry) => Found::Entry(entry.parts()),
            None if self.is_whole => Found::None,
            None => Found::Unknown,
        }
    }

    /// Sets the size (section 4.3).
    pub(super) fn resize(&mut self, max: usize) {
        self.max = Some(max);
        self.evict(max);
        // What was there before anybody looked is gone, too.
        self.is_whole |= max == 0;
    }

    /// Inserts an entry (section 4.4).
    pub(super) fn insert(&mut self, parts: Parts<'_>) {
        let entry = Entry::new(parts);
        let size = entry.size();
        if size > self.max.unwrap_or(SIZE_AT_FIRST) {
            // It empties the table, and is not inserted. Where the size is not known, it may have been: nothing is known then.
            self.is_whole = self.max.is_some();
            self.entries.clear();
            self.size = 0;
            return;
        }
        self.evict(self.max.unwrap_or(TABLE_MAX) - size);
        if self.size + size > TABLE_MAX {
            self.is_whole = false;
            self.evict(TABLE_MAX.saturating_sub(size));
            if size > TABLE_MAX {
                return;
            }
        }
        self.size += size;
        self.entries.push_front(entry);
    }

    /// Takes the oldest entries out until the rest has at most this size.
    fn evict(&mut self, room: usize) {
        while self.size > room
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size();
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &'static [u8], value: &'static [u8]) -> Parts<'static> {
        (Some(name), Some(value))
    }

    #[test]
    fn the_oldest_entries_go_first() {
        let mut table = Table::new();
        table.resize(100);
        for name in [b"a", b"b", b"c"] {
            table.insert(known(name, b"1"));
        }
        assert_eq!(table.get(0), Found::Entry(known(b"c", b"1")));
        assert_eq!(table.get(1), Found::Entry(known(b"b", b"1")));
        assert_eq!(table.get(2), Found::None);
        table.resize(34);
        assert_eq!(table.get(1), Found::None);
        table.insert(known(b"longer", b"than the table"));
        assert_eq!(table.get(0), Found::None);
    }

    #[test]
    fn what_was_there_before_is_unknown_until_it_must_be_gone() {
        let mut table = Table::late();
        table.insert((None, Some(b"1")));
        assert_eq!(table.get(0), Found::Entry((None, Some(b"1"))));
        assert_eq!(table.get(1), Found::Unknown);
        table.resize(4096);
        assert_eq!(table.get(1), Found::Unknown);
        table.resize(0);
        assert_eq!(table.get(0), Found::None);
    }

    #[test]
    fn an_entry_that_may_have_been_too_large_makes_all_unknown() {
        let mut table = Table::late();
        table.insert(known(b"a", b"1"));
        table.insert((Some(b"a"), Some(&[b'x'; 5_000])));
        assert_eq!(table.get(0), Found::Unknown);
    }

    #[test]
    fn a_table_that_may_be_large_is_kept_as_far_as_the_bound() {
        let mut table = Table::new();
        table.resize(u32::MAX as usize);
        for _ in 0..10_000 {
            table.insert((Some(b"name"), Some(&[b'x'; 500])));
        }
        assert!(table.retained_bytes() < 2 * TABLE_MAX, "{}", table.retained_bytes());
        assert_eq!(table.get(1_000), Found::Unknown);
        table.insert((Some(b"name"), Some(&[b'x'; 2 * TABLE_MAX])));
        assert_eq!(table.get(0), Found::Unknown);
        table.resize(0);
        assert_eq!(table.retained_bytes(), 0);
    }
}
