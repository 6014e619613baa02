//! Events in, records and questions out. Pure: time comes with the events and ticks, and the same events give the same records.

mod cx;
mod events;
mod existing;
mod gate;
mod half_open;
mod lists;
mod lookups;
mod mini_sockets;
mod output;
mod owners;
mod peers;
mod plaintext;
mod routes;
mod segments;
mod stacks;
mod subflows;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod translation;

pub use cx::Settings;
pub use events::{Pipeline, TICK_US};
pub use existing::ExistingSocket;
pub use gate::HELD_RECORDS_MAX;
pub use lists::ListedSocket;
pub use mini_sockets::MINI_SOCKETS_MAX;
pub use output::{Output, Skip, SkipPlaintext};
pub use plaintext::{
    BYTES_MAX as TAKEN_BYTES_MAX, CALLS_MAX as TAKEN_CALLS_MAX, OBJECTS_MAX, PLACES_MAX as TAKEN_PLACES_MAX,
    STARTS_MAX, WAITING_BYTES_MAX, WAITING_MAX,
};
pub use routes::RouteQuestion;
pub use stacks::{StackId, StackQuestion};
pub use table::CONNECTIONS_MAX;

#[cfg(test)]
mod tests;
