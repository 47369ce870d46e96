//! `dovecot-uidlist`, version 3: which message has which uid.
//!
//! ```text
//! 3 V1795333983 N1 Gd2b419365f9f026b1608000083ecc375
//! 1 :1795333981.Vfe00I148096M461630.vm
//! 5 W29 :1795333983.M964815P2070.vm,S=26,W=29
//! ```
//!
//! The head line has the UIDVALIDITY (`V`), a lower bound of the next uid (`N`) and the mailbox's GUID (`G`).
//! A record is a uid, fields of one letter and a value, and after ` :` the base name of the file. The uid
//! of a new message is appended; the file is written anew (and renamed into place) when too many of its
//! messages are gone. So it may name messages that are no more, and its last line may be torn by a crash.
//!
//! Version 1 (Dovecot 1.0, Courier's `courierimapuiddb`) is read too: `1 <uidvalidity> <next uid>`, then
//! `<uid> <name>`.

use crate::name;
use alloc::format;
use alloc::vec::Vec;
use core::fmt::Write;

/// The file's name, in each folder's directory.
pub const FILE: &str = "dovecot-uidlist";

/// The lock that writers of the file, and of `dovecot-keywords`, hold.
pub const LOCK: &str = "dovecot-uidlist.lock";

/// The highest uid that can be given out.
pub const MAX_UID: u32 = u32::MAX - 1;

/// The list, holding the text it was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UidList {
    uid_validity: u32,
    next_uid: u32,
    guid: Option<[u8; 16]>,
    /// Header fields we do not know, as they stand, for the next writer.
    other: Vec<u8>,
    text: Vec<u8>,
    records: Vec<Record>,
    untidy: bool,
}

/// A record as a place in the text: `ext` bytes of fields from `start`, then two for ` :`, then the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Record {
    uid: u32,
    start: u32,
    ext: u16,
    name: u16,
}

/// One message of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Its uid.
    pub uid: u32,
    /// Its fields as they stand, such as `S26 W29`; often empty.
    pub fields: &'a [u8],
    /// Its base name.
    pub name: &'a [u8],
}

/// Why the file cannot be used. It is then made anew, with a new UIDVALIDITY unless the old one and the
/// uids given under it are known from elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Broken {
    /// There is no head line (an empty file, or one torn in its first line).
    #[error("no header")]
    NoHeader,
    /// The head line is not one, or lacks UIDVALIDITY or next uid.
    #[error("broken header")]
    Header,
    /// A version we do not know.
    #[error("unsupported version")]
    Version,
    /// A line that is no record. Lines count from 1, the head line.
    #[error("line {0} is not a record")]
    Line(usize),
    /// Uids must grow.
    #[error("line {0} has a uid that is not above the one before")]
    Order(usize),
    /// 4 GiB or more.
    #[error("too large")]
    Size,
}

