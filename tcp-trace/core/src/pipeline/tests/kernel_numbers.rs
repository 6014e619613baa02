//! Where the kernel decides: which SYN was answered, how many bytes passed, what ended a connection.

use std::{collections::HashSet, sync::Arc};

use tcp_trace_model::{exchange::Integrity, record::ConnectionId};

use super::*;
use crate::conn::Progress;

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const SERVERS: (u16, u16) = (8080, 41352);

impl Host {
    /// Those that are missing from a list of all sockets of the `complete` network namespaces.
    fn missing_from(&self, sockets: &[ExistingSocket], complete: &[u32]) -> Vec<ConnectionId> {
        let mut missing = self.pipeline.with_sockets();
        let present = sockets.iter().map(|socket| socket.cookie).collect();
        self.pipeline.retain_missing(&mut missing, &present, complete);
        missing
    }

    /// Closes a socket for this error, up to which so many bytes had been acknowledged and received.
    fn gone_from(&mut self, cookie: u64, old: State, error: i32, [sent, received]: [u32; 2]) {
        let (own, other) = if cookie == CLIENT { (CLIENT_ISN, SERVER_ISN) } else { (SERVER_ISN, CLIENT_ISN) };
        let passed = Some([own.wrapping_add(1 + sent), other.wrapping_add(1 + received)]);
        let change = StateChange { netns: NETNS, error, passed, ..StateChange::new(old, State::Close) };
        self.event(cookie, EventKind::StateChange(change));
    }

    /// Payload of the client, sent and received.
    fn data_at_both_ends(&mut self, payload: &[u8]) {
        let (client, server) = (endpoints(41352, 8080), endpoints(8080, 41352));
        let number = (CLIENT_ISN + 1, SERVER_ISN + 1);
        self.segment(CLIENT, client, Direction::Out, Flags::ACK, number, payload, State::Established);
        self.segment(SERVER, server, Direction::In, Flags::ACK, number, payload, State::Established);
    }

    fn bytes(&self, id: &str) -> (u64, u64) {
        let bytes = &self.summary(id).bytes;
        (bytes.sent, bytes.received)
    }
}

#[test]
fn bytes_that_nobody_reported_are_those_of_the_kernels_numbers() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    let (request, response) = (REQUEST.len() as u64, RESPONSE.len() as u64);
    host.gone_from(CLIENT, State::Established, 104, [300_000, response as u32]);
    host.gone_from(SERVER, State::CloseWait, 104, [10, 300_000 + 1]);
    host.tick(1);
    assert_eq!(host.bytes("c4101"), (300_000, response));
    assert_eq!(
        host.bytes("c4102"),
        (response, 300_000),
        "the FIN is no byte; more was sent than acknowledged"
    );
    assert!(request < 300_000);
}

#[test]
fn an_rst_that_answers_a_refused_syn_ack_does_not_end_the_connection() {
    let mut host = Host::new(Filter::default());
    let client = endpoints(41352, 8080);
    host.state(CLIENT, endpoints(0, 8080), State::Close, State::SynSent, Some(owner(13838, "curl")), 0);
    host.segment(CLIENT, client, Direction::Out, Flags::SYN, (CLIENT_ISN, 0), b"", State::SynSent);
    let wrong = (7, CLIENT_ISN + 100_001);
    host.segment(CLIENT, client, Direction::In, SYN_ACK, wrong, b"", State::SynSent);
    host.segment(CLIENT, client, Direction::Out, Flags::RST, (wrong.1, 0), b"", State::SynSent);
    let right = (SERVER_ISN, CLIENT_ISN + 1);
    host.segment(CLIENT, client, Direction::In, SYN_ACK, right, b"", State::SynSent);
    host.state(CLIENT, client, State::SynSent, State::Established, None, 0);
    let reset = Flags::RST.with(Flags::ACK);
    host.segment(CLIENT, client, Direction::In, reset, (SERVER_ISN + 1, right.1), b"", State::Established);
    host.gone_from(CLIENT, State::Established, 104, [0, 0]);
    host.tick(1);
    let close = &host.summary("c4101").close;
    assert_eq!((close.by, close.how, close.reason.as_deref()), (By::Peer, How::Rst, Some("ECONNRESET")));
    assert_eq!(host.bytes("c4101"), (0, 0));
}

