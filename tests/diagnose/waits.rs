//! How long requests wait, against the client's own clock.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use tcp_trace_tests::{
    Diagnosing, Diagnosis, Folder, Socket, TimeWindow, Tracer, accept, assert_between, assert_since,
    free_port, now, number, ss, tcp_trace, wait_for, while_doing, with_patience,
};

const GET: &[u8] = b"GET /report HTTP/1.1\r\nHost: x\r\n\r\n";

/// A client whose request the server has read and not answered, and when it was sent.
pub(crate) fn asked(port: u16) -> (TcpStream, TcpStream, TimeWindow) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let mut client = with_patience(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
    let mut server = accept(&listener);
    let from = now();
    client.write_all(GET).expect("it is connected");
    server.read_exact(&mut [0; GET.len()]).expect("it comes");
    (client, server, TimeWindow { from, to: now() })
}

fn wait_2_s(since: TimeWindow) {
    wait_for("the time", || (now().micros_since(since.to) > 2_000_000).then_some(()));
}

fn assert_code(diagnosis: &Diagnosis, cause: &str) {
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("no_response", Some(cause)));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
}

#[test]
fn a_request_that_waits_is_as_old_as_the_client_says() {
    let port = free_port();
    let diagnosing = Diagnosing::start(port, &["--min-age", "1s"]);
    let (client, server, sent) = asked(port);
    wait_2_s(sent);
    let diagnosis = diagnosing.end();
    assert_code(&diagnosis, "waiting");
    assert_since(number(diagnosis.only(), "longest_wait_us"), sent, diagnosis.only());
    drop((client, server));
    // And of a recording until its end.
    let port = free_port();
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let (client, server, sent) = asked(port);
    wait_2_s(sent);
    let (folder, text) = (Folder::new(), tracer.stop_for_text());
    drop((client, server));
    let file = folder.file("recording.jsonl");
    std::fs::write(&file, &text).expect("the folder is ours");
    let name = file.to_str().expect("it is UTF-8");
    let diagnosis = Diagnosis::with(tcp_trace(), &["--from", name, "--min-age", "1s"]);
    assert_code(&diagnosis, "waiting");
    assert_since(number(diagnosis.only(), "longest_wait_us"), sent, diagnosis.only());
    Diagnosis::with(tcp_trace(), &["--from", name]).expect_none();
    // Of one that was cut off the end is not known.
    let cut = text.trim_end().rsplit_once('\n').expect("it has lines").0;
    std::fs::write(&file, cut).expect("the folder is ours");
    let diagnosis = Diagnosis::with(tcp_trace(), &["--from", name, "--min-age", "1s"]);
    assert!(diagnosis.said.contains("cut off or still being recorded"), "{}", diagnosis.said);
}

#[test]
fn a_request_that_the_client_gave_up_lasted_as_long_as_the_client_says() {
    let port = free_port();
    let diagnosing = Diagnosing::start(port, &[]);
    let (client, mut server, sent) = asked(port);
    wait_2_s(sent);
    let given_up = while_doing(|| drop(client));
    assert_eq!(server.read(&mut [0]).expect("it ends"), 0);
    drop(server);
    let diagnosis = diagnosing.end();
    assert_code(&diagnosis, "client_gave_up");
    assert_between(number(diagnosis.only(), "longest_wait_us"), sent, given_up, diagnosis.only());
}

#[test]
fn a_request_that_is_answered_has_no_finding() {
    let port = free_port();
    let diagnosing = Diagnosing::start(port, &["--min-age", "1s"]);
    let (mut client, mut server, sent) = asked(port);
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("it is connected");
    client.read_exact(&mut [0; 40]).expect("it comes");
    wait_2_s(sent);
    diagnosing.end().expect_none();
}

/// When the server's window was full in an upload, and when that ended.
struct Full {
    begun: TimeWindow,
    ended: TimeWindow,
}

/// An upload of 20 MB that the server reads at once, or when its window has been full for 2 s.
fn upload(port: u16, waits: bool) -> Option<Full> {
    const BODY: usize = 20_000_000;
    let head = format!("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let mut client = with_patience(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
    let mut server = accept(&listener);
    let local_port = client.local_addr().expect("it is connected").port();
    std::thread::scope(|scope| {
        let from = now();
        scope.spawn(|| {
            client.write_all(head.as_bytes()).expect("it is connected");
            client.write_all(&vec![b'x'; BODY]).expect("the server reads in the end");
            client.read_exact(&mut [0; 40]).expect("it answers");
        });
        let begun = waits.then(|| {
            wait_for("the full window", || is_probing(local_port).then_some(()));
            let begun = TimeWindow { from, to: now() };
            wait_2_s(begun);
            begun
        });
        let mut request = vec![0; head.len() + BODY];
        let ended = while_doing(|| server.read_exact(&mut request).expect("all comes"));
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("it is connected");
        Some(Full { begun: begun?, ended })
    })
}

/// Whether the socket with this port waits for its peer's window to open: the kernel's timer for probes says so.
fn is_probing(local_port: u16) -> bool {
    let is_it = |socket: &Socket| socket.local_port == local_port;
    let timers = ss(local_port).into_iter().filter(is_it).filter_map(|socket| socket.timer);
    timers.map(|timer| timer.kind).any(|kind| kind == "persist")
}

#[test]
fn a_server_that_reads_an_upload_slowly_is_reported() {
    let port = free_port();
    let diagnosing = Diagnosing::start(port, &[]);
    let Full { begun, ended } = upload(port, true).expect("it was full");
    let diagnosis = diagnosing.end();
    let finding = diagnosis.only();
    assert_eq!(
        (finding.code.as_str(), finding.cause.as_deref()),
        ("slow_reader", Some("server_does_not_read"))
    );
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert_between(number(finding, "longest_us"), begun, ended, finding);
    let port = free_port();
    let diagnosing = Diagnosing::start(port, &[]);
    upload(port, false);
    diagnosing.end().expect_none();
}
