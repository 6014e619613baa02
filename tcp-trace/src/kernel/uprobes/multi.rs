//! Links that attach one program to many places of a file at once (`BPF_TRACE_UPROBE_MULTI`, from Linux 6.6 on). With a perf event for
//! each place, which aya has, Linux from 6.12 on takes 100 ms to detach each, one after the other.

use std::{
    collections::HashSet,
    ffi::CString,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::Object;
use rustix::io::Errno;

/// `BPF_PROG_LOAD` and `BPF_LINK_CREATE` of `enum bpf_cmd`.
const PROGRAM_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
/// `BPF_PROG_TYPE_KPROBE` of `enum bpf_prog_type`.
const KPROBE: u32 = 2;
/// Of `enum bpf_attach_type`.
const TRACE_UPROBE_MULTI: u32 = 48;
/// Bytes of a program's name, with its terminating zero (`BPF_OBJ_NAME_LEN`).
const NAME_LEN: usize = 16;

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_LEN],
    interface: u32,
    expected_attach_type: u32,
}

/// The part of `union bpf_attr` that creates such a link.
#[repr(C)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    padding: u32,
}

/// A program that is loaded for such links.
pub(super) struct Program {
    pub(super) name: &'static str,
    descriptor: OwnedFd,
}

/// Loads these programs of `object`, whose maps `ebpf` has. An error also where the kernel has no such links.
pub(super) fn load(ebpf: &Ebpf, object: &[u8], names: &[&'static str]) -> io::Result<Vec<Program>> {
    let mut object = Object::parse(object).map_err(io::Error::other)?;
    let maps: Vec<_> = object.maps.drain().collect();
    let placed = maps.iter().filter_map(|(name, map)| {
        let data = data(ebpf.map(name)?)?;
        Some((name.as_str(), data.fd().as_fd().as_raw_fd(), map))
    });
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(placed, &text).map_err(io::Error::other)?;
    let programs: io::Result<Vec<_>> = names.iter().map(|name| load_one(&object, name)).collect();
    let programs = programs?;
    if let Some(program) = programs.first() {
        check_support(program)?;
    }
    Ok(programs)
}

/// The programs' maps are of these kinds.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data)
        | Map::PerfEventArray(data)
        | Map::SkStorage(data) => Some(data),
        _ => None,
    }
}

fn load_one(object: &Object, name: &'static str) -> io::Result<Program> {
    let program = object.programs.get(name).ok_or(io::ErrorKind::NotFound)?;
    let function = object.functions.get(&program.function_key()).ok_or(io::ErrorKind::NotFound)?;
    let mut short = [0; NAME_LEN];
    let length = name.len().min(NAME_LEN - 1);
    short[..length].copy_from_slice(&name.as_bytes()[..length]);
    let attributes = LoadAttributes {
        program_type: KPROBE,
        instruction_count: function.instructions.len() as u32,
        instructions: function.instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name: short,
        interface: 0,
        expected_attach_type: TRACE_UPROBE_MULTI,
    };
    // SAFETY: the pointers in the attributes are to what lives longer than the call.
    let descriptor = unsafe { bpf(PROGRAM_LOAD, &attributes) }?;
    Ok(Program { name, descriptor })
}

/// Earlier kernels take the programs, but not the links: those that have them refuse what is no regular file with an error of its own.
fn check_support(program: &Program) -> io::Result<()> {
    match program.attach(c"/".to_owned(), &[0], &[0]) {
        Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

impl Program {
    /// Attaches the program to places in a file, each with a cookie, for all processes.
    pub(super) fn attach(&self, path: CString, offsets: &[u64], cookies: &[u64]) -> io::Result<OwnedFd> {
        let program: BorrowedFd<'_> = self.descriptor.as_fd();
        let attributes = LinkAttributes {
            program: program.as_raw_fd().cast_unsigned(),
            target: 0,
            attach_type: TRACE_UPROBE_MULTI,
            flags: 0,
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            reference_counters: 0,
            cookies: cookies.as_ptr() as u64,
            // What is beyond either has no counterpart.
            count: offsets.len().min(cookies.len()) as u32,
            multi_flags: 0,
            pid: 0,
            padding: 0,
        };
        // SAFETY: the pointers in the attributes are to what lives longer than the call, and the arrays have so many elements.
        unsafe { bpf(LINK_CREATE, &attributes) }
    }
}

/// # Safety
/// The attributes are those of the command, and their pointers are valid for it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>() as libc::c_uint)
    };
    match i32::try_from(result) {
        // SAFETY: the kernel has just opened it for us. It is closed when a program is executed, as the kernel does with all of this kind.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
