//! The recording format, version 1: the types of each line (see docs/recording-format.md).

mod connection;
mod dns;
mod finding;
mod http;
mod line;
mod network;
pub mod reader;
mod route;
#[cfg(test)]
mod schema_tests;
mod session;
mod stacks;
mod text;

pub use connection::{
    AcceptQueue, By, Bytes, Close, Connection, Container, Handshake, How, HttpTotals, StateSpan, ZeroWindow,
};
pub use dns::{
    Answer as DnsAnswer, Dns, Outcome as DnsOutcome, Question as DnsQuestion, Resolved, Server, ServerSource,
    Transport,
};
pub use finding::{Evidence, Fact, Finding, FindingConnection, FindingStack, Severity, StackMoment};
pub use http::{
    Body, Ended, Fields, Frames, Http, HttpNetwork, Integrity, Message, Messages, Outcome, Part, Protocol,
    Request, Response, Stall, Stalls, Timing, Url, WebSocket,
};
pub use line::{Record, Segment, Transition};
pub use network::{ConnectionId, Endpoint, FlagNames, Network, NetworkType, Process};
pub use route::{Interface, NextHop, Route, RouteType};
pub use session::{Cidr, End, FORMAT, Filter, Loss, LossPlace, Missing, Ready, Session, VERSION};
pub use stacks::{Frame, LastUse, Operation, SharedStack, Stack, Stacks, Use};
pub use text::{Text, TextRef};

/// Whether a count is left out.
fn is_zero<N: Copy + Into<u64>>(number: &N) -> bool {
    (*number).into() == 0
}
