//! Whole lives of connections through the pipeline: events as the kernel reports them, records as users read them.

use std::net::SocketAddr;

mod delivery;
mod dns;
mod ends;
mod held;
mod kernel_numbers;
mod memory;
mod plaintext;
mod proxied;
mod refused;
mod routes;
mod simulator;
mod stacks;
mod stalls;
mod subflows;
mod translation;
mod unreported;
mod unseen;
mod users;

use tcp_trace_model::{
    event::{Direction, Endpoints, Event, EventKind, Flags, Owner, Role, Segment, State, StateChange},
    record::{By, Filter, How, Record},
    time::Time,
};

use super::*;

const NETNS: u32 = 4_026_531_840;
const CLIENT: u64 = 4101;
const LISTENER: u64 = 2;
const SERVER: u64 = 4102;
const CLIENT_ISN: u32 = 1_598_938_749;
const SERVER_ISN: u32 = 2_044_270_846;
const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn endpoints(local: u16, peer: u16) -> Endpoints {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Endpoints { local: address(local), peer: address(peer) }
}

fn owner(pid: u32, name: &str) -> Owner {
    Owner::new(pid, name)
}

/// Feeds events a microsecond apart.
#[derive(Default)]
struct Host {
    pipeline: Pipeline,
    now: u64,
    out: Vec<Record>,
    skips: Vec<Skip>,
    plaintext_skips: Vec<SkipPlaintext>,
    questions: Vec<RouteQuestion>,
    lists: Vec<Vec<u32>>,
    stacks: Vec<StackQuestion>,
    last_uses: Vec<u64>,
    lost: u64,
}

impl Host {
    fn new(filter: Filter) -> Self {
        Self {
            pipeline: Pipeline::new(Settings { filter, ..Settings::default() }),
            now: 1_000_000_000,
            ..Self::default()
        }
    }

    fn event(&mut self, cookie: u64, kind: EventKind<'_>) {
        self.now += 1_000;
        self.pipeline.event(&Event { time: Time(self.now), cookie, kind });
        self.take();
    }

    /// Takes what the pipeline puts out.
    fn take(&mut self) {
        while let Some(output) = self.pipeline.poll() {
            match output {
                Output::Record(record) => self.out.push(record),
                Output::Skip(skip) => self.skips.push(skip),
                Output::SkipPlaintext(skip) => self.plaintext_skips.push(skip),
                Output::AskRoute(question) => self.questions.push(question),
                Output::ListNamespaces(namespaces) => self.lists.push(namespaces),
                Output::ResolveStack(question) => self.stacks.push(*question),
                Output::AskLastUse(cookie) => self.last_uses.push(cookie),
                Output::Lost(events) => self.lost += events,
            }
        }
    }

    fn state(
        &mut self,
        cookie: u64,
        ends: Endpoints,
        old: State,
        new: State,
        owner: Option<Owner>,
        error: i32,
    ) {
        let change =
            StateChange { endpoints: ends, netns: NETNS, owner, error, ..StateChange::new(old, new) };
        self.event(cookie, EventKind::StateChange(change));
    }

    #[expect(clippy::too_many_arguments, reason = "each is a column of a tcpdump line")]
    fn segment(
        &mut self,
        cookie: u64,
        ends: Endpoints,
        direction: Direction,
        flags: Flags,
        (sequence, acknowledgment): (u32, u32),
        payload: &[u8],
        state: State,
    ) {
        let segment = Segment {
            direction,
            flags,
            sequence,
            acknowledgment,
            length: u32::try_from(payload.len()).unwrap(),
            payload,
            endpoints: ends,
            netns: Some(NETNS),
            state: Some(state),
            zero_window: false,
            elision: Default::default(),
            verdict: Default::default(),
        };
        self.event(cookie, EventKind::Segment(segment));
    }

    fn tick(&mut self, seconds: u64) {
        self.now += seconds * 1_000_000_000;
        self.pipeline.tick(Time(self.now));
        self.take();
    }

    /// Ends the session.
    fn finish(&mut self) {
        self.pipeline.finish(Time(self.now));
        self.take();
    }

    /// The handshake of one connection, at both ends.
    fn handshake(&mut self) {
        self.handshake_with(false);
    }

    /// Number of summaries so far.
    fn connections(&self) -> usize {
        self.out.iter().filter(|record| matches!(record, Record::Connection(_))).count()
    }

