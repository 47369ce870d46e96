//! Maildir++: where a folder lies.
//!
//! INBOX is the directory that holds `cur`, `new` and `tmp`. Any other folder is a directory beside them
//! whose name begins with a dot: `Work.2026` is `.Work.2026`, wherever it stands in the hierarchy. Names
//! of directories are in modified UTF-7. A folder holds an empty file `maildirfolder`.

use crate::utf7;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

/// The empty file that marks a directory as a folder, not an account's top.
pub const FOLDER_MARK: &str = "maildirfolder";

/// The three directories of each folder.
pub const SUBDIRS: [&str; 3] = ["cur", "new", "tmp"];

/// The hierarchy separator.
pub const SEPARATOR: char = '.';

/// What a file system takes as one name, in bytes.
const NAME_MAX: usize = 255;

/// A folder's name, checked: it has exactly one directory below the top, and never one outside of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Folder {
    name: String,
}

/// Why a name is refused. The texts are Dovecot's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Two separators side by side.
    #[error("Invalid mailbox name: Has adjacent hierarchy separators")]
    Adjacent,
    /// A control character in the name of a folder to be made.
    #[error("Control characters not allowed in new mailbox names")]
    Control,
    /// No name at all.
    #[error("Invalid mailbox name: Name is empty")]
    Empty,
    /// The last character is the separator.
    #[error("Invalid mailbox name: Ends with hierarchy separator")]
    Ends,
    /// The first character is the separator.
    #[error("Invalid mailbox name: Begins with hierarchy separator")]
    Begins,
    /// Not modified UTF-7, or not its one right spelling.
    #[error("Mailbox name is not valid mUTF-7")]
    Encoding,
    /// A `/` (or NUL, which no file name can hold).
    #[error("Invalid mailbox name: Name must not have '/' characters")]
    Slash,
    /// A name that would not fit the file system.
    #[error("Mailbox name too long")]
    Long,
    /// A `~` at the start.
    #[error("Invalid mailbox name: Begins with '~'")]
    Tilde,
}

impl Folder {
    /// The folder every account has.
    pub fn inbox() -> Self {
        Self { name: "INBOX".to_owned() }
    }

