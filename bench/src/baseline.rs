//! Instructions of the pure core against a committed baseline. They do not depend on what else the machine does.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use tcp_trace_bench::{Work, works};
use tcp_trace_tests::Folder;

use crate::callgrind::Callgrind;

/// Pieces of the shorter run, which is subtracted: the start of the program and what is set up once.
const FEW: u64 = 1_000;
/// Pieces of the longer run.
const MANY: u64 = 11_000;
/// Functions of a piece that its profile has.
const SHOWN: usize = 25;
/// How far a count may be from its baseline, in percent. A gain has to be written down too, so that it is not lost again
/// unnoticed.
const TOLERANCE: f64 = 5.0;

/// Counts every piece and compares; with `update`, writes the baseline.
pub(crate) fn check(update: bool) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let baseline = if update { BTreeMap::new() } else { read(&path)? };
    let (mut text, mut failures) = (String::new(), Vec::new());
    for work in works() {
        let few = instructions(work, FEW)?;
        let many = instructions(work, MANY)?;
        let each = many.saturating_sub(few) / (MANY - FEW);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {each}", work.name);
        let change = baseline.get(work.name).map(|known| change(each, *known));
        let shown = change.map_or_else(String::new, |change| format!(", {change:+.1} % to the baseline"));
        println!("{:<14} {each:>7} instructions per {}{shown}", work.name, work.unit);
        failures.extend(failure(work.name, change));
    }
    if update {
        return fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()));
    }
    if !failures.is_empty() {
        bail!(
            "{}: {}. If that is meant: cargo xtask bench --update, and commit it",
            path.display(),
            failures.join(", ")
        );
    }
    Ok(())
}

/// How far a count is from its baseline, in percent.
fn change(count: u64, baseline: u64) -> f64 {
    (count as f64 - baseline as f64) * 100.0 / baseline.max(1) as f64
}

/// Why a change of a piece fails the check.
fn failure(name: &str, change: Option<f64>) -> Option<String> {
    match change {
        None => Some(format!("{name} has no baseline")),
        Some(change) if change > TOLERANCE => Some(format!("{name} is more than {TOLERANCE} % above")),
        Some(change) if change < -TOLERANCE => Some(format!("{name} is more than {TOLERANCE} % below")),
        Some(_) => None,
    }
}

/// Prints the functions that each piece spends most instructions in.
pub(crate) fn profile() -> Result<()> {
    for work in works() {
        let callgrind = callgrind(work, MANY)?;
        let functions = callgrind.functions();
        println!("{}: instructions per {}, in the {SHOWN} functions with most of them", work.name, work.unit);
        for (name, instructions) in functions.iter().take(SHOWN) {
            println!("{:>9.1} {name}", *instructions as f64 / MANY as f64);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| {
            let (name, count) = line.split_once(' ').context("a line has a name and a number")?;
            Ok((name.to_owned(), count.parse().context("the number is one")?))
        })
        .collect::<Result<_>>()
        .with_context(|| format!("{} is no baseline", path.display()))
}

/// Instructions of a program that does the piece so many times.
fn instructions(work: &Work, count: u64) -> Result<u64> {
    callgrind(work, count)?.total().context("callgrind has written no total")
}

/// Runs a program that does the piece so many times under callgrind.
fn callgrind(work: &Work, count: u64) -> Result<Callgrind> {
    let folder = Folder::new();
    let output = folder.file("callgrind");
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", output.display()));
    command.arg(program()?).args([work.name, &count.to_string()]);
    let printed = command.output().context("cannot run valgrind")?;
    if !printed.status.success() {
        bail!("{command:?}: {}\n{}", printed.status, String::from_utf8_lossy(&printed.stderr));
    }
    fs::read_to_string(&output).map(Callgrind).context("callgrind has written nothing")
}

/// The program beside this one.
fn program() -> Result<PathBuf> {
    Ok(std::env::current_exe().context("cannot find this program")?.with_file_name("instructions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_either_direction_fails() {
        for (count, expected) in [
            (1_000, None),
            (1_050, None),
            (1_051, Some("json is more than 5 % above")),
            (950, None),
            (949, Some("json is more than 5 % below")),
        ] {
            assert_eq!(failure("json", Some(change(count, 1_000))).as_deref(), expected, "{count}");
        }
        assert_eq!(failure("json", None).as_deref(), Some("json has no baseline"));
    }
}