impl UidList {
    /// A list without messages. `uid_validity` is not 0.
    pub fn new(uid_validity: u32, guid: [u8; 16]) -> Self {
        Self {
            uid_validity,
            next_uid: 1,
            guid: Some(guid),
            other: Vec::new(),
            text: Vec::new(),
            records: Vec::new(),
            untidy: true,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Says where it is broken. A last line without its line end is no error: it is left out, and the
    /// file should be written anew ([`UidList::is_untidy`]).
    pub fn parse(text: Vec<u8>) -> Result<Self, Broken> {
        if u32::try_from(text.len()).is_err() {
            return Err(Broken::Size);
        }
        let head_end = memchr::memchr(b'\n', &text).ok_or(Broken::NoHeader)?;
        let mut list = Self::new(0, [0; 16]);
        list.guid = None;
        let version = list.parse_header(&text[..head_end])?;
        list.untidy = version != 3 || list.guid.is_none();
        list.text = text;
        list.parse_records(head_end + 1, 2, version)?;
        if version == 1 && list.last_uid() >= list.next_uid {
            return Err(Broken::Header);
        }
        list.next_uid = list.next_uid.max(list.last_uid().saturating_add(1));
        Ok(list)
    }

    /// Takes in what has been appended to the file since it was read. Records that are known are passed
    /// over.
    ///
    /// # Errors
    /// As [`UidList::parse`]; the list is then of no more use.
    pub fn parse_more(&mut self, tail: &[u8]) -> Result<(), Broken> {
        let start = self.text.len();
        if u32::try_from(start + tail.len()).is_err() {
            return Err(Broken::Size);
        }
        self.text.extend_from_slice(tail);
        self.parse_records(start, 2 + self.records.len(), 3)?;
        self.next_uid = self.next_uid.max(self.last_uid().saturating_add(1));
        Ok(())
    }

    fn parse_header(&mut self, line: &[u8]) -> Result<u8, Broken> {
        let (version, fields) = match line {
            [version @ b'0'..=b'9', b' ', fields @ ..] => (version - b'0', fields),
            _ => return Err(Broken::Header),
        };
        match version {
            1 => self.parse_header_1(fields)?,
            3 => self.parse_header_3(fields)?,
            _ => return Err(Broken::Version),
        }
        if self.uid_validity == 0 || self.next_uid == 0 { Err(Broken::Header) } else { Ok(version) }
    }

    fn parse_header_1(&mut self, fields: &[u8]) -> Result<(), Broken> {
        let mut words = fields.split(|c| *c == b' ').filter(|word| !word.is_empty());
        let mut number = || words.next().and_then(number).ok_or(Broken::Header);
        self.uid_validity = number()?;
        self.next_uid = number()?;
        Ok(())
    }

    fn parse_header_3(&mut self, fields: &[u8]) -> Result<(), Broken> {
        self.next_uid = 0;
        for field in fields.split(|c| *c == b' ') {
            match field {
                [] => {}
                [b'V', value @ ..] => self.uid_validity = number(value).ok_or(Broken::Header)?,
                [b'N', value @ ..] => self.next_uid = number(value).ok_or(Broken::Header)?,
                [b'G', value @ ..] => self.guid = Some(guid(value).ok_or(Broken::Header)?),
                other => {
                    self.other.push(b' ');
                    self.other.extend_from_slice(other);
                }
            }
        }
        Ok(())
    }

    fn parse_records(&mut self, from: usize, first_line: usize, version: u8) -> Result<(), Broken> {
        let text = core::mem::take(&mut self.text);
        let mut start = from;
        let mut number = first_line;
        // A third of a typical line, so that a million records are not copied while the table grows.
        self.records.reserve((text.len() - from) / 48);
        let result = loop {
            let Some(length) = memchr::memchr(b'\n', &text[start..]) else {
                self.untidy |= start < text.len();
                break Ok(());
            };
            match parse_record(&text[start..start + length], version) {
                None => break Err(Broken::Line(number)),
                Some(record) if record.uid > self.last_uid() => {
                    self.records.push(Record { start: record.start + start as u32, ..record });
                }
                Some(_) if from == first_record(&text) => break Err(Broken::Order(number)),
                // Appended by ourselves and read again.
                Some(_) => {}
            }
            start += length + 1;
            number += 1;
        };
        self.text = text;
        result
    }

    /// The UIDVALIDITY.
    pub fn uid_validity(&self) -> u32 {
        self.uid_validity
    }

    /// The uid the next message gets.
    pub fn next_uid(&self) -> u32 {
        self.next_uid
    }

    /// Makes sure that uids below `next_uid` are not given out, for they are known to be used.
    pub fn reserve_below(&mut self, next_uid: u32) {
        self.next_uid = self.next_uid.max(next_uid);
    }

    /// The mailbox's GUID.
    pub fn guid(&self) -> Option<[u8; 16]> {
        self.guid
    }

    /// Gives the mailbox a GUID.
    pub fn set_guid(&mut self, guid: [u8; 16]) {
        self.guid = Some(guid);
        self.untidy = true;
    }

    /// Whether the file must be written anew rather than appended to: it does not exist yet, its last line
    /// is torn, it is of an old version, or it has no GUID.
    pub fn is_untidy(&self) -> bool {
        self.untidy
    }

    /// How many records there are, those of messages that are gone included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record at `index`, counted from 0 in the order of uids.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn entry(&self, index: usize) -> Entry<'_> {
        let record = self.records[index];
        let start = record.start as usize;
        let fields_end = start + usize::from(record.ext);
        let name_start = fields_end + 1 + usize::from(record.ext != 0);
        Entry {
            uid: record.uid,
            fields: &self.text[start..fields_end],
            name: &self.text[name_start..name_start + usize::from(record.name)],
        }
    }

    /// All records by uid.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        (0..self.records.len()).map(|index| self.entry(index))
    }

