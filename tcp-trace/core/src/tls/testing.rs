//! Messages that tests make up.

use super::extensions::SERVER_NAME;

/// A vector whose length stands before it in so many bytes.
pub(crate) fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[4 - bytes..], content].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), vector(2, value)].concat()
}

/// A ClientHello with two cipher suites; of TLS 1.2, without more.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    session_id: Vec<u8>,
    extensions: Vec<u8>,
}

impl Default for Hello {
    fn default() -> Self {
        Self { session_id: vec![9; 32], extensions: Vec::new() }
    }
}

impl Hello {
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.extensions.extend(extension(kind, value));
        self
    }

    pub(crate) fn session_id(self, id: &[u8]) -> Self {
        Self { session_id: id.to_vec(), ..self }
    }

    pub(crate) fn name(self, host: &str) -> Self {
        self.with(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, host.as_bytes())].concat()))
    }

    /// Without its header.
    pub(crate) fn body(&self) -> Vec<u8> {
        [
            &[3; 2][..],
            &[7; 32],
            &vector(1, &self.session_id),
            &vector(2, &[0x1a, 0x1a, 0x13, 1, 0xc0, 0x2f]),
            &vector(1, &[0]),
            &vector(2, &self.extensions),
        ]
        .concat()
    }

    /// As the client sends it.
    pub(crate) fn sent(&self) -> Vec<u8> {
        record(22, &message(1, &self.body()))
    }
}

/// The body of a ServerHello.
pub(crate) fn server_hello(random: &[u8; 32], cipher: u16, extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let extensions: Vec<u8> = extensions.iter().flat_map(|(kind, value)| extension(*kind, value)).collect();
    [&[3; 2][..], random, &vector(1, &[4; 32]), &cipher.to_be_bytes(), &[0], &vector(2, &extensions)].concat()
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &vector(3, body)].concat()
}

pub(crate) fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &vector(2, payload)].concat()
}