#[test]
fn an_rst_that_only_the_tracepoint_shows_ends_the_connection() {
    let mut host = Host::new(Filter::default());
    host.pipeline.cx.settings.reset_reasons.insert(9, Arc::from("TCP_ABORT_ON_DATA"));
    host.handshake();
    host.state(SERVER, endpoints(8080, 41352), State::Established, State::FinWait1, None, 0);
    host.state(SERVER, endpoints(8080, 41352), State::FinWait1, State::FinWait2, None, 0);
    host.gone_from(SERVER, State::FinWait2, 0, [1, 0]);
    host.event(SERVER, EventKind::Reset(9));
    host.tick(1);
    let close = &host.summary("c4102").close;
    assert_eq!(
        (close.by, close.how, close.reason.as_deref()),
        (By::Local, How::Rst, Some("TCP_ABORT_ON_DATA"))
    );
    assert!(!host.summary("c4102").open);
}

#[test]
fn a_server_begins_with_the_syn_that_was_answered() {
    let mut host = Host::new(Filter::default());
    let server = endpoints(SERVERS.0, SERVERS.1);
    host.state(LISTENER, endpoints(8080, 0), State::Close, State::Listen, Some(owner(812, "nginx")), 0);
    for _ in 0..3 {
        host.tick(1);
        host.segment(LISTENER, server, Direction::In, Flags::SYN, (CLIENT_ISN, 0), b"", State::Listen);
    }
    let answered = host.now;
    let syn_ack = (SERVER_ISN, CLIENT_ISN + 1);
    host.segment(LISTENER, server, Direction::Out, SYN_ACK, syn_ack, b"", State::SynRecv);
    host.segment(
        LISTENER,
        server,
        Direction::In,
        Flags::ACK,
        (syn_ack.1, SERVER_ISN + 1),
        b"",
        State::Listen,
    );
    host.state(SERVER, server, State::Listen, State::SynRecv, None, 0);
    host.state(SERVER, server, State::SynRecv, State::Established, None, 0);
    host.finish();
    let summary = host.summary("c4102");
    assert_eq!((summary.opened, summary.states[0].entered), (Time(answered), Time(answered)));
    assert_eq!(summary.states[0].duration_us, Some(4));
    assert_eq!(summary.handshake.unwrap().syn_retransmits, 2);
    assert_eq!(host.summary("c2").syns_unanswered, 2);
}

#[test]
fn what_happened_before_all_was_reported_is_of_no_session() {
    let mut host = Host::new(Filter::default());
    // SYN_SENT to ESTABLISHED is the last that was not.
    host.pipeline.cx.settings.since = Time(host.now + 7_000);
    host.handshake();
    host.finish();
    assert_eq!(host.connections(), 2);
    let server = host.summary("c4102");
    assert!(!server.seen_from_start);
    assert!(server.states[0].estimated, "{:?}", server.states);
}

#[test]
fn an_orphan_that_ends_before_its_time_does_not_say_that_no_fin_came() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let client = endpoints(41352, 8080);
    host.state(CLIENT, client, State::Established, State::FinWait1, Some(owner(13838, "curl")), 0);
    let fin = Flags::FIN.with(Flags::ACK);
    host.segment(CLIENT, client, Direction::Out, fin, (CLIENT_ISN + 1, SERVER_ISN + 1), b"", State::FinWait1);
    host.state(CLIENT, client, State::FinWait1, State::FinWait2, None, 0);
    host.state(CLIENT, endpoints(0, 8080), State::FinWait2, State::Close, None, 0);
    host.tick(1);
    host.list(&[]);
    let close = &host.summary("c4101").close;
    assert_eq!((close.by, close.how, close.reason.as_deref()), (By::Local, How::Fin, None));
}

