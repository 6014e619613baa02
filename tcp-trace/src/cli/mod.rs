//! The command line: one file per verb, arguments in two steps (what was typed, then checked settings).

mod args;
mod check;
mod demo;
mod error;
mod explain;
mod live;
mod print;
mod record;
mod run;
mod show;
mod target;

pub use error::CliError;
pub use run::run;
