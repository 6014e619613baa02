//! Sockets that pass from one process to another.

use super::*;

const OPEN: State = State::Established;

impl Host {
    fn uses(&mut self, cookie: u64, pid: u32, name: &str) {
        self.event(cookie, EventKind::Owner(owner(pid, name)));
    }

    /// Names of the processes of the exchanges, of each end in order.
    fn users_of_exchanges(&self) -> Vec<(String, u32)> {
        let of = |record: &Record| match record {
            Record::Http(http) => {
                let process = http.connection.process.as_ref().unwrap();
                Some((http.connection.id.to_string(), process.pid))
            }
            _ => None,
        };
        self.out.iter().filter_map(of).collect()
    }
}

#[test]
fn each_record_names_the_process_that_used_the_socket_then() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    // It looks at the request and hands the socket on.
    host.uses(SERVER, 812, "acceptor");
    let at = host.now;
    host.uses(SERVER, 813, "worker");
    host.exchange();
    host.close();
    host.tick(1);
    host.finish();
    assert_eq!(host.users_of_exchanges().into_iter().filter(|(id, _)| id == "c4102").count(), 1);
    let users: Vec<_> = host.summary("c4102").users.iter().map(|user| user.process.pid).collect();
    assert_eq!(users[..2], [812, 813]);
    assert!(host.summary("c4102").users[1].time > Time(at - 1_000_000));
    assert!(host.summary("c4101").users.is_empty(), "it has one");
}

/// A server that says at once that it waited for too long: the kernel reports who wrote behind what was written.
#[test]
fn an_exchange_that_is_the_first_use_of_a_socket_names_its_process() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.tick(1);
    assert!(host.transitions("c4102").len() > 1, "the gate is open");
    let response = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let next = (SERVER_ISN + 1, CLIENT_ISN + 1);
    host.segment(SERVER, endpoints(8080, 41352), Direction::Out, Flags::ACK, next, response, OPEN);
    host.uses(SERVER, 812, "server");
    host.tick(1);
    host.finish();
    assert_eq!(host.users_of_exchanges(), [("c4102".to_owned(), 812)]);
}

#[test]
fn what_a_selected_process_takes_over_is_recorded_from_then_on() {
    for is_selected in [true, false] {
        let comm = if is_selected { "worker" } else { "other" };
        let mut host = Host::new(Filter { comm: vec![comm.to_owned()], ..Filter::default() });
        host.handshake();
        host.uses(SERVER, 812, "acceptor");
        host.tick(1);
        host.uses(SERVER, 813, "worker");
        let (request, response) = (REQUEST.len() as u32, RESPONSE.len() as u32);
        let ends = endpoints(8080, 41352);
        let (client, server) = (CLIENT_ISN + 1, SERVER_ISN + 1);
        host.segment(SERVER, ends, Direction::In, Flags::ACK, (client, server), REQUEST, OPEN);
        let next = (server, client + request);
        host.segment(SERVER, ends, Direction::Out, Flags::ACK, next, RESPONSE, OPEN);
        host.state(SERVER, ends, OPEN, State::FinWait1, Some(owner(812, "acceptor")), 0);
        let next = (client + request, server + response);
        host.segment(SERVER, ends, Direction::In, Flags::RST, next, b"", State::FinWait1);
        host.state(SERVER, ends, State::FinWait1, State::Close, None, 104);
        host.tick(1);
        host.finish();
        if !is_selected {
            assert!(host.out.is_empty(), "{:?}", host.out);
            continue;
        }
        assert_eq!(host.users_of_exchanges(), [("c4102".to_owned(), 813)]);
        // What is selected stays so, whoever closes it.
        assert_eq!(host.transitions("c4102"), ["ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>CLOSE"]);
        assert!(!host.summary("c4102").seen_from_start);
        let users: Vec<_> = host.summary("c4102").users.iter().map(|user| user.process.pid).collect();
        assert_eq!(users, [812, 813, 812]);
    }
}

#[test]
fn payload_that_was_left_out_of_an_excluded_connection_is_needed_again() {
    let mut host = Host::new(Filter { pid: vec![813], ..Filter::default() });
    host.handshake();
    host.uses(SERVER, 812, "acceptor");
    let ends = endpoints(8080, 41352);
    host.segment(SERVER, ends, Direction::In, Flags::ACK, (CLIENT_ISN + 1, SERVER_ISN + 1), REQUEST, OPEN);
    assert!(host.skips.last().is_some_and(|skip| skip.cookie == SERVER && skip.until.is_some()));
    host.uses(SERVER, 813, "worker");
    let lifted: Vec<_> = host.skips.iter().filter(|skip| skip.until.is_none()).collect();
    assert!(matches!(lifted[..], [Skip { cookie: SERVER, direction: Direction::In, .. }]), "{lifted:?}");
}

#[test]
fn a_socket_that_is_open_in_the_end_is_that_of_a_process_that_has_it() {
    for (holder, others, expected) in [(812, vec![], 812), (814, vec![812], 812), (814, vec![815], 814)] {
        let mut host = Host::new(Filter::default());
        host.handshake();
        host.uses(SERVER, 812, "parent");
        host.tick(1);
        let socket = ExistingSocket {
            cookie: SERVER,
            netns: NETNS,
            endpoints: endpoints(8080, 41352),
            state: OPEN,
            role: None,
            owner: Some(std::sync::Arc::new(owner(holder, "child"))),
            others,
            stats: Default::default(),
            bytes: None,
            listed: None,
            mini_socket_us: None,
            is_one_of_several: false,
        };
        host.pipeline.still_open(Time(host.now), vec![socket]);
        host.finish();
        let process = host.summary("c4102").connection.process.clone();
        assert_eq!(process.map(|process| process.pid), Some(expected));
    }
}

#[test]
fn a_client_of_which_nothing_was_reported_appears_when_a_selected_process_takes_it_over() {
    let mut host = Host::new(Filter { comm: vec!["worker".to_owned()], ..Filter::default() });
    let taken_over = StateChange {
        endpoints: endpoints(41352, 8080),
        netns: NETNS,
        owner: Some(owner(813, "worker")),
        is_client: true,
        ..StateChange::new(OPEN, OPEN)
    };
    host.event(CLIENT, EventKind::StateChange(taken_over));
    host.state(CLIENT, endpoints(41352, 8080), OPEN, State::FinWait1, Some(owner(813, "worker")), 0);
    host.finish();
    assert_eq!(host.transitions("c4101"), ["ESTABLISHED>FIN_WAIT1"]);
    let summary = host.summary("c4101");
    assert_eq!((summary.connection.role, summary.seen_from_start), (Some(Role::Client), false));
}