    fn handshake_with(&mut self, before_6_18: bool) {
        let (client, server) = (endpoints(41352, 8080), endpoints(8080, 41352));
        let syn_ack = Flags::SYN.with(Flags::ACK);
        self.state(CLIENT, endpoints(0, 8080), State::Close, State::SynSent, Some(owner(13838, "curl")), 0);
        self.segment(CLIENT, client, Direction::Out, Flags::SYN, (CLIENT_ISN, 0), b"", State::SynSent);
        self.segment(LISTENER, server, Direction::In, Flags::SYN, (CLIENT_ISN, 0), b"", State::Listen);
        self.segment(
            LISTENER,
            server,
            Direction::Out,
            syn_ack,
            (SERVER_ISN, CLIENT_ISN + 1),
            b"",
            State::SynRecv,
        );
        self.segment(
            CLIENT,
            client,
            Direction::In,
            syn_ack,
            (SERVER_ISN, CLIENT_ISN + 1),
            b"",
            State::SynSent,
        );
        self.state(CLIENT, client, State::SynSent, State::Established, None, 0);
        let ack = (CLIENT_ISN + 1, SERVER_ISN + 1);
        self.segment(CLIENT, client, Direction::Out, Flags::ACK, ack, b"", State::Established);
        self.segment(LISTENER, server, Direction::In, Flags::ACK, ack, b"", State::Listen);
        if before_6_18 {
            // The port comes later, and the cookie is given anew with it.
            self.state(777, endpoints(8080, 0), State::Listen, State::SynRecv, None, 0);
        } else {
            self.state(SERVER, server, State::Listen, State::SynRecv, None, 0);
        }
        self.state(SERVER, server, State::SynRecv, State::Established, None, 0);
    }

    /// One request and its response, at both ends.
    fn exchange(&mut self) {
        let (client, server) = (endpoints(41352, 8080), endpoints(8080, 41352));
        let (out, inward) = (Direction::Out, Direction::In);
        let request = (CLIENT_ISN + 1, SERVER_ISN + 1);
        let response = (SERVER_ISN + 1, CLIENT_ISN + 1 + REQUEST.len() as u32);
        self.segment(CLIENT, client, out, Flags::ACK, request, REQUEST, State::Established);
        self.segment(SERVER, server, inward, Flags::ACK, request, REQUEST, State::Established);
        self.event(SERVER, EventKind::Owner(owner(812, "nginx")));
        self.segment(SERVER, server, out, Flags::ACK, response, RESPONSE, State::Established);
        self.segment(CLIENT, client, inward, Flags::ACK, response, RESPONSE, State::Established);
    }

    fn transitions(&self, id: &str) -> Vec<String> {
        let all = self.out.iter().filter_map(|record| match record {
            Record::Transition(t) if t.connection.id.to_string() == id => Some(t),
            _ => None,
        });
        all.map(|t| format!("{}>{}", t.old.name(), t.new.name())).collect()
    }

    fn summary(&self, id: &str) -> &tcp_trace_model::record::Connection {
        let mut all = self.out.iter().filter_map(|record| match record {
            Record::Connection(summary) if summary.connection.id.to_string() == id => Some(summary),
            _ => None,
        });
        let summary = all.next().expect("the connection has a summary");
        assert!(all.next().is_none(), "the connection has one summary");
        summary
    }
}

#[test]
fn the_client_that_closes_first_ends_in_time_wait() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host.close();
    host.tick(1);
    host.finish();
    assert_eq!(
        host.transitions("c4101"),
        [
            "CLOSE>SYN_SENT",
            "SYN_SENT>ESTABLISHED",
            "ESTABLISHED>FIN_WAIT1",
            "FIN_WAIT1>FIN_WAIT2",
            "FIN_WAIT2>TIME_WAIT",
        ]
    );
    let client = host.summary("c4101");
    assert_eq!((client.close.by, client.close.how), (By::Local, How::Fin));
    assert_eq!((client.bytes.sent, client.bytes.received), (REQUEST.len() as u64, RESPONSE.len() as u64));
    assert!(client.seen_from_start && !client.open);
    let network = client.connection.network.unwrap();
    assert_eq!((network.local.port, network.peer.port), (41352, 8080), "not the closed socket's zero");
    assert_eq!(client.states.last().unwrap().duration_us, None, "TIME_WAIT goes on");
    let entered = client.states.last().unwrap().entered;
    assert_eq!(client.ends.map(|ends| ends.micros_since(entered)), Some(60_000_000));
}

