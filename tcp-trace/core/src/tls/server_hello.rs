//! What a server chooses (RFC 8446, sections 4.1.3 and 4.1.4; RFC 5246, sections 7.4.1.3 and 7.4.3).

use tcp_trace_model::record::Text;

use super::{
    extensions::{ALPN, KEY_SHARE, PRE_SHARED_KEY, SUPPORTED_VERSIONS},
    reader::Reader,
};

/// The random of a ServerHello that requests another ClientHello: the SHA-256 of "HelloRetryRequest".
const HELLO_RETRY_REQUEST: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// `ECCurveType.named_curve` (RFC 8422, section 5.4).
const NAMED_CURVE: usize = 3;

/// A ServerHello or HelloRetryRequest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerHello {
    pub(super) is_retry: bool,
    pub(super) version: u16,
    pub(super) cipher: u16,
    pub(super) group: Option<u16>,
    pub(super) alpn: Option<Text>,
    pub(super) session_id: Vec<u8>,
    /// Whether it takes one of the keys that the client has offered.
    pub(super) takes_key: bool,
}

/// Reads the message's body; `None` when it is none.
pub(super) fn read(body: &[u8]) -> Option<ServerHello> {
    let mut reader = Reader(body);
    let version = reader.short()?;
    let is_retry = reader.take(32)? == HELLO_RETRY_REQUEST;
    let session_id = reader.vector(1)?.to_vec();
    let cipher = reader.short()?;
    // Compression method.
    reader.take(1)?;
    let mut hello =
        ServerHello { is_retry, version, cipher, group: None, alpn: None, session_id, takes_key: false };
    for (kind, mut value) in Reader(reader.vector(2).unwrap_or_default()).extensions() {
        match kind {
            SUPPORTED_VERSIONS => hello.version = value.short()?,
            KEY_SHARE => hello.group = value.short(),
            ALPN => hello.alpn = Reader(value.vector(2).unwrap_or_default()).vector(1).map(Text::from),
            PRE_SHARED_KEY => hello.takes_key = true,
            _ => {}
        }
    }
    Some(hello)
}

/// The group in a ServerKeyExchange with an elliptic curve, before TLS 1.3.
pub(super) fn group_of_key_exchange(body: &[u8]) -> Option<u16> {
    let mut reader = Reader(body);
    (reader.number(1)? == NAMED_CURVE).then(|| reader.short())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::testing::{server_hello, vector};

    #[test]
    fn a_hello_says_what_the_server_chose() {
        let alpn = vector(2, &vector(1, b"h2"));
        let hello = read(&server_hello(&[7; 32], 0xc02f, &[(ALPN, &alpn)])).unwrap();
        assert_eq!((hello.version, hello.cipher, hello.alpn), (0x0303, 0xc02f, Some(Text::from("h2"))));
        assert!(!hello.is_retry && !hello.takes_key);
        let share = [&[0, 0x1d][..], &vector(2, &[5; 32])].concat();
        let extensions: [(u16, &[u8]); 3] =
            [(SUPPORTED_VERSIONS, &[3, 4]), (KEY_SHARE, &share), (PRE_SHARED_KEY, &[0, 0])];
        let hello = read(&server_hello(&[7; 32], 0x1301, &extensions)).unwrap();
        assert_eq!((hello.version, hello.group, hello.takes_key), (0x0304, Some(0x1d), true));
        let retry = read(&server_hello(&HELLO_RETRY_REQUEST, 0x1301, &[(KEY_SHARE, &[0, 0x17])])).unwrap();
        assert_eq!((retry.is_retry, retry.group), (true, Some(0x17)));
    }

    #[test]
    fn only_a_named_curve_is_a_group() {
        assert_eq!(group_of_key_exchange(&[3, 0, 0x17, 65, 4]), Some(0x17));
        assert_eq!(group_of_key_exchange(&[1, 0, 0x17]), None);
        assert_eq!(group_of_key_exchange(&[3, 0]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
            read(&server_hello(&[0; 32], 1, &[(KEY_SHARE, &bytes), (SUPPORTED_VERSIONS, &bytes), (ALPN, &bytes)]));
            group_of_key_exchange(&bytes);
        }
    }
}
