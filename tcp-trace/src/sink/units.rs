//! Numbers for people.

use std::fmt;

use crate::record::End;

/// Microseconds as `45 us`, `1.23 ms`, `12.3 s`: three digits that count.
pub(super) struct Micros(pub(super) u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ ..1_000 => write!(f, "{us} us"),
            us @ ..1_000_000 => three_digits(f, us, 1_000, "ms"),
            us => three_digits(f, us, 1_000_000, "s"),
        }
    }
}

/// Bytes as `160 B`, `1.50 KiB`, `12.3 MiB`.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ ..1_024 => write!(f, "{bytes} B"),
            bytes @ ..1_048_576 => three_digits(f, bytes, 1 << 10, "KiB"),
            bytes @ ..1_073_741_824 => three_digits(f, bytes, 1 << 20, "MiB"),
            bytes => three_digits(f, bytes, 1 << 30, "GiB"),
        }
    }
}

/// The totals of a session in one line.
pub(super) fn totals(end: &End) -> String {
    let counted = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let parts = [
        counted(end.connections, "connection"),
        counted(end.http, "HTTP exchange"),
        counted(end.events, "event"),
        format!("{} lost", end.lost),
    ];
    parts.join(", ")
}

fn three_digits(f: &mut fmt::Formatter<'_>, value: u64, unit: u64, name: &str) -> fmt::Result {
    let digits = match value / unit {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    // The loss of precision is far behind the digits shown.
    write!(f, "{:.digits$} {name}", value as f64 / unit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (us, expected) in [
            (0, "0 us"),
            (999, "999 us"),
            (1_000, "1.00 ms"),
            (1_234, "1.23 ms"),
            (56_789, "56.8 ms"),
            (999_400, "999 ms"),
            (2_500_000, "2.50 s"),
            (3_600_000_000, "3600 s"),
        ] {
            assert_eq!(Micros(us).to_string(), expected);
        }
    }

    #[test]
    fn sizes_are_in_powers_of_1024() {
        for (bytes, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (10 << 20, "10.0 MiB"), (3 << 30, "3.00 GiB")]
        {
            assert_eq!(Size(bytes).to_string(), expected);
        }
    }
}