/// A request to which there is no response: the client ends its direction, by shutdown() or close(), then the server closes.
fn silence(shutdown: u8) -> Host {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.data_at_both_ends(REQUEST);
    let (client, server) = (endpoints(41352, 8080), endpoints(8080, 41352));
    let (out, inward) = (Direction::Out, Direction::In);
    let fin = Flags::FIN.with(Flags::ACK);
    let first = (CLIENT_ISN + 1 + REQUEST.len() as u32, SERVER_ISN + 1);
    let change = StateChange {
        endpoints: client,
        netns: NETNS,
        shutdown,
        ..StateChange::new(State::Established, State::FinWait1)
    };
    host.event(CLIENT, EventKind::StateChange(change));
    host.segment(CLIENT, client, out, fin, first, b"", State::FinWait1);
    host.segment(SERVER, server, inward, fin, first, b"", State::Established);
    host.state(SERVER, server, State::Established, State::CloseWait, None, 0);
    host.state(CLIENT, client, State::FinWait1, State::FinWait2, None, 0);
    host.tick(1);
    host.state(SERVER, server, State::CloseWait, State::LastAck, Some(owner(812, "nginx")), 0);
    let second = (first.1, first.0 + 1);
    host.segment(SERVER, server, out, fin, second, b"", State::LastAck);
    host.segment(CLIENT, client, inward, fin, second, b"", State::FinWait2);
    host.gone_from(CLIENT, State::FinWait2, 0, [REQUEST.len() as u32 + 1, 1]);
    host.gone_from(SERVER, State::LastAck, 0, [1, REQUEST.len() as u32 + 1]);
    host.tick(1);
    host
}

#[test]
fn after_a_half_close_the_second_fin_ends_an_exchange() {
    for (shutdown, by, waits) in [(2, "server", true), (3, "client", false)] {
        let host = silence(shutdown);
        let exchanges = host.out.iter().filter_map(|record| match record {
            Record::Http(http) => Some(&http.exchange),
            _ => None,
        });
        let told: Vec<_> = exchanges
            .map(|exchange| (exchange.reason.clone().unwrap(), exchange.timing.total_us >= 1_000_000))
            .collect();
        assert_eq!(told.len(), 2);
        for (reason, has_waited) in told {
            assert_eq!((&*reason, has_waited), (&*format!("closed by the {by} before the response"), waits));
        }
    }
}

#[test]
fn a_fin_that_the_kernel_refused_is_none() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let server = endpoints(8080, 41352);
    let fin = (CLIENT_ISN + 1, SERVER_ISN + 70_000);
    host.segment(SERVER, server, Direction::In, Flags::FIN.with(Flags::ACK), fin, b"", State::Established);
    let stats = tcp_trace_model::event::TcpStats { receive_queue: 1_000, ..Default::default() };
    let passed = Some([SERVER_ISN + 1, CLIENT_ISN + 1 + 1_000]);
    let change =
        StateChange { netns: NETNS, stats, passed, ..StateChange::new(State::Established, State::Close) };
    host.event(SERVER, EventKind::StateChange(change));
    host.tick(1);
    let summary = host.summary("c4102");
    assert_eq!((summary.bytes.received, summary.receive_queue), (1_000, 1_000));
    assert_eq!(summary.close.by, By::None, "it is no end");
}

#[test]
fn a_connect_that_is_closed_before_its_syn_says_so() {
    for (shutdown, acknowledged, port, expected) in [
        (3, 0, 0, (How::Abandoned, Some("closed before a SYN was sent"))),
        // connect() itself gave it up: `inet_hash_connect()` had no port for it.
        (0, 0, 0, (How::Error, Some("EADDRNOTAVAIL"))),
        // From a port, it may also have been the routing, IPsec, or TCP-MD5.
        (0, 0, 41352, (How::Error, Some("no SYN was sent"))),
        (3, CLIENT_ISN, 0, (How::Abandoned, None)),
    ] {
        let mut host = Host::new(Filter::default());
        let ends = endpoints(port, 8080);
        host.state(CLIENT, ends, State::Close, State::SynSent, Some(owner(13838, "curl")), 0);
        let change = StateChange {
            endpoints: ends,
            netns: NETNS,
            shutdown,
            passed: Some([acknowledged, 0]),
            ..StateChange::new(State::SynSent, State::Close)
        };
        host.event(CLIENT, EventKind::StateChange(change));
        host.tick(1);
        host.tick(1);
        let close = &host.summary("c4101").close;
        assert_eq!((close.how, close.reason.as_deref()), expected);
    }
}

