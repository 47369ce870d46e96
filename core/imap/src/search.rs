//! SEARCH criteria, and how a message is held against them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use waypost_message::date::DAY;
use waypost_message::text::Needle;

use crate::server::{Failure, Flags, Keywords, Message};
use crate::syntax::set::Set;

/// The criteria of one SEARCH (RFC 3501 6.4.4, RFC 5032): a message must meet all of them.
///
/// Sets of numbers are settled: `*` is the number that it was when the command came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program(pub Vec<Key>);

/// One criterion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `ALL`
    All,
    /// `NOT`, and the keys that begin with `UN`
    Not(Box<Self>),
    /// `OR`
    Or(Box<(Self, Self)>),
    /// Keys in parentheses
    And(Vec<Self>),
    /// One of the system flags of [`Flags`]
    Flag(u8),
    /// `KEYWORD`
    Keyword(Box<str>),
    /// `RECENT`
    Recent,
    /// Sequence numbers
    Sequence(Set),
    /// `UID`
    Uid(Set),
    /// `LARGER`: octets
    Larger(u64),
    /// `SMALLER`: octets
    Smaller(u64),
    /// `BEFORE`, `ON`, `SINCE`: INTERNALDATE
    Arrived(When),
    /// `SENTBEFORE`, `SENTON`, `SENTSINCE`: the Date field
    Sent(When),
    /// `OLDER`: seconds
    Older(u32),
    /// `YOUNGER`: seconds
    Younger(u32),
    /// `HEADER`, and the keys named for a field
    Header {
        /// The field.
        name: Box<str>,
        /// What it must hold; empty: the field must only be there.
        needle: Needle,
    },
    /// `BODY`
    Body(Needle),
    /// `TEXT`
    Text(Needle),
}

/// A comparison with a day, in days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Earlier than this day
    Before(i64),
    /// On this day
    On(i64),
    /// On this day or later
    Since(i64),
}

impl When {
    fn matches(self, day: i64) -> bool {
        match self {
            Self::Before(limit) => day < limit,
            Self::On(limit) => day == limit,
            Self::Since(limit) => day >= limit,
        }
    }
}

/// What a search needs of one message besides its flags; asked only when the answer matters.
pub trait Content {
    /// INTERNALDATE: seconds since the epoch, UTC.
    ///
    /// # Errors
    /// [`Failure`] when the message cannot be read; so for all of these.
    fn date(&mut self) -> Result<i64, Failure>;

    /// RFC822.SIZE: octets.
    ///
    /// # Errors
    /// [`Failure`] when the message cannot be read.
    fn size(&mut self) -> Result<u64, Failure>;

    /// The day in the Date field as it is written there, whatever its time zone, in days since
    /// 1970-01-01; `None` without a good Date field.
    ///
    /// # Errors
    /// [`Failure`] when the message cannot be read.
    fn sent(&mut self) -> Result<Option<i64>, Failure>;

    /// True when a field of this name holds the text: see [`waypost_message::text::header`].
    ///
    /// # Errors
    /// [`Failure`] when the message cannot be read.
    fn header(&mut self, name: &str, needle: &Needle) -> Result<bool, Failure>;

    /// True when a part holds the text: see [`waypost_message::text::body`].
    ///
    /// # Errors
    /// [`Failure`] when the message cannot be read.
    fn body(&mut self, needle: &Needle) -> Result<bool, Failure>;

    /// True when a header field or a part holds the text: see [`waypost_message::text::text`].
    ///
    /// # Errors
    /// [`Failure`] when the message cannot be read.
    fn text(&mut self, needle: &Needle) -> Result<bool, Failure>;
}

/// One message as a search sees it.
pub struct Candidate<'a> {
    /// Its sequence number.
    pub seq: u32,
    /// Its uid and flags.
    pub message: &'a Message,
    /// The keywords of the mailbox.
    pub keywords: &'a Keywords,
    /// The time of day: seconds since the epoch, UTC.
    pub now: i64,
}

