//! Whose code leaks: `diagnose --for` names the lines that opened the sockets and read their ends, of programs in several
//! languages; their twins, which close, have no finding.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tcp_trace_model::record::{Fact, Finding, StackMoment};
use tcp_trace_tests::{
    Diagnosing, Folder, Running, Script, TimeWindow, assert_ages, free_port, now, number,
    pool::{compile_c, compile_rust, line, source},
    wait_for,
};

/// How long a socket may wait here.
const MIN_AGE: [&str; 2] = ["--min-age", "1s"];
/// For how long the sockets wait before they are judged.
const WAIT: Duration = Duration::from_secs(3);
const LEAKED: usize = 37;

/// A program that leaks, or one that closes, when it has done so.
struct Leak {
    process: Running,
    port: u16,
    /// The thread that used the connections last.
    tid: String,
    /// Before its first connection.
    started: Instant,
    /// Behind its last.
    done: Instant,
}

impl Leak {
    fn start(mut program: Command, port: u16, closes: bool) -> Self {
        program.args([&port.to_string(), &LEAKED.to_string()]).args(closes.then_some("close"));
        let started = Instant::now();
        let mut process = Running::start(program.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut tid = String::new();
        let stdout = process.0.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut tid).expect("it prints a line");
        Self { process, port, tid: tid.trim().to_owned(), started, done: Instant::now() }
    }

    /// Waits, and gives what `diagnosing` finds, which is this leak.
    fn judge(&self, diagnosing: Diagnosing) -> Finding {
        wait_for("the age", || (self.done.elapsed() > WAIT).then_some(()));
        let youngest = self.done.elapsed();
        let diagnosis = diagnosing.end();
        let oldest = self.started.elapsed();
        let finding = diagnosis.only().clone();
        assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("close_wait", Some("not_closed")));
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(self.process.pid()));
        assert_eq!(number(&finding, "sockets"), LEAKED as u64);
        assert!(finding.summary.contains(&format!("connected to 127.0.0.1:{}", self.port)), "{finding:#?}");
        for connection in &finding.connections {
            let age = Duration::from_micros(connection.age_us.expect("it was traced"));
            assert!(age >= youngest.mul_f64(0.9) && age <= oldest.mul_f64(1.1), "{age:?} of {oldest:?}");
        }
        finding
    }
}

/// The only item of a list in the evidence.
fn only<'a>(finding: &'a Finding, name: &str) -> &'a str {
    match finding.evidence.get(name) {
        Some(Fact::List(list)) if list.len() == 1 => &list[0],
        other => panic!("{name} is {other:?} in {finding:#?}"),
    }
}

/// Traces a program that leaks from before its start, and the same program where it closes.
fn leak(program: impl Fn() -> Command) -> (Leak, Finding) {
    let port = free_port();
    let diagnosing = Diagnosing::start(port, &MIN_AGE);
    let leak = Leak::start(program(), port, false);
    let finding = leak.judge(diagnosing);
    let port = free_port();
    let diagnosing = Diagnosing::start(port, &["--min-age", "1ms"]);
    let _healthy = Leak::start(program(), port, true);
    diagnosing.end().expect_none();
    (leak, finding)
}

/// Checks the lines of a program in a compiled language.
fn assert_lines(name: &str, program: impl Fn() -> Command) {
    let (leak, finding) = leak(program);
    let all = format!(": {LEAKED} sockets");
    let places = [
        ("opened_at", StackMoment::Connect, "line of connect", "open_pool"),
        ("end_read_at", StackMoment::Eof, "line of eof", "read_to_the_end"),
    ];
    for (fact, moment, remark, function) in places {
        let place = only(&finding, fact);
        assert!(place.starts_with(&format!("{name}:{} (", line(name, remark))), "{place}");
        assert!(place.contains(function) && place.ends_with(&all), "{place}");
        let mut stacks = finding.stacks.iter().filter(|stack| stack.moment == moment);
        let stack = stacks.next().unwrap_or_else(|| panic!("no stack of {fact}: {finding:#?}"));
        assert_eq!((stack.sockets, stack.stack.truncated), (LEAKED as u64, false));
        assert_eq!(format!("{}{all}", stack.place), place);
        let functions: Vec<_> =
            stack.stack.frames.iter().filter_map(|frame| frame.function.as_deref()).collect();
        assert!(functions.iter().any(|known| known.ends_with(function)), "{functions:?}");
    }
    assert!(finding.summary.contains(&format!(", opened at {name}:")), "{}", finding.summary);
    assert!(
        only(&finding, "last_used_by").ends_with(&format!("(tid {}), a read{all}", leak.tid)),
        "{finding:#?}"
    );
}

