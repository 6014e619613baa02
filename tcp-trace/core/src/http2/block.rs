//! Blocks of fields, decoded: what a head says (RFC 9113, section 8).

use tcp_trace_model::{
    exchange::{Body, Message, Request, Response, Version},
    fields::Fields,
    http2::UNKNOWN,
    text::Text,
};

use crate::hpack::{Decoder, Fault};

/// Fields of a block that are kept.
pub const FIELDS_MAX: usize = 1024;
/// Bytes of all names and values of a block that are kept.
pub const TEXT_MAX: usize = 64 << 10;

/// What a block decodes to.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) fields: Fields,
    /// Bytes of their names and values.
    pub(super) text: usize,
    /// Bytes of it, compressed.
    pub(super) size: u64,
    /// Fields of which the name or the value is not known.
    pub(super) unknown: u64,
    /// Fields that are not kept.
    pub(super) omitted: u64,
    /// Names of fields that are kept, and that their sender wants nobody to keep in a table, without those of pseudo-header fields.
    pub(super) never_indexed: Vec<Text>,
}

/// Decodes a block, and keeps at most `room` bytes of it. It is bounded before anything is kept: a byte can stand for a field of 4 KiB.
pub(super) fn decode(decoder: &mut Decoder, bytes: &[u8], room: usize) -> Result<Block, Fault> {
    let (mut text, mut lengths) = (Vec::new(), Vec::new());
    let (mut unknown, mut omitted) = (0, 0);
    let mut never_indexed = Vec::<Text>::new();
    decoder.decode(bytes, |field| {
        unknown += u64::from(field.name.is_none() || field.value.is_none());
        let [name, value] = [field.name, field.value].map(|part| part.unwrap_or(UNKNOWN.as_bytes()));
        if lengths.len() >= FIELDS_MAX || text.len() + name.len() + value.len() > room.min(TEXT_MAX) {
            omitted += 1;
            return;
        }
        if field.is_never_indexed && !name.starts_with(b":") {
            never_indexed.push(Text::from(name.to_vec()));
        }
        lengths.push((name.len(), value.len()));
        text.extend_from_slice(name);
        text.extend_from_slice(value);
    })?;
    let mut rest = &text[..];
    let fields = lengths.iter().map(|(name, value)| {
        // By construction the lengths add up to that of the text.
        let (name, behind) = rest.split_at(*name);
        let (value, behind) = behind.split_at(*value);
        rest = behind;
        (name, value)
    });
    let fields = fields.collect();
    Ok(Block { fields, text: text.len(), size: bytes.len() as u64, unknown, omitted, never_indexed })
}

impl Block {
    /// One that could not be decoded.
    pub(super) fn unknown() -> Self {
        Self { unknown: 1, ..Self::default() }
    }

    fn field(&self, name: &str) -> Option<Text> {
        self.fields.first_shared(name).map(Text)
    }

    /// A field that has to be there, or else is one of those that are not known.
    fn required(&self, name: &str) -> Text {
        let unknown = || if self.unknown + self.omitted > 0 { Text::from(UNKNOWN) } else { Text::default() };
        self.field(name).unwrap_or_else(unknown)
    }

    /// Of which message it is the head, where that shows.
    pub(super) fn message(&self) -> Option<Message> {
        let mut names = self.fields.iter().map(|(name, _)| name);
        names.find_map(|name| match name {
            b":status" => Some(Message::Response),
            b":method" | b":path" | b":scheme" | b":authority" => Some(Message::Request),
            _ => None,
        })
    }

    /// Whether it has no pseudo-header fields, as trailers.
    pub(super) fn is_trailer(&self) -> bool {
        self.message().is_none() && self.unknown + self.omitted == 0
    }

    /// The status of a response; 0 when it is not known.
    pub(super) fn status(&self) -> u16 {
        let status = self.fields.first(":status").and_then(|status| str::from_utf8(status).ok());
        status.filter(|status| status.len() == 3).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    pub(super) fn request(&self) -> Request {
        let method = self.required(":method");
        // Of a plain CONNECT, that is all there is (section 8.5).
        let path = if self.fields.first(":path").is_none() && *method.0 == *b"CONNECT" {
            self.required(":authority")
        } else {
            self.required(":path")
        };
        Request {
            method,
            target: path,
            version: Some(Version::HTTP2),
            headers: self.fields.clone(),
            header_size: self.size,
            body: Body::default(),
        }
    }

    pub(super) fn response(&self) -> Response {
        Response {
            status_code: self.status(),
            reason: Text::default(),
            version: Some(Version::HTTP2),
            headers: self.fields.clone(),
            header_size: self.size,
            body: Body::default(),
            // Its bytes stand between those of others.
            place: 0..0,
        }
    }

    /// What is illegal about a head (sections 8.2 and 8.3), as far as it is known.
    pub(super) fn fault(&self, message: Message) -> Option<String> {
        const OF_REQUEST: [&[u8]; 5] = [b":method", b":scheme", b":authority", b":path", b":protocol"];
        const OF_CONNECTION: [&str; 5] =
            ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
        let quoted = |name: &[u8]| format!("\"{}\"", name[..name.len().min(40)].escape_ascii());
        let mut is_regular = false;
        let mut seen: Vec<&[u8]> = Vec::new();
        for (name, _) in self.fields.iter().filter(|(name, _)| *name != UNKNOWN.as_bytes()) {
            if !name.starts_with(b":") {
                is_regular = true;
                if name.is_empty() || name.iter().any(u8::is_ascii_uppercase) {
                    return Some(format!("{} is not a field name", quoted(name)));
                }
                if OF_CONNECTION.iter().any(|other| name == other.as_bytes()) {
                    return Some(format!("{} is a field of HTTP/1", quoted(name)));
                }
                continue;
            }
            let is_known = match message {
                Message::Request => OF_REQUEST.contains(&name),
                Message::Response => name == b":status",
            };
            if !is_known {
                return Some(format!("{} is not a pseudo-header field of it", quoted(name)));
            }
            if is_regular {
                return Some(format!("{} is behind a field", quoted(name)));
            }
            if seen.contains(&name) {
                return Some(format!("{} is there twice", quoted(name)));
            }
            seen.push(name);
        }
        if self.unknown + self.omitted > 0 {
            return None;
        }
        let has = |name: &str| seen.contains(&name.as_bytes());
        let is_connect = self.fields.first(":method") == Some(b"CONNECT") && !has(":protocol");
        let needed: &[&str] = match message {
            Message::Response if self.status() < 100 => return Some("it has no status code".to_owned()),
            Message::Response => &[],
            Message::Request if is_connect => &[":method", ":authority"],
            Message::Request => &[":method", ":scheme", ":path"],
        };
        needed.iter().find(|name| !has(name)).map(|name| format!("it has no {name}"))
    }
}