#[test]
fn what_was_sent_and_not_acknowledged_counts_where_the_kernel_says_it() {
    for (sent_to, expected) in [(Some(400_000), 400_000), (None, 300_000)] {
        let mut host = Host::new(Filter::default());
        host.handshake();
        let change = StateChange {
            netns: NETNS,
            error: 110,
            passed: Some([CLIENT_ISN + 1 + 300_000, SERVER_ISN + 1]),
            sent_to: sent_to.map(|sent| CLIENT_ISN + 1 + sent),
            ..StateChange::new(State::Established, State::Close)
        };
        host.event(CLIENT, EventKind::StateChange(change));
        host.tick(1);
        host.tick(1);
        assert_eq!(host.bytes("c4101"), (expected, 0));
        assert_eq!(host.summary("c4101").close.unacknowledged, sent_to.map(|sent| sent - 300_000));
    }
}

#[test]
fn a_half_open_end_whose_own_rst_ended_it_is_linked_with_its_client() {
    let mut host = Host::new(Filter::default());
    let (client, server) = (endpoints(41352, 8080), endpoints(8080, 41352));
    host.state(LISTENER, endpoints(8080, 0), State::Close, State::Listen, Some(owner(812, "nginx")), 0);
    host.state(CLIENT, endpoints(0, 8080), State::Close, State::SynSent, Some(owner(13838, "curl")), 0);
    let (syn, syn_ack) = ((CLIENT_ISN, 0), (SERVER_ISN, CLIENT_ISN + 1));
    let third = (CLIENT_ISN + 1, SERVER_ISN + 1);
    host.segment(CLIENT, client, Direction::Out, Flags::SYN, syn, b"", State::SynSent);
    host.segment(LISTENER, server, Direction::In, Flags::SYN, syn, b"", State::Listen);
    host.segment(LISTENER, server, Direction::Out, SYN_ACK, syn_ack, b"", State::SynRecv);
    host.segment(CLIENT, client, Direction::In, SYN_ACK, syn_ack, b"", State::SynSent);
    host.state(CLIENT, client, State::SynSent, State::Established, None, 0);
    host.segment(CLIENT, client, Direction::Out, Flags::ACK, third, b"", State::Established);
    host.segment(LISTENER, server, Direction::In, Flags::ACK, third, b"", State::Listen);
    host.segment(LISTENER, server, Direction::Out, Flags::RST, (third.1, 0), b"", State::SynRecv);
    host.segment(CLIENT, client, Direction::In, Flags::RST, (third.1, 0), b"", State::Established);
    host.gone_from(CLIENT, State::Established, 104, [0, 0]);
    host.tick(1);
    let half_open = host.summary("c2h1");
    assert_eq!((half_open.open, half_open.close.by, half_open.close.how), (false, By::Local, How::Rst));
    let peers =
        [half_open, host.summary("c4101")].map(|end| end.peer_connection.map(|peer| peer.to_string()));
    assert_eq!(peers, [Some("c4101".to_owned()), Some("c2h1".to_owned())]);
}

#[test]
fn a_fin_that_was_acknowledged_ends_fin_wait1_though_nobody_reported_it() {
    for (acknowledged, waits, expected) in
        [(2, true, "FIN_WAIT2"), (2, false, "FIN_WAIT1"), (1, true, "FIN_WAIT1")]
    {
        let mut host = Host::new(Filter::default());
        host.handshake();
        let client = endpoints(41352, 8080);
        let fin = Flags::FIN.with(Flags::ACK);
        let number = (CLIENT_ISN + 1, SERVER_ISN + 1);
        host.state(CLIENT, client, State::Established, State::FinWait1, Some(owner(13838, "curl")), 0);
        host.segment(CLIENT, client, Direction::Out, fin, number, b"", State::FinWait1);
        let ack = (number.1, CLIENT_ISN + acknowledged);
        host.segment(CLIENT, client, Direction::In, Flags::ACK, ack, b"", State::FinWait1);
        host.tick(u64::from(waits));
        host.finish();
        let summary = host.summary("c4101");
        let last = summary.states.last().unwrap();
        assert_eq!((last.state.name(), last.estimated), (expected, expected == "FIN_WAIT2"));
        assert_eq!(summary.seen_from_start, expected == "FIN_WAIT1");
        let gaps = host.out.iter().filter(|record| matches!(record, Record::Transition(it) if it.gap));
        assert_eq!(gaps.count(), usize::from(expected == "FIN_WAIT2"));
    }
}

