//! A line of a policy table.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::fingerprint::{Fingerprint, FingerprintError};
use crate::level::{Level, LevelError};
use crate::names::{NameRule, parse_names};

/// What is wanted of one destination: the right-hand side of smtp_tls_policy_maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The level.
    pub level: Level,
    /// `match=`: the names that the certificate may be for; `None`: the default of the level.
    pub names: Option<Vec<NameRule>>,
    /// `fingerprint=`, or `match=` at the level `fingerprint`.
    pub fingerprints: Vec<Fingerprint>,
    /// `servername=`: the name to ask for (SNI).
    pub server_name: Option<NameRule>,
    /// `until=`: the last day on which it counts, in UTC.
    pub until: Option<Day>,
}

/// An entry that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// There is no text.
    #[error("a TLS level is missing")]
    Empty,
    /// The first word is no level.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// A fingerprint is none.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// A word is not `name=value`, or its name is not known.
    #[error(
        "'{0}' is not understood; there are match=, fingerprint=, servername= and until=YYYY-MM-DD"
    )]
    Attribute(Box<str>),
    /// A date is none.
    #[error("'{0}' is no day; write it as 2027-01-31")]
    Day(Box<str>),
    /// `servername=` needs one name.
    #[error("'{0}' is no name to ask for; write hostname, nexthop or a name")]
    ServerName(Box<str>),
    /// Nobody could ever pass.
    #[error(
        "the level fingerprint needs match= or fingerprint=, or smtp_tls_fingerprint_cert_match"
    )]
    NoFingerprint,
}

impl Entry {
    /// This level, and nothing else.
    pub fn new(level: Level) -> Self {
        Self { level, names: None, fingerprints: Vec::new(), server_name: None, until: None }
    }

    /// Parses a level and its attributes: `secure match=.example.com:example.net`. Attributes of
    /// Postfix that choose ciphers and protocols are taken and have no effect: there is TLS 1.2 and
    /// 1.3 only, with ciphers that are all good.
    ///
    /// # Errors
    /// [`EntryError`]
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        let mut words = text.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        let mut entry = Self::new(words.next().ok_or(EntryError::Empty)?.parse()?);
        for word in words {
            let wrong = || EntryError::Attribute(word.into());
            let (name, value) = word.split_once('=').ok_or_else(wrong)?;
            match &*name.to_ascii_lowercase() {
                _ if value.is_empty() => return Err(wrong()),
                "match" if entry.level != Level::Fingerprint => {
                    entry.names.get_or_insert_default().extend(parse_names(value));
                }
                "match" | "fingerprint" => {
                    for one in value.split('|').filter(|one| !one.is_empty()) {
                        entry.fingerprints.push(one.parse()?);
                    }
                }
                "servername" => match <[NameRule; 1]>::try_from(parse_names(value)) {
                    Ok([rule @ (NameRule::Hostname | NameRule::Nexthop | NameRule::Name(_))]) => {
                        entry.server_name = Some(rule);
                    }
                    _ => return Err(EntryError::ServerName(value.into())),
                },
                "until" => entry.until = Some(value.parse()?),
                "ciphers" | "exclude" | "protocols" | "connection_reuse" => {}
                _ => return Err(wrong()),
            }
        }
        Ok(entry)
    }

    /// Whether it has ended. `now`: seconds since 1970 in UTC.
    pub fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|day| now >= day.end())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        if let Some(names) = &self.names {
            let names: Vec<_> = names.iter().map(|name| format!("{name}")).collect();
            write!(f, " match={}", names.join(":"))?;
        }
        for one in &self.fingerprints {
            write!(f, " fingerprint={one}")?;
        }
        if let Some(name) = &self.server_name {
            write!(f, " servername={name}")?;
        }
        match self.until {
            Some(day) => write!(f, " until={day}"),
            None => Ok(()),
        }
    }
}

/// A day of the Gregorian calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

impl Day {
    /// When it is over: seconds since 1970.
    pub fn end(self) -> u64 {
        let (year, month, day) = (u64::from(self.year), u64::from(self.month), u64::from(self.day));
        // Years that begin in March end with the leap day.
        let year = year - u64::from(month <= 2);
        let since_march = (month + 9) % 12;
        let days = 365 * year + year / 4 - year / 100 + year / 400;
        (days + (153 * since_march + 2) / 5 + day - 719_468) * 86_400
    }

