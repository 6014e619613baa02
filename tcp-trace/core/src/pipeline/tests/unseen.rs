//! HTTP of which events were lost: the numbers of TCP tell it.

use tcp_trace_model::record::{Integrity, Outcome};

use super::*;

type Told = (bool, Integrity, Outcome);

const WHOLE: Told = (true, Integrity::Complete, Outcome::Ok);
const LOST: Told = (false, Integrity::Gap, Outcome::NoResponse);

/// A client whose connection is established.
fn client() -> Host {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host
}

impl Host {
    fn ends() -> Endpoints {
        endpoints(41352, 8080)
    }

    /// A segment of the client's connection, by how many bytes were sent and received before.
    fn data(&mut self, direction: Direction, sent: u32, received: u32, payload: &[u8]) {
        let (client, server) = (CLIENT_ISN + 1 + sent, SERVER_ISN + 1 + received);
        let numbers = if direction == Direction::Out { (client, server) } else { (server, client) };
        self.segment(CLIENT, Self::ends(), direction, Flags::ACK, numbers, payload, State::Established);
    }

    /// Whether there was a response, and what is said of the exchange.
    fn told(&self) -> Vec<Told> {
        let exchanges = self.out.iter().filter_map(|record| match record {
            Record::Http(http) => {
                Some((http.exchange.response.is_some(), http.exchange.integrity, http.exchange.outcome))
            }
            _ => None,
        });
        exchanges.collect()
    }

    /// Closes the client's socket, up to which so many bytes had been sent and received.
    fn gone(&mut self, sent: u32, received: u32) {
        let change = StateChange {
            endpoints: Self::ends(),
            netns: NETNS,
            passed: Some([CLIENT_ISN + 1 + sent, SERVER_ISN + 1 + received]),
            ..StateChange::new(State::LastAck, State::Close)
        };
        self.event(CLIENT, EventKind::StateChange(change));
        self.tick(1);
    }
}

const SENT: u32 = REQUEST.len() as u32;
const RECEIVED: u32 = RESPONSE.len() as u32;

#[test]
fn a_response_that_the_kernel_received_and_nobody_saw_is_a_gap() {
    for (received, expected) in [(0, (false, Integrity::Complete, Outcome::NoResponse)), (RECEIVED, LOST)] {
        let mut host = client();
        host.data(Direction::Out, 0, 0, REQUEST);
        host.gone(SENT, received);
        assert_eq!(host.told(), [expected]);
    }
}

/// The first response was lost, and the SYN+ACK, whose number would say where it begins; the segment from which that follows
/// was late.
#[test]
fn the_second_response_is_not_that_to_the_first_request() {
    const CUT: usize = 10;
    let mut host = Host::new(Filter::default());
    let server = endpoints(8080, 41352);
    host.segment(LISTENER, server, Direction::In, Flags::SYN, (CLIENT_ISN, 0), b"", State::Listen);
    host.state(SERVER, server, State::Listen, State::SynRecv, None, 0);
    host.state(SERVER, server, State::SynRecv, State::Established, None, 0);
    let mut data = |direction, numbers, payload: &[u8]| {
        host.segment(SERVER, server, direction, Flags::ACK, numbers, payload, State::Established);
    };
    let (client, peer) = (CLIENT_ISN + 1, SERVER_ISN + 1);
    data(Direction::In, (client + CUT as u32, peer), &REQUEST[CUT..]);
    data(Direction::In, (client, peer), &REQUEST[..CUT]);
    data(Direction::In, (client + SENT, peer + RECEIVED), REQUEST);
    data(Direction::Out, (peer + RECEIVED, client + 2 * SENT), RESPONSE);
    host.finish();
    assert_eq!(host.told(), [LOST, WHOLE]);
}

/// A socket that connects again ends its earlier connection at once.
#[test]
fn it_is_a_gap_also_where_the_socket_connects_again() {
    let mut host = client();
    host.data(Direction::Out, 0, 0, REQUEST);
    let ends = Host::ends();
    let passed = Some([CLIENT_ISN + 1 + SENT, SERVER_ISN + 1 + RECEIVED]);
    let close = StateChange { endpoints: ends, passed, ..StateChange::new(State::LastAck, State::Close) };
    host.event(CLIENT, EventKind::StateChange(close));
    host.event(
        CLIENT,
        EventKind::StateChange(StateChange {
            incarnation: 1,
            ..StateChange::new(State::Close, State::SynSent)
        }),
    );
    host.finish();
    assert_eq!(host.told(), [LOST]);
}

/// What was lost is told by the next segment of the other direction, which acknowledges it.
#[test]
fn what_the_peer_acknowledges_and_nobody_saw_is_a_gap_at_once() {
    let told = |is_request_lost: bool| {
        let mut host = client();
        for number in 0..3 {
            let is_lost = number == 1;
            let (sent, received) = (number * SENT, number * RECEIVED);
            if !is_lost || !is_request_lost {
                host.data(Direction::Out, sent, received, REQUEST);
            }
            if !is_lost || is_request_lost {
                host.data(Direction::In, sent + SENT, received, RESPONSE);
            }
        }
        host.told()
    };
    assert_eq!(told(true), [WHOLE, WHOLE], "of the one whose request was lost nothing is known");
    assert_eq!(told(false), [WHOLE, LOST, WHOLE]);
}

/// The response before is not affected, however it is cut; the one that belongs to the lost request is nobody's.
#[test]
fn a_lost_request_behind_another_takes_only_its_own_response() {
    for cut in [1, RECEIVED, RECEIVED + 1, 2 * RECEIVED] {
        let mut host = client();
        host.data(Direction::Out, 0, 0, REQUEST);
        let responses = [RESPONSE, RESPONSE].concat();
        let (first, second) = responses.split_at(cut as usize);
        host.data(Direction::In, 2 * SENT, 0, first);
        host.data(Direction::In, 2 * SENT, cut, second);
        host.data(Direction::Out, 2 * SENT, 2 * RECEIVED, REQUEST);
        host.data(Direction::In, 3 * SENT, 2 * RECEIVED, RESPONSE);
        host.gone(3 * SENT, 3 * RECEIVED);
        assert_eq!(host.told(), [WHOLE, WHOLE], "cut at {cut}");
    }
}

/// Segments are seen before the kernel looks at their numbers: they may be forged, or of an earlier connection.
#[test]
fn acknowledgments_of_segments_that_are_far_from_their_direction_are_not_believed() {
    let mut host = client();
    host.data(Direction::Out, 0, 0, REQUEST);
    host.data(Direction::In, 4_000, 500_000_000, b"");
    host.data(Direction::In, 4_000, 500_000_000, b"x");
    host.data(Direction::In, 500_000_000, 0, b"");
    host.data(Direction::In, SENT, 0, RESPONSE);
    host.data(Direction::Out, SENT, RECEIVED, REQUEST);
    host.data(Direction::In, 2 * SENT, RECEIVED, RESPONSE);
    assert_eq!(host.told(), [WHOLE, WHOLE]);
}
