//! What calls of a TLS library showed, beside what the wire did.

use serde::{Deserialize, Serialize};

use crate::event::TlsLibrary;

/// What shows to which connection a TLS library's calls belong. Those further down are weaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TlsLink {
    /// The thread sent or received on the connection's socket while the call ran.
    NestedSyscall,
    /// The library handed out, or took, a record that passed on the connection.
    Ciphertext,
    /// Of the process's connections, only this one had records of the lengths that the calls make, one after the other.
    LengthSequence,
}

/// Of an exchange that was read from a TLS library's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExchangeTls {
    /// What shows that it passed on this connection.
    pub link: TlsLink,
}

/// Of a connection whose plaintext a TLS library's calls showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Decrypted {
    /// What shows that it passed on this connection.
    pub link: TlsLink,
    /// The library.
    pub library: TlsLibrary,
    /// The name of what was inside, once that was sure, as in `protocol` of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// What a session knows of calls of TLS libraries that belong to none of its connections, as far as anything showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unlinked {
    /// Objects (`SSL` and the like) of which something was called.
    pub objects: u64,
    /// Bytes of plaintext that passed in those calls, both ways.
    pub bytes: u64,
}

impl Unlinked {
    /// Whether there were none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
