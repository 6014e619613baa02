//! What `check` says of TLS: which library each running process has, and whether its calls are read.

use std::{collections::BTreeMap, fmt::Write as _};

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
    let attached: Result<Vec<_>, _> =
        finder.everywhere().iter().map(|target| tracer.attach_hooks(&target.file, &target.hooks)).collect();
    match attached {
        Ok(_) => line("uprobes", "ok"),
        Err(error) => line("uprobes", &format!("missing, so what TLS carries is unknown: {error}")),
    }
    let mut processes: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
    for pid in process::pids().unwrap_or_default() {
        let Some(name) = process::name(pid) else { continue };
        let name = String::from_utf8_lossy(&name).into_owned();
        for said in libraries(&finder, pid) {
            processes.entry((name.clone(), said)).or_default().push(pid);
        }
    }
    for ((name, said), pids) in processes {
        line("TLS", &format!("{said}: {name} ({})", listed(&pids)));
    }
}

fn libraries(finder: &Finder, pid: u32) -> Vec<String> {
    let known = finder.known_of(pid);
    let hooked = known.iter().filter_map(|known| about(known));
    let uncovered = Finder::uncovered_of(pid).into_iter();
    hooked.chain(uncovered.map(|found| format!("not read, {}: {}", found.library, found.reason))).collect()
}

/// What is said of a file; nothing of one that has only a part of TLS.
fn about(known: &Known) -> Option<String> {
    let path = known.path.display();
    let unhooked = known.unhooked.first();
    Some(match (known.library, unhooked) {
        (Some(library), None) => format!("read, {} in {path}", name(library)),
        (Some(library), Some(unhooked)) => {
            format!("read in part, {} in {path}, not {unhooked}", name(library))
        }
        (None, Some(unhooked)) => format!("not read, {path}, {unhooked}"),
        (None, None) => return None,
    })
}

fn name(library: TlsLibrary) -> &'static str {
    match library {
        TlsLibrary::OpenSsl => "OpenSSL's functions",
        TlsLibrary::GnuTls => "GnuTLS",
        TlsLibrary::Go => "Go's crypto/tls",
        TlsLibrary::Rustls => "rustls",
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
