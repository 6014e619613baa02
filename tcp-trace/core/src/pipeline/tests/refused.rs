//! Segments that the kernel refuses, and those of which that is known later.

use std::sync::Arc;

use tcp_trace_model::refusal::{Refusal, Verdict};

use super::*;
use crate::{
    conn::{REFUSED_RECORDED_MAX, UNSURE_MAX},
    stream::HELD_BYTES_MAX,
};

const FALSE: &[u8] = b"GET /no HTTP/1.1\r\nHost: h\r\n\r\n";
const UNSURE: Verdict = Verdict::Unsure(Refusal::AckUnsentData);

/// A segment that arrives at the server, with the client's first byte on.
fn arriving(flags: Flags, payload: &[u8], verdict: Verdict) -> Segment<'_> {
    Segment {
        direction: Direction::In,
        flags,
        sequence: CLIENT_ISN + 1,
        acknowledgment: SERVER_ISN + 1,
        length: u32::try_from(payload.len()).unwrap(),
        payload,
        endpoints: endpoints(8080, 41352),
        netns: Some(NETNS),
        state: Some(State::Established),
        zero_window: flags == Flags::ACK && payload.is_empty(),
        elision: Default::default(),
        verdict,
    }
}

impl Host {
    fn arrives(&mut self, flags: Flags, payload: &[u8], verdict: Verdict) {
        self.event(SERVER, EventKind::Segment(arriving(flags, payload, verdict)));
    }

    /// The server acknowledges so many bytes.
    fn acknowledges(&mut self, bytes: usize) {
        let number = (SERVER_ISN + 1, CLIENT_ISN + 1 + bytes as u32);
        let server = endpoints(8080, 41352);
        self.segment(SERVER, server, Direction::Out, Flags::ACK, number, b"", State::Established);
    }

    fn targets(&self) -> Vec<String> {
        let all = self.out.iter().filter_map(|record| match record {
            Record::Http(http) => http.exchange.request.as_ref(),
            _ => None,
        });
        all.map(|request| request.target.printable().to_string()).collect()
    }

    fn refused_lines(&self) -> Vec<(Refusal, u64)> {
        let all = self.out.iter().filter_map(|record| match record {
            Record::Segment(segment) => Some((segment.refused?, segment.time.0)),
            _ => None,
        });
        all.collect()
    }
}

fn opened() -> Host {
    let mut host = Host::new(Filter::default());
    host.handshake();
    host
}

fn ended(mut host: Host) -> Host {
    host.tick(1);
    host.finish();
    host
}

#[test]
fn what_is_refused_counts_nowhere_but_among_the_refused() {
    let mut host = opened();
    for (flags, payload) in [
        (Flags::ACK, FALSE),
        (Flags::FIN.with(Flags::ACK), FALSE),
        (Flags::RST, b""),
        (Flags::SYN, b""),
        (Flags::ACK, b""),
    ] {
        host.arrives(flags, payload, Verdict::Refused(Refusal::Flags));
    }
    host.exchange();
    host.close();
    let host = ended(host);
    assert_eq!(host.targets(), ["/a", "/a"]);
    let summary = host.summary("c4102");
    assert_eq!((summary.close.by, summary.close.how), (By::Peer, How::Fin));
    assert_eq!(summary.bytes.received, REQUEST.len() as u64);
    assert_eq!((summary.zero_window, summary.retransmits), (None, 0));
    assert_eq!(summary.refused.iter().collect::<Vec<_>>(), [(&Refusal::Flags, &5)]);
    assert_eq!(host.refused_lines().len(), 5);
}

#[test]
fn the_copy_that_is_taken_wins_over_one_of_which_it_is_not_known() {
    let mut host = opened();
    host.arrives(Flags::ACK, FALSE, UNSURE);
    let arrived = host.now;
    host.exchange();
    host.close();
    let host = ended(host);
    assert_eq!(host.targets(), ["/a", "/a"]);
    assert_eq!(host.refused_lines(), [(Refusal::AckUnsentData, arrived)]);
}

