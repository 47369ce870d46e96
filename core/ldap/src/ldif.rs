//! LDIF content records (RFC 2849): entries as text.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::attr;
use crate::dn::Dn;
use crate::entry::Entry;

/// Columns of a written line, after which it is folded (RFC 2849 note 2).
const WIDTH: usize = 76;
/// Bytes allowed in one unfolded line: a photo, not a film.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// What is wrong in an LDIF text, and on which line (counted from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct LdifError {
    /// The line where the faulty text begins.
    pub line: usize,
    /// The fault.
    pub kind: LdifFault,
}

/// The faults of LDIF texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LdifFault {
    /// A record that does not begin with its name.
    #[error("a record must begin with 'dn:'")]
    NoDn,
    /// A second `dn:` in a record.
    #[error("a second 'dn:' in one record; is a blank line missing?")]
    SecondDn,
    /// The name cannot be read.
    #[error("bad name: {0}")]
    Dn(#[from] crate::dn::DnError),
    /// A line without `:`.
    #[error("no ':' in '{0}'")]
    NoColon(String),
    /// Not an attribute name.
    #[error("'{0}' is not an attribute name")]
    Attribute(String),
    /// Text after `::` that is not base64.
    #[error("the value of '{0}' is not base64")]
    Base64(String),
    /// `:<` and a URL: we read no other files.
    #[error("'{0}:<' names a URL; values must stand in this file")]
    Url(String),
    /// A change record (`changetype:`), which only makes sense to ldapmodify(1).
    #[error("'{0}' belongs to a change record; only entries can be loaded")]
    Change(String),
    /// A version other than 1.
    #[error("LDIF version '{0}' is not known; it must be 1")]
    Version(String),
    /// A line that begins with a space with nothing before it to continue.
    #[error("a line that begins with a space continues the one before, but there is none")]
    Continuation,
    /// A name or a text that is not UTF-8.
    #[error("not UTF-8; such values must be written with '::' in base64")]
    NotUtf8,
    /// More than [`MAX_LINE`] bytes.
    #[error("line is too long")]
    Length,
    /// A record with a name and nothing else.
    #[error("the record has no attributes")]
    Empty,
}

/// Reads all entries of an LDIF text. A byte order mark, CRLF line ends and missing
/// `version: 1` are accepted.
///
/// # Errors
/// The first fault and its line.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>, LdifError> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let mut entries = Vec::new();
    let mut record: Option<(usize, Entry)> = None;
    let mut first = true;
    for line in unfold(text)? {
        if line.text.is_empty() {
            finish(&mut record, &mut entries)?;
            continue;
        }
        let fault = |kind| LdifError { line: line.number, kind };
        let (name, value) = value(&line.text).map_err(fault)?;
        if first && name.eq_ignore_ascii_case("version") && record.is_none() {
            if value != b"1" {
                let text = String::from_utf8_lossy(&value).into_owned();
                return Err(fault(LdifFault::Version(text)));
            }
            continue;
        }
        first = false;
        let is_dn = name.eq_ignore_ascii_case("dn");
        match &mut record {
            None if is_dn => {
                let text = core::str::from_utf8(&value).map_err(|_| fault(LdifFault::NotUtf8))?;
                let dn = Dn::parse(text).map_err(|e| fault(e.into()))?;
                record = Some((line.number, Entry { dn, attributes: Vec::new() }));
            }
            None => return Err(fault(LdifFault::NoDn)),
            Some(_) if is_dn => return Err(fault(LdifFault::SecondDn)),
            Some((_, entry)) => {
                let change = ["changetype", "control"].iter().any(|w| name.eq_ignore_ascii_case(w));
                if change && entry.attributes.is_empty() {
                    return Err(fault(LdifFault::Change(name.to_string())));
                }
                entry.push(&name, value);
            }
        }
    }
    finish(&mut record, &mut entries)?;
    Ok(entries)
}

fn finish(record: &mut Option<(usize, Entry)>, entries: &mut Vec<Entry>) -> Result<(), LdifError> {
    if let Some((line, entry)) = record.take() {
        if entry.attributes.is_empty() {
            return Err(LdifError { line, kind: LdifFault::Empty });
        }
        entries.push(entry);
    }
    Ok(())
}

/// A logical line and the number of its first physical one.
struct Line {
    number: usize,
    text: Vec<u8>,
}

/// Joins folded lines and drops comments; a blank line becomes an empty one.
fn unfold(text: &[u8]) -> Result<Vec<Line>, LdifError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut comment = false;
    for (index, raw) in text.split(|&b| b == b'\n').enumerate() {
        let number = index + 1;
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        if let Some(rest) = raw.strip_prefix(b" ") {
            if comment {
                continue;
            }
            let fault = |kind| LdifError { line: number, kind };
            let Some(line) = lines.last_mut().filter(|line| !line.text.is_empty()) else {
                return Err(fault(LdifFault::Continuation));
            };
            if line.text.len() + rest.len() > MAX_LINE {
                return Err(fault(LdifFault::Length));
            }
            line.text.extend_from_slice(rest);
            continue;
        }
        comment = raw.starts_with(b"#");
        if !comment {
            lines.push(Line { number, text: raw.to_vec() });
        }
    }
    Ok(lines)
}

/// Cuts `name: value`, `name:: base64` and refuses `name:< url`.
fn value(line: &[u8]) -> Result<(String, Vec<u8>), LdifFault> {
    let shown = || String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
    let colon = line.iter().position(|&b| b == b':').ok_or_else(|| LdifFault::NoColon(shown()))?;
    let name = String::from_utf8_lossy(&line[..colon]).into_owned();
    if !attr::valid(&name) {
        return Err(LdifFault::Attribute(name));
    }
    let rest = &line[colon + 1..];
    match rest.first() {
        Some(b':') => {
            let text: Vec<u8> =
                rest[1..].iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            match STANDARD.decode(text) {
                Ok(value) => Ok((name, value)),
                Err(_) => Err(LdifFault::Base64(name)),
            }
        }
        Some(b'<') => Err(LdifFault::Url(name)),
        _ => {
            let blanks = rest.iter().take_while(|&&b| b == b' ').count();
            Ok((name, rest[blanks..].to_vec()))
        }
    }
}

/// Writes entries as LDIF; reading the text gives the same entries.
pub fn write(entries: &[Entry]) -> String {
    let mut out = String::from("version: 1\n");
    for entry in entries {
        out.push('\n');
        put(&mut out, "dn", entry.dn.to_string().as_bytes());
        for attribute in &entry.attributes {
            for value in &attribute.values {
                put(&mut out, &attribute.name, value);
            }
        }
    }
    out
}

fn put(out: &mut String, name: &str, value: &[u8]) {
    let mut line = String::from(name);
    match core::str::from_utf8(value) {
        Ok(text) if safe(text) => {
            line.push_str(": ");
            line.push_str(text);
        }
        _ => {
            line.push_str(":: ");
            line.push_str(&STANDARD.encode(value));
        }
    }
    // All of it is ASCII now, so that it may be cut anywhere.
    let mut width = WIDTH;
    let mut rest = line.as_str();
    while rest.len() > width {
        let (head, tail) = rest.split_at(width);
        out.push_str(head);
        out.push_str("\n ");
        rest = tail;
        width = WIDTH - 1;
    }
    out.push_str(rest);
    out.push('\n');
}

/// SAFE-STRING of RFC 2849, without a space at the end either (note 8).
fn safe(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii() && !b.is_ascii_control())
        && !text.starts_with([' ', ':', '<'])
        && !text.ends_with(' ')
}
