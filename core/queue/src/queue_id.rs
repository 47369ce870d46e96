//! The name of a queued message.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use crate::meter;

const MAX: usize = 23;

/// The name of a queued message, as logs, replies and the admin write it: `4gXyZ1abcd`.
///
/// 1 to 23 ASCII letters and digits; it needs no memory elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueId {
    len: u8,
    text: [u8; MAX],
}

/// A text that is no queue id: empty, longer than 23, or not letters and digits alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id")]
pub struct QueueIdError;

impl QueueId {
    /// As written.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl FromStr for QueueId {
    type Err = QueueIdError;

    fn from_str(text: &str) -> Result<Self, QueueIdError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > MAX || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return Err(QueueIdError);
        }
        let mut id = Self { len: u8::try_from(bytes.len()).unwrap_or_default(), text: [0; MAX] };
        id.text[..bytes.len()].copy_from_slice(bytes);
        Ok(id)
    }
}

impl PartialOrd for QueueId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for QueueId {
    fn cmp(&self, other: &Self) -> Ordering {
        meter::count();
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn examples() {
        assert_eq!("4gXyZ1abcd".parse::<QueueId>().unwrap().to_string(), "4gXyZ1abcd");
        let longest = "a".repeat(23);
        assert_eq!(longest.parse::<QueueId>().unwrap().as_str(), longest);
        for wrong in ["", "a/b", "..", "a b", "ä", &"a".repeat(24)] {
            assert_eq!(wrong.parse::<QueueId>(), Err(QueueIdError), "{wrong}");
        }
        assert!("1".parse::<QueueId>().unwrap() < "2".parse().unwrap());
    }
}
