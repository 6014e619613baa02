//! Counts what goes out and hands it to the sink.

use std::io;

use tcp_trace_model::{
    record::{End, Loss, LossPlace, Record},
    time::Time,
};

use crate::sink::Sink;

/// The way out of a session.
pub(super) struct Output<'a> {
    sink: &'a mut dyn Sink,
    connections: u64,
    http: u64,
    dns: u64,
    lost: u64,
}

impl<'a> Output<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink) -> Self {
        Self { sink, connections: 0, http: 0, dns: 0, lost: 0 }
    }

    pub(super) fn put(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Connection(_) => self.connections += 1,
            Record::Http(_) => self.http += 1,
            Record::Dns(_) => self.dns += 1,
            Record::Loss(loss) => self.lost += loss.events,
            _ => {}
        }
        self.sink.record(record)
    }

    pub(super) fn loss(
        &mut self,
        time: Time,
        place: LossPlace,
        events: u64,
        cpu: Option<u32>,
    ) -> io::Result<()> {
        if events == 0 { Ok(()) } else { self.put(&Record::Loss(Loss { time, place, events, cpu })) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    pub(super) fn end(&mut self, time: Time, events: u64, interrupted: bool) -> io::Result<()> {
        let end = End {
            time,
            connections: self.connections,
            http: self.http,
            dns: self.dns,
            events,
            lost: self.lost,
            interrupted,
        };
        self.put(&Record::End(end))?;
        self.sink.finish()
    }
}
