//! An executable or library: where its code is meant to be, and how to unwind it.

use std::{
    fs::File,
    hash::{Hash, Hasher},
    io,
    ops::Range,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
    sync::Arc,
};

use framehop::ExplicitModuleSectionInfo;
use object::{
    Endianness, ReadCache, elf,
    read::elf::{CompressionHeader as _, FileHeader as _, ProgramHeader as _, SectionHeader as _},
};

use super::go_table::GoTable;

/// The largest unwind section that is read, in bytes; a function of a module with a larger one is unwound by frame
/// pointers.
const UNWIND_BYTES_MAX: u64 = 64 << 20;
/// Debug information that is read, in bytes when uncompressed: with more, functions have no lines. Only what is
/// compressed takes memory as a whole, the rest is mapped.
const COMPRESSED_DEBUG_BYTES_MAX: u64 = 256 << 20;

/// What distinguishes a file from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileId {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// A section: its address as linked, and its bytes.
type Section = Option<(Range<u64>, Arc<[u8]>)>;

/// An ELF file.
#[derive(Debug)]
pub(super) struct Module {
    /// Which file it is.
    pub(super) id: FileId,
    /// Kept open: it can then be read whatever becomes of its path and its processes.
    file: File,
    /// The code that is loaded: range in the file, and address as linked.
    segments: Vec<(Range<u64>, u64)>,
    eh_frame: Section,
    eh_frame_hdr: Section,
    debug_frame: Section,
    /// Whether its debug information may be read.
    pub(super) has_lines: bool,
    /// The table that a Go program has of its functions.
    pub(super) go: Option<GoTable>,
}

impl Module {
    /// Reads the headers and the unwind sections of an ELF file of 64 bits. `None` when it is none.
    pub(super) fn read(file: File, id: FileId) -> Option<Self> {
        // Part by part: a parser of whole files would read the symbols too, which can be most of it.
        let cache = ReadCache::new(&file);
        let header = elf::FileHeader64::<Endianness>::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        let segments = header.program_headers(endian, &cache).ok()?.iter();
        let segments = segments
            .filter(|segment| {
                segment.p_type(endian) == elf::PT_LOAD && segment.p_flags(endian) & elf::PF_X != 0
            })
            .map(|segment| {
                let (start, length) = segment.file_range(endian);
                (start..start.saturating_add(length), segment.p_vaddr(endian))
            })
            .collect();
        let sections = header.sections(endian, &cache).ok()?;
        let section = |name: &[u8]| {
            let (_, section) = sections.section_by_name(endian, name)?;
            let (address, size) = (section.sh_addr(endian), section.sh_size(endian));
            let is_compressed = section.sh_flags(endian) & u64::from(elf::SHF_COMPRESSED) != 0;
            if is_compressed || size == 0 || size > UNWIND_BYTES_MAX {
                return None;
            }
            Some((address..address.checked_add(size)?, Arc::from(section.data(endian, &cache).ok()?)))
        };
        let (eh_frame, eh_frame_hdr) = (section(b".eh_frame"), section(b".eh_frame_hdr"));
        let debug_frame = section(b".debug_frame");
        let is_debug = |section: &&elf::SectionHeader64<Endianness>| {
            sections.section_name(endian, section).is_ok_and(|name| name.starts_with(b".debug_"))
        };
        let compressed = sections.iter().filter(is_debug).fold(0, |sum: u64, section| {
            let header = section.compression(endian, &cache).ok().flatten();
            sum.saturating_add(header.map_or(0, |(header, ..)| header.ch_size(endian)))
        });
        let has_lines = compressed <= COMPRESSED_DEBUG_BYTES_MAX;
        // A program at a variable address has it where relocations can be written.
        let go = section(b".gopclntab").or_else(|| section(b".data.rel.ro.gopclntab"));
        let text = sections.section_by_name(endian, b".text").map(|(_, section)| section.sh_addr(endian));
        let go =
            go.zip(text).and_then(|((_, bytes), text)| GoTable::read(bytes, text, header.e_entry(endian)));
        drop(cache);
        Some(Self { id, file, segments, eh_frame, eh_frame_hdr, debug_frame, has_lines, go })
    }

