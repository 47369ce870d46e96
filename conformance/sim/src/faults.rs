//! Faults to be planted in the simulated world, to see that the simulation finds them. None of them is
//! in a product: each is a world that does not keep its word.

use std::fmt;
use std::str::FromStr;

/// What a disk does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// A file's sync does nothing.
    Sync,
    /// A directory's sync does nothing.
    SyncDir,
    /// Names are durable at once, but content only when the next file is synced.
    NamesFirst,
    /// After a crash all files are back that were removed since the last one.
    RemovedComesBack,
    /// After a crash all files that were replaced since the last one are what they were.
    ReplacedComesBack,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Sync,
        Self::SyncDir,
        Self::NamesFirst,
        Self::RemovedComesBack,
        Self::ReplacedComesBack,
    ];
}

impl fmt::Display for Lie {
    /// As a script has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::SyncDir => "sync-dir",
            Self::NamesFirst => "names-first",
            Self::RemovedComesBack => "removed-comes-back",
            Self::ReplacedComesBack => "replaced-comes-back",
        })
    }
}

impl FromStr for Lie {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|lie| lie.to_string() == text);
        found.ok_or_else(|| format!("no lie of a disk: {text}"))
    }
}
