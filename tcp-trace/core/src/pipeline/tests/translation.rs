//! A connection that this host redirects: the process connects to 10.9.9.9:80, and 127.0.0.1:15001 answers. Each end's own
//! addresses, those of its segments, filters by either, TIME_WAIT, and that the ends meet.

use tcp_trace_model::{
    event::Translation,
    record::{Cidr, Network},
};

use super::*;

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const FIN: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);

fn ends(local: &str, peer: &str) -> Endpoints {
    Endpoints { local: local.parse().unwrap(), peer: peer.parse().unwrap() }
}

/// What the client's socket knows.
fn client() -> Endpoints {
    ends("10.77.0.1:41352", "10.9.9.9:80")
}

/// What the server's socket knows.
fn server() -> Endpoints {
    ends("127.0.0.1:15001", "10.77.0.1:41352")
}

/// With which addresses the client's segments leave: those with which they reach the server.
fn client_sends() -> Endpoints {
    server().reversed()
}

/// With which addresses the server's segments leave.
fn server_sends() -> Endpoints {
    client().reversed()
}

impl Host {
    fn translation(&mut self, cookie: u64, endpoints: Endpoints, translated: Endpoints, state: State) {
        let (netns, state) = (Some(NETNS), Some(state));
        self.event(cookie, EventKind::Translation(Translation { endpoints, translated, netns, state }));
    }

    /// A segment of the client, at both ends.
    fn client_sends(
        &mut self,
        flags: Flags,
        numbers: (u32, u32),
        payload: &[u8],
        states: (State, State),
        to: u64,
    ) {
        self.segment(CLIENT, client_sends(), Direction::Out, flags, numbers, payload, states.0);
        self.segment(to, server(), Direction::In, flags, numbers, payload, states.1);
    }

    /// A segment of the server, at both ends.
    fn server_sends(
        &mut self,
        flags: Flags,
        numbers: (u32, u32),
        payload: &[u8],
        states: (State, State),
        by: u64,
    ) {
        self.segment(by, server_sends(), Direction::Out, flags, numbers, payload, states.0);
        self.segment(CLIENT, client(), Direction::In, flags, numbers, payload, states.1);
    }

    fn redirected_connect(&mut self) {
        let unbound = Endpoints { local: "10.77.0.1:0".parse().unwrap(), ..client() };
        self.state(CLIENT, unbound, State::Close, State::SynSent, Some(owner(13838, "curl")), 0);
        self.translation(CLIENT, client(), client_sends(), State::SynSent);
        self.client_sends(Flags::SYN, (CLIENT_ISN, 0), b"", (State::SynSent, State::Listen), LISTENER);
    }

    fn redirected_handshake(&mut self) {
        self.redirected_connect();
        self.redirected_answer();
    }

    /// The rest of the handshake.
    fn redirected_answer(&mut self) {
        let numbers = (SERVER_ISN, CLIENT_ISN + 1);
        self.server_sends(SYN_ACK, numbers, b"", (State::SynRecv, State::SynSent), LISTENER);
        self.state(CLIENT, client(), State::SynSent, State::Established, None, 0);
        let third = (CLIENT_ISN + 1, SERVER_ISN + 1);
        self.client_sends(Flags::ACK, third, b"", (State::Established, State::Listen), LISTENER);
        self.state(SERVER, server(), State::Listen, State::SynRecv, None, 0);
        self.state(SERVER, server(), State::SynRecv, State::Established, None, 0);
    }

    fn redirected_exchange(&mut self) {
        let open = (State::Established, State::Established);
        self.client_sends(Flags::ACK, (CLIENT_ISN + 1, SERVER_ISN + 1), REQUEST, open, SERVER);
        self.event(SERVER, EventKind::Owner(owner(812, "envoy")));
        self.translation(SERVER, server(), server_sends(), State::Established);
        let next = CLIENT_ISN + 1 + REQUEST.len() as u32;
        self.server_sends(Flags::ACK, (SERVER_ISN + 1, next), RESPONSE, open, SERVER);
    }

