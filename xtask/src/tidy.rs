//! Layout rules that no other tool checks.

mod modules;
mod source;
mod types;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use self::source::Source;

/// Longest source file.
const LINES_MAX: usize = 500;
/// Longest `main.rs` of the program.
const MAIN_LINES_MAX: usize = 60;
/// Where the code is.
const FOLDERS: [&str; 5] = ["bench", "tcp-trace", "tcp-trace-ebpf", "tests", "xtask"];
/// The crates, and where the source of each is. The root of `tests` names everything, so that its modules form no graph.
const CRATES: [(&str, &str); 6] = [
    ("tcp-trace", "tcp-trace/src/"),
    ("tcp-trace-bench", "bench/src/"),
    ("tcp-trace-core", "tcp-trace/core/src/"),
    ("tcp-trace-ebpf", "tcp-trace-ebpf/src/"),
    ("tcp-trace-model", "tcp-trace/model/src/"),
    ("xtask", "xtask/src/"),
];
/// The section of ARCHITECTURE.md that says what breaks a rule of modules or types, and why.
const EXCEPTIONS: &str = "## Exceptions to the layout rules";

/// Checks every source file of the project.
pub(crate) fn check(project: &Path) -> Result<()> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&project.join(folder), &mut files)?;
    }
    files.sort();
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let mut violations = Vec::new();
    let mut crates: BTreeMap<&str, Vec<Source>> = BTreeMap::new();
    for path in &files {
        let text = read(path)?;
        let name = path.strip_prefix(project).unwrap_or(path).to_string_lossy().into_owned();
        violations.extend(of_file(&name, &text));
        for (of, folder) in CRATES {
            if let Some(module) = name.strip_prefix(folder) {
                crates.entry(of).or_default().push(Source::new(name.clone(), module, &text));
            }
        }
    }
    violations.extend(of_crates(&crates, &read(&project.join("ARCHITECTURE.md"))?));
    let manifest = read(&project.join("Cargo.toml"))?;
    violations.extend(of_dependencies(&manifest, &read(&project.join("docs/dependencies.md"))?));
    let lock = read(&project.join("Cargo.lock"))?;
    violations.extend(of_duplicates(&lock, &read(&project.join("deny.toml"))?));
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

/// What breaks the rules of modules and types, but for the exceptions in ARCHITECTURE.md.
fn of_crates(crates: &BTreeMap<&str, Vec<Source>>, architecture: &str) -> Vec<String> {
    let exceptions = exceptions(architecture);
    let mut violations = Vec::new();
    for (of, _) in exceptions.iter().filter(|(of, _)| !crates.contains_key(of)) {
        violations.push(format!("ARCHITECTURE.md: there is no crate {of}"));
    }
    for (name, sources) in crates {
        let of = exceptions.iter().filter(|(of, _)| of == name).map(|(_, what)| *what);
        let (edges, types): (Vec<&str>, Vec<&str>) = of.partition(|what| what.contains(" -> "));
        violations.extend(modules::cycles(sources, &edges));
        violations.extend(types::too_large(sources, &types));
    }
    violations
}

/// Crates with what breaks a rule in them: lines ``- `CRATE: WHAT`: reason``, where WHAT is a type, or `MODULE -> MODULE`.
fn exceptions(architecture: &str) -> Vec<(&str, &str)> {
    let section = architecture.lines().skip_while(|line| *line != EXCEPTIONS).skip(1);
    let lines = section.take_while(|line| !line.starts_with("## "));
    lines
        .filter_map(|line| {
            let (what, reason) = line.strip_prefix("- `")?.split_once("`: ")?;
            what.split_once(": ").filter(|_| !reason.is_empty())
        })
        .collect()
}

/// Crates that Cargo.lock has in several versions, of which deny.toml does not say why, and the other way round.
fn of_duplicates(lock: &str, deny: &str) -> Vec<String> {
    let value = |line: &str, key: &str| {
        Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in lock.lines() {
        if let Some(of) = value(line, "name") {
            name = of;
        } else if let Some(version) = value(line, "version") {
            versions.entry(name.clone()).or_default().push(version);
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    // All but the newest, which is what the others are to become.
    let is = versions.iter().flat_map(|(name, versions)| {
        versions[..versions.len() - 1].iter().map(move |version| format!("{name}@{version}"))
    });
    let is: BTreeSet<String> = is.collect();
    let entry = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("{ crate = \"")?.split_once('"')?;
        rest.starts_with(", reason = \"").then(|| name.to_owned())
    };
    let reasons: BTreeSet<String> = deny.lines().filter_map(entry).collect();
    let missing = is
        .difference(&reasons)
        .map(|of| format!("deny.toml: does not say why {of} is there beside a newer one"));
    let gone = reasons.difference(&is).map(|of| format!("deny.toml: {of} is no duplicate any more"));
    missing.chain(gone).collect()
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
    fn each_rule_is_reported_with_its_place() {
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
    fn what_is_allowed_is_not_reported() {
        for (name, text) in [
            ("tcp-trace/src/kernel/a.rs", "//! x\nunsafe { b() }"),
            ("tcp-trace/src/cli/a.rs", "//! x\n// unsafe\nis_unsafe(b)"),
        ] {
            assert!(of_file(name, text).is_empty(), "{name}");
        }
    }

    #[test]
    fn exceptions_are_read_with_their_crate() {
        let text = "## A\n- `core: No`: x\n## Exceptions to the layout rules\nWords.\n- `core: Pipeline`: because\n  it is.\n\
            - `model: a -> b`: so\n- `core: Silent`: \n## B\n- `core: No`: x\n";
        assert_eq!(exceptions(text), [("core", "Pipeline"), ("model", "a -> b")]);
    }

    #[test]
    fn exceptions_of_no_crate_and_for_nothing_are_reported() {
        let sources =
            vec![Source::new("x/src/a.rs".to_owned(), "a.rs", "//! x\nstruct Small {\n    a: u8,\n}\n")];
        let crates = BTreeMap::from([("core", sources)]);
        let text = format!("{EXCEPTIONS}\n- `core: Small`: x\n- `core: a -> b`: x\n- `cor: A`: x\n");
        assert_eq!(
            of_crates(&crates, &text),
            [
                "ARCHITECTURE.md: there is no crate cor",
                "ARCHITECTURE.md: `a -> b` closes no circle of modules any more",
                "ARCHITECTURE.md: `Small` is not too large any more"
            ]
        );
    }

    #[test]
    fn every_duplicate_has_its_reason() {
        let package =
            |name: &str, version: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
        let lock = [package("syn", "2.0.1"), package("syn", "3.0.9"), package("serde", "1.0.0")].concat();
        let reason = "skip = [\n    { crate = \"syn@2.0.1\", reason = \"older macros\" },\n]\n";
        assert!(of_duplicates(&lock, reason).is_empty());
        assert_eq!(
            of_duplicates(&lock, ""),
            ["deny.toml: does not say why syn@2.0.1 is there beside a newer one"]
        );
        assert_eq!(of_duplicates("", reason), ["deny.toml: syn@2.0.1 is no duplicate any more"]);
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
