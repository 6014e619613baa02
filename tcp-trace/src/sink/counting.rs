//! Counts the records that go to a sink, by what the last line of a recording sums up.

use std::io;

use tcp_trace_model::record::Record;

use super::Sink;

/// How many records there were, and how many events were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Summaries of connections.
    pub connections: u64,
    /// HTTP exchanges.
    pub http: u64,
    /// Lookups of names.
    pub dns: u64,
    /// Events that were lost, by what the records of losses say.
    pub lost: u64,
}

/// A sink whose records are counted.
#[derive(Debug)]
pub struct Counting<S> {
    sink: S,
    counts: Counts,
}

impl<S: Sink> Counting<S> {
    /// Counts what `sink` takes.
    pub fn new(sink: S) -> Self {
        Self { sink, counts: Counts::default() }
    }

    /// What it took until now.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl<S: Sink> Sink for Counting<S> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Connection(_) => self.counts.connections += 1,
            Record::Http(_) => self.counts.http += 1,
            Record::Dns(_) => self.counts.dns += 1,
            Record::Loss(loss) => self.counts.lost = self.counts.lost.saturating_add(loss.events),
            _ => {}
        }
        self.sink.record(record)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sink.finish()
    }
}
