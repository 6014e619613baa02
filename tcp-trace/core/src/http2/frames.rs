//! Frames: where they begin and end (RFC 9113, sections 4 and 6).

use std::borrow::Cow;

use tcp_trace_model::time::Time;

/// Bytes of a frame's header (section 4.1).
pub const HEADER: usize = 9;
/// The longest payload that is kept of a frame other than DATA.
pub(super) const PAYLOAD_MAX: usize = 64 << 10;
/// What SETTINGS_MAX_FRAME_SIZE is at first (section 6.5.2).
pub(super) const FRAME_SIZE_AT_FIRST: u32 = 16 << 10;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
}

impl Head {
    fn of([a, b, c, kind, flags, d, e, f, g]: [u8; HEADER]) -> Self {
        let length = u32::from_be_bytes([0, a, b, c]);
        Self { length, kind, flags, stream: u32::from_be_bytes([d & 0x7f, e, f, g]) }
    }

    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }

    pub(super) fn is_ack(self) -> bool {
        self.flags & ACK != 0
    }

    fn is_padded(self) -> bool {
        matches!(self.kind, DATA | HEADERS | PUSH_PROMISE) && self.flags & PADDED != 0
    }

    /// What is illegal about it (section 6), where `longest` is what the receiver has allowed, if that is known.
    fn check(self, longest: Option<u32>) -> Result<(), &'static str> {
        let of_connection = matches!(self.kind, SETTINGS | PING | GOAWAY);
        let of_stream =
            matches!(self.kind, DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION);
        let is_length_legal = match self.kind {
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            PING => self.length == 8,
            SETTINGS if self.is_ack() => self.length == 0,
            SETTINGS => self.length.is_multiple_of(6),
            GOAWAY => self.length >= 8,
            _ => true,
        };
        if longest.is_some_and(|longest| self.length > longest) {
            Err("a frame that is longer than the receiver allows")
        } else if of_connection && self.stream != 0 {
            Err("a frame of the connection on a stream")
        } else if of_stream && self.stream == 0 {
            Err("a frame of a stream on none")
        } else if !is_length_legal {
            Err("a frame whose length its type cannot have")
        } else {
            Ok(())
        }
    }

    /// The fields' part of the payload of HEADERS, PUSH_PROMISE or CONTINUATION, with the stream that is promised.
    pub(super) fn fragment(self, payload: &[u8]) -> Result<(&[u8], u32), &'static str> {
        const SHORT: &str = "a frame that is too short for what it has before its fields";
        let mut payload = payload;
        let mut padding = 0;
        if self.is_padded() {
            let (length, rest) = payload.split_first().ok_or(SHORT)?;
            (padding, payload) = (usize::from(*length), rest);
        }
        if self.kind == HEADERS && self.flags & WITH_PRIORITY != 0 {
            payload = payload.get(5..).ok_or(SHORT)?;
        }
        let mut promised = 0;
        if self.kind == PUSH_PROMISE {
            let (number, rest) = payload.split_first_chunk().ok_or(SHORT)?;
            (promised, payload) = (u32::from_be_bytes(*number) & 0x7fff_ffff, rest);
        }
        let length = payload.len().checked_sub(padding).ok_or("padding that is longer than its frame")?;
        Ok((&payload[..length], promised))
    }
}

/// What comes of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole frame other than DATA, and when its first byte came.
    Frame { head: Head, payload: Cow<'a, [u8]>, started: Time },
    /// A frame other than DATA whose payload is too long to keep. It has passed.
    TooLong(Head),
    /// A part of a frame of DATA.
    Data(Data<'a>),
}

/// A part of a frame of DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data<'a> {
    pub(super) head: Head,
    /// What was seen of it, without padding.
    pub(super) bytes: &'a [u8],
    /// Bytes without padding that were not seen, in place of `bytes`.
    pub(super) unseen: u64,
    /// Bytes that flow control counts: with padding (section 6.9.1).
    pub(super) counted: u64,
    /// Whether the frame is over.
    pub(super) is_over: bool,
}

/// A frame whose header has come.
#[derive(Clone, Copy, Debug)]
struct Current {
    head: Head,
    /// Bytes of its payload that are still to come.
    left: u32,
    /// How many of them, the last ones, are padding. `None` where the byte that says it is still to come.
    padding: Option<u32>,
}

