//! What no tracepoint tells: TIME_WAIT, orphans, half-open connections, and which two ends belong together.

use std::sync::Arc;

use tcp_trace_model::record::Transition;

use super::*;

const SECOND: u64 = 1_000_000_000;

impl Host {
    /// The kernel's list of mini-sockets and half-open connections, read in an instant.
    pub(super) fn list(&mut self, sockets: &[ListedSocket]) {
        let now = Time(self.now);
        self.pipeline.listed(NETNS, (now, now), sockets);
        self.take();
    }

    pub(super) fn last_transition(&self, id: &str) -> &Transition {
        let of = |record: &'_ &Record| matches!(record, Record::Transition(transition) if transition.connection.id.to_string() == id);
        match self.out.iter().rfind(of) {
            Some(Record::Transition(transition)) => transition,
            _ => panic!("{id} has no transition"),
        }
    }

    /// A SYN and its answer.
    fn half_open(&mut self) {
        let server = endpoints(8080, 41352);
        let (syn, syn_ack) = ((CLIENT_ISN, 0), (SERVER_ISN, CLIENT_ISN + 1));
        self.segment(LISTENER, server, Direction::In, Flags::SYN, syn, b"", State::Listen);
        let flags = Flags::SYN.with(Flags::ACK);
        self.segment(LISTENER, server, Direction::Out, flags, syn_ack, b"", State::SynRecv);
    }

    /// The client closes, and the server does not: an orphan in FIN_WAIT2.
    fn close_client_only(&mut self) {
        let (client, server) = (endpoints(41352, 8080), endpoints(8080, 41352));
        let fin = Flags::FIN.with(Flags::ACK);
        let number = (CLIENT_ISN + 1, SERVER_ISN + 1);
        let curl = Some(owner(13838, "curl"));
        self.state(CLIENT, client, State::Established, State::FinWait1, curl, 0);
        self.segment(CLIENT, client, Direction::Out, fin, number, b"", State::FinWait1);
        self.segment(SERVER, server, Direction::In, fin, number, b"", State::Established);
        self.state(SERVER, server, State::Established, State::CloseWait, None, 0);
        self.state(CLIENT, client, State::FinWait1, State::FinWait2, None, 0);
        self.state(CLIENT, endpoints(0, 8080), State::FinWait2, State::Close, None, 0);
    }
}

fn mini_socket(state: State, seconds_left: u64) -> ListedSocket {
    ListedSocket { endpoints: endpoints(41352, 8080), state, expires_us: seconds_left * 1_000_000 }
}

#[test]
fn time_wait_ends_between_two_lists_of_the_kernel() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host.close();
    host.tick(59);
    host.list(&[mini_socket(State::TimeWait, 1)]);
    assert_eq!(host.connections(), 1, "the server's only");
    host.tick(2);
    host.list(&[]);
    let end = host.last_transition("c4101");
    assert_eq!((end.old, end.new, end.estimated), (State::TimeWait, State::Close, true));
    assert_eq!(end.reason, None, "it lasted its time");
    let in_time_wait = end.in_old_us.unwrap();
    assert!((60_000_000..61_000_000).contains(&in_time_wait), "{in_time_wait}");
    let client = host.summary("c4101");
    assert_eq!(client.ends, None);
    assert_eq!(client.states.last().unwrap().duration_us, Some(in_time_wait));
    assert!(client.states.last().unwrap().estimated);
    assert!(!host.pipeline.has_mini_sockets());
}

#[test]
fn a_time_wait_that_is_not_followed_is_announced_when_it_begins() {
    // As the kernel's socket enters it, and as the mini-socket of an orphan does.
    for is_orphan in [false, true] {
        let mut host = Host::new(Filter::default());
        let settings = Settings { leave_time_wait: true, ..Settings::default() };
        host.pipeline = Pipeline::new(settings);
        host.handshake();
        if is_orphan {
            host.close_client_only();
            host.tick(1);
            assert_eq!(host.connections(), 0, "FIN_WAIT2 is followed");
            host.list(&[mini_socket(State::TimeWait, 60)]);
        } else {
            host.exchange();
            host.close();
        }
        host.tick(1);
        let client = host.summary("c4101");
        assert!(client.ends.is_some() && !client.open, "{client:?}");
        assert_eq!(client.states.last().unwrap().state, State::TimeWait);
        assert!(!host.pipeline.has_mini_sockets());
        let count = host.out.len();
        host.tick(61);
        host.list(&[]);
        assert_eq!(host.out.len(), count, "nothing comes after the summary");
    }
}

