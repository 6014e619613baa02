//! Heads read line by line: slower than [`head`](super::head), but says what is wrong, and keeps what came before it.

use std::borrow::Cow;

use tcp_trace_model::{
    exchange::{Body, Message, Reason, Request, Response, Version},
    fields::Fields,
};

/// Longest method token that is taken for one.
pub(super) const METHOD_MAX: usize = 64;
/// Bytes of a line that a reason quotes.
const QUOTED_MAX: usize = 40;
/// Why a head is refused whose lines are all right but too many.
const TOO_LONG: &str = "the header section is longer than 64 KiB";

/// A head that is not one, with what was legal before the fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused<T> {
    /// Start line and the fields before the fault; `None` when the start line tells nothing.
    pub(super) message: Option<Box<T>>,
    pub(super) reason: Reason,
}

/// `tchar` (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Bytes for a reason: escaped, in quotation marks, shortened.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let cut = if bytes.len() > QUOTED_MAX { "..." } else { "" };
    format!("\"{}{cut}\"", bytes[..bytes.len().min(QUOTED_MAX)].escape_ascii())
}

/// Whether a head that is not whole, `bytes`, is illegal already. Nothing before `new` was; lines before
/// `judged` are known to be legal, and it is moved on. The answer does not depend on how the bytes were cut, and
/// no byte is looked at often.
pub(super) fn is_illegal(message: Message, bytes: &[u8], new: usize, judged: &mut usize) -> bool {
    if !bytes[new..].contains(&b'\n') {
        // A CR before the new bytes was not judged yet.
        return *judged == 0 && beginning(message, bytes, new.saturating_sub(1)).is_err();
    }
    while let Some(length) = bytes[*judged..].iter().position(|byte| *byte == b'\n') {
        let raw = &bytes[*judged..*judged + length];
        let is_legal = match (message, *judged) {
            (Message::Request, 0) => request_line(raw).is_ok(),
            (Message::Response, 0) => status_line(raw).is_ok(),
            // Whether there is a field to continue was judged with the line before.
            _ if is_fold(raw) => *judged > first_line_end(bytes) && control(raw, "a field").is_ok(),
            _ => field(raw).is_ok(),
        };
        if !is_legal {
            return true;
        }
        *judged += length + 1;
    }
    false
}

/// Whether `bytes` begin with a whole, legal request line.
pub(super) fn begins_request(bytes: &[u8]) -> bool {
    bytes.iter().position(|byte| *byte == b'\n').is_some_and(|end| request_line(&bytes[..end]).is_ok())
}

