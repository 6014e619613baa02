//! Programs of Go: how they were built, where functions are that no symbol names, and whether a function keeps its arguments.
//!
//! Go calls by its own convention since 1.17 (`src/cmd/compile/abi-internal.md`), and since 1.18 a program says its version where this looks.

use std::{fs::File, sync::Arc};

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register};
use memchr::memmem;
use object::{
    LittleEndian, ReadCache, elf,
    read::elf::{FileHeader as _, SectionHeader as _, SectionTable},
};
use tcp_trace_ebpf::CALL_IS_OLD;
use tcp_trace_model::event::TlsLibrary;

use super::{
    emulated::lowered,
    functions::{FUNCTIONS, Function, Reason},
};
use crate::{kernel::HookKind, symbols::GoTable};

type Header = elf::FileHeader64<LittleEndian>;
type Sections<'a> = SectionTable<'a, Header, &'a ReadCache<&'a File>>;

/// How section `.go.buildinfo` begins (`src/debug/buildinfo/buildinfo.go`).
const BUILD_INFO: &[u8] = b"\xff Go buildinf:";
/// Where its flags are.
const FLAGS: usize = 15;
/// Flag: the version follows, as Go writes it since 1.18.
const HAS_VERSION: u8 = 2;
/// Where the version is, behind its length.
const VERSION: usize = 32;
/// Bytes that are looked at of it.
const VERSION_MAX: usize = 64;
/// From which minor version on a `tls.Conn` has its state elsewhere.
const MOVED: u32 = 21;
/// Bytes of the largest table of functions that is read.
const TABLE_MAX: u64 = 64 << 20;
/// Bytes of the return address.
const RETURN_ADDRESS: u64 = 8;

/// By which compiler a file was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    /// Not by Go's.
    Other,
    /// By one whose functions are not called as is known here.
    Ancient,
    /// By one before Go 1.21.
    Old,
    /// By Go 1.21 or later.
    Go,
}

impl Build {
    pub(super) fn of<'a>(data: &'a ReadCache<&'a File>, sections: &Sections<'a>) -> Self {
        let section = sections.section_by_name(LittleEndian, b".go.buildinfo");
        let bytes =
            section.and_then(|(_, section)| section.data(LittleEndian, data).ok()).unwrap_or_default();
        Self::said(bytes)
    }

    /// What a section says.
    fn said(bytes: &[u8]) -> Self {
        match bytes.get(FLAGS) {
            Some(flags) if bytes.starts_with(BUILD_INFO) => {
                if flags & HAS_VERSION == 0 {
                    return Self::Ancient;
                }
                // Its length, and then what may begin with `devel`.
                let version = bytes.get(VERSION..).unwrap_or_default();
                let version = &version[..version.len().min(VERSION_MAX)];
                let minor = memmem::find(version, b"go1.").map(|at| &version[at + 4..]);
                let digits =
                    minor.unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).take(4);
                let minor = digits.fold(None, |number: Option<u32>, digit| {
                    Some(number.unwrap_or(0) * 10 + u32::from(digit - b'0'))
                });
                if minor.is_some_and(|minor| minor < MOVED) { Self::Old } else { Self::Go }
            }
            _ => Self::Other,
        }
    }

    /// Whether Go's functions are called as is known here.
    pub(super) fn is_known(self) -> bool {
        matches!(self, Self::Old | Self::Go)
    }

    /// What is hooked at the beginning of a function of Go.
    pub(super) fn call(self, bits: u64) -> HookKind {
        HookKind::GoCall(if self == Self::Old { bits | CALL_IS_OLD } else { bits })
    }
}

/// Go's functions that are hooked, with address and size, from the table that a program has for its own panics: it is there without
/// symbols, too.
pub(super) fn functions<'a>(
    data: &'a ReadCache<&'a File>,
    header: &Header,
    sections: &Sections<'a>,
) -> Result<Vec<(&'static Function, u64, u64)>, Reason> {
    let named = |name: &[u8]| sections.section_by_name(LittleEndian, name).map(|(_, section)| section);
    // A program at a variable address has it where relocations can be written.
    let table = named(b".gopclntab").or_else(|| named(b".data.rel.ro.gopclntab"));
    let table = table.filter(|table| table.sh_size(LittleEndian) <= TABLE_MAX).ok_or(Reason::NoTable)?;
    let text = named(b".text").ok_or(Reason::NoTable)?.sh_addr(LittleEndian);
    let bytes = Arc::from(table.data(LittleEndian, data).map_err(|_| Reason::NoTable)?);
    let table = GoTable::read(bytes, text, header.e_entry(LittleEndian)).ok_or(Reason::NoTable)?;
    let wanted = FUNCTIONS.iter().filter(|function| function.library == TlsLibrary::Go);
    Ok(wanted
        .filter_map(|function| table.find(function.name).map(|(address, size)| (function, address, size)))
        .collect())
}

/// Whether a function stores its receiver and the address of its buffer where its caller has room for them, behind the return address,
/// before it does anything else, and nothing else ever there.
pub(super) fn keeps_arguments(instructions: &[Instruction]) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let (mut below, mut branches, mut is_beginning) = (0_u64, 0, true);
    let mut kept = [false; 2];
    for instruction in instructions {
        match instruction.flow_control() {
            FlowControl::Next if !is_beginning => {}
            FlowControl::Next if instruction.mnemonic() == Mnemonic::Push => below += 8,
            FlowControl::Next => match lowered(instruction) {
                Some(number) => below += number,
                None => return false,
            },
            // Where the stack is too small.
            FlowControl::ConditionalBranch if branches == 0 => branches = 1,
            _ => is_beginning = false,
        }
        let from = (below + RETURN_ADDRESS).cast_signed();
        // Who has its address may store anything there.
        let at = instruction.memory_displacement64().cast_signed();
        let is_taken = instruction.mnemonic() == Mnemonic::Lea && (from..from + 16).contains(&at);
        if is_taken && instruction.memory_base() == Register::RSP {
            return false;
        }
        for memory in factory.info(instruction).used_memory() {
            let (at, size) = (memory.displacement().cast_signed(), memory.memory_size().size().max(1) as i64);
            let is_read = matches!(memory.access(), OpAccess::Read | OpAccess::CondRead);
            let is_there = memory.base() == Register::RSP
                && (memory.index() != Register::None || at < from + 16 && at.saturating_add(size) > from);
            if is_read || !is_there {
                continue;
            }
            let is_store = instruction.mnemonic() == Mnemonic::Mov && memory.index() == Register::None;
            let which = match (at - from, instruction.op1_register()) {
                (0, Register::RAX) => 0,
                (8, Register::RBX) => 1,
                _ => return false,
            };
            if !is_store || !is_beginning || std::mem::replace(&mut kept[which], true) {
                return false;
            }
        }
    }
    kept == [true; 2]
}

#[cfg(test)]
#[path = "go_tests.rs"]
mod tests;
