//! Faults of HTTP exchanges: each is made for real on loopback, traced or judged from a recording, and has a twin that
//! is fine.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use rustix::net::sockopt;
use tcp_trace_model::record::Finding;
use tcp_trace_tests::{
    Diagnosis, Folder, Nginx, TimeWindow, Tracer, Wrk, assert_between, free_port, number, tcp_trace,
    wait_for, while_doing,
};

use crate::connects::tracing;

pub(crate) const GET: &[u8] = b"GET /kept HTTP/1.1\r\nHost: x\r\n\r\n";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// The head of a response with a body of 1000 bytes.
const LONG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";

/// A connection of this process with itself, at a port on which nothing listens any more.
pub(crate) fn pair(port: u16) -> (TcpStream, TcpStream) {
    let address = ("127.0.0.1", port);
    let listener = TcpListener::bind(address).expect("the port is free");
    let client = TcpStream::connect(address).expect("it listens");
    (client, listener.accept().expect("it is connected").0)
}

pub(crate) fn send(mut to: &TcpStream, bytes: &[u8]) {
    to.write_all(bytes).expect("it is connected");
}

pub(crate) fn receive(mut from: &TcpStream, bytes: usize) {
    from.read_exact(&mut vec![0; bytes]).expect("it comes");
}

/// When an exchange took place.
pub(crate) struct Exchanged {
    request: TimeWindow,
    pub(crate) response: TimeWindow,
}

/// One exchange that is fine.
pub(crate) fn exchange(client: &TcpStream, server: &TcpStream) -> Exchanged {
    let request = while_doing(|| send(client, GET));
    receive(server, GET.len());
    let response = while_doing(|| {
        send(server, OK);
        receive(client, OK.len());
    });
    Exchanged { request, response }
}

/// Whether something can be read, or the end, within this time.
pub(crate) fn waits(socket: &TcpStream, time: Duration) {
    socket.set_read_timeout(Some(time)).expect("it is a socket");
    let error = socket.peek(&mut [0]).expect_err("nothing comes");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    socket.set_read_timeout(None).expect("it is a socket");
}

/// What is found in a recording of this work, which ends when this many connections have.
pub(crate) fn recorded(port: u16, lives: usize, work: impl FnOnce()) -> Diagnosis {
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    work();
    tracer.wait_for_lines("connection", lives);
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    std::fs::write(&file, tracer.stop_for_text()).expect("the folder is ours");
    Diagnosis::with(tcp_trace(), &["--from", file.to_str().expect("it is UTF-8")])
}

pub(crate) fn assert_code(finding: &Finding, code: &str, cause: &str) {
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), (code, Some(cause)), "{finding:#?}");
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert!(!finding.why.is_empty() && !finding.advice.is_empty());
}

/// When a kept-alive connection was used, and when its server closed it.
struct Kept {
    exchanges: [Exchanged; 2],
    closed: TimeWindow,
    reused: TimeWindow,
}

/// A client that uses a connection again after 100 ms, and after 500 ms: the server closes after 300 ms idle.
fn kept(port: u16) -> Kept {
    let (client, server) = pair(port);
    let first = exchange(&client, &server);
    waits(&server, Duration::from_millis(100));
    let second = exchange(&client, &server);
    let start = Instant::now();
    waits(&server, Duration::from_millis(300));
    let closed = while_doing(|| drop(server));
    wait_for("the next request's time", || (start.elapsed() > Duration::from_millis(500)).then_some(()));
    let post = b"POST /pay HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    let reused = while_doing(|| send(&client, post));
    let _ = (&client).read(&mut [0]);
    wait_for("the RST", || sockopt::socket_error(&client).is_ok().then_some(()));
    Kept { exchanges: [first, second], closed, reused }
}

