//! TLS handshakes that fail: what an end says is wrong, and those that nobody answers.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace_model::{
    event::Role,
    record::{By, Connection, Evidence, Finding, How, Text, Tls, TlsAlert, TlsEnd, TlsOutcome},
};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::between_ends,
    failed_exchanges::{Listeners, Stop},
    finding::{named, of_first, traced},
    resets::Origin,
    silence::{self, Ends, Silence},
};
use crate::prose::{Micros, counted};

/// How long a client waits for the server's hello, at least, when that is a fault and not a change of mind, in microseconds.
const WAIT_US: u64 = 1_000_000;

/// Why handshakes failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    /// An end sent this alert; whether it was the client, and which, if it was not encrypted.
    Alert(bool, Option<String>),
    /// The client closed after it had waited for the server's hello; why none came, as far as it is known.
    Unanswered(Silence),
    /// The client waits for the server's hello as the trace ends; likewise.
    Waiting(Silence),
    /// The server closed in place of a hello.
    Closed,
    /// An RST came in place of a hello.
    Reset(Origin),
    /// The server's process ended before its hello.
    ServerEnded,
}

/// Why, the server, the name that the client wants, and the program of the end that says it.
type Key<'a> = (Failure, SocketAddr, Option<&'a Text>, Option<&'a Text>);

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let mut groups = BTreeMap::<Key<'_>, Vec<&Connection>>::new();
    let listeners = Listeners::of(facts.history);
    for summary in facts.history.lives().filter_map(|life| life.summary.as_deref()) {
        if !findings.explain(summary.connection.id)
            && let Some(key) = key(facts, &listeners, thresholds, summary)
        {
            groups.entry(key).or_default().push(summary);
        }
    }
    for (key, cases) in &groups {
        cases.iter().for_each(|case| findings.claim(facts, case.connection.id));
        findings.push(finding(facts, thresholds, key, cases));
    }
}

/// `None` where the handshake did not fail, and of a server's end whose client's end says it too.
fn key<'a>(
    facts: &Facts<'_>,
    listeners: &Listeners,
    thresholds: &Thresholds,
    summary: &'a Connection,
) -> Option<Key<'a>> {
    let tls = summary.tls.as_deref()?;
    // Inside a tunnel it is not this server that answers.
    if summary.http.is_some() || summary.socks.is_some() {
        return None;
    }
    let failure = failure(thresholds, summary, tls)?;
    let (network, is_server) = (summary.connection.network?, summary.connection.role == Some(Role::Server));
    let other = facts.other_life(summary.connection.id).and_then(|life| life.summary.as_deref());
    // Then somebody between them closed it.
    if failure == Failure::Closed && other.is_some_and(|other| other.close.by == By::Peer) {
        return None;
    }
    let at_server = if is_server { Some(summary) } else { other };
    let silence = |stop| {
        let ends = Ends {
            client: if is_server { other } else { Some(summary) },
            server: at_server,
            behind: 0,
            shows_accepts: at_server.is_some_and(|server| listeners.show_accepts(server)),
        };
        silence::of_first_bytes(stop, ends, waited_us(summary, tls).unwrap_or_default())
    };
    let failure = match failure {
        Failure::Unanswered(_) => Failure::Unanswered(silence(Stop::GaveUp)),
        Failure::Waiting(_) => Failure::Waiting(silence(Stop::Waiting)),
        Failure::Closed if at_server.is_some_and(|it| it.close.process_ended) => Failure::ServerEnded,
        Failure::Closed if summary.close.how == How::Rst => Failure::Reset(Origin::of(at_server)),
        failure => failure,
    };
    let is_reported = other.is_some_and(|other| {
        other.tls.as_deref().and_then(|tls| self::failure(thresholds, other, tls)).is_some()
    });
    if is_server && is_reported {
        return None;
    }
    let server = if is_server { network.local } else { network.peer };
    let server = SocketAddr::new(server.address, server.port);
    Some((failure, server, tls.client.server_name.as_ref(), summary.connection.program()))
}

