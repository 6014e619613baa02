//! TLS that is not hooked, known by the names of files that processes execute.

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

#[cfg(test)]
mod tests {
    use super::*;

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
