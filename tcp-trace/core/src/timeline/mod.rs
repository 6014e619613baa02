//! What a whole session says, connection by connection: a bounded store of lives, the two ends of each connection, and
//! each exchange once. Pure.

mod life;
mod pair;
mod partners;
mod size;
mod store;
#[cfg(test)]
mod tests;

pub use life::{Life, control};

pub use pair::{Pair, Pairs, Position, Side, position};
pub use store::{Keep, Store};
