//! Tests of requests without a response.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Flags, Role, State},
    record::{
        By, Connection, ConnectionId, Ended, ExchangeTls, Fact, How, KernelSocket, Loss, LossPlace, Message,
        Outcome, Part, Record, Stall, Stalls, StateSpan, TlsLink, ZeroWindow,
    },
    socket::{TcpInfo, Timer},
};

use crate::diagnosis::{
    History,
    testing::Host,
    testing_http::{at, exchange, life, lived, segment, summary, unanswered},
};

/// What is found of a request that came so far, with these ends.
fn cause(
    ended: Option<(Part, u64)>,
    expects: bool,
    client: Connection,
    server: Option<Connection>,
) -> Option<String> {
    let mut http = unanswered(Role::Client, 0, 1_000, Outcome::NoResponse);
    http.time = at(4_000);
    if let Some((part, offset)) = ended {
        http.exchange.ended = Some(Ended { message: Message::Request, part, offset });
    }
    if expects {
        http.exchange.request.as_mut().unwrap().headers.push("Expect", "100-continue");
    }
    let mut history = History::default();
    life(&mut history, Vec::new(), vec![http], client);
    if let Some(server) = server {
        life(&mut history, Vec::new(), Vec::new(), server);
    }
    let findings = Host::new().judge_with("no_response", &history);
    assert!(findings.len() <= 1, "{findings:#?}");
    let finding = findings.into_iter().next()?;
    let says_sent = finding.why.contains("The whole request was sent");
    assert!(!says_sent || ended.is_none(), "{}", finding.why);
    finding.cause
}

fn client(by: By, how: How) -> Connection {
    summary(Role::Client, by, how)
}

/// A server's end that is open, with so much unread.
fn open_server(unread: u32, is_accepted: bool) -> Connection {
    let mut server = summary(Role::Server, By::None, How::Open);
    server.socket = Some(Box::new(KernelSocket {
        receive_queue: unread,
        no_file: !is_accepted,
        ..KernelSocket::default()
    }));
    server
}

#[test]
fn a_request_that_did_not_come_whole_is_not_the_servers_silence() {
    let waiting = || client(By::None, How::Open);
    for (ended, expects, client, expected) in [
        ((Part::Head, 34), false, client(By::Peer, How::Fin), "request_unfinished"),
        ((Part::Body, 3), false, client(By::Local, How::Fin), "request_unfinished"),
        ((Part::Body, 0), true, waiting(), "continue_not_sent"),
        // It went on without.
        ((Part::Body, 5), true, waiting(), "request_unfinished"),
        ((Part::Body, 0), false, waiting(), "request_unfinished"),
    ] {
        assert_eq!(cause(Some(ended), expects, client, None).as_deref(), Some(expected), "{ended:?}");
    }
    let mut full = waiting();
    full.zero_window = Some(ZeroWindow { local_us: 0, peer_us: 3_000_000 });
    assert_eq!(cause(Some((Part::Body, 12_233)), false, full, None).as_deref(), Some("server_not_reading"));
}

#[test]
fn a_window_that_was_closed_until_the_connection_failed_is_named() {
    for (zero_window_us, expected) in [(2_000_000, "server_not_reading"), (1_000_000, "connection_failed")] {
        let mut http = unanswered(Role::Client, 0, 1_000, Outcome::NoResponse);
        (http.time, http.exchange.timing.total_us) = (at(4_000), 3_000_000);
        http.exchange.ended = Some(Ended { message: Message::Request, part: Part::Body, offset: 50 });
        let send = Some(Stall { zero_window_us, ..Stall::default() });
        http.exchange.timing.stalls = Some(Stalls { send, ..Stalls::default() });
        let history = lived(Vec::new(), vec![http], client(By::None, How::Timeout));
        let findings = Host::new().judge_with("no_response", &history);
        assert_eq!(findings[0].cause.as_deref(), Some(expected));
    }
}

#[test]
fn after_what_time_the_client_gave_up_is_said() {
    for (waited_ms, end) in [
        (&[3_000][..], "got no response before the client gave up after 3.00 s."),
        (&[3_000, 2_000], "got no response before the client gave up after up to 3.00 s."),
    ] {
        let mut history = History::default();
        for (cookie, ms) in (1..).zip(waited_ms) {
            let mut end = client(By::Local, How::Fin);
            Arc::make_mut(&mut end.connection).id = ConnectionId::of_socket(cookie, 0);
            let mut http = unanswered(Role::Client, 0, 1_000, Outcome::NoResponse);
            (http.connection, http.time) = (end.connection.clone(), at(1_000 + ms));
            life(&mut history, Vec::new(), vec![http], end);
        }
        let findings = Host::new().judge_with("no_response", &history);
        assert!(findings[0].summary.ends_with(end), "{}", findings[0].summary);
    }
}