#[test]
fn optimised_c() {
    let folder = Folder::new();
    let program = compile_c(&folder, "pool.c", &["-g", "-O2"]);
    assert_lines("pool.c", || Command::new(&program));
}

#[test]
fn optimised_rust() {
    let folder = Folder::new();
    let program = compile_rust(&folder, "pool.rs");
    assert_lines("pool.rs", || Command::new(&program));
}

#[test]
fn an_interpreter_is_reported_as_one() {
    let (_leak, finding) = leak(|| {
        let mut python = Command::new("python3");
        python.arg(source("pool.py"));
        python
    });
    for fact in ["opened_at", "end_read_at"] {
        let place = only(&finding, fact);
        // The executable, or libpython3.11.so.1.0 where it is in a library.
        let interpreter = place.split_once(" (interpreter; no line): ").expect("it is one").0;
        assert!(interpreter.trim_start_matches("lib").starts_with("python3"), "{place}");
    }
}

#[test]
fn of_sockets_that_are_older_the_opening_was_not_seen() {
    let (folder, port) = (Folder::new(), free_port());
    let leak = Leak::start(Command::new(compile_c(&folder, "pool.c", &["-g", "-O2"])), port, false);
    let finding = leak.judge(Diagnosing::start(port, &MIN_AGE));
    let expected = format!("not seen: {LEAKED} sockets were opened before the trace");
    assert_eq!(finding.evidence.get("opening"), Some(&Fact::Words(expected)));
    assert_eq!((finding.evidence.get("opened_at"), finding.stacks.as_slice()), (None, &[][..]));
}

#[test]
fn of_accepted_sockets_the_first_use_is_reported() {
    let server = Script::start_with("python3", "stuck.py", &["leak"]);
    let diagnosing = Diagnosing::start(server.port(), &MIN_AGE);
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    client.write_all(b"hello").expect("it is connected");
    drop(client);
    let closed = Instant::now();
    wait_for("the age", || (closed.elapsed() > WAIT).then_some(()));
    let diagnosis = diagnosing.end();
    let finding = diagnosis.only();
    assert_eq!(finding.evidence.get("opened_at"), None, "{finding:#?}");
    for fact in ["first_used_at", "end_read_at"] {
        assert!(only(finding, fact).contains("(interpreter; no line): 1 socket"), "{finding:#?}");
    }
    assert!(only(finding, "last_used_by").contains(", a read: 1 socket"), "{finding:#?}");
}

/// A program that stops reading, or one that reads all, and the client that sends as much as it takes.
fn assert_reader(name: &str, program: &std::path::Path) {
    for reads_all in [false, true] {
        let port = free_port();
        let diagnosing = Diagnosing::start(port, &["--min-stall", "1s"]);
        let mut reader = Command::new(program);
        reader.arg(port.to_string()).args(reads_all.then_some("all"));
        let mut reader = Running::start(reader.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdout = reader.0.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut String::new()).expect("it says that it listens");
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        client.set_nonblocking(true).expect("it is a socket");
        let from = now();
        let mut taken = TimeWindow::from(from);
        wait_for("the time", || {
            let mut before = now();
            while client.write(&[b'x'; 1 << 16]).is_ok() {
                taken = TimeWindow { from: before, to: now() };
                before = taken.to;
            }
            (now().micros_since(if reads_all { from } else { taken.to }) > 2_000_000).then_some(())
        });
        let diagnosis = diagnosing.end();
        if reads_all {
            diagnosis.expect_none();
            continue;
        }
        let finding = diagnosis.only();
        assert_eq!(
            (finding.code.as_str(), finding.cause.as_deref()),
            ("zero_window", Some("process_not_reading"))
        );
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(reader.pid()));
        assert_ages(finding, taken);
        let place = only(finding, "first_used_at");
        assert!(place.starts_with(&format!("{name}:{} (", line(name, "line of read"))), "{place}");
        assert!(place.contains("read_some") && place.ends_with(": 1 socket"), "{place}");
        let last = only(finding, "last_used_by");
        assert!(last.ends_with(&format!("(tid {}), a read: 1 socket", reader.pid())), "{last}");
    }
}

#[test]
fn the_line_of_a_process_that_does_not_read_is_reported() {
    let folder = Folder::new();
    assert_reader("reader.c", &compile_c(&folder, "reader.c", &["-g", "-O2"]));
    assert_reader("reader.rs", &compile_rust(&folder, "reader.rs"));
}
