//! Exchanges of both ends: none is taken for another one.

use std::sync::Arc;

use tcp_trace_model::{
    event::Role,
    http2::Stream,
    record::{ConnectionId, ConnectionInfo, Exchange, ExchangeTls, Http, Timing, TlsLink},
};

use super::*;

/// An exchange that an end saw: its position, its target, and when it began and ended, in milliseconds.
fn http(role: Role, (index, target): (u64, &str), (from, until): (u64, u64)) -> Http {
    let id = ConnectionId::of_socket(if role == Role::Client { 1 } else { 2 }, 0);
    let request = Request {
        method: "GET".into(),
        target: target.into(),
        version: None,
        headers: tcp_trace_model::record::Fields::new(),
        header_size: 0,
        body: tcp_trace_model::record::Body::default(),
    };
    let timing = Timing {
        started: Time(from * 1_000_000),
        total_us: (until - from) * 1_000,
        idle_us: Some(1_000),
        ..Timing::default()
    };
    Http {
        time: Time(until * 1_000_000),
        connection: Arc::new(ConnectionInfo { role: Some(role), ..ConnectionInfo::new(id) }),
        exchange: Box::new(Exchange { index, request: Some(request), timing, ..Exchange::default() }),
    }
}

fn client(index: u64, target: &str, times: (u64, u64)) -> Http {
    http(Role::Client, (index, target), times)
}

fn server(index: u64, target: &str, times: (u64, u64)) -> Http {
    http(Role::Server, (index, target), times)
}

/// The same, read from calls of a TLS library.
fn called(mut http: Http) -> Http {
    http.exchange.tls = Some(ExchangeTls { link: TlsLink::NestedSyscall });
    http
}

fn on_stream(id: u32, mut http: Http) -> Http {
    http.exchange.stream = Some(Box::new(Stream { id, ..Stream::default() }));
    http
}

/// For each of the server's, the position of the client's.
fn pairs(clients: &[Http], servers: &[Http], is_from_start: bool) -> Vec<Option<u64>> {
    let (clients, servers): (Vec<_>, Vec<_>) = (clients.iter().collect(), servers.iter().collect());
    let found = at_client(&clients, &servers, is_from_start);
    found.into_iter().map(|client| client.map(|http| http.exchange.index)).collect()
}

#[test]
fn ends_that_were_read_from_the_first_byte_count_alike() {
    let clients = [client(0, "/", (10, 20)), client(1, "/", (30, 40)), client(2, "/", (30, 50))];
    let servers = [server(0, "/", (12, 18)), server(1, "/", (31, 39)), server(2, "/", (31, 49))];
    assert_eq!(pairs(&clients, &servers, true), [Some(0), Some(1), Some(2)]);
}

#[test]
fn a_server_whose_calls_were_seen_later_has_not_the_client_s_first_exchanges() {
    let clients =
        [(0, (10, 20)), (1, (30, 40)), (2, (50, 90))].map(|(index, times)| called(client(index, "/", times)));
    for (began, expected) in [
        ([31, 55], [Some(1), Some(2)]),
        // The call that sent it was noted after the one that read it.
        ([29, 49], [Some(1), Some(2)]),
        // Neither is sure.
        ([51, 55], [None, None]),
        // Between two exchanges, and after all.
        ([22, 95], [None, None]),
    ] {
        let servers = [0, 1].map(|index| {
            let from = began[index as usize];
            called(server(index, "/", (from, from + 1)))
        });
        assert_eq!(pairs(&clients, &servers, true), expected, "{began:?}");
    }
}

#[test]
fn requests_that_differ_are_not_one() {
    let clients = [("/a", (10, 90)), ("/b", (11, 90)), ("/b", (12, 90))];
    let clients = clients.map(|(target, times)| called(client(0, target, times)));
    let servers = ["/a", "/b", "/c"].map(|target| called(server(0, target, (20, 80))));
    assert_eq!(pairs(&clients, &servers, true), [Some(0), None, None]);
}

#[test]
fn what_the_client_gave_up_may_be_read_later() {
    let mut given_up = called(client(3, "/", (30, 40)));
    given_up.exchange.outcome = Outcome::NoResponse;
    let clients = [called(client(2, "/", (10, 20))), given_up];
    let servers = [called(server(0, "/", (11, 12))), called(server(1, "/", (60, 70)))];
    assert_eq!(pairs(&clients, &servers, true), [Some(2), Some(3)]);
}

#[test]
fn streams_have_their_numbers_whatever_was_seen_before() {
    let clients =
        [(0, 1), (1, 3), (2, 5)].map(|(index, id)| on_stream(id, called(client(index, "/", (10, 90)))));
    let servers =
        [(0, 3), (1, 5), (2, 7)].map(|(index, id)| on_stream(id, called(server(index, "/", (11, 80)))));
    assert_eq!(pairs(&clients, &servers, false), [Some(1), Some(2), None]);
}
