//! An ELF file's functions that are hooked, by its symbols.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
};

use memchr::memmem;
use object::{
    LittleEndian, ReadCache, ReadRef, elf,
    pod::slice_from_all_bytes,
    read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _},
};
use tcp_trace_ebpf::{CALL_KEEPS_ARGUMENTS, CALL_RECEIVES, CALL_TAKES};
use tcp_trace_model::event::TlsLibrary;

use super::{
    emulated::{C_ARGUMENTS, GO_ARGUMENTS, Place},
    functions::{FUNCTIONS, Function, GO_READ, MARKS, Reason, Unhooked},
    go::{self, Build},
    returns::{Code, Machine},
    rustls,
};
use crate::kernel::{Hook, HookKind};

/// Bytes of the largest function that is decoded: these are much smaller.
const FUNCTION_MAX: u64 = 64 << 10;
/// Bytes of the largest table of symbols or of their names that is read.
const TABLE_MAX: u64 = 512 << 20;

type Header = elf::FileHeader64<LittleEndian>;
type Symbol = elf::Sym64<LittleEndian>;

/// What is to be hooked in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hooks {
    pub(super) library: Option<TlsLibrary>,
    pub(super) hooks: Vec<Hook>,
    /// Functions that pass plaintext and are not hooked.
    pub(super) unhooked: Vec<Unhooked>,
    /// Whether functions of rustls were found, hooked or not.
    pub(super) has_rustls: bool,
}

/// Reads a file's symbols; nothing when it is no ELF file of 64 bits, or none of its functions is to be hooked.
pub(super) fn read(file: &File) -> io::Result<Hooks> {
    let data = &ReadCache::new(file);
    let Ok(header) = Header::parse(data) else { return Ok(Hooks::default()) };
    let machine = match header.e_machine(LittleEndian) {
        elf::EM_X86_64 => Some(Machine::X86_64),
        elf::EM_AARCH64 => Some(Machine::Aarch64),
        _ => None,
    };
    let machine = machine.filter(|machine| *machine == Machine::HERE);
    let sections = header.sections(LittleEndian, data).map_err(io::Error::other)?;
    let mut functions = Vec::new();
    for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
        functions.extend(in_table(data, &sections, kind).map_err(io::Error::other)?);
    }
    let mut hooks = Hooks::default();
    let build = Build::of(data, &sections);
    if build.is_known() && functions.iter().all(|(function, ..)| function.library != TlsLibrary::Go) {
        match go::functions(data, header, &sections) {
            Ok(found) => functions.extend(found),
            Err(reason) => hooks.unhooked.push(Unhooked { function: GO_READ, reason }),
        }
    }
    if functions.is_empty() {
        return Ok(hooks);
    }
    let segments = segments(data, header).map_err(io::Error::other)?;
    let mut seen = HashSet::new();
    let (of_rustls, functions): (Vec<_>, Vec<_>) =
        functions.into_iter().partition(|(function, ..)| function.library == TlsLibrary::Rustls);
    if !of_rustls.is_empty() {
        hooks.has_rustls = true;
        match all_of_rustls(&of_rustls, |function, place| {
            places(data, &segments, (machine.ok_or(Reason::Machine)?, build), function, place)
        }) {
            Ok(found) => {
                hooks.library = Some(TlsLibrary::Rustls);
                hooks.hooks.extend(found);
            }
            Err(unhooked) => hooks.unhooked.push(unhooked),
        }
    }
    for (function, address, size) in functions {
        // What is in both tables.
        if !seen.insert((function.name, address)) {
            continue;
        }
        let is_known = function.library != TlsLibrary::Go || build.is_known();
        let found = machine
            .ok_or(Reason::Machine)
            .and_then(|machine| if is_known { Ok(machine) } else { Err(Reason::OldGo) })
            .and_then(|machine| places(data, &segments, (machine, build), function, (address, size)));
        match found {
            Ok(found) => {
                if function.is_call {
                    hooks.library = Some(function.library);
                }
                hooks.hooks.extend(found);
            }
            Err(reason) if function.is_call => {
                hooks.unhooked.push(Unhooked { function: function.name, reason });
            }
            Err(_) => {}
        }
    }
    // A function that only jumps to another, which is hooked: gnutls_record_send() to gnutls_record_send2().
    let passed: Vec<u64> = hooks.hooks.iter().filter_map(|hook| direction(hook.kind)).collect();
    hooks.unhooked.retain(|unhooked| {
        let function = FUNCTIONS.iter().find(|function| function.name == unhooked.function);
        let is_passed =
            function.and_then(|function| direction(function.kind)).is_some_and(|own| passed.contains(&own));
        unhooked.reason != Reason::NoReturn || !is_passed
    });
    // Several names of one function.
    let mut seen = HashSet::new();
    hooks.hooks.retain(|hook| seen.insert(*hook));
    Ok(hooks)
}