    /// The index of a uid's record.
    pub fn find(&self, uid: u32) -> Option<usize> {
        self.records.binary_search_by_key(&uid, |record| record.uid).ok()
    }

    /// Gives the next uid to the file with this name (flags after a `:` are left out), and returns it;
    /// `None` when no uid is left or the name cannot stand in the file.
    pub fn add(&mut self, file_name: &[u8]) -> Option<u32> {
        let uid = self.next_uid;
        if uid > MAX_UID {
            return None;
        }
        self.add_with_uid(uid, b"", file_name).then_some(uid)
    }

    /// Puts back a record that is known from elsewhere; false when its uid is not above all others, or the
    /// name cannot stand in the file.
    pub fn add_with_uid(&mut self, uid: u32, fields: &[u8], file_name: &[u8]) -> bool {
        let base = name::base(file_name);
        let (Ok(start), Ok(ext), Some(length)) =
            (u32::try_from(self.text.len()), u16::try_from(fields.len()), name_length(base))
        else {
            return false;
        };
        if uid <= self.last_uid() || uid > MAX_UID || !name::is_message(base) {
            return false;
        }
        self.text.extend_from_slice(fields);
        if ext != 0 {
            self.text.push(b' ');
        }
        self.text.push(b':');
        self.text.extend_from_slice(base);
        self.records.push(Record { uid, start, ext, name: length });
        self.next_uid = self.next_uid.max(uid + 1);
        true
    }

    /// The lines of the records from `index` on: what is appended to the file after [`UidList::add`].
    pub fn print_from(&self, index: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity((self.records.len() - index) * 64);
        for index in index..self.records.len() {
            print_entry(&self.entry(index), &mut out);
        }
        out
    }

    /// The whole file, with those records for whose index `keep` is true.
    pub fn print(&self, mut keep: impl FnMut(usize) -> bool) -> Vec<u8> {
        let mut head = format!("3 V{} N{}", self.uid_validity, self.next_uid);
        if let Some(guid) = self.guid {
            head.push_str(" G");
            for byte in guid {
                // Writing to a String cannot fail.
                let _ = write!(head, "{byte:02x}");
            }
        }
        let mut out = Vec::with_capacity(head.len() + 1 + self.text.len());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&self.other);
        out.push(b'\n');
        for index in 0..self.records.len() {
            if keep(index) {
                print_entry(&self.entry(index), &mut out);
            }
        }
        out
    }

    fn last_uid(&self) -> u32 {
        self.records.last().map_or(0, |record| record.uid)
    }
}

/// Whether the file should be written anew: a quarter of its records belongs to messages that are gone,
/// and it is not just a handful.
pub fn worth_rewriting(records: usize, alive: usize) -> bool {
    records.saturating_sub(alive) > records / 4 + 8
}

fn first_record(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(0, |end| end + 1)
}

fn parse_record(line: &[u8], version: u8) -> Option<Record> {
    let (uid, rest) = name::digits(line)?;
    let uid = u32::try_from(uid).ok().filter(|uid| (1..=MAX_UID).contains(uid))?;
    let fields = rest.strip_prefix(b" ")?;
    let fields = &fields[fields.iter().take_while(|c| **c == b' ').count()..];
    let start = line.len() - fields.len();
    if version == 1 {
        // No fields and no colon: the entry's name begins one byte after `start`.
        let length = name_length(fields)?;
        return Some(Record { uid, start: u32::try_from(start).ok()? - 1, ext: 0, name: length });
    }
    let colon =
        if fields.first() == Some(&b':') { 0 } else { memchr::memmem::find(fields, b" :")? + 1 };
    let name = name_length(&fields[colon + 1..])?;
    let ext = u16::try_from(colon.saturating_sub(1)).ok()?;
    Some(Record { uid, start: u32::try_from(start).ok()?, ext, name })
}

