//! What both sides agree on, one subject per file.

mod bytes;
mod filters;
mod names;
mod net;
mod offsets;
mod records;
pub mod refusal;
mod sizes;
mod skip;
pub mod tcp;
mod tls;

pub use bytes::*;
pub use filters::*;
pub use names::*;
pub use net::*;
pub use offsets::*;
pub use records::*;
pub use sizes::*;
pub use skip::*;
pub use tls::*;
