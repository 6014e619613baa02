//! The record layer (RFC 8446, section 5.1): where each record of a direction begins and ends.

/// `ContentType`.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;
/// RFC 6520.
const HEARTBEAT: u8 = 24;
/// The longest record: of TLS 1.2, encrypted (RFC 5246, section 6.2.3).
const LENGTH_MAX: u16 = (1 << 14) + 2048;
/// Type, version, length.
const HEADER: usize = 5;

/// Cuts a direction into records.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER],
    /// How many bytes of it have come.
    have: u8,
    /// How many bytes of the record are still to come, once its header is whole.
    left: u16,
    /// Whether it is not known where the next one begins.
    pub(super) is_lost: bool,
}

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) kind: u8,
    /// Of the whole record, without its header.
    pub(super) length: u16,
    /// What is new of it.
    pub(super) bytes: &'a [u8],
    /// Whether it ends the record.
    pub(super) is_last: bool,
}

impl Records {
    /// Takes the next part out of `bytes`; `None` when they are used up, or are no record ([`Self::is_lost`]).
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Part<'a>> {
        while usize::from(self.have) < HEADER && !self.is_lost {
            let (&byte, rest) = bytes.split_first()?;
            *bytes = rest;
            self.header[usize::from(self.have)] = byte;
            self.have += 1;
            self.left = self.length();
            self.is_lost = !self.is_plausible();
            if usize::from(self.have) == HEADER && self.left == 0 && !self.is_lost {
                return Some(self.part(&[]));
            }
        }
        if self.is_lost || bytes.is_empty() {
            return None;
        }
        let (part, rest) = bytes.split_at(bytes.len().min(self.left.into()));
        *bytes = rest;
        // At most `left`, so it fits.
        self.left -= part.len() as u16;
        Some(self.part(part))
    }

    fn part<'a>(&mut self, bytes: &'a [u8]) -> Part<'a> {
        let is_last = self.left == 0;
        if is_last {
            self.have = 0;
        }
        Part { kind: self.header[0], length: self.length(), bytes, is_last }
    }

    fn length(&self) -> u16 {
        u16::from_be_bytes([self.header[3], self.header[4]])
    }

    /// Whether what has come of the header can be one.
    fn is_plausible(&self) -> bool {
        let has = |count: u8| self.have >= count;
        let is_type = (CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(&self.header[0]);
        is_type
            && (!has(2) || self.header[1] == 3)
            && (!has(5) || self.left <= LENGTH_MAX)
            // Only application data may be empty.
            && (!has(5) || self.left > 0 || self.header[0] == APPLICATION_DATA)
    }

    /// Takes note of bytes that were not seen. Gives the record that they end, if they end one.
    pub(super) fn miss(&mut self, length: u64) -> Option<Part<'static>> {
        let is_inside = usize::from(self.have) == HEADER && length <= self.left.into();
        if !is_inside || self.is_lost {
            self.is_lost = true;
            return None;
        }
        // At most `left`, so it fits.
        self.left -= length as u16;
        (self.left == 0).then(|| self.part(&[]))
    }

    /// What the record is of which a part has come, when its header has.
    pub(super) fn open_kind(&self) -> Option<u8> {
        (usize::from(self.have) == HEADER).then_some(self.header[0])
    }

    /// Of a record that will not be read to its end, the bytes that have come; counted once.
    pub(super) fn take_open(&mut self) -> u64 {
        let is_open = usize::from(std::mem::take(&mut self.have)) == HEADER;
        if is_open { u64::from(self.length().saturating_sub(self.left)) } else { 0 }
    }

    /// Whether all before was whole records.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        let [high, low] = (payload.len() as u16).to_be_bytes();
        [&[kind, 3, 3, high, low][..], payload].concat()
    }

    /// The records of bytes that come in pieces of so many.
    fn whole(bytes: &[u8], size: usize) -> (Vec<(u8, Vec<u8>)>, Records) {
        let (mut records, mut all, mut open) = (Records::default(), Vec::new(), Vec::new());
        for mut piece in bytes.chunks(size) {
            while let Some(part) = records.next(&mut piece) {
                open.extend_from_slice(part.bytes);
                if part.is_last {
                    assert_eq!(usize::from(part.length), open.len());
                    all.push((part.kind, std::mem::take(&mut open)));
                }
            }
        }
        (all, records)
    }

    #[test]
    fn bytes_that_were_not_seen_leave_the_rest_readable_inside_a_record() {
        let mut records = Records::default();
        let bytes = record(APPLICATION_DATA, &[7; 100]);
        let mut piece = &bytes[..50];
        assert_eq!(records.next(&mut piece).map(|part| part.bytes.len()), Some(45));
        assert_eq!(records.miss(50), None);
        let end = records.miss(5).unwrap();
        assert!(end.is_last && end.length == 100 && !records.is_lost);
        assert_eq!(records.next(&mut &record(ALERT, &[1, 0])[..]).map(|part| part.bytes), Some(&[1, 0][..]));
        assert_eq!(records.miss(1), None);
        assert!(records.is_lost, "a header is missing");
    }

    #[test]
    fn what_is_no_record_shows_as_early_as_it_can() {
        for (bytes, used) in [
            (&b"HTTP/1.1"[..], 1),
            (&[25, 3, 3], 1),
            (&[22, 2, 0], 2),
            (&[22, 3, 1, 0, 0, 9], 5),
            (&[23, 3, 3, 0x48, 1, 9], 5),
        ] {
            let (mut records, mut rest) = (Records::default(), bytes);
            assert_eq!(records.next(&mut rest), None, "{bytes:?}");
            assert!(records.is_lost && bytes.len() - rest.len() == used, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn records_are_found_however_they_are_cut(
            payloads in prop::collection::vec((20_u8..=24, prop::collection::vec(any::<u8>(), 1..400)), 0..6),
            size in 1_usize..500,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|(kind, payload)| record(*kind, payload)).collect();
            let (found, records) = whole(&bytes, size);
            prop_assert_eq!(found, payloads);
            prop_assert!(records.is_between() && !records.is_lost);
        }

        #[test]
        fn any_bytes_have_an_end(bytes in prop::collection::vec(any::<u8>(), 0..100), miss in any::<u32>()) {
            let mut records = Records::default();
            let mut rest = &bytes[..];
            while records.next(&mut rest).is_some() {}
            records.miss(miss.into());
            while records.next(&mut rest).is_some() {}
        }
    }
}
