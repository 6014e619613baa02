//! URLs, versions and what is hidden of an exchange.

use super::*;

fn url_of(method: &str, target: &str) -> (String, String, String, String) {
    let request = Request {
        method: method.into(),
        target: target.into(),
        version: Some(Version::default()),
        headers: [("hOST", "example.com:8080")].into_iter().collect(),
        header_size: 0,
        body: Body { size: 0 },
    };
    let Url { scheme, host, path, query } = request.url();
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
    let fields = [("AUTHORIZATION", "Bearer x"), ("Cookie", "session=1"), ("Accept", "*/*")];
    let request = Request {
        method: "GET".into(),
        target: "/".into(),
        version: Some(Version::default()),
        headers: fields.into_iter().collect(),
        header_size: 0,
        body: Body { size: 0 },
    };
    let mut exchange = Exchange { request: Some(request), ..Exchange::default() };
    exchange.redact();
    let request = exchange.request.unwrap();
    let values: Vec<_> = request.headers.iter().map(|(_, value)| value).collect();
    assert_eq!(values, [REDACTED.as_bytes(), REDACTED.as_bytes(), b"*/*"]);
}

#[test]
fn what_may_be_a_credential_is_redacted_where_its_name_is_unknown() {
    let fields: Fields =
        [(http2::UNKNOWN, "Bearer secret"), ("accept", "*/*"), ("cookie", "a=b")].into_iter().collect();
    let stream = http2::Stream {
        details: http2::StreamDetails { response_trailers: fields.clone(), ..Default::default() },
        ..Default::default()
    };
    let response = Response {
        status_code: 200,
        reason: Text::default(),
        version: None,
        headers: fields,
        header_size: 0,
        body: Body { size: 0 },
        place: 0..0,
    };
    let mut exchange =
        Exchange { response: Some(response), stream: Some(Box::new(stream)), ..Exchange::default() };
    exchange.redact();
    let headers = &exchange.response.as_ref().unwrap().headers;
    for fields in [headers, &exchange.stream.as_ref().unwrap().details.response_trailers] {
        let values: Vec<_> = fields.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [REDACTED.as_bytes(), b"*/*", REDACTED.as_bytes()]);
    }
}

#[test]
fn what_its_sender_wants_in_no_table_is_redacted() {
    let fields: Fields =
        [("x-api-key", "secret"), ("accept", "*/*"), ("x\u{fe}", "secret")].into_iter().collect();
    let details = http2::StreamDetails {
        never_indexed: vec![Text::from("x-api-key"), Text::from("x\u{fe}")],
        request_trailers: fields,
        ..Default::default()
    };
    let stream = http2::Stream { details, ..Default::default() };
    let mut exchange = Exchange { stream: Some(Box::new(stream)), ..Exchange::default() };
    exchange.redact();
    let details = exchange.stream.unwrap().details;
    let values: Vec<_> = details.request_trailers.iter().map(|(_, value)| value).collect();
    assert_eq!(values, [REDACTED.as_bytes(), b"*/*", REDACTED.as_bytes()]);
}

#[test]
fn a_version_is_what_a_recording_calls_it() {
    for (version, expected) in [
        (Version::http1(0), "1.0"),
        (Version::http1(1), "1.1"),
        (Version::http1(7), "1.7"),
        (Version { major: 2, minor: 0 }, "2"),
    ] {
        assert_eq!(version.to_string(), expected);
        assert_eq!(expected.parse(), Ok(version));
    }
    assert!("h2".parse::<Version>().is_err());
}