    /// What to add to an address as linked to have that in a process that has the file mapped from `file_offset` on at
    /// `start`. `None` when nothing is loaded from there.
    pub(super) fn bias(&self, start: u64, file_offset: u64) -> Option<u64> {
        /// Mappings begin at page boundaries, segments need not: the largest page of any architecture.
        const PAGE_MAX: u64 = 0x1_0000;
        let at = |(file, address): &(Range<u64>, u64)| {
            let begin = file.start.saturating_sub(PAGE_MAX - 1);
            let is_in = (begin..file.end).contains(&file_offset);
            // Of two segments that share a page, the one that begins the nearest.
            is_in.then(|| (file.start.abs_diff(file_offset), address.wrapping_sub(file.start)))
        };
        let (_, shift) = self.segments.iter().filter_map(at).min_by_key(|(distance, _)| *distance)?;
        Some(start.wrapping_sub(file_offset.wrapping_add(shift)))
    }

    /// Where it can be opened.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// What unwinding needs of it.
    pub(super) fn unwind_sections(&self) -> ExplicitModuleSectionInfo<Arc<[u8]>> {
        let range = |section: &Section| section.as_ref().map(|(range, _)| range.clone());
        let bytes = |section: &Section| section.as_ref().map(|(_, bytes)| bytes.clone());
        ExplicitModuleSectionInfo {
            base_svma: 0,
            eh_frame_svma: range(&self.eh_frame),
            eh_frame: bytes(&self.eh_frame),
            eh_frame_hdr_svma: range(&self.eh_frame_hdr),
            eh_frame_hdr: bytes(&self.eh_frame_hdr),
            debug_frame: bytes(&self.debug_frame),
            ..ExplicitModuleSectionInfo::default()
        }
    }
}

impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Module {}

impl Hash for Module {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<Module> {
        let file = File::open(path).unwrap();
        let id = FileId::of(&file).unwrap();
        Module::read(file, id)
    }

    fn module(segments: &[(Range<u64>, u64)]) -> Module {
        let file = File::open("/proc/self/exe").unwrap();
        Module {
            id: FileId::of(&file).unwrap(),
            file,
            segments: segments.to_vec(),
            eh_frame: None,
            eh_frame_hdr: None,
            debug_frame: None,
            has_lines: true,
            go: None,
        }
    }

    #[test]
    fn a_mapping_shows_how_far_its_code_was_moved() {
        let ld = module(&[(0x1000..0x3000, 0x1000)]);
        // As lld lays out: code begins within a page of the file, and is linked a page further.
        let lld = module(&[(0xf10..0x2000, 0x1f10)]);
        let fixed = module(&[(0x1000..0x3000, 0x40_1000)]);
        let two = module(&[(0x1000..0x1800, 0x1000), (0x1800..0x3000, 0x2800)]);
        for (module, start, file_offset, expected) in [
            (&ld, 0x5555_0000_1000, 0x1000, Some(0x5555_0000_0000)),
            (&lld, 0x5555_0000_1000, 0, Some(0x5555_0000_0000)),
            (&two, 0x5555_0000_1000, 0x1000, Some(0x5555_0000_0000)),
            // A part of a segment: the rest was given other permissions.
            (&ld, 0x5555_0000_2000, 0x2000, Some(0x5555_0000_0000)),
            (&fixed, 0x40_1000, 0x1000, Some(0)),
            (&ld, 0x1000, 0x9000, None),
        ] {
            assert_eq!(module.bias(start, file_offset), expected, "{start:x} {file_offset:x}");
        }
    }

    #[test]
    fn the_own_executable_is_one() {
        let own = read("/proc/self/exe").unwrap();
        assert!(own.eh_frame.is_some() && !own.segments.is_empty() && own.has_lines);
        assert!(read("/proc/self/maps").is_none());
    }
}
