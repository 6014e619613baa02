//! What is wrong with sockets: rules over the facts of one moment and the history that led to it. Pure.

pub mod attempts;
mod broken;
pub mod exchanges;
mod facts;
mod finding;
pub mod history;
mod judge;
pub mod recorded;
pub mod rules;
mod silence;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(any(test, feature = "testing"))]
pub mod testing_http;
mod thresholds;
mod told;
mod upstreams;
mod uses;

pub use facts::Facts;
pub use history::History;
pub use judge::{Verdict, judge};
pub use snapshot::Snapshot;
pub use thresholds::Thresholds;