impl Program {
    /// Holds a message against all criteria. What costs least is asked first.
    ///
    /// # Errors
    /// [`Failure`] when the message could not be read and what is known does not decide.
    pub fn matches(
        &self,
        candidate: &Candidate<'_>,
        content: &mut dyn Content,
    ) -> Result<bool, Failure> {
        all(&self.0, candidate, content)
    }
}

/// What has to be looked at to decide a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    Flags,
    Meta,
    Header,
    Body,
}

impl Key {
    fn cost(&self) -> Cost {
        match self {
            Self::All
            | Self::Flag(_)
            | Self::Keyword(_)
            | Self::Recent
            | Self::Sequence(_)
            | Self::Uid(_) => Cost::Flags,
            Self::Not(key) => key.cost(),
            Self::Or(keys) => keys.0.cost().max(keys.1.cost()),
            Self::And(keys) => keys.iter().map(Self::cost).max().unwrap_or(Cost::Flags),
            Self::Larger(_)
            | Self::Smaller(_)
            | Self::Arrived(_)
            | Self::Older(_)
            | Self::Younger(_) => Cost::Meta,
            Self::Sent(_) | Self::Header { .. } => Cost::Header,
            Self::Body(_) | Self::Text(_) => Cost::Body,
        }
    }

    fn matches(&self, it: &Candidate<'_>, content: &mut dyn Content) -> Result<bool, Failure> {
        let flags = it.message.flags;
        Ok(match self {
            Self::All => true,
            Self::Not(key) => !key.matches(it, content)?,
            Self::Or(keys) => {
                let (a, b) = &**keys;
                let (first, second) = if a.cost() <= b.cost() { (a, b) } else { (b, a) };
                first.matches(it, content)? || second.matches(it, content)?
            }
            Self::And(keys) => all(keys, it, content)?,
            Self::Flag(bit) => flags.system & bit != 0,
            Self::Keyword(name) => has_keyword(flags, it.keywords, name),
            Self::Recent => it.message.recent,
            Self::Sequence(set) => set.contains(it.seq),
            Self::Uid(set) => set.contains(it.message.uid),
            Self::Larger(size) => content.size()? > *size,
            Self::Smaller(size) => content.size()? < *size,
            Self::Arrived(when) => when.matches(content.date()?.div_euclid(DAY)),
            // Without a date it was sent before any day, as Dovecot sees it.
            Self::Sent(when) => when.matches(content.sent()?.unwrap_or(i64::MIN)),
            Self::Older(secs) => it.now.saturating_sub(content.date()?) >= i64::from(*secs),
            Self::Younger(secs) => it.now.saturating_sub(content.date()?) <= i64::from(*secs),
            Self::Header { name, needle } => content.header(name, needle)?,
            Self::Body(needle) => content.body(needle)?,
            Self::Text(needle) => content.text(needle)?,
        })
    }
}