#[test]
fn a_time_wait_that_vanishes_early_was_cut_short() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host.close();
    host.tick(10);
    host.list(&[mini_socket(State::TimeWait, 50)]);
    host.tick(1);
    host.list(&[]);
    let end = host.last_transition("c4101");
    assert_eq!(end.reason.as_deref(), Some("it was cut short"));
    assert_eq!(Time(host.now).micros_since(end.time), 500_000, "in the middle of the two lists");
}

#[test]
fn a_new_connection_with_the_same_addresses_ends_time_wait() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host.close();
    host.tick(5);
    let (client, next) = (endpoints(41352, 8080), CLIENT + 10);
    host.state(next, endpoints(0, 8080), State::Close, State::SynSent, Some(owner(1, "curl")), 0);
    host.segment(next, client, Direction::Out, Flags::SYN, (7, 0), b"", State::SynSent);
    let end = host.last_transition("c4101");
    assert_eq!((end.new, end.estimated, end.time), (State::Close, false, Time(host.now)));
    assert_eq!(end.reason.as_deref(), Some("reused by a new connection"));
    assert!(host.summary("c4101").ends.is_none());
}

#[test]
fn an_orphan_waits_for_the_fin_of_its_peer_on_this_host() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.close_client_only();
    host.tick(1);
    assert_eq!(host.last_transition("c4101").new, State::FinWait2);
    let server = endpoints(8080, 41352);
    let fin = Flags::FIN.with(Flags::ACK);
    host.state(SERVER, server, State::CloseWait, State::LastAck, Some(owner(812, "nginx")), 0);
    let number = (SERVER_ISN + 1, CLIENT_ISN + 2);
    host.segment(SERVER, server, Direction::Out, fin, number, b"", State::LastAck);
    let sent = host.now;
    assert_eq!(host.last_transition("c4101").new, State::FinWait2, "it may be lost on the way");
    host.state(SERVER, endpoints(0, 41352), State::LastAck, State::Close, None, 0);
    let entered = host.last_transition("c4101");
    assert_eq!((entered.old, entered.new), (State::FinWait2, State::TimeWait));
    assert_eq!((entered.time, entered.estimated), (Time(sent), true));
}

#[test]
fn an_orphan_whose_peer_is_elsewhere_is_seen_by_the_kernels_answer_or_its_list() {
    let orphan = || {
        let mut host = Host::new(Filter { comm: vec!["curl".to_owned()], ..Filter::default() });
        host.handshake();
        host.close_client_only();
        host.tick(1);
        host
    };
    // Before Linux 6.13 the ACK of the FIN is seen, under the cookie of the kernel's own socket.
    let mut host = orphan();
    let number = (CLIENT_ISN + 2, SERVER_ISN + 2);
    host.segment(9, endpoints(41352, 8080), Direction::Out, Flags::ACK, number, b"", State::Close);
    let entered = host.last_transition("c4101");
    assert_eq!((entered.new, entered.time, entered.estimated), (State::TimeWait, Time(host.now), false));
    // Later kernels list it with a timer that was started by the FIN.
    let mut host = orphan();
    host.tick(2);
    host.list(&[mini_socket(State::TimeWait, 59)]);
    let entered = host.last_transition("c4101");
    assert_eq!((entered.new, entered.estimated), (State::TimeWait, true));
    assert_eq!(Time(host.now).micros_since(entered.time), 1_000_000);
}

#[test]
fn an_orphan_whose_peer_never_ends_says_so() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.close_client_only();
    host.tick(1);
    host.list(&[mini_socket(State::FinWait2, 59)]);
    host.tick(60);
    host.list(&[]);
    let end = host.last_transition("c4101");
    assert_eq!((end.old, end.new, end.estimated), (State::FinWait2, State::Close, true));
    let close = &host.summary("c4101").close;
    assert_eq!((close.by, close.how), (By::Local, How::Fin));
    assert_eq!(close.reason.as_deref(), Some("no FIN from the peer"));
}

#[test]
fn where_nothing_can_be_listed_the_timer_is_trusted() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host.close();
    host.tick(59);
    host.pipeline.not_listed(NETNS, Time(host.now));
    host.take();
    assert!(host.pipeline.has_mini_sockets());
    host.tick(2);
    host.pipeline.not_listed(NETNS, Time(host.now));
    host.take();
    let end = host.last_transition("c4101");
    assert_eq!((end.new, end.estimated, end.in_old_us), (State::Close, true, Some(60_000_000)));
}

#[test]
fn the_two_ends_of_a_connection_know_each_other() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host.close();
    host.tick(1);
    host.finish();
    let peer = |id: &str| host.summary(id).peer_connection.map(|peer| peer.to_string());
    assert_eq!((peer("c4101"), peer("c4102")), (Some("c4102".to_owned()), Some("c4101".to_owned())));
}

