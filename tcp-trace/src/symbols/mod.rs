//! From registers and stacks of processes to functions, files and lines, and to the line to blame.

pub mod blame;
mod maps;
mod module;
mod process;
mod resolver;

pub use resolver::Resolver;
