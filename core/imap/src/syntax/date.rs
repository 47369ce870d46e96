//! Dates and times of commands (RFC 3501 9 `date`, `date-time`), and INTERNALDATE.

use core::fmt;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::take_while_m_n;
use nom::character::complete::char;
use nom::combinator::{map, map_opt, value};
use nom::sequence::preceded;

use super::{Parsed, whole};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// Reads `1-Feb-2026`; the day as days since 1970-01-01. `None` when it is no date.
pub fn date(text: &[u8]) -> Option<i64> {
    whole(day_month_year(1).parse(text)).ok()
}

/// Reads ` 1-Feb-2026 12:34:56 -0800`; seconds since the epoch, UTC. `None` when it is no date.
pub fn date_time(text: &[u8]) -> Option<i64> {
    let parts = (fixed_day_month_year, preceded(char(' '), time), preceded(char(' '), zone));
    whole(map(parts, |(day, time, zone)| day * DAY + time - zone).parse(text)).ok()
}

fn digits(min: usize, max: usize) -> impl FnMut(&[u8]) -> Parsed<'_, i64> {
    move |input| {
        map_opt(take_while_m_n(min, max, |c: u8| c.is_ascii_digit()), |digits| {
            core::str::from_utf8(digits).ok()?.parse().ok()
        })
        .parse(input)
    }
}

/// `SP 1DIGIT / 2DIGIT` `-month-year`
fn fixed_day_month_year(input: &[u8]) -> Parsed<'_, i64> {
    alt((preceded(char(' '), day_month_year(1)), day_month_year(2))).parse(input)
}

fn day_month_year(min: usize) -> impl FnMut(&[u8]) -> Parsed<'_, i64> {
    move |input| {
        let parts = (digits(min, 2), preceded(char('-'), month), preceded(char('-'), digits(4, 4)));
        map_opt(parts, |(day, month, year)| {
            (1..=days_in(month, year)).contains(&day).then(|| days_from_civil(year, month, day))
        })
        .parse(input)
    }
}

fn month(input: &[u8]) -> Parsed<'_, i64> {
    map_opt(take_while_m_n(3, 3, |c: u8| c.is_ascii_alphabetic()), |name: &[u8]| {
        let found = MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(name))?;
        i64::try_from(found + 1).ok()
    })
    .parse(input)
}

fn time(input: &[u8]) -> Parsed<'_, i64> {
    let two = || digits(2, 2);
    map_opt((two(), preceded(char(':'), two()), preceded(char(':'), two())), |(h, m, s)| {
        (h < 24 && m < 60 && s <= 60).then_some(h * 3600 + m * 60 + s)
    })
    .parse(input)
}

fn zone(input: &[u8]) -> Parsed<'_, i64> {
    let sign = alt((value(1, char('+')), value(-1, char('-'))));
    map_opt((sign, digits(2, 2), digits(2, 2)), |(sign, h, m)| {
        (h < 24 && m < 60).then_some(sign * (h * 3600 + m * 60))
    })
    .parse(input)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(month: i64, year: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let index = usize::try_from((month + 2) % 12).unwrap_or(0);
    (years + era * 400 + i64::from(index < 2), index, day)
}

/// A time as INTERNALDATE shows it, in UTC: `02-Mar-2026 08:15:01 +0000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InternalDate(pub i64);

impl fmt::Display for InternalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The grammar has room for four digits of the year.
        let secs = self.0.clamp(-62_135_596_800, 253_402_300_799);
        let (year, month, day) = civil_from_days(secs.div_euclid(DAY));
        let rest = secs.rem_euclid(DAY);
        let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(f, "{day:02}-{}-{year:04} {h:02}:{m:02}:{s:02} +0000", MONTHS[month])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn by_example() {
        assert_eq!(date(b"1-Jan-1970"), Some(0));
        assert_eq!(date(b"01-jan-1970"), Some(0));
        assert_eq!(date(b"29-Feb-2024"), Some(19_782));
        let time = date_time(b" 1-Feb-2026 12:34:56 -0800").unwrap();
        assert_eq!(InternalDate(time).to_string(), "01-Feb-2026 20:34:56 +0000");
        assert_eq!(date_time(b"01-Feb-2026 12:34:56 -0800"), Some(time));
        for wrong in ["x", "", "30-Feb-2026", "29-Feb-2025", "1-Foo-2026", "1-Jan-26", "0-Jan-2026"]
        {
            assert_eq!(date(wrong.as_bytes()), None, "{wrong}");
        }
        for wrong in ["yesterday", "1-Feb-2026 12:34:56 -0800", " 1-Feb-2026 24:00:00 +0000"] {
            assert_eq!(date_time(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn printed_times_are_read_back(secs in -62_135_596_800i64..=253_402_300_799) {
            let text = InternalDate(secs).to_string();
            prop_assert_eq!(date_time(text.as_bytes()), Some(secs));
        }

        #[test]
        fn any_text_is_safe(text in prop::collection::vec(any::<u8>(), 0..40), n in any::<i64>()) {
            date(&text);
            date_time(&text);
            prop_assert!(InternalDate(n).to_string().len() == 26);
        }
    }
}
