//! The line to blame: the first frame of a stack that is the program's own code. Pure.

use std::fmt;

use tcp_trace_model::record::{Frame, Stack, Text};

/// Who made a system call, as far as its stack shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame<'a> {
    /// The program's own code; or that of a library, where nothing else is in the stack.
    Line(&'a Frame),
    /// A program in an interpreter: its own functions and lines are not in the stack.
    Interpreter(&'a Frame),
    /// The stack does not show it.
    Unknown,
}

impl<'a> Blame<'a> {
    /// The innermost frame of `stack` that is neither of the system's libraries nor of a language's runtime; of those,
    /// one that is not of a library.
    pub fn of(stack: &'a Stack) -> Self {
        let mut library = None;
        let mut interpreter = None;
        for frame in &stack.frames {
            match kind(frame) {
                // What a runtime called into its own program with, such as `main` around an interpreter, is further out.
                Kind::Own if interpreter.is_none() || frame.module.is_none() => return Self::Line(frame),
                // An extension does not name the interpreter; what loaded it does.
                Kind::Interpreter
                    if interpreter.is_none_or(|known| is_extension(known) && !is_extension(frame)) =>
                {
                    interpreter = Some(frame);
                }
                Kind::Library if library.is_none() && interpreter.is_none() => library = Some(frame),
                _ => {}
            }
        }
        let library = library.map(Self::Line);
        interpreter.map(Self::Interpreter).or(library).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Blame<'_> {
    /// In one line: `pool.rs:88 (open_pool)`, `open_pool in api`, `api+0x1234`, `python3.11 (interpreter; no line)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = |path: &Text| Text::from(base_name(&path.0).to_vec()).printable().to_string();
        match self {
            Self::Line(frame) => {
                let function =
                    frame.function.as_ref().map(|name| Text::from(name.as_str()).printable().to_string());
                let module = frame.module.as_ref().map(base);
                match (frame.file.as_ref().map(base), frame.line, function, module) {
                    (Some(file), Some(line), Some(function), _) => write!(f, "{file}:{line} ({function})"),
                    (Some(file), Some(line), None, _) => write!(f, "{file}:{line}"),
                    (Some(file), None, Some(function), None) => write!(f, "{file} ({function})"),
                    (_, _, Some(function), Some(module)) => write!(f, "{function} in {module}"),
                    (_, _, Some(function), None) => f.write_str(&function),
                    (_, _, None, Some(module)) => match frame.offset {
                        Some(offset) => write!(f, "{module}+{offset:#x}"),
                        None => f.write_str(&module),
                    },
                    (_, _, None, None) => f.write_str("code in no file"),
                }
            }
            Self::Interpreter(frame) => {
                let module = frame.module.as_ref().map(base).unwrap_or_default();
                write!(f, "{module} (interpreter; no line)")
            }
            Self::Unknown => f.write_str("unknown code"),
        }
    }
}

/// Whether a frame is of the system's libraries or of a language's runtime, such as what calls main().
pub fn is_runtime(frame: &Frame) -> bool {
    kind(frame) == Kind::Runtime
}

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The C library, the loader, the standard library and the runtime of a language.
    Runtime,
    /// An interpreter, or an extension of it.
    Interpreter,
    /// A library.
    Library,
    /// The program.
    Own,
}

/// Libraries that belong to the system or to a language, by the beginning of their name.
const RUNTIME_MODULES: [&[u8]; 14] = [
    b"libc.so",
    b"libc-",
    b"libc.musl-",
    b"ld-linux",
    b"ld-musl",
    b"ld-2.",
    b"libpthread",
    b"libstdc++.",
    b"libc++.",
    b"libgcc_s.",
    b"libresolv",
    b"libnss_",
    b"libtsan.",
    b"libasan.",
];
/// Extensions of Python.
const EXTENSION_PATHS: [&[u8]; 2] = [b"/lib-dynload/", b".cpython-"];
/// Libraries and folders of interpreters.
const INTERPRETER_PATHS: [&[u8]; 7] =
    [b"/libpython", b"/libruby", b"/libperl.so", b"/libjvm.so", b"/libnode.so", b"/libphp", b"/jvm/"];
/// Executables of interpreters: a name, and perhaps a version.
const INTERPRETERS: [&[u8]; 8] =
    [b"python", b"node", b"nodejs", b"ruby", b"perl", b"php", b"php-fpm", b"java"];
