//! The way out of a session: counts what goes to the sink, and loses it, counted, rather than keep the ring buffer waiting.

use std::{io, time::Duration};

use tcp_trace_core::{prose::counted, selection::Selection};
use tcp_trace_model::{
    record::{End, Filter, Loss, LossPlace, Record, Unlinked},
    time::Time,
};

use crate::sink::{Backlog, Counting, Sink};

/// How long a full queue of the output is waited for, once: a writer that is only short of a processor makes room in that
/// time, and the ring buffer holds what comes meanwhile.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often it is looked whether the end of a recording is written.
const POLL: Duration = Duration::from_millis(5);
/// How long a writer may be without progress before a signal ends the wait for it.
const STUCK: Duration = Duration::from_secs(1);

/// The way out of a session.
///
/// Where the output is written by a thread, its queue is full when that thread cannot write: a pipe that nobody reads, a
/// disk that is busy. Then records are dropped and counted as lost until half of the queue is free. Records of losses wait,
/// summed up, because they have to reach the file.
pub(super) struct Output<'a> {
    sink: Counting<&'a mut dyn Sink>,
    /// Where exchanges are selected, what waits until one of its connection is.
    selection: Option<Selection<Record>>,
    backlog: Option<Backlog>,
    is_stalled: bool,
    /// No event has to be read any more, so that a full queue may be waited for.
    is_ending: bool,
    /// Losses that were noticed while the output was stalled, one for each place and processor.
    losses: Vec<Loss>,
    dropped: u64,
}

impl<'a> Output<'a> {
    /// `backlog` is that of the thread which writes what `sink` renders, when there is one.
    pub(super) fn new(sink: &'a mut dyn Sink, backlog: Option<Backlog>, filter: &Filter) -> Self {
        let sink = Counting::new(sink);
        let selection = filter.selects_exchanges().then(|| Selection::of_session(filter));
        Self { sink, selection, backlog, is_stalled: false, is_ending: false, losses: Vec::new(), dropped: 0 }
    }

    /// Puts out a record if it is selected, with those that waited for it.
    pub(super) fn put(&mut self, record: &Record) -> io::Result<()> {
        if let Some(selection) = &mut self.selection {
            let Some(held) = selection.pass(&[], record) else { return Ok(()) };
            held.iter().try_for_each(|record| self.put_selected(record))?;
        }
        self.put_selected(record)
    }

    fn put_selected(&mut self, record: &Record) -> io::Result<()> {
        if self.wait_for_room() {
            return self.sink.record(record);
        }
        self.dropped += 1;
        Ok(())
    }

    /// Reports events that were lost at this place, and the records that this output dropped.
    pub(super) fn loss(
        &mut self,
        time: Time,
        place: LossPlace,
        events: u64,
        cpu: Option<u32>,
    ) -> io::Result<()> {
        self.hold(Loss { time, place, events, cpu });
        let dropped = std::mem::take(&mut self.dropped);
        self.hold(Loss { time, place: LossPlace::Output, events: dropped, cpu: None });
        if self.wait_for_room() { self.put_losses() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        // Rendered lines go into the queue with it, and would wait for room there.
        if self.wait_for_room() { self.sink.flush() } else { Ok(()) }
    }

    /// Nothing comes from the kernel any more: from now on nothing is dropped.
    pub(super) fn begin_end(&mut self) {
        self.is_ending = true;
        if let Some(backlog) = &self.backlog {
            backlog.lift_limit();
        }
    }

    /// Puts out the last line, and hands everything to the writer.
    pub(super) fn end(
        &mut self,
        time: Time,
        events: u64,
        unlinked: Unlinked,
        interrupted: bool,
    ) -> io::Result<()> {
        self.begin_end();
        self.loss(time, LossPlace::Output, 0, None)?;
        if let Some(connections) = self.selection.as_ref().map(Selection::left_out).filter(|count| *count > 0)
        {
            log::warn!(
                "left out {}: too many were open without a selected exchange; a filter of connections helps",
                counted(connections, "connection")
            );
        }
        let counts = self.sink.counts();
        let end = End {
            time,
            connections: counts.connections,
            http: counts.http,
            dns: counts.dns,
            tls: counts.tls,
            protocols: counts.protocols.clone(),
            events,
            lost: counts.lost,
            unlinked,
            interrupted,
        };
        self.sink.record(&Record::End(end))?;
        self.sink.finish()
    }

    /// Waits until the writer has written everything. Who does not want to wait for one that is stuck sends a signal.
    pub(super) async fn written(&self, signal: impl Future<Output = ()>) -> io::Result<()> {
        let Some(backlog) = &self.backlog else { return Ok(()) };
        let mut signal = std::pin::pin!(signal);
        let (mut is_signalled, mut before, mut stuck) = (false, 0, Duration::ZERO);
        while !backlog.is_written()? {
            let bytes = backlog.bytes();
            stuck = if bytes == before { stuck + POLL } else { Duration::ZERO };
            before = bytes;
            if is_signalled && stuck >= STUCK {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the last {bytes} bytes were not taken"),
                ));
            }
            tokio::select! {
                () = &mut signal, if !is_signalled => is_signalled = true,
                () = tokio::time::sleep(POLL) => {}
            }
        }
        Ok(())
    }

    /// Waits until a record can be put out, with as much patience as a writer deserves that was not stalled until now, and
    /// not at all for one that was. Whether it can.
    fn wait_for_room(&mut self) -> bool {
        let Some(backlog) = self.backlog.as_ref().filter(|_| !self.is_ending) else { return true };
        // One that was stalled has room again when half of it is free.
        self.is_stalled = if self.is_stalled {
            !backlog.is_half_empty()
        } else {
            backlog.is_full() && !backlog.wait_for_room(PATIENCE)
        };
        !self.is_stalled
    }

    fn hold(&mut self, loss: Loss) {
        if loss.events == 0 {
            return;
        }
        let same = self.losses.iter_mut().find(|held| (held.place, held.cpu) == (loss.place, loss.cpu));
        match same {
            Some(held) => held.events = held.events.saturating_add(loss.events),
            None => self.losses.push(loss),
        }
    }

    fn put_losses(&mut self) -> io::Result<()> {
        self.losses.drain(..).try_for_each(|loss| self.sink.record(&Record::Loss(loss)))
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