/// The frames of one direction.
#[derive(Debug)]
pub(super) struct Frames {
    header: [u8; HEADER],
    have: usize,
    current: Option<Current>,
    /// The payload so far of a frame that is not whole.
    payload: Vec<u8>,
    started: Time,
    /// The longest payload that the receiver allows, if that is known.
    pub(super) longest: Option<u32>,
}

impl Frames {
    pub(super) fn new(longest: Option<u32>) -> Self {
        Self { header: [0; HEADER], have: 0, current: None, payload: Vec::new(), started: Time(0), longest }
    }

    /// Bytes that are kept.
    pub(super) fn retained_bytes(&self) -> usize {
        self.payload.capacity()
    }

    /// Bytes of DATA that follow and need not be seen. `None` outside of DATA.
    pub(super) fn data_left(&self) -> Option<(u32, u64)> {
        let current = self.current.filter(|current| current.head.kind == DATA)?;
        let padding = current.padding?;
        Some((current.head.stream, u64::from(current.left - padding)))
    }

    /// Takes bytes up to the next piece; `None` when all are taken and the frame goes on.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
        time: Time,
    ) -> Result<Option<Piece<'a>>, &'static str> {
        loop {
            let Some(current) = &mut self.current else {
                if !self.header_bytes(bytes, time)? {
                    return Ok(None);
                }
                continue;
            };
            if current.head.kind == DATA {
                return self.data_bytes(bytes);
            }
            // At most the length of `bytes`, so it fits.
            let here = (current.left as usize).min(bytes.len());
            let (payload, rest) = bytes.split_at(here);
            *bytes = rest;
            current.left -= here as u32;
            let Current { head, left, .. } = *current;
            let is_too_long = head.length as usize > PAYLOAD_MAX;
            if left > 0 {
                if !is_too_long {
                    self.payload.extend_from_slice(payload);
                }
                return Ok(None);
            }
            self.current = None;
            if is_too_long {
                return Ok(Some(Piece::TooLong(head)));
            }
            let payload = if self.payload.is_empty() {
                payload.into()
            } else {
                self.payload.extend_from_slice(payload);
                std::mem::take(&mut self.payload).into()
            };
            return Ok(Some(Piece::Frame { head, payload, started: self.started }));
        }
    }

    /// Takes bytes of a header; whether it is whole.
    fn header_bytes(&mut self, bytes: &mut &[u8], time: Time) -> Result<bool, &'static str> {
        if bytes.is_empty() {
            return Ok(false);
        }
        if self.have == 0 {
            self.started = time;
        }
        let here = (HEADER - self.have).min(bytes.len());
        let (header, rest) = bytes.split_at(here);
        self.header[self.have..self.have + here].copy_from_slice(header);
        (*bytes, self.have) = (rest, self.have + here);
        if self.have < HEADER {
            return Ok(false);
        }
        self.have = 0;
        let head = Head::of(self.header);
        head.check(self.longest)?;
        let padding = if head.kind == DATA && head.is_padded() { None } else { Some(0) };
        if padding.is_none() && head.length == 0 {
            return Err("a padded frame without a length of its padding");
        }
        self.current = Some(Current { head, left: head.length, padding });
        Ok(true)
    }

    fn data_bytes<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Piece<'a>>, &'static str> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let mut counted = 0;
        let padding = match (current.padding, bytes.split_first()) {
            (Some(padding), _) => padding,
            (None, None) => return Ok(None),
            (None, Some((padding, rest))) => {
                *bytes = rest;
                current.left -= 1;
                counted = 1;
                let padding = u32::from(*padding);
                if padding > current.left {
                    return Err("padding that is longer than its frame");
                }
                current.padding = Some(padding);
                padding
            }
        };
        if bytes.is_empty() && current.left > 0 && counted == 0 {
            return Ok(None);
        }
        let here = (current.left as usize).min(bytes.len());
        let body = ((current.left - padding.min(current.left)) as usize).min(here);
        let (payload, rest) = bytes.split_at(here);
        *bytes = rest;
        counted += here as u64;
        current.left -= here as u32;
        // What is left of the padding, once that has begun.
        current.padding = Some(padding.min(current.left));
        let Current { head, left, .. } = *current;
        if left == 0 {
            self.current = None;
        }
        Ok(Some(Piece::Data(Data { head, bytes: &payload[..body], unseen: 0, counted, is_over: left == 0 })))
    }

    /// Passes over bytes that were not seen, which is possible inside DATA, up to the end of the frame. `None` where it is not. Behind
    /// the frame, too, nobody knows where frames begin.
    pub(super) fn pass(&mut self, length: u64) -> Option<Data<'static>> {
        let current = self.current.as_mut().filter(|current| current.head.kind == DATA)?;
        let padding = current.padding?;
        let length = u32::try_from(length).unwrap_or(u32::MAX).min(current.left);
        let unseen = length.min(current.left - padding);
        current.left -= length;
        current.padding = Some(padding.min(current.left));
        let Current { head, left, .. } = *current;
        if left == 0 {
            self.current = None;
        }
        let (unseen, counted) = (unseen.into(), length.into());
        Some(Data { head, bytes: &[], unseen, counted, is_over: left == 0 })
    }
}