fn failure(thresholds: &Thresholds, summary: &Connection, tls: &Tls) -> Option<Failure> {
    match tls.outcome {
        TlsOutcome::Alert => {
            let alert = fatal(tls)?;
            Some(Failure::Alert(alert.by == TlsEnd::Client, alert.name.as_deref().map(str::to_owned)))
        }
        TlsOutcome::Open if tls.timing.server_hello_us.is_none() && summary.open => {
            let waited_us = summary.time.micros_since(tls.timing.started);
            (waited_us >= thresholds.min_age_us).then_some(Failure::Waiting(Silence::Waiting))
        }
        TlsOutcome::Closed if tls.timing.server_hello_us.is_none() => {
            let by_client = match summary.connection.role {
                Some(Role::Server) => summary.close.by == By::Peer,
                _ => summary.close.by == By::Local,
            };
            let by_server = !by_client && matches!(summary.close.by, By::Local | By::Peer);
            if by_server {
                return Some(Failure::Closed);
            }
            (waited_us(summary, tls)? >= WAIT_US && by_client).then_some(Failure::Unanswered(Silence::GaveUp))
        }
        _ => None,
    }
}

/// The alert that ended it.
pub(super) fn fatal(tls: &Tls) -> Option<&TlsAlert> {
    tls.alerts.iter().find(|alert| alert.fatal != Some(false))
}

/// How long after its ClientHello it was closed.
fn waited_us(summary: &Connection, tls: &Tls) -> Option<u64> {
    let until = if summary.open { summary.time } else { summary.closed? };
    Some(until.micros_since(tls.timing.started))
}

fn finding<'a>(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    (failure, server, name, _): &Key<'_>,
    cases: &[&'a Connection],
) -> Finding {
    let process = |case: &&'a Connection| case.connection.process.as_deref();
    let between = between_ends(cases.iter().map(|case| &*case.connection), *server);
    let handshakes = counted(cases.len(), "TLS handshake");
    let tls = cases.first().and_then(|case| case.tls.as_deref());
    let waited = cases.iter().filter_map(|case| waited_us(case, case.tls.as_deref()?)).max();
    let (cause, what) = match failure {
        Failure::Alert(is_client, alert) => {
            let end = if *is_client { "client" } else { "server" };
            let cause = alert.clone().unwrap_or_else(|| format!("encrypted_alert_of_{end}"));
            // TLS 1.3 hides which records are alerts.
            let hidden = match tls.and_then(|tls| tls.version.as_deref()) {
                Some("1.3") => "what is by its length an encrypted alert",
                _ => "an encrypted alert",
            };
            let alert = alert.as_ref().map_or(hidden.to_owned(), |name| {
                format!("the alert {}", Text::from(name.as_str()).printable())
            });
            (cause, format!("failed: the {end} sent {alert}."))
        }
        Failure::Unanswered(silence) => {
            let waited = waited.map_or(String::new(), |us| format!(" for up to {}", Micros(us)));
            let (cause, because) = unanswered(*silence).unwrap_or(("unanswered", ""));
            (cause.to_owned(), format!("got no answer{because}: the client waited{waited} and closed."))
        }
        Failure::Waiting(silence) => {
            let (cause, because) = unanswered(*silence).unwrap_or(("waiting", ""));
            let have = if cases.len() == 1 { "has" } else { "have" };
            (cause.to_owned(), format!("{have} no answer yet{because}."))
        }
        Failure::Closed => {
            ("closed_by_server".to_owned(), "got no answer: the server closed in place of one.".to_owned())
        }
        Failure::Reset(_) => ("reset".to_owned(), "got no answer: an RST came in place of one.".to_owned()),
        Failure::ServerEnded => {
            ("server_process_ended".to_owned(), "got no answer: the server's process ended.".to_owned())
        }
    };
    let is_silent = matches!(failure, Failure::Unanswered(_) | Failure::Waiting(_));
    let retransmits = is_silent.then(|| cases.iter().map(|case| case.retransmits).sum::<u64>());
    let topic = match failure {
        Failure::Alert(_, Some(_)) => advice(&cause).topic,
        Failure::Alert(..) => "TLS-alert",
        _ => advice(&cause).topic,
    };
    let other_end = cases.iter().find_map(|case| facts.other_life(case.connection.id)?.process());
    let certificate = tls.and_then(|tls| tls.certificate.as_deref());
    let names = |names: &[std::borrow::Cow<'static, str>]| {
        names.iter().map(|name| Text::from(&**name).printable().to_string()).collect::<Vec<_>>()
    };
    let Advice { why, advice, .. } = match failure {
        Failure::Reset(origin) if *origin != Origin::Unknown => {
            Advice { why: origin.why(), advice: origin.advice(), ..advice(&cause) }
        }
        _ => advice(&cause),
    };
    Finding {
        severity: thresholds.severity(cases.len()),
        summary: format!("{handshakes} {between} {what}"),
        evidence: Evidence::default()
            .and("handshakes", cases.len())
            .and_known("server_name", name.map(|name| name.printable().to_string()))
            .and_known("versions_offered", tls.map(|tls| names(&tls.client.versions)))
            .and_known(
                "version",
                tls.and_then(|tls| tls.version.as_deref()).map(|it| Text::from(it).printable().to_string()),
            )
            .and_known("certificate_subject", certificate.map(|it| it.subject.printable().to_string()))
            .and_known("certificate_issuer", certificate.map(|it| it.issuer.printable().to_string()))
            .and_known("certificate_not_after", certificate.and_then(|it| Some(it.not_after?.to_string())))
            .and_known("longest_wait_us", waited.filter(|_| is_silent))
            .and_known("retransmits", retransmits)
            .and_known("other_end", other_end.map(named)),
        why: why.to_owned(),
        advice: advice.to_owned(),
        cause: Some(cause),
        explain: topic.to_owned(),
        ..of_first(cases, process, |case| traced(case))
    }
}

