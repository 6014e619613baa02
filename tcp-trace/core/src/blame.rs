//! The line to blame: the first frame of a stack that is the program's own code. Pure.

use std::fmt;

use tcp_trace_model::record::{Frame, Stack, Text};

/// Who made a system call, as far as its stack shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame<'a> {
    /// The program's own code; or that of a library, where nothing else is in the stack.
    Line(&'a Frame),
    /// A program in an interpreter or in the JVM: its own functions and lines are not in the stack.
    Interpreter(&'a Frame),
    /// A goroutine that a library of Go started, at this function: whoever wanted it is not in the stack.
    Goroutine(&'a Frame),
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
        let goroutine = || goroutine(stack).map(Self::Goroutine);
        interpreter.map(Self::Interpreter).or(library).or_else(goroutine).unwrap_or(Self::Unknown)
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
                let path = frame.module.as_ref().map(|path| &*path.0).unwrap_or_default();
                match Interpreter::of(path) {
                    Some(Interpreter::Jvm) => f.write_str("the JVM (no line)"),
                    _ => {
                        let module = frame.module.as_ref().map(base).unwrap_or_default();
                        write!(f, "{module} (interpreter; no line)")
                    }
                }
            }
            Self::Goroutine(frame) => {
                let function = frame.function.as_deref().unwrap_or_default();
                let function = Text::from(function).printable().to_string();
                write!(f, "{function} (a goroutine of its own; the stack does not show its caller)")
            }
            Self::Unknown => f.write_str("unknown code"),
        }
    }
}

/// Whether a frame is of the system's libraries or of a language's runtime, such as what calls main().
pub fn is_runtime(frame: &Frame) -> bool {
    kind(frame) == Kind::Runtime
}

/// The function that a goroutine of Go's standard library began with.
fn goroutine(stack: &Stack) -> Option<&Frame> {
    let is_start = |frame: &Frame| frame.function.as_deref() == Some("runtime.goexit");
    let start = stack.frames.iter().position(is_start).filter(|_| !stack.truncated)?;
    let is_of_runtime = |frame: &Frame| {
        let function = frame.function.as_deref().unwrap_or_default();
        function.starts_with("runtime.") || function.starts_with("runtime/") || is_wrapper(frame)
    };
    stack.frames[..start].iter().rfind(|frame| !is_of_runtime(frame))
}

/// Whether the Go compiler wrote a function: a method value, or a method that is promoted.
fn is_wrapper(frame: &Frame) -> bool {
    frame.file.as_ref().is_some_and(|file| base_name(&file.0) == b"<autogenerated>")
}

/// What runs programs whose functions are not those of its executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpreter {
    /// CPython.
    Python,
    /// node.
    Node,
    /// CRuby.
    Ruby,
    /// PHP.
    Php,
    /// Perl.
    Perl,
    /// A Java virtual machine.
    Jvm,
}