#[test]
fn a_copy_that_is_taken_says_nothing_of_one_that_was_the_same() {
    let half = REQUEST.len() / 2;
    for (first, then, refused, lost) in [
        ((0, REQUEST), (0, REQUEST), 0, 0),
        ((half, &REQUEST[half..]), (0, REQUEST), 0, 0),
        ((0, REQUEST), (half, &REQUEST[half..]), 0, 0),
        ((0, FALSE), (0, REQUEST), 1, 0),
        // It may wait for what is missing before it.
        ((4, FALSE), (0, REQUEST), 0, 1),
    ] {
        let mut host = opened();
        host.acknowledges(0);
        let at = |(off, payload): (usize, &'static [u8]), verdict| Segment {
            sequence: CLIENT_ISN + 1 + off as u32,
            ..arriving(Flags::ACK, payload, verdict)
        };
        host.event(SERVER, EventKind::Segment(at(first, UNSURE)));
        host.event(SERVER, EventKind::Segment(at(then, Verdict::Taken)));
        host.acknowledges(REQUEST.len());
        let host = ended(host);
        assert_eq!(host.targets(), ["/a"], "{first:?}");
        assert_eq!((host.refused_lines().len(), host.lost), (refused, lost), "{first:?}");
        let is_copied = first.1 != FALSE && first.1.len() <= then.1.len();
        assert_eq!(host.summary("c4102").retransmits, u64::from(is_copied), "{first:?}");
    }
}

#[test]
fn what_waits_behind_a_hole_as_the_socket_closes_was_not_refused() {
    let mut host = opened();
    host.acknowledges(0);
    host.event(
        SERVER,
        EventKind::Segment(Segment { sequence: CLIENT_ISN + 9, ..arriving(Flags::ACK, FALSE, UNSURE) }),
    );
    let passed = Some([SERVER_ISN + 1, CLIENT_ISN + 1]);
    let change = StateChange { passed, error: 104, ..StateChange::new(State::Established, State::Close) };
    host.event(SERVER, EventKind::StateChange(change));
    let host = ended(host);
    assert_eq!((host.refused_lines().len(), host.lost), (0, 1));
    assert_eq!(host.summary("c4102").bytes.received, 0);
}

#[test]
fn what_acknowledges_it_shows_that_a_segment_was_taken() {
    let mut host = opened();
    host.arrives(Flags::ACK, REQUEST, UNSURE);
    host.acknowledges(REQUEST.len() - 1);
    assert!(host.pipeline.connections.get(SERVER).unwrap().connection.has_unsure());
    host.acknowledges(REQUEST.len());
    let mut host = ended(host);
    host.finish();
    assert_eq!(host.targets(), ["/a"]);
    assert_eq!(host.summary("c4102").bytes.received, REQUEST.len() as u64);
    assert!(host.refused_lines().is_empty());
}

#[test]
fn of_copies_that_differ_none_is_recorded() {
    for (first, targets, lost) in [(FALSE, &[][..], 2), (REQUEST, &["/a"], 0)] {
        let mut host = opened();
        host.arrives(Flags::ACK, first, UNSURE);
        host.arrives(Flags::ACK, REQUEST, UNSURE);
        host.acknowledges(REQUEST.len());
        let host = ended(host);
        assert_eq!(host.targets(), targets);
        assert_eq!(host.lost, lost);
        assert!(host.refused_lines().is_empty());
    }
}

#[test]
fn the_closed_socket_says_what_it_had_received() {
    for (received, targets) in [(0, &[][..]), (REQUEST.len(), &["/a"])] {
        let mut host = opened();
        host.arrives(Flags::ACK, REQUEST, UNSURE);
        let passed = Some([SERVER_ISN + 1, CLIENT_ISN + 1 + received as u32]);
        let change = StateChange { passed, error: 104, ..StateChange::new(State::Established, State::Close) };
        host.event(SERVER, EventKind::StateChange(change));
        let host = ended(host);
        assert_eq!(host.targets(), targets);
        assert_eq!(host.summary("c4102").bytes.received, received as u64);
        assert_eq!(host.refused_lines().len(), usize::from(received == 0));
    }
}

#[test]
fn lines_are_bounded_and_counts_are_not() {
    let mut host = opened();
    let many = u64::from(REFUSED_RECORDED_MAX) + 7;
    for _ in 0..many {
        host.arrives(Flags::ACK, FALSE, Verdict::Refused(Refusal::Flags));
    }
    let host = ended(host);
    assert_eq!(host.summary("c4102").refused[&Refusal::Flags], many);
    assert_eq!(host.refused_lines().len() as u32, REFUSED_RECORDED_MAX);
    assert!(host.targets().is_empty());
}

#[test]
fn of_what_nothing_shows_whether_it_was_taken_is_lost() {
    for is_acknowledged in [false, true] {
        let mut host = opened();
        for _ in 0..UNSURE_MAX + 7 {
            host.arrives(Flags::ACK, REQUEST, UNSURE);
        }
        // An acknowledgment alone occupies no numbers.
        host.arrives(Flags::ACK, b"", UNSURE);
        if is_acknowledged {
            host.acknowledges(REQUEST.len());
        }
        let host = ended(host);
        let lost = if is_acknowledged { 8 } else { UNSURE_MAX as u64 + 7 };
        assert_eq!(host.lost, lost);
        assert!(host.summary("c4102").refused.is_empty());
        assert!(host.refused_lines().is_empty());
    }
}

