//! Real requests of curl to a real nginx over loopback: the recording is what both of them say.

use std::{process::Command, thread};

use tcp_trace_model::{event::Role, record::Outcome};
use tcp_trace_tests::{
    Curl, Namespace, Nginx, Recording, Running, Tracer, accept, assert_same, assert_statuses, curl, curl_in,
    free_port,
};

const REQUESTS: usize = 200;
/// curls at the same time; the requests are all made at once as far as two processors allow.
const AT_ONCE: usize = 50;

fn target(number: usize) -> String {
    format!("/echo/{number}?round={number}")
}

/// Starts nginx and a tracer of its port, lets `make` make its requests, and gives recording and figures.
fn traced(make: impl FnOnce(&Nginx) -> Vec<Curl>) -> (Recording, Vec<Curl>, Nginx) {
    traced_at(Nginx::start(free_port()), make)
}

fn traced_at(nginx: Nginx, make: impl FnOnce(&Nginx) -> Vec<Curl>) -> (Recording, Vec<Curl>, Nginx) {
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    let curls = make(&nginx);
    tracer.wait_for_lines("http", 2 * curls.len());
    tracer.wait_for_closed();
    (tracer.stop(), curls, nginx)
}

fn sequential(nginx: &Nginx, address: &str) -> Vec<Curl> {
    (0..REQUESTS).flat_map(|number| curl(&[&nginx.url(address, &target(number))])).collect()
}

#[test]
fn sequential_requests_over_ipv4_are_recorded_once_per_end() {
    let (recording, curls, nginx) = traced(|nginx| sequential(nginx, "127.0.0.1"));
    assert_same(&recording, &nginx.access_log(REQUESTS), &curls);
}

#[test]
fn sequential_requests_over_ipv6_are_recorded_once_per_end() {
    let (recording, curls, nginx) = traced(|nginx| sequential(nginx, "[::1]"));
    assert_same(&recording, &nginx.access_log(REQUESTS), &curls);
}

/// As in a run of more than a minute, after which a port that was in TIME_WAIT is free again.
#[test]
fn a_port_that_is_used_again_is_recorded_with_each_process_that_has_it() {
    const PORTS: usize = 10;
    let namespace = Namespace::new();
    namespace.set("ipv4/ip_local_port_range", "40000 40009");
    namespace.set("ipv4/tcp_max_tw_buckets", "0");
    let nginx = Nginx::start_in(&namespace, free_port());
    let (recording, curls, nginx) = traced_at(nginx, |nginx| {
        let request = |number| curl_in(&namespace, &[&nginx.url("127.0.0.1", &target(number))]);
        (0..4 * PORTS).flat_map(request).collect()
    });
    assert_same(&recording, &nginx.access_log(4 * PORTS), &curls);
}

#[test]
fn concurrent_requests_are_recorded_once_per_end() {
    for address in ["127.0.0.1", "[::1]"] {
        let (recording, curls, nginx) = traced(|nginx| {
            thread::scope(|scope| {
                let threads: Vec<_> = (0..AT_ONCE)
                    .map(|thread| {
                        scope.spawn(move || -> Vec<Curl> {
                            (thread..REQUESTS)
                                .step_by(AT_ONCE)
                                .flat_map(|number| curl(&[&nginx.url(address, &target(number))]))
                                .collect()
                        })
                    })
                    .collect();
                threads.into_iter().flat_map(|thread| thread.join().expect("no curl fails")).collect()
            })
        });
        assert_same(&recording, &nginx.access_log(REQUESTS), &curls);
    }
}

#[test]
fn one_connection_carries_several_requests() {
    let (recording, curls, nginx) = traced(|nginx| {
        let urls: Vec<_> = (0..20).map(|number| nginx.url("127.0.0.1", &target(number))).collect();
        let mut arguments = Vec::new();
        for url in &urls {
            // curl writes each body to its own --output.
            arguments.extend([url.as_str(), "--output", "/dev/null"]);
        }
        curl(&arguments[..arguments.len() - 2])
    });
    assert_same(&recording, &nginx.access_log(20), &curls);
    for role in [Role::Client, Role::Server] {
        let indices: Vec<_> = recording.http_of(role).iter().map(|http| http.exchange.index).collect();
        assert_eq!(indices, (0..20).collect::<Vec<_>>());
        assert_eq!(recording.connections_of(role).len(), 1);
        assert_eq!(recording.connections_of(role)[0].http.as_ref().expect("it carried HTTP").requests, 20);
    }
}

#[test]
fn each_way_to_frame_a_body_is_counted_as_curl_and_nginx_count_it() {
    let (recording, curls, nginx) = traced(|nginx| {
        let url = |path| nginx.url("127.0.0.1", path);
        let date = "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT";
        [
            curl(&[&url("/big")]),
            curl(&["--head", &url("/big?head")]),
            curl(&[&url("/nothing")]),
            curl(&["--header", date, &url("/big?date")]),
            curl(&["--header", "Accept-Encoding: gzip", &url("/text.txt")]),
            curl(&["--data", "a=1&b=2", &url("/echo/data")]),
            curl(&["--request", "PURGE", &url("/echo/purge")]),
            curl(&["--http1.0", &url("/echo/old")]),
            curl(&[&url("/missing")]),
        ]
        .concat()
    });
    let log = nginx.access_log(9);
    assert_same(&recording, &log, &curls);
    let statuses = [
        ("/big", 200),
        ("/big?head", 200),
        ("/nothing", 204),
        ("/big?date", 304),
        ("/text.txt", 200),
        ("/echo/data", 200),
        ("/echo/purge", 200),
        ("/echo/old", 200),
        ("/missing", 404),
    ];
    assert_statuses(&log, &statuses);
    let chunked = recording.http_of(Role::Client).into_iter().find(|http| {
        let response = http.exchange.response.as_ref().expect("it was answered");
        response.headers.values("Transfer-Encoding").eq([b"chunked"])
    });
    let chunked =
        chunked.expect("gzip on the fly is chunked").exchange.response.as_ref().expect("it was answered");
    assert!(
        curls.iter().any(|curl| curl.size_download == chunked.body.size),
        "without the framing of the chunks"
    );
}

#[test]
fn credentials_do_not_reach_the_recording() {
    let (recording, ..) = traced(|nginx| {
        let header = "Authorization: Bearer secret-token";
        curl(&["--header", header, "--cookie", "session=secret-cookie", &nginx.url("127.0.0.1", "/echo/x")])
    });
    let text = tcp_trace_model::json::to_string(&recording.records).expect("records are JSON");
    assert!(!text.contains("secret-"), "{text}");
    assert!(text.contains("[\"Authorization\",\"«redacted»\"]"), "{text}");
}

#[test]
fn a_request_that_nobody_answers_says_so() {
    let port = free_port();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let url = format!("http://127.0.0.1:{port}/silence");
    let curl = Running::start(Command::new("curl").args(["--silent", &url]));
    let server = accept(&listener);
    server.peek(&mut [0]).expect("the request comes");
    drop(curl);
    tracer.wait_for_lines("http", 1);
    let recording = tracer.stop();
    drop((listener, server));
    let outcomes: Vec<_> = recording.http_of(Role::Client).iter().map(|http| http.exchange.outcome).collect();
    assert_eq!(outcomes, [Outcome::NoResponse]);
}
