//! What findings look like.

use tcp_trace_model::{
    event::Endpoints,
    record::{ConnectionId, Frame, Network, Stack},
};

use super::*;

fn leak() -> Finding {
    let ends =
        |local: &str| Endpoints { local: local.parse().unwrap(), peer: "10.0.0.5:443".parse().unwrap() };
    let connection = |local, fd, age_us, receive_queue| FindingConnection {
        connection: ConnectionId::of_socket(4101, 0),
        state: State::CloseWait,
        network: Network::new(ends(local), None),
        fd: Some(fd),
        age_us: Some(age_us),
        receive_queue,
        send_queue: 0,
        notes: vec!["last exchange: GET / → 200, complete".to_owned()],
    };
    let frame = |function: &str, file: &str, line| Frame {
        function: Some(function.to_owned()),
        file: Some(file.into()),
        line: Some(line),
        ..Frame::default()
    };
    let inner = Frame {
        function: Some("connect".to_owned()),
        module: Some("/lib/libc.so.6".into()),
        ..Frame::default()
    };
    let stack = |moment, place: &str, frames| FindingStack {
        moment,
        place: place.to_owned(),
        sockets: 2,
        stack: Stack { frames, ..Stack::default() },
    };
    let callers = (1..10).map(|line| frame("call", "/src/main.c", line));
    let opened =
        [inner.clone(), frame("open_pool", "/src/pool.c", 88), inner].into_iter().chain(callers).collect();
    Finding {
        stacks: vec![
            stack(StackMoment::Connect, "pool.c:88 (open_pool)", opened),
            stack(StackMoment::Eof, "unknown code (the process had ended)", Vec::new()),
        ],
        code: "close_wait".to_owned(),
        severity: Severity::Warning,
        summary:
            "3 sockets of api (pid 812), connected to 10.0.0.5:443, in CLOSE_WAIT for 3 min 5 s to 2 h: the \
                  peer has closed, read() has returned 0 and nobody has called close()."
                .to_owned(),
        process: Some(Process { pid: 812, name: "api".into(), uid: 1000, ..Process::default() }),
        command: vec!["api".into(), "--port".into(), "\u{1b}[31m".into()],
        shared_with: vec![Process { pid: 813, name: "worker".into(), ..Process::default() }],
        evidence: Evidence::default()
            .and("sockets", 3u32)
            .and("oldest_us", 7_200_000_000u64)
            .and("unread_bytes", 1536u32)
            .and("peers", vec!["10.0.0.5 (3)".to_owned()]),
        why: "The peer closed.".to_owned(),
        advice: "Close it.".to_owned(),
        explain: "CLOSE_WAIT-leak".to_owned(),
        connections: vec![
            connection("10.0.0.1:43210", 12, 7_200_000_000, 0),
            connection("10.0.0.1:5", 7, 185_000_000, 1),
        ],
        connections_omitted: 1,
        ..Finding::default()
    }
}

fn printed(finding: Finding) -> String {
    printed_in(finding, None)
}

fn printed_in(finding: Finding, columns: Option<usize>) -> String {
    let mut output = Vec::new();
    let mut sink = Findings::new(&mut output, Palette::PLAIN, columns);
    sink.record(&Record::Finding(Box::new(finding))).unwrap();
    sink.line("1 finding in 3 sockets.");
    sink.finish().unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn a_finding_says_what_evidence_why_and_what_to_do() {
    insta::assert_snapshot!(printed(leak()), @r"
    WARNING  3 sockets of api (pid 812), connected to 10.0.0.5:443, in CLOSE_WAIT for 3 min 5 s to 2 h:
             the peer has closed, read() has returned 0 and nobody has called close().
      evidence  sockets 3, oldest 2 h, unread 1.50 KiB
                peers 10.0.0.5 (3)
                process api[812], user 1000: api --port \u{1b}[31m
                also open in worker[813]
                fd 12  10.0.0.1:43210 → 10.0.0.5:443  CLOSE_WAIT 2 h
                fd 7   10.0.0.1:5 → 10.0.0.5:443      CLOSE_WAIT 3 min 5 s  EOF not read
                  each: last exchange: GET / → 200, complete
                and 1 more
      stacks    opened: pool.c:88 (open_pool) ← main.c:1 (call) ← main.c:2 (call) ← main.c:3 (call) ←
                  main.c:4 (call) ← …
                EOF read: unknown code (the process had ended)
      why       The peer closed.
      do        Close it.
      explain   tcp-trace explain CLOSE_WAIT-leak

    1 finding in 3 sockets.
    ");
}

#[test]
fn no_line_is_wider_than_the_page() {
    let long = "words and more words, ".repeat(20);
    let finding = Finding { summary: long.clone(), why: long.clone(), advice: long, ..leak() };
    for (columns, expected) in [(None, 100), (Some(80), 80), (Some(200), 140), (Some(7), 60)] {
        let text = printed_in(finding.clone(), columns);
        for line in text.lines() {
            assert!(width(line) <= expected, "{line}");
            assert_eq!(line.trim_end(), line);
        }
        assert!(text.lines().any(|line| width(line) > expected - 20), "the width is used:\n{text}");
    }
}

#[test]
fn notes_are_whole_and_those_in_common_come_once() {
    let mut finding = leak();
    let note = format!(
        "last exchange: GET /{} → 200, complete, the response said Connection: close",
        "a".repeat(50)
    );
    finding.connections.extend_from_within(..);
    for connection in &mut finding.connections[..3] {
        connection.notes = vec![note.clone()];
    }
    finding.command = vec!["python3".into(), "-c".into(), "import socket\n".repeat(100).as_str().into()];
    let text = printed(finding);
    let of_connections = text.split_once("also open in worker[813]\n").unwrap().1;
    insta::assert_snapshot!(of_connections.split_once("  stacks").unwrap().0, @"
    fd 12  10.0.0.1:43210 → 10.0.0.5:443  CLOSE_WAIT 2 h
    fd 7   10.0.0.1:5 → 10.0.0.5:443      CLOSE_WAIT 3 min 5 s  EOF not read
    fd 12  10.0.0.1:43210 → 10.0.0.5:443  CLOSE_WAIT 2 h
      each: last exchange: GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa → 200,
        complete, the response said Connection: close
    fd 7   10.0.0.1:5 → 10.0.0.5:443      CLOSE_WAIT 3 min 5 s  EOF not read
      last exchange: GET / → 200, complete
    and 1 more
    ");
    let command = text.lines().filter(|line| line.contains("import socket")).count();
    assert!(command <= 3, "a script is not printed whole:\n{text}");
}
