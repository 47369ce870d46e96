//! ENVELOPE, BODY and BODYSTRUCTURE in IMAP syntax (RFC 3501 7.4.2), octet for octet as Dovecot
//! writes them: which strings become literals, where folds vanish, what stands in for what is
//! missing.

use alloc::vec::Vec;

use memchr::memchr2;

use crate::content::{ContentType, Parameter};
use crate::envelope::{Address, Envelope};
use crate::structure::{FieldName, Kind, Part, PartId, Structure};

/// Octets of a structure from which on the messages inside have an empty envelope: one octet of a
/// message can make a hundred of its envelope.
const ENVELOPES: usize = 4 << 20;

/// From this many quotes and backslashes on a string is written as a literal.
const ESCAPES: usize = 4;

/// Writes `text` as a quoted string, or as a literal when it must be or is shorter so. A NUL, which
/// neither may hold, becomes 0x80.
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    let escapes = text.iter().filter(|octet| matches!(octet, b'"' | b'\\')).count();
    let odd = text.iter().any(|&octet| octet >= 0x80 || matches!(octet, b'\r' | b'\n' | 0));
    if odd || escapes > ESCAPES {
        let start = out.len();
        literal(text, out);
        return crate::crlf::mask_nul(&mut out[start..]);
    }
    out.push(b'"');
    for &octet in text {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// Writes `text` as a literal.
pub fn literal(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(alloc::format!("{{{}}}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
}

/// Writes a string, or NIL.
pub fn nstring(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        Some(text) => string(text, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes a header value, or NIL, with its folds taken out.
fn unfolded(text: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(text) = text else { return out.extend_from_slice(b"NIL") };
    if memchr2(b'\r', b'\n', text).is_none() {
        return string(text, out);
    }
    let mut line = Vec::with_capacity(text.len());
    for (at, &octet) in text.iter().enumerate() {
        if !matches!(octet, b'\r' | b'\n') {
            line.push(octet);
        } else if !matches!(text.get(at + 1), None | Some(b' ' | b'\t' | b'\r' | b'\n')) {
            line.push(b' ');
        }
    }
    string(&line, out);
}

/// Writes text that people read: runs of blanks and folds are one space, none at the ends.
fn human(text: &[u8], out: &mut Vec<u8>) {
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
    let plain = text.iter().all(|&o| {
        matches!(o, b' '..=b'~') && !matches!(o, b'"' | b'\\')
            || matches!(o, 1..=8 | 11 | 12 | 14..=31 | 127)
    });
    let tidy = !text.first().is_some_and(blank)
        && !text.last().is_some_and(blank)
        && !text.windows(2).any(|pair| pair == b"  ");
    if plain && tidy {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
        return;
    }
    let words: Vec<&[u8]> = text.split(blank).filter(|word| !word.is_empty()).collect();
    let mut line = words.join(&b' ');
    if line.is_empty() {
        out.extend_from_slice(b"\"\"");
    } else {
        crate::crlf::mask_nul(&mut line);
        literal(&line, out);
    }
}

fn address_list(list: &[Address], out: &mut Vec<u8>) {
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for address in list {
        out.push(b'(');
        match &address.name {
            Some(name) => human(name, out),
            None => out.extend_from_slice(b"NIL"),
        }
        for part in [&address.route, &address.mailbox, &address.domain] {
            out.push(b' ');
            nstring(part.as_deref(), out);
        }
        out.push(b')');
    }
    out.push(b')');
}

/// Writes the ten members of an envelope in parentheses.
pub fn envelope(envelope: &Envelope, out: &mut Vec<u8>) {
    out.push(b'(');
    unfolded(envelope.date.as_deref(), out);
    out.push(b' ');
    match &envelope.subject {
        Some(subject) => human(subject, out),
        None => out.extend_from_slice(b"NIL"),
    }
    for list in [
        &envelope.from,
        envelope.sender(),
        envelope.reply_to(),
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ] {
        out.push(b' ');
        address_list(list, out);
    }
    for text in [&envelope.in_reply_to, &envelope.message_id] {
        out.push(b' ');
        unfolded(text.as_deref(), out);
    }
    out.push(b')');
}

/// Writes the value of FETCH BODY.
pub fn body(structure: &Structure, out: &mut Vec<u8>) {
    let how = How { extended: false, full: out.len() + ENVELOPES };
    part(structure, PartId::ROOT, how, out);
}

/// Writes the value of FETCH BODYSTRUCTURE.
pub fn body_structure(structure: &Structure, out: &mut Vec<u8>) {
    let how = How { extended: true, full: out.len() + ENVELOPES };
    part(structure, PartId::ROOT, how, out);
}

/// How a structure is written.
#[derive(Clone, Copy)]
struct How {
    /// With the extension data of BODYSTRUCTURE.
    extended: bool,
    /// Octets of output from which on envelopes are left empty.
    full: usize,
}

/// One part in parentheses. Goes as deep as the scanner's limit on depth.
fn part(structure: &Structure, id: PartId, how: How, out: &mut Vec<u8>) {
    out.push(b'(');
    let this = structure.part(id);
    match this.kind {
        Kind::Multipart { .. } => multipart(structure, id, how, out),
        _ => single(structure, id, how, out),
    }
    if how.extended {
        disposition(this, out);
        out.push(b' ');
        let tags = this.languages();
        if tags.is_empty() {
            out.extend_from_slice(b"NIL");
        }
        for (n, tag) in tags.iter().enumerate() {
            out.push(if n == 0 { b'(' } else { b' ' });
            string(tag, out);
        }
        if !tags.is_empty() {
            out.push(b')');
        }
        out.push(b' ');
        unfolded(this.text(FieldName::ContentLocation).as_deref(), out);
    }
    out.push(b')');
}

fn multipart(structure: &Structure, id: PartId, how: How, out: &mut Vec<u8>) {
    let this = structure.part(id);
    for child in structure.children(id) {
        part(structure, child, how, out);
    }
    if this.first_child.is_none() {
        // The grammar wants a part; none is written as an empty text.
        out.extend_from_slice(
            b"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0",
        );
        out.extend_from_slice(if how.extended { b" NIL NIL NIL NIL)" } else { b")" });
    }
    out.push(b' ');
    let content_type = this.content_type().unwrap_or_default();
    string(&content_type.subtype, out);
    if how.extended {
        out.push(b' ');
        parameters(&content_type.parameters, false, out);
    }
}

/// A message that is ASCII text and says so, or says nothing. Dovecot remembers just that, and
/// answers in lower case.
fn is_plain(structure: &Structure, id: PartId) -> bool {
    let this = structure.part(id);
    let ascii = |c: &ContentType| {
        let charset = c.parameter(b"charset").unwrap_or(b"us-ascii");
        c.is(b"text", b"plain")
            && c.parameters.len() <= 1
            && c.parameters.iter().all(|p| p.name.eq_ignore_ascii_case(b"charset"))
            && charset.eq_ignore_ascii_case(b"us-ascii")
    };
    let bare = |f: FieldName| {
        f.is_envelope() || matches!(f, FieldName::ContentType | FieldName::ContentTransferEncoding)
    };
    id == PartId::ROOT
        && this.fields.iter().all(|&(field, _)| bare(field))
        && this.content_type().as_ref().is_none_or(ascii)
        && this.encoding().is_none_or(|e| e.eq_ignore_ascii_case(b"7bit"))
}

fn single(structure: &Structure, id: PartId, how: How, out: &mut Vec<u8>) {
    let this = structure.part(id);
    let plain = is_plain(structure, id);
    let content_type = this.content_type().filter(|_| !plain);
    let text = this.kind == Kind::Text;
    match (this.kind, &content_type) {
        (Kind::Message, _) => out.extend_from_slice(b"\"message\" \"rfc822\""),
        (Kind::Opaque, _) => out.extend_from_slice(b"\"application\" \"octet-stream\""),
        (_, None) => out.extend_from_slice(b"\"text\" \"plain\""),
        (_, Some(content_type)) => {
            string(&content_type.kind, out);
            out.push(b' ');
            string(&content_type.subtype, out);
        }
    }
    out.push(b' ');
    parameters(content_type.as_ref().map_or(&[], |c| &c.parameters), text, out);
    for field in [FieldName::ContentId, FieldName::ContentDescription] {
        out.push(b' ');
        unfolded(this.text(field).as_deref(), out);
    }
    out.push(b' ');
    string(this.encoding().filter(|_| !plain).as_deref().unwrap_or(b"7bit"), out);
    out.extend_from_slice(alloc::format!(" {}", this.body_size()).as_bytes());
    if let (Kind::Message, Some(inside)) = (this.kind, this.first_child) {
        out.push(b' ');
        let empty = out.len() >= how.full;
        let inner = if empty { Envelope::default() } else { structure.part(inside).envelope() };
        envelope(&inner, out);
        out.push(b' ');
        part(structure, inside, how, out);
    }
    if text || this.kind == Kind::Message {
        out.extend_from_slice(alloc::format!(" {}", this.body_lines()).as_bytes());
    }
    if how.extended {
        out.push(b' ');
        unfolded(this.text(FieldName::ContentMd5).as_deref(), out);
    }
}

fn disposition(this: &Part, out: &mut Vec<u8>) {
    out.push(b' ');
    let Some(disposition) = this.disposition() else { return out.extend_from_slice(b"NIL") };
    out.push(b'(');
    string(&disposition.kind, out);
    out.push(b' ');
    parameters(&disposition.parameters, false, out);
    out.push(b')');
}

/// Writes parameters; a text without charset gets `us-ascii`.
fn parameters(list: &[Parameter], text: bool, out: &mut Vec<u8>) {
    let no_charset = text && crate::content::parameter(list, b"charset").is_none();
    if list.is_empty() && !no_charset {
        return out.extend_from_slice(b"NIL");
    }
    let mut open = b'(';
    for parameter in list {
        out.push(core::mem::replace(&mut open, b' '));
        string(&parameter.name, out);
        out.push(b' ');
        string(&parameter.value, out);
    }
    if no_charset {
        out.push(open);
        out.extend_from_slice(b"\"charset\" \"us-ascii\"");
    }
    out.push(b')');
}
