//! The file `dovecot-keywords`: which keyword a letter in a file name stands for.
//!
//! ```text
//! 0 work
//! 1 $Label1
//! ```
//!
//! A number per line, 0 is the letter `a`, and a name. A mailbox has at most 26 keywords this way.

use crate::name::Letters;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// How many keywords a mailbox can have: one for each letter `a` to `z`.
pub const LIMIT: usize = 26;

/// The keywords of a mailbox, by letter.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Keywords {
    names: Vec<Option<String>>,
}

/// All 26 letters are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a mailbox can have 26 keywords, and this one has them")]
pub struct Full;

impl Keywords {
    /// Reads the file. Lines that make no sense are passed over, as Dovecot does: a wrong keyword must not
    /// make a mailbox unreadable.
    pub fn parse(text: &[u8]) -> Self {
        let mut keywords = Self::default();
        for line in text.split(|c| *c == b'\n') {
            let Ok(line) = core::str::from_utf8(line) else { continue };
            let Some((number, name)) = line.split_once(' ') else { continue };
            let Ok(index) = number.parse::<u8>() else { continue };
            if usize::from(index) < LIMIT && !name.is_empty() && keywords.find(name).is_none() {
                keywords.set(index, name);
            }
        }
        keywords
    }

    /// The letter index (0 is `a`) of a keyword; case does not matter (RFC 9051 2.3.2).
    pub fn find(&self, name: &str) -> Option<u8> {
        let is = |known: &Option<String>| {
            known.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name))
        };
        self.names.iter().position(is).map(narrow)
    }

    /// The name of a letter index.
    pub fn name(&self, index: u8) -> Option<&str> {
        self.names.get(usize::from(index))?.as_deref()
    }

    /// The letter index of a keyword, which is given the first free one if it has none. The second part
    /// says whether the file has to be written.
    ///
    /// # Errors
    /// [`Full`] when no letter is free.
    pub fn find_or_add(&mut self, name: &str) -> Result<(u8, bool), Full> {
        if let Some(index) = self.find(name) {
            return Ok((index, false));
        }
        let free = self.names.iter().position(Option::is_none).unwrap_or(self.names.len());
        if free >= LIMIT {
            return Err(Full);
        }
        self.set(narrow(free), name);
        Ok((narrow(free), true))
    }

    /// Gives each letter in use a name: one that the file does not know becomes `unknown-N`, as with
    /// Dovecot. Returns whether the file has to be written.
    pub fn name_all(&mut self, used: Letters) -> bool {
        let mut changed = false;
        for index in used.iter() {
            if self.name(index).is_none() {
                let mut name = format!("unknown-{index}");
                while self.find(&name).is_some() {
                    name.push('?');
                }
                self.set(index, &name);
                changed = true;
            }
        }
        changed
    }

    /// Index and name of all keywords, by index.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.names.iter().enumerate().filter_map(|(i, name)| Some((narrow(i), name.as_deref()?)))
    }

    fn set(&mut self, index: u8, name: &str) {
        let index = usize::from(index);
        if self.names.len() <= index {
            self.names.resize(index + 1, None);
        }
        self.names[index] = Some(name.to_string());
    }
}

fn narrow(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}

/// The text of the file.
impl fmt::Display for Keywords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(index, name)| writeln!(f, "{index} {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dovecots_file_comes_back() {
        let text = "0 work\n1 $Label1\n2 $Label2\n3 NonJunk\n";
        let keywords = Keywords::parse(text.as_bytes());
        assert_eq!(keywords.to_string(), text);
        assert_eq!((keywords.find("WORK"), keywords.name(3)), (Some(0), Some("NonJunk")));
    }

    #[test]
    fn a_new_keyword_takes_the_first_free_letter() {
        let mut keywords = Keywords::parse(b"0 a\n2 c\n");
        assert_eq!(keywords.find_or_add("A"), Ok((0, false)));
        assert_eq!(keywords.find_or_add("b"), Ok((1, true)));
        assert_eq!(keywords.find_or_add("d"), Ok((3, true)));
    }

    #[test]
    fn the_27th_keyword_is_refused() {
        let mut keywords = Keywords::default();
        for i in 0..26 {
            assert_eq!(keywords.find_or_add(&format!("k{i}")), Ok((i, true)));
        }
        assert_eq!(keywords.find_or_add("one more"), Err(Full));
        assert_eq!(keywords.find_or_add("K25"), Ok((25, false)));
    }

    #[test]
    fn nonsense_is_passed_over() {
        let keywords =
            Keywords::parse(b"x\n26 far\n-1 y\n1\n1 \n300 z\n\xff\xfe 1\n0 good\n5 GOOD\n");
        assert_eq!(keywords.to_string(), "0 good\n");
    }

    #[test]
    fn letters_without_a_name_get_one() {
        let mut keywords = Keywords::parse(b"0 unknown-2\n");
        assert!(keywords.name_all(Letters::from_bits(0b101)));
        assert_eq!(keywords.to_string(), "0 unknown-2\n2 unknown-2?\n");
        assert!(!keywords.name_all(Letters::from_bits(0b101)));
    }
}