#[test]
fn an_acknowledgment_that_only_shows_what_was_taken_has_no_line() {
    let lines = |host: &Host| {
        let all = host.out.iter().filter(|record| matches!(record, Record::Segment(_)));
        all.count()
    };
    let closed = |is_unsure| {
        let mut host = opened();
        if is_unsure {
            host.arrives(Flags::ACK, REQUEST, UNSURE);
            host.acknowledges(REQUEST.len());
        }
        host.close();
        ended(host)
    };
    let (without, with) = (closed(false), closed(true));
    assert_eq!(with.targets(), ["/a"]);
    assert_eq!(lines(&with), lines(&without), "those of handshake and close have one");
}

#[test]
fn the_payload_that_waits_is_bounded() {
    const LARGE: usize = 100_000;
    let mut host = opened();
    let payload = vec![b'x'; LARGE];
    for _ in 0..10 {
        host.arrives(Flags::ACK, &payload, UNSURE);
    }
    host.acknowledges(LARGE);
    let host = ended(host);
    assert_eq!(host.lost, 10 - (HELD_BYTES_MAX / LARGE) as u64);
    assert!(host.refused_lines().is_empty());
}

#[test]
fn of_the_own_syn_again_nothing_but_the_syn_counts() {
    let mut host = opened();
    let mut arrives = |flags, payload, acknowledgment| {
        let segment = Segment {
            sequence: CLIENT_ISN,
            acknowledgment,
            zero_window: true,
            ..arriving(flags, payload, Verdict::Refused(Refusal::InvalidSyn))
        };
        host.event(SERVER, EventKind::Segment(segment));
    };
    arrives(Flags::SYN, b"", 0);
    arrives(Flags::SYN, FALSE, 0);
    for other in [Flags::FIN, Flags::RST, Flags::ACK] {
        arrives(Flags::SYN.with(other), FALSE, SERVER_ISN + 1);
    }
    host.exchange();
    host.close();
    let host = ended(host);
    let summary = host.summary("c4102");
    assert_eq!(host.targets(), ["/a", "/a"]);
    assert_eq!(summary.handshake.unwrap().syn_retransmits, 2);
    assert_eq!(summary.handshake.unwrap().syn_ack_retransmits, 0);
    assert_eq!((summary.close.by, summary.close.how), (By::Peer, How::Fin));
    assert_eq!(summary.bytes.received, REQUEST.len() as u64);
    assert_eq!((summary.zero_window, summary.retransmits), (None, 2));
    assert_eq!(summary.refused[&Refusal::InvalidSyn], 3);
}

#[test]
fn the_syn_ack_again_is_a_retransmit() {
    let mut host = opened();
    let segment = Segment {
        direction: Direction::In,
        flags: Flags::SYN.with(Flags::ACK),
        sequence: SERVER_ISN,
        acknowledgment: CLIENT_ISN + 1,
        length: 0,
        payload: b"",
        endpoints: endpoints(41352, 8080),
        netns: Some(NETNS),
        state: Some(State::Established),
        zero_window: false,
        elision: Default::default(),
        verdict: Verdict::Refused(Refusal::InvalidSyn),
    };
    host.event(CLIENT, EventKind::Segment(segment));
    let host = ended(host);
    let summary = host.summary("c4101");
    assert_eq!(summary.handshake.unwrap().syn_ack_retransmits, 1);
    assert!(summary.refused.is_empty());
}

