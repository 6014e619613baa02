//! Layout rules that no other tool checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Longest source file.
const LINES_MAX: usize = 500;
/// Longest `main.rs` of the program.
const MAIN_LINES_MAX: usize = 60;
/// Where the code is.
const FOLDERS: [&str; 4] = ["tcp-trace", "tcp-trace-ebpf", "tests", "xtask"];
/// Checks every source file of the project.
pub(crate) fn check(project: &Path) -> Result<()> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&project.join(folder), &mut files)?;
    }
    files.sort();
    let mut violations = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(project).unwrap_or(path).to_string_lossy().into_owned();
        violations.extend(of_file(&name, &text));
    }
    let manifest = fs::read_to_string(project.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let reasons = fs::read_to_string(project.join("docs/dependencies.md"))
        .context("cannot read docs/dependencies.md")?;
    violations.extend(of_dependencies(&manifest, &reasons));
    if !violations.is_empty() {
        bail!("{} layout rules broken:\n{}", violations.len(), violations.join("\n"));
    }
    println!("{} files follow the layout rules", files.len());
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What a file breaks, each with its place.
fn of_file(name: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    if !text.starts_with("//!") {
        violations.push(format!("{name}:1: does not open with `//!` and its one job"));
    }
    let lines = text.lines().count();
    let limit = if name == "tcp-trace/src/main.rs" { MAIN_LINES_MAX } else { LINES_MAX };
    if lines > limit {
        violations.push(format!("{name}:{lines}: longer than {limit} lines"));
    }
    // The crates of the core forbid it themselves.
    let Some(module) = name.strip_prefix("tcp-trace/src/") else {
        return violations;
    };
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if !module.starts_with("kernel/") && words(code).any(|word| word == "unsafe") {
            violations.push(format!("{name}:{}: `unsafe` outside kernel/", number + 1));
        }
    }
    violations
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
}

/// Dependencies of the workspace that no line says why of.
fn of_dependencies(manifest: &str, reasons: &str) -> Vec<String> {
    let own = ["tcp-trace", "tcp-trace-core", "tcp-trace-ebpf", "tcp-trace-model"];
    manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .filter(|name| !own.contains(name))
        .filter(|name| !words_of_table(reasons).any(|word| word == *name))
        .map(|name| format!("docs/dependencies.md: does not say why {name} is used"))
        .collect()
}

fn words_of_table(text: &str) -> impl Iterator<Item = &str> {
    let first_columns = text.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    first_columns.flat_map(|column| column.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_told_with_its_place() {
        let long = format!("//! x\n{}", "\n".repeat(LINES_MAX));
        for (name, text, expected) in [
            ("xtask/src/a.rs", "fn a() {}", "xtask/src/a.rs:1: does not open with `//!` and its one job"),
            ("tests/a.rs", &long, "tests/a.rs:501: longer than 500 lines"),
            (
                "tcp-trace/src/main.rs",
                &"//! x\n".repeat(61),
                "tcp-trace/src/main.rs:61: longer than 60 lines",
            ),
            (
                "tcp-trace/src/cli/a.rs",
                "//! x\nlet a = unsafe { b() };",
                "tcp-trace/src/cli/a.rs:2: `unsafe` outside kernel/",
            ),
        ] {
            assert_eq!(of_file(name, text), [expected]);
        }
    }

    #[test]
    fn what_is_allowed_is_not_told() {
        for (name, text) in [
            ("tcp-trace/src/kernel/a.rs", "//! x\nunsafe { b() }"),
            ("tcp-trace/src/cli/a.rs", "//! x\n// unsafe\nis_unsafe(b)"),
        ] {
            assert!(of_file(name, text).is_empty(), "{name}");
        }
    }

    #[test]
    fn every_dependency_has_its_reason() {
        let manifest = "[workspace.dependencies]\naya = \"1\"\nserde = { version = \"1\" }\n\n[profile.release]\nlto = 1\n";
        let reasons = "| crate | for |\n|---|---|\n| aya, aya-log | eBPF |\n";
        assert_eq!(
            of_dependencies(manifest, reasons),
            ["docs/dependencies.md: does not say why serde is used"]
        );
    }
}
