//! The records of a recording, for verbs that take all of them before they print anything.

use std::path::Path;

use tcp_trace_core::prose::counted;
use tcp_trace_model::record::{Filter, Record, reader::Ending};

use super::{CliError, run::say};
use crate::recording::{Item, Source};

/// Hands each record that `filter` selects to `take`, and says on stderr what is no record, and, where the recording has no end,
/// what becomes of what was `open`.
pub(super) fn read(
    path: &Path,
    filter: &Filter,
    open: &str,
    mut take: impl FnMut(&Record),
) -> Result<(), CliError> {
    let mut source = Source::open(path, filter.clone())?;
    let mut broken = 0u64;
    while let Some(item) = source.next_item()? {
        match item {
            Item::Broken(_) => broken += 1,
            Item::Excluded => {}
            Item::Record { record, .. } => take(&record),
        }
    }
    let name = source.name();
    if broken > 0 {
        say(format!("{name}: skipped {} (not a record)", counted(broken, "line")));
    }
    if source.ending() != Ending::Complete {
        say(format!("{name}: cut off or still being recorded: {open}"));
    }
    Ok(())
}
