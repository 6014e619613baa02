//! A server that answers in another protocol than the client speaks: TLS to a port for HTTP, HTTP to a port for TLS.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace_model::{
    event::Role,
    record::{Connection, Evidence, Finding, Text},
};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::between_ends,
    finding::{named, of_first, traced},
};
use crate::prose::{counted, protocol_name};

const WHY: &str = "The first bytes of the two ends belong to different protocols. The server could not make sense of what it \
                   received, said so in its own protocol and usually closed; the client cannot read that answer and \
                   reports an error of its own protocol (wrong version number, malformed response).";

/// What the client spoke, what the server answered in, where, and the client's program.
type Key<'a> = (&'a str, &'a str, SocketAddr, Option<&'a Text>);

/// The rule.
pub(super) fn judge(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    let mut groups = BTreeMap::<Key<'_>, Vec<&Connection>>::new();
    for life in facts.history.lives() {
        let Some(summary) = life.summary.as_deref() else { continue };
        // A gateway's error says it.
        let is_explained = || {
            findings.explain(summary.connection.id)
                || life.exchanges.iter().any(|http| findings.explain_exchange(facts, http))
        };
        if let Some(key) = key(facts, summary).filter(|_| !is_explained()) {
            groups.entry(key).or_default().push(summary);
        }
    }
    for (key, cases) in &groups {
        cases.iter().for_each(|case| findings.claim(facts, case.connection.id));
        findings.push(finding(facts, thresholds, *key, cases));
    }
}

/// `None` where the protocols are the same, and of a server's end whose client's end says it too.
fn key<'a>(facts: &Facts<'_>, summary: &'a Connection) -> Option<Key<'a>> {
    let (spoken, answered) = (summary.protocol.as_deref()?, summary.answer_protocol.as_deref()?);
    // Inside a tunnel it is not this server that answers.
    let is_inside_http = summary.http.is_some() && spoken != "http";
    if is_inside_http || summary.socks.is_some() {
        return None;
    }
    let (network, is_server) = (summary.connection.network?, summary.connection.role == Some(Role::Server));
    let other = facts.other_life(summary.connection.id).and_then(|life| life.summary.as_deref());
    if is_server && other.is_some_and(|other| other.answer_protocol.is_some()) {
        return None;
    }
    let server = if is_server { network.local } else { network.peer };
    let server = SocketAddr::new(server.address, server.port);
    Some((spoken, answered, server, summary.connection.program()))
}

fn finding<'a>(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    key: Key<'_>,
    cases: &[&'a Connection],
) -> Finding {
    let (spoken, answered, server, _) = key;
    let process = |case: &&'a Connection| case.connection.process.as_deref();
    let between = between_ends(cases.iter().map(|case| &*case.connection), server);
    let speaks = protocol_name(spoken);
    let answers = match answered {
        "unknown" => "another protocol".into(),
        answered => protocol_name(answered),
    };
    let other_end = cases.iter().find_map(|case| facts.other_life(case.connection.id)?.process());
    let advice = match (spoken, answered) {
        ("tls", "http") => {
            "The port speaks plain HTTP: use http:// for it, or the port that speaks TLS; behind a proxy, let it \
             connect without TLS (nginx: proxy_pass http://, HAProxy: no `ssl` on the server line)."
        }
        ("http/2", "http") => {
            "The port speaks HTTP/1.1 only: switch HTTP/2 on there (nginx: http2 on;), or let the client speak HTTP/1.1 (curl: without \
             --http2-prior-knowledge; a proxy: without h2 to its backend)."
        }
        ("http", "tls") => {
            "The port speaks TLS: use https:// for it; behind a proxy, let it connect with TLS (nginx: proxy_pass \
             https://, HAProxy: `ssl` on the server line)."
        }
        _ => {
            "Check address and port in the client's configuration: what listens there is another service (ss -ltnp \
             on the server)."
        }
    };
    Finding {
        cause: Some(format!("{spoken}_answered_in_{answered}")),
        severity: thresholds.severity(cases.len()),
        summary: format!(
            "{} {between} spoke {speaks}, and the server answered in {answers}.",
            counted(cases.len(), "connection")
        ),
        evidence: Evidence::default()
            .and("connections", cases.len())
            .and("spoken", spoken.to_owned())
            .and("answered", answered.to_owned())
            .and_known("answer", cases.iter().find_map(|case| answer(case)))
            .and_known("other_end", other_end.map(named)),
        why: WHY.to_owned(),
        advice: advice.to_owned(),
        ..of_first(cases, process, |case| traced(case))
    }
}

/// How an answer begins in a protocol that is not known.
fn answer(summary: &Connection) -> Option<String> {
    let first = summary.first_bytes.as_ref()?;
    let bytes = if summary.connection.role == Some(Role::Server) { &first.sent } else { &first.received };
    Some(bytes.as_ref()?.printable().to_string())
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::record::{By, How, HttpTotals};

    use super::*;
    use crate::diagnosis::{
        History,
        testing::Host,
        testing_http::{life, lived, summary},
    };

    fn spoken(role: Role, spoken: &str, answered: Option<&str>) -> Connection {
        let mut summary = summary(role, By::Peer, How::Fin);
        summary.protocol = Some(spoken.to_owned());
        summary.answer_protocol = answered.map(str::to_owned);
        summary
    }

    #[test]
    fn each_end_tells_what_was_spoken_and_what_was_answered() {
        for (role, expected) in [
            (
                Role::Client,
                "1 connection from client (pid 5) to 10.0.0.1:8080 spoke TLS, and the server answered in HTTP.",
            ),
            (
                Role::Server,
                "1 connection to api (pid 6) at 10.0.0.1:8080 spoke TLS, and the server answered in HTTP.",
            ),
        ] {
            let history = lived(Vec::new(), Vec::new(), spoken(role, "tls", Some("http")));
            let findings = Host::new().judge_with("wrong_protocol", &history);
            let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
            assert_eq!(finding.summary, expected);
            assert_eq!(finding.cause.as_deref(), Some("tls_answered_in_http"));
            assert!(finding.advice.contains("http://"), "{}", finding.advice);
        }
    }

    #[test]
    fn both_ends_of_a_connection_are_one_case() {
        let mut history = History::default();
        for role in [Role::Client, Role::Server] {
            life(&mut history, Vec::new(), Vec::new(), spoken(role, "http", Some("tls")));
        }
        let findings = Host::new().judge_with("wrong_protocol", &history);
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert!(finding.summary.starts_with("1 connection from client"), "{}", finding.summary);
    }

    #[test]
    fn what_a_tunnel_leads_to_is_not_this_server() {
        let mut through_proxy = spoken(Role::Client, "tls", Some("http"));
        through_proxy.http = Some(HttpTotals { requests: 1, surplus: 0, protocol: "http/1.1".to_owned() });
        let history = lived(Vec::new(), Vec::new(), through_proxy);
        assert_eq!(Host::new().judge_with("wrong_protocol", &history), []);
    }

    #[test]
    fn the_same_protocol_is_no_finding() {
        for (name, answered) in [("tls", None), ("http", None), ("ssh", None)] {
            let history = lived(Vec::new(), Vec::new(), spoken(Role::Client, name, answered));
            assert_eq!(Host::new().judge_with("wrong_protocol", &history), []);
        }
    }
}
