//! Further subflows of an MPTCP socket.

use tcp_trace_model::exchange::{Integrity, Outcome};

use super::{kernel_numbers::listed, *};

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

    /// The further subflow carries a part of a response.
    fn carry_on_further(&mut self) {
        let further = endpoints(41_353, 8080);
        self.segment(FURTHER, further, Direction::In, Flags::ACK, (7, 7), RESPONSE, State::Established);
    }

    fn exchanges_of_client(&self) -> Vec<Integrity> {
        let all = self.out.iter().filter_map(|record| match record {
            Record::Http(http) if http.connection.id.cookie == CLIENT => Some(http.exchange.integrity),
            _ => None,
        });
        all.collect()
    }

    /// The first bytes of a response that is longer.
    pub(super) fn begin_exchange(&mut self) {
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
    assert!(host.exchanges_of_client().is_empty(), "the further one has carried nothing");
    host.carry_on_further();
    assert_eq!(host.exchanges_of_client(), [Integrity::Gap]);
    host.exchange();
    host.tick(1);
    host.finish();
    assert_eq!(host.exchanges_of_client(), [Integrity::Gap]);
    let summary = host.summary("c5001");
    assert!(summary.mptcp && summary.protocol.is_none() && summary.first_bytes.is_none(), "{summary:?}");
    assert_eq!(summary.bytes.received, RESPONSE.len() as u64);
}

#[test]
fn a_subflow_that_has_carried_nothing_takes_nothing_from_the_first() {
    for until in [State::SynSent, State::Established] {
        let mut host = Host::new(Filter::default());
        host.handshake();
        host.join(until);
        host.exchange();
        assert_eq!(host.exchanges_of_client(), [Integrity::Complete], "{until:?}");
    }
}

#[test]
fn what_follows_on_another_subflow_before_it_arrives_is_no_fault() {
    for (carries, waits, outcome) in [
        // The chunk's line is on the other one, which is slower.
        (true, false, Outcome::Ok),
        // There is none, and the other one is not used.
        (false, false, Outcome::Invalid),
        (false, true, Outcome::Invalid),
    ] {
        let mut host = Host::new(Filter::default());
        host.handshake();
        host.event(CLIENT, EventKind::Owner(owner(13838, "curl")));
        host.join(State::Established);
        let (client, open) = (endpoints(41_352, 8080), State::Established);
        let (first, after) = ((CLIENT_ISN + 1, SERVER_ISN + 1), CLIENT_ISN + 1 + REQUEST.len() as u32);
        host.segment(CLIENT, client, Direction::Out, Flags::ACK, first, REQUEST, open);
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        host.segment(CLIENT, client, Direction::In, Flags::ACK, (SERVER_ISN + 1, after), head, open);
        let next = SERVER_ISN + 1 + head.len() as u32;
        host.segment(CLIENT, client, Direction::In, Flags::ACK, (next, after), b"what is in the chunk", open);
        assert!(host.exchanges_of_client().is_empty(), "it is not known yet");
        if carries {
            host.carry_on_further();
        }
        if waits {
            host.tick(2);
        } else {
            host.finish();
        }
        let all = host.out.iter().filter_map(|record| match record {
            Record::Http(http) if http.connection.id.cookie == CLIENT => Some(http.exchange.outcome),
            _ => None,
        });
        assert_eq!(all.collect::<Vec<_>>(), [outcome], "{carries} {waits}");
    }
}

#[test]
fn a_first_subflow_that_ends_alone_ends_no_exchange() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.begin_exchange();
    host.join(State::Established);
    let number = (SERVER_ISN + 60, CLIENT_ISN + 1 + REQUEST.len() as u32);
    let reset = Flags::RST.with(Flags::ACK);
    host.segment(CLIENT, endpoints(41_352, 8080), Direction::In, reset, number, &[], State::Established);
    host.finish();
    assert_eq!(host.exchanges_of_client(), [Integrity::Gap]);
}

#[test]
fn subflows_that_have_ended_make_room_for_others() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    for number in 0..=crate::conn::SUBFLOWS_MAX as u64 {
        let (cookie, ends) = (FURTHER + number, endpoints(42_000 + number as u16, 8080));
        host.state(cookie, ends, State::Close, State::SynSent, None, 0);
        host.event(cookie, EventKind::Subflow(CLIENT));
        host.state(cookie, ends, State::SynSent, State::Close, None, 0);
    }
    host.finish();
    let last = host.summary(&format!("c{}", FURTHER + crate::conn::SUBFLOWS_MAX as u64));
    assert!(last.mptcp && last.connection.process.is_some(), "{last:?}");
}

#[test]
fn subflows_that_are_older_than_the_session_are_not_read() {
    let mut host = Host::new(Filter::default());
    let socket = |cookie, port| ExistingSocket {
        is_one_of_several: true,
        endpoints: endpoints(port, 8080),
        ..listed(cookie, 1, 0)
    };
    let now = Time(host.now);
    host.pipeline.existing(now, &[socket(CLIENT, 41_352), socket(FURTHER, 41_353)]);
    host.begin_exchange();
    host.finish();
    assert!(host.exchanges_of_client().is_empty());
    assert!(host.summary("c4101").mptcp && host.summary("c5001").mptcp);
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