#[test]
fn an_end_that_is_not_recorded_is_not_referred_to() {
    for pid in [812, 13838] {
        let mut host = Host::new(Filter { pid: vec![pid], ..Filter::default() });
        host.handshake();
        host.exchange();
        host.close();
        host.tick(1);
        host.finish();
        assert_eq!(host.connections(), 1);
        let id = if pid == 812 { "c4102" } else { "c4101" };
        assert_eq!(host.summary(id).peer_connection, None);
    }
}

#[test]
fn a_half_open_connection_that_never_completes_is_recorded_with_its_listeners_process() {
    let mut host = Host::new(Filter { pid: vec![812], ..Filter::default() });
    let server = endpoints(8080, 41352);
    let nginx = Some(owner(812, "nginx"));
    host.state(LISTENER, endpoints(8080, 0), State::Close, State::Listen, nginx, 0);
    host.segment(LISTENER, server, Direction::In, Flags::SYN, (CLIENT_ISN, 0), b"", State::Listen);
    let syn = host.now;
    let syn_ack = Flags::SYN.with(Flags::ACK);
    for _ in 0..3 {
        let number = (SERVER_ISN, CLIENT_ISN + 1);
        host.segment(LISTENER, server, Direction::Out, syn_ack, number, b"", State::SynRecv);
        host.tick(1);
        host.list(&[ListedSocket { endpoints: server, state: State::SynRecv, expires_us: 0 }]);
    }
    host.tick(2);
    host.list(&[]);
    assert_eq!(host.transitions("c2h1"), ["LISTEN>SYN_RECV", "SYN_RECV>CLOSE"]);
    let summary = host.summary("c2h1");
    assert_eq!((summary.close.by, summary.close.how), (By::None, How::Timeout));
    assert_eq!(summary.opened, Time(syn));
    assert_eq!(summary.connection.process.as_ref().unwrap().name, "nginx".into());
    assert_eq!(summary.states.len(), 1);
    assert_eq!(summary.states[0].duration_us, summary.duration_us);
    assert!(summary.states[0].estimated);
    assert_eq!(summary.handshake.unwrap().syn_ack_retransmits, 2);
    let seconds = summary.duration_us.unwrap() / 1_000_000;
    assert_eq!(seconds, 4, "between the last list that had it and the first that had not");
    assert!(host.now - syn > 5 * SECOND);
}

#[test]
fn a_syn_that_nobody_answers_is_no_connection() {
    let mut host = Host::new(Filter::default());
    host.state(LISTENER, endpoints(8080, 0), State::Close, State::Listen, Some(owner(812, "nginx")), 0);
    let server = endpoints(8080, 41352);
    host.segment(LISTENER, server, Direction::In, Flags::SYN, (CLIENT_ISN, 0), b"", State::Listen);
    host.finish();
    assert_eq!(host.connections(), 1);
    assert_eq!(host.summary("c2").syns_unanswered, 1);
}

#[test]
fn a_half_open_connection_at_the_end_of_the_session_is_open() {
    let mut host = Host::new(Filter::default());
    host.half_open();
    host.finish();
    assert_eq!(host.transitions("c2h1"), ["LISTEN>SYN_RECV"]);
    let summary = host.summary("c2h1");
    assert!(summary.open);
    assert_eq!(summary.close.how, How::Open);
}

#[test]
fn a_reset_of_the_client_ends_a_half_open_connection_at_once() {
    let mut host = Host::new(Filter::default());
    let server = endpoints(8080, 41352);
    host.half_open();
    host.segment(LISTENER, server, Direction::In, Flags::RST, (CLIENT_ISN + 1, 0), b"", State::SynRecv);
    let summary = host.summary("c2h1");
    assert_eq!((summary.close.by, summary.close.how), (By::Peer, How::Rst));
    assert!(!summary.states[0].estimated);
}