/// The hooks of rustls: those of all its functions, or none.
fn all_of_rustls(
    found: &[(&'static Function, u64, u64)],
    places: impl Fn(&Function, (u64, u64)) -> Result<Vec<Hook>, Reason>,
) -> Result<Vec<Hook>, Unhooked> {
    let mut hooks = Vec::new();
    for (function, ..) in &rustls::FUNCTIONS {
        // A generic one has several, and both tables may name each.
        let mut all: Vec<_> = found.iter().filter(|(found, ..)| found.name == function.name).collect();
        all.dedup_by_key(|(_, address, _)| *address);
        let unhooked = |reason| Unhooked { function: function.name, reason };
        if all.is_empty() {
            return Err(unhooked(Reason::NoSymbol));
        }
        for (_, address, size) in all {
            hooks.extend(places(function, (*address, *size)).map_err(unhooked)?);
        }
    }
    Ok(hooks)
}

/// Which way plaintext passes in a call.
fn direction(kind: HookKind) -> Option<u64> {
    match kind {
        HookKind::Call(bits) | HookKind::GoCall(bits) => Some(bits & CALL_RECEIVES),
        _ => None,
    }
}

/// The functions that a table of symbols names, with address and size. Most tables are large and name none: their names are searched
/// first, as one text.
fn in_table<'a>(
    data: &'a ReadCache<&'a File>,
    sections: &SectionTable<'a, Header, &'a ReadCache<&'a File>>,
    kind: u32,
) -> object::Result<Vec<(&'static Function, u64, u64)>> {
    let Some(table) = sections.iter().find(|section| section.sh_type(LittleEndian) == kind) else {
        return Ok(Vec::new());
    };
    let names = sections.section(object::SectionIndex(table.sh_link(LittleEndian) as usize))?;
    let is_small = |section: &elf::SectionHeader64<LittleEndian>| section.sh_size(LittleEndian) <= TABLE_MAX;
    if !is_small(table) || !is_small(names) {
        return Ok(Vec::new());
    }
    let names = names.data(LittleEndian, data)?;
    let has_rustls = memmem::find(names, rustls::MARK).is_some();
    if !has_rustls && !MARKS.iter().any(|mark| memmem::find(names, mark).is_some()) {
        return Ok(Vec::new());
    }
    // Where each name is; it may be the end of a longer one.
    let mut functions = HashMap::new();
    for function in &FUNCTIONS {
        let name = [function.name.as_bytes(), b"\0"].concat();
        functions.extend(memmem::find_iter(names, &name).map(|at| (at as u32, function)));
    }
    if has_rustls {
        functions.extend(names_of_rustls(names));
    }
    let symbols = table.data(LittleEndian, data)?;
    // A table that is cut off names nothing.
    let symbols = slice_from_all_bytes::<Symbol>(symbols).unwrap_or_default();
    let is_function = |symbol: &&Symbol| {
        symbol.st_type() == elf::STT_FUNC && symbol.st_shndx(LittleEndian) != elf::SHN_UNDEF
    };
    let found = symbols.iter().filter(is_function).filter_map(|symbol| {
        let function = functions.get(&symbol.st_name(LittleEndian))?;
        Some((*function, symbol.st_value(LittleEndian), symbol.st_size(LittleEndian)))
    });
    Ok(found.collect())
}

/// Where the mangled names are of functions of rustls.
fn names_of_rustls(names: &[u8]) -> impl Iterator<Item = (u32, &'static Function)> {
    rustls::FUNCTIONS.iter().flat_map(move |(.., part)| {
        memmem::find_iter(names, part.as_bytes()).filter_map(move |at| {
            let start = memchr::memrchr(0, &names[..at]).map_or(0, |end| end + 1);
            let length = memchr::memchr(0, &names[start..])?;
            Some((start as u32, rustls::named(&names[start..start + length])?))
        })
    })
}

/// A part of the file that is mapped.
struct Segment {
    address: u64,
    size: u64,
    offset: u64,
}

impl Segment {
    /// Where in the file an address is, and how many bytes follow in the segment.
    fn offset_of(&self, address: u64) -> Option<(u64, u64)> {
        let at = address.checked_sub(self.address).filter(|at| *at < self.size)?;
        Some((self.offset.checked_add(at)?, self.size - at))
    }
}

fn segments<'a>(data: &'a ReadCache<&'a File>, header: &Header) -> object::Result<Vec<Segment>> {
    let headers = header.program_headers(LittleEndian, data)?;
    let loaded = headers.iter().filter(|header| header.p_type(LittleEndian) == elf::PT_LOAD);
    let segment = |header: &elf::ProgramHeader64<LittleEndian>| Segment {
        address: header.p_vaddr(LittleEndian),
        size: header.p_filesz(LittleEndian),
        offset: header.p_offset(LittleEndian),
    };
    Ok(loaded.map(segment).collect())
}