/// Source files of languages' own libraries.
const RUNTIME_SOURCES: [&[u8]; 5] =
    [b"/sysdeps/", b"/go/src/runtime/", b"/usr/local/go/src/", b"/usr/lib/go/src/", b"/usr/include/c++/"];
/// Source files of what package managers bring.
const LIBRARY_SOURCES: [&[u8]; 5] = [
    b"/.cargo/registry/src/",
    b"/.cargo/git/checkouts/",
    b"/go/pkg/mod/",
    b"/node_modules/",
    b"/usr/include/",
];
/// Names of functions of Rust's and C++'s runtime.
const RUNTIME_NAMES: [&str; 13] = [
    "std::", "core::", "alloc::", "<std::", "<core::", "<alloc::", "tokio::", "<tokio::", "mio::", "<mio::",
    "__rust_", "__libc_", "__GI_",
];
/// Packages of Go's standard library, by the beginning of their functions' names.
const GO_PACKAGES: [&str; 12] = [
    "runtime.",
    "runtime/",
    "net.",
    "net/",
    "internal/",
    "syscall.",
    "crypto/",
    "bufio.",
    "io.",
    "os.",
    "sync.",
    "vendor/golang.org/",
];
/// What GCC adds to the names of functions that it splits or copies: they have a dot as Go's have.
const SPLIT: [&str; 4] = [".part.", ".constprop.", ".isra.", ".cold"];
/// Functions of a C library that is linked statically.
const C_LIBRARY: [&str; 23] = [
    "connect",
    "accept",
    "accept4",
    "recv",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "read",
    "readv",
    "send",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "write",
    "writev",
    "sendfile",
    "splice",
    "syscall",
    "syscall_cp",
    "syscall_cp_c",
    "syscall_cp_asm",
    "_start",
    "start_thread",
];

fn kind(frame: &Frame) -> Kind {
    let module = frame.module.as_ref().map(|path| &*path.0).unwrap_or_default();
    let file = frame.file.as_ref().map(|path| &*path.0).unwrap_or_default();
    let module_name = base_name(module);
    let starts = |names: &[&[u8]]| names.iter().any(|name| module_name.starts_with(name));
    let is_source_of = |places: &[&[u8]]| places.iter().any(|place| has(file, place));
    if starts(&RUNTIME_MODULES) || module.starts_with(b"[") {
        Kind::Runtime
    } else if INTERPRETER_PATHS.iter().any(|path| has(module, path))
        || is_extension(frame)
        || is_interpreter(module_name)
    {
        Kind::Interpreter
    } else if is_source_of(&RUNTIME_SOURCES) || is_of_rust(file) || is_runtime_function(frame, file) {
        Kind::Runtime
    } else if is_source_of(&LIBRARY_SOURCES) || has(module_name, b".so") {
        Kind::Library
    } else if frame.function.is_none() && module.is_empty() {
        // Code that was made while the program ran, and that nothing gives a name.
        Kind::Library
    } else {
        Kind::Own
    }
}

/// Whether `/rustc/HASH/library/` is in the path: Rust's own libraries, as they are delivered.
fn is_of_rust(file: &[u8]) -> bool {
    file.starts_with(b"/rustc/") && has(file, b"/library/") || has(file, b"/rustlib/src/rust/library/")
}

fn is_runtime_function(frame: &Frame, file: &[u8]) -> bool {
    let Some(function) = frame.function.as_deref() else { return false };
    let is_split = SPLIT.iter().any(|split| function.contains(split));
    let is_go = file.ends_with(b".go") || file.is_empty() && !is_split;
    // A program's own `connect` has a file where the program's other functions have.
    let plain = function.trim_start_matches('_');
    let is_c = file.is_empty() && C_LIBRARY.iter().any(|name| *name == function || *name == plain);
    RUNTIME_NAMES.iter().any(|name| function.starts_with(name))
        || is_c
        || is_go && GO_PACKAGES.iter().any(|package| function.starts_with(package))
}

/// Whether a frame is of an extension of Python.
fn is_extension(frame: &Frame) -> bool {
    let module = frame.module.as_ref().map(|path| &*path.0).unwrap_or_default();
    EXTENSION_PATHS.iter().any(|path| has(module, path))
}

fn is_interpreter(module_name: &[u8]) -> bool {
    INTERPRETERS.iter().any(|name| {
        let version = module_name.strip_prefix(*name);
        version.is_some_and(|version| version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
    })
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
#[path = "blame_tests.rs"]
mod tests;
