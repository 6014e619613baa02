//! Functions, files and lines of a Go program, from the table that each has for its own panics: `.gopclntab`. It is there even
//! where symbols and debug information were stripped (`go build -ldflags "-s -w"`).
//!
//! Its layout is that of Go 1.18 and later (`src/runtime/symtab.go` and `runtime2.go`: `pcHeader`, `functab`, `_func`).

use std::{collections::HashSet, sync::Arc};

use memchr::memmem;

/// First bytes of a table, before and since Go 1.20: the latter's functions have a further field.
const MAGIC_118: u32 = 0xffff_fff0;
const MAGIC_120: u32 = 0xffff_fff1;
/// `PCDATA_InlTreeIndex` (`src/internal/abi/symtab.go`): which of its inlined calls a function is in, -1 for none.
const INLINED: u32 = 2;
/// How the name of the function begins that is the entry of a program from Go's own linker (`src/runtime/rt0_linux_*.s`).
const GO_ENTRY: &str = "_rt0_";
/// Ends of names that are looked at for one name.
const PLACES_MAX: usize = 64;
/// No file.
const NO_FILE: u32 = u32::MAX;

/// A function that a table names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GoFunction {
    pub(super) name: String,
    /// File and line; absent inside of a function that the compiler put into this one, whose name the table does not give.
    pub(super) place: Option<(Vec<u8>, u32)>,
}

/// The table of a program.
#[derive(Clone, Debug)]
pub(crate) struct GoTable {
    bytes: Arc<[u8]>,
    /// Address of the first function, as linked.
    text: u64,
    /// How many functions there are.
    count: usize,
    /// Bytes of the shortest instruction.
    quantum: u64,
    /// Bytes of a function's record before its further tables.
    function_size: usize,
    /// Where the parts begin.
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    functions: usize,
}

impl GoTable {
    /// Reads the header of a table. `text` is where section `.text` begins, and `entry` where the program does, both as linked. `None`
    /// where it is of another version, or where nothing says at which address its first function is.
    ///
    /// The header of a program at a variable address does not say that before it is loaded, and since Go 1.26 none does. Go's own linker
    /// puts that function at the beginning of `.text`. A C linker, which cgo needs, puts C code there, and its `_start` is the entry.
    pub(crate) fn read(bytes: Arc<[u8]>, text: u64, entry: u64) -> Option<Self> {
        let function_size = match number(&bytes, 0)? {
            MAGIC_118 => 40,
            MAGIC_120 => 44,
            _ => return None,
        };
        let (quantum, pointer) = (*bytes.get(6)?, *bytes.get(7)?);
        // All machines on which stacks are unwound have 64 bits.
        if pointer != 8 || !matches!(quantum, 1 | 2 | 4) {
            return None;
        }
        let word = |index: usize| {
            let at = 8 + index * 8;
            Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
        };
        let part = |index| usize::try_from(word(index)?).ok();
        let start = word(2)?;
        let table = Self {
            text: if start == 0 { text } else { start },
            count: part(0)?,
            quantum: quantum.into(),
            function_size,
            names: part(3)?,
            units: part(4)?,
            files: part(5)?,
            values: part(6)?,
            functions: part(7)?,
            bytes,
        };
        let has_go_entry =
            || table.function(entry).is_some_and(|function| function.name.starts_with(GO_ENTRY));
        (start != 0 || has_go_entry()).then_some(table)
    }

