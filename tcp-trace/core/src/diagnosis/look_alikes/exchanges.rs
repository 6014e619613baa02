//! Scenes of exchanges that failed.

use std::sync::Arc;

use tcp_trace_model::{
    event::{Direction, Flags, Role},
    record::{By, Connection, Ended, How, Http, KernelSocket, Message, Outcome, Part, Record, Stalls},
};

use super::{Scene, Scenes};
use crate::diagnosis::testing_http::{at, cut, exchange, id, info, segment, summary, unanswered};

/// The size of a request of [`exchange`], in bytes.
const REQUEST: u32 = 160;

fn client(by: By, how: How) -> Connection {
    let mut end = summary(Role::Client, by, how);
    end.peer_connection = Some(id(Role::Server));
    end
}

/// The server's end, that its own kernel ended so, with this unread.
fn server(how: How, unread: u32) -> Connection {
    let mut end = summary(Role::Server, By::Local, how);
    (end.receive_queue, end.first_used) = (unread, Some(at(1)));
    end.peer_connection = Some(id(Role::Client));
    end
}

/// The same exchanges as the server's end saw them.
fn at_server(exchanges: &[Http]) -> Vec<Http> {
    let of = |http: &Http| Http { connection: Arc::new(info(Role::Server)), ..http.clone() };
    exchanges.iter().map(of).collect()
}

/// Both ends of these exchanges; the server's FIN or RST left it at this millisecond, and came 10 ms later.
fn both(exchanges: &[Http], (flags, ms): (Flags, u64), client: Connection, server: Connection) -> Scene {
    let came = vec![segment(Role::Client, Direction::In, flags, ms + 10)];
    let left = vec![segment(Role::Server, Direction::Out, flags, ms)];
    Scene::lived(came, exchanges.to_vec(), client).and(left, at_server(exchanges), server)
}

/// An exchange, and one behind it on the same connection 5 s later that is not answered.
fn reused() -> [Http; 2] {
    let mut second = unanswered(Role::Client, 1, 5_000, Outcome::Reset);
    second.exchange.timing.idle_us = Some(4_990_000);
    [exchange(Role::Client, 0, 0), second]
}

/// The same; the server closes at this time, with so many bytes unread.
fn race(ms: u64, unread: u32) -> Scene {
    both(&reused(), (Flags::RST, ms), client(By::Peer, How::Rst), server(How::Rst, unread))
}

/// The same, behind a response that said that the connection ends.
fn after_close() -> Scene {
    let mut exchanges = reused();
    let response = exchanges[0].exchange.response.as_mut().unwrap();
    response.headers.push("Connection", "close");
    both(&exchanges, (Flags::RST, 5_012), client(By::Peer, How::Rst), server(How::Rst, REQUEST))
}

/// The same, behind a 408 with which the server closed the idle connection at 4 s.
fn after_408() -> Scene {
    let [first, mut request] = reused();
    let mut lone = exchange(Role::Client, 1, 4_000);
    lone.exchange.request = None;
    lone.exchange.timing.idle_us = Some(3_990_000);
    let response = lone.exchange.response.as_mut().unwrap();
    response.status_code = 408;
    response.headers.push("Connection", "close");
    request.exchange.index = 2;
    request.exchange.timing.idle_us = Some(990_000);
    let exchanges = [first, lone, request];
    both(&exchanges, (Flags::FIN, 4_000), client(By::Peer, How::Rst), server(How::Rst, 0))
}

/// The first request of a connection without an answer, that ends so at both ends.
fn silent(flags: Flags, client: Connection, server: Connection) -> Scene {
    let mut http = unanswered(Role::Client, 0, 1_000, Outcome::NoResponse);
    (http.time, http.exchange.timing.total_us) = (at(4_000), 3_000_000);
    both(&[http], (flags, 4_000), client, server)
}

fn closed_by_server() -> Scene {
    silent(Flags::FIN, client(By::Peer, How::Fin), server(How::Fin, 0))
}

/// The client still waits; the server's socket has so many bytes unread, or nobody has accepted it.
fn waits(unread: u32, is_accepted: bool) -> Scene {
    let mut server = summary(Role::Server, By::None, How::Open);
    server.peer_connection = Some(id(Role::Client));
    let socket = KernelSocket { receive_queue: unread, no_file: !is_accepted, ..KernelSocket::default() };
    server.socket = Some(Box::new(socket));
    silent(Flags::ACK, client(By::None, How::Open), server)
}

/// A response to a request whose body was not sent to its end: the server closes with so many bytes of that unread.
fn answered_early(unread: u32) -> Scene {
    let mut http = exchange(Role::Client, 0, 0);
    http.exchange.outcome = Outcome::Reset;
    http.exchange.ended = Some(Ended { message: Message::Request, part: Part::Body, offset: 100 });
    both(&[http], (Flags::RST, 500), client(By::Peer, How::Rst), server(How::Rst, unread))
}

/// A response that is cut; whose ends closed so.
fn cut_off(outcome: Outcome, flags: Flags, by: By, how: How) -> Scene {
    let at_server = if by == By::Local { By::Peer } else { By::Local };
    let mut server = server(how, 0);
    server.close.by = at_server;
    both(&[cut(Role::Client, outcome)], (flags, 500), client(by, how), server)
}

/// A client that closes so long behind the answer, with so many bytes of it unread.
fn closes_unread(unread: u32, ms: u64) -> Scene {
    let mut client = client(By::Local, How::Rst);
    (client.receive_queue, client.closed) = (unread, Some(at(ms)));
    Scene::lived(Vec::new(), vec![exchange(Role::Client, 0, 0)], client)
}