#[test]
fn a_request_onto_a_connection_that_the_server_closed_idle_is_a_race() {
    let mut work = Vec::new();
    let port = free_port();
    let traced = tracing(port, &[], || work.push(kept(port)));
    let port = free_port();
    let of_recording = recorded(port, 2, || work.push(kept(port)));
    for (diagnosis, Kept { exchanges: [first, second], closed, reused }) in
        [traced, of_recording].iter().zip(work)
    {
        let finding = diagnosis.only();
        assert_code(finding, "keepalive_race", "already_closed");
        assert_eq!(number(finding, "requests"), 1);
        let server = number(finding, "server_closed_after_idle_us");
        assert_between(server, second.response, closed, finding);
        let client = number(finding, "client_reused_after_idle_us");
        assert_between(client, second.response, reused, finding);
        assert!(client > server, "{finding:#?}");
        let fine = number(finding, "longest_idle_that_went_well_us");
        assert_between(fine, first.response, second.request, finding);
        assert!(finding.connections[0].notes[0].starts_with("POST /pay: sent after "), "{finding:#?}");
    }
}

#[test]
fn a_kept_connection_that_is_used_in_time_is_fine() {
    let port = free_port();
    tracing(port, &[], || {
        let (client, server) = pair(port);
        for idle in [100, 50] {
            exchange(&client, &server);
            waits(&server, Duration::from_millis(idle));
        }
        exchange(&client, &server);
        drop(server);
        assert_eq!((&client).read(&mut [0]).expect("it ends"), 0);
    })
    .expect_none();
}

/// A response of which 400 of 1000 bytes come, or all, and how the server ends it.
pub(crate) fn answered(port: u16, bytes: usize, resets: bool) {
    let (client, server) = pair(port);
    send(&client, GET);
    receive(&server, GET.len());
    send(&server, LONG);
    send(&server, &vec![b'x'; bytes]);
    receive(&client, LONG.len() + bytes);
    if resets {
        sockopt::set_socket_linger(&server, Some(Duration::ZERO)).expect("it is a socket");
    }
    drop(server);
    assert_eq!((&client).read(&mut [0]).is_err(), resets);
}

#[test]
fn a_response_that_is_cut_off_is_reported_with_what_is_missing() {
    for (resets, cause) in [(true, "reset"), (false, "closed")] {
        let port = free_port();
        let traced = tracing(port, &[], || answered(port, 400, resets));
        let port = free_port();
        let of_recording = recorded(port, 2, || answered(port, 400, resets));
        for diagnosis in [traced, of_recording] {
            let finding = diagnosis.only();
            assert_code(finding, "response_cut", cause);
            assert_eq!((number(finding, "responses"), number(finding, "missing_bytes")), (1, 600));
            let note = "GET /kept: 200, ended after 400 B of the body, 600 B missing";
            assert_eq!(finding.connections[0].notes, [note]);
        }
    }
}

#[test]
fn a_whole_response_and_a_client_that_cancels_are_fine() {
    let port = free_port();
    tracing(port, &[], || {
        answered(port, 1_000, false);
        let (client, server) = pair(port);
        send(&client, GET);
        receive(&server, GET.len());
        send(&server, LONG);
        receive(&client, LONG.len());
        drop(client);
        assert_eq!((&server).read(&mut [0]).expect("it ends"), 0);
    })
    .expect_none();
}

