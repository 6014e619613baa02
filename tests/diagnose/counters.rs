//! What only the kernel's counters show afterwards: backlogs and accept queues that were full meanwhile.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use rustix::net::listen;
use tcp_trace_model::{
    event::Flags,
    record::{Finding, Severity},
};
use tcp_trace_tests::{
    Diagnosing, Diagnosis, Namespace, PATIENCE, Peer, SYN_ACK, Segment, Wire, WireAddresses, accept,
    free_port, number, wait_for,
};

const SYNS: u8 = 20;

/// A listener of this process in a namespace, at a wire.
struct Host {
    namespace: Namespace,
    wire: Wire,
    addresses: WireAddresses,
    listener: TcpListener,
    local: SocketAddr,
}

impl Host {
    fn new(backlog: i32) -> Self {
        let (namespace, addresses) = (Namespace::new(), WireAddresses::ipv4());
        let wire = Wire::new(&namespace, addresses);
        let local = SocketAddr::new(addresses.local, free_port());
        let listener = namespace.run(|| TcpListener::bind(local)).expect("the port is free");
        listen(&listener, backlog).expect("it listens already");
        Self { namespace, wire, addresses, listener, local }
    }

    /// SYNs, each from an address of its own or all from one.
    fn flood(&self, is_spread: bool) -> Vec<(Peer<'_>, Segment)> {
        let IpAddr::V4(remote) = self.addresses.remote else { panic!("IPv4") };
        let [a, b, c, _] = remote.octets();
        (0..SYNS)
            .map(|number| {
                let port = 2_000 + u16::from(number);
                let peer = self.wire.peer(self.local, port);
                let mut syn = peer.segment(Flags::SYN, b"");
                syn.source = SocketAddr::from(([a, b, c, if is_spread { 10 + number } else { 10 }], port));
                self.wire.send(&syn);
                (peer, syn)
            })
            .collect()
    }

    /// What is found of the whole namespace.
    fn told(&self, diagnosis: &Diagnosis) -> Option<Finding> {
        let name = format!("network namespace {} ", self.namespace.inode());
        diagnosis.findings.iter().find(|finding| finding.summary.contains(&name)).cloned()
    }

    /// Ends all that is half-open, as clients do that know nothing of it.
    fn reset(&self, flood: Vec<(Peer<'_>, Segment)>) {
        for (_, syn) in flood {
            self.wire.send(&Segment { flags: Flags::RST, seq: syn.seq.wrapping_add(1), ..syn });
        }
        wait_for("none half-open", || {
            (!self.namespace.states(self.local.port()).contains(&"SYN_RECV".to_owned())).then_some(())
        });
    }
}

#[test]
fn cookies_that_were_sent_meanwhile_are_reported() {
    for (backlog, setting) in [(4, "1"), (4, "0"), (128, "1")] {
        let host = Host::new(backlog);
        host.namespace.set("ipv4/tcp_syncookies", setting);
        let diagnosing = Diagnosing::of_host(&[]);
        let flood = host.flood(true);
        wait_for("the SYNs to be taken", || {
            let counted =
                host.namespace.counter("SyncookiesSent") + host.namespace.counter("TCPReqQFullDrop");
            let half_open = host.namespace.states(host.local.port());
            let half_open = half_open.iter().filter(|state| *state == "SYN_RECV").count();
            (counted + half_open as u64 >= SYNS.into()).then_some(())
        });
        host.reset(flood);
        let found = host.told(&diagnosing.end());
        let cookies = host.namespace.counter("SyncookiesSent");
        let dropped = host.namespace.counter("TCPReqQFullDrop");
        assert_eq!((cookies > 0, dropped > 0), (backlog == 4 && setting == "1", setting == "0"));
        // The healthy twin: there was room.
        let Some(finding) = found else {
            assert_eq!(backlog, 128, "nothing was reported");
            continue;
        };
        assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("syn_backlog", Some("overflowed")));
        assert_eq!(number(&finding, "cookies_sent"), cookies);
        assert_eq!(number(&finding, "dropped"), dropped);
    }
}

