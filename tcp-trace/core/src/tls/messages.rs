//! Handshake messages (RFC 8446, section 4): records hold parts of them, or several.

/// The longest message that is kept while the rest of it is awaited. Certificates are what is long: real chains have some 10 KiB.
pub(super) const MESSAGE_MAX: usize = 64 << 10;
/// Type and length.
const HEADER: usize = 4;

/// Puts the messages of a direction together.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// What has come of the message that is being read: its header, and the rest if it is kept.
    bytes: Vec<u8>,
    /// How many bytes of the message that is not kept are to come.
    skip: usize,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// `None` where it is not kept: not wanted, or too long.
    pub(super) body: Option<Vec<u8>>,
}

impl Messages {
    /// Takes the next message out of `bytes`, when it is whole or is not kept; `None` when they are used up. `wanted` says
    /// which types are kept.
    pub(super) fn next(&mut self, bytes: &mut &[u8], wanted: impl Fn(u8) -> bool) -> Option<Message> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        *bytes = &bytes[skipped..];
        self.gather(bytes, HEADER);
        let &[kind, a, b, c, ..] = &self.bytes[..] else { return None };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > MESSAGE_MAX || !wanted(kind) {
            self.bytes.clear();
            self.skip = length;
            return Some(Message { kind, body: None });
        }
        self.gather(bytes, HEADER + length);
        (self.bytes.len() == HEADER + length).then(|| {
            let mut body = std::mem::take(&mut self.bytes);
            body.drain(..HEADER);
            Message { kind, body: Some(body) }
        })
    }

    /// Takes from `bytes` until it has `length`.
    fn gather(&mut self, bytes: &mut &[u8], length: usize) {
        let taken = length.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        [&[kind][..], &length[1..], body].concat()
    }

    fn read(bytes: &[u8], size: usize) -> Vec<Message> {
        let (mut messages, mut all) = (Messages::default(), Vec::new());
        for mut piece in bytes.chunks(size) {
            while let Some(message) = messages.next(&mut piece, |kind| kind < 16) {
                all.push(message);
            }
        }
        all
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let bytes = [written(1, &vec![0; MESSAGE_MAX + 1]), written(2, b"x")].concat();
        let expected = [Message { kind: 1, body: None }, Message { kind: 2, body: Some(b"x".to_vec()) }];
        for size in [7, 5000, bytes.len()] {
            assert_eq!(read(&bytes, size), expected);
        }
    }

    proptest! {
        #[test]
        fn messages_are_found_however_they_are_cut(
            bodies in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..6),
            size in 1_usize..400,
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|(kind, body)| written(*kind, body)).collect();
            let expected: Vec<_> = bodies
                .into_iter()
                .map(|(kind, body)| Message { kind, body: (kind < 16).then_some(body) })
                .collect();
            prop_assert_eq!(read(&bytes, size), expected);
        }
    }
}