/// The length of a base name, if it is one.
fn name_length(text: &[u8]) -> Option<u16> {
    let base = name::base(text);
    if base.is_empty() || memchr::memchr2(b'/', 0, base).is_some() {
        return None;
    }
    u16::try_from(base.len()).ok()
}

fn print_entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    let mut value = entry.uid;
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at..]);
    out.push(b' ');
    if !entry.fields.is_empty() {
        out.extend_from_slice(entry.fields);
        out.push(b' ');
    }
    out.push(b':');
    out.extend_from_slice(entry.name);
    out.push(b'\n');
}

fn number(digits: &[u8]) -> Option<u32> {
    let (value, rest) = name::digits(digits)?;
    if rest.is_empty() { u32::try_from(value).ok() } else { None }
}

fn guid(hex: &[u8]) -> Option<[u8; 16]> {
    let hex: &[u8; 32] = hex.try_into().ok()?;
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let mut guid = [0; 16];
    for (byte, pair) in guid.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(guid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;

    const DOVECOTS: &str = "3 V1795333983 N1 Gd2b419365f9f026b1608000083ecc375
1 :1795333981.Vfe00I148096M461630.vm
2 :1795333982.Vfe00I148099M44550.vm
5 :1795333983.M964815P2070.vm,S=26,W=29
";

    fn parse(text: &str) -> Result<UidList, Broken> {
        UidList::parse(text.as_bytes().to_vec())
    }

    fn text(list: &UidList) -> String {
        String::from_utf8(list.print(|_| true)).unwrap()
    }

    #[test]
    fn dovecots_file_is_read() {
        let list = parse(DOVECOTS).unwrap();
        assert_eq!((list.uid_validity(), list.next_uid()), (1_795_333_983, 6));
        assert!(!list.is_untidy());
        assert_eq!(list.entry(2).name, b"1795333983.M964815P2070.vm,S=26,W=29");
        assert_eq!(list.find(5), Some(2));
        assert_eq!(list.find(3), None);
        assert_eq!(text(&list), DOVECOTS.replace("N1 ", "N6 "));
    }

    #[test]
    fn fields_and_unknown_header_fields_are_kept() {
        let file = "3 V1 N9 G00000000000000000000000000000001 Xfoo Ybar\n1 S26 W29 Pa:b :x\n3 :y\n";
        let list = parse(file).unwrap();
        assert_eq!(list.entry(0), Entry { uid: 1, fields: b"S26 W29 Pa:b", name: b"x" });
        assert_eq!(text(&list), file);
        assert_eq!(parse("3 V1 N1\n7 S1 :x:2,S\n").unwrap().entry(0).name, b"x");
    }

    #[test]
    fn new_messages_are_appended() {
        let mut list = parse(DOVECOTS).unwrap();
        assert_eq!(list.add(b"new:2,S"), Some(6));
        assert_eq!(list.add(b"newer"), Some(7));
        assert_eq!(list.print_from(3), b"6 :new\n7 :newer\n");
        assert_eq!(
            list.print(|i| i == 4),
            b"3 V1795333983 N8 Gd2b419365f9f026b1608000083ecc375\n7 :newer\n"
        );
        assert_eq!(list.add(b":2,S"), None);
        assert_eq!(list.add(b"line\nend"), None);
    }

    #[test]
    fn a_torn_last_line_is_left_out() {
        let list = parse(&format!("{DOVECOTS}6 :179533")).unwrap();
        assert_eq!((list.len(), list.next_uid()), (3, 6));
        assert!(list.is_untidy());
    }

    #[test]
    fn what_others_appended_is_taken_in() {
        let mut list = parse(DOVECOTS).unwrap();
        assert_eq!(list.add(b"ours"), Some(6));
        list.parse_more(b"6 :ours\n7 :theirs\n").unwrap();
        assert_eq!(list.iter().map(|e| e.uid).collect::<Vec<_>>(), vec![1, 2, 5, 6, 7]);
        assert_eq!(list.entry(4).name, b"theirs");
        assert!(list.parse_more(b"garbage\n").is_err());
    }

    #[test]
    fn broken_files_are_told_from_each_other() {
        let head = "3 V1 N1 Gd2b419365f9f026b1608000083ecc375\n";
        let cases = [
            ("", Broken::NoHeader),
            ("3 V1 N1", Broken::NoHeader),
            ("garbage\n", Broken::Header),
            ("3 N1\n", Broken::Header),
            ("3 V0 N1\n", Broken::Header),
            ("3 V1\n", Broken::Header),
            ("3 Vx N1\n", Broken::Header),
            ("3 V1 N1 Gshort\n", Broken::Header),
            ("2 V1 N1\n", Broken::Version),
            ("1 5\n", Broken::Header),
            ("1 5 2\n2 x\n", Broken::Header),
            ("H0 :x\n", Broken::Line(2)),
            ("H1 x\n", Broken::Line(2)),
            ("H1 :\n", Broken::Line(2)),
            ("H1:x\n", Broken::Line(2)),
            ("H4294967295 :x\n", Broken::Line(2)),
            ("H1 :../x\n", Broken::Line(2)),
            ("H1 :x\n\0\0\0\n", Broken::Line(3)),
            ("H2 :x\n2 :y\n", Broken::Order(3)),
            ("H2 :x\n1 :y\n", Broken::Order(3)),
        ];
        for (file, error) in cases {
            assert_eq!(parse(&file.replace('H', head)), Err(error), "{file:?}");
        }
    }

    #[test]
    fn version_1_is_read_and_becomes_version_3() {
        let list = parse("1 1234 8\n3 first:2,S\n7 second\n").unwrap();
        assert_eq!((list.uid_validity(), list.next_uid(), list.is_untidy()), (1234, 8, true));
        assert_eq!(text(&list), "3 V1234 N8\n3 :first\n7 :second\n");
    }

    #[test]
    fn the_last_uid_is_given_once() {
        let mut list = UidList::new(1, [7; 16]);
        list.reserve_below(MAX_UID);
        assert_eq!(list.add(b"a"), Some(MAX_UID));
        assert_eq!(list.add(b"b"), None);
        assert_eq!(parse(&text(&list)).unwrap().next_uid(), u32::MAX);
    }

    #[test]
    fn rewriting_waits_until_it_pays() {
        assert!(!worth_rewriting(8, 0));
        assert!(!worth_rewriting(1000, 750));
        assert!(worth_rewriting(1000, 700));
    }

    prop_compose! {
        fn lists()(gaps in proptest::collection::vec((1u32..5, "[a-zA-Z0-9.,=_-]{1,30}", "(S[0-9]{1,5} W[0-9]{1,5})?"), 0..40))
            -> UidList {
            let mut list = UidList::new(77, [0xab; 16]);
            let mut uid = 0;
            for (gap, name, fields) in gaps {
                uid += gap;
                list.add_with_uid(uid, fields.as_bytes(), name.as_bytes());
            }
            list
        }
    }

    proptest! {
        #[test]
        fn a_list_comes_back(list in lists()) {
            let back = UidList::parse(list.print(|_| true)).unwrap();
            prop_assert!(back.iter().eq(list.iter()));
            prop_assert_eq!(back.next_uid(), list.next_uid());
        }

        #[test]
        fn a_torn_file_is_a_prefix(list in lists(), cut in 0.0f64..1.0) {
            let whole = list.print(|_| true);
            let torn = whole[..(whole.len() as f64 * cut) as usize].to_vec();
            match UidList::parse(torn) {
                Ok(part) => {
                    prop_assert!(part.iter().eq(list.iter().take(part.len())));
                    prop_assert!(part.len() < list.len() || part.next_uid() == list.next_uid());
                }
                Err(error) => prop_assert_eq!(error, Broken::NoHeader),
            }
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = b"3 V1 N1\n".to_vec();
            file.extend_from_slice(&bytes);
            let _ = UidList::parse(bytes);
            if let Ok(list) = UidList::parse(file) {
                prop_assert!(list.iter().zip(list.iter().skip(1)).all(|(a, b)| a.uid < b.uid));
            }
        }
    }
}
