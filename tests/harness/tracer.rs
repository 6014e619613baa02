//! The program under test.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use rustix::process::Signal;
use tcp_trace_model::{event::State, record::Record};

use crate::{
    Folder, Recording, Running,
    growing::{Growing, Records},
    output, require_root, wait_for,
    witness::Witness,
};

/// The command line of the program under test: `TCP_TRACE_BIN`, or else the build of profile `e2e`.
pub fn tcp_trace() -> Command {
    require_root();
    let path = std::env::var_os("TCP_TRACE_BIN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e/tcp-trace"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: cargo build --profile e2e --package tcp-trace", path.display());
    Command::new(path)
}

/// A `tcp-trace record` that is attached.
#[derive(Debug)]
pub struct Tracer {
    process: Running,
    file: PathBuf,
    growing: Growing,
    witness: Witness,
    _folder: Folder,
}

impl Tracer {
    /// Starts recording with these further arguments and waits until it is attached. In an emulated processor, where loading the
    /// programs that read TLS takes seconds, without them (`TCP_TRACE_TESTS_NO_TLS`).
    pub fn start(arguments: &[&str]) -> Self {
        let without = std::env::var_os("TCP_TRACE_TESTS_NO_TLS").map(|_| "--no-tls");
        Self::start_with_tls(&[without.as_slice(), arguments].concat())
    }

    /// The same, always with the programs that read TLS.
    pub fn start_with_tls(arguments: &[&str]) -> Self {
        let folder = Folder::new();
        let file = folder.file("recording.jsonl");
        let mut command = tcp_trace();
        command.arg("record").arg("-o").arg(&file).args(arguments).stdin(Stdio::null());
        let witness = Witness::start();
        let mut process = Running::start(&mut command);
        let mut growing = None;
        let growing = wait_for("the line `ready`", || {
            if let Some(status) = process.0.try_wait().expect("the tracer can be waited for") {
                panic!("{command:?} ended before it was ready: {status}");
            }
            growing = growing.take().or_else(|| Growing::open(&file));
            growing.take_if(|growing| growing.count("ready") > 0)
        });
        Self { process, file, growing, witness, _folder: folder }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has written so far.
    pub fn text(&self) -> String {
        fs::read_to_string(&self.file).expect("the recording can be read")
    }

    /// The lines that it has written completely so far.
    pub fn records(&self) -> Records<'_> {
        self.growing.records()
    }

    /// Waits until this many lines of a type are written.
    pub fn wait_for_lines(&self, kind: &str, count: usize) {
        wait_for(&format!("{count} lines of type {kind}"), || {
            (self.growing.count(kind) >= count).then_some(())
        });
    }

    /// Waits until every connection that was opened has lost its socket.
    pub fn wait_for_closed(&self) {
        let (mut states, mut seen) = (HashMap::new(), 0);
        wait_for("all connections to close", || {
            let records = self.records();
            for record in &records[seen..] {
                if let Record::Transition(transition) = record {
                    states.insert(transition.connection.id, transition.new);
                }
            }
            seen = records.len();
            let is_over = |state: &State| matches!(state, State::TimeWait | State::Close | State::Listen);
            (!states.is_empty() && states.values().all(is_over)).then_some(())
        });
    }

    /// How many events its programs say they could not hand over, as bpftool reads it from the kernel.
    pub fn lost_in_kernel(&self) -> u64 {
        let dump = self.map("COUNTERS");
        // The first counter is that of lost records.
        let values = dump[0]["formatted"]["values"].as_array().expect("a value per CPU").clone();
        values.iter().map(|value| value["value"].as_u64().expect("a number")).sum()
    }

    /// Waits until it has taken the list of existing sockets, and its programs know that, as bpftool reads
    /// it from the kernel: from then on they decide by processes.
    pub fn wait_until_older_are_known(&self) {
        wait_for("the list of older sockets", || {
            (self.map("EXISTING_LOADED")[0]["formatted"]["value"].as_u64() == Some(1)).then_some(())
        });
    }

    /// What is in one of its maps, as bpftool reads it from the kernel.
    fn map(&self, name: &str) -> serde_json::Value {
        let ids = self.of_descriptors("map_id:");
        let bpftool = |what: &str, id: &str| -> serde_json::Value {
            let printed = output(Command::new("bpftool").args(["--json", "map", what, "id", id]));
            serde_json::from_slice(&printed.stdout).expect("bpftool prints JSON")
        };
        let id =
            ids.into_iter().find(|id: &String| bpftool("show", id)["name"] == name).expect("it has this map");
        bpftool("dump", &id)
    }

    /// The programs that it has attached, and how many bytes of instructions the kernel kept of each, as bpftool reads it
    /// from the kernel.
    pub fn programs(&self) -> HashMap<String, u64> {
        let ids = self.of_descriptors("prog_id:");
        let program = |id: &String| {
            let printed = output(Command::new("bpftool").args(["--json", "prog", "show", "id", id]));
            let shown: serde_json::Value =
                serde_json::from_slice(&printed.stdout).expect("bpftool prints JSON");
            (
                shown["name"].as_str().expect("a name").to_owned(),
                shown["bytes_xlated"].as_u64().expect("a number"),
            )
        };
        ids.iter().map(program).collect()
    }

    /// How many instructions the verifier went through in each of its programs, in no order. The kernel says it from Linux
    /// 5.16 on.
    pub fn verified_instructions(&self) -> Vec<u64> {
        let counts = self.of_descriptors("verified_insns:");
        counts.iter().map(|count| count.parse().expect("a number")).collect()
    }

    /// What the kernel says in the field `name` of its descriptors that have it.
    fn of_descriptors(&self, name: &str) -> Vec<String> {
        let fds = fs::read_dir(format!("/proc/{}/fdinfo", self.pid())).expect("the tracer runs");
        let value = |fd: io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(fd.expect("it can be listed").path()).ok()?;
            Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
        };
        fds.filter_map(value).collect()
    }

    /// How often the kernel did not run its programs, because one was interrupted while it ran on the same CPU
    /// and does not run twice at once. A second program on the tracepoint reports what happens then.
    pub fn skipped_by_kernel(&self) -> u64 {
        let skipped = self.of_descriptors("recursion_misses:");
        skipped.iter().map(|count| count.parse::<u64>().expect("a number")).sum()
    }

    /// Ends it as Ctrl-C does, and reads what it recorded.
    pub fn stop(self) -> Recording {
        self.stop_with_text().0
    }

    /// The same, as it is in the file.
    pub fn stop_for_text(self) -> String {
        self.stop_with_text().1
    }

    /// The same, read and as it is in the file.
    pub fn stop_with_text(self) -> (Recording, String) {
        let (recording, text, status) = self.end(Signal::INT);
        assert!(status.success(), "the tracer ended with {status}");
        (recording, text)
    }

    /// Ends it with a signal.
    pub fn end_with(self, signal: Signal) -> (Recording, ExitStatus) {
        let (recording, _, status) = self.end(signal);
        (recording, status)
    }

    /// What it recorded is compared with the kernel's account.
    fn end(self, signal: Signal) -> (Recording, String, ExitStatus) {
        let Self { mut process, file, witness, _folder, .. } = self;
        let testimony = witness.at_the_end();
        process.signal(signal);
        let status = process.0.wait().expect("the tracer can be waited for");
        let text = fs::read_to_string(file).expect("the recording can be read");
        let recording = Recording::parse(&text);
        testimony.compare(&recording);
        (recording, text, status)
    }

    /// Ends it without giving it a chance to say anything.
    pub fn kill(mut self) -> String {
        self.process.0.kill().expect("the tracer runs");
        self.process.0.wait().expect("the tracer can be waited for");
        self.text()
    }
}
