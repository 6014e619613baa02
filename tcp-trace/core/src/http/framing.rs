//! How the end of a message's body is told (RFC 9112, sections 6 and 7).

use tcp_trace_model::{
    exchange::{Reason, Request, Response, Version},
    fields::Fields,
};

use super::line::quoted;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// After so many bytes, more than 0.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By the end of the connection.
    UntilClose,
    /// There are no more messages: another protocol follows.
    Tunnel,
}

impl Framing {
    /// RFC 9112, section 6.3, for requests. An error when it is contradictory.
    pub(super) fn of_request(request: &Request) -> Result<Self, Reason> {
        match coding(&request.headers, request.version)? {
            Coding::None => Ok(length(&request.headers)?.map_or(Self::None, Self::from_length)),
            Coding::Chunked => Ok(Self::Chunked),
            Coding::Other(reason) => Err(reason.into()),
        }
    }

    /// RFC 9112, section 6.3, for responses to a request with `method`. An error when it is contradictory.
    pub(super) fn of_response(response: &Response, method: Option<&[u8]>) -> Result<Self, Reason> {
        let status = response.status_code;
        if status == 101 || method == Some(b"CONNECT") && (200..300).contains(&status) {
            return Ok(Self::Tunnel);
        }
        if method == Some(b"HEAD") || (100..200).contains(&status) || matches!(status, 204 | 304) {
            return Ok(Self::None);
        }
        match coding(&response.headers, response.version)? {
            Coding::None => Ok(length(&response.headers)?.map_or(Self::UntilClose, Self::from_length)),
            Coding::Chunked => Ok(Self::Chunked),
            Coding::Other(_) => Ok(Self::UntilClose),
        }
    }

    fn from_length(length: u64) -> Self {
        if length == 0 { Self::None } else { Self::Length(length) }
    }
}

/// What the transfer codings say of a body's end.
enum Coding {
    None,
    Chunked,
    /// The last one is not chunked: a response lasts until the close, and a request says nothing of its end, for this reason.
    Other(&'static str),
}

fn coding(fields: &Fields, version: Option<Version>) -> Result<Coding, Reason> {
    if fields.first("transfer-encoding").is_none() {
        return Ok(Coding::None);
    }
    if version == Some(Version::http1(0)) {
        // RFC 9112, section 6.1: somebody on the way did not understand it.
        return Err("Transfer-Encoding in HTTP/1.0".into());
    }
    if fields.first("content-length").is_some() {
        return Err("both Transfer-Encoding and Content-Length".into());
    }
    let (mut codings, mut chunked, mut is_last) = (0, 0, false);
    for coding in fields.members("transfer-encoding") {
        let name = coding.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        is_last = name.eq_ignore_ascii_case(b"chunked");
        if is_last && name.len() < coding.len() {
            return Err(format!("{} as transfer coding: chunked has no parameters", quoted(coding)).into());
        }
        codings += 1;
        chunked += u32::from(is_last);
    }
    match (codings, chunked) {
        (0, _) => Ok(Coding::Other("an empty Transfer-Encoding")),
        (_, 0) => Ok(Coding::Other("its last transfer coding is not chunked")),
        (_, 1) if is_last => Ok(Coding::Chunked),
        (_, 1) => Ok(Coding::Other("chunked is not the last transfer coding")),
        _ => Err("chunked more than once".into()),
    }
}

/// The Content-Length; an error when it is no number or several different ones.
fn length(fields: &Fields) -> Result<Option<u64>, Reason> {
    let mut length = None;
    for list in fields.values("content-length") {
        for value in list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err(format!("Content-Length {} is not a number", quoted(value)).into());
            }
            let Some(number) = number(value) else {
                return Err(format!("Content-Length {} is too large", quoted(value)).into());
            };
            match length {
                Some(other) if other != number => {
                    return Err(format!("different Content-Length: {other} and {number}").into());
                }
                _ => length = Some(number),
            }
        }
    }
    Ok(length)
}

/// The number that these digits are; `None` when it is too large.
fn number(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::exchange::Body;

    use super::*;

    fn of_request(name: &str, values: &[&str]) -> Option<Framing> {
        let headers = values.iter().map(|value| (name, value)).collect();
        let (method, target) = ("POST".into(), "/".into());
        let request = Request {
            method,
            target,
            version: Some(Version::http1(1)),
            headers,
            header_size: 0,
            body: Body::default(),
        };
        Framing::of_request(&request).ok()
    }

    #[test]
    fn conflicting_lengths_are_no_length() {
        for (values, expected) in [
            (&[][..], Some(Framing::None)),
            (&["0"], Some(Framing::None)),
            (&["5"], Some(Framing::Length(5))),
            (&["5", "5"], Some(Framing::Length(5))),
            (&["5, 5"], Some(Framing::Length(5))),
            (&["005"], Some(Framing::Length(5))),
            (&["5", "6"], None),
            (&["+5"], None),
            (&["5,"], None),
            (&[""], None),
            (&["18446744073709551615"], Some(Framing::Length(u64::MAX))),
            (&["18446744073709551616"], None),
            (&["99999999999999999999"], None),
        ] {
            assert_eq!(of_request("Content-Length", values), expected, "{values:?}");
        }
    }

    #[test]
    fn chunked_is_the_last_coding_and_there_once() {
        for (values, expected) in [
            (&["chunked"][..], Some(Framing::Chunked)),
            (&["gzip, Chunked"], Some(Framing::Chunked)),
            (&["gzip", "chunked"], Some(Framing::Chunked)),
            (&[",chunked ,"], Some(Framing::Chunked)),
            (&["chunked, gzip"], None),
            (&["chunked", "chunked"], None),
            (&["chunked;a=b"], None),
            (&["gzip"], None),
            (&[""], None),
        ] {
            assert_eq!(of_request("Transfer-Encoding", values), expected, "{values:?}");
        }
    }
}
