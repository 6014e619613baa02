//! The executable mappings of a process, in the text of `/proc/PID/maps` (proc_pid_maps(5)). Pure.

use std::ops::Range;

/// A part of a process's memory that can be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) range: Range<u64>,
    /// Where in the file it begins, in bytes.
    pub(crate) file_offset: u64,
    /// Device and inode of the file, as the kernel writes the former.
    pub(crate) file: FileId,
    /// Path of the file, as the process sees it, or what the kernel calls it, such as `[vdso]`. Empty for memory that
    /// belongs to no file.
    pub(crate) path: Vec<u8>,
}

/// Which file, on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

impl Mapping {
    /// Whether it is a part of a file.
    pub(crate) fn is_file(&self) -> bool {
        self.path.first() == Some(&b'/')
    }

    /// Its name in `/proc/PID/map_files`.
    pub(crate) fn name(&self) -> String {
        format!("{:x}-{:x}", self.range.start, self.range.end)
    }
}

/// The executable mappings in `text`, at most `limit`, in order of their addresses. Lines that are not as the kernel
/// writes them are left out.
pub(crate) fn parse(text: &[u8], limit: usize) -> Vec<Mapping> {
    text.split(|byte| *byte == b'\n').filter_map(mapping).take(limit).collect()
}

fn mapping(line: &[u8]) -> Option<Mapping> {
    // start-end permissions offset major:minor inode, then blanks and the path, which may itself have blanks.
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut field = || str::from_utf8(fields.next()?).ok();
    let (start, end) = field()?.split_once('-')?;
    let hexadecimal = |digits| u64::from_str_radix(digits, 16).ok();
    let range = hexadecimal(start)?..hexadecimal(end)?;
    let is_executable = field()?.as_bytes().get(2) == Some(&b'x');
    let file_offset = hexadecimal(field()?)?;
    let (major, minor) = field()?.split_once(':')?;
    let number = |digits| u32::from_str_radix(digits, 16).ok();
    let device = (number(major)?, number(minor)?);
    let file = FileId { device, inode: field()?.parse().ok()? };
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    (is_executable && !range.is_empty()).then(|| Mapping { range, file_offset, file, path: path.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_executed_is_taken() {
        let text = b"\
55d0c0a00000-55d0c0a02000 r--p 00000000 fe:00 131 /usr/bin/a program\n\
55d0c0a02000-55d0c0a07000 r-xp 00002000 fe:00 131                        /usr/bin/a program\n\
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n\
7f1000000000-7f1000001000 r-xp 00001000 fe:00 77 /lib/x.so (deleted)\n\
7ffd5b5f2000-7ffd5b5f4000 r-xp 00000000 00:00 0                          [vdso]\n";
        let found = parse(text, 10);
        let paths: Vec<_> = found.iter().map(|mapping| String::from_utf8_lossy(&mapping.path)).collect();
        assert_eq!(paths, ["/usr/bin/a program", "", "/lib/x.so (deleted)", "[vdso]"]);
        assert_eq!(found[0].range, 0x55d0_c0a0_2000..0x55d0_c0a0_7000);
        assert_eq!(found[0].file_offset, 0x2000);
        assert_eq!(found[0].file, FileId { device: (0xfe, 0), inode: 131 });
        assert_eq!(found[0].name(), "55d0c0a02000-55d0c0a07000");
        assert_eq!(found.iter().map(Mapping::is_file).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(parse(text, 1).len(), 1);
    }

    #[test]
    fn other_lines_are_left_out() {
        for line in [
            "",
            "x",
            "1-2",
            "1-2 r-xp",
            "2-1 r-xp 0 fe:00 1 /a",
            "1-g r-xp 0 fe:00 1 /a",
            "1-2 r-xp z fe:00 1 /a",
        ] {
            assert_eq!(parse(line.as_bytes(), 10), [], "{line}");
        }
    }

    #[test]
    fn the_kernel_writes_what_is_parsed() {
        let text = std::fs::read("/proc/self/maps").unwrap();
        let here = what_can_be_executed_is_taken as fn() as usize as u64;
        let found = parse(&text, usize::MAX);
        let own = found.iter().find(|mapping| mapping.range.contains(&here)).unwrap();
        let executable = std::env::current_exe().unwrap();
        assert_eq!(own.path, executable.as_os_str().as_encoded_bytes());
    }
}
