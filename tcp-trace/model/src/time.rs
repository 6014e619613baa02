//! The one point in time of events and records: nanoseconds since the Unix epoch.

use std::{cell::Cell, fmt};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::text::Word;

/// Bytes of a time as RFC 3339 with nanoseconds.
const RFC3339: usize = 30;

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

    /// As RFC 3339 with nanoseconds, in ASCII. Every record has one or two of these: the text of the second is kept from
    /// one to the next.
    pub(crate) fn rfc3339(self) -> [u8; RFC3339] {
        thread_local! {
            static LAST: Cell<(u64, [u8; RFC3339])> = const { Cell::new((0, *b"1970-01-01T00:00:00.000000000Z")) };
        }
        let (second, nanoseconds) = (self.0 / 1_000_000_000, (self.0 % 1_000_000_000) as u32);
        let (known, mut text) = LAST.get();
        if known != second {
            text = text_of_second(second);
            LAST.set((second, text));
        }
        let low = nanoseconds % 100_000_000;
        text[20] = b'0' + (nanoseconds / 100_000_000) as u8;
        text[21..23].copy_from_slice(&pair(low / 1_000_000));
        text[23..25].copy_from_slice(&pair(low / 10_000));
        text[25..27].copy_from_slice(&pair(low / 100));
        text[27..29].copy_from_slice(&pair(low));
        text
    }

    fn timestamp(self) -> Timestamp {
        // u64 nanoseconds end in the year 2554, far inside jiff's range; the fallback is never taken.
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The time of day in a zone: `14:13:20.000010`.
    pub fn time_of_day(self, zone: &TimeZone) -> String {
        self.formatted(zone, "%H:%M:%S.%6f")
    }

    /// The day in a zone, and what the zone is called on it: `2026-09-21 UTC`.
    pub fn day(self, zone: &TimeZone) -> String {
        self.formatted(zone, "%Y-%m-%d %Z")
    }

    /// Day and time of day in a zone, to the millisecond, with its name: `2026-09-21 14:13:20.000 UTC`.
    pub fn date_and_time(self, zone: &TimeZone) -> String {
        self.formatted(zone, "%Y-%m-%d %H:%M:%S.%3f %Z")
    }

    fn formatted(self, zone: &TimeZone, format: &str) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime(format).to_string()
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
        let Word(text) = Word::deserialize(deserializer)?;
        if let Some(time) = as_written(text.as_bytes()) {
            return Ok(time);
        }
        let timestamp: Timestamp = text.parse().map_err(D::Error::custom)?;
        u64::try_from(timestamp.as_nanosecond())
            .map(Self)
            .map_err(|_| D::Error::custom(format!("{text} is outside 1970 to 2554")))
    }
}

/// The last two decimal digits of a number.
pub(crate) fn pair(number: u32) -> [u8; 2] {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut number = 0;
        while number < pairs.len() {
            pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
            number += 1;
        }
        pairs
    };
    PAIRS[(number % 100) as usize]
}

/// The text of a whole second since the epoch.
fn text_of_second(seconds: u64) -> [u8; RFC3339] {
    const SECONDS_PER_DAY: u64 = 86_400;
    let (days, second) = (seconds / SECONDS_PER_DAY, (seconds % SECONDS_PER_DAY) as u32);
    let (year, month, day) = date(days);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    // Years of u64 nanoseconds end with 2554.
    let parts = [
        (0, year as u32 / 100),
        (2, year as u32),
        (5, month as u32),
        (8, day as u32),
        (11, second / 3600),
        (14, second / 60 % 60),
        (17, second % 60),
    ];
    for (place, number) in parts {
        text[place..place + 2].copy_from_slice(&pair(number));
    }
    text
}

/// The time of a text that is as this program writes it; any other form is left to jiff.
fn as_written(text: &[u8]) -> Option<Time> {
    let text: &[u8; RFC3339] = text.try_into().ok()?;
    let number = |from: usize, to: usize| {
        // What is no digit makes a number whose text is another one.
        let digits = text.get(from..to).unwrap_or_default().iter();
        digits.fold(0, |number: u64, digit| number * 10 + u64::from(digit.wrapping_sub(b'0')))
    };
    let days = days(number(0, 4), number(5, 7), number(8, 10))?;
    let second = days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    let time = Time(second.checked_mul(1_000_000_000)?.checked_add(number(20, 29))?);
    (time.rfc3339() == *text).then_some(time)
}

/// Days from 1970-01-01 to a date; the other way round than [`date`].
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day;
    let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * DAYS_PER_ERA + day_of_era).checked_sub(BEFORE_1970 + 1)
}

const DAYS_PER_ERA: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const BEFORE_1970: u64 = 719_468;

/// Year, month and day of the Gregorian calendar so many days after 1970-01-01. Years are counted from March on, so that
/// the day that some have more is their last.
fn date(days: u64) -> (u64, u64, u64) {
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
            prop_assert_eq!(as_written(time.to_string().as_bytes()), Some(time));
        }

        #[test]
        fn what_is_no_time_as_it_is_written_is_left_to_jiff(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9:/]{9}Z") {
            let time = text.parse::<Timestamp>().ok().and_then(|time| u64::try_from(time.as_nanosecond()).ok());
            let written = time.map(Time).filter(|time| time.to_string() == text);
            prop_assert_eq!(as_written(text.as_bytes()), written);
        }
    }

    #[test]
    fn every_day_is_written_as_jiff_writes_it() {
        for day in 0..u64::MAX / 86_400_000_000_000 {
            let time = Time(day * 86_400_000_000_000);
            assert_eq!(time.to_string(), format!("{:.9}", time.timestamp()));
            assert_eq!(as_written(time.to_string().as_bytes()), Some(time));
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
    fn a_day_has_the_name_of_its_zone() {
        let time = Time(1_790_000_000_000_010_000);
        let zone = |name: &str| TimeZone::posix(name).unwrap();
        for (zone, day, time_of_day) in [
            (TimeZone::UTC, "2026-09-21 UTC", "14:13:20.000010"),
            (zone("CST-8"), "2026-09-21 CST", "22:13:20.000010"),
            (zone("<+0545>-5:45"), "2026-09-21 +0545", "19:58:20.000010"),
            (zone("<+13>-13"), "2026-09-22 +13", "03:13:20.000010"),
            (zone("CET-1CEST,M3.5.0,M10.5.0/3"), "2026-09-21 CEST", "16:13:20.000010"),
        ] {
            assert_eq!((time.day(&zone).as_str(), time.time_of_day(&zone).as_str()), (day, time_of_day));
            let (date, name) = day.split_once(' ').unwrap();
            assert_eq!(time.date_and_time(&zone), format!("{date} {}.000 {name}", &time_of_day[..8]));
        }
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
