//! Tests of servers that close with data unread.

use tcp_trace_model::{
    event::Role,
    record::{By, Ended, Fact, How, Http, Message, Outcome, Part},
};

use crate::diagnosis::{
    testing::Host,
    testing_http::{exchange, id, life, lived, summary, unanswered},
};

/// A response to a request whose body was not sent to its end.
fn answered_early(role: Role) -> Http {
    let mut http = exchange(role, 0, 0);
    http.exchange.outcome = Outcome::Reset;
    http.exchange.ended = Some(Ended { message: Message::Request, part: Part::Body, offset: 100 });
    http
}

#[test]
fn the_server_and_what_it_left_are_reported() {
    let mut client = summary(Role::Client, By::Peer, How::Rst);
    client.peer_connection = Some(id(Role::Server));
    let mut history = lived(Vec::new(), vec![answered_early(Role::Client)], client);
    let mut server = summary(Role::Server, By::Local, How::Rst);
    server.receive_queue = 2_048;
    server.peer_connection = Some(id(Role::Client));
    life(&mut history, Vec::new(), vec![answered_early(Role::Server)], server);
    let findings = Host::new().judge_with("unread_data_reset", &history);
    let expected = "1 request from client (pid 5) to 10.0.0.1:8080 got an RST: the server closed with 2.00 KiB of \
                    received data unread.";
    assert_eq!(findings[0].summary, expected);
    assert_eq!(findings[0].evidence.get("answered_before"), Some(&Fact::Number(1)));
    assert_eq!(findings[0].evidence.get("server"), Some(&"api (pid 6)".into()));
    assert_eq!(findings[0].connections[0].notes, ["POST /pay: answered 200, 2.00 KiB unread at the server"]);
}

#[test]
fn a_remote_client_suffers_too() {
    let mut server = summary(Role::Server, By::Local, How::Rst);
    server.receive_queue = 100;
    let history = lived(Vec::new(), vec![unanswered(Role::Server, 0, 0, Outcome::Reset)], server);
    let findings = Host::new().judge_with("unread_data_reset", &history);
    assert!(findings[0].summary.starts_with("1 request to api (pid 6) at 10.0.0.1:8080 got"));
}

#[test]
fn what_was_read_and_what_the_client_left_are_fine() {
    let mut client = summary(Role::Client, By::Local, How::Rst);
    client.receive_queue = 100;
    let read = summary(Role::Server, By::Local, How::Rst);
    for (role, end) in [(Role::Client, client), (Role::Server, read)] {
        let history = lived(Vec::new(), vec![answered_early(role)], end);
        assert_eq!(Host::new().judge_with("unread_data_reset", &history), []);
    }
}
