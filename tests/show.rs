//! What `show` prints of a real session, as a user without privileges, is what was traced.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use jiff::tz::TimeZone;
use rustix::process::Signal;
use serde_json::Value;
use tcp_trace::sink::{Ladder, Sink, Table};
use tcp_trace_model::record::Record;
use tcp_trace_tests::{
    Curl, Folder, Nginx, Running, Tracer, curl, free_port, output, stay_on_one_cpu, tcp_trace, unprivileged,
    wait_for,
};

/// A recording of curl at nginx over both IP versions, at both ends.
struct Session {
    folder: Folder,
    text: String,
    records: Vec<Record>,
    curls: Vec<Curl>,
}

impl Session {
    fn record() -> Self {
        let nginx = Nginx::start(free_port());
        let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
        let curls = requests(&nginx);
        // The server's ends are closed last; the clients' go on in TIME_WAIT.
        tracer.wait_for_lines("connection", 2);
        let (recording, text) = tracer.stop_with_text();
        let session = Self { folder: Folder::new(), records: recording.records, text, curls };
        session.write("recording.jsonl", &session.text);
        session
    }

    /// A file that everybody can read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.file(name);
        fs::write(&path, text).expect("the folder is ours");
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, readable).expect("the folder is ours");
        path
    }

    /// `show`, without privileges, of a file in the folder.
    fn show(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = unprivileged(&self.folder);
        command.current_dir(self.folder.path()).env("TZ", "UTC").stdin(Stdio::null());
        command.arg("show").arg(name).args(arguments);
        command
    }

    /// What `show` prints of the recording, without a word on stderr.
    fn shown(&self, arguments: &[&str]) -> String {
        let Output { stdout, stderr, .. } = output(&mut self.show("recording.jsonl", arguments));
        assert_eq!(String::from_utf8_lossy(&stderr), "", "{arguments:?}");
        String::from_utf8(stdout).expect("it prints text")
    }
}

/// Two requests on one connection over IPv4, one over IPv6.
fn requests(nginx: &Nginx) -> Vec<Curl> {
    let [echo, missing] = ["/echo/a", "/missing"].map(|path| nginx.url("127.0.0.1", path));
    let v4 = curl(&[&echo, "--output", "/dev/null", &missing]);
    let v6 = curl(&[&nginx.url("[::1]", "/echo/b")]);
    [v4, v6].concat()
}

/// What a sink makes of records.
fn printed(sink: impl FnOnce(&mut Vec<u8>) -> Box<dyn Sink + '_>, records: &[Record]) -> String {
    let mut text = Vec::new();
    let mut sink = sink(&mut text);
    for record in records {
        sink.record(record).expect("a Vec takes all");
    }
    sink.finish().expect("a Vec takes all");
    drop(sink);
    String::from_utf8(text).expect("it prints text")
}

#[test]
fn each_format_is_that_of_the_records() {
    let session = Session::record();
    assert_eq!(session.shown(&["--format", "jsonl"]), session.text);
    let table = printed(|text| Box::new(Table::new(text, TimeZone::UTC)), &session.records);
    assert_eq!(session.shown(&[]), table);
    assert!(
        table.contains("GET /echo/a → 200 OK") && table.contains("GET /missing → 404 Not Found"),
        "{table}"
    );
    let ladder = printed(|text| Box::new(Ladder::new(text, TimeZone::UTC)), &session.records);
    assert_eq!(session.shown(&["--format", "ladder"]), ladder);
    assert!(ladder.lines().all(|line| line.chars().count() <= 80), "{ladder}");
    assert_eq!(ladder.matches("├─ SYN x=").count(), 2, "{ladder}");
}

