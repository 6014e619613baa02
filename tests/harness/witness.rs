//! The kernel's account of a session, taken beside every tracer of the tests: what it prints of its sockets meanwhile, and what
//! it lists when the session ends. A recording that says something else fails its test.

mod line;
mod lives;
mod open;
mod transitions;

use std::{fs, io};

use rustix::io::Errno;
use tcp_trace_model::{record::Record, time::Time};

pub(crate) use self::open::{forget_namespace, note_namespace};
use self::{
    lives::{Life, lives},
    open::OpenSockets,
};
use crate::{Recording, now, tracefs::Instance};

/// An event that is printed, with the condition under which it is.
type Event = (&'static str, Option<&'static str>);

/// What is printed, by subsystem.
const EVENTS: [Event; 4] = [
    ("sock/inet_sock_set_state", None),
    ("tcp/tcp_retransmit_skb", None),
    ("tcp/tcp_send_reset", None),
    ("tcp/tcp_receive_reset", None),
];
/// Printed too, each time a process writes or reads. One that reads into no room gets 0, as at the end.
const LENGTHS: [Event; 3] = [
    ("sock/sock_send_length", Some("protocol == 6")),
    ("sock/sock_recv_length", Some("protocol == 6")),
    ("syscalls/sys_enter_recvfrom", Some("size == 0")),
];
/// What splice(2) reads is none of them: within the call, the socket is named by what adjusts its buffer.
const SPLICES: [Event; 3] = [
    ("syscalls/sys_enter_splice", None),
    ("tcp/tcp_rcv_space_adjust", None),
    ("syscalls/sys_exit_splice", None),
];
/// Room for what is printed, per CPU: some 50,000 events.
const BUFFER_KIB: &str = "8192";

/// A witness of one session.
#[derive(Debug)]
pub(crate) struct Witness {
    /// What prints [`EVENTS`], or why nothing does.
    events: Result<Instance, String>,
    /// The same of [`LENGTHS`], which are many: they have room of their own.
    lengths: Result<Instance, String>,
    /// The same of [`SPLICES`].
    splices: Result<Instance, String>,
}

/// What a witness knows when the session ends.
#[derive(Debug)]
pub(crate) struct Testimony {
    witness: Witness,
    /// Before it ended.
    before: OpenSockets,
    /// When it was told to end.
    ended: Time,
}

/// What a comparison found.
#[derive(Debug, Default)]
struct Report {
    /// Where the recording says what is not so.
    faults: Vec<String>,
    /// What was not compared, and why.
    uncompared: Vec<String>,
    /// How many sockets were: with what the kernel printed of them, and with what it lists.
    compared_lives: usize,
    compared_open: usize,
}

impl Witness {
    /// Starts it. To be done before the tracer starts.
    pub(crate) fn start() -> Self {
        let lengths = if is_all_sent_counted() {
            printing(&LENGTHS)
        } else {
            Err("this kernel does not print what sendfile(2) writes".to_owned())
        };
        Self { events: printing(&EVENTS), lengths, splices: printing(&SPLICES) }
    }

    /// Notes what is open, shortly before the session is told to end.
    pub(crate) fn at_the_end(self) -> Testimony {
        let before = OpenSockets::read();
        Testimony { witness: self, before, ended: now() }
    }

    /// The sockets that were seen, or why it is not known what happened.
    fn lives(&self, report: &mut Report) -> Result<Vec<Life>, String> {
        let events = lines(&self.events)?;
        let uses = lines(&self.lengths).and_then(|lengths| Ok((lengths, lines(&self.splices)?)));
        if let Err(why) = &uses {
            report.uncompared.push(format!("what processes wrote and read: {why}"));
        }
        let uses = uses.as_ref().ok().map(|(lengths, splices)| (lengths.as_slice(), splices.as_slice()));
        Ok(lives(&events, uses))
    }
}

/// All that was printed, or why it is not known.
fn lines(instance: &Result<Instance, String>) -> Result<Vec<String>, String> {
    let instance = instance.as_ref().map_err(String::clone)?;
    match instance.lost() {
        Ok(0) => Ok(instance.lines()),
        Ok(lost) => Err(format!("{lost} lines of the kernel's text found no room")),
        Err(error) => Err(format!("it is unknown whether all of the kernel's text is there: {error}")),
    }
}

/// What prints these events, each with its socket's address and the process that was running.
fn printing(events: &[Event]) -> Result<Instance, String> {
    let instance = match Instance::new() {
        Err(error) if is_of_the_host(&error) => return Err(format!("tracefs cannot be used: {error}")),
        instance => instance.unwrap_or_else(|error| panic!("tracefs: {error}")),
    };
    // Since Linux 6.4.
    if !instance.has("options/fields") {
        return Err("this kernel's text has no name for a socket".to_owned());
    }
    for option in ["fields", "record-tgid"] {
        instance.write(&format!("options/{option}"), "1");
    }
    instance.write("buffer_size_kb", BUFFER_KIB);
    // Which there are depends on the kernel.
    for (event, filter) in events.iter().filter(|(event, _)| instance.has(&format!("events/{event}"))) {
        if let Some(filter) = filter {
            instance.write(&format!("events/{event}/filter"), filter);
        }
        instance.write(&format!("events/{event}/enable"), "1");
    }
    Ok(instance)
}

/// Whether it says that this kernel has no tracefs, or that nobody may use it here.
fn is_of_the_host(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
        || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

/// Whether [`LENGTHS`] have what sendfile(2) and splice(2) write: since Linux 6.5 they do it by sock_sendmsg() (`splice_to_socket()`).
fn is_all_sent_counted() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(5))
}

impl Testimony {
    /// Fails when the recording of the session, which has ended, says something else.
    pub(crate) fn compare(&self, recording: &Recording) {
        let mut report = Report::default();
        let after = OpenSockets::read();
        open::compare(recording, (&self.before, &after), &mut report);
        let lives = self.witness.lives(&mut report);
        match &lives {
            Ok(lives) => transitions::compare(recording, lives, (ready(recording), self.ended), &mut report),
            Err(why) => report.uncompared.push(format!("transitions, retransmits and resets: {why}")),
        }
        let is_due = lives.is_ok() && transitions::are_due(recording);
        let Report { faults, uncompared, compared_lives, compared_open } = report;
        println!(
            "compared with the kernel's account: {compared_lives} sockets' lives, {compared_open} that are open"
        );
        uncompared.iter().for_each(|what| println!("not compared: {what}"));
        if !faults.is_empty() {
            recording.records.iter().for_each(|record| println!("{record:?}"));
        }
        assert!(faults.is_empty(), "the kernel's account is another one:\n{}", faults.join("\n"));
        assert!(compared_lives > 0 || !is_due, "nothing was compared with the kernel's account");
    }
}

/// Since when everything is recorded.
fn ready(recording: &Recording) -> Time {
    let times = recording.records.iter().filter_map(|record| match record {
        Record::Ready(ready) => Some(ready.time),
        _ => None,
    });
    times.min().expect("every recording has this line")
}
