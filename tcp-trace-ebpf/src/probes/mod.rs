//! One hook per file: a thin attach function and its fallible `try_` twin.

mod datagram;
mod owner;
mod process;
mod reset;
mod segment;
mod stack;
mod state;
