//! TLS that is not hooked, known by the names of files that processes execute, or by what is in them.

use std::{fs::File, hint::black_box, os::unix::fs::FileExt as _};

use memchr::memmem;

/// A library that is not hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uncovered {
    /// What it is.
    pub library: &'static str,
    /// Why it is not hooked.
    pub reason: &'static str,
}

/// How the names of libraries' files begin, and what those of programs are.
const UNCOVERED: [(&str, Uncovered); 8] = [
    ("chrome", BORINGSSL),
    ("chromium", BORINGSSL),
    ("electron", BORINGSSL),
    (
        "libjvm.so",
        Uncovered {
            library: "Java's own TLS (JSSE)",
            reason: "its code is compiled while it runs, and tcp-trace puts no agent into other programs",
        },
    ),
    ("libssl3.so", NSS),
    ("libmbedtls.so", Uncovered { library: "Mbed TLS", reason: OTHER_FUNCTIONS }),
    ("libwolfssl.so", Uncovered { library: "wolfSSL", reason: OTHER_FUNCTIONS }),
    ("libs2n.so", Uncovered { library: "s2n-tls", reason: OTHER_FUNCTIONS }),
];
/// Where it has symbols, it is no such case.
pub(super) const RUSTLS: Uncovered =
    Uncovered { library: "rustls", reason: "the program has no symbols of its functions (it is stripped)" };
/// Bytes of a file that are searched for it.
const SEARCHED_MAX: u64 = 1 << 30;
/// Bytes of a file that are read at once.
const PART: usize = 1 << 20;

const BORINGSSL: Uncovered =
    Uncovered { library: "Chromium's own BoringSSL", reason: "the program has no symbols of its functions" };
const NSS: Uncovered = Uncovered { library: "NSS", reason: OTHER_FUNCTIONS };
const OTHER_FUNCTIONS: &str = "its functions are not known to tcp-trace";

/// What a file with this path is, if it is one of these.
pub(super) fn by_path(path: &[u8]) -> Option<Uncovered> {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let is_named = |start: &str| {
        name == start.as_bytes() || start.ends_with(".so") && name.starts_with(start.as_bytes())
    };
    let found = UNCOVERED.iter().find(|(start, _)| is_named(start));
    found.map(|(_, uncovered)| *uncovered)
}

/// Whether a program has rustls inside: its panics name files of its source, as Cargo has them, and stripping leaves that.
pub(super) fn has_rustls(file: &File) -> bool {
    // With another byte, put right where the compiler does not see it: this program must not have the mark itself.
    let mut mark = *b"/rustls_0.";
    mark[b"/rustls".len()] = black_box(b'-');
    let mut part = vec![0; PART + mark.len()];
    let mut at = 0;
    while at < SEARCHED_MAX {
        let Ok(read) = file.read_at(&mut part, at) else { return false };
        if read < mark.len() {
            return false;
        }
        if memmem::find(&part[..read], &mark).is_some() {
            return true;
        }
        // It may begin at the end of this part.
        at += (read - mark.len() + 1) as u64;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn programs_with_rustls_name_its_source() {
        let mark = b"/rustls-0.23.5/src/conn.rs";
        for before in [0, 1, PART - 12, PART - 5, PART, PART + 3, 3 * PART - 7] {
            for (mark, expected) in [(&mark[..], true), (b"/rustls/src/conn.rs", false), (b"", false)] {
                let mut file =
                    File::from(rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
                file.write_all(&[&vec![b'r'; before], mark].concat()).unwrap();
                assert_eq!(has_rustls(&file), expected, "{before}");
            }
        }
    }

    #[test]
    fn names_begin_behind_the_last_folder() {
        assert_eq!(by_path(b"/usr/lib/firefox/libssl3.so"), Some(NSS));
        assert_eq!(
            by_path(b"/usr/lib/libmbedtls.so.14 (deleted)").map(|found| found.library),
            Some("Mbed TLS")
        );
        assert_eq!(by_path(b"/usr/lib/chromium/chromium (deleted)"), Some(BORINGSSL));
        for path in [
            &b"/usr/lib/libssl.so.3"[..],
            b"/libjvm.so/a",
            b"/usr/lib/chromium/chrome_crashpad_handler",
            b"",
            b"/",
        ] {
            assert_eq!(by_path(path), None);
        }
    }
}
