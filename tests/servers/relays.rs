//! Proxies and relays: each exchange is on both of their connections, with the process of every end, also where something comes
//! before HTTP.

use std::{
    collections::HashMap,
    process::{Command, Stdio},
};

use tcp_trace_model::{
    event::Role,
    record::{Connection, Http, Integrity, Outcome},
};
use tcp_trace_tests::{
    AccessLogLine, Curl, Haproxy, Nginx, ProxyLogLine, Recording, Running, Tracer, curl, free_port,
    wait_for_listener,
};

use crate::{assert_is_curls, line_of};

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
    assert_relayed(paths, &nginx, &haproxy, nginx.port());
}

/// The client that each end behind the proxy was told of in a PROXY header of this version, by the proxy's own port.
fn told_clients(recording: &Recording, version: u8, behind: u16, front: u16) -> HashMap<(Role, u16), u16> {
    let told = |end: &Connection| {
        let ends = end.connection.ends();
        let (role, server, own) = match end.connection.role? {
            Role::Client => (Role::Client, ends.peer.port, ends.local.port),
            role => (role, ends.local.port, ends.peer.port),
        };
        if server != behind || role == Role::Listener {
            return None;
        }
        let header = end.proxy_protocol.unwrap_or_else(|| panic!("no PROXY header: {end:#?}"));
        assert_eq!(header.version, version);
        assert_eq!(header.destination.map(|destination| destination.port), Some(front), "{end:#?}");
        Some(((role, own), header.source?.port))
    };
    recording.connections().filter_map(told).collect()
}

#[test]
fn a_proxy_says_for_whom_it_connects() {
    for (version, option) in [(1, "send-proxy"), (2, "send-proxy-v2")] {
        let behind = free_port();
        let nginx = Nginx::start_behind_proxy(free_port(), behind);
        let haproxy = Haproxy::start_sending_proxy(free_port(), behind, option);
        let (recording, log) = assert_relayed(&["/echo/x", "/missing"].repeat(2), &nginx, &haproxy, behind);
        let told = told_clients(&recording, version, behind, haproxy.port());
        for line in log {
            let own = line.own_port().expect("it was passed on");
            for role in [Role::Client, Role::Server] {
                assert_eq!(told.get(&(role, own)), Some(&line.client_port), "{option} {role:?} {told:?}");
            }
        }
    }
}

/// Exchanges by target, the server's port, and end.
fn by_end(recording: &Recording) -> HashMap<(String, u16, Role), &Http> {
    let mut ends = HashMap::new();
    for http in recording.http() {
        let (role, (_, target, _)) = (http.connection.role.expect("it is known"), line_of(http));
        let server =
            if role == Role::Client { http.connection.ends().peer } else { http.connection.ends().local };
        assert!(ends.insert((target, server.port, role), http).is_none(), "{http:?} is there twice");
    }
    ends
}

/// The paths, each once.
fn numbered(paths: &[&str]) -> Vec<String> {
    paths.iter().enumerate().map(|(number, path)| format!("{path}?number={number}")).collect()
}

/// curl requests these paths from HAProxy, which has nginx behind it on this port.
fn assert_relayed(
    paths: &[&str],
    nginx: &Nginx,
    haproxy: &Haproxy,
    behind: u16,
) -> (Recording, Vec<ProxyLogLine>) {
    let port = haproxy.port();
    let tracer = Tracer::start(&["--port", &format!("{port},{behind}")]);
    let numbered = numbered(paths);
    let curls: Vec<_> = numbered.iter().flat_map(|uri| curl(&[&haproxy.url(uri)])).collect();
    tracer.wait_for_lines("http", 4 * paths.len());
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    let (proxy_log, nginx_log) = (haproxy.log(paths.len()), nginx.access_log(paths.len()));
    assert_eq!((proxy_log.len(), nginx_log.len(), curls.len()), (paths.len(), paths.len(), paths.len()));
    let ends = by_end(&recording);
    assert_eq!(ends.len(), 4 * paths.len());
    // The lines of several threads need not be in the order of the requests.
    for (uri, curl) in numbered.iter().zip(&curls) {
        let line = proxy_log.iter().find(|line| line.uri == *uri).expect("it was taken");
        let logged = nginx_log.iter().find(|logged| logged.uri == line.uri).expect("it was passed on");
        assert_eq!(
            (logged.status, Some(logged.remote_port), line.client_port),
            (line.status, line.own_port(), curl.local_port)
        );
        assert_four_ends(four_ends(&ends, uri, port, behind), ("haproxy", line.pid), logged, curl);
    }
    (recording, proxy_log)
}

/// The four ends of a request that was relayed, from curl to nginx.
fn four_ends<'a>(
    ends: &HashMap<(String, u16, Role), &'a Http>,
    uri: &str,
    front: u16,
    behind: u16,
) -> [&'a Http; 4] {
    [(front, Role::Client), (front, Role::Server), (behind, Role::Client), (behind, Role::Server)]
        .map(|(port, role)| ends[&(uri.to_owned(), port, role)])
}

/// The four ends of a request that was relayed, from curl to nginx, are what both say.
fn assert_four_ends(ends: [&Http; 4], relay: (&str, u32), logged: &AccessLogLine, curl: &Curl) {
    let processes = [("curl", curl.pid), relay, relay, ("nginx", logged.pid)];
    for (http, (name, pid)) in ends.iter().zip(processes) {
        assert_eq!(line_of(http), (logged.method.clone(), logged.uri.clone(), logged.status));
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
    assert_eq!([asked.connection.ends().local.port, taken.connection.ends().peer.port], [curl.local_port; 2]);
    assert_eq!(
        [passed_on.connection.ends().local.port, answered.connection.ends().peer.port],
        [logged.remote_port; 2]
    );
    assert_is_curls(asked, curl);
}

#[test]
fn a_socks_relay_has_each_exchange_on_both_of_its_connections() {
    let (nginx, port) = (Nginx::start(free_port()), free_port());
    let mut command = Command::new("microsocks");
    command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let relay = Running::start(&mut command);
    wait_for_listener(Command::new("ss"), port, 1);
    let tracer = Tracer::start(&["--port", &format!("{port},{}", nginx.port())]);
    let paths = numbered(&["/echo/x", "/text.txt", "/missing"].repeat(2));
    let proxy = format!("socks5h://127.0.0.1:{port}");
    let get = |uri: &String| curl(&["--proxy", &proxy, &nginx.url("localhost", uri)]);
    let curls: Vec<_> = paths.iter().flat_map(get).collect();
    tracer.wait_for_lines("http", 4 * paths.len());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    let log = nginx.access_log(paths.len());
    let ends = by_end(&recording);
    assert_eq!(ends.len(), 4 * paths.len());
    for (uri, curl) in paths.iter().zip(&curls) {
        let logged = log.iter().find(|logged| logged.uri == *uri).expect("it was passed on");
        let relayed = four_ends(&ends, uri, port, nginx.port());
        assert_four_ends(relayed, ("microsocks", relay.pid()), logged, curl);
        for http in &relayed[..2] {
            let of = recording.connections().find(|of| of.connection.id == http.connection.id);
            let socks = of.and_then(|of| of.socks.as_ref()).unwrap_or_else(|| panic!("no SOCKS: {of:#?}"));
            assert_eq!(
                (socks.version, socks.host.printable().to_string(), socks.port),
                (5, "localhost".to_owned(), nginx.port())
            );
        }
    }
}