#[test]
fn what_the_servers_end_says_decides() {
    let waiting = || client(By::None, How::Open);
    let of = |server| cause(None, false, waiting(), Some(server));
    assert_eq!(of(open_server(0, true)).as_deref(), Some("waiting"));
    assert_eq!(of(open_server(160, true)).as_deref(), Some("request_not_read"));
    assert_eq!(of(open_server(159, true)).as_deref(), Some("request_partly_read"));
    assert_eq!(of(open_server(160, false)).as_deref(), Some("connection_not_accepted"));
    let mut ended = summary(Role::Server, By::Local, How::Fin);
    ended.close.process_ended = true;
    let found = cause(None, false, client(By::Peer, How::Fin), Some(ended));
    assert_eq!(found.as_deref(), Some("server_process_ended"));
    let mut gone = summary(Role::Server, By::Local, How::Rst);
    (gone.closed, gone.close.reason) = (Some(at(700)), Some("ECONNABORTED".to_owned()));
    let found = cause(None, false, client(By::Peer, How::Rst), Some(gone));
    assert_eq!(found.as_deref(), Some("server_socket_gone"));
}

#[test]
fn a_record_behind_an_encrypted_request_is_no_part_of_it() {
    // close_notify of TLS 1.3, with the FIN; less than the request; and as much as it.
    for (unread, expected) in [(25, "client_gave_up"), (160, "client_gave_up"), (161, "request_not_read")] {
        let mut http = unanswered(Role::Client, 0, 1_000, Outcome::NoResponse);
        (http.time, http.exchange.tls) = (at(4_000), Some(ExchangeTls { link: TlsLink::NestedSyscall }));
        let mut history = lived(Vec::new(), vec![http], client(By::Local, How::Fin));
        let mut server = open_server(unread, true);
        server.states.push(StateSpan { state: State::CloseWait, ..server.states[0].clone() });
        life(&mut history, Vec::new(), Vec::new(), server);
        let findings = Host::new().judge_with("no_response", &history);
        assert_eq!(findings[0].cause.as_deref(), Some(expected), "{unread}");
    }
}

#[test]
fn that_nobody_accepted_is_said_only_where_it_would_have_been_seen() {
    for (listener, loses, expected) in [
        (Some(true), false, "connection_not_accepted"),
        (Some(true), true, "client_gave_up"),
        // As the kernel's own have none (nfsd).
        (Some(false), false, "client_gave_up"),
        (None, false, "client_gave_up"),
    ] {
        let mut http = unanswered(Role::Client, 0, 1_000, Outcome::NoResponse);
        http.time = at(4_000);
        let mut history = lived(Vec::new(), vec![http], client(By::Local, How::Fin));
        let mut server = summary(Role::Server, By::Local, How::Rst);
        server.seen_from_start = true;
        Arc::make_mut(&mut server.connection).process = None;
        life(&mut history, Vec::new(), Vec::new(), server);
        if let Some(has_process) = listener {
            let mut listener = summary(Role::Server, By::None, How::Open);
            let info = Arc::make_mut(&mut listener.connection);
            (info.id, info.role) = (ConnectionId::of_socket(3, 0), Some(Role::Listener));
            info.process = info.process.take().filter(|_| has_process);
            life(&mut history, Vec::new(), Vec::new(), listener);
        }
        if loses {
            let loss = Loss { time: at(50_000), place: LossPlace::Ring, events: 7, cpu: Some(0) };
            history.record(&Record::Loss(loss));
        }
        let findings = Host::new().judge_with("no_response", &history);
        assert_eq!(findings[0].cause.as_deref(), Some(expected), "{listener:?} {loses}");
    }
}

#[test]
fn a_later_request_that_is_unread_says_nothing_of_an_earlier_one() {
    let first = unanswered(Role::Client, 0, 1_000, Outcome::NoResponse);
    let next = unanswered(Role::Client, 1, 1_001, Outcome::NoResponse);
    let mut history = lived(Vec::new(), vec![first, next], client(By::None, How::Open));
    life(&mut history, Vec::new(), Vec::new(), open_server(160, true));
    let findings = Host::new().judge_with("no_response", &history);
    let mut causes: Vec<_> = findings.iter().filter_map(|finding| finding.cause.as_deref()).collect();
    causes.sort_unstable();
    assert_eq!(causes, ["request_not_read", "waiting"]);
}

