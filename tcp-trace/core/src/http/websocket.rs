//! WebSocket frames (RFC 6455, section 5): counted, not kept.

use tcp_trace_model::exchange::Frames;

/// The longest header of a frame.
const HEADER_MAX: usize = 14;
/// Most bytes that a control frame carries (section 5.5).
const CONTROL_MAX: u64 = 125;

/// Follows the frames of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Follower {
    pub(crate) frames: Frames,
    /// Clients mask what they send, and nobody else does (section 5.1).
    is_client: bool,
    /// Whether the reserved bits can have a meaning.
    has_extensions: bool,
    header: [u8; HEADER_MAX],
    header_length: usize,
    /// Payload of the current frame that is still to come; `None` in a header.
    left: Option<u64>,
    /// Bytes of a close frame's status code.
    code: [u8; 2],
    code_length: usize,
    is_fragmented: bool,
    end: Option<Stop>,
}

/// Why a direction has no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A close frame.
    Closed,
    /// A frame that cannot be.
    Illegal(&'static str),
    /// Bytes were not seen.
    Gap,
}

impl Follower {
    pub(crate) fn new(is_client: bool, has_extensions: bool) -> Self {
        Self {
            frames: Frames::default(),
            is_client,
            has_extensions,
            header: [0; HEADER_MAX],
            header_length: 0,
            left: None,
            code: [0; 2],
            code_length: 0,
            is_fragmented: false,
            end: None,
        }
    }

    /// Why there are no more frames, once that is so.
    pub(super) fn end(&self) -> Option<Stop> {
        self.end
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while self.end.is_none() && !bytes.is_empty() {
            let Some(left) = self.left else {
                self.header_byte(bytes[0]);
                bytes = &bytes[1..];
                continue;
            };
            // At most the length of `bytes`, so it fits.
            let here = left.min(bytes.len() as u64) as usize;
            if self.is_close() {
                self.code_bytes(&bytes[..here]);
            }
            bytes = &bytes[here..];
            self.take(left, here as u64);
        }
    }

    /// Bytes that need not be seen: the rest of a frame, and whatever follows the last one.
    pub(crate) fn unneeded(&self) -> u64 {
        match (self.end, self.left) {
            (Some(_), _) => u64::MAX,
            (None, Some(left)) if !self.is_close() => left,
            _ => 0,
        }
    }

    /// Passes over so many bytes, at most [`unneeded`](Self::unneeded).
    pub(crate) fn skip(&mut self, bytes: u64) {
        if let (None, Some(left)) = (self.end, self.left) {
            self.take(left, bytes.min(left));
        }
    }

    /// Bytes that were needed are missing: nobody knows where frames begin.
    pub(crate) fn lose(&mut self) {
        self.end.get_or_insert(Stop::Gap);
    }

    fn is_close(&self) -> bool {
        self.header[0] & 0x0f == 8
    }