#[test]
fn an_older_connection_has_what_it_carried_before_beside_what_passed_since() {
    let mut host = Host::new(Filter::default());
    let ends = endpoints(41352, 8080);
    host.pipeline.existing(Time(host.now), &[listed(CLIENT, 1_001, 5_000)]);
    host.segment(CLIENT, ends, Direction::Out, Flags::ACK, (77, 99), REQUEST, State::Established);
    let request = REQUEST.len() as u64;
    host.pipeline.still_open(Time(host.now), vec![listed(CLIENT, 1_001 + request, 5_000)]);
    host.finish();
    let summary = host.summary("c4101");
    let before = summary.bytes_before.map(|bytes| (bytes.sent, bytes.received));
    assert_eq!(before, Some((1_000, 5_000)), "its SYN is no byte");
    assert_eq!((summary.bytes.sent, summary.bytes.received), (request, 0));
    assert_eq!(summary.duration_us, None, "nobody knows how old it is");
}

/// A client's socket as the kernel lists it, which has sent and received so much.
pub(super) fn listed(cookie: u64, sent: u64, received: u64) -> ExistingSocket {
    ExistingSocket {
        cookie,
        netns: NETNS,
        endpoints: endpoints(41352, 8080),
        state: State::Established,
        role: Some(Role::Client),
        owner: None,
        others: Vec::new(),
        stats: Default::default(),
        bytes: Some(Progress { sent, received, not_data: [1, 0] }),
        mini_socket_us: None,
        is_one_of_several: false,
        listed: None,
    }
}

#[test]
fn what_the_kernel_has_no_more_is_not_open() {
    for (sockets, complete, is_open) in [
        (vec![listed(CLIENT, 1, 0)], vec![NETNS], true),
        (vec![listed(SERVER, 1, 0)], vec![NETNS], false),
        (Vec::new(), vec![NETNS], false),
        // A list of another network namespace, or one that is cut, says nothing.
        (Vec::new(), vec![NETNS + 1], true),
    ] {
        let mut host = Host::new(Filter::default());
        host.handshake();
        let missing = host.missing_from(&sockets, &complete);
        host.pipeline.are_missing(&missing);
        host.finish();
        let summary = host.summary("c4101");
        assert_eq!((summary.open, summary.socket.is_some()), (is_open, false), "{sockets:?}");
        let how = if is_open { How::Open } else { How::Unknown };
        assert_eq!((summary.close.how, summary.closed), (how, None));
        assert_eq!(summary.duration_us.is_some(), is_open, "nobody knows when it ended");
    }
}

#[test]
fn what_closed_while_the_list_was_read_is_not_missing() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let mut missing = host.pipeline.with_sockets();
    host.pipeline.retain_missing(&mut missing, &HashSet::new(), &[NETNS]);
    assert!(!missing.is_empty());
    host.exchange();
    host.close();
    host.pipeline.retain_missing(&mut missing, &HashSet::new(), &[NETNS]);
    assert_eq!(missing, []);
}

#[test]
fn what_a_missing_connection_carried_does_not_end_with_the_session() {
    for (is_missing, integrity, reason) in [
        (true, Integrity::Gap, "bytes were not seen"),
        (false, Integrity::Truncated, "the session ended during the response"),
    ] {
        let mut host = Host::new(Filter::default());
        host.handshake();
        host.begin_exchange();
        let listed = if is_missing { Vec::new() } else { vec![listed(CLIENT, 1, 0), listed(SERVER, 1, 0)] };
        let missing = host.missing_from(&listed, &[NETNS]);
        host.pipeline.are_missing(&missing);
        host.finish();
        let exchanges: Vec<_> = host
            .out
            .iter()
            .filter_map(|record| match record {
                Record::Http(http) => Some((http.exchange.integrity, http.exchange.reason.as_deref())),
                _ => None,
            })
            .collect();
        assert!(!exchanges.is_empty());
        assert!(exchanges.iter().all(|it| *it == (integrity, Some(reason))), "{exchanges:?}");
    }
}