#[test]
fn what_is_not_acknowledged_was_not_delivered() {
    for (retransmits, expected) in [(4, "not_acknowledged"), (2, "waiting")] {
        let mut resending = client(By::None, How::Open);
        let info = TcpInfo { retransmits, ..TcpInfo::default() };
        let socket = KernelSocket {
            send_queue: 160,
            timer: Some(Timer::Retransmit),
            tcp_info: Some(info),
            ..KernelSocket::default()
        };
        resending.socket = Some(Box::new(socket));
        assert_eq!(cause(None, false, resending, None).as_deref(), Some(expected));
    }
    // It may have been long ago, or a closed window.
    let mut closed = client(By::None, How::Open);
    closed.retransmits = 3;
    closed.states.push(StateSpan { state: State::FinWait1, ..closed.states[0].clone() });
    assert_eq!(cause(None, false, closed, None).as_deref(), Some("waiting"));
    assert_eq!(cause(None, false, client(By::None, How::Open), None).as_deref(), Some("waiting"));
}

#[test]
fn what_ended_the_wait_is_reported() {
    let reset = Outcome::Reset;
    for (by, how, outcome, cause) in [
        (By::Peer, How::Fin, Outcome::NoResponse, "server_closed"),
        (By::Peer, How::Rst, reset, "server_reset"),
        (By::None, How::Timeout, Outcome::NoResponse, "connection_failed"),
        (By::Local, How::Fin, Outcome::NoResponse, "client_gave_up"),
        (By::None, How::Open, Outcome::NoResponse, "waiting"),
    ] {
        let mut http = unanswered(Role::Client, 0, 0, outcome);
        http.time = at(1_200);
        let history = lived(Vec::new(), vec![http], summary(Role::Client, by, how));
        let findings = Host::new().judge_with("no_response", &history);
        assert_eq!(findings[0].cause.as_deref(), Some(cause));
        let start = "1 request from client (pid 5) to 10.0.0.1:8080 ";
        assert!(findings[0].summary.starts_with(start), "{}", findings[0].summary);
        let wait = if how == How::Open { 100_000_000 } else { 1_200_000 };
        assert_eq!(findings[0].evidence.get("longest_wait_us"), Some(&Fact::Number(wait)), "{cause}");
    }
}

#[test]
fn a_client_may_cancel_soon_and_a_server_take_a_while() {
    for (by, how, started_ms) in [(By::Local, How::Fin, 0), (By::None, How::Open, 41_000)] {
        let mut http = unanswered(Role::Client, 0, started_ms, Outcome::NoResponse);
        http.time = at(started_ms + 900);
        let history = lived(Vec::new(), vec![http], summary(Role::Client, by, how));
        assert_eq!(Host::new().judge_with("no_response", &history), []);
    }
}

#[test]
fn what_was_answered_is_fine() {
    let history =
        lived(Vec::new(), vec![exchange(Role::Client, 0, 0)], summary(Role::Client, By::Peer, How::Rst));
    assert_eq!(Host::new().judge_with("no_response", &history), []);
}

#[test]
fn what_ended_when_events_were_lost_is_not_judged() {
    for (lost_ms, expected) in [(1_000, 0), (2_100, 0), (2_300, 1)] {
        let mut http = unanswered(Role::Client, 0, 0, Outcome::NoResponse);
        http.time = at(1_200);
        let mut history = lived(Vec::new(), vec![http], summary(Role::Client, By::Peer, How::Fin));
        let loss = Loss { time: at(lost_ms), place: LossPlace::Ring, events: 7, cpu: Some(0) };
        history.record(&Record::Loss(loss));
        assert_eq!(Host::new().judge_with("no_response", &history).len(), expected, "{lost_ms}");
    }
}

/// The server answers a client's close with its own; a client that only shut down writing waits for it.
#[test]
fn the_end_that_the_exchange_lasted_to_is_what_ended_it() {
    for (client_ms, server_ms, expected) in [(1_200, 1_201, "client_gave_up"), (1, 1_200, "server_closed")] {
        let mut http = unanswered(Role::Client, 0, 0, Outcome::NoResponse);
        (http.time, http.exchange.timing.total_us) = (at(1_300), 1_200_000);
        let segments = vec![
            segment(Role::Client, Direction::Out, Flags::FIN, client_ms),
            segment(Role::Client, Direction::In, Flags::FIN, server_ms),
        ];
        let history = lived(segments, vec![http], summary(Role::Client, By::Local, How::Fin));
        let findings = Host::new().judge_with("no_response", &history);
        assert_eq!(findings[0].cause.as_deref(), Some(expected));
    }
}
