//! TLS into a proxy and TLS out of it: four ends of each request, each on its connection.

use tcp_trace_model::{
    event::Role,
    record::{Http, TlsLink},
};
use tcp_trace_tests::{Haproxy, Nginx, Tracer, client_port, curl, free_port};

use crate::openssl::Certificate;

/// The exchanges at one end of connections with this port of the client: their targets, in order.
fn targets(all: &[&Http], role: Role, port: u16) -> Vec<String> {
    let is_there = |http: &&&Http| http.connection.role == Some(role) && client_port(http) == port;
    let target = |http: &&Http| {
        let request = http.exchange.request.as_ref().expect("it was seen");
        request.target.printable().to_string()
    };
    all.iter().filter(is_there).map(target).collect()
}

#[test]
fn haproxy_with_tls_on_both_sides_has_four_ends_of_each_request() {
    let certificate = Certificate::valid_for(30);
    let (both, behind) = (certificate.with_key(), free_port());
    let nginx = Nginx::start_with_tls(free_port(), behind, &certificate.file(), &certificate.key());
    let mut before = 0;
    for (alpn, option) in [("http/1.1", "--http1.1"), ("h2", "--http2")] {
        let haproxy = Haproxy::start_with_tls(free_port(), behind, &both, alpn);
        let port = haproxy.port();
        let tracer = Tracer::start(&["--port", &port.to_string(), "--port", &behind.to_string()]);
        let url = |path: &str| format!("https://127.0.0.1:{port}{path}");
        let [a, b, c] = ["/echo/a", "/text.txt", "/missing"].map(url);
        let one = curl(&["--insecure", option, &a, "--output", "/dev/null", &b, "--output", "/dev/null", &c]);
        let other = curl(&["--insecure", option, &url("/echo/d")]);
        let requests = one.len() + other.len();
        let log = haproxy.log(requests);
        // It keeps connections to nginx.
        drop(haproxy);
        tracer.wait_for_lines("http", 4 * requests);
        tracer.wait_for_closed();
        let recording = tracer.stop();
        assert_eq!((recording.end.lost, recording.http().count()), (0, 4 * requests), "{alpn}");
        for http in recording.http() {
            let link = http.exchange.tls.map(|tls| tls.link);
            assert_eq!(link, Some(TlsLink::NestedSyscall), "{alpn}: {http:?}");
        }
        let all: Vec<_> = recording.http().collect();
        let logged = nginx.access_log(before + requests);
        for line in &log {
            let own_port = line.own_port().expect("nginx was asked");
            let front: Vec<_> = log.iter().filter(|other| other.client_port == line.client_port).collect();
            let front: Vec<_> = front.iter().map(|line| path(&line.uri)).collect();
            let back = logged[before..].iter().filter(|it| it.remote_port == own_port);
            let back: Vec<_> = back.map(|line| line.uri.clone()).collect();
            assert!(back.iter().any(|target| *target == path(&line.uri)), "{alpn}: {line:?}");
            for role in [Role::Client, Role::Server] {
                assert_eq!(targets(&all, role, line.client_port), front, "{alpn} {role:?}: {line:?}");
                assert_eq!(targets(&all, role, own_port), back, "{alpn} {role:?}: {line:?}");
            }
        }
        before = logged.len();
    }
}

/// The path of what HAProxy logs of HTTP/2 as a URL.
fn path(uri: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest[rest.find('/').unwrap_or_default()..].to_owned()
}
