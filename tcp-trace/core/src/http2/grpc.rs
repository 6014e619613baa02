//! Calls of gRPC (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md).

use tcp_trace_model::{
    fields::Fields,
    http2::{Grpc, GrpcMessages, GrpcStatus},
    text::Text,
};

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Whether fields are of a call: gRPC-Web, whose messages may be of text, is none.
pub(super) fn is_grpc(fields: &Fields) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let is_type = |value: &[u8]| {
        value.get(..TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(TYPE))
            && matches!(value.get(TYPE.len()), None | Some(b'+' | b';'))
    };
    fields.first("content-type").is_some_and(is_type)
}

/// What the head of a request says of a call.
pub(super) fn call(path: &[u8], fields: &Fields) -> Grpc {
    let parts = || {
        let path = path.strip_prefix(b"/")?;
        let at = path.iter().rposition(|byte| *byte == b'/')?;
        Some((Text::from(&path[..at]), Text::from(&path[at + 1..])))
    };
    let (service, method) = parts().unzip();
    let timeout_us = fields.first("grpc-timeout").and_then(timeout_us);
    Grpc { service, method, timeout_us, ..Grpc::default() }
}

/// Takes the status out of trailers, or out of a head that is all there is of a response.
pub(super) fn conclude(grpc: &mut Grpc, fields: &Fields) {
    let status = fields.first("grpc-status").and_then(|status| str::from_utf8(status).ok()?.parse().ok());
    grpc.status = status.map(GrpcStatus).or(grpc.status);
    if let Some(message) = fields.first("grpc-message") {
        grpc.message = Some(Text::from(decoded(message)));
    }
}

/// A number of at most eight digits and its unit.
fn timeout_us(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(number * 3_600_000_000),
        b'M' => Some(number * 60_000_000),
        b'S' => Some(number * 1_000_000),
        b'm' => Some(number * 1_000),
        b'u' => Some(number),
        b'n' => Some(number / 1_000),
        _ => None,
    }
}

/// A message whose bytes are percent-encoded; what is no code stays as it is.
fn decoded(message: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (mut rest, mut text) = (message, Vec::new());
    while let Some((first, behind)) = rest.split_first() {
        let code = match behind {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        match code {
            Some((high, low)) => {
                // Two digits of four bits.
                text.push((high << 4 | low) as u8);
                rest = &behind[2..];
            }
            None => {
                text.push(*first);
                rest = behind;
            }
        }
    }
    text
}

/// Follows the messages of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Messages {
    pub(super) counts: GrpcMessages,
    prefix: [u8; PREFIX],
    have: usize,
    /// Bytes of the current message that are still to come.
    left: u64,
    is_lost: bool,
}

impl Messages {
    /// Takes the next bytes, which came so many microseconds after the call began.
    pub(super) fn feed(&mut self, mut bytes: &[u8], us: u64) {
        while !self.is_lost && !bytes.is_empty() {
            if self.left > 0 {
                // At most the length of `bytes`, so it fits.
                let here = self.left.min(bytes.len() as u64) as usize;
                self.skip(here as u64, us);
                bytes = &bytes[here..];
                continue;
            }
            self.prefix[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have < PREFIX {
                continue;
            }
            let [_, length @ ..] = self.prefix;
            self.have = 0;
            self.left = u32::from_be_bytes(length).into();
            if self.left == 0 {
                self.end_message(us);
            }
        }
    }

    /// Passes over bytes that were not seen.
    pub(super) fn skip(&mut self, bytes: u64, us: u64) {
        if self.is_lost || bytes == 0 {
            return;
        }
        if bytes > self.left {
            (self.is_lost, self.left) = (true, 0);
            return;
        }
        self.left -= bytes;
        self.counts.bytes += bytes;
        if self.left == 0 {
            self.end_message(us);
        }
    }

    /// Bytes that need not be seen.
    pub(super) fn unneeded(&self) -> u64 {
        if self.is_lost { u64::MAX } else { self.left }
    }

    fn end_message(&mut self, us: u64) {
        self.counts.count += 1;
        self.counts.first_us.get_or_insert(us);
        self.counts.last_us = Some(us);
    }

    /// What is recorded of them.
    pub(super) fn recorded(&self) -> GrpcMessages {
        GrpcMessages { cut: self.is_lost || self.have > 0 || self.left > 0, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let bytes = b"\0\0\0\0\x03abc\x01\0\0\0\0\0\0\0\0\x01x";
        for piece in [1, 2, 7, 100] {
            let mut messages = Messages::default();
            let mut us = 0;
            for bytes in bytes.chunks(piece) {
                us += bytes.len() as u64;
                messages.feed(bytes, us);
            }
            let counts = messages.recorded();
            assert_eq!((counts.count, counts.bytes, counts.cut), (3, 4, false), "{piece}");
            assert_eq!(counts.last_us, Some(bytes.len() as u64));
        }
        let mut messages = Messages::default();
        messages.feed(b"\0\0\0\0\x09ab", 1);
        assert_eq!(messages.unneeded(), 7);
        messages.skip(6, 2);
        assert!(messages.recorded().cut);
        messages.skip(1, 3);
        assert_eq!((messages.recorded().count, messages.recorded().cut), (1, false));
        messages.skip(1, 4);
        messages.feed(b"\0\0\0\0\0", 5);
        assert_eq!((messages.recorded().count, messages.recorded().cut), (1, true));
    }

    #[test]
    fn what_a_request_asks_for() {
        for (value, expected) in [
            ("5S", Some(5_000_000)),
            ("100m", Some(100_000)),
            ("1H", Some(3_600_000_000)),
            ("99999999H", Some(99_999_999 * 3_600_000_000)),
            ("2M", Some(120_000_000)),
            ("1500n", Some(1)),
            ("7u", Some(7)),
            ("123456789S", None),
            ("5", None),
            ("S", None),
            ("-1S", None),
            ("", None),
        ] {
            assert_eq!(timeout_us(value.as_bytes()), expected, "{value}");
        }
        let call = call(b"/pkg.Greeter/SayHello", &Fields::new());
        assert_eq!((call.service, call.method), (Some("pkg.Greeter".into()), Some("SayHello".into())));
        assert_eq!(super::call(b"/none", &Fields::new()).service, None);
    }

    #[test]
    fn which_content_is_a_call() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/GRPC;x=y", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&[("content-type", value)].into_iter().collect()), expected, "{value}");
        }
    }

    #[test]
    fn a_message_is_decoded() {
        assert_eq!(decoded(b"a%20b%C3%A9%zz%4"), "a bé%zz%4".as_bytes());
        let mut grpc = Grpc::default();
        conclude(&mut grpc, &[("grpc-status", "5"), ("grpc-message", "no%20user")].into_iter().collect());
        assert_eq!((grpc.status, grpc.message), (Some(GrpcStatus(5)), Some("no user".into())));
    }
}
