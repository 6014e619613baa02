//! From registers and stacks of processes to functions, files and lines, and to the line to blame.

mod go_table;
mod locator;
pub(crate) mod maps;
mod module;
mod namer;
mod perf_map;
mod process;

pub(crate) use go_table::GoTable;
pub use locator::{LocatedStack, Locator};
pub use namer::Namer;