/// Cheap keys first; the order of the rest does not matter either.
fn all(
    keys: &[Key],
    candidate: &Candidate<'_>,
    content: &mut dyn Content,
) -> Result<bool, Failure> {
    for cost in [Cost::Flags, Cost::Meta, Cost::Header, Cost::Body] {
        for key in keys.iter().filter(|key| key.cost() == cost) {
            if !key.matches(candidate, content)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn has_keyword(flags: Flags, keywords: &Keywords, name: &str) -> bool {
    let place = keywords.iter().position(|known| known.eq_ignore_ascii_case(name));
    place.is_some_and(|n| n < 32 && flags.keywords & (1 << n) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// A message that can be read, or not; notes what was asked of it.
    #[derive(Default)]
    struct Fake {
        broken: bool,
        asked: Vec<&'static str>,
    }

    impl Fake {
        fn say<T>(&mut self, what: &'static str, value: T) -> Result<T, Failure> {
            self.asked.push(what);
            if self.broken { Err(Failure::Unavailable) } else { Ok(value) }
        }
    }

    impl Content for Fake {
        fn date(&mut self) -> Result<i64, Failure> {
            self.say("date", 10 * DAY + 5)
        }

        fn size(&mut self) -> Result<u64, Failure> {
            self.say("size", 100)
        }

        fn sent(&mut self) -> Result<Option<i64>, Failure> {
            self.say("sent", None)
        }

        fn header(&mut self, _: &str, needle: &Needle) -> Result<bool, Failure> {
            let found = needle.is_in("a header");
            self.say("header", found)
        }

        fn body(&mut self, needle: &Needle) -> Result<bool, Failure> {
            let found = needle.is_in("a body");
            self.say("body", found)
        }

        fn text(&mut self, needle: &Needle) -> Result<bool, Failure> {
            let found = needle.is_in("a header and a body");
            self.say("text", found)
        }
    }

    /// Holds a message, seen and with the second keyword, against the keys.
    fn holds(keys: Vec<Key>, content: &mut Fake) -> Result<bool, Failure> {
        let flags = Flags { system: Flags::SEEN, keywords: 2 };
        let message = Message { uid: 7, flags, recent: false };
        let keywords: Keywords = ["one".into(), "Two".into()].into();
        let now = 10 * DAY + 65;
        let candidate = Candidate { seq: 3, message: &message, keywords: &keywords, now };
        Program(keys).matches(&candidate, content)
    }

    fn not(key: Key) -> Key {
        Key::Not(Box::new(key))
    }

    #[test]
    fn every_key() {
        let needle = || Needle::new("BODY");
        let header = |text| Key::Header { name: "X".into(), needle: Needle::new(text) };
        for (key, yes) in [
            (Key::All, true),
            (not(Key::All), false),
            (Key::Flag(Flags::SEEN), true),
            (Key::Flag(Flags::DRAFT), false),
            (Key::Keyword("two".into()), true),
            (Key::Keyword("one".into()), false),
            (Key::Keyword("three".into()), false),
            (Key::Recent, false),
            (Key::Sequence(Set::of([(3, 3)])), true),
            (Key::Uid(Set::of([(3, 3)])), false),
            (Key::Larger(100), false),
            (Key::Smaller(101), true),
            (Key::Arrived(When::On(10)), true),
            (Key::Arrived(When::Before(10)), false),
            (Key::Arrived(When::Since(10)), true),
            (Key::Sent(When::Before(-100_000)), true),
            (Key::Sent(When::Since(-100_000)), false),
            (Key::Older(60), true),
            (Key::Older(61), false),
            (Key::Younger(60), true),
            (Key::Younger(59), false),
            (header("header"), true),
            (Key::Body(needle()), true),
            (Key::Text(needle()), true),
            (Key::Or(Box::new((Key::Recent, Key::All))), true),
            (Key::And(vec![Key::All, Key::Recent]), false),
        ] {
            let shown = alloc::format!("{key:?}");
            assert_eq!(holds(vec![key], &mut Fake::default()), Ok(yes), "{shown}");
        }
    }

    #[test]
    fn only_what_decides_is_read() {
        let text = || Key::Text(Needle::new("x"));
        let mut content = Fake::default();
        assert_eq!(holds(vec![text(), Key::Larger(1), Key::Recent], &mut content), Ok(false));
        assert_eq!(content.asked, [""; 0]);
        assert_eq!(holds(vec![text(), Key::Larger(100)], &mut content), Ok(false));
        assert_eq!(content.asked, ["size"]);
        // What cannot be read is no match and no miss, unless the rest decides.
        let mut broken = Fake { broken: true, ..Fake::default() };
        let either = |a, b| Key::Or(Box::new((a, b)));
        assert_eq!(holds(vec![either(text(), Key::All)], &mut broken), Ok(true));
        assert_eq!(holds(vec![not(text())], &mut broken), Err(Failure::Unavailable));
    }
}