fn first_line_end(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

/// Reads the head of a request.
pub(super) fn request(bytes: &[u8]) -> Result<Request, Refused<Request>> {
    let end = first_line_end(bytes);
    let line = bytes[..end].strip_suffix(b"\n").unwrap_or(bytes);
    let (parts, fault) = match request_line(line) {
        Ok(parts) => (Some(parts), None),
        Err((parts, reason)) => (parts, Some(reason)),
    };
    // What is legal of it, however the rest was cut.
    let legal = line_before_cr(line).filter(|_| fault.is_some()).map_or(end, |(before, _)| before);
    let mut message = parts.map(|(method, target, version)| Request {
        method: method.into(),
        target: target.into(),
        version: version.map(Version::http1),
        headers: Fields::new(),
        header_size: legal as u64,
        body: Body::default(),
    });
    if let Some(reason) = fault {
        return Err(Refused {
            message: message.map(Box::new),
            reason: if_whole(Message::Request, bytes, end, reason),
        });
    }
    let (headers, read) = fields(bytes, end);
    if let Some(message) = &mut message {
        (message.headers, message.header_size) = (headers, read.end);
    }
    finish(message, read)
}

/// Reads the head of a response.
pub(super) fn response(bytes: &[u8]) -> Result<Response, Refused<Response>> {
    let end = first_line_end(bytes);
    let line = bytes[..end].strip_suffix(b"\n").unwrap_or(bytes);
    let (version, status_code, reason) = status_line(line).map_err(|reason| {
        let reason = if_whole(Message::Response, bytes, end, reason);
        Refused { message: None, reason }
    })?;
    let (headers, read) = fields(bytes, end);
    let message = Response {
        status_code,
        reason: reason.into(),
        version: Some(Version::http1(version)),
        headers,
        header_size: read.end,
        body: Body::default(),
        place: 0..0,
    };
    finish(Some(message), read)
}

/// What is wrong with a start line, which ends at `end`. When it is not whole, only its beginning is judged.
fn if_whole(message: Message, bytes: &[u8], end: usize, reason: Reason) -> Reason {
    let is_whole = bytes[..end].ends_with(b"\n");
    if is_whole || beginning(message, bytes, 0).is_err() { reason } else { TOO_LONG.into() }
}

fn finish<T>(message: Option<T>, read: Read) -> Result<T, Refused<T>> {
    match (message, read.fault) {
        (Some(message), None) if read.is_whole => Ok(message),
        (message, fault) => {
            Err(Refused { message: message.map(Box::new), reason: fault.unwrap_or(TOO_LONG.into()) })
        }
    }
}

/// What came of a header section.
struct Read {
    /// Where its last legal line ends.
    end: u64,
    is_whole: bool,
    fault: Option<Reason>,
}

/// Reads field lines from `start` on until the empty line, a fault, or the last whole line.
fn fields(bytes: &[u8], start: usize) -> (Fields, Read) {
    let mut lines = Vec::new();
    let read = lines_of(bytes, start, &mut lines);
    (lines.into_iter().collect(), read)
}

/// The name and the value of a field, which may be of several lines.
type Field<'a> = (&'a [u8], Cow<'a, [u8]>);

fn lines_of<'a>(bytes: &'a [u8], start: usize, lines: &mut Vec<Field<'a>>) -> Read {
    let mut at = start;
    while let Some(length) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let raw = &bytes[at..at + length];
        let next = at + length + 1;
        if raw.is_empty() || raw == b"\r" {
            return Read { end: next as u64, is_whole: true, fault: None };
        }
        let taken = if is_fold(raw) {
            continue_last(raw, lines)
        } else {
            field(raw).map(|(name, value)| lines.push((name, value.into())))
        };
        if let Err(reason) = taken {
            return Read { end: at as u64, is_whole: false, fault: Some(reason) };
        }
        at = next;
    }
    Read { end: at as u64, is_whole: false, fault: None }
}

/// A field line of the old kind that goes on (RFC 9112, section 5.2).
fn is_fold(raw: &[u8]) -> bool {
    matches!(raw, [b' ' | b'\t', ..])
}

fn continue_last(raw: &[u8], lines: &mut [Field<'_>]) -> Result<(), Reason> {
    let Some((_, value)) = lines.last_mut() else {
        return Err("white space before the first field".into());
    };
    let more = control(raw, "a field")?.trim_ascii();
    if !more.is_empty() {
        let space: &[u8] = if value.is_empty() { b"" } else { b" " };
        *value = [&**value, space, more].concat().into();
    }
    Ok(())
}

/// The line without its CR; an error when it has another control character than HTAB.
fn control<'a>(raw: &'a [u8], place: &str) -> Result<&'a [u8], Reason> {
    let line = raw.strip_suffix(b"\r").unwrap_or(raw);
    match line.iter().position(|byte| byte.is_ascii_control() && *byte != b'\t') {
        None => Ok(line),
        Some(at) => {
            let name = match line[at] {
                b'\r' => "a CR without LF".to_owned(),
                byte => format!("the control character 0x{byte:02x}"),
            };
            Err(format!("{name} in {place}, after {}", quoted(&line[..at])).into())
        }
    }
}

