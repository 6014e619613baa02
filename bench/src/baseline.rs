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

/// Pieces of the shorter run, which is subtracted: the start of the program and what is set up once.
const FEW: u64 = 1_000;
/// Pieces of the longer run.
const MANY: u64 = 11_000;
/// What a count may be above its baseline, in percent.
const TOLERANCE: f64 = 5.0;

/// Counts every piece and compares; with `update`, writes the baseline.
pub(crate) fn check(update: bool) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let baseline = if update { BTreeMap::new() } else { read(&path)? };
    let (mut text, mut above) = (String::new(), Vec::new());
    for work in works() {
        let few = instructions(work, FEW)?;
        let many = instructions(work, MANY)?;
        let each = many.saturating_sub(few) / (MANY - FEW);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {each}", work.name);
        let known = baseline.get(work.name).copied();
        let change = known.map(|known| (each as f64 / known.max(1) as f64 - 1.0) * 100.0);
        let told = change.map_or_else(String::new, |change| format!(", {change:+.1} % to the baseline"));
        println!("{:<14} {each:>7} instructions per {}{told}", work.name, work.unit);
        if !update && change.is_none_or(|change| change > TOLERANCE) {
            above.push(work.name);
        }
    }
    if update {
        return fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()));
    }
    if !above.is_empty() {
        let names = above.join(", ");
        bail!(
            "more than {TOLERANCE} % above {} or without baseline: {names}. If that is meant: cargo xtask bench --update",
            path.display()
        );
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
    let folder = Folder::new();
    let output = folder.file("callgrind");
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", output.display()));
    command.arg(program()?).args([work.name, &count.to_string()]);
    let printed = command.output().context("cannot run valgrind")?;
    if !printed.status.success() {
        bail!("{command:?}: {}\n{}", printed.status, String::from_utf8_lossy(&printed.stderr));
    }
    let text = fs::read_to_string(&output).context("callgrind has written nothing")?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).context("callgrind has written no total")
}

/// The program beside this one.
fn program() -> Result<PathBuf> {
    Ok(std::env::current_exe().context("cannot find this program")?.with_file_name("instructions"))
}
