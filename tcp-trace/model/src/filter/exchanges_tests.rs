//! Which exchanges are selected.

use super::*;
use crate::{
    exchange::{Integrity, Response, SESSION_ENDED, Timing, Url},
    http2::{Grpc, GrpcStatus, Stream},
    text::Text,
};

fn exchange(method: &str, host: &str, path: &str, status: u16) -> Exchange {
    let text = |text: &str| Text::from(text);
    let request = crate::exchange::Request {
        method: text(method),
        target: text(path),
        version: Some(Version::http1(1)),
        headers: Default::default(),
        header_size: 0,
        body: Default::default(),
    };
    let response = Response {
        status_code: status,
        reason: Text::default(),
        version: Some(Version::http1(1)),
        headers: Default::default(),
        header_size: 0,
        body: Default::default(),
        place: 0..0,
    };
    Exchange {
        request: Some(request),
        response: (status > 0).then_some(response),
        url: Some(Url { scheme: None, host: Some(text(host)), path: text(path), query: None }),
        timing: Timing { total_us: 500_000, ..Timing::default() },
        ..Exchange::default()
    }
}

fn of<T: FromStr<Err: fmt::Debug>>(text: &str) -> Vec<T> {
    text.split(',').map(|value| value.parse().unwrap()).collect()
}

#[test]
fn each_kind_selects_by_its_own_field() {
    let any = ExchangeFilter::default;
    let get = exchange("GET", "Shop.example:8080", "/api/items/7", 404);
    for (filter, expected) in [
        (any(), true),
        (ExchangeFilter { status: of("404"), ..any() }, true),
        (ExchangeFilter { status: of("4xx"), ..any() }, true),
        (ExchangeFilter { status: of("200,400-499"), ..any() }, true),
        (ExchangeFilter { status: of("5xx"), ..any() }, false),
        (ExchangeFilter { method: vec!["GET".to_owned()], ..any() }, true),
        (ExchangeFilter { method: vec!["POST".to_owned()], ..any() }, false),
        (ExchangeFilter { host: of("shop.example"), ..any() }, true),
        (ExchangeFilter { host: of("shop.example:8080"), ..any() }, true),
        (ExchangeFilter { host: of("*.example"), ..any() }, true),
        (ExchangeFilter { host: of("shop.example:81"), ..any() }, false),
        (ExchangeFilter { host: of("example"), ..any() }, false),
        (ExchangeFilter { path: of("/api/*"), ..any() }, true),
        (ExchangeFilter { path: of("/API/*"), ..any() }, false),
        (ExchangeFilter { path: of("/api"), ..any() }, false),
        (ExchangeFilter { path: of("/api/items/?"), ..any() }, true),
        (ExchangeFilter { slower_us: Some(499_999), ..any() }, true),
        (ExchangeFilter { slower_us: Some(500_000), ..any() }, false),
        (ExchangeFilter { protocol: of("http1"), ..any() }, true),
        (ExchangeFilter { protocol: of("http2,grpc,websocket,tls"), ..any() }, false),
        (ExchangeFilter { status: of("404"), method: vec!["POST".to_owned()], ..any() }, false),
    ] {
        assert_eq!(filter.selects(&get), expected, "{filter:?}");
    }
}

#[test]
fn an_address_of_ipv6_is_a_host_with_or_without_its_port() {
    let get = exchange("GET", "[::1]:8080", "/", 200);
    for (host, expected) in [("[::1]", true), ("[::1]:8080", true), ("[::2]", false)] {
        assert_eq!(
            ExchangeFilter { host: of(host), ..ExchangeFilter::default() }.selects(&get),
            expected,
            "{host}"
        );
    }
    let without_port = exchange("GET", "[::1]", "/", 200);
    assert!(ExchangeFilter { host: of("[::1]"), ..ExchangeFilter::default() }.selects(&without_port));
}

#[test]
fn what_failed() {
    let ok = || exchange("GET", "a", "/", 200);
    let ended = |outcome, reason: &'static str| Exchange {
        response: None,
        outcome,
        reason: Some(reason.into()),
        ..ok()
    };
    let grpc = |status| Exchange {
        stream: Some(Box::new(Stream {
            grpc: Some(Box::new(Grpc { status: Some(status), ..Grpc::default() })),
            ..Stream::default()
        })),
        ..ok()
    };
    use crate::exchange::Outcome::{NoResponse, Reset, Truncated, Upgraded};
    for (exchange, expected) in [
        (ok(), false),
        (exchange("GET", "a", "/", 404), false),
        (exchange("GET", "a", "/", 502), true),
        (ended(NoResponse, "closed by the server"), true),
        (ended(NoResponse, SESSION_ENDED), false),
        (Exchange { integrity: Integrity::Gap, ..ended(NoResponse, "bytes were not seen") }, false),
        (ended(Reset, "reset by the client"), true),
        (ended(Truncated, "closed by the server"), true),
        (ended(Upgraded, ""), false),
        (grpc(GrpcStatus::OK), false),
        (grpc(GrpcStatus(14)), true),
    ] {
        assert_eq!(exchange.has_failed(), expected, "{exchange:?}");
    }
}

#[test]
fn statuses_are_written_as_they_are_typed() {
    for text in ["404", "5xx", "400-499", "500-503"] {
        let status: Status = text.parse().unwrap();
        let expected = if text == "400-499" { "4xx" } else { text };
        assert_eq!(status.to_string(), expected);
        assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{expected}\""));
        assert_eq!(serde_json::from_str::<Status>(&format!("\"{expected}\"")).unwrap(), status);
    }
    for bad in ["", "x", "0xx", "99", "1000", "500-400", "5x", "4xx-5xx"] {
        assert!(bad.parse::<Status>().is_err(), "{bad:?}");
    }
}
