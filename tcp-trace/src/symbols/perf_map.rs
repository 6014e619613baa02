//! Names of functions that a process compiles while it runs, from the file that it writes for `perf`:
//! `/tmp/perf-PID.map` (`tools/perf/Documentation/jit-interface.txt` of Linux).

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    sync::Arc,
};

use rustix::fs::OFlags;
use tcp_trace_model::record::{Frame, Text};

/// Bytes of a file that are read, of a longer one the last.
const BYTES_MAX: u64 = 16 << 20;
/// What V8 writes before the names of functions of a program, and then whether they are compiled.
const JS_KINDS: [&str; 5] = ["JS:", "LazyCompile:", "Function:", "Script:", "Eval:"];
const JS_TIERS: [char; 4] = ['~', '*', '^', '+'];

/// The functions of a process, by address.
#[derive(Debug, Default)]
pub(super) struct PerfMap {
    /// Of the file, when it was read.
    length: u64,
    /// By their first address: the one behind them, and their name. None lies over another.
    functions: BTreeMap<u64, (u64, Arc<str>)>,
}

impl PerfMap {
    /// Reads what a process, which is there, has written since.
    pub(super) fn refresh(&mut self, pid: u32) {
        // Such a file grows.
        if let Some((file, length)) = open(pid)
            && length != self.length
        {
            *self = Self::read(file, length, BYTES_MAX).unwrap_or_default();
        }
    }

    /// The name of the function at an address.
    pub(super) fn name(&self, address: u64) -> Option<Arc<str>> {
        let (_, (end, name)) = self.functions.range(..=address).next_back()?;
        (address < *end).then(|| name.clone())
    }

    /// Reads the end of a file of this length, at most `limit` bytes: what was written last counts.
    fn read(mut file: impl Read + Seek, length: u64, limit: u64) -> io::Result<Self> {
        let start = length.saturating_sub(limit);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // The first line may be the rest of one.
        let lines = if start == 0 { &text } else { text.split_once('\n').map_or("", |(_, lines)| lines) };
        Ok(Self { length, functions: parse(lines) })
    }
}

/// Lines of an address, a length, both in hexadecimal digits, and a name. Others are left out.
fn parse(text: &str) -> BTreeMap<u64, (u64, Arc<str>)> {
    let mut functions = BTreeMap::new();
    for (start, end, name) in text.lines().filter_map(function) {
        // Memory is used again: what was in it before is gone.
        while let Some((&older, &(older_end, _))) = functions.range(..end).next_back()
            && older_end > start
        {
            functions.remove(&older);
        }
        functions.insert(start, (end, Arc::from(name)));
    }
    functions
}

/// The first address of a function, the one behind it, and its name.
fn function(line: &str) -> Option<(u64, u64, &str)> {
    let mut fields = line.splitn(3, ' ');
    let mut number = || {
        let field = fields.next()?;
        u64::from_str_radix(field.strip_prefix("0x").unwrap_or(field), 16).ok()
    };
    let (start, length) = (number()?, number()?);
    let (end, name) = (start.checked_add(length)?, fields.next()?);
    (start < end).then_some((start, end, name))
}

/// The file of a process, in what it sees as its `/tmp` and with the id that it knows itself by, and its length. Only one that
/// the process's user has written: nobody else says what its code is.
fn open(pid: u32) -> Option<(File, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let own = line("NSpid:")?.split_whitespace().last()?;
    let user: u32 = line("Uid:")?.split_whitespace().nth(1)?.parse().ok()?;
    let path = format!("/proc/{pid}/root/tmp/perf-{own}.map");
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.uid() == user).then_some((file, metadata.len()))
}

/// A frame with a name of such a file: `JS:~openPool /srv/app.js:12:18` of node, `py::open_pool:/srv/app.py` of Python, any
/// other name as it is.
pub(super) fn frame(name: &str, address: u64) -> Frame {
    let (function, file, line) = place(name);
    let function = Some(function.to_owned()).filter(|function| !function.is_empty());
    let file = file.map(Text::from);
    Frame { function, file, line, address: Some(address), ..Frame::default() }
}

