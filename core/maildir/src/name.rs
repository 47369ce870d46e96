//! File names of messages.
//!
//! ```text
//! 1795333981.Vfe00I148096M461630.vm:2,S          Postfix virtual(8), seen
//! 1795333983.M964815P2070.vm,S=26,W=29:2,Sa      Dovecot, seen, first keyword
//! ```
//!
//! What stands before the first `:` is the base name: it names the message for as long as it lives. After
//! `:2,` stand the flags in ASCII order; a flag change is a rename. `S=` is the size of the file in bytes,
//! `W=` the size of the message with CRLF line ends, which is IMAP's RFC822.SIZE.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// System flags of a message, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `D`, IMAP's `\Draft`.
    pub const DRAFT: Self = Self(1);
    /// `F`, IMAP's `\Flagged`.
    pub const FLAGGED: Self = Self(2);
    /// `R` (replied), IMAP's `\Answered`.
    pub const ANSWERED: Self = Self(4);
    /// `S`, IMAP's `\Seen`.
    pub const SEEN: Self = Self(8);
    /// `T` (trashed), IMAP's `\Deleted`.
    pub const DELETED: Self = Self(16);

    /// Flag and letter, in the order of the letters.
    const LETTERS: [(Self, u8); 5] = [
        (Self::DRAFT, b'D'),
        (Self::FLAGGED, b'F'),
        (Self::ANSWERED, b'R'),
        (Self::SEEN, b'S'),
        (Self::DELETED, b'T'),
    ];

    /// All flags of `self` and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every flag of `other` is in `self`.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set as bits; [`Flags::from_bits`] takes it back.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set from bits; unknown bits are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }

    fn of_letter(letter: u8) -> Option<Self> {
        Self::LETTERS.iter().find(|(_, known)| *known == letter).map(|(flag, _)| *flag)
    }
}

/// Keyword letters `a` to `z` of a file name, as a set; `dovecot-keywords` gives them their names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Letters(u32);

impl Letters {
    /// No keyword.
    pub const NONE: Self = Self(0);

    /// The set with one letter, `index` 0 is `a`; `None` beyond `z`.
    pub const fn one(index: u8) -> Option<Self> {
        if index < 26 { Some(Self(1 << index)) } else { None }
    }

    /// All letters of `self` and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The letters of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the letter with this index is in the set.
    pub const fn has(self, index: u8) -> bool {
        index < 26 && self.0 & (1 << index) != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The indexes in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..26).filter(move |index| self.has(*index))
    }

    /// The set as bits, bit 0 is `a`; [`Letters::from_bits`] takes it back.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set from bits; bits beyond `z` are dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0x03ff_ffff)
    }
}

/// What stands after `:2,`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Info {
    /// System flags.
    pub flags: Flags,
    /// Keywords.
    pub letters: Letters,
}

/// A moment that goes into a name: seconds since 1970 (UTC) and microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub seconds: u64,
    /// 0 to 999 999.
    pub micros: u32,
}

