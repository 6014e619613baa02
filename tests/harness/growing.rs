//! A recording that is still being written: each line is read once, and parsed once if somebody wants its record.

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    ops::Deref,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tcp_trace_model::record::Record;

use crate::recording::parse_line;

/// What has been read so far of a recording.
#[derive(Debug)]
pub(crate) struct Growing(Mutex<State>);

#[derive(Debug)]
struct State {
    file: File,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    /// Complete lines that nobody wanted the records of.
    unparsed: Vec<String>,
    records: Vec<Record>,
    /// How many complete lines of each type there are.
    counts: HashMap<String, usize>,
}

/// The records of the complete lines.
pub struct Records<'a>(MutexGuard<'a, State>);

impl Growing {
    /// Follows a file; `None` while there is none.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let state = State {
            file: File::open(path).ok()?,
            rest: Vec::new(),
            unparsed: Vec::new(),
            records: Vec::new(),
            counts: HashMap::new(),
        };
        Some(Self(Mutex::new(state)))
    }

    /// How many complete lines of a type there are now.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.read_on().counts.get(kind).copied().unwrap_or(0)
    }

    /// The records of all lines that are complete now.
    pub(crate) fn records(&self) -> Records<'_> {
        let mut state = self.read_on();
        let lines = std::mem::take(&mut state.unparsed);
        state.records.extend(lines.iter().map(|line| parse_line(line)));
        Records(state)
    }

    fn read_on(&self) -> MutexGuard<'_, State> {
        // A test that failed meanwhile leaves nothing half done here.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.read_on();
        state
    }
}

impl State {
    fn read_on(&mut self) {
        self.file.read_to_end(&mut self.rest).expect("the recording can be read");
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let begun = self.rest.split_off(end + 1);
        let complete = String::from_utf8(std::mem::replace(&mut self.rest, begun)).expect("it is text");
        for line in complete.lines() {
            *self.counts.entry(kind_of(line).to_owned()).or_default() += 1;
            self.unparsed.push(line.to_owned());
        }
    }
}

impl Deref for Records<'_> {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.0.records
    }
}

/// The type of a line, as every line begins with it.
pub(crate) fn kind_of(line: &str) -> &str {
    let rest = line.strip_prefix("{\"type\":\"").unwrap_or_else(|| panic!("no type first: {line}"));
    rest.split('"').next().unwrap_or(rest)
}
