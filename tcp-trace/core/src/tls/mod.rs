//! What TLS says in the clear: so far, the name in a ClientHello. Pure.

mod client_hello;

pub use client_hello::{CLIENT_HELLO_MAX, Hello, server_name};
