//! Programs on functions of TLS libraries: attaches them to files, and tells them which plaintext is not needed.

mod multi;

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    thread,
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData},
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope},
    },
};
use tcp_trace_ebpf::{CALL_STACK_SHIFT, TlsKey, TlsSkip, maps, programs};
use tcp_trace_model::event::{Direction, TlsObject};

use super::{
    KernelError,
    tracer::{refused, taken},
};

/// All programs of this kind.
const PROGRAMS: [&str; 13] = [
    programs::TLS_RETURN,
    programs::TLS_GO_RETURN,
    programs::TLS_RUSTLS_RETURN,
    programs::TLS_RUSTLS_TAKEN,
    programs::TLS_RUSTLS_RECEIVED,
    programs::TLS_CALL,
    programs::TLS_NEW,
    programs::TLS_HANDSHAKE,
    programs::TLS_FREE,
    programs::TLS_CIPHERTEXT,
    programs::TLS_GO_CALL,
    programs::TLS_GO_CLOSE,
    programs::TLS_RUSTLS_CALL,
];

/// What happens at a place in a TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookKind {
    /// A call that passes plaintext returns.
    Return,
    /// Such a call begins; the number is bits of the ABI's `CALL_` constants.
    Call(u64),
    /// A new object is returned.
    New,
    /// A handshake begins or goes on.
    Handshake,
    /// An object is freed, or made ready for another session.
    Free,
    /// Ciphertext is taken.
    Ciphertext,
    /// A call of Go returns, with bits as its beginning has, because that may not have been seen.
    GoReturn(u64),
    /// Such a call begins.
    GoCall(u64),
    /// The first handshake of an object of Go begins.
    GoHandshake,
    /// An object of Go is closed.
    GoClose,
    /// A call of rustls begins; the number is bits of the ABI's `CALL_` constants.
    RustlsCall(u64),
    /// It returns.
    RustlsReturn,
    /// One returns that takes what is to be sent.
    RustlsTaken,
    /// rustls hands over what it has decrypted.
    RustlsReceived,
}

/// A place in a file to which a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hook {
    /// What happens there.
    pub kind: HookKind,
    /// Where the instruction is in the file, in bytes.
    pub offset: u64,
    /// How far the stack pointer is there below what it is where the function begins, or ends.
    pub below: u64,
}

impl HookKind {
    fn program(self) -> &'static str {
        match self {
            Self::Return => programs::TLS_RETURN,
            Self::Call(_) => programs::TLS_CALL,
            Self::New | Self::GoHandshake => programs::TLS_NEW,
            Self::Handshake => programs::TLS_HANDSHAKE,
            Self::Free => programs::TLS_FREE,
            Self::Ciphertext => programs::TLS_CIPHERTEXT,
            Self::GoReturn(_) => programs::TLS_GO_RETURN,
            Self::GoCall(_) => programs::TLS_GO_CALL,
            Self::GoClose => programs::TLS_GO_CLOSE,
            Self::RustlsCall(_) => programs::TLS_RUSTLS_CALL,
            Self::RustlsReturn => programs::TLS_RUSTLS_RETURN,
            Self::RustlsTaken => programs::TLS_RUSTLS_TAKEN,
            Self::RustlsReceived => programs::TLS_RUSTLS_RECEIVED,
        }
    }

    fn cookie(self) -> u64 {
        match self {
            Self::Call(bits) | Self::GoReturn(bits) | Self::GoCall(bits) | Self::RustlsCall(bits) => bits,
            _ => 0,
        }
    }
}

/// The ABI's [`TlsKey`] as bytes for the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct KeyPod(TlsKey);
// SAFETY: a #[repr(C)] struct of integers without padding, valid for every bit pattern.
unsafe impl Pod for KeyPod {}

/// The ABI's [`TlsSkip`], likewise.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct SkipPod(TlsSkip);
// SAFETY: as above.
unsafe impl Pod for SkipPod {}

/// The programs, and what is attached: it has to be [detached](detach).
pub(super) struct Uprobes {
    /// Empty where the kernel does not attach a program to many places at once: then aya attaches it to each.
    multi: Vec<multi::Program>,
    multi_links: Vec<OwnedFd>,
    links: Vec<(&'static str, UProbeLinkId)>,
}

/// The map of plaintext that is not needed.
pub(super) struct PlaintextSkips(HashMap<MapData, KeyPod, SkipPod>);

impl PlaintextSkips {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let map = HashMap::try_from(taken(ebpf, maps::TLS_SKIPS)?);
        Ok(Self(map.map_err(|error| KernelError::failed("use the map of skipped plaintext", error))?))
    }