    fn redirected_close(&mut self) {
        let (sent, received) = (REQUEST.len() as u32, RESPONSE.len() as u32);
        let numbers = (CLIENT_ISN + 1 + sent, SERVER_ISN + 1 + received);
        self.state(CLIENT, client(), State::Established, State::FinWait1, Some(owner(13838, "curl")), 0);
        self.client_sends(FIN, numbers, b"", (State::FinWait1, State::Established), SERVER);
        self.state(SERVER, server(), State::Established, State::CloseWait, None, 0);
        self.state(SERVER, server(), State::CloseWait, State::LastAck, Some(owner(812, "envoy")), 0);
        let answer = (numbers.1, numbers.0 + 1);
        self.server_sends(FIN, answer, b"", (State::LastAck, State::FinWait1), SERVER);
        self.state(CLIENT, client(), State::FinWait1, State::FinWait2, None, 0);
        let last = (numbers.0 + 1, numbers.1 + 1);
        self.client_sends(Flags::ACK, last, b"", (State::FinWait2, State::LastAck), SERVER);
        self.state(
            CLIENT,
            Endpoints { local: "10.77.0.1:0".parse().unwrap(), ..client() },
            State::FinWait2,
            State::Close,
            None,
            0,
        );
        self.state(
            SERVER,
            Endpoints { local: "127.0.0.1:0".parse().unwrap(), ..server() },
            State::LastAck,
            State::Close,
            None,
            0,
        );
    }

    /// The whole life, and what was recorded of it.
    fn redirected(filter: Filter) -> Self {
        let mut host = Self::new(filter);
        host.redirected_handshake();
        host.redirected_exchange();
        host.redirected_close();
        host.tick(1);
        host.finish();
        host
    }
}

fn recorded(endpoints: Endpoints, translated: Endpoints) -> Network {
    Network { translated: Some(translated.into()), ..Network::new(endpoints, Some(NETNS)) }
}

#[test]
fn an_end_has_its_sockets_addresses_and_those_of_its_segments() {
    let host = Host::redirected(Filter::default());
    let client_end = host.summary("c4101");
    let server_end = host.summary("c4102");
    assert_eq!(client_end.connection.network, Some(recorded(client(), client_sends())));
    assert_eq!(server_end.connection.network, Some(recorded(server(), server_sends())));
    assert_eq!(
        (client_end.peer_connection, server_end.peer_connection),
        (Some(server_end.connection.id), Some(client_end.connection.id))
    );
    for end in [client_end, server_end] {
        assert!(end.seen_from_start);
        assert!(end.handshake.unwrap().syn_ack_seq.is_some());
        assert_eq!(end.http.as_ref().unwrap().requests, 1);
    }
    assert_eq!(host.connections(), 2, "nothing of the SYN+ACK is left over");
}

#[test]
fn every_transition_has_both_pairs() {
    let host = Host::redirected(Filter::default());
    for record in &host.out {
        let Record::Transition(transition) = record else { continue };
        let expected = match transition.connection.id.cookie {
            CLIENT => recorded(client(), client_sends()),
            _ => recorded(server(), server_sends()),
        };
        assert_eq!(
            transition.connection.ends(),
            expected,
            "{} to {}",
            transition.old.name(),
            transition.new.name()
        );
    }
}

#[test]
fn either_pair_selects_an_end_whole() {
    let addr = |net: &str| Filter { addr: vec![net.parse::<Cidr>().unwrap()], ..Filter::default() };
    let all = Host::redirected(Filter::default());
    let of = |host: &Host, id: &str| -> Vec<String> {
        let is_of = |record: &&Record| match record {
            Record::Transition(transition) => transition.connection.id.to_string() == id,
            Record::Segment(segment) => segment.connection.id.to_string() == id,
            Record::Http(http) => http.connection.id.to_string() == id,
            Record::Connection(summary) => summary.connection.id.to_string() == id,
            _ => false,
        };
        host.out.iter().filter(is_of).map(|record| format!("{record:?}")).collect()
    };
    for (filter, both) in [
        (Filter { port: vec![80], ..Filter::default() }, true),
        (Filter { port: vec![15_001], ..Filter::default() }, true),
        (addr("10.9.9.9"), true),
        (addr("127.0.0.1"), true),
        (Filter { peer_port: vec![80], ..Filter::default() }, false),
        (Filter { peer_port: vec![15_001], ..Filter::default() }, false),
    ] {
        let host = Host::redirected(filter.clone());
        let (client_end, server_end) = (of(&host, "c4101"), of(&host, "c4102"));
        assert_eq!(client_end.len(), of(&all, "c4101").len(), "{filter:?}");
        if both {
            assert_eq!(client_end, of(&all, "c4101"), "{filter:?}");
            assert_eq!(server_end, of(&all, "c4102"), "{filter:?}");
        } else {
            assert!(server_end.is_empty(), "{filter:?}");
        }
    }
    let host = Host::redirected(Filter { port: vec![81], ..Filter::default() });
    assert!(host.out.is_empty());
}

