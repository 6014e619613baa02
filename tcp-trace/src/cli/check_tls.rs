//! What `check` says of TLS: which library each running process has, and whether its calls are read.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    path::PathBuf,
};

use tcp_trace_model::event::TlsLibrary;

use super::check::line;
use crate::{
    kernel::{Tracer, process},
    uprobes::{Finder, Known},
};

/// Processes that a line names.
const NAMED_MAX: usize = 5;

/// Attaches to all libraries that there are, and says of each process what it has.
pub(super) fn report(tracer: &mut Tracer) {
    if let Some(missing) = tracer.missing().iter().find(|missing| missing.feature == "uprobes") {
        line("uprobes", &format!("missing, so {}", missing.reason));
        return;
    }
    let mut finder = Finder::default();
    let targets = finder.everywhere();
    // Why, by path, of those that cannot be hooked.
    let mut refused = HashMap::new();
    for target in &targets {
        if let Err(error) = tracer.attach_hooks(&target.file, &target.hooks) {
            refused.insert(target.known.path.clone(), error.to_string());
        }
    }
    match refused.values().next() {
        Some(error) if refused.len() == targets.len() => {
            line("uprobes", &format!("missing, so what TLS carries is unknown: {error}"));
        }
        _ => line("uprobes", "ok"),
    }
    let mut processes: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
    for pid in process::pids().unwrap_or_default() {
        let Some(name) = process::name(pid) else { continue };
        let name = String::from_utf8_lossy(&name).into_owned();
        for said in libraries(&mut finder, &refused, pid) {
            processes.entry((name.clone(), said)).or_default().push(pid);
        }
    }
    for ((name, said), pids) in processes {
        line("TLS", &format!("{said}: {name} ({})", listed(&pids)));
    }
}

fn libraries(finder: &mut Finder, refused: &HashMap<PathBuf, String>, pid: u32) -> Vec<String> {
    let (known, uncovered) = (finder.known_of(pid), finder.uncovered_of(pid));
    let hooked = known.iter().filter_map(|known| about(known, refused.get(&known.path)));
    hooked
        .chain(uncovered.into_iter().map(|found| format!("not read, {}: {}", found.library, found.reason)))
        .collect()
}

/// What is said of a file, which may have been `refused`; nothing of one that has only a part of TLS.
fn about(known: &Known, refused: Option<&String>) -> Option<String> {
    let path = known.path.display();
    Some(match (known.library, known.unhooked.first(), refused) {
        (Some(library), _, Some(error)) => format!("not read, {} in {path}: {error}", name(library)),
        (Some(library), None, None) => format!("read, {} in {path}", name(library)),
        (Some(library), Some(unhooked), None) => {
            format!("read in part, {} in {path}, not {unhooked}", name(library))
        }
        (None, Some(unhooked), _) => format!("not read, {path}, {unhooked}"),
        (None, None, _) => return None,
    })
}

fn name(library: TlsLibrary) -> &'static str {
    match library {
        TlsLibrary::OpenSsl => "OpenSSL's functions",
        TlsLibrary::GnuTls => "GnuTLS",
        TlsLibrary::Go => "Go's crypto/tls",
        TlsLibrary::Rustls => "rustls (of a program built with fat LTO, perhaps not what it receives)",
    }
}

/// The first of these ids, and how many others there are.
fn listed(pids: &[u32]) -> String {
    let mut text = String::new();
    for (index, pid) in pids.iter().take(NAMED_MAX).enumerate() {
        let _ = write!(text, "{}{pid}", if index == 0 { "" } else { ", " });
    }
    if pids.len() > NAMED_MAX {
        let _ = write!(text, " and {} more", pids.len() - NAMED_MAX);
    }
    text
}
