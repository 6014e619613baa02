//! How an exchange of HTTP ended, and what it carried.

use serde::{Deserialize, Serialize};

/// Whether all bytes of an exchange were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Integrity {
    /// All of them.
    Complete,
    /// A message ended before its framing said so, or its framing is illegal.
    Truncated,
    /// Bytes were transferred that were not seen.
    Gap,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There was a response.
    Ok,
    /// The connection ended, or the session did, before a response began.
    NoResponse,
    /// The connection was reset before both messages were complete.
    Reset,
    /// The response began, and the connection or the session ended before it did.
    Truncated,
    /// The connection switched to another protocol.
    Upgraded,
    /// A message is illegal or ambiguous (RFC 9112); what follows it on its direction is not read.
    Invalid,
}

/// One of the two messages of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// What the client sends.
    Request,
    /// What the server sends.
    Response,
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Nothing of it was seen.
    None,
    /// Start line and header section.
    Head,
    /// The body.
    Body,
}

/// Where an exchange was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ended {
    /// In which message.
    pub message: Message,
    /// In which part of it.
    pub part: Part,
    /// Bytes of that part that were transferred; for a body, without the framing of the chunked coding.
    pub offset: u64,
}

/// The frames of a WebSocket, each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WebSocket {
    /// What the client sent.
    pub client: Frames,
    /// What the server sent.
    pub server: Frames,
}

/// The frames of one direction, by opcode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Frames {
    /// Continuations of a fragmented message.
    #[serde(default)]
    pub continuation: u64,
    /// Text.
    #[serde(default)]
    pub text: u64,
    /// Binary.
    #[serde(default)]
    pub binary: u64,
    /// Close.
    #[serde(default)]
    pub close: u64,
    /// Ping.
    #[serde(default)]
    pub ping: u64,
    /// Pong.
    #[serde(default)]
    pub pong: u64,
    /// Payload of all of them, in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// The status code of the close frame (section 7.4), when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
}
