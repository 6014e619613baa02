//! A recording that is too long for memory: it is read as a pipe, and only sums of it are kept.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::process::Signal;
use tcp_trace_model::{
    event::Role,
    record::{End, Http, Integrity, Outcome, Record},
};

use crate::{Recording, Running, recording::parse_line, tcp_trace, wait_for, witness::Witness};

/// What sums are kept of: the end that reports, method, target and status.
pub type Kind = (Role, String, String, u16);

/// Exchanges of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub exchanges: u64,
    /// Bytes of their responses: heads and bodies.
    pub bytes: u64,
}

/// What became of a streamed recording.
#[derive(Debug)]
pub struct Sums {
    /// Whole exchanges.
    pub whole: HashMap<Kind, Sum>,
    /// Exchanges that are not whole, or not of a known end.
    pub broken: Vec<Http>,
    /// The last line.
    pub end: End,
}

/// A `tcp-trace record` whose lines are taken as they come.
#[derive(Debug)]
pub struct StreamedTracer {
    process: Running,
    exchanges: Arc<AtomicU64>,
    reading: JoinHandle<(Sums, Recording)>,
    witness: Witness,
}

impl StreamedTracer {
    /// Starts recording with these further arguments and waits until it is attached.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = tcp_trace();
        command.args(["record", "-o", "-"]).args(arguments);
        let witness = Witness::start();
        let mut process = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        let output = process.0.stdout.take().expect("it is piped");
        let mut lines = BufReader::with_capacity(1 << 20, output).lines();
        let mut next = move || lines.next().map(|line| line.expect("it prints text"));
        let first = ["session", "ready"].map(|kind| {
            let line = next().expect("a line");
            assert!(line.contains(kind), "{line}");
            parse_line(&line)
        });
        let exchanges = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&exchanges);
        let reading = thread::spawn(move || read(first.to_vec(), next, &counted));
        Self { process, exchanges, reading, witness }
    }

    /// Waits until this many exchanges are recorded.
    pub fn wait_for_exchanges(&self, count: u64) {
        wait_for(&format!("{count} exchanges"), || {
            assert!(!self.reading.is_finished(), "the recording ended too early");
            (self.exchanges.load(Ordering::Relaxed) >= count).then_some(())
        });
    }

    /// Ends it as Ctrl-C does, and gives the sums.
    pub fn stop(mut self) -> Sums {
        let testimony = self.witness.at_the_end();
        self.process.signal(Signal::INT);
        let (sums, recording) = self.reading.join().expect("every line is a record");
        let status = self.process.0.wait().expect("the tracer can be waited for");
        assert!(status.success(), "the tracer ended with {status}");
        testimony.compare(&recording);
        sums
    }
}

/// Reads on behind the first lines. The recording has neither exchanges nor segments, which are many.
fn read(
    mut records: Vec<Record>,
    mut next: impl FnMut() -> Option<String>,
    counted: &AtomicU64,
) -> (Sums, Recording) {
    let (mut whole, mut broken): (HashMap<Kind, Sum>, _) = (HashMap::new(), Vec::new());
    while let Some(line) = next() {
        if line.starts_with("{\"type\":\"http\"") {
            let Record::Http(http) = parse_line(&line) else { panic!("{line}") };
            match kind_and_bytes(&http) {
                Some((kind, bytes)) => {
                    let sum = whole.entry(kind).or_default();
                    sum.exchanges += 1;
                    sum.bytes += bytes;
                }
                None => broken.push(http),
            }
            counted.fetch_add(1, Ordering::Relaxed);
        } else if line.starts_with("{\"type\":\"end\"") {
            let Record::End(end) = parse_line(&line) else { panic!("{line}") };
            assert_eq!(next(), None, "the end is the last line");
            let [Record::Session(session), ..] = records.as_slice() else { panic!("{:?}", records.first()) };
            let recording = Recording { session: (**session).clone(), end: end.clone(), records };
            return (Sums { whole, broken, end }, recording);
        } else if !line.starts_with("{\"type\":\"segment\"") {
            records.push(parse_line(&line));
        }
    }
    panic!("the recording has no end")
}

fn kind_and_bytes(http: &Http) -> Option<(Kind, u64)> {
    let (request, response) = http.exchange.request.as_ref().zip(http.exchange.response.as_ref())?;
    let is_whole = (http.exchange.outcome, http.exchange.integrity) == (Outcome::Ok, Integrity::Complete);
    let [method, target] = [&request.method, &request.target].map(|text| text.printable().to_string());
    let kind = (http.connection.role?, method, target, response.status_code);
    is_whole.then_some((kind, response.header_size + response.body.size))
}
