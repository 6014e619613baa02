//! The name of the server in a client's first message (RFC 8446, section 4.1.2; RFC 6066, section 3).
//!
//! Total: whatever the bytes, the answer is a name, that there is none, or that more bytes are needed.

/// Bytes of a ClientHello that are kept while the rest is awaited; what is longer is given up.
pub const CLIENT_HELLO_MAX: usize = 64 << 10;

/// `ContentType.handshake` (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// `HandshakeType.client_hello` (section 4).
const CLIENT_HELLO: u8 = 1;
/// `ExtensionType.server_name` (section 4.2).
const SERVER_NAME: u16 = 0;
/// `NameType.host_name` (RFC 6066, section 3).
const HOST_NAME: u8 = 0;
/// `legacy_version` and `random`.
const FIXED: usize = 2 + 32;

/// What the beginning of a client's bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// No ClientHello, or one that names no host.
    None,
    /// The beginning of one.
    Partial,
    /// One that names this host. Any bytes: nobody has checked them.
    Named(Vec<u8>),
}

/// Reads the first bytes that a client has sent.
pub fn server_name(bytes: &[u8]) -> Hello {
    match handshake(bytes) {
        Ok(message) => match message.first() {
            Some(&CLIENT_HELLO) => from_message(&message),
            Some(_) => Hello::None,
            None => Hello::Partial,
        },
        Err(hello) => hello,
    }
}

/// The bytes of the handshake, which may be spread over several records; as far as they are there.
fn handshake(mut bytes: &[u8]) -> Result<Vec<u8>, Hello> {
    let mut message = Vec::new();
    loop {
        // Type, version and length of a record. Any version of TLS begins with 3.
        let (kind, major) = (bytes.first(), bytes.get(1));
        if kind.is_some_and(|kind| *kind != HANDSHAKE) || major.is_some_and(|major| *major != 3) {
            return Err(Hello::None);
        }
        let Some((header, rest)) = bytes.split_at_checked(5) else { return Ok(message) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 {
            return Err(Hello::None);
        }
        message.extend_from_slice(&rest[..length.min(rest.len())]);
        if rest.len() <= length || is_whole(&message) {
            return Ok(message);
        }
        bytes = &rest[length..];
    }
}

/// Whether a handshake message is there to its end.
fn is_whole(message: &[u8]) -> bool {
    matches!(message, [_, a, b, c, rest @ ..] if rest.len() >= u32::from_be_bytes([0, *a, *b, *c]) as usize)
}

fn from_message(message: &[u8]) -> Hello {
    if !is_whole(message) {
        return Hello::Partial;
    }
    let mut reader = Reader(&message[4..]);
    extension(&mut reader).map_or(Hello::None, |name| Hello::Named(name.to_vec()))
}

/// The host in the message's body.
fn extension<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    reader.take(FIXED)?;
    // Session id, cipher suites, compression methods.
    reader.vector(1)?;
    reader.vector(2)?;
    reader.vector(1)?;
    let mut extensions = Reader(reader.vector(2)?);
    while let Some(kind) = extensions.number(2) {
        let mut value = Reader(extensions.vector(2)?);
        if kind == usize::from(SERVER_NAME) {
            let mut names = Reader(value.vector(2)?);
            while let Some(kind) = names.number(1) {
                let name = names.vector(2)?;
                if kind == usize::from(HOST_NAME) {
                    return Some(name);
                }
            }
            return None;
        }
    }
    None
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, at most 2.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A vector whose length stands before it in so many bytes.
    fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[4 - bytes..], content].concat()
    }

    /// The handshake message of a ClientHello with these extensions.
    fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, value)| [kind.to_be_bytes().to_vec(), vector(2, value)].concat())
            .collect();
        let body = [
            &[3; 2][..],
            &[7; 32],
            &vector(1, &[9; 32]),
            &vector(2, &[0x13, 1, 0x13, 2]),
            &vector(1, &[0]),
            &vector(2, &extensions),
        ]
        .concat();
        [&[CLIENT_HELLO][..], &vector(3, &body)].concat()
    }

    fn name(host: &str) -> (u16, Vec<u8>) {
        (SERVER_NAME, vector(2, &[&[HOST_NAME][..], &vector(2, host.as_bytes())].concat()))
    }

    /// In records of at most so many bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &vector(2, part)].concat()).collect()
    }

    #[test]
    fn the_name_is_found_among_other_extensions_and_over_records() {
        let others = (43, vec![2, 3, 4]);
        let message = message(&[others.clone(), name("www.example.com"), others]);
        for size in [1, 7, 100, 16_384] {
            let bytes = records(&message, size);
            assert_eq!(server_name(&bytes), Hello::Named(b"www.example.com".to_vec()), "{size}");
            for length in 0..bytes.len() {
                assert_eq!(server_name(&bytes[..length]), Hello::Partial, "{length} of {size}");
            }
        }
    }

    #[test]
    fn what_names_no_host_and_other_protocols_have_none() {
        for bytes in [
            records(&message(&[(43, vec![2, 3, 4])]), 16_384),
            records(&message(&[(SERVER_NAME, vec![])]), 16_384),
            // A ServerHello.
            vec![HANDSHAKE, 3, 3, 0, 4, 2, 0, 0, 0],
            // An alert.
            vec![21, 3, 3, 0, 2, 1, 0],
            vec![HANDSHAKE, 3, 3, 0, 0],
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"SSH-2.0-x\r\n".to_vec(),
        ] {
            assert_eq!(server_name(&bytes), Hello::None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600), size in 1_usize..300) {
            server_name(&bytes);
            server_name(&records(&[&[CLIENT_HELLO][..], &vector(3, &bytes)].concat(), size));
        }
    }
}
