//! Messages out of the ordinary: pipelined, chunked both ways, with 100 Continue, cut off, slow, upgraded.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt;
use tcp_trace_model::{
    event::Role,
    record::{Http, Integrity, Message, Outcome, Part},
};
use tcp_trace_tests::{
    Folder, Nginx, Recording, Running, Script, Tracer, assert_logged, curl, free_port, wait_for,
    with_patience,
};

const ENDS: [Role; 2] = [Role::Client, Role::Server];

fn start(port: u16) -> Tracer {
    Tracer::start(&["--port", &port.to_string()])
}

/// Ends the tracer once this many exchanges are recorded at both ends.
fn stop(tracer: Tracer, exchanges: usize) -> Recording {
    tracer.wait_for_lines("http", 2 * exchanges);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    recording
}

/// The only exchange at an end.
fn only(recording: &Recording, role: Role) -> &Http {
    let exchanges = recording.http_of(role);
    let [http] = exchanges.as_slice() else { panic!("{role:?}: {exchanges:#?}") };
    http
}

fn body_sizes(http: &Http) -> (u64, u64) {
    let (Some(request), Some(response)) = (&http.exchange.request, &http.exchange.response) else {
        panic!("half an exchange: {http:?}");
    };
    (request.body.size, response.body.size)
}

fn status(http: &Http) -> Option<u16> {
    http.exchange.response.as_ref().map(|response| response.status_code)
}

/// Reads until all of `end` has come.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).expect("the server answers");
        assert!(length > 0, "the server closed after {}", bytes.escape_ascii());
        bytes.extend_from_slice(&piece[..length]);
    }
    bytes
}

