//! Requests over HTTP/2 for which the server says that it did nothing: those that met its GOAWAY, and streams that it refused.

use std::{collections::BTreeMap, net::SocketAddr};

use tcp_trace_model::{
    event::Role,
    http2::{ErrorCode, Http2Totals},
    record::{Evidence, Finding, FindingConnection, Http, Severity, Text},
};

use super::super::{
    Facts, Findings, Thresholds,
    exchange_findings::{between_ends, example, passed_on, request, server_of},
    finding::of_first,
};
use crate::prose::counted;

/// How long it may take a client to read a GOAWAY that has arrived, in microseconds: what it sends until then, it could not know better.
const READ_WITHIN_US: u64 = 100_000;

/// Why the server did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The client had sent the request before the server's GOAWAY came.
    Crossed,
    /// The client's end was not traced: it is not known which was first.
    BehindGoaway,
    /// The client had the GOAWAY when it sent the request.
    SentAfter,
    /// The server ended the connection because of an error.
    Error(ErrorCode),
    /// The client had more streams open at a time than the server had allowed.
    TooMany,
    /// The server says no more.
    Refused,
}

impl Cause {
    fn name(self) -> String {
        match self {
            Self::Crossed => "crossed".to_owned(),
            Self::BehindGoaway => "behind_goaway".to_owned(),
            Self::SentAfter => "sent_after_goaway".to_owned(),
            Self::Error(error) => format!("goaway_{}", error.to_string().to_lowercase()),
            Self::TooMany => "too_many_streams".to_owned(),
            Self::Refused => "refused".to_owned(),
        }
    }

    fn in_words(self) -> String {
        match self {
            Self::Crossed => "crossed the server's GOAWAY: the server did nothing for".to_owned(),
            Self::BehindGoaway => {
                "came too late for the server's GOAWAY: the server did nothing for".to_owned()
            }
            Self::SentAfter => {
                "went out after the server's GOAWAY had come: the server did nothing for".to_owned()
            }
            Self::Error(error) => {
                format!("failed: the server ended the connection with GOAWAY {error} and did nothing for")
            }
            Self::TooMany | Self::Refused => {
                "was refused (REFUSED_STREAM): the server did nothing for".to_owned()
            }
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Crossed | Self::BehindGoaway => {
                "The server announced the end of the HTTP/2 connection (it restarts, reloads, or has had enough requests or time) \
                 while the request was on its way. Both ends know that nothing was done: it may be sent again on another \
                 connection, whatever its method."
            }
            Self::SentAfter => {
                "GOAWAY says that the server takes no new streams on this connection (RFC 9113, section 6.8). The client used it \
                 all the same."
            }
            Self::Error(_) => {
                "The server found something on this connection that it does not accept, and ended it for all streams. The code \
                 says what."
            }
            Self::TooMany => {
                "The client had more streams open at the same time than the server's SETTINGS_MAX_CONCURRENT_STREAMS allows, as \
                 happens before the client knows the limit, or when it does not respect it."
            }
            Self::Refused => {
                "The server refused the stream before it did anything for it: it is overloaded, limits streams or requests of \
                 its own accord, or is stopping."
            }
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Crossed | Self::BehindGoaway => {
                "Let the client send such requests again (most libraries do; gRPC does so once by itself). A server that stops can \
                 send a first GOAWAY with the highest stream number, and the final one a round trip later."
            }
            Self::SentAfter => {
                "Update or mend the client: it has to open another connection once GOAWAY has come."
            }
            Self::Error(_) => {
                "tcp-trace explain has the code. `http2.goaway` of the connection in a recording has what the server said beside it."
            }
            Self::TooMany => {
                "Let the client wait for the server's SETTINGS, or limit its streams and open another connection; or raise the \
                 limit (nginx http2_max_concurrent_streams)."
            }
            Self::Refused => {
                "Read the server's log of that time, and its limits. Such requests may be sent again."
            }
        }
    }
}

/// Requests that met a GOAWAY.
pub(super) fn goaway(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, findings, after_goaway);
}

/// Streams that a server refused.
pub(super) fn refused(facts: &Facts<'_>, thresholds: &Thresholds, findings: &mut Findings) {
    judge(facts, thresholds, findings, |facts, http| {
        let reset = http.exchange.stream.as_ref()?.details.reset?;
        let limit = totals(facts, http).and_then(|totals| totals.server_settings.max_concurrent_streams);
        let is_over = limit.is_some_and(|limit| reset.open_streams.is_some_and(|open| open > limit));
        Some(if is_over { Cause::TooMany } else { Cause::Refused })
    });
}