    fn mask_at(&self) -> usize {
        match self.header[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn header_byte(&mut self, byte: u8) {
        self.header[self.header_length] = byte;
        self.header_length += 1;
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        if self.header_length < 2 || self.header_length < self.mask_at() + mask {
            return;
        }
        self.header_length = 0;
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let length = match self.mask_at() {
            2 => u64::from(self.header[1] & 0x7f),
            end => big_endian(&self.header[2..end]),
        };
        match self.fault(length) {
            Some(reason) => self.end = Some(Stop::Illegal(reason)),
            None => self.begin(length),
        }
    }

    /// What is illegal about the frame whose header is whole (section 5.2).
    fn fault(&self, length: u64) -> Option<&'static str> {
        let [first, second, ..] = self.header;
        let (is_final, opcode) = (first & 0x80 != 0, first & 0x0f);
        let is_control = opcode >= 8;
        let shortest = match length {
            0..126 => 2,
            126..0x1_0000 => 4,
            _ => 10,
        };
        if first & 0x70 != 0 && !self.has_extensions {
            Some("a reserved bit without an extension")
        } else if !matches!(opcode, 0..=2 | 8..=10) {
            Some("a reserved opcode")
        } else if self.is_client && second & 0x80 == 0 {
            Some("a frame that is not masked")
        } else if !self.is_client && second & 0x80 != 0 {
            Some("a frame that is masked")
        } else if length >> 63 != 0 || shortest != self.mask_at() {
            Some("a length that is not in its shortest form")
        } else if is_control && (!is_final || length > CONTROL_MAX) {
            Some("a control frame that is fragmented or too long")
        } else if opcode == 0 && !self.is_fragmented {
            Some("a continuation of nothing")
        } else if matches!(opcode, 1 | 2) && self.is_fragmented {
            Some("a new message inside another")
        } else {
            None
        }
    }

    fn begin(&mut self, length: u64) {
        let opcode = self.header[0] & 0x0f;
        let frames = &mut self.frames;
        let count = match opcode {
            0 => &mut frames.continuation,
            1 => &mut frames.text,
            2 => &mut frames.binary,
            8 => &mut frames.close,
            9 => &mut frames.ping,
            _ => &mut frames.pong,
        };
        *count += 1;
        if opcode < 8 {
            self.is_fragmented = self.header[0] & 0x80 == 0;
        }
        self.left = Some(length);
        if length == 0 {
            self.take(0, 0);
        }
    }

    /// Counts `here` of the `left` bytes of the current frame.
    fn take(&mut self, left: u64, here: u64) {
        self.frames.bytes += here;
        self.left = Some(left - here).filter(|left| *left > 0);
        if self.left.is_none() && self.is_close() {
            self.end = Some(Stop::Closed);
        }
    }

    fn code_bytes(&mut self, bytes: &[u8]) {
        let mask_at = self.mask_at();
        for byte in bytes {
            if self.code_length == 2 {
                return;
            }
            let mask = if self.is_client { self.header[mask_at + self.code_length] } else { 0 };
            self.code[self.code_length] = byte ^ mask;
            self.code_length += 1;
            if self.code_length == 2 {
                self.frames.close_code = Some(u16::from_be_bytes(self.code));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(is_client: bool, bytes: &[u8], piece: usize) -> Follower {
        let mut follower = Follower::new(is_client, false);
        bytes.chunks(piece).for_each(|piece| follower.feed(piece));
        follower
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        // "Hel" and "lo" in two fragments with a ping between them (section 5.7), then 256 bytes of binary.
        let mut bytes = b"\x01\x03Hel\x89\x00\x80\x02lo\x82\x7e\x01\x00".to_vec();
        bytes.extend([0; 256]);
        bytes.extend(b"\x88\x04\x03\xe8by");
        for piece in [1, 2, 3, 5, 1000] {
            let follower = follow(false, &bytes, piece);
            let expected = Frames {
                continuation: 1,
                text: 1,
                binary: 1,
                close: 1,
                ping: 1,
                pong: 0,
                bytes: 265,
                close_code: Some(1000),
            };
            assert_eq!(follower.frames, expected, "{piece}");
            assert_eq!(follower.end(), Some(Stop::Closed), "{piece}");
        }
    }

    #[test]
    fn a_clients_close_code_is_unmasked() {
        let follower = follow(true, b"\x88\x82\x01\x02\x03\x04\x02\xeb", 1);
        assert_eq!(follower.frames.close_code, Some(1001));
    }

    #[test]
    fn illegal_frames_say_why() {
        for (is_client, bytes, reason) in [
            (false, &b"\xc1\x00"[..], "a reserved bit without an extension"),
            (false, b"\x83\x00", "a reserved opcode"),
            (true, b"\x81\x00", "a frame that is not masked"),
            (false, b"\x81\x80\0\0\0\0", "a frame that is masked"),
            (false, b"\x81\x7e\x00\x05", "a length that is not in its shortest form"),
            (false, b"\x81\x7f\x80\0\0\0\0\0\0\0", "a length that is not in its shortest form"),
            (false, b"\x09\x00", "a control frame that is fragmented or too long"),
            (false, b"\x88\x7e\x01\x00", "a control frame that is fragmented or too long"),
            (false, b"\x80\x00", "a continuation of nothing"),
            (false, b"\x01\x00\x81\x00", "a new message inside another"),
        ] {
            assert_eq!(follow(is_client, bytes, 1).end(), Some(Stop::Illegal(reason)), "{reason}");
        }
    }
}
