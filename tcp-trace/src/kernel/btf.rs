//! Struct offsets from BTF, the kernel's type information (Documentation/bpf/btf.rst).
//!
//! aya parses BTF too, but does not tell where a struct's fields are, and aya-ebpf cannot emit relocations.

use thiserror::Error;

const MAGIC: u16 = 0xeb9f;
const KIND_POINTER: u32 = 2;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNCTION_PROTOTYPE: u32 = 13;
/// `const`, `volatile`, `restrict`, and attributes: they stand between a member and its struct.
const KIND_MODIFIERS: [u32; 4] = [9, 10, 11, 18];
/// Deepest nesting of anonymous structs and unions, and of modifiers, that is followed.
const DEPTH_MAX: u32 = 16;

/// Why an offset could not be told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// The bytes are not BTF in this host's byte order.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
    /// There is no such struct or field.
    #[error("the kernel's BTF has no field {path} in struct {of}")]
    NoField {
        /// The struct.
        of: String,
        /// The field, with the path to it.
        path: String,
    },
}

/// Parsed BTF: where each type's record starts. Type id 1 is the first.
pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    starts: Vec<usize>,
}

/// One type's record.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    members: usize,
    has_bitfields: bool,
    refers_to: u32,
    start: usize,
}

impl<'a> Btf<'a> {
    /// Reads `bytes`, the content of `/sys/kernel/btf/vmlinux`.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let header = |at: usize| u32_at(bytes, at).ok_or(BtfError::Malformed("short header"));
        let magic = bytes.get(..2).map(|magic| u16::from_ne_bytes([magic[0], magic[1]]));
        if magic != Some(MAGIC) {
            return Err(BtfError::Malformed("wrong magic number"));
        }
        let header_length = header(4)?;
        let section = |offset: u32, length: u32, error| {
            let start = header_length as usize + offset as usize;
            start
                .checked_add(length as usize)
                .and_then(|end| bytes.get(start..end))
                .ok_or(BtfError::Malformed(error))
        };
        let types = section(header(8)?, header(12)?, "types are cut short")?;
        let strings = section(header(16)?, header(20)?, "strings are cut short")?;
        let mut btf = Self { types, strings, starts: Vec::new() };
        let mut start = 0;
        while start < types.len() {
            btf.starts.push(start);
            let length = btf.record_length(start).ok_or(BtfError::Malformed("unknown or short type"))?;
            start += length;
        }
        Ok(btf)
    }

    /// How many arguments a tracepoint has; `None` when there is no such tracepoint. Each has a type definition
    /// `btf_trace_x` of a pointer to a function with one argument more, which is the kernel's own.
    pub(super) fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let typedef = self.find(&format!("btf_trace_{name}"), |kind| kind == KIND_TYPEDEF)?;
        let pointer = self.without_modifiers(typedef.refers_to).filter(|to| to.kind == KIND_POINTER)?;
        let function = self.by_id(pointer.refers_to).filter(|to| to.kind == KIND_FUNCTION_PROTOTYPE)?;
        function.members.checked_sub(1)
    }

    /// The values of an enumeration with their names; empty when there is no such enumeration.
    pub(super) fn enumeration(&self, name: &str) -> Vec<(u32, &'a [u8])> {
        let Some(found) = self.find(name, |kind| kind == KIND_ENUM) else { return Vec::new() };
        (0..found.members)
            .filter_map(|index| {
                let at = found.start + 12 + index * 8;
                Some((u32_at(self.types, at + 4)?, self.string(u32_at(self.types, at)?)?))
            })
            .collect()
    }

    /// Offset in bytes of a field in a struct. `path` names the field, `a.b` field `b` of the struct that
    /// field `a` is; members of anonymous structs and unions count as the outer struct's.
    pub(super) fn offset(&self, of: &str, path: &str) -> Result<u32, BtfError> {
        let bits = self.offset_in_bits(of, path)?;
        if bits % 8 == 0 { Ok(bits / 8) } else { Err(no_field(of, path)) }
    }

    /// The same in bits: where a bit field begins.
    pub(super) fn offset_in_bits(&self, of: &str, path: &str) -> Result<u32, BtfError> {
        let missing = || no_field(of, path);
        let mut current =
            self.find(of, |kind| matches!(kind, KIND_STRUCT | KIND_UNION)).ok_or_else(missing)?;
        let mut bits = 0;
        for name in path.split('.') {
            let (offset, member) = self.member(current, name, 0).ok_or_else(missing)?;
            bits += offset;
            current = member;
        }
        Ok(bits)
    }

    /// Offset in bits and type of a member.
    fn member(&self, of: Type, name: &str, depth: u32) -> Option<(u32, Type)> {
        if !matches!(of.kind, KIND_STRUCT | KIND_UNION) || depth > DEPTH_MAX {
            return None;
        }
        for index in 0..of.members {
            let at = of.start + 12 + index * 12;
            let member_name = self.string(u32_at(self.types, at)?)?;
            let raw = u32_at(self.types, at + 8)?;
            let bits = if of.has_bitfields { raw & 0x00ff_ffff } else { raw };
            let is_anonymous = member_name.is_empty();
            if !is_anonymous && member_name != name.as_bytes() {
                continue;
            }
            let member = self.without_modifiers(u32_at(self.types, at + 4)?)?;
            if !is_anonymous {
                return Some((bits, member));
            }
            if let Some((inner, found)) = self.member(member, name, depth + 1) {
                return Some((bits + inner, found));
            }
        }
        None
    }

    fn without_modifiers(&self, id: u32) -> Option<Type> {
        let mut current = self.by_id(id)?;
        for _ in 0..DEPTH_MAX {
            if current.kind != KIND_TYPEDEF && !KIND_MODIFIERS.contains(&current.kind) {
                break;
            }
            current = self.by_id(current.refers_to)?;
        }
        Some(current)
    }

    fn find(&self, name: &str, is_kind: impl Fn(u32) -> bool) -> Option<Type> {
        self.starts
            .iter()
            .filter_map(|start| self.at(*start))
            .find(|found| is_kind(found.kind) && self.string(found.name) == Some(name.as_bytes()))
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.at(*self.starts.get(index)?)
    }

    fn at(&self, start: usize) -> Option<Type> {
        let info = u32_at(self.types, start + 4)?;
        Some(Type {
            name: u32_at(self.types, start)?,
            kind: (info >> 24) & 0x1f,
            members: (info & 0xffff) as usize,
            has_bitfields: info >> 31 == 1,
            refers_to: u32_at(self.types, start + 8)?,
            start,
        })
    }

    /// Length of the record that starts here; `None` for a kind that this program does not know.
    fn record_length(&self, start: usize) -> Option<usize> {
        let found = self.at(start)?;
        let extra = match found.kind {
            // int, variable, declaration tag
            1 | 14 | 17 => 4,
            // pointer, forward, typedef, volatile, const, restrict, function, float, type tag
            2 | 7..=12 | 16 | 18 => 0,
            // array
            3 => 12,
            // struct, union, data section, 64-bit enum
            4 | 5 | 15 | 19 => found.members * 12,
            // enum, function prototype
            6 | 13 => found.members * 8,
            _ => return None,
        };
        Some(12 + extra)
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let bytes = self.strings.get(offset as usize..)?;
        bytes.split(|byte| *byte == 0).next()
    }
}

