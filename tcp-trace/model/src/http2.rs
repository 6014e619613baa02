//! What HTTP/2 and gRPC have beside requests and responses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    event::Role,
    fields::Fields,
    omit,
    text::{Text, Word},
    time::Time,
};

/// What stands in place of a name or a value that HPACK took from what was sent before tracing began.
pub const UNKNOWN: &str = "«unknown»";

/// Why a response is not whole whose stream has ended as if it were.
pub const CUT: &str = "the stream ended during the response";

/// Numbers with names: a type that is written by its name, or as a number where it has none.
macro_rules! named_numbers {
    ($(#[$doc:meta])* $type:ident { $($number:literal $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
        pub struct $type(pub u32);

        impl $type {
            /// All that have names.
            pub const NAMES: &[(u32, &str)] = &[$(($number, $name),)*];

            /// Its name, if it has one.
            pub fn name(self) -> Option<&'static str> {
                Self::NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let named = Self::NAMES.iter().find(|(_, name)| *name == text).map(|(number, _)| *number);
                named.or_else(|| text.parse().ok()).map(Self).ok_or_else(|| format!("{text:?} is none of the names known"))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Word::deserialize(deserializer)?.0.parse().map_err(D::Error::custom)
            }
        }
    };
}

named_numbers! {
    /// An error code of HTTP/2 (RFC 9113, section 7): its name, or a number that has none.
    ErrorCode {
        0x0 "NO_ERROR",
        0x1 "PROTOCOL_ERROR",
        0x2 "INTERNAL_ERROR",
        0x3 "FLOW_CONTROL_ERROR",
        0x4 "SETTINGS_TIMEOUT",
        0x5 "STREAM_CLOSED",
        0x6 "FRAME_SIZE_ERROR",
        0x7 "REFUSED_STREAM",
        0x8 "CANCEL",
        0x9 "COMPRESSION_ERROR",
        0xa "CONNECT_ERROR",
        0xb "ENHANCE_YOUR_CALM",
        0xc "INADEQUATE_SECURITY",
        0xd "HTTP_1_1_REQUIRED",
    }
}

named_numbers! {
    /// A status of gRPC (github.com/grpc/grpc, doc/statuscodes.md): its name, or a number that has none.
    GrpcStatus {
        0 "OK",
        1 "CANCELLED",
        2 "UNKNOWN",
        3 "INVALID_ARGUMENT",
        4 "DEADLINE_EXCEEDED",
        5 "NOT_FOUND",
        6 "ALREADY_EXISTS",
        7 "PERMISSION_DENIED",
        8 "RESOURCE_EXHAUSTED",
        9 "FAILED_PRECONDITION",
        10 "ABORTED",
        11 "OUT_OF_RANGE",
        12 "UNIMPLEMENTED",
        13 "INTERNAL",
        14 "UNAVAILABLE",
        15 "DATA_LOSS",
        16 "UNAUTHENTICATED",
    }
}

impl GrpcStatus {
    /// The call succeeded.
    pub const OK: Self = Self(0);
}

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// The server did nothing for it: it may be sent again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// It is not needed any more.
    pub const CANCEL: Self = Self(0x8);
}

/// What an exchange of HTTP/2 has beside its request and its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The identifier of its stream (RFC 9113, section 5.1.1).
    pub id: u32,
    /// What the recording has in `http2`.
    pub details: StreamDetails,
    /// The call, of gRPC.
    pub grpc: Option<Box<Grpc>>,
}

/// What is said of a stream of HTTP/2, where there is something to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamDetails {
    /// The RST_STREAM that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<StreamReset>,
    /// The GOAWAY that says that the server did nothing for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goaway: Option<ErrorCode>,
    /// The stream whose response promised it (PUSH_PROMISE).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_by: Option<u32>,
    /// Fields behind the body of the request.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub request_trailers: Fields,
    /// Fields behind the body of the response.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub response_trailers: Fields,
    /// Fields whose name or value HPACK took from what was sent before tracing began, or was lost: `«unknown»`.
    #[serde(default, skip_serializing_if = "omit::is_zero")]
    pub unknown_fields: u64,
    /// Fields that were left out, because there were too many or too much of them.
    #[serde(default, skip_serializing_if = "omit::is_zero")]
    pub omitted_fields: u64,
    /// Names of fields, of both messages and their trailers, that their senders want nobody on the way to keep in a table (RFC 7541,
    /// section 7.1.3): their values are replaced by `«redacted»` unless secrets are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_indexed: Vec<Text>,
    /// How long the body of the request waited for the server to let more through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_blocked: Option<Blocked>,
    /// How long the body of the response waited for the client to let more through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_blocked: Option<Blocked>,
}

/// A RST_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamReset {
    /// Who sent it.
    pub by: Role,
    /// Why.
    pub error: ErrorCode,
    /// How many streams of the client were open then, this one included, if the server sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_streams: Option<u32>,
}