#[test]
fn an_rst_of_ipv6_that_no_program_sees_has_a_line() {
    const SEEN: u32 = 1;
    let v6 = |port: u16| SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    let (six, four) = (Endpoints { local: v6(8080), peer: v6(41352) }, endpoints(8080, 41352));
    let ack = CLIENT_ISN + 7;
    let late = Flags::ACK.with(Flags::PSH);
    for (ends, flags, reason, passed, expected) in [
        (six, late, "TCP_ABORT_ON_DATA", SEEN, Some((SERVER_ISN + 1, None))),
        (
            six,
            Flags::SYN,
            "TCP_ABORT_ON_DATA",
            SEEN,
            Some((0, Some(CLIENT_ISN + 1 + 1 + FALSE.len() as u32))),
        ),
        (six, late, "TCP_STATE", SEEN, None),
        (six, late, "TCP_ABORT_ON_LINGER", SEEN, None),
        (six, late, "TCP_ABORT_ON_LINGER", ack, Some((ack, None))),
        (four, late, "TCP_ABORT_ON_DATA", SEEN, None),
    ] {
        let mut host = Host::new(Filter::default());
        host.pipeline.cx.settings.reset_reasons.insert(9, Arc::from(reason));
        host.state(SERVER, ends, State::Listen, State::SynRecv, None, 0);
        host.state(SERVER, ends, State::SynRecv, State::Established, None, 0);
        let segment = arriving(flags, FALSE, Verdict::Refused(Refusal::AbortOnData));
        host.event(SERVER, EventKind::Segment(Segment { endpoints: ends, ..segment }));
        let change = StateChange {
            endpoints: ends,
            netns: NETNS,
            error: 104,
            ..StateChange::new(State::FinWait2, State::Close)
        };
        let change = StateChange { passed: Some([passed, 0]), sent_to: Some(ack), ..change };
        host.event(SERVER, EventKind::StateChange(change));
        host.event(SERVER, EventKind::Reset(9));
        if let Some((seq, _)) = expected {
            // Where a program does see it, it has no second line.
            host.segment(SERVER, ends, Direction::Out, Flags::RST, (seq, 0), b"", State::Close);
        }
        let host = ended(host);
        let lines = host.out.iter().filter_map(|record| match record {
            Record::Segment(segment) if segment.direction == Direction::Out => {
                Some((segment.seq, segment.ack))
            }
            _ => None,
        });
        assert_eq!(lines.collect::<Vec<_>>(), Vec::from_iter(expected), "{ends:?} {reason}");
        assert_eq!(host.summary("c4102").close.how, How::Rst);
    }
}

#[test]
fn nothing_is_read_that_came_before_there_was_a_socket() {
    for is_accepted in [true, false] {
        let mut host = Host::new(Filter::default());
        let server = endpoints(8080, 41352);
        let mut listener = |direction, flags, number, payload| {
            host.segment(LISTENER, server, direction, flags, number, payload, State::Listen);
        };
        listener(Direction::In, Flags::SYN, (CLIENT_ISN, 0), FALSE);
        listener(Direction::Out, Flags::SYN.with(Flags::ACK), (SERVER_ISN, CLIENT_ISN + 1), b"");
        listener(Direction::In, Flags::ACK, (CLIENT_ISN + 1, SERVER_ISN + 2), FALSE);
        listener(Direction::In, Flags::ACK, (CLIENT_ISN + 1, SERVER_ISN + 1), FALSE);
        if is_accepted {
            listener(Direction::In, Flags::ACK, (CLIENT_ISN + 1, SERVER_ISN + 1), REQUEST);
            host.state(SERVER, server, State::Listen, State::SynRecv, None, 0);
            host.state(SERVER, server, State::SynRecv, State::Established, None, 0);
            let response = (SERVER_ISN + 1, CLIENT_ISN + 1 + REQUEST.len() as u32);
            host.segment(SERVER, server, Direction::Out, Flags::ACK, response, RESPONSE, State::Established);
            let passed = Some([SERVER_ISN + 1 + RESPONSE.len() as u32, response.1]);
            let change =
                StateChange { passed, error: 104, ..StateChange::new(State::Established, State::Close) };
            host.event(SERVER, EventKind::StateChange(change));
        }
        let host = ended(host);
        let id = if is_accepted { "c4102" } else { "c2.h1" };
        let summary = host.out.iter().find_map(|record| match record {
            Record::Connection(summary) if summary.connection.role == Some(Role::Server) => Some(summary),
            _ => None,
        });
        let summary = summary.expect(id);
        assert_eq!(summary.refused.iter().collect::<Vec<_>>(), [(&Refusal::InvalidAckSequence, &1)], "{id}");
        assert_eq!(host.targets(), if is_accepted { &["/a"][..] } else { &[] });
        let received = if is_accepted { REQUEST.len() as u64 } else { 0 };
        assert_eq!(summary.bytes.received, received, "{id}");
        assert_eq!(host.refused_lines().len(), 1);
    }
}

#[test]
fn what_a_listener_has_no_room_for_is_lost_where_the_listener_is_selected() {
    for (port, lost) in [(8080, 1), (9_999, 0)] {
        let mut host = Host::new(Filter { port: vec![port], ..Filter::default() });
        let listener = endpoints(8080, 0);
        host.state(LISTENER, listener, State::Close, State::Listen, Some(owner(812, "nginx")), 0);
        for _ in 0..33 {
            let syn = (CLIENT_ISN, 0);
            let ends = endpoints(8080, 41352);
            host.segment(LISTENER, ends, Direction::In, Flags::SYN, syn, b"", State::Listen);
        }
        let host = ended(host);
        assert_eq!(host.lost, lost, "{port}");
    }
}
