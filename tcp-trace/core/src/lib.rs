//! What tcp-trace concludes from what the kernel reports. Pure: no clock (time comes with events and ticks), no input or
//! output; the same events give the same records.

#![forbid(unsafe_code)]

pub mod blame;
pub mod conn;
pub mod diagnosis;
pub mod dns;
pub mod explain;
pub mod hpack;
pub mod http;
pub mod http2;
pub mod page_loads;
pub mod pipeline;
pub mod prose;
pub mod protocols;
pub mod selection;
pub mod stats;
pub mod stream;
pub mod timeline;
pub mod tls;