#[test]
fn a_client_is_not_excluded_before_its_first_segment() {
    let mut host = Host::new(Filter { peer_port: vec![15_001], ..Filter::default() });
    host.redirected_connect();
    host.tick(1);
    let Some(Record::Transition(first)) = host.out.first() else { panic!("{:?}", host.out) };
    assert_eq!((first.new, first.connection.ends()), (State::SynSent, recorded(client(), client_sends())));
}

#[test]
fn time_wait_is_looked_for_by_the_sockets_own_addresses() {
    let mut host = Host::new(Filter::default());
    host.redirected_handshake();
    host.redirected_exchange();
    host.redirected_close();
    host.tick(10);
    let now = (Time(host.now), Time(host.now));
    let listed = ListedSocket { endpoints: client(), state: State::TimeWait, expires_us: 50_000_000 };
    host.pipeline.listed(NETNS, now, &[listed]);
    host.take();
    assert!(host.pipeline.has_mini_sockets());
    // The kernel acknowledges a late segment in its name, with the addresses that its segments leave with.
    let number = (CLIENT_ISN + 100, SERVER_ISN + 100);
    host.segment(1, client_sends(), Direction::Out, Flags::ACK, number, b"", State::Close);
    host.segment(1, client_sends(), Direction::Out, Flags::RST, number, b"", State::Close);
    let end = host.summary("c4101");
    assert_eq!(end.states.last().unwrap().state, State::TimeWait);
    assert!(!host.pipeline.has_mini_sockets());
}

#[test]
fn the_next_connection_with_the_same_addresses_ends_time_wait() {
    let mut host = Host::new(Filter::default());
    host.redirected_handshake();
    host.redirected_exchange();
    host.redirected_close();
    host.tick(5);
    // The filter left its client out: its SYN shows at the listener only.
    host.segment(LISTENER, server(), Direction::In, Flags::SYN, (7, 0), b"", State::Listen);
    host.summary("c4101");
    assert!(!host.pipeline.has_mini_sockets());
}

#[test]
fn an_older_socket_that_was_excluded_is_selected_once_it_is_known_to_be_translated() {
    let mut host = Host::new(Filter { addr: vec!["127.0.0.1".parse().unwrap()], ..Filter::default() });
    host.pipeline.expect_existing();
    let socket = ExistingSocket {
        cookie: CLIENT,
        netns: NETNS,
        endpoints: client(),
        state: State::Established,
        role: None,
        owner: Some(std::sync::Arc::new(owner(13838, "curl"))),
        others: Vec::new(),
        stats: Default::default(),
        bytes: None,
        listed: None,
        mini_socket_us: None,
        is_one_of_several: false,
    };
    host.pipeline.existing(Time(host.now), &[socket]);
    host.tick(1);
    let open = (State::Established, State::Established);
    host.translation(CLIENT, client(), client_sends(), State::Established);
    host.client_sends(Flags::ACK, (CLIENT_ISN + 1, SERVER_ISN + 1), REQUEST, open, SERVER);
    let next = CLIENT_ISN + 1 + REQUEST.len() as u32;
    host.segment(
        CLIENT,
        client(),
        Direction::In,
        Flags::ACK,
        (SERVER_ISN + 1, next),
        RESPONSE,
        State::Established,
    );
    host.finish();
    let end = host.summary("c4101");
    assert_eq!(end.connection.network, Some(recorded(client(), client_sends())));
    assert_eq!(end.http.as_ref().unwrap().requests, 1);
}

#[test]
fn the_ends_meet_when_the_filter_showed_the_syn_at_the_client_only() {
    let mut host = Host::new(Filter { port: vec![80], ..Filter::default() });
    let unbound = Endpoints { local: "10.77.0.1:0".parse().unwrap(), ..client() };
    host.state(CLIENT, unbound, State::Close, State::SynSent, Some(owner(13838, "curl")), 0);
    host.translation(CLIENT, client(), client_sends(), State::SynSent);
    let syn = (CLIENT_ISN, 0);
    host.segment(CLIENT, client_sends(), Direction::Out, Flags::SYN, syn, b"", State::SynSent);
    host.redirected_answer();
    host.redirected_exchange();
    host.redirected_close();
    host.tick(1);
    host.finish();
    let (client_end, server_end) = (host.summary("c4101"), host.summary("c4102"));
    assert_eq!(client_end.peer_connection, Some(server_end.connection.id));
    assert_eq!(server_end.connection.network, Some(recorded(server(), server_sends())));
    assert_eq!(server_end.handshake.unwrap().syn_ack_seq, Some(SERVER_ISN));
}
