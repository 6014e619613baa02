//! Numbers for people.

use std::fmt;

/// `1 socket`, `2 sockets`, `2 addresses`.
pub fn counted<N: fmt::Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let ending = match what {
        _ if count == N::from(1) => "",
        _ if what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {what}{ending}")
}

/// Microseconds as `45 us`, `1.23 ms`, `12.3 s`: three digits that count.
pub struct Micros(pub u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ ..1_000 => write!(f, "{us} us"),
            // From here on it would be rounded to `1000 ms`.
            us @ ..999_500 => three_digits(f, us, 1_000, "ms"),
            us => three_digits(f, us, 1_000_000, "s"),
        }
    }
}

/// Bytes as `160 B`, `1.50 KiB`, `12.3 MiB`.
pub struct Size(pub u64);

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

/// Microseconds as `250 ms`, `45 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`: how long something has lasted, rounded down.
pub struct Age(pub u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        let two = |f: &mut fmt::Formatter<'_>, large: u64, small: u64, names: [&str; 2]| match small {
            0 => write!(f, "{large} {}", names[0]),
            small => write!(f, "{large} {} {small} {}", names[0], names[1]),
        };
        match seconds {
            0 => write!(f, "{} ms", self.0 / 1_000),
            1..60 => write!(f, "{seconds} s"),
            60..3_600 => two(f, seconds / 60, seconds % 60, ["min", "s"]),
            3_600..86_400 => two(f, seconds / 3_600, seconds % 3_600 / 60, ["h", "min"]),
            _ => two(f, seconds / 86_400, seconds % 86_400 / 3_600, ["d", "h"]),
        }
    }
}

/// `value / unit` with the decimals that make three digits, rounded to the nearest, halves up. In integers: what
/// is printed never depends on how a float was rounded before.
fn three_digits(f: &mut fmt::Formatter<'_>, value: u64, unit: u64, name: &str) -> fmt::Result {
    let rounded =
        |scale: u64| (u128::from(value) * u128::from(scale) * 2 + u128::from(unit)) / (u128::from(unit) * 2);
    let (hundredths, tenths) = (rounded(100), rounded(10));
    if hundredths < 1_000 {
        write!(f, "{}.{:02} {name}", hundredths / 100, hundredths % 100)
    } else if tenths < 1_000 {
        write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        write!(f, "{} {name}", rounded(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_the_noun_has_an_ending() {
        let counts = [counted(0_u64, "socket"), counted(1_usize, "process"), counted(2_u64, "process")];
        assert_eq!(counts, ["0 sockets", "1 process", "2 processes"]);
    }

    #[test]
    fn times_have_three_digits() {
        for (us, expected) in [
            (0, "0 us"),
            (999, "999 us"),
            (1_000, "1.00 ms"),
            (1_234, "1.23 ms"),
            (56_789, "56.8 ms"),
            (9_994, "9.99 ms"),
            (9_999, "10.0 ms"),
            (99_999, "100 ms"),
            (999_400, "999 ms"),
            (999_499, "999 ms"),
            (999_500, "1.00 s"),
            (999_999, "1.00 s"),
            (2_500_000, "2.50 s"),
            (3_600_000_000, "3600 s"),
        ] {
            assert_eq!(Micros(us).to_string(), expected);
        }
    }

    #[test]
    fn ages_have_two_units_at_most() {
        for (seconds, expected) in [
            (0, "0 ms"),
            (59, "59 s"),
            (60, "1 min"),
            (185, "3 min 5 s"),
            (3_600, "1 h"),
            (7_859, "2 h 10 min"),
            (86_399, "23 h 59 min"),
            (356_400, "4 d 3 h"),
        ] {
            assert_eq!(Age(seconds * 1_000_000).to_string(), expected);
        }
        assert_eq!(Age(250_999).to_string(), "250 ms");
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