fn went_well() -> Scene {
    let exchanges = [exchange(Role::Client, 0, 0), exchange(Role::Client, 1, 5_000)];
    both(&exchanges, (Flags::FIN, 9_000), client(By::Peer, How::Fin), server(How::Fin, 0))
}

pub(super) const SCENES: &[Scenes] = &[
    Scenes {
        code: "response_cut",
        fault: (
            "the server closes before the end",
            || cut_off(Outcome::Truncated, Flags::FIN, By::Peer, How::Fin),
            &["response_cut/closed"],
        ),
        twin: ("whole responses", went_well),
        look_alikes: &[
            ("the client cancels", || cut_off(Outcome::Truncated, Flags::RST, By::Local, How::Rst), &[]),
            (
                "an answer before the request was read",
                || answered_early(2_048),
                &["unread_data_reset/closed_with_unread_data"],
            ),
            ("not even a head came", closed_by_server, &["no_response/server_closed"]),
            (
                "the client had not read for long when the server closed",
                || {
                    let mut scene = cut_off(Outcome::Truncated, Flags::FIN, By::Peer, How::Fin);
                    for record in &mut scene.records {
                        if let Record::Http(http) = record {
                            http.exchange.timing.total_us = 60_000_000;
                            let receive = super::http::stall(0, 59_000_000);
                            http.exchange.timing.stalls = Some(Stalls { receive, ..Stalls::default() });
                        }
                    }
                    scene
                },
                &["response_cut/client_not_reading"],
            ),
        ],
    },
    Scenes {
        code: "unread_data_reset",
        fault: (
            "the server answers early and closes with the body unread",
            || answered_early(2_048),
            &["unread_data_reset/closed_with_unread_data"],
        ),
        twin: ("the body is read", went_well),
        look_alikes: &[
            (
                "exactly the next request is unread",
                || race(5_012, REQUEST),
                &["keepalive_race/request_unread"],
            ),
            (
                "the client closes with the answer unread",
                || closes_unread(140, 9_000),
                &["answer_not_read/closed_unread"],
            ),
            (
                "the process ended, whatever was unread",
                || {
                    let mut server = server(How::Rst, REQUEST);
                    server.close.process_ended = true;
                    silent(Flags::RST, client(By::Peer, How::Rst), server)
                },
                &["no_response/server_process_ended"],
            ),
        ],
    },
    Scenes {
        code: "no_response",
        fault: ("the server closes without an answer", closed_by_server, &["no_response/server_closed"]),
        twin: ("answered", went_well),
        look_alikes: &[
            (
                "the connection was kept, and the server's end was under way",
                || race(4_995, 0),
                &["keepalive_race/crossed"],
            ),
            (
                "the response before had ended the connection",
                after_close,
                &["used_after_close/connection_was_ended"],
            ),
            (
                "a part of the answer came",
                || cut_off(Outcome::Truncated, Flags::FIN, By::Peer, How::Fin),
                &["response_cut/closed"],
            ),
            ("nobody reads the request", || waits(REQUEST, true), &["no_response/request_not_read"]),
            (
                "nobody accepts the connection",
                || waits(REQUEST, false),
                &["no_response/connection_not_accepted"],
            ),
        ],
    },
    Scenes {
        code: "used_after_close",
        fault: (
            "a request behind a response that said close",
            after_close,
            &["used_after_close/connection_was_ended"],
        ),
        twin: ("nobody said close", went_well),
        look_alikes: &[
            ("nobody said close", || race(5_012, REQUEST), &["keepalive_race/request_unread"]),
            (
                "a 408 without a request said close, as the connection was idle for too long",
                after_408,
                &["keepalive_race/already_closed", "gateway_errors/request_not_sent"],
            ),
            ("the connection was new", closed_by_server, &["no_response/server_closed"]),
        ],
    },
    Scenes {
        code: "keepalive_race",
        fault: (
            "the server closes an idle connection as it is used",
            || race(5_012, REQUEST),
            &["keepalive_race/request_unread"],
        ),
        twin: ("it is used in time", went_well),
        look_alikes: &[
            ("the response before had said close", after_close, &["used_after_close/connection_was_ended"]),
            ("the connection was new", closed_by_server, &["no_response/server_closed"]),
            (
                "more than the request is unread",
                || race(5_012, 5_000),
                &["unread_data_reset/closed_with_unread_data"],
            ),
            (
                "the server's process ended",
                || {
                    let mut server = server(How::Rst, REQUEST);
                    server.close.process_ended = true;
                    both(&reused(), (Flags::RST, 4_999), client(By::Peer, How::Rst), server)
                },
                &["keepalive_race/server_stopped"],
            ),
        ],
    },
    Scenes {
        code: "answer_not_read",
        fault: (
            "the client closes with the whole answer unread",
            || closes_unread(140, 9_000),
            &["answer_not_read/closed_unread"],
        ),
        twin: ("it is read", went_well),
        look_alikes: &[
            (
                "the client cancels in the middle",
                || cut_off(Outcome::Truncated, Flags::RST, By::Local, How::Rst),
                &[],
            ),
            ("it closes as the answer comes", || closes_unread(140, 11), &[]),
            (
                "it is the server that closes with data unread",
                || answered_early(2_048),
                &["unread_data_reset/closed_with_unread_data"],
            ),
        ],
    },
];
