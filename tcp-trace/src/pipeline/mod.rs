//! Events in, records out. Pure: time comes with the events and ticks, and the same events give the same records.

mod exchange;
mod gate;
mod stream;

pub use gate::HELD_RECORDS_MAX;
pub use stream::{CONNECTIONS_MAX, Pipeline, TICK_US};

#[cfg(test)]
mod tests;
