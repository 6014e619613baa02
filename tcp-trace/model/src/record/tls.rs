//! What a connection's TLS says in the clear, and the `tls` line: the end of a handshake.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Network, Process, about::record_about_connection, is_false};
use crate::{event::Role, text::Text, time::Time};

record_about_connection! {
    /// A TLS handshake ended: data can pass, or it failed. Written once per connection.
    pub struct TlsHandshake as TlsHandshakeLine("TlsHandshake") {
        /// When it ended.
        time,
        /// Which connection.
        connection,
        own {
            /// What was seen of it by then.
            pub tls: Box<Tls>,
        }
        shared {
            /// What the socket is for, when known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            role: Option<Role>,
            /// Both ends.
            network: Network,
            /// The connection's process, when known by then.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            process: Option<Cow<'a, Process>>,
        }
    }
}

/// What a connection's TLS says in the clear (RFC 8446, RFC 5246). What is encrypted is not known, and absent: of TLS 1.3 that is
/// all after the ServerHello.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tls {
    /// How the handshake ended.
    pub outcome: TlsOutcome,
    /// The version that the server chose, `1.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Cow<'static, str>>,
    /// The cipher suite that the server chose, by IANA's name, or its number as `0x1234`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher: Option<Cow<'static, str>>,
    /// The group of the key exchange, by IANA's name, or its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<Cow<'static, str>>,
    /// The protocol that the server chose with ALPN; TLS 1.3 encrypts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_protocol: Option<Text>,
    /// Whether the server went on with an earlier session, or with a key that both had before. Absent until
    /// the server's part of the handshake shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// Whether the server requested another ClientHello, with the group that it names (HelloRetryRequest).
    #[serde(default, skip_serializing_if = "is_false")]
    pub hello_retry_request: bool,
    /// What the client offered, in its first ClientHello.
    pub client: TlsClient,
    /// The server's own certificate; TLS 1.3 encrypts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Box<TlsCertificate>>,
    /// Data that the client sent before it knew what the server chose (0-RTT), if it offered that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_data: Option<TlsEarlyData>,
    /// Alerts, at most 8, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<TlsAlert>,
    /// How long the handshake took, and who was waited for.
    pub timing: TlsTiming,
    /// What passed after the handshake; in the `connection` line only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<TlsData>>,
    /// Whether something of the handshake was not seen or not understood, so that fields may be missing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub incomplete: bool,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TlsOutcome {
    /// Both ends have finished it.
    Established,
    /// An end sent an alert before that.
    Alert,
    /// The connection ended before that, without an alert.
    Closed,
    /// The server answered the ClientHello with something that is not TLS.
    NotTls,
    /// It was going on when the session ended.
    #[default]
    Open,
    /// Bytes of it were not seen.
    Unknown,
}

impl TlsOutcome {
    /// Whether no data could pass.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Alert | Self::Closed | Self::NotTls)
    }
}

/// What a client offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TlsClient {
    /// The name of the server that it wants (SNI; RFC 6066, section 3). With `ech`, that of the server in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Text>,
    /// The versions that it speaks, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Cow<'static, str>>,
    /// The cipher suites that it can use, in its order; in the `tls` line only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ciphers: Vec<Cow<'static, str>>,
    /// The groups that it can use, in its order; in the `tls` line only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Cow<'static, str>>,
    /// The protocols that it offers with ALPN (RFC 7301), in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<Text>,
    /// Whether it offers to go on with an earlier session: with a ticket, or a session id before TLS 1.3.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resumption: bool,
    /// Whether there is an Encrypted Client Hello in it (RFC 9849); clients also send ones without a meaning (GREASE).
    #[serde(default, skip_serializing_if = "is_false")]
    pub ech: bool,
}

/// A certificate's names and its time (RFC 5280, section 4.1). Nobody has checked them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TlsCertificate {
    /// Whose it is, as RFC 4514 writes it.
    pub subject: Text,
    /// Who issued it.
    pub issuer: Text,
    /// Hosts and addresses that it is for (subjectAltName), at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Text>,
    /// Since when it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Until when; absent after 2554, as in certificates that do not expire (9999).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

/// Early data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TlsEarlyData {
    /// Bytes of the records of it that came before the server's hello.
    pub bytes: u64,
    /// Whether the server took it: `false` where its hello shows that it did not, else absent, because it says so encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
}

/// An end of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TlsEnd {
    /// The one that sent the ClientHello.
    Client,
    /// The other.
    Server,
}

/// An alert (RFC 8446, section 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TlsAlert {
    /// When it had passed.
    pub time: Time,
    /// Who sent it.
    pub by: TlsEnd,
    /// Which it is, `unknown_ca`, or its number; absent where it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'static, str>>,
    /// Whether it ends the connection; absent where it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fatal: Option<bool>,
}

/// Times of a handshake, in microseconds, as this end saw its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TlsTiming {
    /// When the first bytes of the ClientHello passed.
    pub started: Time,
    /// From there to the server's hello, or its request for another ClientHello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_hello_us: Option<u64>,
    /// From there to the end of the handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_us: Option<u64>,
    /// How much of that passed before records of the client: it was waited for.
    pub client_us: u64,
    /// The same of the server.
    pub server_us: u64,
    /// From the start to the first data after the handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_data_us: Option<u64>,
}

/// What passed after the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TlsData {
    /// Sent by the local end.
    pub sent: TlsDirection,
    /// Received from the peer.
    pub received: TlsDirection,
}

/// Of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TlsDirection {
    /// Bytes of its records of application data, without their headers, encrypted: with what encryption adds to each. Of TLS 1.3 the
    /// server's session tickets and closing alerts are among them.
    pub bytes: u64,
    /// How many records that were; of those in `unread`, none is counted.
    pub records: u64,
    /// Of `bytes`, those where records were not read: with their headers, and with alerts.
    #[serde(default, skip_serializing_if = "crate::omit::is_zero::<u64>")]
    pub unread: u64,
    /// How it ended; absent where it has not, or where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<TlsClosing>,
}

/// What came before a direction's FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TlsClosing {
    /// `close_notify`, in the clear.
    CloseNotify,
    /// An alert, encrypted: `close_notify` or another.
    Alert,
    /// A record that is as long as an encrypted alert of TLS 1.3: probably `close_notify`.
    MaybeAlert,
    /// No alert: whether all has come, only what is inside can say.
    NoAlert,
    /// A part of a record: the rest is missing.
    Truncated,
}
