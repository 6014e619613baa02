//! The recording format, version 1: the types of each line (see docs/recording-format.md).

mod about;
mod connection;
mod dns;
mod finding;
mod http;
mod kernel_socket;
mod line;
pub mod reader;
mod route;
#[cfg(test)]
mod schema_tests;
mod session;
mod tls;
pub mod write;

pub use crate::connection_info::ConnectionInfo;
pub use crate::filter::{Cidr, Filter};
pub use crate::network::{ConnectionId, Container, Endpoint, Ends, FlagNames, Network, NetworkType, Process};
pub use crate::plaintext::{Decrypted, ExchangeTls, TlsLink, Unlinked};
pub use crate::stack::{Frame, LastUse, Operation, SharedStack, Stack, Stacks, Use};
pub use crate::text::{Text, TextRef};
pub use connection::{
    AcceptQueue, By, Bytes, Close, Connection, FirstBytes, Handshake, How, HttpTotals, ProxyProtocol, Socks,
    StateSpan, User, ZeroWindow,
};
pub use dns::{
    Answer as DnsAnswer, Dns, Outcome as DnsOutcome, Question as DnsQuestion, Resolved, Server, ServerSource,
    Transport,
};
pub use finding::{Evidence, Fact, Finding, FindingConnection, FindingStack, Severity, StackMoment};
pub use http::{
    Body, Ended, Exchange, Fields, Frames, Http, Integrity, Message, Outcome, Part, Request, Response, Stall,
    Stalls, Timing, Url, Version, WebSocket,
};
pub use kernel_socket::{KernelSocket, ProcessState};
pub use line::{Record, Segment, Transition};
pub use route::{Interface, NextHop, Route, RouteType};
pub use session::{End, FORMAT, Loss, LossPlace, Missing, Ready, Session, VERSION};
pub use tls::{
    Tls, TlsAlert, TlsCertificate, TlsClient, TlsClosing, TlsData, TlsDirection, TlsEarlyData, TlsEnd,
    TlsHandshake, TlsOutcome, TlsTiming,
};

use crate::omit::{is_false, is_zero};
