//! The programs that leak connections in CLOSE_WAIT, `tests/programs/pool.*`: where their lines are, and how they are compiled.

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

/// Compiles `pool.c`.
pub fn compile_c(folder: &Folder, options: &[&str]) -> PathBuf {
    let program = folder.file("pool");
    output(Command::new("gcc").args(options).args(["-pthread", "-o"]).arg(&program).arg(source("pool.c")));
    program
}

/// Compiles `pool.rs`, optimised.
pub fn compile_rust(folder: &Folder) -> PathBuf {
    let program = folder.file("pool");
    let source = source("pool.rs");
    output(Command::new("rustc").args(["--edition=2024", "-g", "-O", "-o"]).arg(&program).arg(source));
    program
}