    /// Takes a name in UTF-8. `inbox` in any case is INBOX, also as the first level.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        check(name)?;
        let folder = match name.split_once(SEPARATOR) {
            _ if name.eq_ignore_ascii_case("INBOX") => Self::inbox(),
            Some((first, rest)) if first.eq_ignore_ascii_case("INBOX") => {
                Self { name: format!("INBOX{SEPARATOR}{rest}") }
            }
            _ => Self { name: name.to_owned() },
        };
        // The directory is a dot and the encoded name.
        if folder.encoded().len() >= NAME_MAX { Err(NameError::Long) } else { Ok(folder) }
    }

    /// Takes a name in modified UTF-7, as IMAP4rev1 and the `subscriptions` file have it.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn from_encoded(encoded: &str) -> Result<Self, NameError> {
        Self::parse(&utf7::decode(encoded).ok_or(NameError::Encoding)?)
    }

    /// Takes the name, in UTF-8, of a folder that is to be made: one separator at the end is dropped (RFC
    /// 9051 6.3.4), and control characters are refused.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn to_create(name: &str) -> Result<Self, NameError> {
        let folder = Self::parse(name.strip_suffix(SEPARATOR).unwrap_or(name))?;
        if folder.name.chars().any(|c| c < ' ') { Err(NameError::Control) } else { Ok(folder) }
    }

    /// The folder of a directory entry beside INBOX's `cur`; `None` when it is none: not a dot name, a
    /// name in another encoding, or Dovecot's `..DOVECOT-TRASHED`.
    pub fn from_dir_name(entry: &[u8]) -> Option<Self> {
        let encoded = core::str::from_utf8(entry).ok()?.strip_prefix('.')?;
        let folder = Self::from_encoded(encoded).ok()?;
        // A directory `.INBOX` or `.inbox.x` is not where INBOX or INBOX.x lies.
        (!folder.is_inbox() && folder.encoded() == encoded).then_some(folder)
    }

    /// The name in UTF-8.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name in modified UTF-7.
    pub fn encoded(&self) -> String {
        utf7::encode(&self.name)
    }

    /// Whether it is INBOX.
    pub fn is_inbox(&self) -> bool {
        self.name == "INBOX"
    }

    /// The directory below the account's top; `None` for INBOX, which is the top itself.
    pub fn dir_name(&self) -> Option<String> {
        (!self.is_inbox()).then(|| format!(".{}", self.encoded()))
    }

    /// The folder one level up; `None` at the top level.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.name.rsplit_once(SEPARATOR)?;
        Some(Self { name: parent.to_owned() })
    }

    /// What stands behind `above` and a separator in this name; `None` if it does not lie below it.
    pub fn below<'a>(&'a self, above: &Self) -> Option<&'a str> {
        self.name.strip_prefix(above.name.as_str())?.strip_prefix(SEPARATOR)
    }

    /// The special use (RFC 6154) that clients give a folder of this name, as Debian's Dovecot
    /// (`15-mailboxes.conf`) announces it.
    pub fn special_use(&self) -> Option<SpecialUse> {
        match self.name.as_str() {
            "Drafts" => Some(SpecialUse::Drafts),
            "Junk" => Some(SpecialUse::Junk),
            "Sent" | "Sent Messages" => Some(SpecialUse::Sent),
            "Trash" => Some(SpecialUse::Trash),
            _ => None,
        }
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a folder is for (RFC 6154).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SpecialUse {
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// The attribute in LIST responses.
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::Drafts => "\\Drafts",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.starts_with(SEPARATOR) {
        return Err(NameError::Begins);
    }
    if name.contains("..") {
        // "a.." ends with one separator too many; "x..y" has them inside.
        return Err(NameError::Adjacent);
    }
    if name.ends_with(SEPARATOR) {
        return Err(NameError::Ends);
    }
    if name.contains(['/', '\0']) {
        return Err(NameError::Slash);
    }
    if name.starts_with('~') {
        return Err(NameError::Tilde);
    }
    if name.split(SEPARATOR).any(|level| level.len() > NAME_MAX) {
        return Err(NameError::Long);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn created(name: &str) -> Result<String, String> {
        Folder::to_create(name).map(|f| f.name().to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_folder_is_a_dot_directory() {
        let folder = Folder::parse("Work.2026").unwrap();
        assert_eq!(folder.dir_name().as_deref(), Some(".Work.2026"));
        assert_eq!(Folder::from_dir_name(b".Work.2026"), Some(folder.clone()));
        assert_eq!(folder.parent().unwrap().name(), "Work");
        assert_eq!(folder.below(&Folder::parse("Work").unwrap()), Some("2026"));
        assert_eq!(folder.below(&Folder::parse("Wor").unwrap()), None);
        let drafts = Folder::from_encoded("Entw&APw-rfe").unwrap();
        assert_eq!(
            (drafts.name(), drafts.dir_name().unwrap().as_str()),
            ("Entwürfe", ".Entw&APw-rfe")
        );
    }

    #[test]
    fn inbox_is_written_in_one_way() {
        for name in ["INBOX", "inbox", "InBox"] {
            assert!(Folder::parse(name).unwrap().is_inbox());
        }
        assert_eq!(Folder::inbox().dir_name(), None);
        assert_eq!(Folder::parse("inbox.foo").unwrap().dir_name().unwrap(), ".INBOX.foo");
        assert_eq!(Folder::parse("a.inbox").unwrap().name(), "a.inbox");
    }

    #[test]
    fn names_are_refused_as_dovecot_does() {
        let cases = [
            ("", "Invalid mailbox name: Name is empty"),
            (".", "Invalid mailbox name: Name is empty"),
            (".hidden", "Invalid mailbox name: Begins with hierarchy separator"),
            ("..", "Invalid mailbox name: Begins with hierarchy separator"),
            ("../up", "Invalid mailbox name: Begins with hierarchy separator"),
            ("x..y", "Invalid mailbox name: Has adjacent hierarchy separators"),
            ("a..", "Invalid mailbox name: Ends with hierarchy separator"),
            ("a/b", "Invalid mailbox name: Name must not have '/' characters"),
            ("~tilde", "Invalid mailbox name: Begins with '~'"),
            ("a\x01b", "Control characters not allowed in new mailbox names"),
        ];
        for (name, error) in cases {
            assert_eq!(created(name), Err(error.to_string()), "{name:?}");
        }
        for name in [
            "with space",
            "quo\"te",
            "back\\slash",
            "&",
            "per%cent",
            "st*r",
            "cur",
            "{5}",
            "lit ",
            "a.~b",
        ] {
            assert_eq!(created(name), Ok(name.to_string()));
        }
        assert_eq!(created("tail."), Ok("tail".to_string()));
        assert_eq!(created("INBOX."), Ok("INBOX".to_string()));
        let error = Folder::from_encoded("&Jjo!").unwrap_err();
        assert_eq!(error.to_string(), "Mailbox name is not valid mUTF-7");
    }

    #[test]
    fn a_name_must_fit_the_file_system() {
        assert!(Folder::parse(&"n".repeat(254)).is_ok());
        assert_eq!(Folder::parse(&"n".repeat(255)), Err(NameError::Long));
        assert_eq!(Folder::parse(&"ä".repeat(120)), Err(NameError::Long));
    }

    #[test]
    fn entries_that_are_no_folders() {
        let entries = [
            &b"."[..],
            b"..",
            b"..DOVECOT-TRASHED",
            b"cur",
            b".INBOX",
            b".inbox",
            b".inbox.x",
            b".x..y",
            b".\xff",
            b".&x",
            b".Entw\xc3\xbcrfe",
        ];
        for entry in entries {
            assert_eq!(Folder::from_dir_name(entry), None, "{entry:?}");
        }
    }

    #[test]
    fn special_use_goes_by_name() {
        let sent = Folder::parse("Sent Messages").unwrap().special_use().unwrap();
        assert_eq!(sent.attribute(), "\\Sent");
        assert_eq!(Folder::parse("Archive").unwrap().special_use(), None);
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_the_top(name in "[a-zA-Z./~ä&\\x00-\\x1f-]{0,12}") {
            let folder = Folder::parse(&name).ok();
            if let Some((folder, dir)) = folder.and_then(|f| Some((f.clone(), f.dir_name()?))) {
                prop_assert!(dir.len() <= 255 && dir.starts_with('.') && !dir.contains('/'));
                prop_assert!(!dir.starts_with("..") && dir != ".");
                prop_assert_eq!(Folder::from_dir_name(dir.as_bytes()), Some(folder));
            }
        }
    }
}