/// How long a body waited because a window of flow control was exhausted (RFC 9113, section 5.2): from when the last byte that it let
/// through was sent to when the receiver enlarged it, where more of the body came then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Blocked {
    /// Of the stream, in microseconds.
    #[serde(default, skip_serializing_if = "omit::is_zero")]
    pub stream_us: u64,
    /// Of the connection, in microseconds.
    #[serde(default, skip_serializing_if = "omit::is_zero")]
    pub connection_us: u64,
}

/// A call of gRPC (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Grpc {
    /// The service, with its package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Text>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
    /// `grpc-status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<GrpcStatus>,
    /// `grpc-message`, decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
    /// `grpc-timeout`, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_us: Option<u64>,
    /// What the client sent.
    pub request: GrpcMessages,
    /// What the server sent.
    pub response: GrpcMessages,
}

/// The messages of one direction of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GrpcMessages {
    /// How many are whole.
    pub count: u64,
    /// Bytes of them, as they were sent, without their prefix of 5 bytes.
    pub bytes: u64,
    /// First byte of the request to the last of the first message, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_us: Option<u64>,
    /// First byte of the request to the last of the last message, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_us: Option<u64>,
    /// Whether the direction ended inside a message, or bytes of it were not seen.
    #[serde(default, skip_serializing_if = "omit::is_false")]
    pub cut: bool,
}

/// What is said of a connection of HTTP/2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Http2Totals {
    /// What the client's SETTINGS say, as far as they were seen.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub client_settings: Settings,
    /// What the server's SETTINGS say, as far as they were seen.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub server_settings: Settings,
    /// The most streams that were open at the same time.
    pub concurrent_max: u32,
    /// RST_STREAM frames of streams that were open.
    #[serde(default, skip_serializing_if = "omit::is_zero")]
    pub resets: u64,
    /// GOAWAY frames, of which the first 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goaway: Vec<GoAway>,
    /// PING frames that this end sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pings_sent: Option<Pings>,
    /// PING frames that the peer sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pings_received: Option<Pings>,
    /// Why frames were not read any more, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub illegal: Option<String>,
}

/// The parameters of SETTINGS (RFC 9113, section 6.5.2; RFC 8441). What was not sent is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Settings {
    /// SETTINGS_HEADER_TABLE_SIZE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_table_size: Option<u32>,
    /// SETTINGS_ENABLE_PUSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_push: Option<u32>,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_streams: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_window_size: Option<u32>,
    /// SETTINGS_MAX_FRAME_SIZE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_frame_size: Option<u32>,
    /// SETTINGS_MAX_HEADER_LIST_SIZE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_header_list_size: Option<u32>,
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_connect_protocol: Option<u32>,
}

impl Settings {
    /// Whether none was sent.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Notes a parameter, by its identifier; those that are not known are ignored (RFC 9113, section 6.5.2).
    pub fn set(&mut self, identifier: u16, value: u32) {
        let place = match identifier {
            1 => &mut self.header_table_size,
            2 => &mut self.enable_push,
            3 => &mut self.max_concurrent_streams,
            4 => &mut self.initial_window_size,
            5 => &mut self.max_frame_size,
            6 => &mut self.max_header_list_size,
            8 => &mut self.enable_connect_protocol,
            _ => return,
        };
        *place = Some(value);
    }
}

/// A GOAWAY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GoAway {
    /// When it came.
    pub time: Time,
    /// Who sent it.
    pub by: Role,
    /// Why.
    pub error: ErrorCode,
    /// The last stream for which its sender has done anything, or may still.
    pub last_stream: u32,
    /// What it says beside, of which the first 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<Text>,
}

/// The PING frames of one direction (RFC 9113, section 6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pings {
    /// How many.
    pub count: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// The shortest time from one to its answer, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_us: Option<u64>,
    /// The longest time from one to its answer, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_us: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_by_their_names() {
        for (code, json) in
            [(0, "\"NO_ERROR\""), (8, "\"CANCEL\""), (13, "\"HTTP_1_1_REQUIRED\""), (99, "\"99\"")]
        {
            assert_eq!(crate::json::to_string(&ErrorCode(code)).unwrap(), json);
            assert_eq!(serde_json::from_str::<ErrorCode>(json).unwrap(), ErrorCode(code));
        }
        assert_eq!(GrpcStatus(5).to_string(), "NOT_FOUND");
        assert_eq!("UNAUTHENTICATED".parse(), Ok(GrpcStatus(16)));
        assert!("NOT FOUND".parse::<GrpcStatus>().is_err());
        assert!(ErrorCode::NAMES.iter().zip(0..).all(|((number, _), expected)| *number == expected));
        assert!(GrpcStatus::NAMES.iter().zip(0..).all(|((number, _), expected)| *number == expected));
    }

    #[test]
    fn parameters_that_are_not_known_are_ignored() {
        let mut settings = Settings::default();
        settings.set(7, 1);
        settings.set(0x1234, 1);
        assert!(settings.is_empty());
        settings.set(4, 10);
        settings.set(4, 20);
        assert_eq!(settings, Settings { initial_window_size: Some(20), ..Settings::default() });
    }
}