/// The lines of a table without what two tracers need not agree on: the nanosecond of each event, how many
/// events of others there were, and the order of different connections.
fn comparable(table: &str) -> Vec<String> {
    let comparable = |line: &str| {
        if let Some((totals, lost)) = line.split_once(" events, ") {
            return format!("{:?} {lost}", totals.rsplit_once(' ').map(|(counts, _events)| counts));
        }
        // As in `after 45 us` and `in 1.23 ms`.
        let mut words_of_figure = 0;
        let words = line.split_whitespace().skip(1).filter(|word| {
            let is_figure = words_of_figure > 0;
            words_of_figure = if matches!(*word, "after" | "in") { 2 } else { words_of_figure.max(1) - 1 };
            !is_figure
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<_> = table.lines().map(comparable).collect();
    lines.sort();
    lines
}

#[test]
fn the_table_is_what_live_printed() {
    // One that ends before the other would not have the end of a TIME_WAIT.
    stay_on_one_cpu();
    let nginx = Nginx::start(free_port());
    let port = nginx.port().to_string();
    for filter in [&["--port", port.as_str()][..], &["--port", &port, "--comm", "nginx"]] {
        let folder = Folder::new();
        let printed = folder.file("live.txt");
        let mut live = tcp_trace();
        live.arg("live").args(filter).stdout(File::create(&printed).expect("the folder is ours"));
        let mut live = Running::start(&mut live);
        let text = || fs::read_to_string(&printed).expect("it is there");
        wait_for("the heading", || text().contains(" UTC  PROCESS ").then_some(()));
        let tracer = Tracer::start(&["--port", &port]);
        let curls = requests(&nginx);
        tracer.wait_for_lines("connection", 2);
        live.signal(Signal::INT);
        assert!(live.0.wait().expect("it can be waited for").success());
        let recording = folder.file("recording.jsonl");
        fs::write(&recording, tracer.stop_for_text()).expect("the folder is ours");
        let shown = output(tcp_trace().arg("show").arg(&recording).args(filter));
        let shown = String::from_utf8(shown.stdout).expect("it prints text");
        assert_eq!(comparable(&shown), comparable(&text()), "{filter:?}\n{shown}\n{}", text());
        assert!(shown.lines().count() > 10 && curls.len() == 3, "{shown}");
    }
}

/// What a filter has to find, according to the JSON alone.
type Wanted<'a> = &'a dyn Fn(&Value) -> bool;

/// The recording's lines about connections of which some line is wanted, and those about none.
fn expected<'a>(text: &'a str, wanted: Wanted<'_>) -> Vec<&'a str> {
    let parse = |line: &str| -> Value { serde_json::from_str(line).expect("it is JSON") };
    let mut chosen = HashMap::new();
    for value in text.lines().map(parse) {
        if let Some(id) = value["connection"].as_str() {
            *chosen.entry(id.to_owned()).or_insert(false) |= wanted(&value);
        }
    }
    let is_chosen = |line: &&str| parse(line)["connection"].as_str().is_none_or(|id| chosen[id]);
    text.lines().filter(is_chosen).collect()
}

#[test]
fn each_filter_chooses_whole_connections() {
    let session = Session::record();
    let (pid, port) = (session.curls[0].pid, session.curls[0].local_port);
    let ports = |value: &Value| ["local", "peer"].map(|end| value["network"][end]["port"].as_u64());
    let address = |value: &Value| value["network"]["local"]["address"].as_str() == Some("::1");
    let comm = |value: &Value, name: &str| value["process"]["name"] == name;
    let (pid_text, port_text) = (pid.to_string(), port.to_string());
    let filters: [(&[&str], Wanted<'_>, usize); 7] = [
        (&["--pid", &pid_text], &|value| value["process"]["pid"] == pid, 1),
        (&["--comm", "nginx"], &|value| comm(value, "nginx"), 2),
        (&["--comm", "curl,nginx"], &|value| comm(value, "curl") || comm(value, "nginx"), 4),
        (&["--port", &port_text], &|value| ports(value).contains(&Some(u64::from(port))), 2),
        (&["--addr", "::1"], &address, 2),
        (&["--addr", "::1", "--comm", "curl"], &|value| address(value) && comm(value, "curl"), 1),
        (&["--port", "1"], &|_| false, 0),
    ];
    for (filter, wanted, at_least) in filters {
        let lines = expected(&session.text, wanted);
        let json = session.shown(&[filter, &["--format", "jsonl"]].concat());
        assert_eq!(json.lines().collect::<Vec<_>>(), lines, "{filter:?}");
        let of_type = |kind| lines.iter().filter(|line| line.starts_with(kind)).count();
        let connections = of_type("{\"type\":\"connection\"");
        // Listeners have their lines too.
        assert!(connections >= at_least && (at_least > 0 || connections == 0), "{filter:?}: {connections}");
        // Through a pipe, which can be read only once, the same lines come, if later.
        let mut piped = session.show("-", &[filter, &["--format", "jsonl"]].concat());
        let recording = session.folder.file("recording.jsonl");
        let mut cat = Running::start(Command::new("cat").arg(recording).stdout(Stdio::piped()));
        piped.stdin(cat.0.stdout.take().expect("it is piped"));
        let piped = String::from_utf8(output(&mut piped).stdout).expect("it prints text");
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&piped), sorted(&json), "{filter:?}");
        let table = session.shown(filter);
        let rows = of_type("{\"type\":\"transition\"") + of_type("{\"type\":\"http\"");
        assert_eq!(table.lines().count(), rows + 2, "a heading and the totals: {filter:?}\n{table}");
        let plural = if connections == 1 { "" } else { "s" };
        assert!(table.contains(&format!("\n{connections} socket{plural}, ")), "{filter:?}\n{table}");
        let ladder = session.shown(&[filter, &["--format", "ladder"]].concat());
        let syn_sent = table.matches("CLOSE → SYN_SENT").count();
        assert_eq!(ladder.matches("│ SYN_SENT ").count(), syn_sent, "{filter:?}\n{ladder}");
    }
}

/// Standard output and standard error; it must succeed.
fn both(command: &mut Command) -> (String, String) {
    let Output { stdout, stderr, .. } = output(command);
    (String::from_utf8(stdout).expect("text"), String::from_utf8(stderr).expect("text"))
}

#[test]
fn a_file_that_is_cut_is_shown_up_to_there() {
    let session = Session::record();
    let text = &session.text;
    let ends: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
    let last = ends[ends.len() - 2];
    for cut in [
        ends[0] + 1,
        ends[3] - 1,
        ends[3],
        ends[3] + 1,
        ends[4] + 10,
        last,
        last + 1,
        last + 2,
        text.len() - 2,
    ] {
        session.write("cut.jsonl", &text[..cut]);
        let (shown, said) = both(&mut session.show("cut.jsonl", &["--format", "jsonl"]));
        let lines = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(shown.lines().collect::<Vec<_>>(), text.lines().take(lines).collect::<Vec<_>>(), "{cut}");
        assert_eq!(said.lines().count(), 1, "{cut}: {said}");
        assert!(said.contains("cut.jsonl: ") && said.contains("the totals are missing"), "{cut}: {said}");
        let is_in_line = cut != ends[lines - 1] && cut != ends[lines - 1] + 1;
        let place =
            if is_in_line { format!("in line {}:", lines + 1) } else { format!("after line {lines}:") };
        assert!(said.contains(&place), "{cut}: {place} in {said}");
        for format in ["table", "ladder"] {
            assert_eq!(both(&mut session.show("cut.jsonl", &["--format", format])).1, said, "{cut} {format}");
        }
    }
    session.write("cut.jsonl", &text[..text.len() - 1]);
    let (shown, said) = both(&mut session.show("cut.jsonl", &["--format", "jsonl"]));
    assert_eq!((shown, said.as_str()), (text.clone(), ""), "only the last newline is missing");
}

#[test]
fn lines_that_are_no_records_are_reported_and_skipped() {
    let session = Session::record();
    let (head, rest) = session.text.split_once('\n').expect("it has lines");
    let later = r#"{"type":"later","time":"2026-09-21T14:13:20Z"}"#;
    session.write("broken.jsonl", &format!("{head}\n{later}\nnot a record\n{{\"type\":\"ready\"}}\n{rest}"));
    let (shown, said) = both(&mut session.show("broken.jsonl", &["--format", "jsonl"]));
    assert_eq!(shown, format!("{head}\n{later}\n{rest}"));
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said.len(), 3, "{said:?}");
    for (line, words) in said.iter().zip([
        ["broken.jsonl: line 3: ", "not JSON"],
        ["broken.jsonl: line 4: ", "missing field `time`"],
        ["broken.jsonl: ", "2 lines were skipped"],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line}");
    }
    let (table, _) = both(&mut session.show("broken.jsonl", &[]));
    assert_eq!(table, session.shown(&[]));
}

#[test]
fn what_cannot_be_shown_is_reported_in_one_line() {
    let session = Session::record();
    session.write("newer.jsonl", &session.text.replace("\"version\":1", "\"version\":2"));
    session.write("empty.jsonl", "");
    session.write("text.txt", "hello\nworld\n");
    session.write("headless.jsonl", session.text.split_once('\n').expect("it has lines").1);
    session.write("secret.jsonl", &session.text);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(session.folder.file("secret.jsonl"), private).expect("the folder is ours");
    for (name, words) in [
        ("newer.jsonl", "version 2"),
        ("empty.jsonl", "it is empty"),
        ("text.txt", "not a recording of tcp-trace: its first line is not JSON"),
        ("headless.jsonl", "not a recording of tcp-trace: its first line is no `session`"),
        ("missing.jsonl", "No such file"),
        (".", "Is a directory"),
        ("secret.jsonl", "Permission denied"),
    ] {
        for arguments in [&[][..], &["--port", "80"], &["--format", "ladder"], &["--format", "jsonl"]] {
            let output = session.show(name, arguments).output().expect("it can be started");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(5), "{name} {arguments:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{name}: {said}");
            assert!(
                said.contains(&format!("cannot read {name}: ")) && said.contains(words),
                "{name}: {said}"
            );
            assert!(output.stdout.is_empty(), "{name}");
        }
    }
}

