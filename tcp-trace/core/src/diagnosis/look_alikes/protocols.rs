//! Scenes of what the two ends of a connection speak: TLS handshakes, and different protocols.

use tcp_trace_model::{
    event::Role,
    record::{By, Connection, How, HttpTotals, Outcome, TlsEnd, TlsOutcome},
};

use super::{
    Scene, Scenes,
    connects::{ended, refused},
};
use crate::diagnosis::{
    rules::tls_handshake::testing::handshake,
    testing_http::{at, cut, summary, unanswered},
};

fn tls(by: By, outcome: TlsOutcome, alert: Option<(TlsEnd, Option<&str>, bool)>) -> Scene {
    ended(handshake(Role::Client, by, outcome, alert))
}

fn alerted(by: TlsEnd, name: &str, is_fatal: bool) -> Scene {
    tls(By::Local, TlsOutcome::Alert, Some((by, Some(name), is_fatal)))
}

fn spoke(protocol: &str, answered: Option<&str>) -> Connection {
    let mut end = summary(Role::Client, By::Peer, How::Fin);
    (end.protocol, end.answer_protocol) = (Some(protocol.to_owned()), answered.map(str::to_owned));
    end
}

pub(super) const SCENES: &[Scenes] = &[
    Scenes {
        code: "tls_handshake",
        fault: (
            "the client does not know the certificate's issuer",
            || alerted(TlsEnd::Client, "unknown_ca", true),
            &["tls_handshake/unknown_ca"],
        ),
        twin: ("it is established", || tls(By::Local, TlsOutcome::Established, None)),
        look_alikes: &[
            (
                "the server does not have the name",
                || alerted(TlsEnd::Server, "unrecognized_name", true),
                &["tls_handshake/unrecognized_name"],
            ),
            (
                "a warning about the name, and data passes",
                || {
                    let warning = Some((TlsEnd::Server, Some("unrecognized_name"), false));
                    tls(By::Local, TlsOutcome::Established, warning)
                },
                &[],
            ),
            (
                "the server's answer is not TLS",
                || {
                    let mut end = handshake(Role::Client, By::Peer, TlsOutcome::NotTls, None);
                    end.answer_protocol = Some("http".to_owned());
                    ended(end)
                },
                &["wrong_protocol/tls_answered_in_http"],
            ),
            (
                "the server never answers",
                || tls(By::Local, TlsOutcome::Closed, None),
                &["tls_handshake/unanswered"],
            ),
            (
                "the client gives up at once",
                || {
                    let mut end = handshake(Role::Client, By::Local, TlsOutcome::Closed, None);
                    end.closed = Some(at(300));
                    ended(end)
                },
                &[],
            ),
            (
                "the server closes in place of a hello",
                || tls(By::Peer, TlsOutcome::Closed, None),
                &["tls_handshake/closed_by_server"],
            ),
            (
                "the server has not answered yet",
                || {
                    let mut end = handshake(Role::Client, By::None, TlsOutcome::Open, None);
                    (end.open, end.closed, end.close.how) = (true, None, How::Open);
                    ended(end)
                },
                &["tls_handshake/waiting"],
            ),
            ("what was not seen", || tls(By::Local, TlsOutcome::Unknown, None), &[]),
            ("the connect is refused", refused, &["connect_refused/refused"]),
        ],
    },
    Scenes {
        code: "wrong_protocol",
        fault: (
            "TLS to a port that speaks HTTP",
            || ended(spoke("tls", Some("http"))),
            &["wrong_protocol/tls_answered_in_http"],
        ),
        twin: ("both speak TLS", || ended(spoke("tls", None))),
        look_alikes: &[
            (
                "TLS through an HTTP tunnel",
                || {
                    let mut end = spoke("tls", Some("http"));
                    end.http = Some(HttpTotals { requests: 1, surplus: 0, protocol: "http/1.1".to_owned() });
                    ended(end)
                },
                &[],
            ),
            (
                "HTTP to a server that closes without a word",
                || {
                    let http = unanswered(Role::Client, 0, 0, Outcome::NoResponse);
                    Scene::lived(Vec::new(), vec![http], spoke("http", None))
                },
                &["no_response/server_closed"],
            ),
            (
                "HTTP whose answer is cut",
                || Scene::lived(Vec::new(), vec![cut(Role::Client, Outcome::Truncated)], spoke("http", None)),
                &["response_cut/closed"],
            ),
        ],
    },
];
