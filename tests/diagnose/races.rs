//! Requests that meet the end of their kept-alive connection on the way, and those that do not.

use std::{
    io::Read as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::{io::Errno, net::sockopt};
use tcp_trace_model::{event::Flags, record::Finding};
use tcp_trace_tests::{
    FIN_ACK, SYN_ACK, TimeWindow, assert_between, free_port, number, wait_for, while_doing,
};

use crate::{
    closes::Place,
    connects::tracing,
    http::{GET, OK, assert_code, exchange, pair, receive, recorded, send, waits},
};

const POST: &[u8] = b"POST /pay HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
const IDLE: Duration = Duration::from_millis(300);
/// Between SYN and SYN+ACK, at least: far longer than a segment of the test's takes.
const ROUND_TRIP: Duration = Duration::from_millis(300);

/// Since when the connection was idle, and until when: until the request, and until the server's end.
#[derive(Clone, Copy)]
pub(crate) struct Idle {
    response: TimeWindow,
    request: TimeWindow,
    closed: TimeWindow,
}

fn assert_idle(finding: &Finding, idle: Option<Idle>) {
    let Idle { response, request, closed } = idle.expect("it was done");
    assert_between(number(finding, "client_reused_after_idle_us"), response, request, finding);
    assert_between(number(finding, "server_closed_after_idle_us"), response, closed, finding);
}

fn fails(client: &TcpStream) {
    assert!({ client }.read(&mut [0]).is_err(), "the server's kernel resets it");
}

/// The request is in the receive queue of a server that closes without reading it, or that reads it.
pub(crate) fn unread(port: u16, is_read: bool) -> Idle {
    let (client, server) = pair(port);
    let response = exchange(&client, &server).response;
    waits(&server, IDLE);
    let request = while_doing(|| send(&client, POST));
    wait_for("the request in the server's queue", || {
        (rustix::io::ioctl_fionread(&server).expect("it is a socket") == POST.len() as u64).then_some(())
    });
    if is_read {
        receive(&server, POST.len());
        send(&server, OK);
        receive(&client, OK.len());
    }
    let closed = while_doing(|| drop(server));
    if !is_read {
        fails(&client);
    }
    Idle { response, request, closed }
}

#[test]
fn a_request_that_the_server_closes_upon_unread_is_a_race() {
    let mut idle = None;
    let port = free_port();
    let traced = tracing(port, &[], || idle = Some(unread(port, false)));
    assert_code(traced.only(), "keepalive_race", "request_unread");
    assert_idle(traced.only(), idle);
    let port = free_port();
    let of_recording = recorded(port, 2, || idle = Some(unread(port, false)));
    assert_code(of_recording.only(), "keepalive_race", "request_unread");
    assert_idle(of_recording.only(), idle);
}

#[test]
fn a_request_that_is_read_before_the_close_is_fine() {
    let port = free_port();
    tracing(port, &[], || {
        unread(port, true);
    })
    .expect_none();
}

/// What a server at the other end of the wire does when it has been idle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Its FIN is on its way when the request is sent.
    Crosses,
    /// Its FIN is sent a round trip after the request, with no response.
    Closes,
    /// It answers.
    Answers,
}

fn at_a_wire(place: &Place, then: Then) -> Idle {
    let start = Instant::now();
    let (client, begun) = place.begin(place.server);
    assert_eq!(begun, Err(Errno::INPROGRESS));
    let (mut peer, _) = place.wire.accept(place.server);
    // This is the round trip that the handshake has; nothing is waited for.
    std::thread::sleep(ROUND_TRIP);
    peer.send(SYN_ACK);
    peer.expect(Flags::ACK);
    // No shorter than what the kernel measured, which is the longest round trip here.
    let round_trip = start.elapsed();
    client.set_nonblocking(false).expect("a socket can wait");
    send(&client, GET);
    peer.expect(Flags::ACK);
    let response = peer.send_data(Flags::ACK, OK);
    receive(&client, OK.len());
    waits(&client, IDLE);
    let request = while_doing(|| send(&client, POST));
    if then != Then::Crosses {
        // Of its acknowledgment of the response and of the request, the last has data.
        while peer.received.last().is_none_or(|last| last.payload != POST) {
            peer.expect(Flags::ACK);
        }
        peer.send(Flags::ACK);
        waits(&client, round_trip + round_trip / 2);
    }
    if then == Then::Answers {
        peer.send_data(Flags::ACK, OK);
        receive(&client, OK.len());
    }
    let closed = peer.send(FIN_ACK);
    let idle = Idle { response, request, closed };
    assert_eq!((&client).read(&mut [0]).expect("it ends"), 0);
    if then == Then::Crosses {
        // The server's kernel has no reader for the request.
        peer.send(Flags::RST);
        wait_for("the RST", || {
            sockopt::socket_error(&client).is_ok_and(|error| error.is_err()).then_some(())
        });
        return idle;
    }
    drop(client);
    peer.expect(FIN_ACK);
    peer.send(Flags::ACK);
    wait_for("the end", || place.namespace.states(place.server.port()).is_empty().then_some(()));
    idle
}

#[test]
fn a_request_that_crosses_the_servers_fin_is_a_race() {
    let mut idle = None;
    let place = Place::new();
    let traced = tracing(place.server.port(), &[], || idle = Some(at_a_wire(&place, Then::Crosses)));
    assert_code(traced.only(), "keepalive_race", "crossed");
    assert_idle(traced.only(), idle);
    let place = Place::new();
    let of_recording = recorded(place.server.port(), 1, || idle = Some(at_a_wire(&place, Then::Crosses)));
    assert_code(of_recording.only(), "keepalive_race", "crossed");
    assert_idle(of_recording.only(), idle);
}

#[test]
fn a_fin_that_comes_later_than_a_round_trip_is_no_race() {
    let place = Place::new();
    let diagnosis = tracing(place.server.port(), &[], || {
        at_a_wire(&place, Then::Closes);
    });
    assert_code(diagnosis.only(), "no_response", "server_closed");
    let place = Place::new();
    tracing(place.server.port(), &[], || {
        at_a_wire(&place, Then::Answers);
    })
    .expect_none();
}
