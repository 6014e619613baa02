//! Connects that fail, and ports that run out.

use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::io::Errno;
use tcp_trace_model::{event::Flags, record::Severity};
use tcp_trace_tests::{
    Diagnosing, Diagnosis, Namespace, SYN_ACK, TimeWindow, assert_ages, assert_between, assert_since,
    free_port, now, number, stay_on_one_cpu, wait_for,
};

use crate::closes::Place;

/// Traces while something is done, and gives what was found.
pub(crate) fn tracing(port: u16, arguments: &[&str], work: impl FnOnce()) -> Diagnosis {
    let diagnosing = Diagnosing::start(port, arguments);
    work();
    diagnosing.end()
}

#[test]
fn refused_connects_are_counted() {
    let port = free_port();
    let diagnosis = tracing(port, &[], || {
        for _ in 0..3 {
            TcpStream::connect(("127.0.0.1", port)).expect_err("nothing listens");
        }
    });
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), number(finding, "connects")), ("connect_refused", 3));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert!(finding.summary.contains(&format!("to 127.0.0.1:{port} were refused")), "{}", finding.summary);
}

#[test]
fn connects_that_succeed_have_no_finding() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    tracing(port, &["--min-age", "1ms"], || {
        for _ in 0..3 {
            let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            let (server, _) = listener.accept().expect("it is connected");
            drop(client);
            drop(server);
        }
    })
    .expect_none();
}

#[test]
fn a_connect_without_an_answer_is_reported_while_it_waits() {
    let place = Place::new();
    let from = now();
    let (client, begun) = place.begin(place.server);
    let start = TimeWindow { from, to: now() };
    assert_eq!(begun, Err(Errno::INPROGRESS));
    let (mut peer, _) = place.wire.accept(place.server);
    Diagnosis::of_port(place.server.port(), &[]).expect_none();
    peer.expect(Flags::SYN);
    peer.expect(Flags::SYN);
    let finding = Diagnosis::wait_for("connect_timeout", place.server.port(), &[]);
    assert_eq!(finding.cause.as_deref(), Some("waiting"));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert_ages(&finding, start);
    // The healthy twin: it is answered.
    peer.send(SYN_ACK);
    peer.expect(Flags::ACK);
    Diagnosis::of_port(place.server.port(), &[]).expect_none();
    drop(client);
}

#[test]
fn connects_that_timed_out_or_had_no_route_are_reported() {
    let place = Place::new();
    place.namespace.set("ipv4/tcp_syn_retries", "1");
    let port = place.server.port();
    let linear = "/proc/sys/net/ipv4/tcp_syn_linear_timeouts";
    if std::path::Path::new(linear).exists() {
        place.namespace.set("ipv4/tcp_syn_linear_timeouts", "0");
    }
    let diagnosing = Diagnosing::start(port, &[]);
    let fails = || {
        let from = now();
        let (client, result) = place.begin(place.server);
        let begun = TimeWindow { from, to: now() };
        assert_eq!(result, Err(Errno::INPROGRESS));
        let (_, syn) = place.wire.accept(place.server);
        (client, syn, begun)
    };
    // Whoever reads the error takes it from the socket, and from whoever watches its end: only then.
    let error = |client: &TcpStream| {
        let mut from = now();
        let ended = wait_for("the end", || {
            let before = now();
            if place.namespace.states(port).is_empty() {
                return Some(TimeWindow { from, to: now() });
            }
            from = before;
            None
        });
        let error = client.take_error().expect("a socket has its error");
        (error.expect("it failed").raw_os_error(), ended)
    };
    let (client, syn, _) = fails();
    let unreachable = place.wire.send_host_unreachable(&syn);
    assert_eq!(error(&client).0, Some(Errno::HOSTUNREACH.raw_os_error()));
    let (client, _, begun) = fails();
    let (number_of_error, timed_out) = error(&client);
    assert_eq!(number_of_error, Some(Errno::TIMEDOUT.raw_os_error()));
    wait_for("some time", || (now().micros_since(timed_out.to) > 2_000_000).then_some(()));
    let diagnosis = diagnosing.end();
    let of = |code: &str| {
        let mut found = diagnosis.findings.iter().filter(|finding| finding.code == code);
        found.next().unwrap_or_else(|| panic!("no {code}: {diagnosis:#?}"))
    };
    let finding = of("connect_timeout");
    assert_eq!((finding.cause.as_deref(), number(finding, "connects")), (Some("no_answer"), 1));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert_between(number(finding, "longest_us"), begun, timed_out, finding);
    assert_since(number(finding, "last_ago_us"), timed_out, finding);
    let finding = of("connect_no_route");
    assert_eq!((finding.cause.as_deref(), number(finding, "connects")), (Some("no_route"), 1));
    assert_since(number(finding, "last_ago_us"), unreachable, finding);
}

/// Connections of a client that closes first, until it has no port left.
#[test]
fn ports_that_are_used_up_are_reported_with_the_failed_connects() {
    stay_on_one_cpu();
    let (namespace, port) = (Namespace::new(), free_port());
    namespace.set("ipv4/ip_local_port_range", "40000 40019");
    namespace.set("ipv4/tcp_tw_reuse", "0");
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = namespace.run(|| TcpListener::bind(server)).expect("the port is free");
    let one = || {
        let client = TcpStream::connect(server)?;
        let (server, _) = listener.accept()?;
        drop(client);
        drop(server);
        std::io::Result::Ok(())
    };
    let some = |count: usize| {
        for _ in 0..count {
            namespace.run(|| one().expect("there are ports"));
        }
    };
    some(10);
    Diagnosis::of_port(port, &[]).expect_none();
    some(7);
    let diagnosis = Diagnosis::of_port(port, &[]);
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.severity), ("port_exhaustion", Severity::Warning));
    assert_eq!((number(finding, "ports_in_use"), number(finding, "ports")), (17, 20));
    let diagnosis = tracing(port, &[], || {
        some(3);
        for _ in 0..2 {
            let error = namespace.run(|| one().expect_err("there is no port left"));
            assert_eq!(error.raw_os_error(), Some(Errno::ADDRNOTAVAIL.raw_os_error()));
        }
    });
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.severity), ("port_exhaustion", Severity::Critical));
    assert_eq!((number(finding, "ports_in_use"), number(finding, "no_port_left")), (20, 2));
}
