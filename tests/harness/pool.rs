//! Programs whose lines are to be found, `tests/programs/pool.*` and `reader.*`: where their lines are, and how they
//! are compiled.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Folder, output};

/// A program's source, below `tests/programs`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

/// The line of a source with this remark.
pub fn line(name: &str, remark: &str) -> u32 {
    let text = fs::read_to_string(source(name)).expect("it is in the project");
    let index = text.lines().position(|line| line.contains(remark)).expect("a line says so");
    u32::try_from(index + 1).expect("sources are short")
}

/// Compiles a program in C.
pub fn compile_c(folder: &Folder, name: &str, options: &[&str]) -> PathBuf {
    let program = folder.file(name.split('.').next().unwrap_or(name));
    output(Command::new("gcc").args(options).args(["-pthread", "-o"]).arg(&program).arg(source(name)));
    program
}

/// Compiles a program in Rust, optimised.
pub fn compile_rust(folder: &Folder, name: &str) -> PathBuf {
    let program = folder.file(name.split('.').next().unwrap_or(name));
    let source = source(name);
    output(Command::new("rustc").args(["--edition=2024", "-g", "-O", "-o"]).arg(&program).arg(source));
    program
}