#[test]
fn a_servers_life_begins_with_the_syn_and_never_has_a_softirqs_process() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host.close();
    host.tick(1);
    host.finish();
    assert_eq!(
        host.transitions("c4102"),
        [
            "LISTEN>SYN_RECV",
            "SYN_RECV>ESTABLISHED",
            "ESTABLISHED>CLOSE_WAIT",
            "CLOSE_WAIT>LAST_ACK",
            "LAST_ACK>CLOSE",
        ]
    );
    let server = host.summary("c4102");
    assert_eq!(server.connection.process.as_ref().unwrap().name, "nginx".into());
    assert_eq!((server.close.by, server.close.how), (By::Peer, How::Fin));
    // SYN in at the third event, SYN_RECV>ESTABLISHED at the tenth.
    assert_eq!(server.opened, Time(1_000_003_000));
    assert_eq!(server.states[0].duration_us, Some(7));
    let handshake = server.handshake.unwrap();
    assert_eq!((handshake.syn_seq, handshake.syn_ack_seq), (Some(CLIENT_ISN), Some(SERVER_ISN)));
    assert_eq!(handshake.rtt_us, Some(4), "SYN+ACK to ACK");
    assert_eq!(host.summary("c4101").handshake.unwrap().syn_seq, handshake.syn_seq);
}

#[test]
fn a_server_is_the_same_where_the_kernel_reports_its_socket_before_it_has_a_port() {
    let life = |before_6_18: bool| {
        let mut host = Host::new(Filter::default());
        host.handshake_with(before_6_18);
        host.exchange();
        host.close();
        host.tick(1);
        host.finish();
        let server = host.summary("c4102");
        (
            host.transitions("c4102"),
            server.opened,
            server.seen_from_start,
            server.states.len(),
            host.connections(),
        )
    };
    assert_eq!(life(true), life(false));
    assert_eq!(life(true).4, 2, "no third connection is made of the first cookie");
}

#[test]
fn one_exchange_is_recorded_once_at_each_end_with_that_ends_process() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host.close();
    host.tick(1);
    let ends: Vec<_> = host
        .out
        .iter()
        .filter_map(|record| match record {
            Record::Http(http) => Some((
                http.connection.id.to_string(),
                http.connection.process.as_ref().unwrap().name.clone(),
                http.exchange.url.as_ref().unwrap().path.clone(),
                http.exchange.response.as_ref().unwrap().body.size,
            )),
            _ => None,
        })
        .collect();
    assert_eq!(
        ends,
        [
            ("c4101".to_owned(), "curl".into(), "/a".into(), 2),
            ("c4102".to_owned(), "nginx".into(), "/a".into(), 2),
        ]
    );
}

#[test]
fn a_filter_keeps_one_end_and_everything_of_it() {
    for (filter, kept, dropped) in [
        (Filter { pid: vec![812], ..Filter::default() }, "c4102", "c4101"),
        (Filter { comm: vec!["curl".to_owned()], ..Filter::default() }, "c4101", "c4102"),
    ] {
        let mut host = Host::new(filter);
        host.handshake();
        host.tick(1);
        host.exchange();
        host.close();
        host.tick(1);
        host.finish();
        assert_eq!(host.transitions(kept).len(), 5, "also what came before its process was known");
        assert!(host.transitions(dropped).is_empty());
        let connections = host.out.iter().filter(|record| matches!(record, Record::Connection(_)));
        assert_eq!(connections.count(), 1);
    }
}

#[test]
fn a_refused_connect_says_so() {
    let mut host = Host::new(Filter::default());
    let ends = endpoints(41352, 9);
    host.state(CLIENT, endpoints(0, 9), State::Close, State::SynSent, Some(owner(1, "curl")), 0);
    host.segment(CLIENT, ends, Direction::Out, Flags::SYN, (CLIENT_ISN, 0), b"", State::SynSent);
    let reset = Flags::RST.with(Flags::ACK);
    host.segment(CLIENT, ends, Direction::In, reset, (0, CLIENT_ISN + 1), b"", State::SynSent);
    host.state(CLIENT, endpoints(0, 9), State::SynSent, State::Close, None, 111);
    host.tick(1);
    let close = &host.summary("c4101").close;
    assert_eq!(
        (close.by, close.how, close.reason.as_deref()),
        (By::Peer, How::Refused, Some("ECONNREFUSED"))
    );
    assert_eq!(host.transitions("c4101"), ["CLOSE>SYN_SENT", "SYN_SENT>CLOSE"]);
}