fn after_goaway(facts: &Facts<'_>, http: &Http) -> Option<Cause> {
    let stream = http.exchange.stream.as_ref()?;
    let error = stream.details.goaway?;
    if error != ErrorCode::NO_ERROR {
        return Some(Cause::Error(error));
    }
    if http.connection.role != Some(Role::Client) {
        return Some(Cause::BehindGoaway);
    }
    // The first that it is above: a server may announce the end twice, at first with the highest number.
    let goaways = totals(facts, http).map_or(&[][..], |totals| &totals.goaway);
    let came =
        goaways.iter().find(|it| it.by == Role::Server && it.last_stream < stream.id).map(|it| it.time);
    let is_after = came.is_some_and(|came| http.exchange.timing.started > came.after_micros(READ_WITHIN_US));
    Some(if is_after { Cause::SentAfter } else { Cause::Crossed })
}

/// What is said of the connection, as the end saw it that has the exchange.
fn totals<'a>(facts: &Facts<'a>, http: &Http) -> Option<&'a Http2Totals> {
    facts.history.life_of(http.connection.id)?.summary.as_deref()?.http2.as_deref()
}

fn judge(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    findings: &mut Findings,
    cause: impl Fn(&Facts<'_>, &Http) -> Option<Cause>,
) {
    let mut groups = BTreeMap::<(Cause, SocketAddr, Option<&Text>), Vec<&Http>>::new();
    // The client's end knows what came first there.
    for role in [Role::Client, Role::Server] {
        for http in facts.history.exchanges().refused().filter(|http| http.connection.role == Some(role)) {
            if let Some(cause) = cause(facts, http).filter(|_| !findings.explain_exchange(facts, http)) {
                findings.claim_exchange(facts, http);
                let group = (cause, server_of(http), http.connection.program());
                groups.entry(group).or_default().push(http);
            }
        }
    }
    for ((cause, server, _), cases) in groups {
        findings.push(finding(facts, thresholds, cause, server, &cases));
    }
}

fn finding(
    facts: &Facts<'_>,
    thresholds: &Thresholds,
    cause: Cause,
    server: SocketAddr,
    cases: &[&Http],
) -> Finding {
    let between = between_ends(cases.iter().map(|http| &*http.connection), server);
    let of_first_case = cases.first().and_then(|http| totals(facts, http));
    let resets = cases.iter().filter_map(|http| http.exchange.stream.as_ref()?.details.reset);
    let is_one = cases.len() == 1;
    let words = cause.in_words();
    let words = if is_one { words } else { words.replacen("was refused", "were refused", 1) };
    let one = |http: &&Http| -> Option<FindingConnection> {
        let mut one = example(http);
        let id = http.exchange.stream.as_ref()?.id;
        one.notes = vec![format!("{}: stream {id}", request(http))];
        Some(one)
    };
    Finding {
        cause: Some(cause.name()),
        severity: match cause {
            // Nothing is lost where the client sends it again.
            Cause::Crossed | Cause::BehindGoaway => Severity::Notice,
            _ => thresholds.severity(cases.len()),
        },
        summary: format!(
            "{} {between} {words} {}.",
            counted(cases.len(), "HTTP/2 request"),
            if is_one { "it" } else { "them" },
        ),
        evidence: Evidence::default()
            .and("requests", cases.len())
            .and_known("open_streams", resets.filter_map(|reset| reset.open_streams).max())
            .and_known(
                "max_concurrent_streams",
                of_first_case.and_then(|totals| totals.server_settings.max_concurrent_streams),
            )
            .and_known("passed_on_by", passed_on(facts, cases.iter().copied())),
        why: cause.why().to_owned(),
        advice: cause.advice().to_owned(),
        explain: match cause {
            Cause::Error(error) if error.name().is_some() => error.to_string(),
            _ => String::new(),
        },
        ..of_first(cases, |http| http.connection.process.as_deref(), one)
    }
}

#[cfg(test)]
pub(in crate::diagnosis) mod testing {
    use tcp_trace_model::{
        http2::{GoAway, Stream, StreamDetails, StreamReset},
        record::{By, Connection, How, Outcome, Version},
    };

    use super::*;
    use crate::diagnosis::testing_http::{at, summary, unanswered};

    /// A request without a response on this stream, at so many milliseconds.
    pub(in crate::diagnosis) fn request_on(role: Role, id: u32, ms: u64, details: StreamDetails) -> Http {
        let mut http = unanswered(role, u64::from(id / 2), ms, Outcome::NoResponse);
        http.exchange.request.as_mut().expect("it has one").version = Some(Version::HTTP2);
        http.exchange.stream = Some(Box::new(Stream { id, details, grpc: None }));
        http
    }

    /// The server's GOAWAY says that it did nothing for it.
    pub(in crate::diagnosis) fn behind(error: ErrorCode) -> StreamDetails {
        StreamDetails { goaway: Some(error), ..StreamDetails::default() }
    }

    /// An end reset it while so many streams were open.
    pub(in crate::diagnosis) fn reset(by: Role, error: ErrorCode, open: u32) -> StreamDetails {
        let reset = StreamReset { by, error, open_streams: Some(open) };
        StreamDetails { reset: Some(reset), ..StreamDetails::default() }
    }

    /// A connection with a GOAWAY of the server at 100 ms that names stream 1 as the last, and so many streams at a time of 10.
    pub(in crate::diagnosis) fn connection(role: Role, error: ErrorCode, concurrent_max: u32) -> Connection {
        let mut end = summary(role, By::Peer, How::Fin);
        let mut totals = Http2Totals { concurrent_max, ..Http2Totals::default() };
        totals.server_settings.max_concurrent_streams = Some(10);
        totals.goaway.push(GoAway { time: at(100), by: Role::Server, error, last_stream: 1, debug: None });
        (end.http2, end.protocol) = (Some(Box::new(totals)), Some("http/2".to_owned()));
        end
    }
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::http2::StreamDetails;

    use super::{testing::*, *};
    use crate::diagnosis::{History, testing::Host, testing_http::life};

    fn found(
        code: &str,
        ends: &[(Role, u64, StreamDetails)],
        error: ErrorCode,
        at_once: u32,
    ) -> Vec<Finding> {
        let mut history = History::default();
        for (role, ms, details) in ends {
            let http = request_on(*role, 3, *ms, details.clone());
            life(&mut history, Vec::new(), vec![http], connection(*role, error, at_once));
        }
        Host::new().judge_with(code, &history)
    }

    #[test]
    fn who_was_first_decides_whether_a_goaway_was_crossed() {
        let error = ErrorCode::NO_ERROR;
        for (ends, cause, words) in [
            (
                &[(Role::Client, 99)][..],
                "crossed",
                "from client (pid 5) to 10.0.0.1:8080 crossed the server's GOAWAY",
            ),
            (
                &[(Role::Client, 201)],
                "sent_after_goaway",
                "from client (pid 5) to 10.0.0.1:8080 went out after",
            ),
            (&[(Role::Server, 101)], "behind_goaway", "to api (pid 6) at 10.0.0.1:8080 came too late"),
            // At the server's end it comes later; the client's end says when it went out.
            (&[(Role::Server, 101), (Role::Client, 99)], "crossed", "from client (pid 5)"),
        ] {
            let ends: Vec<_> = ends.iter().map(|(role, ms)| (*role, *ms, behind(error))).collect();
            let findings = found("goaway_race", &ends, error, 2);
            assert_eq!(findings.len(), 1, "{cause}: {findings:#?}");
            assert_eq!(findings[0].cause.as_deref(), Some(cause));
            assert!(findings[0].summary.contains(words), "{}", findings[0].summary);
        }
    }

    #[test]
    fn the_code_of_a_goaway_is_the_cause() {
        let error = ErrorCode(0xb);
        let findings = found("goaway_race", &[(Role::Client, 99, behind(error))], error, 2);
        assert_eq!(findings[0].cause.as_deref(), Some("goaway_enhance_your_calm"));
        assert_eq!(findings[0].explain, "ENHANCE_YOUR_CALM");
    }

    #[test]
    fn a_stream_is_refused_by_the_server_only() {
        let refused = ErrorCode::REFUSED_STREAM;
        for (by, error, at_once, expected) in [
            (Role::Server, refused, 11, Some("too_many_streams")),
            (Role::Server, refused, 10, Some("refused")),
            // A pushed response that the client does not want.
            (Role::Client, refused, 11, None),
            (Role::Server, ErrorCode::CANCEL, 11, None),
        ] {
            let ends = [(Role::Client, 99, reset(by, error, at_once))];
            let findings = found("stream_refused", &ends, ErrorCode::NO_ERROR, 12);
            let causes: Vec<_> = findings.iter().filter_map(|finding| finding.cause.as_deref()).collect();
            assert_eq!(causes, expected.into_iter().collect::<Vec<_>>(), "{by:?} {error}");
        }
    }
}
