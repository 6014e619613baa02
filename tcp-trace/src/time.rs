//! The one point in time of events and records: nanoseconds since the Unix epoch.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Nanoseconds since the Unix epoch, UTC.
///
/// It is the kernel's monotonic clock plus one offset taken when tracing starts, so that differences of
/// two times are exact even when the wall clock is stepped meanwhile. Written as RFC 3339 with nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Time(pub u64);

impl Time {
    /// Whole microseconds from `earlier` to this time; 0 when `earlier` is the later one.
    pub fn micros_since(self, earlier: Self) -> u64 {
        self.nanos_since(earlier) / 1_000
    }

    /// Nanoseconds from `earlier` to this time; 0 when `earlier` is the later one.
    pub fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time in the middle between this one and a later one; this one when `later` is not later.
    pub fn middle(self, later: Self) -> Self {
        Self(self.0 + later.0.saturating_sub(self.0) / 2)
    }

    /// So many microseconds later.
    pub fn after_micros(self, us: u64) -> Self {
        Self(self.0.saturating_add(us.saturating_mul(1_000)))
    }

    fn timestamp(self) -> Timestamp {
        // u64 nanoseconds end in the year 2554, far inside jiff's range; the fallback is never taken.
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The local or UTC time of day, `HH:MM:SS.ffffff`.
    pub fn time_of_day(self, zone: &jiff::tz::TimeZone) -> String {
        let zoned = self.timestamp().to_zoned(zone.clone());
        zoned.strftime("%H:%M:%S.%6f").to_string()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.9}", self.timestamp())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let timestamp: Timestamp = text.parse().map_err(D::Error::custom)?;
        u64::try_from(timestamp.as_nanosecond())
            .map(Self)
            .map_err(|_| D::Error::custom(format!("{text} is outside 1970 to 2554")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_with_nanoseconds_and_read_back() {
        let time = Time(1_790_000_000_000_000_007);
        let json = serde_json::to_string(&time).unwrap();
        assert_eq!(json, "\"2026-09-21T14:13:20.000000007Z\"");
        assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time);
    }

    #[test]
    fn whole_seconds_keep_their_nine_digits() {
        assert_eq!(Time(1_000_000_000).to_string(), "1970-01-01T00:00:01.000000000Z");
    }

    #[test]
    fn an_earlier_time_is_zero_microseconds_after_a_later_one() {
        assert_eq!(Time(5_000).micros_since(Time(2_000)), 3);
        assert_eq!(Time(2_000).micros_since(Time(5_000)), 0);
    }

    #[test]
    fn times_before_1970_are_refused() {
        assert!(serde_json::from_str::<Time>("\"1969-12-31T23:59:59Z\"").is_err());
    }
}