#[test]
fn the_reset_that_follows_the_close_still_belongs_to_the_connection() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    // tcp_close() with unread data: the state changes first, then the RST goes out.
    let ends = endpoints(41352, 8080);
    host.state(CLIENT, ends, State::Established, State::Close, None, 0);
    let reset = Flags::RST.with(Flags::ACK);
    host.segment(CLIENT, ends, Direction::Out, reset, (CLIENT_ISN + 1, 0), b"", State::Close);
    host.tick(1);
    let close = &host.summary("c4101").close;
    assert_eq!((close.by, close.how), (By::Local, How::Rst));
}

#[test]
fn a_socket_that_connects_again_is_another_connection() {
    let mut host = Host::new(Filter::default());
    let connect = |host: &mut Host, incarnation| {
        let change = StateChange {
            endpoints: endpoints(0, 9),
            netns: NETNS,
            owner: Some(owner(1, "curl")),
            incarnation,
            ..StateChange::new(State::Close, State::SynSent)
        };
        host.event(CLIENT, EventKind::StateChange(change));
    };
    connect(&mut host, 0);
    host.state(CLIENT, endpoints(0, 9), State::SynSent, State::Close, None, 111);
    connect(&mut host, 1);
    host.state(CLIENT, endpoints(0, 9), State::SynSent, State::Close, None, 111);
    host.tick(1);
    assert_eq!(host.transitions("c4101").len(), 2);
    assert_eq!(host.transitions("c4101.1").len(), 2);
}

#[test]
fn close_after_shutdown_is_no_transition() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let ends = endpoints(41352, 8080);
    host.state(CLIENT, ends, State::Established, State::FinWait1, None, 0);
    host.state(CLIENT, ends, State::FinWait1, State::FinWait1, Some(owner(13838, "curl")), 0);
    host.state(CLIENT, ends, State::FinWait1, State::FinWait2, None, 0);
    assert_eq!(host.transitions("c4101")[2..], ["ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2"]);
    let Some(Record::Transition(last)) = host.out.last() else { panic!("{:?}", host.out) };
    assert_eq!(last.in_old_us, Some(2), "since FIN_WAIT1 was entered");
}

#[test]
fn a_connection_older_than_the_tracer_says_so() {
    let mut host = Host::new(Filter::default());
    let ends = endpoints(41352, 8080);
    host.state(CLIENT, ends, State::Established, State::FinWait1, Some(owner(1, "curl")), 0);
    host.pipeline.finish(Time(host.now + 1));
    host.take();
    let summary = host.summary("c4101");
    assert!(!summary.seen_from_start && summary.open);
    assert_eq!(summary.close.how, How::Open);
    assert!(summary.states[0].estimated && summary.states[0].duration_us.is_none());
    let Some(Record::Transition(first)) = host.out.first() else { panic!("{:?}", host.out) };
    assert_eq!(first.in_old_us, None, "nobody saw ESTABLISHED begin");
}

#[test]
fn a_missing_transition_is_a_gap_and_not_repaired() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.state(CLIENT, endpoints(41352, 8080), State::FinWait2, State::Close, None, 104);
    host.tick(1);
    let summary = host.summary("c4101");
    assert!(!summary.seen_from_start);
    let states: Vec<_> = summary.states.iter().map(|span| (span.state.name(), span.estimated)).collect();
    assert_eq!(states, [("SYN_SENT", false), ("ESTABLISHED", false), ("FIN_WAIT2", true)]);
    let gaps = host.out.iter().filter(|record| matches!(record, Record::Transition(last) if last.gap));
    assert_eq!(gaps.count(), 1);
}

#[test]
fn answers_of_the_kernels_control_socket_make_no_connection() {
    let mut host = Host::new(Filter::default());
    let reset = Flags::RST.with(Flags::ACK);
    host.segment(7, endpoints(9, 41352), Direction::Out, reset, (0, 1), b"", State::Close);
    host.pipeline.finish(Time(host.now + 1));
    host.take();
    assert!(host.out.is_empty());
}

#[test]
fn the_same_events_give_the_same_records() {
    let run = || {
        let mut host = Host::new(Filter::default());
        host.handshake();
        host.exchange();
        host.close();
        host.tick(1);
        tcp_trace_model::json::to_string(&host.out).unwrap()
    };
    assert_eq!(run(), run());
}