/// What a frame's header says, if it can be one in the middle of a connection.
fn head_amid(header: [u8; HEADER]) -> Option<Head> {
    let head = Head::of(header);
    // Flags and the reserved bit are 0 where they have no meaning.
    let flags = match head.kind {
        DATA => END_STREAM | PADDED,
        HEADERS => END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
        SETTINGS | PING => ACK,
        PUSH_PROMISE => END_HEADERS | PADDED,
        CONTINUATION => END_HEADERS,
        PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
        _ => return None,
    };
    let is_legal = head.flags & !flags == 0 && header[5] & 0x80 == 0 && head.check(Some(1 << 20)).is_ok();
    is_legal.then_some(head)
}

/// The header of a frame that is not empty, if these bytes are that and nothing else.
pub(super) fn header_alone(bytes: &[u8]) -> Option<[u8; HEADER]> {
    let header = bytes.try_into().ok()?;
    head_amid(header).filter(|head| head.length > 0).map(|_| header)
}

/// Whether bytes in the middle of a connection are frames of HTTP/2 from the first to the last, at least one of which hardly anything else
/// can be: that is also DATA, at most `longest`, of a stream that `is_going_on`. The last one may go on behind them where such a one came
/// before, or is one.
pub(super) fn tile(bytes: &[u8], is_going_on: impl Fn(u32) -> bool, longest: u32) -> bool {
    let (mut rest, mut is_sure) = (bytes, false);
    while !rest.is_empty() {
        let Some((header, behind)) = rest.split_first_chunk() else { return is_sure };
        let Some(head) = head_amid(*header) else { return false };
        is_sure |= head.kind == DATA && (1..=longest).contains(&head.length) && is_going_on(head.stream);
        let Some((payload, behind)) = behind.split_at_checked(head.length as usize) else {
            return is_sure;
        };
        is_sure |= match head.kind {
            RST_STREAM => matches!(payload, [0, 0, 0, 0..=13]),
            WINDOW_UPDATE => payload != [0; 4] && payload[0] & 0x80 == 0,
            SETTINGS => {
                head.is_ack()
                    || !payload.is_empty() && payload.chunks(6).all(|one| one[0] == 0 && one[1] <= 16)
            }
            PING => true,
            HEADERS => head.ends_headers() && begins_with_pseudo_field(head, payload),
            _ => false,
        };
        rest = behind;
    }
    is_sure
}

/// Whether bytes begin with SETTINGS that can come first; `None` when more of them are needed.
pub(super) fn begins_with_settings(bytes: &[u8]) -> Option<bool> {
    // Few parameters are known, and none has to come twice.
    const LENGTH_MAX: u32 = 6 * 64;
    let likely = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    let is_likely =
        bytes.iter().zip(likely).enumerate().all(|(at, (is, likely))| matches!(at, 1 | 2) || *is == likely);
    match bytes.first_chunk() {
        _ if !is_likely => Some(false),
        Some(header) => Some(Head::of(*header).check(Some(LENGTH_MAX)).is_ok()),
        None => None,
    }
}

/// Whether the first field of HEADERS is a pseudo-header field, or one of the dynamic table that may be. So it is in every head, and in
/// few trailers.
fn begins_with_pseudo_field(head: Head, payload: &[u8]) -> bool {
    let Ok((fields, _)) = head.fragment(payload) else { return false };
    // Sizes of the table may stand before it.
    let behind_sizes = fields.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or(fields.len());
    match fields.get(behind_sizes) {
        // RFC 7541, appendix A: entries 1 to 14 are those of pseudo-header fields.
        Some(0x81..=0x8e | 0xbe..) => true,
        Some(0x41..=0x4e | 0x7e..=0x7f | 0x01..=0x0e | 0x11..=0x1e) => true,
        _ => false,
    }
}
