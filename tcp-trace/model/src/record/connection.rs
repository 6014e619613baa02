//! The `connection` line: the summary of one connection's life.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::{
    ConnectionId, Container, Decrypted, KernelSocket, Network, Process, Resolved, Route, Server, Stacks, Tls,
    about::record_about_connection, is_false, is_zero,
};
use crate::{
    event::{Role, State},
    http2::Http2Totals,
    network::Endpoint,
    refusal::Refusals,
    text::Text,
    time::Time,
};

record_about_connection! {
    /// A connection's summary: when it ends, or at the end of the session with `"open": true`.
    #[derive(Default)]
    pub struct Connection as ConnectionLine("Connection") {
        /// When this summary was made.
        time,
        /// Which connection.
        connection,
        own {}
        shared {
            /// What the socket is for, when known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            role: Option<Role>,
            /// Both ends, when known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            network: Option<Network>,
        }
        own {
            /// The server's name, if known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub server: Option<Server>,
            /// The lookup that returned its address to this process, if one was seen.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub dns: Option<Resolved>,
            /// The route of its segments out of this host, if it connected and the route was looked up.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub route: Option<Route>,
            /// The connection of the other end, if that is on this host.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub peer_connection: Option<ConnectionId>,
            /// Whether the socket is connected to itself (simultaneous open, RFC 9293, section 3.5).
            #[serde(default, skip_serializing_if = "crate::omit::is_false")]
            pub to_itself: bool,
        }
        shared {
            /// The process, when known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            process: Option<Cow<'a, Process>>,
        }
        own {
            /// Whether it is a subflow of an MPTCP socket (RFC 8684), or was one before it fell back to TCP.
            #[serde(default, skip_serializing_if = "crate::omit::is_false")]
            pub mptcp: bool,
            /// The processes that used the socket one after the other, at most 32, where it was more than one.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub users: Vec<User>,
            /// How often the process changed beyond `users`, as far as it was seen.
            #[serde(default, skip_serializing_if = "is_zero::<u32>")]
            pub users_unrecorded: u32,
            /// Path of the process's cgroup in the v2 hierarchy, when known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cgroup: Option<String>,
            /// The container that the cgroup belongs to.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub container: Option<Container>,
            /// The systemd unit that the cgroup belongs to.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub unit: Option<String>,
            /// When it was first seen: its creation, unless it is older than the recording (`duration_us` is absent then).
            pub opened: Time,
            /// When a process first read, wrote or closed it, of a connection that a listener accepted: until then it waited in the
            /// accept queue, or for a thread, or for data. Absent when that was not seen.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub first_used: Option<Time>,
            /// When the application's socket was gone; TIME_WAIT begins then, or an orphan's FIN_WAIT2 goes on.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub closed: Option<Time>,
            /// From `opened` to `closed`, or to now when it is open. Absent when its beginning was not seen.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub duration_us: Option<u64>,
            /// When TIME_WAIT or an orphan's FIN_WAIT2 will end, when it has not ended yet.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub ends: Option<Time>,
            /// Whether its whole life was traced.
            pub seen_from_start: bool,
            /// Whether it is still open at the end of the session.
            pub open: bool,
            /// The states it went through.
            pub states: Vec<StateSpan>,
            /// The three-way handshake, when it was seen.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub handshake: Option<Handshake>,
            /// How it ended.
            pub close: Close,
            /// Payload each way, counted from sequence numbers: retransmits count once. Of a connection that is older than the
            /// recording, what passed since it was first seen.
            pub bytes: Bytes,
            /// What a connection that is older than the recording had carried before, when the kernel's list says so.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub bytes_before: Option<Bytes>,
            /// Retransmitted segments, of those that were seen.
            pub retransmits: u64,
            /// Segments that arrived and that the kernel refused, by its reason, of those that were seen.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub refused: Refusals,
            /// Received bytes that the application had not read at close, if any.
            #[serde(default, skip_serializing_if = "is_zero::<u32>")]
            pub receive_queue: u32,
            /// Smoothed round trip time at the end, in microseconds.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub srtt_us: Option<u32>,
            /// Congestion window at the end, in segments.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cwnd: Option<u32>,
            /// What the kernel said of it at the end of the session, if it was open then.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub socket: Option<Box<KernelSocket>>,
            /// How long an end could accept no more data, if that happened.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub zero_window: Option<ZeroWindow>,
            /// A listener's queue of connections that wait to be accepted.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub accept_queue: Option<AcceptQueue>,
            /// Half-open connections of a listener that were not recorded, because there were too many.
            #[serde(default, skip_serializing_if = "is_zero::<u32>")]
            pub half_open_unrecorded: u32,
            /// SYNs that a listener did not answer, because its accept queue or its backlog was full.
            #[serde(default, skip_serializing_if = "is_zero::<u32>")]
            pub syns_unanswered: u32,
            /// The name of what it carried, once that was sure (docs/recording-format.md lists them). Of a tunnel, of what is inside it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub protocol: Option<String>,
            /// The name of the protocol that the server answered in, where it is not the client's: a client that speaks TLS to a port
            /// that speaks HTTP.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub answer_protocol: Option<String>,
            /// Its first bytes, of a protocol that is not known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub first_bytes: Option<FirstBytes>,
            /// What a header of the PROXY protocol before it says.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub proxy_protocol: Option<ProxyProtocol>,
            /// What the client asked a SOCKS server for.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub socks: Option<Socks>,
            /// Its TLS, when it begins with a ClientHello; of a tunnel, what is inside it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub tls: Option<Box<Tls>>,
            /// What a TLS library's calls showed of what is inside, if they did.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub decrypted: Option<Box<Decrypted>>,
            /// The HTTP that it carried, when it did.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub http: Option<HttpTotals>,
            /// What is said of its HTTP/2, when it was that.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub http2: Option<Box<Http2Totals>>,
            /// The code that used it, if stacks were requested.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub stacks: Option<Stacks>,
        }
        shared {}
    }
}

