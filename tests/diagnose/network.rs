//! A router that drops on the way of an exchange.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use tcp_trace_tests::{Nginx, Routed, free_port, number, output, wait_for};

use crate::connects::tracing;

/// How long it drops, from the request on: longer than an exchange may take.
const DROPS: Duration = Duration::from_millis(1_500);

/// More than is sent before the first acknowledgment.
const BODY: usize = 200_000;

/// What the client measured, the segments that the server's kernel sent again, and the packets that the router took and
/// did not pass on.
struct Seen {
    time: Duration,
    retransmits: u64,
    dropped: u64,
}

/// An exchange with nginx behind a router, which drops what is for the client for some time.
fn exchange(hosts: &Routed, nginx: &Nginx, drops: bool) -> Seen {
    let port = nginx.port();
    nginx.put("large", &"x".repeat(BODY));
    let server = SocketAddr::from(([10, 98, 2, 2], port));
    let route = |verb: &str| {
        let blackhole = ["route", verb, "blackhole", "10.98.1.2/32"];
        output(hosts.router.command("ip").args(blackhole));
    };
    let mut client = hosts.client.run(|| TcpStream::connect(server)).expect("nginx listens");
    if drops {
        route("add");
    }
    let start = Instant::now();
    client
        .write_all(b"GET /large HTTP/1.1\r\nHost: nginx\r\nConnection: close\r\n\r\n")
        .expect("it is connected");
    let asked = Instant::now();
    if drops {
        wait_for("the time", || (asked.elapsed() > DROPS).then_some(()));
        route("delete");
    }
    let mut response = Vec::new();
    client.read_to_end(&mut response).expect("it comes in the end");
    let time = start.elapsed();
    assert!(response.starts_with(b"HTTP/1.1 200 ") && response.len() > BODY, "{} bytes", response.len());
    drop(client);
    // Nothing is on the way then.
    wait_for("the end", || hosts.client.states(port).is_empty().then_some(()));
    let dropped = hosts.router.counter("InReceives") - hosts.router.counter("ForwDatagrams");
    Seen { time, retransmits: hosts.server.counter("RetransSegs"), dropped }
}

#[test]
fn an_exchange_that_waits_for_lost_segments_is_reported() {
    let (hosts, port) = (Routed::new(), free_port());
    let nginx = Nginx::start_in(&hosts.server, port);
    let mut seen = None;
    let diagnosis = tracing(port, &[], || seen = Some(exchange(&hosts, &nginx, true)));
    let Seen { time, retransmits, dropped } = seen.expect("it was done");
    assert!(dropped >= 1, "the router passes all on");
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("slow_network", Some("retransmits")));
    // The server's end is reported: it knows since when it retransmits.
    let process = finding.process.as_ref().expect("nginx is here");
    assert_eq!(&*process.name.0, b"nginx");
    assert_eq!(number(finding, "requests"), 1);
    // The kernel counts each of the packets that it cuts a segment into.
    let lost = number(finding, "segments_lost_or_late");
    assert!((3..=retransmits).contains(&lost), "{lost} of {retransmits}");
    // The client may read the last of it long after it came.
    let longest = Duration::from_micros(number(finding, "longest_us"));
    assert!((DROPS..=time).contains(&longest), "{longest:?} of {time:?}");
}

#[test]
fn an_exchange_on_a_way_that_drops_nothing_has_no_finding() {
    let (hosts, port) = (Routed::new(), free_port());
    let nginx = Nginx::start_in(&hosts.server, port);
    // A pause may make the server's kernel send the last segment again (a tail loss probe, RFC 8985), with nothing lost.
    tracing(port, &[], || assert_eq!(exchange(&hosts, &nginx, false).dropped, 0)).expect_none();
}
