//! The life of each connection: states, handshake, bytes, and how it ended. Pure.

mod close;
mod connection;
mod half_open;
mod handshake;
mod identity;
mod inside;
mod learning;
mod mini_socket;
mod other_end;
mod payload;
mod record_starts;
mod refused;
mod stacks;
mod stalls;
mod states;
mod summary;
mod translation;

pub use close::NO_SYN_SENT;
pub use connection::Connection;
pub use half_open::{Before, HALF_OPEN_MAX, HalfOpen, HeldSegment, Over};
pub use identity::SharedOwner;
pub use inside::Piece;
pub use learning::{Progress, SUBFLOWS_MAX};
pub use mini_socket::Listed;
pub use record_starts::RecordStart;
pub use refused::{Proof, REFUSED_RECORDED_MAX, Settled, UNSURE_MAX};

use tcp_trace_model::event::Endpoints;

/// What tells connections apart while there is no cookie: namespace, addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FourTuple {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Seen from the local end.
    pub endpoints: Endpoints,
}