    /// Plaintext of an object before this offset is not needed.
    pub(super) fn set(&mut self, object: TlsObject, direction: Direction, until: Option<u64>) {
        let TlsObject { pid, address, generation } = object;
        let key = KeyPod(TlsKey { address, pid, direction: direction.index() as u32 });
        let result = match until {
            Some(until) => self.0.insert(key, SkipPod(TlsSkip { until, generation, padding: 0 }), 0),
            // The programs may have thrown it away.
            None => self.0.remove(&key).or(Ok(())),
        };
        if let Err(error) = result {
            // They go on handing it over: that costs time, and nothing else.
            log::debug!("cannot mark plaintext as skippable: {error}");
        }
    }
}

impl Uprobes {
    /// Loads the programs of `object`, whose maps `ebpf` has, and which are then attached to files.
    pub(super) fn load(ebpf: &mut Ebpf, object: &[u8]) -> Result<Self, KernelError> {
        let multi = multi::load(ebpf, object, &PROGRAMS)
            .inspect_err(|error| log::debug!("uprobes are attached one by one: {error}"))
            .unwrap_or_default();
        if multi.is_empty() {
            for name in PROGRAMS {
                program(ebpf, name)
                    .and_then(UProbe::load)
                    .map_err(|error| refused(&format!("load the eBPF program {name}"), error))?;
            }
        }
        Ok(Self { multi, multi_links: Vec::new(), links: Vec::new() })
    }

    /// Attaches programs to a file, for all processes that execute it, now and later: all of them, or none.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, file: &File, hooks: &[Hook]) -> Result<(), KernelError> {
        let (multi_links, links) = (self.multi_links.len(), self.links.len());
        let attached = self.attach_all(ebpf, &path(file.as_fd()), hooks);
        if attached.is_err() {
            self.multi_links.truncate(multi_links);
            for (name, link) in self.links.drain(links..) {
                let _ = program(ebpf, name).and_then(|program| program.detach(link));
            }
        }
        attached
    }

    /// Returns before calls: one that began would seem not to return.
    fn attach_all(&mut self, ebpf: &mut Ebpf, path: &str, hooks: &[Hook]) -> Result<(), KernelError> {
        for name in PROGRAMS {
            let hooks = hooks.iter().filter(|hook| hook.kind.program() == name);
            let (offsets, cookies): (Vec<u64>, Vec<u64>) =
                hooks.map(|hook| (hook.offset, hook.kind.cookie() | hook.below << CALL_STACK_SHIFT)).unzip();
            if offsets.is_empty() {
                continue;
            }
            if let Some(program) = self.multi.iter().find(|program| program.name == name) {
                let link = CString::new(path)
                    .map_err(io::Error::other)
                    .and_then(|path| program.attach(path, &offsets, &cookies))
                    .map_err(|error| refused("attach uprobes", error))?;
                self.multi_links.push(link);
                continue;
            }
            for (offset, cookie) in offsets.into_iter().zip(cookies) {
                let location = UProbeAttachLocation::AbsoluteOffset(offset);
                let point = UProbeAttachPoint { location, cookie: Some(cookie) };
                let link = program(ebpf, name)
                    .and_then(|program| program.attach(point, path, UProbeScope::AllProcesses))
                    .map_err(|error| refused("attach a uprobe", error))?;
                self.links.push((name, link));
            }
        }
        Ok(())
    }

    /// Detaches all that is attached. The kernel waits each time until no processor runs the program, which takes up to 100 ms, but
    /// those who wait at the same time wait together.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf) {
        thread::scope(|scope| {
            for link in self.multi_links.drain(..) {
                // Where there is no thread, it is dropped here.
                let _ = thread::Builder::new().spawn_scoped(scope, move || drop(link));
            }
        });
        for (name, link) in self.links.drain(..) {
            // It is there until it is detached, and is detached only here.
            let _ = program(ebpf, name).and_then(|program| program.detach(link));
        }
    }
}

/// A path of the file that is open, whatever has become of its name.
fn path(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
}
