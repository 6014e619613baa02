//! What people see: the demonstration, the table, and JSON Lines on standard output.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use rustix::process::Signal;
use tcp_trace_model::event::Role;
use tcp_trace_tests::{
    Folder, Nginx, Recording, Running, Tracer, free_port, output, stay_on_one_cpu, tcp_trace, wait_for,
};

fn printed(command: &mut Command) -> String {
    String::from_utf8(output(command).stdout).expect("it prints text")
}

/// The lines that contain all of `words`, in this order.
fn lines_with<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    let contains = |line: &&str| {
        words.iter().try_fold(*line, |rest, word| rest.split_once(word).map(|(_, behind)| behind)).is_some()
    };
    text.lines().filter(contains).collect()
}

#[test]
fn the_demonstration_shows_one_request_from_syn_to_time_wait() {
    stay_on_one_cpu();
    let text = printed(tcp_trace().arg("demo"));
    let steps: [(&str, &[&str]); 11] = [
        ("demo-client[", &["├─ SYN x=", "▶"]),
        ("demo-server[", &["SYN_RECV"]),
        ("demo-server[", &["◀", "SYN+ACK y=", "ack=x+1"]),
        ("demo-client[", &["├─ ACK seq=x+1 ack=y+1", "▶"]),
        ("demo-client[", &["├─ GET /hello", "▶"]),
        ("demo-server[", &["◀", "200 OK, 12 B"]),
        ("demo-client[", &["├─ FIN+ACK seq=x+", "ack=y+", "▶"]),
        ("demo-server[", &["CLOSE_WAIT"]),
        ("demo-server[", &["◀", "FIN+ACK seq=y+"]),
        ("demo-client[", &["├─ ACK seq=x+", "▶"]),
        ("demo-client[", &["TIME_WAIT"]),
    ];
    let mut rest = text.as_str();
    for (process, words) in steps {
        let all = [&[process][..], words].concat();
        let lines = lines_with(rest, &all);
        let [line] = lines.as_slice() else {
            // A later step may look the same; the first is this one.
            assert!(!lines.is_empty(), "no {all:?} in:\n{text}");
            rest = rest.split_once(lines[0]).expect("it is there").1;
            continue;
        };
        rest = rest.split_once(*line).expect("it is there").1;
    }
    let ladder = text.lines().filter(|line| line.contains('│'));
    assert!(
        ladder.clone().all(|line| line.contains("demo-client[") || line.contains("demo-server[")),
        "{text}"
    );
    assert!(ladder.count() >= 17, "{text}");
    let sum = lines_with(&text, &["time     connect ", " + idle ", " + wait ", " = "]);
    assert_eq!(sum.len(), 1, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains(" 0 lost"), "{text}");
}

#[test]
fn a_socket_that_is_connected_to_itself_is_called_so() {
    let port = free_port();
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let connect = "import socket, sys
connection = socket.socket()
connection.bind(('127.0.0.1', int(sys.argv[1])))
connection.connect(connection.getsockname())
assert connection.getpeername() == connection.getsockname()
connection.close()
";
    output(Command::new("python3").args(["-c", connect, &port.to_string()]));
    tracer.wait_for_closed();
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    let (recording, text) = tracer.stop_with_text();
    fs::write(&file, text).expect("the folder is ours");
    let connections = recording.connections_of(Role::Client);
    let [connection] = connections[..] else { panic!("{connections:#?}") };
    assert!(connection.to_itself && connection.peer_connection.is_none(), "{connection:#?}");
    assert_eq!(connection.retransmits, 0);
    let show =
        |format: &str| printed(tcp_trace().args(["show", "--format", format, "--color", "never"]).arg(&file));
    let (table, ladder) = (show("table"), show("ladder"));
    assert_eq!(lines_with(&table, &["→ ESTABLISHED", "connected to itself"]).len(), 1, "{table}");
    assert!(ladder.contains(&format!("127.0.0.1:{port} (the same socket)")), "{ladder}");
    assert!(!ladder.contains("not traced"), "{ladder}");
}

