//! The `http` record of an exchange: URL, redaction, and where the time went.

use std::borrow::Cow;

use bytes::Bytes;
use tcp_trace_model::{
    fields::Fields,
    record::{
        Body, Http, HttpNetwork, Messages, Protocol, Request, Response, Stall, Stalls, Text, Timing, Url,
    },
    time::Time,
};

use crate::{
    conn::Connection,
    http::{self, Exchange},
};

/// What stands in place of a credential.
const REDACTED: &str = "«redacted»";
/// Header fields whose values are credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];

/// Makes the record of an exchange; `None` before the connection's addresses are known.
pub(super) fn record(
    exchange: Exchange,
    connection: &Connection,
    now: Time,
    show_secrets: bool,
) -> Option<Http> {
    let network = connection.network()?;
    let timing = &exchange.timing;
    let timing = Timing {
        started: timing.started,
        send_us: timing.send_us(),
        wait_us: timing.wait_us(),
        receive_us: timing.receive_us(),
        total_us: timing.total_us(),
        idle_us: exchange.idle_us,
        stalls: exchange.stalls.as_deref().and_then(|stalls| recorded_stalls(stalls, timing)),
    };
    let version = exchange.request.as_ref().map(|request| request.version);
    let version = version.or(exchange.response.as_ref().map(|response| response.version));
    let headers = |headers| redacted(headers, show_secrets);
    let request = exchange.request.map(|request| Request {
        method: request.method.into(),
        headers: headers(request.headers),
        header_size: request.header_size,
        body: Body { size: request.body_size },
        target: request.target.into(),
    });
    let response = exchange.response.map(|response| Response {
        status_code: response.status_code,
        reason: response.reason.into(),
        headers: headers(response.headers),
        header_size: response.header_size,
        body: Body { size: response.body_size },
    });
    Some(Http {
        time: now,
        connection: connection.id(),
        index: exchange.index,
        role: connection.role(),
        network: HttpNetwork {
            protocol: Protocol { name: "http".into(), version: version_name(version.unwrap_or(1)) },
            kind: network.kind,
            local: network.local,
            peer: network.peer,
        },
        url: request.as_ref().map(url),
        http: Messages { request, informational: exchange.informational, response },
        process: connection.process(),
        timing,
        integrity: exchange.integrity,
        outcome: exchange.outcome,
        reason: exchange.reason.map(Cow::into_owned),
        ended: exchange.ended,
        missing: exchange.missing,
        reused: exchange.reused,
        websocket: exchange.websocket,
    })
}

/// The protocol's version with this minor number.
fn version_name(minor: u8) -> Cow<'static, str> {
    match minor {
        0 => "1.0".into(),
        1 => "1.1".into(),
        other => format!("1.{other}").into(),
    }
}

/// What was lost, never more than the phases that have ended.
fn recorded_stalls(stalls: &http::Stalls, timing: &http::Timing) -> Option<Stalls> {
    let of = |stall: &http::Stall, phase: Option<u64>| {
        let phase = phase.unwrap_or(u64::MAX);
        let stall = Stall {
            retransmits: stall.retransmits,
            out_of_order: stall.out_of_order,
            retransmit_us: stall.retransmit_us().min(phase),
            zero_window_us: stall.zero_window_us().min(phase),
        };
        (stall != Stall::default()).then_some(stall)
    };
    let stalls = Stalls {
        send: of(&stalls.send, timing.send_us()),
        wait: of(&stalls.wait, timing.wait_us()),
        receive: of(&stalls.receive, timing.receive_us()),
    };
    (stalls != Stalls::default()).then_some(stalls)
}

fn redacted(headers: Fields, show_secrets: bool) -> Fields {
    if show_secrets { headers } else { headers.redacted(&CREDENTIALS, REDACTED) }
}

/// The parts of a request target in each of its four forms (RFC 9112, section 3.2).
fn url(request: &Request) -> Url {
    let target = &request.target.0;
    let host = request.headers.first_shared("host").map(Text);
    if *request.method.0 == *b"CONNECT" {
        return Url { scheme: None, host: Some(Text(target.clone())), path: Text::default(), query: None };
    }
    if **target == *b"*" {
        return Url { scheme: None, host, path: Text(target.clone()), query: None };
    }
    if !target.starts_with(b"/")
        && let Some((scheme, rest)) = split_once(target, b"://")
    {
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = (rest.slice(..end), rest.slice(end..));
        let (path, query) = path_and_query(&rest);
        return Url { scheme: Some(Text(scheme)), host: Some(Text(authority)), path, query };
    }
    let (path, query) = path_and_query(target);
    Url { scheme: Some(Text(Bytes::from_static(b"http"))), host, path, query }
}

fn path_and_query(target: &Bytes) -> (Text, Option<Text>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (Text(target.slice(..at)), Some(Text(target.slice(at + 1..)))),
        None => (Text(target.clone()), None),
    }
}

fn split_once(text: &Bytes, separator: &[u8]) -> Option<(Bytes, Bytes)> {
    let at = memchr::memmem::find(text, separator)?;
    Some((text.slice(..at), text.slice(at + separator.len()..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(method: &str, target: &str) -> (String, String, String, String) {
        let request = Request {
            method: method.into(),
            target: target.into(),
            headers: [("hOST", "example.com:8080")].into_iter().collect(),
            header_size: 0,
            body: Body { size: 0 },
        };
        let Url { scheme, host, path, query } = url(&request);
        let text = |text: Option<Text>| text.map_or("-".to_owned(), |text| text.printable().to_string());
        (text(scheme), text(host), text(Some(path)), text(query))
    }

    #[test]
    fn each_form_of_target_is_taken_apart() {
        for (method, target, [scheme, host, path, query]) in [
            ("GET", "/a?x=1", ["http", "example.com:8080", "/a", "x=1"]),
            ("GET", "/a?x=http://b/?c", ["http", "example.com:8080", "/a", "x=http://b/?c"]),
            ("GET", "http://other/a/b?q", ["http", "other", "/a/b", "q"]),
            ("GET", "http://other?q", ["http", "other", "", "q"]),
            ("CONNECT", "example.net:443", ["-", "example.net:443", "", "-"]),
            ("OPTIONS", "*", ["-", "example.com:8080", "*", "-"]),
        ] {
            let expected = (scheme.to_owned(), host.to_owned(), path.to_owned(), query.to_owned());
            assert_eq!(url_of(method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn credentials_are_not_recorded() {
        let headers = || -> Fields {
            let fields = [("AUTHORIZATION", "Bearer x"), ("Cookie", "session=1"), ("Accept", "*/*")];
            fields.into_iter().collect()
        };
        let shown = redacted(headers(), false);
        let values: Vec<_> = shown.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [REDACTED.as_bytes(), REDACTED.as_bytes(), b"*/*"]);
        assert_eq!(redacted(headers(), true).iter().next(), Some((&b"AUTHORIZATION"[..], &b"Bearer x"[..])));
    }
}
