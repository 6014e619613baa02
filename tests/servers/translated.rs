//! A server to which address translation on the client's host leads: each exchange is curl's at one end and that of nginx's worker at
//! the other, with the addresses that each of them says its socket has.

use std::net::IpAddr;

use tcp_trace_model::{
    event::Role,
    record::{Endpoint, Http, Integrity, Outcome},
};
use tcp_trace_tests::{
    Namespace, Nginx, OUTPUT, POSTROUTING, Recording, Tracer, curl_in, free_port, joined_namespaces, output,
    translate,
};

use crate::{assert_is_curls, line_of};

/// An address that no host has: only translation leads anywhere.
const NOWHERE: &str = "10.9.9.9";
const PATHS: [&str; 3] = ["/echo/x", "/text.txt", "/missing"];

/// A client's host, whose way to everywhere is the other one.
fn hosts() -> (Namespace, Namespace) {
    let (near, far) = joined_namespaces();
    output(near.command("ip").args(["route", "add", "default", "via", "10.99.0.2"]));
    (near, far)
}

#[test]
fn an_application_behind_a_redirect() {
    let (near, far) = hosts();
    let nginx = Nginx::start_in(&near, free_port());
    translate(&near, &[&format!("{OUTPUT} ip daddr {NOWHERE} tcp dport 80 redirect to :{}", nginx.port())]);
    assert_served(&near, &far, &nginx, NOWHERE);
}

#[test]
fn an_application_behind_dnat() {
    let (near, far) = hosts();
    let nginx = Nginx::start_in(&far, free_port());
    let rule = format!("{OUTPUT} ip daddr {NOWHERE} tcp dport 80 dnat ip to 10.99.0.2:{}", nginx.port());
    translate(&near, &[&rule]);
    assert_served(&near, &far, &nginx, NOWHERE);
}

#[test]
fn an_application_behind_masquerade() {
    let (near, far) = hosts();
    let nginx = Nginx::start_in(&far, free_port());
    let rule = format!("{POSTROUTING} tcp dport {} masquerade to :7200-7300", nginx.port());
    translate(&near, &[&rule]);
    assert_served(&near, &far, &nginx, &format!("10.99.0.2:{}", nginx.port()));
}

/// The exchange for a target at one end.
fn only<'a>(recording: &'a Recording, role: Role, target: &str) -> &'a Http {
    let exchanges = recording.http_of(role);
    let found: Vec<_> = exchanges.iter().copied().filter(|http| line_of(http).1 == target).collect();
    let [http] = found[..] else { panic!("one {role:?} of {target}: {exchanges:#?}") };
    http
}

/// curl requests paths from what it knows under this address.
fn assert_served(near: &Namespace, far: &Namespace, nginx: &Nginx, address: &str) {
    let tracer = Tracer::start(&["--netns", &format!("{},{}", near.inode(), far.inode())]);
    let get = |path: &&str| curl_in(near, &[&format!("http://{address}{path}")]);
    let curls: Vec<_> = PATHS.iter().flat_map(get).collect();
    tracer.wait_for_lines("http", 2 * PATHS.len());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!((recording.end.lost, recording.end.http), (0, 2 * PATHS.len() as u64));
    let log = nginx.access_log(PATHS.len());
    for curl in &curls {
        let logged = log.iter().find(|line| line.uri == curl.target()).expect("it was answered");
        let [client, server] = [Role::Client, Role::Server].map(|role| only(&recording, role, curl.target()));
        let [asked, answered] = [client, server].map(|http| http.connection.ends());
        let endpoint = |address: IpAddr, port: u16| Endpoint { address, port };
        let [local, remote] = [&curl.local_ip, &curl.remote_ip].map(|ip| ip.parse().expect("it connected"));
        assert_eq!(asked.local, endpoint(local, curl.local_port));
        assert_eq!(asked.peer, endpoint(remote, curl.remote_port));
        let of_nginx = |address: Option<IpAddr>, port| endpoint(address.expect("nginx logs it"), port);
        assert_eq!(answered.local, of_nginx(logged.server_addr, nginx.port()));
        assert_eq!(answered.peer, of_nginx(logged.remote_addr, logged.remote_port));
        assert_ne!((asked.local, asked.peer), (answered.peer, answered.local), "it is translated");
        assert_eq!(client.connection.peer_connection, Some(server.connection.id));
        assert_eq!(server.connection.peer_connection, Some(client.connection.id));
        for (http, pid, name) in [(client, curl.pid, "curl"), (server, logged.pid, "nginx")] {
            let process = http.connection.process.as_ref().unwrap_or_else(|| panic!("no process: {http:?}"));
            assert_eq!((process.pid, &process.name), (pid, &name.into()), "{http:?}");
            assert_eq!(line_of(http), (logged.method.clone(), logged.uri.clone(), logged.status));
            let outcome = (http.exchange.outcome, http.exchange.integrity);
            assert_eq!(outcome, (Outcome::Ok, Integrity::Complete), "{http:?}");
            let response = http.exchange.response.as_ref().expect("it was answered");
            assert_eq!(response.body.size, logged.body_bytes_sent, "{http:?}");
        }
        assert_is_curls(client, curl);
    }
}