/// The first bytes of each direction, at most 32 of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FirstBytes {
    /// By the local end; absent when there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Text>,
    /// By the peer, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Text>,
}

/// A header of the PROXY protocol: the connection that the proxy had from its own client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProxyProtocol {
    /// 1 or 2.
    pub version: u8,
    /// The client; absent when the header does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Endpoint>,
    /// Where the client connected to, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Endpoint>,
}

/// A connection that a SOCKS server was asked for, and made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Socks {
    /// 5.
    pub version: u8,
    /// Address or name.
    pub host: Text,
    /// TCP port.
    pub port: u16,
}

/// How long windows were zero (RFC 9293, section 3.8.6.1), in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ZeroWindow {
    /// The local end could accept no more: its application did not read.
    pub local_us: u64,
    /// The peer could accept no more.
    pub peer_us: u64,
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AcceptQueue {
    /// How many waited when this was read last.
    pub length: u32,
    /// How many may wait.
    pub limit: u32,
}

/// A process that used a connection's socket: it connected, read, wrote or closed it, or had it open in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct User {
    /// When it was first seen to, after the one before it.
    pub time: Time,
    /// The process.
    pub process: Process,
}

/// One state of a connection's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StateSpan {
    /// Which state.
    pub state: State,
    /// When it was entered; the first sight of the connection when that was not seen.
    pub entered: Time,
    /// How long it lasted, in microseconds; absent for the state it is still in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// Whether `entered` or `duration_us` was inferred instead of observed.
    pub estimated: bool,
}

/// The three-way handshake (RFC 9293, section 3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Handshake {
    /// Sequence number of the SYN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn_seq: Option<u32>,
    /// Sequence number of the SYN+ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn_ack_seq: Option<u32>,
    /// Round trip in microseconds: SYN to SYN+ACK for a client, SYN+ACK to ACK for a server. Absent when
    /// retransmits make it ambiguous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// How often the SYN was retransmitted.
    pub syn_retransmits: u32,
    /// How often the SYN+ACK was retransmitted.
    #[serde(default)]
    pub syn_ack_retransmits: u32,
    /// Whether the SYN+ACK acknowledges the SYN and the third segment the SYN+ACK (ack = seq + 1, and the data of a
    /// Fast Open); absent when not all three were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<bool>,
}

/// Who ended a connection and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Close {
    /// The end whose FIN or RST came first.
    pub by: By,
    /// By what.
    pub how: How,
    /// The reason as text, if there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether this end was closed because its process ended: it exited, or a signal killed it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub process_ended: bool,
    /// Of a connection that timed out, or was reset, after it was established, how far the sequence numbers that had been sent were ahead of
    /// those that were acknowledged (`snd_nxt` - `snd_una`), when the kernel said so: 0 where only probes were not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<u32>,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// This one.
    Local,
    /// The other.
    Peer,
    /// Both at once.
    Both,
    /// Neither, or not known.
    #[default]
    None,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// FINs each way.
    Fin,
    /// RST.
    Rst,
    /// No answer.
    Timeout,
    /// RST in answer to the SYN.
    Refused,
    /// The kernel gave it up with another error, such as EHOSTUNREACH.
    Error,
    /// Closed by its own end, or with its listener, before it was established.
    Abandoned,
    /// Not yet.
    #[default]
    Open,
    /// The socket went away for an unknown reason.
    Unknown,
}

/// Payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bytes {
    /// By the local end.
    pub sent: u64,
    /// By the peer.
    pub received: u64,
}

/// What HTTP a connection carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HttpTotals {
    /// Requests on this connection, answered or not.
    pub requests: u64,
    /// Bytes behind the last response that are no response.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub surplus: u64,
    /// `http/1.1`.
    pub protocol: String,
}