/// Where in the file a function is hooked.
fn places<'a>(
    data: &'a ReadCache<&'a File>,
    segments: &[Segment],
    (machine, build): (Machine, Build),
    function: &Function,
    (address, size): (u64, u64),
) -> Result<Vec<Hook>, Reason> {
    let offset =
        |address| segments.iter().find_map(|segment| segment.offset_of(address)).map(|(offset, _)| offset);
    // Less than a function's bytes where its segment ends.
    let read = |address| {
        let (offset, rest) = segments.iter().find_map(|segment| segment.offset_of(address))?;
        data.read_bytes_at(offset, rest.min(FUNCTION_MAX)).ok()
    };
    if size == 0 || size > FUNCTION_MAX {
        return Err(Reason::NoCode);
    }
    let start = offset(address).ok_or(Reason::NoCode)?;
    let bytes = data.read_bytes_at(start, size).map_err(|()| Reason::NoCode)?;
    let code = Code { address, bytes };
    let hook = |kind, place: Place| {
        let offset = offset(place.address)?;
        Some(Hook { kind, offset, below: place.below })
    };
    let returns = |kind| {
        let returns = machine.returns(code, &read)?;
        Ok(returns.into_iter().filter_map(move |at| hook(kind, machine.end(code, at))))
    };
    let mut hooks = Vec::new();
    match function.kind {
        kind @ HookKind::New => hooks.extend(returns(kind)?),
        HookKind::GoCall(bits) => {
            let kept = if machine.keeps_arguments(code) { CALL_KEEPS_ARGUMENTS } else { 0 };
            hooks.extend(returns(HookKind::GoReturn(bits | kept))?);
            hooks.extend(hook(build.call(bits), machine.beginning(code, GO_ARGUMENTS)));
        }
        kind @ (HookKind::GoHandshake | HookKind::GoClose) => {
            hooks.extend(hook(kind, machine.beginning(code, GO_ARGUMENTS)));
        }
        kind @ HookKind::RustlsCall(bits) => {
            let end = if bits & CALL_TAKES != 0 { HookKind::RustlsTaken } else { HookKind::RustlsReturn };
            hooks.extend(returns(end)?);
            hooks.extend(hook(kind, machine.beginning(code, C_ARGUMENTS)));
        }
        kind @ HookKind::RustlsReceived => {
            if machine == Machine::X86_64 && !rustls::takes_payload(bytes) {
                return Err(Reason::Unlike);
            }
            hooks.extend(hook(kind, machine.beginning(code, C_ARGUMENTS)));
        }
        kind => {
            if function.is_call {
                hooks.extend(returns(HookKind::Return)?);
            }
            hooks.extend(hook(kind, machine.beginning(code, C_ARGUMENTS)));
        }
    }
    Ok(hooks)
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