/// An upload of 20 kB that is answered with 413; the server reads all of it before it closes, or 200 bytes.
pub(crate) fn uploaded(port: u16, reads_all: bool) {
    let request =
        [b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n".as_slice(), &[b'y'; 20_000]];
    let request = request.concat();
    let (client, server) = pair(port);
    send(&client, &request);
    wait_for("all of it to arrive", || {
        (rustix::io::ioctl_fionread(&server).expect("it is a socket") == request.len() as u64).then_some(())
    });
    receive(&server, if reads_all { request.len() } else { 200 });
    if reads_all {
        send(&server, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
        receive(&client, 45);
        client.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!((&server).read(&mut [0]).expect("it ends"), 0);
    }
    drop(server);
    assert_eq!((&client).read(&mut [0]).is_err(), !reads_all);
}

#[test]
fn a_server_that_closes_with_the_body_unread_is_reported() {
    let port = free_port();
    let traced = tracing(port, &[], || uploaded(port, false));
    let port = free_port();
    let of_recording = recorded(port, 2, || uploaded(port, false));
    for diagnosis in [traced, of_recording] {
        let finding = diagnosis.only();
        assert_code(finding, "unread_data_reset", "closed_with_unread_data");
        assert_eq!(number(finding, "unread_bytes"), 20_053 - 200);
        assert_eq!(number(finding, "answered_before"), 0);
    }
}

#[test]
fn a_server_that_reads_the_body_is_fine() {
    let port = free_port();
    tracing(port, &[], || uploaded(port, true)).expect_none();
}

/// A request that is read and not answered, until the server closes, or the client after this time.
pub(crate) fn silent(port: u16, client_gives_up: Option<Duration>) {
    let (client, server) = pair(port);
    send(&client, GET);
    receive(&server, GET.len());
    let (first, second) = match client_gives_up {
        Some(time) => {
            waits(&client, time);
            (client, server)
        }
        None => (server, client),
    };
    drop(first);
    assert_eq!((&second).read(&mut [0]).expect("it ends"), 0);
}

#[test]
fn a_request_without_a_response_is_reported_with_who_ended_it() {
    for (gives_up, cause) in [(None, "server_closed"), (Some(Duration::from_millis(1_100)), "client_gave_up")]
    {
        let port = free_port();
        let traced = tracing(port, &[], || silent(port, gives_up));
        let port = free_port();
        let of_recording = recorded(port, 2, || silent(port, gives_up));
        for diagnosis in [traced, of_recording] {
            let finding = diagnosis.only();
            assert_code(finding, "no_response", cause);
            let waited = number(finding, "longest_wait_us");
            assert!(
                gives_up.is_none_or(|gives_up| u128::from(waited) + 5_000 >= gives_up.as_micros()),
                "{waited}"
            );
        }
    }
}

#[test]
fn a_client_that_soon_thinks_better_of_it_is_fine() {
    let port = free_port();
    tracing(port, &[], || silent(port, Some(Duration::from_millis(50)))).expect_none();
}

/// Requests that are answered after this time; and the median time that the client waited, which cannot be shorter.
pub(crate) fn slow(port: u16, count: usize, after: Duration) -> Duration {
    let (client, server) = pair(port);
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let start = Instant::now();
            send(&client, GET);
            receive(&server, GET.len());
            waits(&server, after);
            send(&server, OK);
            receive(&client, OK.len());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[count / 2]
}

#[test]
fn a_server_that_is_slow_to_the_first_byte_is_reported() {
    let (port, after) = (free_port(), Duration::from_millis(300));
    let mut measured = Duration::ZERO;
    let diagnosis = tracing(port, &["--slow", "250ms"], || measured = slow(port, 3, after));
    let finding = diagnosis.only();
    assert_code(finding, "slow_server", "first_byte");
    assert_eq!(number(finding, "requests"), 3);
    let median = Duration::from_micros(number(finding, "median_us"));
    assert!(median >= after.mul_f64(0.98) && median <= measured, "{median:?} of {measured:?}: {finding:#?}");
    assert!(finding.summary.contains(" for x/kept "), "{}", finding.summary);
    let port = free_port();
    recorded(port, 2, || {
        slow(port, 3, after);
    })
    .expect_none();
}

/// A response of 20 MB that is read after this time.
pub(crate) fn download(port: u16, after: Duration) {
    let (client, server) = pair(port);
    send(&client, GET);
    receive(&server, GET.len());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send(&server, b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n");
            send(&server, &vec![b'x'; 20_000_000]);
        });
        let start = Instant::now();
        wait_for("the time to read", || (start.elapsed() >= after).then_some(()));
        receive(&client, 45 + 20_000_000);
    });
}

#[test]
fn a_client_that_reads_slowly_is_reported() {
    let port = free_port();
    let diagnosis = tracing(port, &[], || download(port, Duration::from_millis(1_500)));
    assert_code(diagnosis.only(), "slow_reader", "client_does_not_read");
    let port = free_port();
    tracing(port, &[], || download(port, Duration::ZERO)).expect_none();
}

#[test]
fn nginx_under_load_is_fine() {
    let port = free_port();
    let nginx = Nginx::start(port);
    let mut loaded = None;
    let diagnosis = tracing(port, &[], || {
        let wrk = Wrk::start(&["-t1", "-c20", "-d15s", &nginx.url("127.0.0.1", "/text.txt")]);
        loaded = Some(wrk.end());
    });
    loaded.expect("it was done").expect_none(&diagnosis);
}
