//! Further subflows of an MPTCP socket.

use tcp_trace_model::exchange::Integrity;

use super::*;

const FURTHER: u64 = 5_001;

impl Host {
    /// The client's MPTCP socket connects once more, from another port.
    fn join(&mut self, until: State) {
        let ends = endpoints(41_353, 8080);
        let mut old = State::Close;
        for new in [State::SynSent, State::Established] {
            let change =
                StateChange { endpoints: ends, netns: NETNS, is_subflow: true, ..StateChange::new(old, new) };
            self.event(FURTHER, EventKind::StateChange(change));
            self.event(FURTHER, EventKind::Subflow(CLIENT));
            if new == until {
                return;
            }
            old = new;
        }
    }

    fn exchanges_of_client(&self) -> Vec<Integrity> {
        let all = self.out.iter().filter_map(|record| match record {
            Record::Http(http) if http.connection.id.cookie == CLIENT => Some(http.exchange.integrity),
            _ => None,
        });
        all.collect()
    }

    /// The first bytes of a response that is longer.
    fn begin_exchange(&mut self) {
        let client = endpoints(41_352, 8080);
        let (flags, open) = (Flags::ACK, State::Established);
        let number = (CLIENT_ISN + 1, SERVER_ISN + 1);
        self.segment(CLIENT, client, Direction::Out, flags, number, REQUEST, open);
        let number = (SERVER_ISN + 1, CLIENT_ISN + 1 + REQUEST.len() as u32);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        self.segment(CLIENT, client, Direction::In, flags, number, head, open);
    }
}

#[test]
fn what_is_on_several_subflows_is_not_read() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.begin_exchange();
    host.join(State::Established);
    assert_eq!(host.exchanges_of_client(), [Integrity::Gap]);
    let further = endpoints(41_353, 8080);
    host.segment(FURTHER, further, Direction::In, Flags::ACK, (7, 7), RESPONSE, State::Established);
    host.exchange();
    host.tick(1);
    host.finish();
    assert_eq!(host.exchanges_of_client(), [Integrity::Gap]);
    let summary = host.summary("c5001");
    assert!(summary.mptcp && summary.protocol.is_none() && summary.first_bytes.is_none(), "{summary:?}");
    assert_eq!(summary.bytes.received, RESPONSE.len() as u64);
}

#[test]
fn a_subflow_that_is_not_connected_yet_takes_nothing_from_the_first() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.join(State::SynSent);
    host.exchange();
    assert_eq!(host.exchanges_of_client(), [Integrity::Complete]);
}

#[test]
fn who_uses_the_first_subflow_uses_the_others() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.join(State::Established);
    host.event(CLIENT, EventKind::Owner(owner(813, "worker")));
    host.finish();
    let summary = host.summary("c5001");
    let users: Vec<_> = summary.users.iter().map(|user| user.process.pid).collect();
    assert_eq!(users, [13838, 813]);
    assert_eq!(summary.connection.process.as_ref().map(|process| process.pid), Some(813));
}

#[test]
fn what_begins_at_the_address_of_another_mptcp_socket_is_read() {
    for is_known in [false, true] {
        let mut host = Host::new(Filter::default());
        if is_known {
            host.state(FURTHER, endpoints(41_353, 8080), State::Close, State::SynSent, None, 0);
            host.state(FURTHER, endpoints(41_353, 8080), State::SynSent, State::Close, None, 0);
        }
        host.handshake();
        host.event(CLIENT, EventKind::Subflow(FURTHER));
        host.exchange();
        assert_eq!(host.exchanges_of_client(), [Integrity::Complete], "{is_known}");
    }
}
