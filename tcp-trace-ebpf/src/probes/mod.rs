//! One hook per file: a thin attach function and what it does, in a `try_` twin where that can fail.

mod connect;
mod datagram;
mod fork;
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "what is handed over by value is copied to the stack, of which these programs have little"
)]
mod go;
mod mptcp;
mod process_use;
mod reset;
mod rustls;
mod segment;
mod stack;
mod state;
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "what is handed over by value is copied to the stack, of which these programs have little"
)]
mod tls;
mod translation;
