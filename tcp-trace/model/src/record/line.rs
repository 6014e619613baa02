//! One line of a recording, and the two most frequent kinds of it.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::ConnectionId;
use super::{
    Connection, ConnectionInfo, Dns, End, Finding, FlagNames, Http, Loss, Network, Process, Ready, Session,
    TlsHandshake, about::record_about_connection, is_false,
};
use crate::{
    event::{Direction, Role, State},
    refusal::Refusal,
    time::Time,
};

/// One line. A reader ignores types and fields that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    /// The first line.
    Session(Box<Session>),
    /// Tracing is attached.
    Ready(Ready),
    /// A connection changed its state.
    Transition(Transition),
    /// A segment of the handshake or of the close, or one that was refused.
    Segment(Segment),
    /// An HTTP exchange.
    Http(Http),
    /// A TLS handshake ended.
    Tls(TlsHandshake),
    /// A lookup of a name.
    Dns(Box<Dns>),
    /// A connection's summary.
    Connection(Box<Connection>),
    /// What is wrong with some sockets, of `diagnose`.
    Finding(Box<Finding>),
    /// Events were lost.
    Loss(Loss),
    /// The last line.
    End(End),
    /// A type of a later version.
    #[cfg_attr(test, schemars(skip))]
    #[serde(other)]
    Unknown,
}

record_about_connection! {
    /// A connection went from one state to another.
    pub struct Transition as TransitionLine("Transition") {
        /// When the new state was entered.
        time,
        /// Which connection.
        connection,
        own {
            /// The previous state.
            pub old: State,
            /// The state entered.
            pub new: State,
            /// Time spent in the previous state, in microseconds; absent if its beginning was not seen.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub in_old_us: Option<u64>,
            /// Whether the time was inferred instead of observed.
            pub estimated: bool,
            /// Whether transitions before this one were not seen: `old` is not the state that the last one entered.
            #[serde(default, skip_serializing_if = "is_false")]
            pub gap: bool,
            /// Name of the error with which the socket went to CLOSE, such as ECONNREFUSED; or why
            /// TIME_WAIT ended before its time.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub reason: Option<String>,
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

/// A segment of the handshake or of the close, or one that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Segment {
    /// When it passed the socket.
    pub time: Time,
    /// Which connection.
    #[serde(with = "id_only")]
    #[cfg_attr(test, schemars(with = "ConnectionId"))]
    pub connection: Arc<ConnectionInfo>,
    /// Seen from the local socket.
    pub direction: Direction,
    /// Control bits.
    pub flags: FlagNames,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; absent without ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<u32>,
    /// Payload length in bytes.
    pub length: u32,
    /// Whether the same sequence numbers went this way before.
    pub retransmit: bool,
    /// Of one that arrived: why the kernel refused it. Nothing that it says counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// A connection of which a line says only which it is.
mod id_only {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::{connection_info::ConnectionInfo, network::ConnectionId};

    pub(super) fn serialize<S: Serializer>(
        connection: &ConnectionInfo,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        connection.id.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<ConnectionInfo>, D::Error> {
        ConnectionId::deserialize(deserializer).map(|id| Arc::new(ConnectionInfo::new(id)))
    }
}
