//! Heads: where one ends, whether bytes can be one, and what it says (RFC 9112, sections 2 to 5).

use std::mem::MaybeUninit;

use tcp_trace_model::{
    exchange::{Body, Request, Response, Version},
    fields::Fields,
    text::Text,
};

use super::line::{self, METHOD_MAX, Refused};

/// Longest head that is read, in bytes.
pub const HEAD_MAX: usize = 64 << 10;
/// Header fields that are read the fast way.
const FIELDS: usize = 64;

/// Where the head that starts with `bytes` ends: behind the first empty line. Lines end with CRLF or, as
/// RFC 9112 section 2.2 allows a recipient to read, with LF alone. The search starts at `from`, which has to
/// lie at most three bytes behind what was searched before.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = memchr::memchr(b'\n', bytes.get(at..)?) {
        at += found + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Bytes of empty lines before a head (RFC 9112, section 2.2).
pub(super) fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// Whether `bytes` begin like a response of HTTP/1.
pub(super) fn is_response(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.")
}

/// Reads the head of a request. What httparse refuses is read line by line, which is less strict where RFC 9112
/// lets a recipient be, and says why where it does not.
pub(super) fn request(bytes: &[u8]) -> Result<Request, Refused<Request>> {
    fast_request(bytes).map_or_else(|| line::request(bytes), Ok)
}

/// Reads the head of a response, in the same way.
pub(super) fn response(bytes: &[u8]) -> Result<Response, Refused<Response>> {
    fast_response(bytes).map_or_else(|| line::response(bytes), Ok)
}

/// A request as httparse reads it.
pub(super) fn fast_request(bytes: &[u8]) -> Option<Request> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    config
        .parse_request_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .ok()
        .filter(httparse::Status::is_complete)?;
    let method = parsed.method.filter(|method| method.len() <= METHOD_MAX)?;
    let headers = fields_of(bytes, parsed.headers);
    Some(Request {
        method: Text(headers.share(bytes, method.as_bytes())),
        target: Text(headers.share(bytes, parsed.path?.as_bytes())),
        version: Some(Version::http1(parsed.version?)),
        headers,
        header_size: bytes.len() as u64,
        body: Body::default(),
    })
}

/// A response as httparse reads it.
pub(super) fn fast_response(bytes: &[u8]) -> Option<Response> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    config
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .ok()
        .filter(httparse::Status::is_complete)?;
    let status_code = parsed.code.filter(|code| *code >= 100)?;
    // It gives none when there are bytes in it that are not ASCII.
    let reason = parsed.reason.filter(|reason| !reason.is_empty())?.trim_ascii_end();
    let headers = fields_of(bytes, parsed.headers);
    Some(Response {
        status_code,
        reason: Text(headers.share(bytes, reason.as_bytes())),
        version: Some(Version::http1(parsed.version?)),
        headers,
        header_size: bytes.len() as u64,
        body: Body::default(),
        place: 0..0,
    })
}

/// The fields of a head, which they were parsed from.
fn fields_of<'a>(head: &'a [u8], fields: &[httparse::Header<'a>]) -> Fields {
    Fields::of_head(head, fields.iter().map(|field| (field.name.as_bytes(), field.value)))
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::exchange::Message;

    use super::*;

    fn can_be_request(bytes: &[u8]) -> bool {
        !line::is_illegal(Message::Request, bytes, 0, &mut 0)
    }

    #[test]
    fn a_head_ends_behind_the_first_empty_line() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody\r\n\r\n"[..], Some(24)),
            (b"GET / HTTP/1.1\n\nbody", Some(16)),
            (b"GET / HTTP/1.1\r\nA: b\n\r\n", Some(23)),
            (b"GET / HTTP/1.1\r\n\r", None),
            (b"GET / HTTP/1.1\r\n", None),
            (b"", None),
        ] {
            assert_eq!(end(bytes, 0), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_search_goes_on_where_it_was() {
        let bytes = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        for searched in 0..bytes.len() {
            assert_eq!(end(&bytes[..searched], 0), None);
            assert_eq!(end(bytes, searched.saturating_sub(3)), Some(bytes.len()), "after {searched}");
        }
    }

    #[test]
    fn other_protocols_are_told_from_the_first_bytes() {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01"[..],
            b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"*1\r\n$4\r\nPING\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"EHLO example.com\r\n",
            b"GET  \r\n",
            b" GET / HTTP/1.1\r\n",
        ] {
            assert!(!can_be_request(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn every_beginning_of_a_request_can_be_one() {
        let request = b"M-SEARCH /a?b=c HTTP/1.0\r\nHost: h\r\n\r\n";
        for length in 0..=request.len() {
            assert!(can_be_request(&request[..length]), "{length}");
        }
        assert!(line::begins_request(request));
        assert!(!line::begins_request(&request[..20]), "the line is not whole yet");
    }

    #[test]
    fn many_fields_are_read() {
        let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
        for field in 0..500 {
            bytes.extend_from_slice(format!("X-{field}: y\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        assert_eq!(request(&bytes).unwrap().headers.len(), 500);
    }
}