/// The host name as it may stand in a file name: `/` and `:` are written `\057` and `\072`
/// (cr.yp.to/proto/maildir.html), and so are blanks, control characters and `,`, which would end the host part.
pub fn host(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        if matches!(c, '/' | ':' | ',' | ' ') || c.is_control() {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                out.push_str(&format!("\\{byte:03o}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The name virtual(8) gives: `SECONDS.V<device>I<inode>M<microseconds>.<host>`, device and inode in
/// hexadecimal. `host` has been through [`host`].
pub fn postfix(stamp: Stamp, device: u64, inode: u64, host: &str) -> String {
    format!("{}.V{device:x}I{inode:x}M{}.{host}", stamp.seconds, stamp.micros)
}

/// The name Dovecot gives: `SECONDS.M<microseconds>P<pid>.<host>`; unique as long as no two names of one
/// process have the same stamp.
pub fn dovecot(stamp: Stamp, pid: u32, host: &str) -> String {
    format!("{}.M{}P{pid}.{host}", stamp.seconds, stamp.micros)
}

/// `name` with the sizes behind it: `,S=<size of the file>,W=<size with CRLF>`, both in bytes.
pub fn with_sizes(name: &str, size: u64, virtual_size: u64) -> String {
    format!("{name},S={size},W={virtual_size}")
}

/// What names the message for good: all before the first `:`.
pub fn base(name: &[u8]) -> &[u8] {
    memchr::memchr(b':', name).map_or(name, |colon| &name[..colon])
}

/// Whether a directory entry can be a message: not hidden, not empty before the `:`, and without CR and
/// LF, which `dovecot-uidlist` cannot hold.
pub fn is_message(name: &[u8]) -> bool {
    !matches!(name.first(), None | Some(b'.' | b':'))
        && memchr::memchr2(b'\r', b'\n', name).is_none()
}

/// The flags in a name. What is no flag we know is passed over.
pub fn info(name: &[u8]) -> Info {
    let mut found = Info::default();
    for &letter in flag_letters(name).unwrap_or_default() {
        if let Some(flag) = Flags::of_letter(letter) {
            found.flags = found.flags.with(flag);
        } else if letter.is_ascii_lowercase() {
            found.letters = Letters(found.letters.0 | 1 << (letter - b'a'));
        }
    }
    found
}

/// The same message with these flags. Letters that we do not know are kept, as Dovecot keeps them, and
/// so is what another program has put after a second `,`.
pub fn with_info(name: &[u8], info: Info) -> Vec<u8> {
    let old = flag_letters(name).unwrap_or_default();
    let mut letters: Vec<u8> = old
        .iter()
        .copied()
        .filter(|&c| Flags::of_letter(c).is_none() && !c.is_ascii_lowercase())
        .collect();
    letters.extend(
        Flags::LETTERS.iter().filter(|(flag, _)| info.flags.has(*flag)).map(|(_, letter)| *letter),
    );
    letters.extend(info.letters.iter().map(|index| b'a' + index));
    letters.sort_unstable();

    let stem = memchr::memrchr(b':', name).map_or(name, |colon| &name[..colon]);
    let mut out = Vec::with_capacity(stem.len() + 3 + letters.len());
    out.extend_from_slice(stem);
    out.extend_from_slice(b":2,");
    out.extend_from_slice(&letters);
    if flag_letters(name).is_some() {
        out.extend_from_slice(&name[stem.len() + 3 + old.len()..]);
    }
    out
}

/// The name a file of `new/` gets in `cur/`: `:2,` is put behind a name without flags.
pub fn in_cur(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    out.extend_from_slice(name);
    if memchr::memchr(b':', name).is_none() {
        out.extend_from_slice(b":2,");
    }
    out
}

/// The letters after `:2,` up to a further `,`.
fn flag_letters(name: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memrchr(b':', name)?;
    let letters = name[colon + 1..].strip_prefix(b"2,")?;
    Some(memchr::memchr(b',', letters).map_or(letters, |comma| &letters[..comma]))
}

/// The size of the file in bytes, from `S=`.
pub fn size(name: &[u8]) -> Option<u64> {
    field(name, b'S')
}

/// The size of the message with CRLF line ends in bytes, from `W=`.
pub fn virtual_size(name: &[u8]) -> Option<u64> {
    field(name, b'W')
}

fn field(name: &[u8], key: u8) -> Option<u64> {
    let base = base(name);
    let at = memchr::memmem::find(base, &[b',', key, b'='])?;
    let (value, rest) = digits(&base[at + 3..])?;
    matches!(rest.first(), None | Some(b',')).then_some(value)
}

/// A decimal number at the start of `text` and what follows it.
pub(crate) fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    let mut value = 0u64;
    for digit in &text[..end] {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some((value, &text[end..]))
}

/// The order in which new files get their uids: by the seconds in the name, then the microseconds
/// (`M…`), then the base name; so uids grow with the time of delivery.
pub fn order(a: &[u8], b: &[u8]) -> Ordering {
    order_key(a).cmp(&order_key(b))
}

fn order_key(name: &[u8]) -> (u64, u64, &[u8]) {
    let base = base(name);
    let (seconds, rest) = digits(base).unwrap_or((0, base));
    (seconds, micros(rest).unwrap_or(0), base)
}

/// The number after the first `M` of the middle part of a name.
fn micros(after_seconds: &[u8]) -> Option<u64> {
    let middle = after_seconds.strip_prefix(b".")?;
    let middle = memchr::memchr(b'.', middle).map_or(middle, |dot| &middle[..dot]);
    let at = memchr::memchr(b'M', middle)?;
    digits(&middle[at + 1..]).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const POSTFIX: &[u8] = b"1795333981.Vfe00I148096M461630.vm";
    const DOVECOT: &[u8] = b"1795333983.M964815P2070.vm,S=26,W=29:2,Sa";

    #[test]
    fn names_are_those_of_postfix_and_dovecot() {
        let stamp = Stamp { seconds: 1_795_333_981, micros: 461_630 };
        assert_eq!(postfix(stamp, 0xfe00, 0x0014_8096, "vm").as_bytes(), POSTFIX);
        let stamp = Stamp { seconds: 1_795_333_983, micros: 964_815 };
        let name = with_sizes(&dovecot(stamp, 2070, "vm"), 26, 29);
        assert_eq!(name.as_bytes(), base(DOVECOT));
    }

    #[test]
    fn a_host_name_cannot_leave_its_place() {
        assert_eq!(host("a/b:c"), "a\\057b\\072c");
        assert_eq!(host("mx,S=1\n"), "mx\\054S=1\\012");
        assert_eq!(host("mx.example.com"), "mx.example.com");
    }

    #[test]
    fn flags_and_keywords_are_read() {
        let found = info(DOVECOT);
        assert_eq!(found.flags, Flags::SEEN);
        assert_eq!(found.letters.iter().collect::<Vec<_>>(), vec![0]);
        let all = info(b"1.x.h:2,DFRST");
        assert_eq!(all.flags.bits(), 31);
        assert_eq!(info(POSTFIX), Info::default());
        assert_eq!(info(b"1.x.h:1,S"), Info::default());
        assert_eq!(info(b"1.x.h:2,S,T").flags, Flags::SEEN);
    }

    #[test]
    fn a_flag_change_keeps_what_is_not_ours() {
        let seen = Info { flags: Flags::SEEN, letters: Letters::NONE };
        assert_eq!(with_info(b"1.x.h:2,AFZ,foo", seen), b"1.x.h:2,ASZ,foo");
        assert_eq!(with_info(POSTFIX, Info::default()), b"1795333981.Vfe00I148096M461630.vm:2,");
        assert_eq!(with_info(b"1.x.h:1,old", seen), b"1.x.h:2,S");
    }

    #[test]
    fn a_file_of_new_gets_an_empty_flag_list() {
        assert_eq!(in_cur(b"1.x.h"), b"1.x.h:2,");
        assert_eq!(in_cur(b"1.x.h:2,S"), b"1.x.h:2,S");
    }

    #[test]
    fn sizes_are_read_from_the_base_name_alone() {
        assert_eq!((size(DOVECOT), virtual_size(DOVECOT)), (Some(26), Some(29)));
        assert_eq!(size(POSTFIX), None);
        assert_eq!(size(b"1.x.h:2,,S=5"), None);
        assert_eq!(size(b"1.x.h,S=5x"), None);
        assert_eq!(size(b"1.x.h,S=99999999999999999999999"), None);
    }

    #[test]
    fn new_files_are_ordered_by_time() {
        let mut names: Vec<&[u8]> =
            vec![b"2.M1P1.h", b"10.M0P1.h", b"2.V1I2M0.h", b"1.9_1.h", b"new.h"];
        names.sort_by(|a, b| order(a, b));
        let sorted: Vec<&[u8]> =
            vec![b"new.h", b"1.9_1.h", b"2.V1I2M0.h", b"2.M1P1.h", b"10.M0P1.h"];
        assert_eq!(names, sorted);
    }

    #[test]
    fn what_is_no_message() {
        for name in [&b""[..], b".x", b":2,S", b"a\nb", b"a\rb"] {
            assert!(!is_message(name), "{name:?}");
        }
        assert!(is_message(b"msg"));
    }

    proptest! {
        #[test]
        fn flags_come_back(bits in 0u8..32, letters in 0u32..0x0400_0000, junk in "[A-CE-EG-QU-Z]{0,3}") {
            let info_in = Info { flags: Flags::from_bits(bits), letters: Letters::from_bits(letters) };
            let start = format!("1.M2P3.host,S=4,W=5:2,{junk}S,x");
            let name = with_info(start.as_bytes(), info_in);
            prop_assert_eq!(info(&name), info_in);
            prop_assert_eq!(base(&name), base(start.as_bytes()));
            prop_assert_eq!(with_info(&name, info_in), name);
        }

        #[test]
        fn any_bytes_are_taken(name in proptest::collection::vec(any::<u8>(), 0..40), bits in 0u8..32) {
            let info_in = Info { flags: Flags::from_bits(bits), letters: Letters::NONE };
            let changed = with_info(&name, info_in);
            prop_assert_eq!(info(&changed), info_in);
            let _ = (size(&name), virtual_size(&name), order(&name, &changed), in_cur(&name));
        }
    }
}