#[test]
fn the_table_has_a_line_per_transition_and_exchange() {
    stay_on_one_cpu();
    let nginx = Nginx::start(free_port());
    let url = nginx.url("127.0.0.1", "/echo/table?x=1");
    let result = output(tcp_trace().args(["live", "--", "curl", "--silent", &url]));
    let body = String::from_utf8(result.stdout).expect("it is text");
    assert!(
        !body.is_empty() && !body.contains("PROCESS"),
        "the command's own output is left alone: {body:?}"
    );
    let text = String::from_utf8(result.stderr).expect("it prints text");
    let address = format!("→ 127.0.0.1:{}", nginx.port());
    for words in [
        &["curl[", "127.0.0.1:", address.as_str(), "CLOSE → SYN_SENT"][..],
        &["curl[", "127.0.0.1:", &address, "SYN_SENT → ESTABLISHED  after ", "s"],
        &["curl[", "127.0.0.1:", &address, "GET /echo/table?x=1 → 200 OK  ", " B in "],
        &["curl[", "127.0.0.1:", &address, "ESTABLISHED → FIN_WAIT1  after "],
        &["curl[", "127.0.0.1:", &address, "FIN_WAIT2 → TIME_WAIT  after "],
    ] {
        assert_eq!(lines_with(&text, words).len(), 1, "{words:?} in:\n{text}");
    }
    assert_eq!(lines_with(&text, &["1 socket, 1 HTTP exchange, ", " 0 lost"]).len(), 1, "{text}");
    assert_eq!(text.lines().count(), 8, "a heading, five transitions, one exchange, the totals:\n{text}");
}

#[test]
fn json_lines_on_standard_output_are_a_recording() {
    let nginx = Nginx::start(free_port());
    let url = nginx.url("127.0.0.1", "/echo/x");
    let body = output(Command::new("curl").args(["--silent", &url])).stdout;
    for verb in [&["live", "--format", "jsonl"][..], &["record", "-o", "-"]] {
        let result = output(tcp_trace().args(verb).args(["--", "curl", "--silent", &url]));
        let recording = Recording::parse(str::from_utf8(&result.stdout).expect("it prints text"));
        assert_eq!(recording.http().count(), 1, "{verb:?}");
        assert!(recording.session.filter.followed, "{verb:?}");
        assert_eq!(result.stderr, body, "what the command prints is not among the lines");
    }
}

#[test]
fn live_prints_into_a_file() {
    let nginx = Nginx::start(free_port());
    let url = nginx.url("127.0.0.1", "/echo/x");
    let body = output(Command::new("curl").args(["--silent", &url])).stdout;
    let folder = Folder::new();
    for (format, expected) in
        [("table", " UTC  PROCESS "), ("ladder", "GET /echo/x ─"), ("jsonl", "\"type\":\"http\"")]
    {
        let file = folder.file(format);
        let mut live = tcp_trace();
        live.args(["live", "--format", format, "-o"]).arg(&file).args(["--", "curl", "--silent", &url]);
        let result = output(&mut live);
        assert_eq!((result.stdout, result.stderr), (body.clone(), Vec::new()), "{format}");
        let text = fs::read_to_string(&file).expect("it was written");
        assert!(text.contains(expected), "{format}:\n{text}");
        let mode = fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "what went over the network is for its owner");
    }
}

