//! A writer that is stuck costs counted records, neither time nor order.

use std::{
    io::{PipeReader, PipeWriter, Read as _, Write},
    sync::mpsc::{self, Receiver},
    thread,
};

use tcp_trace_model::record::{Ready, reader::parse};

use super::*;
use crate::sink::{ChunkWriter, JsonLines};

/// More than a pipe holds.
const QUEUE: usize = 128 << 10;

fn ready(number: u64) -> Record {
    Record::Ready(Ready { time: Time(number) })
}

/// A pipe that takes nothing until what it waits for is gone.
struct Stuck {
    until: Receiver<()>,
    pipe: PipeWriter,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Nothing is ever sent.
        let _ = self.until.recv();
        self.pipe.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

fn read(mut pipe: PipeReader) -> Vec<Record> {
    let mut text = Vec::new();
    pipe.read_to_end(&mut text).unwrap();
    assert!(text.ends_with(b"\n"));
    text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').map(|line| parse(line).unwrap()).collect()
}

fn recorded(records: &[Record]) -> Vec<u64> {
    let time = |record: &Record| if let Record::Ready(ready) = record { Some(ready.time.0) } else { None };
    records.iter().filter_map(time).collect()
}

fn losses(records: &[Record]) -> Vec<(LossPlace, u64)> {
    let loss = |record: &Record| match record {
        Record::Loss(loss) => Some((loss.place, loss.events)),
        _ => None,
    };
    records.iter().filter_map(loss).collect()
}

#[test]
fn a_pipe_that_nobody_reads_costs_counted_records() {
    const RECORDS: u64 = 20_000;
    /// What the sink keeps before it hands it on, and a line of these records.
    const WRITE_MAX: usize = (64 << 10) + 200;
    let (pipe, output) = io::pipe().unwrap();
    let (stuck, until) = mpsc::channel();
    let writer = ChunkWriter::with_queue(Stuck { until, pipe: output }, QUEUE).unwrap();
    let backlog = writer.backlog();
    let mut sink = JsonLines::new(writer);
    let mut output = Output::new(&mut sink, Some(backlog.clone()), &Filter::default());
    for number in 0..RECORDS {
        output.put(&ready(number)).unwrap();
        if number % 1000 == 0 {
            output.loss(Time(number), LossPlace::Ring, 2, Some(0)).unwrap();
            output.flush().unwrap();
        }
    }
    assert!((QUEUE..=QUEUE + WRITE_MAX).contains(&backlog.bytes()), "{}", backlog.bytes());
    drop(stuck);
    let reading = thread::spawn(|| read(pipe));
    while !backlog.is_written().unwrap() {
        thread::sleep(POLL);
    }
    output.put(&ready(RECORDS)).unwrap();
    output.end(Time(RECORDS + 1), 7, Unlinked::default(), true).unwrap();
    drop(sink);

    let records = reading.join().unwrap();
    let recorded = recorded(&records);
    assert!(recorded.is_sorted() && recorded.len() < 6000, "{} records", recorded.len());
    assert_eq!(*recorded.last().unwrap(), RECORDS);
    let losses = losses(&records);
    let dropped = RECORDS + 1 - recorded.len() as u64;
    assert!(losses.contains(&(LossPlace::Output, dropped)), "{losses:?}, not {dropped}");
    assert_eq!(losses.iter().filter(|loss| loss.0 == LossPlace::Ring).map(|loss| loss.1).sum::<u64>(), 40);
    // While it was stalled they were summed up.
    assert!(losses.len() < 15, "{losses:?}");
    let Some(Record::End(end)) = records.last() else { panic!("{:?}", records.last()) };
    assert_eq!((end.lost, end.events, end.interrupted), (dropped + 40, 7, true));
}

#[test]
fn what_comes_at_the_end_waits_for_the_writer() {
    const RECORDS: u64 = 20_000;
    let (pipe, output) = io::pipe().unwrap();
    let writer = ChunkWriter::with_queue(output, QUEUE).unwrap();
    let backlog = writer.backlog();
    let mut sink = JsonLines::new(writer);
    let mut output = Output::new(&mut sink, Some(backlog), &Filter::default());
    let reading = thread::spawn(|| read(pipe));
    output.begin_end();
    (0..RECORDS).for_each(|number| output.put(&ready(number)).unwrap());
    output.end(Time(RECORDS), 0, Unlinked::default(), false).unwrap();
    drop(sink);
    let records = reading.join().unwrap();
    assert_eq!(recorded(&records), (0..RECORDS).collect::<Vec<_>>());
    assert!(losses(&records).is_empty());
}

#[test]
fn only_a_signal_ends_the_wait_for_a_reader_that_takes_nothing() {
    let (pipe, output) = io::pipe().unwrap();
    let mut writer = ChunkWriter::with_queue(output, 1 << 20).unwrap();
    writer.write_all(&vec![b'\n'; 256 << 10]).unwrap();
    let backlog = writer.backlog();
    let mut sink = JsonLines::new(io::sink());
    let output = Output::new(&mut sink, Some(backlog), &Filter::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let waited = tokio::time::timeout(10 * POLL, output.written(std::future::pending())).await;
        assert!(waited.is_err());
        let error = output.written(std::future::ready(())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
    let reading = thread::spawn(move || io::copy(&mut { pipe }, &mut io::sink()));
    runtime.block_on(output.written(std::future::pending())).unwrap();
    drop(writer);
    assert_eq!(reading.join().unwrap().unwrap(), 256 << 10);
}
