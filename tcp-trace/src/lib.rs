//! tcp-trace: the whole life of every TCP connection on a Linux host, linked to the HTTP that it carries.
//!
//! Data flows one way: [`kernel`] gives events, [`tcp_trace_core::pipeline`] turns them into
//! [`tcp_trace_model::record`]s, a [`sink`] writes them. See ARCHITECTURE.md.

pub mod cli;
pub mod inspect;
pub mod kernel;
pub mod recording;
pub mod session;
pub mod sink;
pub mod symbols;
pub mod uprobes;