    fn length(year: u16, month: u8) -> u8 {
        match month {
            2 if year.is_multiple_of(4) && !year.is_multiple_of(100)
                || year.is_multiple_of(400) =>
            {
                29
            }
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

impl FromStr for Day {
    type Err = EntryError;

    /// `2027-01-31`, from 1970 on.
    fn from_str(text: &str) -> Result<Self, EntryError> {
        let wrong = || EntryError::Day(text.into());
        let part = |from: usize, to: usize| {
            let digits = text.get(from..to).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|digits| digits.parse::<u16>().ok()).ok_or_else(wrong)
        };
        let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
        let dashes = text.len() == 10 && text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
        let small = |number: u16| u8::try_from(number).map_err(|_| wrong());
        let (month, day) = (small(month)?, small(day)?);
        if !dashes || year < 1970 || !(1..=12).contains(&month) {
            return Err(wrong());
        }
        if !(1..=Self::length(year, month)).contains(&day) {
            return Err(wrong());
        }
        Ok(Self { year, month, day })
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn days() {
        // date -u -d '2027-01-31 + 1 day' +%s
        for (day, end) in [
            ("1970-01-01", 86_400),
            ("2000-02-29", 951_868_800),
            ("2027-01-31", 1_801_440_000),
            ("2028-02-28", 1_835_395_200),
            ("2100-02-28", 4_107_542_400),
            ("9999-12-31", 253_402_300_800),
        ] {
            assert_eq!(day.parse::<Day>().unwrap().end(), end, "{day}");
        }
        for bad in [
            "",
            "2027",
            "2027-1-31",
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-10",
            "2027-01-00",
            "2027-01-32",
            "2027/01/31",
            "1969-12-31",
            "2027-01-31x",
            "+027-01-31",
            "20é7-01-31",
        ] {
            assert_eq!(bad.parse::<Day>(), Err(EntryError::Day(bad.into())), "{bad}");
        }
    }

    #[test]
    fn entries() {
        // TLS_README, "policy table"
        for text in ["none", "may", "may protocols=TLSv1", "encrypt ciphers=high", "dane-only"] {
            let entry = Entry::parse(text).unwrap();
            assert_eq!(entry, Entry::new(text.split(' ').next().unwrap().parse().unwrap()));
        }
        let entry = Entry::parse("secure match=hostname servername=MX.test until=2027-01-31");
        let entry = entry.unwrap();
        assert_eq!(entry.names, Some([NameRule::Hostname].into()));
        assert_eq!(entry.server_name, Some(NameRule::Name("mx.test".into())));
        assert!(!entry.is_over(1_801_439_999) && entry.is_over(1_801_440_000));
        let hash = Fingerprint::of(b"").to_string();
        let entry = Entry::parse(&format!("fingerprint match={hash}|{hash}")).unwrap();
        assert_eq!(entry.fingerprints.len(), 2);
        for (bad, error) in [
            ("", EntryError::Empty),
            ("strict", EntryError::Level(LevelError("strict".into()))),
            ("secure match", EntryError::Attribute("match".into())),
            ("secure match=", EntryError::Attribute("match=".into())),
            ("secure tafile=/x", EntryError::Attribute("tafile=/x".into())),
            ("may until=tomorrow", EntryError::Day("tomorrow".into())),
            ("may servername=a:b", EntryError::ServerName("a:b".into())),
            ("fingerprint match=00", EntryError::Fingerprint(FingerprintError("00".into()))),
        ] {
            assert_eq!(Entry::parse(bad), Err(error), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(may|secure|fingerprint|dane)[ a-z0-9=:|.-]{0,60}") {
            if let Ok(entry) = Entry::parse(&text) {
                prop_assert_eq!(Entry::parse(&entry.to_string()), Ok(entry));
            }
        }

        #[test]
        fn days_follow_each_other(year in 1970u16..3000, month in 1u8..=12, day in 1u8..=31) {
            let next = |text: std::string::String| text.parse::<Day>();
            let Ok(this) = next(format!("{year:04}-{month:02}-{day:02}")) else { return Ok(()) };
            prop_assert_eq!(this.to_string().parse(), Ok(this));
            let follower = next(format!("{year:04}-{month:02}-{:02}", day + 1))
                .or_else(|_| next(format!("{year:04}-{:02}-01", month + 1)))
                .or_else(|_| next(format!("{:04}-01-01", year + 1)));
            prop_assert_eq!(follower.unwrap().end(), this.end() + 86_400);
        }
    }
}