/// The session's lines again and again, until there are this many bytes.
fn write_large(session: &Session, bytes: usize) -> io::Result<()> {
    let lines: Vec<_> = session.text.split_inclusive('\n').collect();
    let (head, rest) = (lines[..2].concat(), lines[2..lines.len() - 1].concat());
    let mut file = io::BufWriter::new(File::create(session.write("large.jsonl", ""))?);
    file.write_all(head.as_bytes())?;
    for _ in 0..bytes / rest.len() {
        file.write_all(rest.as_bytes())?;
    }
    file.write_all(lines[lines.len() - 1].as_bytes())?;
    file.flush()
}

#[test]
fn a_large_recording_is_not_read_into_memory_and_a_broken_pipe_is_success() {
    let session = Session::record();
    write_large(&session, 64 << 20).expect("the folder is ours");
    for arguments in [&[][..], &["--format", "jsonl"], &["--comm", "nginx"], &["--port", "1"]] {
        let mut limited = Command::new("prlimit");
        let show = session.show("large.jsonl", arguments);
        limited.arg("--data=16777216").arg(show.get_program()).args(show.get_args());
        limited.current_dir(session.folder.path()).stdout(Stdio::null());
        let status = limited.status().expect("prlimit can be started");
        assert!(status.success(), "{arguments:?}: {status}");
    }
    for format in ["table", "jsonl"] {
        let mut show = session.show("large.jsonl", &["--format", format]);
        let mut show = show.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let mut head = Command::new("head");
        head.args(["-n", "1"]).stdin(show.stdout.take().expect("it is piped"));
        assert_eq!(output(&mut head).stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
        // It holds an end of the pipe too.
        drop(head);
        let show = show.wait_with_output().expect("it can be waited for");
        assert!(show.status.success(), "{format}: {}", show.status);
        assert_eq!(String::from_utf8_lossy(&show.stderr), "", "{format}");
    }
}

#[test]
fn a_session_can_be_piped_into_it() {
    let nginx = Nginx::start(free_port());
    let url = nginx.url("127.0.0.1", "/echo/x");
    let script = format!("\"$0\" record -o - -- curl -so /dev/null {url} | \"$0\" show - --comm curl");
    let (table, said) = both(Command::new("sh").args(["-c", &script]).arg(tcp_trace().get_program()));
    assert_eq!(said, "");
    assert!(table.contains("GET /echo/x → 200 OK"), "{table}");
    assert!(table.contains("\n1 socket, 1 HTTP exchange, "), "{table}");
}

#[test]
fn colours_are_for_terminals() {
    const TERMINAL: &str = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))";
    let session = Session::record();
    let run = |is_terminal: bool, no_color: &str, arguments: &[&str]| {
        let show = session.show("recording.jsonl", arguments);
        let words: Vec<_> = [show.get_program()].into_iter().chain(show.get_args()).collect();
        let mut command = if is_terminal { Command::new("python3") } else { Command::new(words[0]) };
        if is_terminal {
            command.args(["-c", TERMINAL]).arg(words[0]);
        }
        command.args(&words[1..]).current_dir(session.folder.path()).stdin(Stdio::null());
        command.env("TZ", "UTC").env("TERM", "xterm").env("NO_COLOR", no_color);
        both(&mut command).0.replace("\r\n", "\n")
    };
    for format in ["table", "ladder"] {
        let plain = session.shown(&["--format", format]);
        assert!(!plain.contains('\u{1b}'), "{plain}");
        let arguments = |when| ["--format", format, "--color", when];
        for (is_terminal, no_color, when, is_coloured) in [
            (true, "", "auto", true),
            (true, "1", "auto", false),
            (true, "", "never", false),
            (true, "1", "always", true),
            (false, "", "auto", false),
            (false, "", "always", true),
        ] {
            let text = run(is_terminal, no_color, &arguments(when));
            let case = format!("{format} {is_terminal} {no_color:?} {when}");
            assert_eq!(text.contains("\u{1b}[36mESTABLISHED\u{1b}[0m"), is_coloured, "{case}: {text:?}");
            let codes = ["\u{1b}[36m", "\u{1b}[2m", "\u{1b}[33m", "\u{1b}[31m", "\u{1b}[0m"];
            assert_eq!(codes.iter().fold(text, |text, code| text.replace(code, "")), plain, "{case}");
        }
    }
    for is_terminal in [true, false] {
        let text = run(is_terminal, "", &["--format", "jsonl", "--color", "always"]);
        assert_eq!(text, session.text, "JSON Lines are never coloured");
    }
}
