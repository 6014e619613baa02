//! Events in, records out. Pure: time comes with the events and ticks, and the same events give the same records.

mod existing;
mod gate;
mod half_open;
mod lookups;
mod mini_sockets;
mod owners;
mod peers;
mod routes;
mod segments;
mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use existing::ExistingSocket;
pub use gate::HELD_RECORDS_MAX;
pub use mini_sockets::{ListedSocket, MINI_SOCKETS_MAX};
pub use routes::RouteQuestion;
pub use stream::{CONNECTIONS_MAX, Pipeline, Settings, Skip, TICK_US};

#[cfg(test)]
mod tests;