#[test]
fn a_socket_that_is_older_than_the_session_is_there_from_its_first_sight() {
    let mut host = Host::new(Filter::default());
    let socket = |cookie, endpoints, state, role| ExistingSocket {
        cookie,
        netns: NETNS,
        endpoints,
        state,
        role,
        owner: Some(Arc::new(owner(812, "nginx"))),
        others: Vec::new(),
        stats: tcp_trace_model::event::TcpStats::default(),
        bytes: None,
        listed: None,
        mini_socket_us: None,
        is_one_of_several: false,
    };
    let existing = vec![
        socket(LISTENER, endpoints(8080, 0), State::Listen, Some(Role::Listener)),
        socket(SERVER, endpoints(8080, 41352), State::CloseWait, Some(Role::Server)),
        ExistingSocket {
            mini_socket_us: Some(7_000_000),
            ..socket(CLIENT, endpoints(41352, 8080), State::TimeWait, None)
        },
    ];
    let now = Time(host.now);
    host.pipeline.existing(now, &existing);
    host.take();
    assert!(host.out.is_empty(), "nothing has happened to it");
    let nginx = Some(owner(812, "nginx"));
    host.state(SERVER, endpoints(8080, 41352), State::CloseWait, State::LastAck, nginx, 0);
    host.state(SERVER, endpoints(8080, 41352), State::LastAck, State::Close, None, 0);
    host.tick(1);
    host.finish();
    assert_eq!(host.transitions("c4102"), ["CLOSE_WAIT>LAST_ACK", "LAST_ACK>CLOSE"]);
    let server = host.summary("c4102");
    assert!(!server.seen_from_start);
    assert_eq!(server.states[0].duration_us, None, "nobody knows since when");
    assert!(!host.summary("c4101").open);
    assert_eq!(host.summary("c4101").ends, Some(now.after_micros(7_000_000)));
    let peer = |id: &str| host.summary(id).peer_connection.map(|peer| peer.to_string());
    assert_eq!((peer("c4101"), peer("c4102")), (Some("c4102".to_owned()), Some("c4101".to_owned())));
    let listener = host.summary("c2");
    assert!(listener.open && !listener.seen_from_start);
}

#[test]
fn a_socket_that_ended_while_the_list_was_read_is_not_raised_from_the_dead() {
    let mut host = Host::new(Filter::default());
    host.pipeline.expect_existing();
    let ends = endpoints(8080, 41352);
    host.state(SERVER, ends, State::LastAck, State::Close, None, 0);
    host.tick(1);
    assert_eq!(host.connections(), 1);
    let existing = ExistingSocket {
        cookie: SERVER,
        netns: NETNS,
        endpoints: ends,
        state: State::LastAck,
        role: None,
        owner: None,
        others: Vec::new(),
        stats: tcp_trace_model::event::TcpStats::default(),
        bytes: None,
        listed: None,
        mini_socket_us: None,
        is_one_of_several: false,
    };
    host.pipeline.existing(Time(host.now), &[existing]);
    host.take();
    host.finish();
    assert_eq!(host.connections(), 1);
}

#[test]
fn an_rst_that_the_kernel_ignores_changes_nothing() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let client = endpoints(41352, 8080);
    host.segment(CLIENT, client, Direction::In, Flags::RST, (12345, 0), b"", State::Established);
    host.exchange();
    host.close();
    host.tick(1);
    host.finish();
    let close = &host.summary("c4101").close;
    assert_eq!((close.by, close.how), (By::Local, How::Fin));
    assert_eq!(host.last_transition("c4101").new, State::TimeWait);
}

#[test]
fn a_reset_that_follows_the_close_leaves_no_orphan() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.close_client_only();
    let closed = host.now;
    let number = (CLIENT_ISN + 2, SERVER_ISN + 1);
    let reset = Flags::RST.with(Flags::ACK);
    host.segment(CLIENT, endpoints(41352, 8080), Direction::Out, reset, number, b"", State::Close);
    let end = host.last_transition("c4101");
    assert_eq!((end.old, end.new), (State::FinWait2, State::Close));
    assert_eq!((end.time, end.estimated), (Time(closed), false));
    assert!(!host.pipeline.has_mini_sockets());
    host.tick(1);
    let summary = host.summary("c4101");
    assert_eq!((summary.close.by, summary.close.how), (By::Local, How::Rst));
    assert_eq!(summary.ends, None);
}

#[test]
fn an_orphan_that_answers_data_with_a_reset_is_over_when_that_arrives() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.close_client_only();
    host.tick(1);
    let (server, number) = (endpoints(8080, 41352), (CLIENT_ISN + 2, 0));
    host.segment(SERVER, server, Direction::In, Flags::RST, number, b"", State::CloseWait);
    let end = host.last_transition("c4101");
    assert_eq!((end.old, end.new, end.reason.as_deref()), (State::FinWait2, State::Close, Some("RST")));
    let close = &host.summary("c4101").close;
    assert_eq!((close.by, close.how), (By::Local, How::Rst));
}

#[test]
fn a_half_open_connection_ends_with_its_listener() {
    let mut host = Host::new(Filter { pid: vec![812], ..Filter::default() });
    let nginx = || Some(owner(812, "nginx"));
    host.state(LISTENER, endpoints(8080, 0), State::Close, State::Listen, nginx(), 0);
    host.half_open();
    host.state(LISTENER, endpoints(8080, 0), State::Listen, State::Close, nginx(), 0);
    host.tick(1);
    let summary = host.summary("c2h1");
    assert_eq!((summary.close.by, summary.close.how), (By::Local, How::Abandoned));
    assert_eq!(summary.close.reason.as_deref(), Some("its listener was closed"));
    assert_eq!(summary.connection.process.as_ref().unwrap().name, "nginx".into());
}