    /// The function that an address is in, as linked.
    pub(super) fn function(&self, address: u64) -> Option<GoFunction> {
        let offset = u32::try_from(address.checked_sub(self.text)?).ok()?;
        let entry = |index: usize| self.number(self.functions.checked_add(index.checked_mul(8)?)?);
        // The last entry is the end of the code.
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if entry(middle)? <= offset { low = middle + 1 } else { high = middle }
        }
        let index = low.checked_sub(1)?;
        if entry(index + 1)? <= offset {
            return None;
        }
        let record = self.number(self.functions.checked_add(index.checked_mul(8)?)?.checked_add(4)?)?;
        let record = self.functions.checked_add(record as usize)?;
        let field = |number: usize| self.number(record.checked_add(number * 4)?);
        let name = String::from_utf8_lossy(self.text_at(self.names, field(1)?)?).into_owned();
        let value = |table: u32| self.value(table, u64::from(offset).checked_sub(field(0)?.into())?);
        let is_inlined = field(7)? > INLINED && {
            let table = self.number(record.checked_add(self.function_size + INLINED as usize * 4)?)?;
            table != 0 && value(table).is_some_and(|call| call >= 0)
        };
        let place = || {
            let (file, line) = (u32::try_from(value(field(5)?)?).ok()?, value(field(6)?)?);
            let unit = field(8)?.checked_add(file)? as usize;
            let file = self.number(self.units.checked_add(unit.checked_mul(4)?)?)?;
            let path = if file == NO_FILE { None } else { self.text_at(self.files, file) };
            Some((path?.to_vec(), u32::try_from(line).ok()?))
        };
        Some(GoFunction { name, place: if is_inlined { None } else { place() } })
    }

    /// Address, as linked, and bytes of the function with this name: up to the next one.
    pub(crate) fn find(&self, name: &str) -> Option<(u64, u64)> {
        let name = [name.as_bytes(), b"\0"].concat();
        let names = self.bytes.get(self.names..)?;
        // It may be the end of others, of few.
        let places: HashSet<_> = memmem::find_iter(names, &name).take(PLACES_MAX).collect();
        let entry = |index: usize, field: usize| {
            self.number(self.functions.checked_add(index.checked_mul(8)?)?.checked_add(field)?)
        };
        (0..self.count).map_while(|index| Some((index, entry(index, 0)?, entry(index, 4)?))).find_map(
            |(index, start, record)| {
                let name = self.number(self.functions.checked_add(record as usize)?.checked_add(4)?)?;
                let size = entry(index + 1, 0)?.checked_sub(start)?;
                let address = self.text.checked_add(start.into())?;
                places.contains(&(name as usize)).then_some((address, size.into()))
            },
        )
    }

    /// The value that a table of a function has at so many bytes from its beginning.
    fn value(&self, table: u32, offset: u64) -> Option<i32> {
        let mut at = self.values.checked_add(table as usize)?;
        let (mut value, mut end, mut is_first) = (-1_i32, 0_u64, true);
        loop {
            let delta = self.varint(&mut at)?;
            if delta == 0 && !is_first {
                return None;
            }
            is_first = false;
            let half = (delta >> 1).cast_signed();
            value = value.wrapping_add(if delta & 1 == 1 { !half } else { half });
            end += u64::from(self.varint(&mut at)?) * self.quantum;
            if offset < end {
                return Some(value);
            }
        }
    }

    fn varint(&self, at: &mut usize) -> Option<u32> {
        let mut value = 0;
        for shift in (0..32).step_by(7) {
            let byte = *self.bytes.get(*at)?;
            *at += 1;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn number(&self, at: usize) -> Option<u32> {
        number(&self.bytes, at)
    }

    /// What ends with a zero, in a part of the table.
    fn text_at(&self, part: usize, offset: u32) -> Option<&[u8]> {
        let rest = self.bytes.get(part.checked_add(offset as usize)?..)?;
        rest.split(|byte| *byte == 0).next()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: u64 = 0x40_1000;
    const ENTRY: u64 = TEXT + 0x20;

    /// A table of `main.open`, 0x20 bytes, whose second half is line 31 and whose last quarter is inlined, and of the entry.
    fn table(magic: u32, start: u64) -> Vec<u8> {
        let names = b"main.open\0_rt0_amd64_linux\0".to_vec();
        let files = b"/src/pool.go\0".to_vec();
        // Tables: line 30 then 31; file 0; not inlined, then call 0.
        let values = [&[0][..], &[62, 0x10, 2, 0x10, 0], &[2, 0x20, 0], &[0, 0x18, 2, 8, 0]].concat();
        let function_size = if magic == MAGIC_118 { 40 } else { 44 };
        let numbers = |numbers: &[u32]| numbers.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>();
        let functab = numbers(&[0, 24, 0x20, 24 + function_size + 12, 0x30, 0]);
        let function = |entry: u32, name: u32, tables: &[u32]| {
            let (count, tables_of_pc) = (tables.len() as u32, numbers(tables));
            let mut bytes = numbers(&[entry, name, 0, 0, 0, 6, 1, count, 0]);
            bytes.resize(function_size as usize, 0);
            [bytes, tables_of_pc].concat()
        };
        let functions = [functab, function(0, 0, &[0, 0, 9]), function(0x20, 10, &[])].concat();
        let header = 8 + 8 * 8;
        let parts = [names, numbers(&[0]), files, values, functions];
        let mut offsets = vec![header as u64];
        for part in &parts {
            offsets.push(offsets[offsets.len() - 1] + part.len() as u64);
        }
        let words = [2, 1, start].into_iter().chain(offsets[..5].iter().copied());
        let mut bytes = [&magic.to_le_bytes()[..], &[0, 0, 1, 8]].concat();
        bytes.extend(words.flat_map(u64::to_le_bytes));
        bytes.extend(parts.concat());
        bytes
    }

    #[test]
    fn functions_have_files_and_lines() {
        for (magic, start) in [(MAGIC_118, TEXT), (MAGIC_120, TEXT), (MAGIC_120, 0)] {
            let table = GoTable::read(table(magic, start).into(), TEXT, ENTRY).unwrap();
            let place = |line| Some((b"/src/pool.go".to_vec(), line));
            for (offset, expected) in [
                (0, Some(("main.open", place(30)))),
                (0xf, Some(("main.open", place(30)))),
                (0x10, Some(("main.open", place(31)))),
                (0x18, Some(("main.open", None))),
                (0x20, Some(("_rt0_amd64_linux", place(30)))),
                (0x30, None),
            ] {
                let expected = expected.map(|(name, place)| GoFunction { name: name.to_owned(), place });
                assert_eq!(table.function(TEXT + offset), expected, "{offset:x}");
            }
            assert_eq!(table.function(TEXT - 1), None);
            for (name, expected) in [
                ("main.open", Some((TEXT, 0x20))),
                ("_rt0_amd64_linux", Some((ENTRY, 0x10))),
                ("open", None),
                ("main.ope", None),
                ("", None),
            ] {
                assert_eq!(table.find(name), expected, "{name}");
            }
        }
    }

    #[test]
    fn behind_c_code_only_a_header_says_where_functions_are() {
        // `_start` is at the beginning of the section, and all functions of the table are behind the C code.
        let (text, entry) = (TEXT - 0x10, TEXT - 0x10);
        assert!(GoTable::read(table(MAGIC_120, 0).into(), text, entry).is_none());
        let said = GoTable::read(table(MAGIC_120, TEXT).into(), text, entry).unwrap();
        assert_eq!(said.function(TEXT).map(|function| function.name).as_deref(), Some("main.open"));
    }

    #[test]
    fn other_versions_are_left_alone() {
        assert!(GoTable::read(table(0xffff_fffa, TEXT).into(), TEXT, ENTRY).is_none());
        assert!(GoTable::read(Arc::from([]), TEXT, ENTRY).is_none());
    }

    proptest! {
        #[test]
        fn damaged_tables_do_no_harm(
            changes in prop::collection::vec((4_usize..300, any::<u8>()), 1..20), offset in 0_u64..0x40
        ) {
            let mut bytes = table(MAGIC_120, TEXT);
            for (at, byte) in changes {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            if let Some(table) = GoTable::read(bytes.into(), TEXT, ENTRY) {
                table.function(table.text.wrapping_add(offset));
                table.find("main.open");
            }
        }
    }
}
