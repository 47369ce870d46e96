//! Times as log lines show them.

use waypost_machine::UnixTime;

/// RFC 3339 in UTC, to the microsecond: `2026-11-22T07:50:22.123456+00:00`, as syslog daemons write.
pub(crate) fn rfc3339(time: UnixTime) -> String {
    let (year, month, day) = date(time.secs.div_euclid(86_400));
    let second = time.secs.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = time.nanos / 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00")
}

/// The civil date of a day counted from 1970-01-01 (Howard Hinnant, days_from_civil).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (secs, shown) in [
            (0, "1970-01-01T00:00:00.000001+00:00"),
            (951_782_399, "2000-02-28T23:59:59.000001+00:00"),
            (951_782_400, "2000-02-29T00:00:00.000001+00:00"),
            (1_795_333_822, "2026-11-22T07:50:22.000001+00:00"),
            (-1, "1969-12-31T23:59:59.000001+00:00"),
        ] {
            assert_eq!(rfc3339(UnixTime { secs, nanos: 1234 }), shown);
        }
    }
}
