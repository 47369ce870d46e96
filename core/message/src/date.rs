//! Dates: RFC 5322 3.3 and 4.3, and the date and date-time of IMAP (RFC 3501 9). No clock, no
//! time zone tables: seconds are Unix seconds (UTC), days are days since 1970-01-01.

use alloc::format;
use alloc::string::String;

use crate::lexer::{Lexer, Then};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// A moment and the zone it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Unix seconds.
    pub seconds: i64,
    /// Minutes east of UTC.
    pub offset: i32,
}

impl DateTime {
    /// The day in its own zone, which SENTBEFORE and its kin compare (RFC 3501 6.4.4).
    pub const fn local_day(self) -> i64 {
        (self.seconds + self.offset as i64 * 60).div_euclid(DAY)
    }
}

/// The day of a civil date; `month` and `day` count from 1. `None` when there is no such date.
pub fn day(year: i64, month: u32, day: u32) -> Option<i64> {
    const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *LENGTHS.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    if day == 0 || day > length || (month == 2 && day == 29 && !leap) || year.abs() > 9999 {
        return None;
    }
    // Years begin in March, so that the leap day is the last one (Howard Hinnant's algorithm).
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * i64::from((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Year, month and day of month of a day.
pub const fn civil(day: i64) -> (i64, u32, u32) {
    let z = day.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let of_month = of_year - (153 * shifted + 2) / 5 + 1;
    // Both fit: a month is at most 12, a day of month at most 31.
    (era * 400 + year + (month <= 2) as i64, month as u32, of_month as u32)
}

/// Fields of a moment as a clock in its zone shows them.
struct Shown {
    weekday: &'static str,
    year: i64,
    month: &'static str,
    day: u32,
    time: String,
    zone: String,
}

fn shown(at: DateTime) -> Shown {
    let local = at.seconds.saturating_add(i64::from(at.offset) * 60);
    let (days, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let minutes = at.offset.unsigned_abs();
    Shown {
        weekday: WEEKDAYS[usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0)],
        year,
        month: MONTHS[month as usize - 1],
        day,
        time: format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
        zone: format!(
            "{}{:02}{:02}",
            if at.offset < 0 { '-' } else { '+' },
            minutes / 60,
            minutes % 60
        ),
    }
}

/// `20261122075309`: a moment, in UTC, as in the message ids of Postfix.
pub fn stamp(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{:02}", second % 60)
}

/// `Sun, 22 Nov 2026 07:53:08 +0000`, with a blank before a day of one digit, as Postfix writes.
pub fn rfc5322(at: DateTime) -> String {
    let Shown { weekday, year, month, day, time, zone } = shown(at);
    format!("{weekday}, {day:2} {month} {year:04} {time} {zone}")
}

/// `22-Nov-2026 07:53:08 +0000` (RFC 3501 `date-time` without quotes), with two digits for the
/// day, as Dovecot writes INTERNALDATE.
pub fn imap(at: DateTime) -> String {
    let Shown { year, month, day, time, zone, .. } = shown(at);
    format!("{day:02}-{month}-{year:04} {time} {zone}")
}

/// Reads an IMAP `date-time` without its quotes: `" 7-Feb-2026 10:00:00 +0000"`.
pub fn parse_imap(text: &[u8]) -> Option<DateTime> {
    let (date, rest) = text.split_at_checked(11)?;
    let (time, zone) = rest.strip_prefix(b" ")?.split_at_checked(8)?;
    let days = parse_imap_day(date.trim_ascii_start())?;
    let clock = [number(time, 0..2)?, number(time, 3..5)?, number(time, 6..8)?];
    let offset = numeric_zone(zone.strip_prefix(b" ")?)?;
    (time[2] == b':' && time[5] == b':').then_some(())?;
    moment(days, clock, offset)
}

/// Reads an IMAP `date` without quotes: `7-Feb-2026` or `07-Feb-2026`; its day.
pub fn parse_imap_day(text: &[u8]) -> Option<i64> {
    let mut parts = text.split(|&octet| octet == b'-');
    let (of_month, name, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !(1..=2).contains(&of_month.len()) || year.len() != 4 {
        return None;
    }
    let month = month(name).filter(|_| name.len() == 3)?;
    let of_month = u32::try_from(number(of_month, 0..of_month.len())?).ok()?;
    day(number(year, 0..4)?, month, of_month)
}

/// Reads the value of a Date field, obsolete forms included. A zone nobody knows counts as UTC
/// (RFC 5322 4.3).
pub fn parse(value: &[u8]) -> Option<DateTime> {
    let mut lexer = Lexer::new(value);
    let _ = lexer.cfws();
    let mut token = next(&mut lexer)?;
    if token.first()?.is_ascii_alphabetic() {
        if lexer.eat(b',') {
            let _ = lexer.cfws();
        }
        token = next(&mut lexer)?;
    }
    let of_month = u32::try_from(digits(&token, 1, 2)?).ok()?;
    let month = month(&next(&mut lexer)?)?;
    let token = next(&mut lexer)?;
    let year = match (token.len(), digits(&token, 2, 4)?) {
        (2, year @ ..50) => year + 2000,
        (2 | 3, year) => year + 1900,
        (_, year) => year,
    };
    let hour = digits(&next(&mut lexer)?, 1, 2)?;
    let minute = after_colon(&mut lexer)??;
    let second = after_colon(&mut lexer).unwrap_or(Some(0))?;
    let offset = next(&mut lexer).map_or(0, |name| zone(&name));
    moment(day(year, month, of_month)?, [hour, minute, second], offset)
}

/// The day for SENTBEFORE, SENTON and SENTSINCE; `None` without a Date that can be read. Such a
/// message counts as sent before any day in Dovecot.
pub fn sent_day(block: &[u8]) -> Option<i64> {
    let date = crate::header::fields(block).find(|field| field.is(b"Date"));
    date.and_then(|field| parse(field.raw)).map(DateTime::local_day)
}

fn next(lexer: &mut Lexer<'_>) -> Option<alloc::vec::Vec<u8>> {
    let mut token = alloc::vec::Vec::new();
    match lexer.atom(&mut token) {
        Ok(Then::More | Then::End) => Some(token),
        Err(_) => None,
    }
}

/// Two digits behind a colon (or a dot); `None` without the colon.
fn after_colon(lexer: &mut Lexer<'_>) -> Option<Option<i64>> {
    if !lexer.eat(b':') && !lexer.eat(b'.') {
        return None;
    }
    let _ = lexer.cfws();
    Some(next(lexer).and_then(|token| digits(&token, 2, 2)))
}

fn digits(token: &[u8], least: usize, most: usize) -> Option<i64> {
    (least..=most).contains(&token.len()).then(|| number(token, 0..token.len()))?
}

fn number(text: &[u8], range: core::ops::Range<usize>) -> Option<i64> {
    let text = text.get(range)?;
    let digit = |n: i64, &d: &u8| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0'));
    text.iter().try_fold(0, digit)
}

fn month(name: &[u8]) -> Option<u32> {
    let start = name.get(..3)?;
    (1..)
        .zip(MONTHS)
        .find(|(_, month)| start.eq_ignore_ascii_case(month.as_bytes()))
        .map(|(n, _)| n)
}

fn moment(day: i64, [hour, minute, second]: [i64; 3], offset: i32) -> Option<DateTime> {
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = day * DAY + hour * 3600 + minute * 60 + second;
    Some(DateTime { seconds: local - i64::from(offset) * 60, offset })
}

fn numeric_zone(zone: &[u8]) -> Option<i32> {
    let (sign, rest) = zone.split_first()?;
    if rest.len() != 4 || !matches!(sign, b'+' | b'-') {
        return None;
    }
    let minutes = number(rest, 0..2)? * 60 + number(rest, 2..4)?;
    let minutes = i32::try_from(minutes).ok()?;
    Some(if *sign == b'-' { -minutes } else { minutes })
}

fn zone(name: &[u8]) -> i32 {
    const HOURS: [(&[u8], i32); 8] = [
        (b"EDT", -4),
        (b"EST", -5),
        (b"CDT", -5),
        (b"CST", -6),
        (b"MDT", -6),
        (b"MST", -7),
        (b"PDT", -7),
        (b"PST", -8),
    ];
    let hours = match name {
        [letter] => match letter.to_ascii_uppercase() {
            letter @ b'A'..=b'I' => i32::from(letter - b'A') + 1,
            letter @ b'K'..=b'M' => i32::from(letter - b'A'),
            letter @ b'N'..=b'Y' => i32::from(b'M') - i32::from(letter),
            _ => 0,
        },
        _ => HOURS.iter().find(|(zone, _)| zone.eq_ignore_ascii_case(name)).map_or(0, |&(_, h)| h),
    };
    numeric_zone(name).unwrap_or(hours * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Option<(i64, i32)> {
        parse(text.as_bytes()).map(|d| (d.seconds, d.offset))
    }

    #[test]
    fn header_dates() {
        assert_eq!(at("Mon, 2 Mar 2026 09:15:00 +0100"), Some((1_772_439_300, 60)));
        assert_eq!(at(" Fri, 6 Mar 2026 18:30:00 +0000 (a comment)"), Some((1_772_821_800, 0)));
        assert_eq!(at("02 mar 26 (x) 08 : 15 EST"), Some((1_772_457_300, -300)));
        assert_eq!(at("Thu 1 Jan 70 00:00:01 Z"), Some((1, 0)));
        assert_eq!(at("1 January 1970 0:00 GMT"), Some((0, 0)));
        assert_eq!(at("Thu, 1 Jan 1970 00.00.10 A"), Some((10 - 3600, 60)));
        assert_eq!(at("Thu, 1 Jan 1970 00:00:10 Mars"), Some((10, 0)));
        for broken in [
            "",
            "Mon",
            "31 Feb 2026 10:00 +0000",
            "1 Foo 2026 10:00",
            "1 Jan 2026",
            "1 Jan 2026 25:00",
        ] {
            assert_eq!(at(broken), None, "{broken}");
        }
    }

    #[test]
    fn days_of_their_zone() {
        let late = parse(b"Tue, 03 Mar 2026 23:59:59 -0500").unwrap();
        assert_eq!(civil(late.local_day()), (2026, 3, 3));
        assert_eq!(sent_day(b"Subject: x\n\nDate: 1 Jan 2026 10:00 Z\n"), None);
        assert_eq!(sent_day(b"Date: 2 Jan 1970 10:00 Z\n"), Some(1));
    }

    #[test]
    fn imap_dates() {
        let moment = parse_imap(b" 2-Mar-2026 09:15:01 +0100").unwrap();
        assert_eq!(imap(DateTime { offset: 0, ..moment }), "02-Mar-2026 08:15:01 +0000");
        assert_eq!(rfc5322(moment), "Mon,  2 Mar 2026 09:15:01 +0100");
        assert_eq!(parse_imap(b"31-Feb-2026 09:15:01 +0100"), None);
        assert_eq!(parse_imap(b"1-Feb-2026 09:15:01 +0100"), None);
        assert_eq!(parse_imap_day(b"4-Mar-2026"), day(2026, 3, 4));
        assert_eq!(parse_imap_day(b"04-mar-2026"), day(2026, 3, 4));
        assert_eq!(parse_imap_day(b"4-March-2026"), None);
        assert_eq!(day(2000, 2, 29), Some(11_016));
        assert_eq!(day(1900, 2, 29), None);
    }

    proptest! {
        #[test]
        fn printed_dates_read_back(seconds in -60_000_000_000i64..200_000_000_000, offset in -719i32..720) {
            let moment = DateTime { seconds, offset };
            prop_assert_eq!(parse_imap(imap(moment).as_bytes()), Some(moment));
            prop_assert_eq!(parse(rfc5322(moment).as_bytes()), Some(moment));
        }

        #[test]
        fn days_count_up(n in -700_000i64..2_900_000) {
            let (year, month, of_month) = civil(n);
            prop_assert_eq!(day(year, month, of_month), Some(n));
        }

        #[test]
        fn nothing_panics(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (parse(&text), parse_imap(&text), parse_imap_day(&text));
        }
    }
}
