//! The command line: one file per verb, arguments in two steps (what was typed, then checked settings).

mod args;
mod args_diagnose;
mod check;
mod demo;
mod diagnose;
mod error;
mod explain;
mod filters;
mod live;
mod print;
mod record;
mod run;
mod show;
mod target;
mod unseen;
mod usage;

pub use error::CliError;
pub use run::run;
