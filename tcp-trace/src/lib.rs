//! tcp-trace: the whole life of every TCP connection on a Linux host, linked to the HTTP that it carries.
//!
//! Data flows one way: [`kernel`] gives events, [`pipeline`] turns them into [`record`]s, a [`sink`] writes
//! them. See ARCHITECTURE.md.

pub mod cli;
pub mod conn;
pub mod container;
pub mod diagnosis;
pub mod dns;
pub mod event;
pub mod explain;
pub mod filter;
pub mod http;
pub mod inspect;
pub mod json;
pub mod kernel;
pub mod page;
pub mod pipeline;
pub mod reassembly;
pub mod record;
pub mod recording;
pub mod selection;
pub mod session;
pub mod sink;
pub mod symbols;
pub mod time;
pub mod tls;
