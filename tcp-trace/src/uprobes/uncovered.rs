//! TLS that is not hooked, known by the names of files that processes execute.

/// A library that is not hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uncovered {
    /// What it is.
    pub library: &'static str,
    /// Why it is not hooked.
    pub reason: &'static str,
}

/// How the names of files begin.
const UNCOVERED: [(&str, Uncovered); 5] = [
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
const NSS: Uncovered = Uncovered { library: "NSS", reason: OTHER_FUNCTIONS };
const OTHER_FUNCTIONS: &str = "its functions are not known to tcp-trace";

/// What a file with this path is, if it is one of these.
pub(super) fn by_path(path: &[u8]) -> Option<Uncovered> {
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let found = UNCOVERED.iter().find(|(start, _)| name.starts_with(start.as_bytes()));
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
        for path in [&b"/usr/lib/libssl.so.3"[..], b"/libjvm.so/a", b"", b"/"] {
            assert_eq!(by_path(path), None);
        }
    }
}
