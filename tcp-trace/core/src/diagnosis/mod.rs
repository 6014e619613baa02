//! What is wrong with sockets: rules over the facts of one moment and the history that led to it. Pure.

pub mod attempts;
mod behind;
mod call_sites;
mod closes;
mod exchange_findings;
pub mod exchanges;
mod facts;
mod failed_exchanges;
mod fate;
mod finding;
mod findings;
pub mod history;
#[cfg(test)]
mod look_alikes;
#[cfg(test)]
mod properties_tests;
pub mod recorded;
mod resets;
mod routing;
pub mod rules;
mod run;
mod silence;
pub mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(any(test, feature = "testing"))]
pub mod testing_http;
mod thresholds;
mod unanswered;
mod upstreams;

pub use facts::Facts;
pub use findings::Findings;
pub use history::History;
pub use run::{Report, judge};
pub use snapshot::Snapshot;
pub use thresholds::Thresholds;
