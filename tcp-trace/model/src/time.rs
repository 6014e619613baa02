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

    /// As RFC 3339 with nanoseconds, in ASCII. Every record has one or two of these, and jiff's own way takes ten times
    /// as long.
    fn rfc3339(self) -> [u8; 30] {
        const SECONDS_PER_DAY: u64 = 86_400;
        let (seconds, nanoseconds) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
        let (year, month, day) = date(days);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let parts = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, second / 3600),
            (14..16, second / 60 % 60),
            (17..19, second % 60),
            (20..29, nanoseconds),
        ];
        for (place, mut number) in parts {
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        text
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
        f.write_str(str::from_utf8(&self.rfc3339()).unwrap_or_default())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(str::from_utf8(&self.rfc3339()).unwrap_or_default())
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

/// Year, month and day of the Gregorian calendar so many days after 1970-01-01. Years are counted from March on, so that
/// the day that some have more is their last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    /// Days from 0000-03-01 to 1970-01-01.
    const BEFORE_1970: u64 = 719_468;
    let days = days + BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_time_is_written_as_jiff_writes_it(nanoseconds: u64) {
            let time = Time(nanoseconds);
            prop_assert_eq!(time.to_string(), format!("{:.9}", time.timestamp()));
        }
    }

    #[test]
    fn every_day_is_written_as_jiff_writes_it() {
        for day in 0..u64::MAX / 86_400_000_000_000 {
            let time = Time(day * 86_400_000_000_000);
            assert_eq!(time.to_string(), format!("{:.9}", time.timestamp()));
        }
    }

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
