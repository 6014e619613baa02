//! One hook per file: a thin attach function and what it does, in a `try_` twin where that can fail.

mod connect;
mod datagram;
mod fork;
mod mptcp;
mod process_use;
mod reset;
mod segment;
mod stack;
mod state;
mod tls;
mod translation;