fn no_field(of: &str, path: &str) -> BtfError {
    BtfError::NoField { of: of.to_owned(), path: path.to_owned() }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Assembles BTF by hand: types as (name, kind, vlen, size or type, extra words).
    #[derive(Default)]
    struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Builder {
        fn name(&mut self, name: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let offset = u32::try_from(self.strings.len()).unwrap();
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            offset
        }

        fn words(&mut self, words: &[u32]) {
            self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        }

        fn structure(&mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) {
            let name = self.name(name);
            self.words(&[name, kind << 24 | u32::try_from(members.len()).unwrap(), 0]);
            for (member, id, bits) in members {
                let member = self.name(member);
                self.words(&[member, *id, *bits]);
            }
        }

        fn build(mut self) -> Vec<u8> {
            self.name("");
            let mut bytes = Vec::new();
            bytes.extend_from_slice(&MAGIC.to_ne_bytes());
            bytes.extend_from_slice(&[1, 0]);
            let types = u32::try_from(self.types.len()).unwrap();
            let strings = u32::try_from(self.strings.len()).unwrap();
            for word in [24, 0, types, types, strings] {
                bytes.extend_from_slice(&u32::to_ne_bytes(word));
            }
            bytes.extend_from_slice(&self.types);
            bytes.extend_from_slice(&self.strings);
            bytes
        }
    }

    fn sample() -> Vec<u8> {
        let mut builder = Builder::default();
        // 1: int
        let name = builder.name("int");
        builder.words(&[name, 1 << 24, 4, 32]);
        // 2: an anonymous union inside sock_common
        builder.structure(KIND_UNION, "", &[("skc_hash", 1, 0), ("skc_u16hashes", 1, 0)]);
        // 3: sock_common
        builder.structure(
            KIND_STRUCT,
            "sock_common",
            &[("skc_pair", 1, 0), ("", 2, 64), ("skc_state", 1, 144)],
        );
        // 4: const struct sock_common
        builder.words(&[0, 10 << 24, 3]);
        // 5: sock
        builder.structure(KIND_STRUCT, "sock", &[("__sk_common", 4, 32)]);
        // 6: a tracepoint's typedef, 7: a pointer to 8: a function of three arguments
        let name = builder.name("btf_trace_sock_send_length");
        builder.words(&[name, KIND_TYPEDEF << 24, 7]);
        builder.words(&[0, KIND_POINTER << 24, 8]);
        builder.words(&[0, KIND_FUNCTION_PROTOTYPE << 24 | 3, 0, 0, 1, 0, 1, 0, 1]);
        // 9: an enumeration
        let names = ["sk_rst_reason", "NOT_SPECIFIED", "NO_SOCKET"].map(|name| builder.name(name));
        builder.words(&[names[0], KIND_ENUM << 24 | 2, 4, names[1], 0, names[2], 1]);
        builder.build()
    }

    #[test]
    fn a_member_of_an_anonymous_union_counts_as_the_structs() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("sock_common", "skc_u16hashes"), Ok(8));
    }

    #[test]
    fn a_path_goes_through_named_members_and_const() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("sock", "__sk_common.skc_state"), Ok(4 + 18));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        let error = btf.offset("sock", "sk_err").unwrap_err();
        assert_eq!(error.to_string(), "the kernel's BTF has no field sk_err in struct sock");
        assert!(btf.offset("no_such_struct", "x").is_err());
        assert!(btf.offset("sock", "__sk_common.skc_state.x").is_err(), "an int has no members");
    }

    #[test]
    fn tracepoints_are_found_by_their_typedef() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.tracepoint_arguments("sock_send_length"), Some(2));
        assert_eq!(btf.tracepoint_arguments("no_such_tracepoint"), None);
    }

    #[test]
    fn the_names_of_an_enumeration_are_told() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        let names = btf.enumeration("sk_rst_reason");
        assert_eq!(names, [(0, b"NOT_SPECIFIED".as_slice()), (1, b"NO_SOCKET".as_slice())]);
        assert!(btf.enumeration("sock").is_empty(), "a struct is no enumeration");
    }

    #[test]
    fn every_cut_of_the_bytes_is_an_error_and_not_a_panic() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert!(Btf::parse(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_survived(position in 0..sample().len(), value: u8) {
            let mut bytes = sample();
            bytes[position] = value;
            if let Ok(btf) = Btf::parse(&bytes) {
                let _ = btf.offset("sock", "__sk_common.skc_state");
                let _ = btf.offset("sock_common", "skc_u16hashes");
                let _ = btf.tracepoint_arguments("sock_send_length");
                let _ = btf.enumeration("sk_rst_reason");
            }
        }
    }
}