#[test]
fn pipelined_requests_are_paired_in_order() {
    const REQUESTS: usize = 31;
    let nginx = Nginx::start(free_port());
    let tracer = start(nginx.port());
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port())).expect("nginx listens");
    let request = |number| match number % 3 {
        0 => format!("GET /echo/{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
        1 => format!("HEAD /text.txt?{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
        _ => format!("POST /echo/{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET "),
    };
    let all: String = (0..REQUESTS).map(request).collect();
    // All at once, but the end of the last one, so that a head is cut in two as well.
    let (first, rest) = all.as_bytes().split_at(all.len() - 20);
    stream.write_all(first).expect("nginx reads");
    read_until(&mut stream, format!("/echo/{}\n", REQUESTS - 2).as_bytes());
    stream.write_all(rest).expect("nginx reads");
    read_until(&mut stream, format!("/echo/{}\n", REQUESTS - 1).as_bytes());
    drop(stream);
    let recording = stop(tracer, REQUESTS);
    assert_logged_but_bodies(&recording, &nginx);
}

/// nginx counts the bodies of requests that it skips in some of the lengths that it logs, so order, targets and
/// statuses are compared, and what the client sent.
fn assert_logged_but_bodies(recording: &Recording, nginx: &Nginx) {
    let log = nginx.access_log(1);
    for role in ENDS {
        let exchanges = recording.http_of(role);
        let recorded: Vec<_> = exchanges
            .iter()
            .map(|http| {
                let request = http.exchange.request.as_ref().expect("requests are seen");
                let [method, target] =
                    [&request.method, &request.target].map(|text| text.printable().to_string());
                let expected = if method == "POST" { 4 } else { 0 };
                let (sent, received) = body_sizes(http);
                assert_eq!(
                    (sent, http.exchange.outcome, http.exchange.integrity),
                    (expected, Outcome::Ok, Integrity::Complete)
                );
                (method, target, status(http), received)
            })
            .collect();
        let logged = log.iter().cloned();
        let logged: Vec<_> =
            logged.map(|line| (line.method, line.uri, Some(line.status), line.body_bytes_sent)).collect();
        assert_eq!(recorded, logged, "{role:?}");
    }
}

#[test]
fn bodies_that_are_chunked_both_ways_are_counted_without_their_framing() {
    assert_chunked_both_ways(50_000);
}

#[test]
fn large_bodies_that_are_chunked_both_ways_are_counted_without_their_framing() {
    assert_chunked_both_ways(3_000_000);
}

/// curl sends this many bytes in chunks, and gets them back in chunks.
fn assert_chunked_both_ways(size: u64) {
    let node = Script::start("node", "server.js");
    let tracer = start(node.port());
    let folder = Folder::new();
    fs::write(folder.file("body"), "x".repeat(usize::try_from(size).expect("it fits")))
        .expect("the folder is ours");
    let body = format!("@{}", folder.file("body").display());
    let chunked = ["--header", "Transfer-Encoding: chunked", "--header", "Expect:"];
    let curls = curl(&[&chunked[..], &["--data-binary", &body, &node.url("/echo")]].concat());
    let recording = stop(tracer, 1);
    let [line] = &node.access_log(1)[..] else { panic!("one exchange is logged") };
    assert_eq!((line.body_bytes_sent, curls[0].size_download), (size, size));
    for role in ENDS {
        let http = only(&recording, role);
        assert_eq!(body_sizes(http), (size, size), "{http:?}");
        assert_eq!(
            (http.exchange.outcome, http.exchange.integrity),
            (Outcome::Ok, Integrity::Complete),
            "{http:?}"
        );
        let heads = [
            &http.exchange.request.as_ref().expect("seen").headers,
            &http.exchange.response.as_ref().expect("seen").headers,
        ];
        for headers in heads {
            assert!(headers.values("Transfer-Encoding").eq([b"chunked"]), "{http:?}");
        }
    }
}

#[test]
fn a_response_after_100_continue_is_the_final_one() {
    const SIZE: u64 = 5_000;
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let node = Script::start("node", "server.js");
    let tracer = start(node.port());
    let body = "x".repeat(5_000);
    let [curl] = &curl(&["--header", "Expect: 100-continue", "--data", &body, &node.url("/echo")])[..] else {
        panic!("one transfer")
    };
    let recording = stop(tracer, 1);
    assert_eq!((curl.http_code, curl.size_upload, curl.size_download), (200, SIZE, SIZE));
    for role in ENDS {
        let http = only(&recording, role);
        assert_eq!((status(http), body_sizes(http)), (Some(200), (SIZE, SIZE)), "{http:?}");
        let response = http.exchange.response.as_ref().expect("it was answered");
        assert_eq!(response.header_size, curl.size_header - CONTINUE.len() as u64, "{http:?}");
    }
}

/// curl asks a server that sends `sent` and ends the connection once curl has written `received` bytes of it; gives
/// curl's exit code and what is recorded.
fn cut_off(sent: &str, received: usize, end: impl FnOnce(TcpStream)) -> (Option<i32>, Recording) {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let tracer = start(port);
    let folder = Folder::new();
    let body = folder.file("body");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--no-buffer", &format!("http://127.0.0.1:{port}/cut")]);
    curl.stdin(Stdio::null()).stdout(File::create(&body).expect("the folder is ours"));
    let mut curl = Running::start(&mut curl);
    let (mut stream, _) = listener.accept().expect("curl comes");
    read_until(&mut stream, b"\r\n\r\n");
    stream.write_all(sent.as_bytes()).expect("curl reads");
    wait_for("curl to have what was sent", || {
        (fs::metadata(&body).ok()?.len() == received as u64).then_some(())
    });
    end(stream);
    let code = curl.0.wait().expect("curl can be waited for").code();
    (code, stop(tracer, 1))
}

#[test]
fn a_response_that_a_reset_cuts_off_is_truncated() {
    let sent = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this";
    let reset = |stream: TcpStream| {
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket has this option");
    };
    let (code, recording) = cut_off(sent, 9, reset);
    // CURLE_RECV_ERROR.
    assert_eq!(code, Some(56));
    for role in ENDS {
        let http = only(&recording, role);
        assert_eq!((status(http), body_sizes(http)), (Some(200), (0, 9)), "{http:?}");
        assert_eq!(
            (http.exchange.outcome, http.exchange.integrity),
            (Outcome::Reset, Integrity::Truncated),
            "{http:?}"
        );
    }
}

#[test]
fn a_response_that_a_fin_cuts_off_is_truncated() {
    // The first of two chunks.
    let sent = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n";
    let (code, recording) = cut_off(sent, 9, drop);
    // CURLE_PARTIAL_FILE, or CURLE_RECV_ERROR for a body that is chunked.
    assert!(matches!(code, Some(18 | 56)), "{code:?}");
    for role in ENDS {
        let http = only(&recording, role);
        assert_eq!((status(http), body_sizes(http)), (Some(200), (0, 9)), "{http:?}");
        assert_eq!(
            (http.exchange.outcome, http.exchange.integrity),
            (Outcome::Truncated, Integrity::Truncated),
            "{http:?}"
        );
        assert_eq!(http.exchange.reason.as_deref(), Some("closed by the server during the response"));
    }
}

#[test]
fn a_slow_client_takes_the_time_that_it_takes() {
    /// The pace of the client, which is what this test is about.
    const PAUSE: Duration = Duration::from_millis(10);
    const BODY: u64 = 1 << 20;
    const PIECE: usize = 16 << 10;
    let nginx = Nginx::start(free_port());
    let tracer = start(nginx.port());
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port())).expect("nginx listens");
    sockopt::set_socket_recv_buffer_size(&stream, PIECE).expect("a socket has this option");
    stream.set_nodelay(true).expect("a socket has this option");
    let began = Instant::now();
    // A byte a segment, with a pause in the middle.
    for (at, byte) in b"GET /big HTTP/1.1\r\nHost: slow\r\nConnection: close\r\n\r\n".iter().enumerate() {
        if at == 20 {
            thread::sleep(PAUSE);
        }
        stream.write_all(&[*byte]).expect("nginx reads");
    }
    let (mut received, mut pauses) = (0, 0);
    let mut piece = [0; PIECE];
    loop {
        let length = stream.read(&mut piece).expect("nginx answers");
        if length == 0 {
            break;
        }
        received += length;
        // What is not read yet is more than the receive buffer holds.
        if received < BODY as usize / 2 {
            thread::sleep(PAUSE);
            pauses += 1;
        }
    }
    let took = began.elapsed().as_micros();
    drop(stream);
    let recording = stop(tracer, 1);
    assert_logged(&recording, &nginx.access_log(1), "nginx");
    for role in ENDS {
        let http = only(&recording, role);
        assert_eq!((body_sizes(http), http.exchange.integrity), ((0, BODY), Integrity::Complete), "{http:?}");
        assert!(http.exchange.timing.send_us >= Some(10_000), "{:?}", http.exchange.timing);
        assert!(
            http.exchange.timing.receive_us >= Some(pauses * 10_000),
            "{pauses} pauses: {:?}",
            http.exchange.timing
        );
        assert!(u128::from(http.exchange.timing.total_us) <= took, "{took} us: {:?}", http.exchange.timing);
    }
}