#[test]
fn on_a_terminal_lines_are_whole_and_times_are_local() {
    let script = |line: &str| {
        let line = format!("stty columns 60; {} {line}", tcp_trace().get_program().display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        printed(
            script
                .env("TZ", "XST-3")
                .env("TERM", "xterm")
                .env("NO_COLOR", "1")
                .stdin(std::process::Stdio::null()),
        )
    };
    let text = script("live -- printf unfinished");
    // To the end of the line that the command left, and to the beginning of the next one.
    let before_each = format!("{}\r", " ".repeat(60));
    let (before, behind) = text.split_once("unfinished").unwrap_or_else(|| panic!("not in:\n{text}"));
    assert!(before.starts_with(&before_each) && before.contains(" XST  PROCESS "), "{text}");
    assert!(behind.starts_with(&format!("{before_each}0 sockets, ")), "{text}");
    assert!(script("live --utc -- true").contains(" UTC  PROCESS "));
}

#[test]
fn a_ladder_is_drawn_when_its_connection_ends_and_only_if_something_happened() {
    stay_on_one_cpu();
    let nginx = Nginx::start(free_port());
    let idle = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let idle_port = idle.local_addr().expect("it is bound").port();
    let _older = TcpStream::connect(("127.0.0.1", idle_port)).expect("it listens");
    let folder = Folder::new();
    let (printed, said) = (folder.file("ladders"), folder.file("said"));
    let ports = format!("{},{idle_port}", nginx.port());
    let mut live = tcp_trace();
    live.args(["live", "--format", "ladder", "--port", &ports])
        .stdout(fs::File::create(&printed).expect("the folder is ours"))
        .stderr(fs::File::create(&said).expect("the folder is ours"));
    let mut live = Running::start(&mut live);
    let read = |file| fs::read_to_string(file).expect("it is there");
    wait_for("word of what comes", || {
        read(&said).contains("each connection is drawn when it ends").then_some(())
    });
    // Until it is attached.
    let text = wait_for("a ladder, while TIME_WAIT goes on", || {
        output(Command::new("curl").args(["--silent", &nginx.url("127.0.0.1", "/echo/early")]));
        let text = read(&printed);
        text.contains("closed by the client").then_some(text)
    });
    assert!(text.contains("├─ GET /echo/early ─") && text.contains("TIME_WAIT after"), "{text}");
    live.signal(Signal::INT);
    assert!(live.0.wait().expect("it can be waited for").success());
    let text = read(&printed);
    assert!(!text.contains(&format!(":{idle_port}")), "{text}");
    assert_eq!(
        lines_with(&text, &["older connection", " on which nothing happened: not drawn"]).len(),
        1,
        "{text}"
    );
    let drawn = text.matches("├─ SYN x=").count();
    let numbers: std::collections::HashSet<_> = lines_with(&text, &["├─ SYN x="]).into_iter().collect();
    assert_eq!(numbers.len(), drawn, "each once:\n{text}");
}

#[test]
fn check_says_what_can_be_attached() {
    let text = printed(tcp_trace().arg("check"));
    for words in [
        &["kernel  "][..],
        &["CAP_BPF", "ok"],
        &["inet_sock_set_state", "ok"],
        &["segment_ingress", "ok"],
        &["uprobes  ", "ok"],
    ] {
        assert_eq!(lines_with(&text, words).len(), 1, "{words:?} in:\n{text}");
    }
}

#[test]
fn twice_verbose_shows_what_the_ebpf_programs_say() {
    let said = |verbose: &[&str]| {
        let live = ["live", "-o", "/dev/null"];
        let output = output(tcp_trace().args(live).args(verbose).args(["--", "true"]));
        String::from_utf8(output.stderr).expect("it says text")
    };
    assert!(said(&["-vv"]).contains("following process "));
    assert_eq!(said(&[]), "");
}

#[test]
fn explain_answers_in_either_language_and_refuses_what_it_does_not_know() {
    let english = printed(tcp_trace().args(["explain", "time-wait", "--lang", "en"]));
    assert!(english.starts_with("TIME_WAIT\n") && english.contains("tcp_tw_reuse"), "{english}");
    let chinese = printed(tcp_trace().env("LC_ALL", "zh_CN.UTF-8").args(["explain", "time", "wait"]));
    assert!(chinese.starts_with("TIME_WAIT\n") && chinese.contains("又名："), "{chinese}");
    let unknown = tcp_trace().args(["explain", "TIMEWIAT"]).output().expect("it runs");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("TIME_WAIT"), "{unknown:?}");
}
