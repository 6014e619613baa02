//! Tests of the framing.

use proptest::prelude::*;

use super::*;

/// A message with a payload, not padded.
fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = (HEADER_LENGTH + payload.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(NLM_F_DUMP_INTR.to_ne_bytes());
    bytes.extend(7u32.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn header(kind: u16) -> Header {
    Header { kind, flags: NLM_F_DUMP_INTR, sequence: 7 }
}

#[test]
fn messages_of_a_datagram_come_in_order() {
    let mut datagram = message(20, b"a");
    datagram.extend([0; 3]);
    datagram.extend(message(NLMSG_DONE, b"bc"));
    let messages: Vec<_> = Messages(&datagram).collect();
    assert_eq!(messages, [Ok((header(20), &b"a"[..])), Ok((header(NLMSG_DONE), b"bc"))]);
}

#[test]
fn a_length_that_cannot_be_is_an_error_and_the_last_item() {
    for length in [0u32, 15, 21, u32::MAX] {
        let mut datagram = message(20, b"abcd");
        datagram[..4].copy_from_slice(&length.to_ne_bytes());
        let messages: Vec<_> = Messages(&datagram).collect();
        assert_eq!(messages, [Err(MessageError::Short { what: "netlink message", length: 20 })], "{length}");
    }
    assert_eq!(Messages(&[0; 15]).count(), 1);
}

#[test]
fn attributes_lose_their_flags_and_padding() {
    let mut bytes = Vec::new();
    for (kind, value) in [(8u16, &b"x"[..]), (0x8015, b"12345678")] {
        bytes.extend((4 + value.len() as u16).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let attributes: Vec<_> = Attributes(&bytes).collect();
    assert_eq!(attributes, [Ok((8, &b"x"[..])), Ok((0x15, b"12345678"))]);
}

#[test]
fn an_attribute_that_is_cut_short_is_an_error() {
    for bytes in [&[4, 0, 1][..], &[3, 0, 1, 0], &[0, 0, 1, 0], &[9, 0, 1, 0, 1, 2, 3, 4]] {
        let attributes: Vec<_> = Attributes(bytes).collect();
        let length = bytes.len();
        assert_eq!(attributes, [Err(MessageError::Short { what: "netlink attribute", length })]);
    }
}

#[test]
fn error_numbers_are_positive() {
    assert_eq!(error_number(&(-2i32).to_ne_bytes()), Ok(2));
    assert_eq!(error_number(&0i32.to_ne_bytes()), Ok(0));
    assert_eq!(error_number(&i32::MIN.to_ne_bytes()), Ok(i32::MAX));
    assert!(error_number(&[0; 3]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Messages(&bytes).count() <= bytes.len() / HEADER_LENGTH + 1);
        prop_assert!(Attributes(&bytes).count() <= bytes.len() / 4 + 1);
    }

    #[test]
    fn small_lengths_end(lengths in prop::collection::vec(0u32..40, 0..60)) {
        let bytes: Vec<u8> = lengths.iter().flat_map(|length| length.to_ne_bytes()).collect();
        prop_assert!(Messages(&bytes).count() <= bytes.len() / HEADER_LENGTH + 1);
        prop_assert!(Attributes(&bytes).count() <= bytes.len() / 4 + 1);
    }
}