/// Cause and words where more is known than that no answer came.
fn unanswered(silence: Silence) -> Option<(&'static str, &'static str)> {
    Some(match silence {
        Silence::NotAcknowledged => {
            ("hello_not_acknowledged", ", because the server's kernel did not acknowledge the ClientHello")
        }
        Silence::NotAccepted(_) => {
            ("connection_not_accepted", ", because the server's process had not accepted the connection")
        }
        Silence::NotRead(_) => {
            ("hello_not_read", ", because the server's process had not read the ClientHello")
        }
        _ => return None,
    })
}

/// What is said of a cause.
pub(super) struct Advice {
    topic: &'static str,
    pub(super) why: &'static str,
    pub(super) advice: &'static str,
}

pub(super) fn advice(cause: &str) -> Advice {
    let (topic, why, advice) = match cause {
        "unknown_ca" => (
            "unknown_ca",
            "The end that sent the alert has no trusted issuer for the certificate that it received: it is self-signed, of a \
             private CA, or sent without its intermediate certificates.",
            "Let the server send its whole chain (openssl s_client -showcerts), or give the client the CA (curl --cacert, \
             SSL_CERT_FILE); do not switch verification off.",
        ),
        "certificate_expired" => (
            "certificate_expired",
            "The certificate, or one above it, is no longer valid by the clock of the end that sent the alert, or not yet.",
            "Renew the certificate and let the server load it; if it is valid, check the clock of that end.",
        ),
        "bad_certificate" | "certificate_unknown" | "unsupported_certificate" | "certificate_revoked" => (
            "bad_certificate",
            "The end that sent the alert does not accept the certificate: its name, its use, its signature or its state.",
            "Compare the certificate's names with the name that the client wants, and read the log of the end that sent the alert.",
        ),
        "protocol_version" => (
            "protocol_version",
            "Client and server have no version of TLS in common.",
            "Update the end that is old (versions_offered is what the client speaks), or let the server accept a version that \
             the client has (nginx ssl_protocols, OpenSSL MinProtocol).",
        ),
        "handshake_failure" | "insufficient_security" => (
            "handshake_failure",
            "Client and server have no cipher suite, group or signature algorithm in common, or the server requires a \
             certificate, or a server name (SNI), that the client did not send.",
            "Compare what the client offers (tls.client in the recording) with what the server accepts (nginx ssl_ciphers, \
             ssl_ecdh_curve); the kind of the server's key counts too. Without server_name, let the client send it (nginx \
             proxy_ssl_server_name on).",
        ),
        "unrecognized_name" => (
            "unrecognized_name",
            "The server has no certificate for the name that the client wants.",
            "Check the name in the client's URL, and whether a proxy before the server hands it on (nginx \
             proxy_ssl_server_name on); or configure the name on the server.",
        ),
        "no_application_protocol" => (
            "no_application_protocol",
            "Client and server have no protocol in common of those that the client offers with ALPN.",
            "Let the server speak one of them (nginx: http2 on;), or let the client offer another.",
        ),
        "unanswered" | "waiting" => (
            "TLS-handshake",
            "No byte of an answer came to the ClientHello. Either it did not arrive whole: then it was sent again (retransmits), as \
             where a path or a firewall drops large segments. Or the server's process does not answer: it is busy, waits for \
             something else, or does not speak TLS and waits for more.",
            "If retransmits is not 0, test the path (ping -M do -s 1400). Else see what the server's process does at that time \
             (other_end, if it is on this host), and whether its port is for TLS.",
        ),
        "hello_not_acknowledged" => (
            "TLS-handshake",
            "The client's kernel sent the ClientHello again and no acknowledgment came: it was lost on the way, as where a path or a \
             firewall drops large segments, the peer's host is gone, or, as the server's accept queue is full, its kernel has not \
             completed the handshake of TCP. The server's program knows nothing of it.",
            "Test the path (ping -M do -s 1400), and look at the server's accept queue (ss -ltn).",
        ),
        "connection_not_accepted" | "hello_not_read" => (
            "TLS-handshake",
            "The ClientHello is in the receive queue of the server's socket, and no thread of the process has read it: the accepting \
             thread, or every worker, is busy or blocked, or the process is stopped. TLS itself is not at fault.",
            "Find out what the server's threads do instead (stack, thread dump; other_end has the process).",
        ),
        "closed_by_server" => (
            "TLS-handshake",
            "The server, or a load balancer before it, closes connections whose ClientHello it does not accept without saying \
             why: a name that it does not have, too many connections, or a port that is not for TLS.",
            "Try with another name (openssl s_client -servername), and read the server's log of that time.",
        ),
        "reset" => (
            "TLS-handshake",
            "The server's kernel sent the RST, or a device on the way did in its name: firewalls and filters that do not want the \
             name in the ClientHello (SNI) answer so, and the server's log has nothing of it then.",
            "Try with another name (openssl s_client -servername), and from another network. A trace on the server's host tells \
             whether its kernel sent the RST.",
        ),
        "server_process_ended" => (
            "TLS-handshake",
            "The server's process ended (it exited, or a signal killed it) before it answered the ClientHello; its kernel ended \
             the connection.",
            Origin::ProcessEnded.advice(),
        ),
        _ => (
            "TLS-alert",
            "The end that sent the alert gave the handshake up.",
            "Read the log of the end that sent the alert: it says more than the alert does.",
        ),
    };
    Advice { topic, why, advice }
}

