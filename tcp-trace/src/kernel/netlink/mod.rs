//! Netlink, which the kernel's lists of sockets and its routes are asked over (netlink(7)).

pub(super) mod message;
mod socket;

pub use message::MessageError;
pub(super) use socket::Socket;
