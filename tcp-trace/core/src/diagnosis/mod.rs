//! What is wrong with sockets: rules over the facts of one moment and the history that led to it. Pure.

pub mod attempts;
mod broken;
mod call_sites;
mod exchange_findings;
pub mod exchanges;
mod facts;
mod finding;
pub mod history;
pub mod recorded;
pub mod rules;
mod run;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(any(test, feature = "testing"))]
pub mod testing_http;
mod thresholds;
mod unanswered;
mod upstreams;

pub use facts::Facts;
pub use history::History;
pub use run::{Report, judge};
pub use snapshot::Snapshot;
pub use thresholds::Thresholds;
