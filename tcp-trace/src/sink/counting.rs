//! Counts the records that go to a sink, by what the last line of a recording sums up.

use std::{collections::BTreeMap, io};

use tcp_trace_core::prose::has_own_records;
use tcp_trace_model::record::{Connection, Record};

use super::Sink;

/// Names of protocols that are counted; a recording from elsewhere may have any number of them.
const PROTOCOLS_MAX: usize = 100;

/// How many records there were, and how many events were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Summaries of connections.
    pub connections: u64,
    /// HTTP exchanges.
    pub http: u64,
    /// Lookups of names.
    pub dns: u64,
    /// TLS handshakes that ended.
    pub tls: u64,
    /// Summaries of connections that nothing reads further, by protocol.
    pub protocols: BTreeMap<String, u64>,
    /// Events that were lost, by what the records of losses say.
    pub lost: u64,
}

/// A sink whose records are counted.
#[derive(Debug)]
pub struct Counting<S> {
    sink: S,
    counts: Counts,
}

impl Counts {
    fn connection(&mut self, summary: &Connection) {
        self.connections += 1;
        let unknown = summary.first_bytes.as_ref().map(|_| "unknown");
        let inside = summary.decrypted.as_ref().and_then(|decrypted| decrypted.protocol.as_deref());
        let name = summary.protocol.as_deref().or(unknown);
        if inside.is_some_and(has_own_records) || name.is_some_and(has_own_records) {
            return;
        }
        let Some(name) = name else { return };
        if let Some(count) = self.protocols.get_mut(name) {
            *count += 1;
        } else if self.protocols.len() < PROTOCOLS_MAX {
            self.protocols.insert(name.to_owned(), 1);
        }
    }
}

impl<S: Sink> Counting<S> {
    /// Counts what `sink` takes.
    pub fn new(sink: S) -> Self {
        Self { sink, counts: Counts::default() }
    }

    /// What it took until now.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl<S: Sink> Sink for Counting<S> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Connection(summary) => self.counts.connection(summary),
            Record::Http(_) => self.counts.http += 1,
            Record::Dns(_) => self.counts.dns += 1,
            Record::Tls(_) => self.counts.tls += 1,
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
