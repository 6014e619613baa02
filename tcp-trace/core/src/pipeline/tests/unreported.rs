//! Ends of connections, reported and not.

use super::*;

impl Host {
    /// The client closes first.
    pub(super) fn close(&mut self) {
        self.close_except(|_, _| false);
    }

    /// The same, of which these transitions are not reported.
    fn close_except(&mut self, is_missing: impl Fn(State, State) -> bool) {
        let (client, server) = (endpoints(41352, 8080), endpoints(8080, 41352));
        let (out, inward) = (Direction::Out, Direction::In);
        let fin = Flags::FIN.with(Flags::ACK);
        let first = (CLIENT_ISN + 1 + REQUEST.len() as u32, SERVER_ISN + 1 + RESPONSE.len() as u32);
        let second = (first.1, first.0 + 1);
        let last = (first.0 + 1, first.1 + 1);
        let state = |host: &mut Self, cookie, ends, old, new| {
            if !is_missing(old, new) {
                host.state(cookie, ends, old, new, None, 0);
            }
        };
        self.state(CLIENT, client, State::Established, State::FinWait1, Some(owner(13838, "curl")), 0);
        self.segment(CLIENT, client, out, fin, first, b"", State::FinWait1);
        self.segment(SERVER, server, inward, fin, first, b"", State::Established);
        self.state(SERVER, server, State::Established, State::CloseWait, None, 0);
        self.state(SERVER, server, State::CloseWait, State::LastAck, Some(owner(812, "nginx")), 0);
        self.segment(SERVER, server, out, fin, second, b"", State::LastAck);
        self.segment(CLIENT, client, inward, fin, second, b"", State::FinWait1);
        state(self, CLIENT, client, State::FinWait1, State::FinWait2);
        self.segment(CLIENT, client, out, Flags::ACK, last, b"", State::FinWait2);
        state(self, CLIENT, endpoints(0, 8080), State::FinWait2, State::Close);
        self.segment(SERVER, server, inward, Flags::ACK, last, b"", State::LastAck);
        state(self, SERVER, endpoints(0, 41352), State::LastAck, State::Close);
    }
}

#[test]
fn an_end_that_the_kernel_does_not_report_follows_from_the_segments() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host.exchange();
    let is_softirq = |old, new| {
        matches!(
            (old, new),
            (State::FinWait1, State::FinWait2) | (State::FinWait2 | State::LastAck, State::Close)
        )
    };
    host.close_except(is_softirq);
    assert_eq!(host.transitions("c4102").last().unwrap(), "CLOSE_WAIT>LAST_ACK");
    host.tick(0);
    assert_eq!(host.transitions("c4102").last().unwrap(), "CLOSE_WAIT>LAST_ACK", "it may be late");
    host.tick(1);
    host.tick(1);
    assert_eq!(
        host.transitions("c4101")[2..],
        ["ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2", "FIN_WAIT2>TIME_WAIT"]
    );
    assert_eq!(host.transitions("c4102").last().unwrap(), "LAST_ACK>CLOSE");
    let [client, server] = ["c4101", "c4102"].map(|id| host.last_transition(id));
    for end in [client, server] {
        assert!(end.estimated && end.gap, "{end:?}");
    }
    let server = host.summary("c4102");
    assert_eq!((server.open, server.seen_from_start, server.close.how), (false, false, How::Fin));
}