#[cfg(test)]
pub(in crate::diagnosis) mod testing {
    use tcp_trace_model::record::Connection;

    use super::*;
    use crate::diagnosis::testing_http::{at, summary};

    /// A connection whose handshake began at 0 ms and ended so; it was closed at 2 s.
    pub(in crate::diagnosis) fn handshake(
        role: Role,
        by: By,
        outcome: TlsOutcome,
        alert: Option<(TlsEnd, Option<&str>, bool)>,
    ) -> Connection {
        let mut end = summary(role, by, How::Fin);
        let mut tls: Tls = serde_json::from_value(serde_json::json!({
            "outcome": "open",
            "client": {"server_name": "www.example.com", "versions": ["1.3", "1.2"]},
            "timing": {"started": at(0), "client_us": 0, "server_us": 0},
        }))
        .unwrap();
        tls.outcome = outcome;
        tls.alerts = alert
            .into_iter()
            .map(|(by, name, is_fatal)| TlsAlert {
                time: at(1),
                by,
                name: name.map(|name| name.to_owned().into()),
                fatal: name.is_some().then_some(is_fatal),
            })
            .collect();
        (end.protocol, end.closed, end.tls) = (Some("tls".to_owned()), Some(at(2_000)), Some(Box::new(tls)));
        end
    }
}

#[cfg(test)]
#[path = "tls_handshake_tests.rs"]
mod tests;
