//! Real servers other than nginx: their exchanges with curl are what their logs and curl say.

mod relays;
mod translated;
mod workers;

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use tcp_trace_model::{event::Role, record::Http};
use tcp_trace_tests::{
    Apache, Curl, Folder, Recording, Running, Script, Tracer, assert_same_at, assert_statuses, curl,
    free_port, wait_for, wait_for_listener,
};

/// Follows a server's port while `make` makes requests.
fn traced(port: u16, make: impl FnOnce() -> Vec<Curl>) -> (Recording, Vec<Curl>) {
    let mut curls = Vec::new();
    let recording = traced_exchanges(port, || {
        curls = make();
        curls.len()
    });
    (recording, curls)
}

/// The same for what makes, and says, so many exchanges.
fn traced_exchanges(port: u16, make: impl FnOnce() -> usize) -> Recording {
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let exchanges = make();
    tracer.wait_for_lines("http", 2 * exchanges);
    tracer.wait_for_closed();
    tracer.stop()
}

/// Apache's text, an empty response and what is not there.
fn three_in_one_connection(apache: &Apache) -> Vec<Curl> {
    let [text, empty, missing] = ["/text.txt?a", "/empty", "/missing?a=b"].map(|path| apache.url(path));
    curl(&[text.as_str(), "--output", "/dev/null", &empty, "--output", "/dev/null", &missing])
}

#[test]
fn apache_is_recorded_as_its_log_says() {
    let apache = Apache::start(free_port());
    let (recording, curls) = traced(apache.port(), || {
        [
            three_in_one_connection(&apache),
            curl(&["--head", &apache.url("/big?head")]),
            curl(&["--header", "Accept-Encoding: gzip", &apache.url("/text.txt")]),
            curl(&["--range", "100-299", &apache.url("/big?part")]),
            curl(&["--request", "OPTIONS", &apache.url("/big?options")]),
            curl(&["--http1.0", &apache.url("/text.txt?old")]),
        ]
        .concat()
    });
    let log = apache.access_log(curls.len());
    let statuses = [
        ("/text.txt?a", 200),
        ("/empty", 200),
        ("/missing?a=b", 404),
        ("/big?head", 200),
        ("/text.txt", 200),
        ("/big?part", 206),
        ("/big?options", 200),
        ("/text.txt?old", 200),
    ];
    assert_statuses(&log, &statuses);
    assert_same_at("apache2", &recording, &log, &curls);
}

#[test]
fn a_large_body_of_apache_is_recorded_as_its_log_says() {
    let apache = Apache::start(free_port());
    let (recording, curls) = traced(apache.port(), || {
        [curl(&[&apache.url("/big")]), curl(&["--http1.0", &apache.url("/big?old")])].concat()
    });
    assert_same_at("apache2", &recording, &apache.access_log(2), &curls);
}

#[test]
fn node_is_recorded_as_it_says() {
    let node = Script::start("node", "server.js");
    let (recording, curls) = traced(node.port(), || {
        let [first, second] = ["/first", "/second?x=%20y"].map(|path| node.url(path));
        [
            curl(&[&first, "--output", "/dev/null", &second]),
            curl(&["--head", &node.url("/head")]),
            curl(&["--data", "a=1&b=2", &node.url("/echo")]),
        ]
        .concat()
    });
    let log = node.access_log(curls.len());
    assert!(log.iter().all(|line| line.pid == node.pid()));
    assert_same_at("node", &recording, &log, &curls);
}

/// Requests that Python's http.server logged: method, target and status.
fn python_log(text: &str) -> Vec<(String, String, u16)> {
    let parse = |line: &str| {
        let (_, request) = line.split_once('"')?;
        let (request, status) = request.split_once("\" ")?;
        let mut words = request.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        Some((method.to_owned(), target.to_owned(), status.split(' ').next()?.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

#[test]
fn pythons_server_is_recorded_as_its_log_says() {
    let folder = Folder::new();
    let (www, log) = (folder.file("www"), folder.file("log"));
    fs::create_dir(&www).expect("the folder is ours");
    fs::write(www.join("text.txt"), "text ".repeat(10_000)).expect("the folder is ours");
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"]).current_dir(&www);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let server = Running::start(command.stderr(File::create(&log).expect("the folder is ours")));
    wait_for_listener(Command::new("ss"), port, 1);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let (recording, curls) = traced(port, || {
        [
            curl(&[&url("/text.txt")]),
            // A list of the folder.
            curl(&[&url("/?list")]),
            curl(&["--head", &url("/text.txt?head")]),
            curl(&[&url("/missing")]),
            curl(&["--data", "x=1", &url("/post")]),
        ]
        .concat()
    });
    let logged = wait_for("lines of http.server's log", || {
        let logged = python_log(&fs::read_to_string(&log).ok()?);
        (logged.len() == curls.len()).then_some(logged)
    });
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        let recorded: Vec<_> = exchanges.iter().map(|http| line_of(http)).collect();
        assert_eq!(recorded, logged, "{role:?}");
        for (http, curl) in exchanges.iter().zip(&curls) {
            assert_is_curls(http, curl);
            let expected = if role == Role::Client { curl.pid } else { server.pid() };
            assert_eq!(
                http.connection.process.as_ref().map(|process| process.pid),
                Some(expected),
                "{http:?}"
            );
        }
    }
}

/// What a log says of an exchange.
fn line_of(http: &Http) -> (String, String, u16) {
    let (Some(request), Some(response)) = (&http.exchange.request, &http.exchange.response) else {
        panic!("half an exchange: {http:?}");
    };
    let [method, target] = [&request.method, &request.target].map(|text| text.printable().to_string());
    (method, target, response.status_code)
}

fn assert_is_curls(http: &Http, curl: &Curl) {
    let response = http.exchange.response.as_ref().expect("it was answered");
    let sizes = (response.header_size, response.body.size);
    assert_eq!((response.status_code, sizes), (curl.http_code, (curl.size_header, curl.size_download)));
}