/// A field line's name and value (RFC 9112, section 5).
fn field(raw: &[u8]) -> Result<(&[u8], &[u8]), Reason> {
    let line = control(raw, "a field")?;
    if line.is_empty() {
        return Ok((line, line));
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Err(format!("a field without a colon: {}", quoted(line)).into());
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    match name {
        [] => Err(format!("a field without a name: {}", quoted(line)).into()),
        [.., b' ' | b'\t'] => Err(format!("white space before the colon of {}", quoted(name)).into()),
        _ if !name.iter().all(|byte| is_token(*byte)) => {
            Err(format!("{} is not a field name", quoted(name)).into())
        }
        _ => Ok((name, value.trim_ascii())),
    }
}

/// Whether `bytes`, a start line so far, can be the beginning of one. Control characters are looked for from
/// `new` on.
fn beginning(message: Message, bytes: &[u8], new: usize) -> Result<(), Reason> {
    match message {
        Message::Request => {
            let method = bytes.iter().take(METHOD_MAX + 1).take_while(|byte| is_token(**byte)).count();
            let is_method =
                method <= METHOD_MAX && (method == bytes.len() || method > 0 && bytes[method] == b' ');
            if !is_method {
                return Err("it does not begin with a method".into());
            }
            control_or_tab(&bytes[new..], "the request line")
        }
        Message::Response => {
            const START: &[u8] = b"HTTP/1.";
            let length = bytes.len().min(START.len());
            if bytes[..length] != START[..length] {
                return Err("it does not begin with HTTP/1.".into());
            }
            control(&bytes[new..], "the status line").map(|_| ())
        }
    }
}

fn control_or_tab(raw: &[u8], place: &str) -> Result<(), Reason> {
    let tab = raw.iter().position(|byte| *byte == b'\t').unwrap_or(raw.len());
    // What comes first is told, so that the answer is the same for every beginning of the line.
    control(&raw[..tab], place)?;
    if tab < raw.len() {
        return Err(format!("a tab in {place}, after {}", quoted(&raw[..tab])).into());
    }
    Ok(())
}

/// Method, target, and the minor version where it is one of HTTP/1.
type RequestLine<'a> = (&'a [u8], &'a [u8], Option<u8>);

/// Method, target and minor version (RFC 9112, section 3). On an error too, where they can be told.
fn request_line(raw: &[u8]) -> Result<RequestLine<'_>, (Option<RequestLine<'_>>, Reason)> {
    beginning(Message::Request, raw, 0)
        .map_err(|reason| (line_before_cr(raw).map(|(_, parts)| parts), reason))?;
    let line = raw.strip_suffix(b"\r").unwrap_or(raw);
    let spaces = || line.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let (Some(first), Some(last)) = (spaces().next(), spaces().next_back()) else {
        return Err((None, format!("a request line without a target: {}", quoted(line)).into()));
    };
    let version = &line[last + 1..];
    if first == last || !version.starts_with(b"HTTP/") {
        return Err((None, format!("a request line without a version: {}", quoted(line)).into()));
    }
    let (method, target) = (&line[..first], &line[first + 1..last]);
    // The preface of HTTP/2 looks like a request on purpose (RFC 9113, section 3.4).
    let known = |minor| (method != b"PRI").then_some((method, target, minor));
    let Some(minor) = minor_version(version) else {
        return Err((known(None), format!("{} is not a version of HTTP/1", quoted(version)).into()));
    };
    match target {
        [] => Err((known(Some(minor)), "an empty request target".into())),
        _ if target.contains(&b' ') => {
            Err((known(Some(minor)), format!("a space in the request target {}", quoted(target)).into()))
        }
        _ => Ok((method, target, Some(minor))),
    }
}

/// The request line before a CR that no LF follows, when it is a legal one, and its length.
fn line_before_cr(raw: &[u8]) -> Option<(usize, RequestLine<'_>)> {
    let end = raw.iter().position(|byte| *byte == b'\r')?;
    Some((end, request_line(&raw[..end]).ok()?))
}

/// `HTTP/1.` and a digit: a higher minor version is read as the highest known (RFC 9110, section 2.5).
fn minor_version(version: &[u8]) -> Option<u8> {
    match version.strip_prefix(b"HTTP/1.")? {
        [digit] if digit.is_ascii_digit() => Some(digit - b'0'),
        _ => None,
    }
}

/// Minor version, status code and reason phrase (RFC 9112, section 4).
pub(super) fn status_line(raw: &[u8]) -> Result<(u8, u16, &[u8]), Reason> {
    beginning(Message::Response, raw, 0)?;
    let line = raw.strip_suffix(b"\r").unwrap_or(raw);
    let (version, rest) = line.split_at(line.len().min(8));
    let Some(minor) = minor_version(version).filter(|_| matches!(rest, [] | [b' ', ..])) else {
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        return Err(format!("{} is not a version of HTTP/1", quoted(word)).into());
    };
    let (code, reason) = match rest {
        [b' ', code @ ..] if code.len() <= 3 => (code, &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => (&[*a, *b, *c][..], reason),
        _ => (rest, &[][..]),
    };
    match code {
        [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Ok((minor, digit(hundreds) * 100 + digit(tens) * 10 + digit(ones), reason.trim_ascii_end()))
        }
        _ => Err(format!("{} has no status code", quoted(line)).into()),
    }
}