#[test]
fn what_follows_a_websocket_handshake_is_no_http() {
    const REQUEST: &str = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    /// What it says of that key (RFC 6455, section 1.3).
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const TEXT: &[u8] = b"GET /inside HTTP/1.1\r\n\r\n";
    let node = Script::start("node", "server.js");
    let tracer = start(node.port());
    let mut stream = TcpStream::connect(("127.0.0.1", node.port())).expect("node listens");
    stream.write_all(REQUEST.as_bytes()).expect("node reads");
    let head = String::from_utf8(read_until(&mut stream, b"\r\n\r\n")).expect("heads are text");
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT), "{head}");
    // A text frame whose mask changes nothing (RFC 6455, section 5.2).
    let length = u8::try_from(TEXT.len()).expect("it is short");
    stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], TEXT].concat()).expect("node reads");
    read_until(&mut stream, TEXT);
    drop(stream);
    let recording = stop(tracer, 1);
    let [line] = &node.access_log(1)[..] else { panic!("one exchange is logged") };
    for role in ENDS {
        let http = only(&recording, role);
        assert_eq!((http.exchange.outcome, status(http)), (Outcome::Upgraded, Some(101)), "{http:?}");
        let response = http.exchange.response.as_ref().expect("it was answered");
        assert_eq!((response.header_size, response.body.size), (line.bytes_sent, 0), "{http:?}");
    }
}

/// nginx answers as soon as it knows what is wrong, and the rest of the head never comes.
#[test]
fn an_answer_before_the_whole_head_is_that_requests_answer() {
    let long = "a".repeat(9_000);
    let cases = [
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nX".to_owned(), Some("/"), true),
        (414, format!("GET /{long}"), None, true),
        (400, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}"), Some("/"), true),
        // A CR without LF, behind a whole request line: illegal, and nothing more has to come.
        (400, "GET / HTTP/1.1\rHost: a\r\n\r\n".to_owned(), Some("/"), false),
    ];
    for (expected, head, target, is_cut) in cases {
        let nginx = Nginx::start(free_port());
        let tracer = start(nginx.port());
        let mut stream =
            with_patience(TcpStream::connect(("127.0.0.1", nginx.port())).expect("nginx listens"));
        stream.write_all(head.as_bytes()).expect("nginx reads");
        let mut answer = Vec::new();
        // An RST may come behind the answer, because nginx leaves something unread.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(format!("HTTP/1.1 {expected} ").as_bytes()), "{}", answer.escape_ascii());
        drop(stream);
        let recording = stop(tracer, 1);
        assert_eq!(nginx.access_log(1)[0].status, expected);
        for role in ENDS {
            let http = only(&recording, role);
            assert_eq!(status(http), Some(expected), "{role:?}");
            let seen = http.exchange.request.as_ref().map(|request| request.target.printable().to_string());
            assert_eq!(seen.as_deref(), target, "{role:?} {http:?}");
            let is_in_head = http
                .exchange
                .ended
                .is_some_and(|ended| (ended.message, ended.part) == (Message::Request, Part::Head));
            assert_eq!(is_in_head, is_cut, "{role:?} {http:?}");
            assert_eq!(http.exchange.outcome == Outcome::Invalid, !is_cut, "{role:?} {http:?}");
        }
        for connection in recording.connections() {
            if let Some(http) = &connection.http {
                assert_eq!(http.requests, u64::from(target.is_some()), "{connection:?}");
            }
        }
    }
}