fn place(name: &str) -> (&str, Option<&str>, Option<u32>) {
    if let Some(js) = JS_KINDS.iter().find_map(|kind| name.strip_prefix(kind)) {
        let js = js.trim_start_matches(JS_TIERS);
        // Paths may have blanks, as names have.
        let begins = [" /", " file:", " node:"].iter().filter_map(|begin| js.find(begin)).min();
        let (function, place) = js.split_at(begins.or_else(|| js.rfind(' ')).unwrap_or(js.len()));
        let place = place.trim_start();
        let function = if function.is_empty() { "(anonymous)" } else { function };
        // A file, and a line with or without a column.
        let number = |text: &str| text.parse::<u32>().ok();
        return match place.rsplit_once(':') {
            Some((rest, last)) => {
                match rest.rsplit_once(':').and_then(|(file, line)| Some((file, number(line)?))) {
                    Some((file, line)) => (function, Some(file), Some(line)),
                    None => (function, Some(rest), number(last)),
                }
            }
            None => (function, None, None),
        };
    }
    match name.strip_prefix("py::").and_then(|rest| rest.rsplit_once(":/")) {
        Some((function, _)) => {
            let end = "py::".len() + function.len();
            (&name[..end], Some(&name[end + 1..]), None)
        }
        None => (name, None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_function_at_an_address_counts() {
        let text = "7f00 10 JS:~old /a.js:1:1\nno line\n0x7f20 0x8 py::f:/b.py\n7f00 20 JS:*new /a.js:2:1\n";
        let map = PerfMap { length: 0, functions: parse(text) };
        let name = |address| map.name(address).map(|name| name.to_string());
        for (address, expected) in [
            (0x7eff, None),
            (0x7f00, Some("JS:*new /a.js:2:1")),
            (0x7f1f, Some("JS:*new /a.js:2:1")),
            (0x7f27, Some("py::f:/b.py")),
            (0x7f28, None),
        ] {
            assert_eq!(name(address).as_deref(), expected, "{address:x}");
        }
    }

    #[test]
    fn nothing_is_left_of_what_was_where_a_function_is() {
        let text = "100 40 before\n140 10 inside\n150 40 across\n190 10 behind\n130 40 new\n138 0 empty\n";
        let map = PerfMap { length: 0, functions: parse(text) };
        for (address, expected) in [
            (0x100, None),
            (0x130, Some("new")),
            (0x148, Some("new")),
            (0x16f, Some("new")),
            (0x170, None),
            (0x190, Some("behind")),
        ] {
            assert_eq!(map.name(address).as_deref(), expected, "{address:x}");
        }
    }

    #[test]
    fn of_a_long_file_the_end_counts() {
        let text = "7f00 10 old\n7f10 10 cut\n7f00 10 new\n";
        let read = |limit| PerfMap::read(io::Cursor::new(text), text.len() as u64, limit).unwrap();
        // Within the second line, whose rest would be another address.
        let map = read(22);
        assert_eq!((map.name(0x7f00).as_deref(), map.functions.len()), (Some("new"), 1));
        assert_eq!(read(1 << 10).functions.len(), 2);
        assert_eq!(read(5).functions.len(), 0);
    }

    #[test]
    fn names_have_functions_files_and_lines() {
        for (name, function, file, line) in [
            ("JS:~openPool /srv/app.js:12:18", "openPool", Some("/srv/app.js"), Some(12)),
            ("JS:~openPool file:///srv/app.mjs:12:18", "openPool", Some("file:///srv/app.mjs"), Some(12)),
            ("LazyCompile:*connect node:net:1012", "connect", Some("node:net"), Some(1012)),
            ("JS:~get it /srv/a b.js:1:1", "get it", Some("/srv/a b.js"), Some(1)),
            ("JS:^ /srv/app.js:1:1", "(anonymous)", Some("/srv/app.js"), Some(1)),
            ("py::open_pool:/srv/app.py", "py::open_pool", Some("/srv/app.py"), None),
            ("py::open_pool", "py::open_pool", None, None),
            ("java.net.Socket::connect", "java.net.Socket::connect", None, None),
            ("Interpreter", "Interpreter", None, None),
        ] {
            assert_eq!(place(name), (function, file, line), "{name}");
        }
    }

    #[test]
    fn a_process_without_a_file_has_no_names() {
        let mut map = PerfMap::default();
        for pid in [std::process::id(), u32::MAX] {
            map.refresh(pid);
            assert_eq!(map.name(1), None);
        }
    }
}
