//! Scenes of HTTP/2: streams for which the server does nothing, windows, and connections that are not used again.

use tcp_trace_model::{
    event::Role,
    http2::{Blocked, ErrorCode, Stream, StreamDetails},
    record::{By, Connection, Http, Outcome, Record},
};

use super::{Scene, Scenes, http::receives};
use crate::diagnosis::{
    rules::{
        not_reused::testing::single,
        refused_streams::testing::{behind, connection, request_on, reset},
    },
    testing::Host,
    testing_http::{exchange, summary, unanswered},
};

fn client(http: Http, end: Connection) -> Scene {
    Scene::lived(Vec::new(), vec![http], end)
}

fn crossed() -> Scene {
    let error = ErrorCode::NO_ERROR;
    client(request_on(Role::Client, 3, 99, behind(error)), connection(Role::Client, error, 2))
}

/// A request whose stream was reset so, while so many were open; 10 are allowed.
fn after_reset(by: Role, error: ErrorCode, at_once: u32) -> Scene {
    let http = request_on(Role::Client, 3, 99, reset(by, error, at_once));
    client(http, connection(Role::Client, ErrorCode::NO_ERROR, 12))
}

/// A connection that the server closes without a GOAWAY, with a request on it.
fn closed_without_goaway() -> Scene {
    let http = request_on(Role::Client, 3, 99, StreamDetails::default());
    let mut end = connection(Role::Client, ErrorCode::NO_ERROR, 2);
    if let Some(http2) = &mut end.http2 {
        http2.goaway.clear();
    }
    client(http, end)
}

/// An exchange of 2 s whose response waited so for windows of HTTP/2.
fn blocked(stream_us: u64, connection_us: u64) -> Scene {
    blocked_at(0, stream_us, connection_us)
}

/// The same, as the exchange of its connection with this number.
fn blocked_at(index: u64, stream_us: u64, connection_us: u64) -> Scene {
    let mut http = exchange(Role::Client, index, 0);
    receives(&mut http, None);
    let blocked = Some(Blocked { stream_us, connection_us });
    let details = StreamDetails { response_blocked: blocked, ..StreamDetails::default() };
    http.exchange.stream = Some(Box::new(Stream { id: 1, details, grpc: None }));
    Scene { records: vec![Record::Http(http)], ..Scene::of(Host::new()) }
}

/// Thirty connections with one request each, one every so many milliseconds.
fn singles(every_ms: u64, connect_us: u64, set: fn(&mut Http, &mut Connection)) -> Scene {
    (0..30).fold(Scene::of(Host::new()), |scene, number| {
        let (mut http, mut end) = single(number, number * every_ms, connect_us, By::Local);
        set(&mut http, &mut end);
        scene.and(Vec::new(), vec![http], end)
    })
}

pub(super) const SCENES: &[Scenes] = &[
    Scenes {
        code: "goaway_race",
        fault: ("a request crosses the server's GOAWAY", crossed, &["goaway_race/crossed"]),
        twin: ("the server ends a connection that is idle", || {
            client(exchange(Role::Client, 0, 0), connection(Role::Client, ErrorCode::NO_ERROR, 1))
        }),
        look_alikes: &[
            (
                "the client had the GOAWAY",
                || {
                    let error = ErrorCode::NO_ERROR;
                    let http = request_on(Role::Client, 3, 201, behind(error));
                    client(http, connection(Role::Client, error, 2))
                },
                &["goaway_race/sent_after_goaway"],
            ),
            (
                "the server refuses the stream alone",
                || after_reset(Role::Server, ErrorCode::REFUSED_STREAM, 2),
                &["stream_refused/refused"],
            ),
            ("the server closes without a word", closed_without_goaway, &["no_response/server_closed"]),
            (
                "a connection of HTTP/1 is closed as the request comes",
                || {
                    let http = unanswered(Role::Client, 0, 0, Outcome::NoResponse);
                    client(http, summary(Role::Client, By::Peer, tcp_trace_model::record::How::Fin))
                },
                &["no_response/server_closed"],
            ),
        ],
    },
    Scenes {
        code: "stream_refused",
        fault: (
            "more streams than the server allows",
            || after_reset(Role::Server, ErrorCode::REFUSED_STREAM, 11),
            &["stream_refused/too_many_streams"],
        ),
        twin: ("as many as it allows", || {
            client(exchange(Role::Client, 0, 0), connection(Role::Client, ErrorCode::NO_ERROR, 10))
        }),
        look_alikes: &[
            (
                "the server refuses a stream that it allows",
                || after_reset(Role::Server, ErrorCode::REFUSED_STREAM, 10),
                &["stream_refused/refused"],
            ),
            ("the client cancels", || after_reset(Role::Client, ErrorCode::CANCEL, 11), &[]),
            ("a request crosses the server's GOAWAY", crossed, &["goaway_race/crossed"]),
        ],
    },
    Scenes {
        code: "flow_control",
        fault: (
            "a response that is not read holds another one up",
            || {
                let mut scene = blocked(1_500_000, 1_500_000);
                scene.records.extend(blocked_at(1, 0, 1_500_000).records);
                scene
            },
            &["flow_control/connection_window"],
        ),
        twin: ("a window that is enlarged in time", || blocked(1_000, 1_000)),
        look_alikes: &[
            (
                "the client does not read this response",
                || blocked(1_500_000, 100_000),
                &["flow_control/stream_window"],
            ),
            (
                "the window of TCP is full",
                || {
                    let mut http = exchange(Role::Client, 0, 0);
                    receives(&mut http, super::http::stall(0, 1_800_000));
                    Scene { records: vec![Record::Http(http)], ..Scene::of(Host::new()) }
                },
                &["slow_reader/client_does_not_read"],
            ),
            (
                "segments are lost",
                || {
                    let mut http = exchange(Role::Client, 0, 0);
                    receives(&mut http, super::http::stall(1_800_000, 0));
                    Scene { records: vec![Record::Http(http)], ..Scene::of(Host::new()) }
                },
                &["slow_network/retransmits"],
            ),
        ],
    },
    Scenes {
        code: "not_reused",
        fault: (
            "a client closes after each request",
            || singles(30, 2_000, |_, _| {}),
            &["not_reused/client_closes"],
        ),
        twin: ("as many at the same time", || singles(0, 2_000, |_, _| {})),
        look_alikes: &[
            (
                "the server says close",
                || {
                    singles(30, 2_000, |http, _| {
                        if let Some(response) = &mut http.exchange.response {
                            let close = [(&b"Connection"[..], &b"close"[..])];
                            response.headers = close.into_iter().collect();
                        }
                    })
                },
                &["not_reused/said_close"],
            ),
            (
                "tunnels and WebSockets",
                || singles(30, 2_000, |http, _| http.exchange.outcome = Outcome::Upgraded),
                &[],
            ),
            ("on one host it costs nothing", || singles(30, 100, |_, _| {}), &[]),
            (
                "two requests on each",
                || {
                    singles(30, 2_000, |_, end| {
                        if let Some(http) = &mut end.http {
                            http.requests = 2;
                        }
                    })
                },
                &[],
            ),
        ],
    },
];