#[test]
fn a_full_backlog_is_reported_with_its_sources_and_what_was_dropped() {
    for is_spread in [true, false] {
        let host = Host::new(4);
        host.namespace.set("ipv4/tcp_syncookies", "0");
        let port = host.local.port();
        let diagnosing = Diagnosing::start(port, &[]);
        let flood = host.flood(is_spread);
        // The healthy twin: they may still answer, until the kernel sends its SYN+ACKs again, a second later.
        let young = Diagnosis::of_port(port, &[]);
        let is_sent_again = host.namespace.counter("RetransSegs") > 0;
        assert!(young.findings.is_empty() || is_sent_again, "nothing is wrong: {young:#?}");
        let first = flood[0].1.source;
        for _ in 0..2 {
            host.wire.expect("a SYN+ACK again", |segment| segment.destination == first);
        }
        let diagnosis = diagnosing.end();
        let finding = diagnosis.only();
        let cause = if is_spread { "many_sources" } else { "few_sources" };
        assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("syn_backlog", Some(cause)));
        assert_eq!(finding.severity, Severity::Critical);
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
        let half_open = number(finding, "half_open");
        assert_eq!(number(finding, "sources"), if is_spread { half_open } else { 1 });
        assert_eq!(number(finding, "backlog"), 4);
        assert_eq!(number(finding, "backlog_full_drops"), host.namespace.counter("TCPReqQFullDrop"));
        assert_eq!(half_open + number(finding, "backlog_full_drops"), u64::from(SYNS));
        host.reset(flood);
        Diagnosis::of_port(port, &[]).expect_none();
    }
}

#[test]
fn an_accept_queue_that_overflowed_meanwhile_is_reported() {
    for (backlog, overflows) in [(1, true), (128, false)] {
        let host = Host::new(backlog);
        // With a cookie nobody would send the last segment of a handshake again that finds the queue full.
        host.namespace.set("ipv4/tcp_syncookies", "0");
        let port = host.local.port();
        let diagnosing = Diagnosing::start(port, &[]);
        std::thread::scope(|scope| {
            let connect = || {
                let connected = host.namespace.run(|| TcpStream::connect_timeout(&host.local, PATIENCE));
                connected.expect("it is accepted at last")
            };
            let clients: Vec<_> = (0..6).map(|_| scope.spawn(connect)).collect();
            wait_for("the burst", || match overflows {
                true => (host.namespace.counter("ListenOverflows") > 0).then_some(()),
                false => (clients.iter().all(|client| client.is_finished())).then_some(()),
            });
            for _ in 0..6 {
                accept(&host.listener);
            }
        });
        let diagnosis = diagnosing.end();
        if !overflows {
            diagnosis.expect_none();
            continue;
        }
        let finding = diagnosis.only();
        assert_eq!(
            (finding.code.as_str(), finding.cause.as_deref()),
            ("accept_queue_full", Some("overflowed"))
        );
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
        assert_eq!(number(finding, "dropped"), host.namespace.counter("ListenDrops"));
        assert_eq!(number(finding, "listen_overflows"), host.namespace.counter("ListenOverflows"));
    }
}

/// The kernel counts the last segment of a handshake twice at the listener's socket, once in the namespace.
#[test]
fn handshakes_whose_last_segment_was_dropped_are_counted_once() {
    const BACKLOG: i32 = 2;
    let host = Host::new(BACKLOG);
    let port = host.local.port();
    let diagnosing = Diagnosing::start(port, &[]);
    let mut ports = 2_000..;
    let mut begin = || {
        let mut peer = host.wire.peer(host.local, ports.next().expect("there is one more"));
        peer.send(Flags::SYN);
        peer.expect(SYN_ACK);
        peer
    };
    for _ in 0..BACKLOG {
        begin().send(Flags::ACK);
    }
    // There is room for one more of these.
    let mut late: Vec<_> = (0..3).map(|_| begin()).collect();
    for peer in &mut late {
        peer.send(Flags::ACK);
    }
    wait_for("the drops", || (host.namespace.counter("ListenDrops") == 2).then_some(()));
    for _ in 0..=BACKLOG {
        accept(&host.listener);
    }
    // As clients do whose SYN+ACK comes again: else these two would be half-open.
    for peer in &mut late {
        peer.send(Flags::ACK);
    }
    for _ in 0..2 {
        accept(&host.listener);
    }
    let diagnosis = diagnosing.end();
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("accept_queue_full", Some("overflowed")));
    assert_eq!(number(finding, "dropped"), 2);
    assert_eq!(number(finding, "listen_overflows"), host.namespace.counter("ListenOverflows"));
}
