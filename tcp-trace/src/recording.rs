//! A recording as a source of records: a file, a pipe or standard input, of which only selected lines come.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom, Take},
    os::fd::AsFd as _,
    path::Path,
};

use tcp_trace_core::selection::Selection;
use tcp_trace_model::record::{
    Filter, Record,
    reader::{BrokenLine, Ending, Line, ReadError, Reader, parse},
};

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {name}: {source}")]
pub struct RecordingError {
    name: String,
    source: ReadError,
}

/// What a line of a recording is.
#[derive(Debug)]
pub enum Item<'a> {
    /// A record of a selected connection, or about the session.
    Record {
        /// The line as it is in the recording, without its newline.
        raw: &'a [u8],
        /// What it says.
        record: Record,
    },
    /// A record of a connection that is not selected, or not yet.
    Excluded,
    /// No record; it is skipped.
    Broken(BrokenLine),
}

/// A recording that is being read. `R` is where its bytes come from.
#[derive(Debug)]
pub struct Source<R> {
    name: String,
    reader: Reader<BufReader<R>>,
    selection: Selection,
    /// Lines that come before the next one that is read: they were held until their connection was selected.
    released: VecDeque<Vec<u8>>,
    line: Vec<u8>,
}

impl Source<Take<File>> {
    /// Opens a recording, of which `filter` selects connections; `-` is standard input. A file is read twice: the first
    /// time here, to learn which connections are selected.
    ///
    /// # Errors
    /// When it cannot be opened or read, or is no recording.
    pub fn open(path: &Path, filter: Filter) -> Result<Self, RecordingError> {
        let (name, file) = if path == Path::new("-") {
            let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
            ("standard input".to_owned(), input)
        } else {
            (path.display().to_string(), File::open(path))
        };
        let mut selection = Selection::new(filter);
        let learnt = file.map_err(ReadError::from).and_then(|mut file| {
            let length = learn(&mut file, &mut selection)?;
            Ok(file.take(length))
        });
        match learnt {
            Ok(input) => Ok(Self::new(name, input, selection)),
            Err(source) => Err(RecordingError { name, source }),
        }
    }
}

impl<R: Read> Source<R> {
    /// Reads from `input`, which errors call `name`.
    pub fn new(name: String, input: R, selection: Selection) -> Self {
        let reader = Reader::new(BufReader::with_capacity(BUFFER, input));
        Self { name, reader, selection, released: VecDeque::new(), line: Vec::new() }
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which of its connections are selected.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Whether the next line may have to be waited for, as from a pipe.
    pub fn may_wait(&self) -> bool {
        self.released.is_empty() && self.reader.input().buffer().is_empty()
    }

    /// How it stops, once there is no next line.
    pub fn ending(&self) -> Ending {
        self.reader.ending()
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// When it cannot be read on, or is no recording.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, RecordingError> {
        if self.released.is_empty() {
            let line = self.reader.next_line();
            match line.map_err(|source| RecordingError { name: self.name.clone(), source })? {
                None => return Ok(None),
                Some(Line::Broken(line)) => return Ok(Some(Item::Broken(line))),
                Some(Line::Record { raw, record }) => {
                    let Some(held) = self.selection.pass(raw, &record) else {
                        return Ok(Some(Item::Excluded));
                    };
                    if held.is_empty() {
                        return Ok(Some(Item::Record { raw, record }));
                    }
                    self.released = held.into();
                    self.released.push_back(raw.to_vec());
                }
            }
        }
        self.line = self.released.pop_front().unwrap_or_default();
        // It was a record when it came; it still is.
        let record = parse(&self.line).unwrap_or(Record::Unknown);
        Ok(Some(Item::Record { raw: &self.line, record }))
    }
}

/// Learns which connections are selected where the recording can be read twice, and says how much of it there is
/// to read: it may still grow.
fn learn(file: &mut File, selection: &mut Selection) -> Result<u64, ReadError> {
    if selection.is_all() || !file.metadata()?.is_file() {
        return Ok(u64::MAX);
    }
    let start = file.stream_position()?;
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, &mut *file));
    while let Some(line) = reader.next_line()? {
        if let Line::Record { raw, record } = line {
            selection.learn(raw, &record);
        }
    }
    selection.settle();
    let length = file.stream_position()? - start;
    file.seek(SeekFrom::Start(start))?;
    Ok(length)
}
