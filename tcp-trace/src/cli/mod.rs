//! The command line: one file per verb, arguments in two steps (what was typed, then checked settings).

mod args;
mod args_diagnose;
mod args_stats;
mod check;
mod check_tls;
mod coverage;
mod demo;
mod diagnose;
mod error;
mod exchange_filters;
mod explain;
mod filters;
mod fresh_line;
mod live;
mod output;
mod output_file;
mod record;
mod recorded;
mod run;
mod show;
mod stats;
mod trace_settings;
mod usage_error;

pub use error::CliError;
pub use run::run;
