//! What a client offers (RFC 8446, section 4.1.2; RFC 5246, section 7.4.1.2).

use tcp_trace_model::record::{Text, TlsClient};

use super::{
    extensions::{
        ALPN, EARLY_DATA, ECH, PRE_SHARED_KEY, SERVER_NAME, SESSION_TICKET, SUPPORTED_GROUPS,
        SUPPORTED_VERSIONS,
    },
    names,
    reader::Reader,
};

/// Entries of a list that are kept.
const LIST_MAX: usize = 256;
/// Protocols of ALPN that are kept, of at most 255 bytes each: clients offer two or three.
const PROTOCOLS_MAX: usize = 16;
/// Bytes of the server's name that are kept: the longest that a host can have (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 255;
/// The longest session id.
const SESSION_ID_MAX: usize = 32;
/// `NameType.host_name` (RFC 6066, section 3).
const HOST_NAME: usize = 0;

/// A ClientHello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientHello {
    pub(super) offer: TlsClient,
    /// The session id that the server repeats if it goes on with that session, before TLS 1.3.
    pub(super) session_id: Vec<u8>,
    pub(super) early_data: bool,
}

/// Reads the message's body; `None` when it is none.
pub(super) fn read(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    let legacy_version = reader.short()?;
    // Random.
    reader.take(32)?;
    let session_id = reader.vector(1).filter(|id| id.len() <= SESSION_ID_MAX)?;
    let ciphers = Reader(reader.vector(2)?);
    // Compression methods.
    reader.vector(1)?;
    let mut hello = ClientHello { session_id: session_id.to_vec(), ..ClientHello::default() };
    let offer = &mut hello.offer;
    offer.ciphers = ciphers.shorts().filter(is_meant).take(LIST_MAX).map(names::cipher_suite).collect();
    let (mut has_ticket, mut has_versions) = (false, false);
    // SSL 3 and some clients of TLS 1.0 send none.
    let extensions = reader.vector(2).unwrap_or_default();
    for (kind, mut value) in Reader(extensions).extensions() {
        match kind {
            SERVER_NAME => {
                offer.server_name =
                    host_name(value).map(|name| Text::from(&name[..name.len().min(NAME_MAX)]));
            }
            SUPPORTED_GROUPS => {
                let groups = Reader(value.vector(2).unwrap_or_default()).shorts().filter(is_meant);
                offer.groups = groups.take(LIST_MAX).map(names::group).collect();
            }
            ALPN => {
                let protocols = Reader(value.vector(2).unwrap_or_default()).vectors(1);
                offer.alpn = protocols.take(PROTOCOLS_MAX).map(Text::from).collect();
            }
            SUPPORTED_VERSIONS => {
                has_versions = true;
                let versions = Reader(value.vector(1).unwrap_or_default()).shorts().filter(is_meant);
                offer.versions = versions.take(LIST_MAX).map(names::version).collect();
            }
            SESSION_TICKET => has_ticket = !value.0.is_empty(),
            PRE_SHARED_KEY => offer.resumption = true,
            EARLY_DATA => hello.early_data = true,
            ECH => offer.ech = true,
            _ => {}
        }
    }
    if !has_versions {
        // It speaks this one and all before it.
        offer.versions = vec![names::version(legacy_version)];
        // One that speaks TLS 1.3 sends a session id without a meaning.
        offer.resumption |= !session_id.is_empty();
    }
    offer.resumption |= has_ticket;
    Some(hello)
}

fn is_meant(number: &u16) -> bool {
    !names::is_grease(*number)
}

fn host_name(mut value: Reader<'_>) -> Option<&[u8]> {
    let mut names = Reader(value.vector(2)?);
    while let Some(kind) = names.number(1) {
        let name = names.vector(2)?;
        if kind == HOST_NAME {
            return Some(name);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::testing::{Hello, vector};

    #[test]
    fn the_name_and_what_is_offered_are_found_among_other_extensions() {
        let body = Hello::default()
            .with(0x0a0a, &[])
            .with(SUPPORTED_GROUPS, &vector(2, &[0x1a, 0x1a, 0x11, 0xec, 0, 0x1d]))
            .name("www.example.com")
            .with(ALPN, &vector(2, &[vector(1, b"h2"), vector(1, b"http/1.1")].concat()))
            .with(SUPPORTED_VERSIONS, &vector(1, &[0x2a, 0x2a, 3, 4, 3, 3]))
            .with(ECH, &[0])
            .body();
        let ClientHello { offer, early_data, .. } = read(&body).unwrap();
        assert_eq!(offer.server_name, Some(Text::from("www.example.com")));
        assert_eq!(offer.groups, ["X25519MLKEM768", "x25519"]);
        assert_eq!(offer.alpn, [Text::from("h2"), Text::from("http/1.1")]);
        assert_eq!(offer.versions, ["1.3", "1.2"]);
        assert_eq!(offer.ciphers, ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
        assert!(offer.ech && !offer.resumption && !early_data);
    }

    #[test]
    fn resumption_is_offered_in_several_ways() {
        let resumption = |hello: Hello| read(&hello.body()).unwrap().offer.resumption;
        let versions = vector(1, &[3, 4]);
        assert!(resumption(Hello::default()), "a session id of TLS 1.2");
        assert!(!resumption(Hello::default().session_id(&[])));
        assert!(!resumption(Hello::default().with(SUPPORTED_VERSIONS, &versions)), "an id without a meaning");
        assert!(resumption(Hello::default().session_id(&[]).with(SESSION_TICKET, b"t")));
        assert!(!resumption(Hello::default().session_id(&[]).with(SESSION_TICKET, b"")));
        let early = Hello::default()
            .with(SUPPORTED_VERSIONS, &versions)
            .with(EARLY_DATA, &[])
            .with(PRE_SHARED_KEY, &[0]);
        assert!(read(&early.body()).unwrap().early_data);
        assert!(resumption(early));
    }

    #[test]
    fn what_is_cut_or_wrong_is_none_or_says_less() {
        let whole = Hello::default().name("a.example").body();
        assert_eq!(read(&whole[..50]), None);
        assert_eq!(read(&whole[..whole.len() - 1]).unwrap().offer.server_name, None);
        assert_eq!(read(&Hello::default().with(SERVER_NAME, &[]).body()).unwrap().offer.server_name, None);
        assert_eq!(read(&Hello::default().session_id(&[0; 33]).body()), None);
        // Without extensions.
        let old = [&[3, 1][..], &[0; 32], &vector(1, &[]), &vector(2, &[0, 5]), &vector(1, &[0])].concat();
        assert_eq!(read(&old).unwrap().offer.versions, ["1.0"]);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in any::<u16>()) {
            read(&bytes);
            read(&Hello::default().with(kind % 60, &bytes).body());
        }
    }
}
