//! What calls of a TLS library reported: the plaintext that passed, and the ciphertext that shows on which socket.

use serde::{Deserialize, Serialize};

use super::{Cookie, Direction};

/// A TLS library whose calls are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TlsLibrary {
    /// OpenSSL, and what has its functions: BoringSSL, LibreSSL, AWS-LC.
    OpenSsl,
    /// GnuTLS.
    GnuTls,
    /// Go's `crypto/tls`.
    Go,
    /// rustls.
    Rustls,
}

/// One end of one TLS session, as its library keeps it (`SSL`, `gnutls_session_t`, `*tls.Conn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsObject {
    /// Process that has it, in the initial pid namespace.
    pub pid: u32,
    /// Where it is in that process.
    pub address: u64,
    /// Which object at that address it is: another number after the object was freed or used for another session.
    pub generation: u32,
}

/// How far plaintext has come that a call reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It was sent or received.
    Whole,
    /// It was taken to be sent, by what is at the object's address then: on which socket, another report says.
    Taken,
    /// What was taken there, at this address of the process, was sent.
    Sent(u64),
}

/// Plaintext that an object sent or received in one call, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plaintext<'a> {
    /// Whose it is.
    pub object: TlsObject,
    /// Of which library.
    pub library: TlsLibrary,
    /// Seen from the process.
    pub direction: Direction,
    /// Bytes that passed in this direction before, since the object was first reported.
    pub offset: u64,
    /// How many bytes passed.
    pub length: u32,
    /// The first of them; fewer than `length` where nobody needs the others.
    pub payload: &'a [u8],
    /// The socket on which the thread sent or received while the call ran, as far as it was seen; the last one of several.
    pub socket: Option<Cookie>,
    /// Whether the object was there before it was watched: its beginning was not seen.
    pub is_late: bool,
    /// How far it has come.
    pub passage: Passage,
}

/// The beginning of a TLS record as an object hands it to what sends it, or takes it from what received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ciphertext<'a> {
    /// Whose it is.
    pub object: TlsObject,
    /// Seen from the process.
    pub direction: Direction,
    /// Its first bytes, as they pass on the wire: of one that leaves from its header on; of one that arrives possibly from behind it.
    pub bytes: &'a [u8],
}
