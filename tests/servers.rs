//! Real servers other than nginx: their exchanges with curl are what their logs and curl say.

use std::{
    collections::HashMap,
    fs::{self, File},
    process::{Command, Stdio},
};

use tcp_trace_model::{
    event::Role,
    record::{Http, Integrity, Outcome},
};
use tcp_trace_tests::{
    AccessLogLine, Apache, Curl, Folder, Haproxy, Nginx, ProxyLogLine, Recording, Running, Script, Tracer,
    assert_same_at, assert_statuses, curl, free_port, wait_for, wait_for_listener,
};

/// Follows a server's port while `make` makes requests.
fn traced(port: u16, make: impl FnOnce() -> Vec<Curl>) -> (Recording, Vec<Curl>) {
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let curls = make();
    tracer.wait_for_lines("http", 2 * curls.len());
    tracer.wait_for_closed();
    (tracer.stop(), curls)
}

#[test]
fn apache_is_recorded_as_its_log_says() {
    let apache = Apache::start(free_port());
    let (recording, curls) = traced(apache.port(), || {
        let [text, empty, missing] = ["/text.txt?a", "/empty", "/missing?a=b"].map(|path| apache.url(path));
        let one_connection =
            [text.as_str(), "--output", "/dev/null", &empty, "--output", "/dev/null", &missing];
        [
            curl(&one_connection),
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

#[test]
fn a_proxy_has_each_exchange_on_both_of_its_connections() {
    assert_proxied(&["/echo/x", "/text.txt", "/missing", "/nothing"].repeat(3));
}

#[test]
fn a_proxy_has_large_bodies_on_both_of_its_connections() {
    assert_proxied(&["/big"; 3]);
}

/// curl requests these paths from HAProxy in front of nginx.
fn assert_proxied(paths: &[&str]) {
    let nginx = Nginx::start(free_port());
    let haproxy = Haproxy::start(free_port(), nginx.port());
    let (port, behind) = (haproxy.port(), nginx.port());
    let tracer = Tracer::start(&["--port", &format!("{port},{behind}")]);
    let numbered: Vec<_> =
        paths.iter().enumerate().map(|(number, path)| format!("{path}?number={number}")).collect();
    let curls: Vec<_> = numbered.iter().flat_map(|uri| curl(&[&haproxy.url(uri)])).collect();
    tracer.wait_for_lines("http", 4 * paths.len());
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    let (proxy_log, nginx_log) = (haproxy.log(paths.len()), nginx.access_log(paths.len()));
    assert_eq!((proxy_log.len(), nginx_log.len(), curls.len()), (paths.len(), paths.len(), paths.len()));
    let mut ends: HashMap<(String, u16, Role), &Http> = HashMap::new();
    for http in recording.http() {
        let (role, (_, target, _)) = (http.connection.role.expect("it is known"), line_of(http));
        let server =
            if role == Role::Client { http.connection.ends().peer } else { http.connection.ends().local };
        assert!(ends.insert((target, server.port, role), http).is_none(), "{http:?} is there twice");
    }
    assert_eq!(ends.len(), 4 * paths.len());
    // The lines of several threads need not be in the order of the requests.
    for (uri, curl) in numbered.iter().zip(&curls) {
        let line = proxy_log.iter().find(|line| line.uri == *uri).expect("it was taken");
        let logged = nginx_log.iter().find(|logged| logged.uri == line.uri).expect("it was passed on");
        let at = |port, role| ends[&(line.uri.clone(), port, role)];
        let ends =
            [(port, Role::Client), (port, Role::Server), (behind, Role::Client), (behind, Role::Server)]
                .map(|(port, role)| at(port, role));
        assert_four_ends(ends, line, logged, curl);
    }
}

/// The four ends of a request that went through the proxy, from curl to nginx, are what all three say.
fn assert_four_ends(ends: [&Http; 4], line: &ProxyLogLine, logged: &AccessLogLine, curl: &Curl) {
    let processes = [("curl", curl.pid), ("haproxy", line.pid), ("haproxy", line.pid), ("nginx", logged.pid)];
    for (http, (name, pid)) in ends.iter().zip(processes) {
        assert_eq!(line_of(http), (line.method.clone(), line.uri.clone(), line.status));
        assert_eq!((logged.status, logged.remote_port), (line.status, line.own_port().unwrap_or_default()));
        assert_eq!(
            (http.exchange.outcome, http.exchange.integrity),
            (Outcome::Ok, Integrity::Complete),
            "{http:?}"
        );
        let response = http.exchange.response.as_ref().expect("it was answered");
        assert_eq!(response.body.size, logged.body_bytes_sent, "{http:?}");
        let process = http.connection.process.as_ref().unwrap_or_else(|| panic!("no process: {http:?}"));
        assert_eq!((process.pid, &process.name), (pid, &name.into()), "{http:?}");
    }
    let [asked, taken, passed_on, answered] = ends;
    assert_eq!(
        [asked.connection.ends().local.port, taken.connection.ends().peer.port],
        [line.client_port; 2]
    );
    assert_eq!(
        [passed_on.connection.ends().local.port, answered.connection.ends().peer.port],
        [line.own_port().unwrap_or_default(); 2]
    );
    assert_is_curls(asked, curl);
}
