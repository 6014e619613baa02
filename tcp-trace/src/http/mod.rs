//! HTTP/1 from TCP payload: messages, and requests linked with their responses (RFC 9110, RFC 9112). Pure.

mod body;
mod connection;
mod exchange;
mod head;
mod stream;
#[cfg(test)]
mod tests;

pub use connection::HttpConnection;
pub use exchange::{End, Exchange, Integrity, Outcome, Request, Response, Timing};
pub use head::HEAD_MAX;