impl Interpreter {
    /// That of an executable or library, by its path.
    pub fn of(path: &[u8]) -> Option<Self> {
        let name = base_name(path);
        let of_executable = INTERPRETERS.iter().find(|(own, _)| {
            let version = name.strip_prefix(*own);
            version.is_some_and(|version| version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
        });
        let of_path = || INTERPRETER_PATHS.iter().find(|(part, _)| has(path, part));
        of_executable.or_else(of_path).map(|(_, interpreter)| *interpreter)
    }
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
const INTERPRETER_PATHS: [(&[u8], Interpreter); 7] = [
    (b"/libpython", Interpreter::Python),
    (b"/libruby", Interpreter::Ruby),
    (b"/libperl.so", Interpreter::Perl),
    (b"/libjvm.so", Interpreter::Jvm),
    (b"/libnode.so", Interpreter::Node),
    (b"/libphp", Interpreter::Php),
    (b"/jvm/", Interpreter::Jvm),
];
/// Executables of interpreters: a name, and perhaps a version.
const INTERPRETERS: [(&[u8], Interpreter); 8] = [
    (b"python", Interpreter::Python),
    (b"node", Interpreter::Node),
    (b"nodejs", Interpreter::Node),
    (b"ruby", Interpreter::Ruby),
    (b"perl", Interpreter::Perl),
    (b"php", Interpreter::Php),
    (b"php-fpm", Interpreter::Php),
    (b"java", Interpreter::Jvm),
];
/// Source files of languages' own libraries.
const RUNTIME_SOURCES: [&[u8]; 7] = [
    b"/sysdeps/",
    b"/go/src/runtime/",
    b"/usr/local/go/src/",
    b"/usr/lib/go/src/",
    b"/usr/lib/go-1.",
    b"/usr/share/go-1.",
    b"/usr/include/c++/",
];
/// Source files of what package managers bring.
const LIBRARY_SOURCES: [&[u8]; 6] = [
    b"/lib/python3",
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
const GO_PACKAGES: [&str; 16] = [
    "runtime.",
    "runtime/",
    "net.",
    "net/",
    "internal/",
    "syscall.",
    "bufio.",
    "context.",
    "crypto/",
    "database/sql.",
    "io.",
    "os.",
    "sync.",
    "sync/",
    "time.",
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
    } else if Interpreter::of(module).is_some() || is_extension(frame) {
        Kind::Interpreter
    } else if is_source_of(&RUNTIME_SOURCES) || is_of_rust(file) || is_runtime_function(frame, file) {
        Kind::Runtime
    } else if is_source_of(&LIBRARY_SOURCES) || has(module_name, b".so") || is_wrapper(frame) {
        Kind::Library
    } else if module.is_empty() && is_of_managed_runtime(frame, file) {
        Kind::Runtime
    } else if module.is_empty() && frame.function.as_deref().is_some_and(is_stub) && file.is_empty() {
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
    // Its system calls are assembly.
    let is_go = [&b".go"[..], b".s"].iter().any(|ending| file.ends_with(ending))
        || is_wrapper(frame)
        || file.is_empty() && !is_split;
    // A program's own `connect` has a file where the program's other functions have.
    let plain = function.trim_start_matches('_');
    let is_c = file.is_empty() && C_LIBRARY.iter().any(|name| *name == function || *name == plain);
    RUNTIME_NAMES.iter().any(|name| function.starts_with(name))
        || is_c
        || is_go && GO_PACKAGES.iter().any(|package| function.starts_with(package))
}

/// Whether a function that was compiled while the program ran is of the libraries of node or Java.
fn is_of_managed_runtime(frame: &Frame, file: &[u8]) -> bool {
    const OF_JAVA: [&str; 5] = ["java.", "javax.", "jdk.", "sun.", "com.sun."];
    let function = frame.function.as_deref().unwrap_or_default();
    // `java.net.Socket::connect`, or with its signature `void java.net.Socket.connect(...)`, or `Ljava/net/Socket;::connect`.
    let is_java = function.split(' ').any(|word| {
        let name = word.strip_prefix('L').filter(|name| name.contains(';')).unwrap_or(word);
        let name = name.replace('/', ".");
        OF_JAVA.iter().any(|package| name.starts_with(package))
    });
    file.starts_with(b"node:") || file.is_empty() && is_java
}

/// Whether a name without a file is of code that a virtual machine makes for itself: it names no function of a program.
fn is_stub(function: &str) -> bool {
    let is_of_v8 = ["Builtin:", "BytecodeHandler:", "Handler:", "Stub:", "RegExp:", "Wasm"];
    is_of_v8.iter().any(|kind| function.starts_with(kind)) || !function.contains(['.', ':', '/'])
}

/// Whether a frame is of an extension of Python.
fn is_extension(frame: &Frame) -> bool {
    let module = frame.module.as_ref().map(|path| &*path.0).unwrap_or_default();
    EXTENSION_PATHS.iter().any(|path| has(module, path))
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
