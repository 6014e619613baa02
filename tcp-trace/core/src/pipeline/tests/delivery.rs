//! Responses that were sent, and what their client acknowledged of them.

use tcp_trace_model::record::{Ended, Http, Integrity, Message, Outcome, Part};

use super::*;

const RST_ACK: Flags = Flags(Flags::RST.0 | Flags::ACK.0);
const ECONNRESET: i32 = 104;
const HEAD: u32 = RESPONSE.len() as u32 - 2;

/// A host whose server has answered a request.
fn answered() -> Host {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    host
}

impl Host {
    fn https(&self) -> Vec<&Http> {
        let https = self.out.iter().filter_map(|record| match record {
            Record::Http(http) if http.connection.role == Some(Role::Server) => Some(http),
            _ => None,
        });
        https.collect()
    }

    /// An RST comes to the server, with these flags and of the client's response so many bytes acknowledged by it, and closes the
    /// socket, where so many had been acknowledged before.
    fn reset(&mut self, flags: Flags, by_reset: u32, before: u32) {
        let number = (CLIENT_ISN + 1 + REQUEST.len() as u32, SERVER_ISN + 1 + by_reset);
        let server = endpoints(8080, 41352);
        self.segment(SERVER, server, Direction::In, flags, number, b"", State::Established);
        self.closed(State::Established, ECONNRESET, before);
    }

    /// The server's socket is closed, and so many bytes of what it sent were acknowledged.
    fn closed(&mut self, old: State, error: i32, acknowledged: u32) {
        let passed = [SERVER_ISN + 1 + acknowledged, CLIENT_ISN + 1 + REQUEST.len() as u32];
        let change = StateChange {
            netns: NETNS,
            error,
            passed: Some(passed),
            sent_to: Some(SERVER_ISN + 1 + RESPONSE.len() as u32),
            ..StateChange::new(old, State::Close)
        };
        self.event(SERVER, EventKind::StateChange(change));
        self.tick(1);
    }
}

#[test]
fn a_response_that_met_an_rst_did_not_arrive() {
    let whole = RESPONSE.len() as u32;
    let place = |part, offset| Some(Ended { message: Message::Response, part, offset });
    for (flags, by_reset, before, ended, missing) in [
        (Flags::RST, 0, 0, place(Part::None, 0), None),
        (Flags::RST, whole, 0, place(Part::None, 0), None),
        (Flags::RST, 0, 5, place(Part::Head, 5), None),
        (Flags::RST, 0, HEAD + 1, place(Part::Body, 1), Some(1)),
        (RST_ACK, HEAD, 5, place(Part::Body, 0), Some(2)),
        (RST_ACK, 5, HEAD, place(Part::Body, 0), Some(2)),
        // What nobody has sent, an RST cannot acknowledge.
        (RST_ACK, whole + 1, 0, place(Part::None, 0), None),
        (Flags::RST, 0, whole, None, None),
        (RST_ACK, whole, 0, None, None),
    ] {
        let mut host = answered();
        assert!(host.https().is_empty(), "it waits");
        host.reset(flags, by_reset, before);
        let [http] = host.https()[..] else { panic!("it is one exchange") };
        let exchange = &http.exchange;
        let case = (flags, by_reset, before);
        assert_eq!((exchange.ended, exchange.missing), (ended, missing), "{case:?}");
        let (outcome, integrity, reason) = match ended.map(|ended| ended.part) {
            None => (Outcome::Ok, Integrity::Complete, None),
            Some(Part::None) => {
                (Outcome::Reset, Integrity::Truncated, Some("reset by the client before the response"))
            }
            Some(_) => {
                (Outcome::Reset, Integrity::Truncated, Some("reset by the client during the response"))
            }
        };
        assert_eq!(
            (exchange.outcome, exchange.integrity, exchange.reason.as_deref()),
            (outcome, integrity, reason),
            "{case:?}"
        );
        let acknowledged = if flags == RST_ACK && by_reset <= whole { by_reset.max(before) } else { before };
        assert_eq!(host.summary("c4102").close.unacknowledged, Some(whole - acknowledged), "{case:?}");
    }
}

#[test]
fn a_response_comes_out_when_it_is_acknowledged_or_has_waited() {
    let mut host = answered();
    let (server, flags) = (endpoints(8080, 41352), Flags::ACK);
    let number = (CLIENT_ISN + 1 + REQUEST.len() as u32, SERVER_ISN + 1 + RESPONSE.len() as u32);
    host.segment(SERVER, server, Direction::In, flags, number, REQUEST, State::Established);
    assert_eq!(host.https().len(), 1);
    let next = (number.1, number.0 + REQUEST.len() as u32);
    host.segment(SERVER, server, Direction::Out, flags, next, RESPONSE, State::Established);
    assert_eq!(host.https().len(), 1);
    host.tick(1);
    assert_eq!(host.https().len(), 2, "it has waited");
    assert!(host.https().iter().all(|http| http.exchange.outcome == Outcome::Ok));
}

#[test]
fn what_follows_a_response_that_waits_comes_behind_it() {
    let mut host = answered();
    host.state(SERVER, endpoints(8080, 41352), State::Established, State::FinWait1, None, 0);
    let is_of_server = |record: &&Record| match record {
        Record::Http(http) => http.connection.id.cookie == SERVER,
        Record::Transition(transition) => {
            transition.connection.id.cookie == SERVER && transition.new == State::FinWait1
        }
        _ => false,
    };
    assert_eq!(host.out.iter().filter(is_of_server).count(), 0);
    host.closed(State::FinWait1, 110, 0);
    let order: Vec<_> = host.out.iter().filter(is_of_server).collect();
    assert!(matches!(order[..], [Record::Http(_), Record::Transition(_)]), "{order:?}");
}

#[test]
fn the_servers_own_rst_leaves_open_what_arrived() {
    let mut host = answered();
    let number = (SERVER_ISN + 1 + RESPONSE.len() as u32, CLIENT_ISN + 1 + REQUEST.len() as u32);
    host.segment(SERVER, endpoints(8080, 41352), Direction::Out, RST_ACK, number, b"", State::Established);
    host.closed(State::Established, 0, 0);
    let [http] = host.https()[..] else { panic!("it is one exchange") };
    assert_eq!(http.exchange.outcome, Outcome::Ok);
    assert_eq!(host.summary("c4102").close.unacknowledged, Some(RESPONSE.len() as u32));
}

#[test]
fn a_response_of_a_process_that_becomes_known_behind_it_waits_for_both() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.tick(1);
    let (server, flags) = (endpoints(8080, 41352), Flags::ACK);
    let number = (CLIENT_ISN + 1, SERVER_ISN + 1);
    host.segment(SERVER, server, Direction::In, flags, number, REQUEST, State::Established);
    let answer = (SERVER_ISN + 1, CLIENT_ISN + 1 + REQUEST.len() as u32);
    host.segment(SERVER, server, Direction::Out, flags, answer, RESPONSE, State::Established);
    host.event(SERVER, EventKind::Owner(owner(812, "nginx")));
    host.reset(Flags::RST, 0, 0);
    let [http] = host.https()[..] else { panic!("it is one exchange") };
    let process = http.connection.process.as_ref().map(|process| process.pid);
    assert_eq!((process, http.exchange.outcome), (Some(812), Outcome::Reset));
}
