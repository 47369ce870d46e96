//! Encodings taken off: encoded words (RFC 2047), base64 and quoted-printable bodies (RFC 2045 6),
//! character sets (by the label list of the WHATWG Encoding Standard, as `encoding_rs` has it).

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::{CoderResult, Encoding, UTF_8};
use memchr::{memchr, memmem};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Most octets held back while it is open what a `=` or a blank in quoted-printable means.
const HELD: usize = 1024;

/// A character set that nobody here can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown character set")]
pub struct UnknownCharset;

/// A character set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// UTF-8, and ASCII with it.
    pub const UTF8: Self = Self(UTF_8);

    /// The character set of that name. ASCII is read as UTF-8: text that says it is ASCII and is
    /// not, mostly is that.
    pub fn of(label: &[u8]) -> Result<Self, UnknownCharset> {
        let label = label.trim_ascii();
        if label.eq_ignore_ascii_case(b"us-ascii") || label.eq_ignore_ascii_case(b"ascii") {
            return Ok(Self::UTF8);
        }
        Encoding::for_label_no_replacement(label).map(Self).ok_or(UnknownCharset)
    }

    /// The text of `octets`; what is no text becomes U+FFFD.
    pub fn decode(self, octets: &[u8]) -> String {
        let mut out = String::new();
        self.decoder().push(octets, true, &mut out);
        out
    }

    /// A decoder for text that comes in pieces.
    pub fn decoder(self) -> CharsetDecoder {
        CharsetDecoder(self.0.new_decoder_without_bom_handling())
    }
}

/// Decodes text that comes in pieces.
#[allow(missing_debug_implementations, reason = "the decoder inside has none")]
pub struct CharsetDecoder(encoding_rs::Decoder);

impl CharsetDecoder {
    /// Appends the text of the next octets to `out`; `last` when no more will come.
    pub fn push(&mut self, mut octets: &[u8], last: bool, out: &mut String) {
        loop {
            let room = self.0.max_utf8_buffer_length(octets.len());
            out.reserve(room.unwrap_or(octets.len()).max(16));
            let (result, read, _) = self.0.decode_to_string(octets, out, last);
            octets = octets.get(read..).unwrap_or_default();
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }
}

/// A Content-Transfer-Encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// 7bit, 8bit, binary: the octets as they are.
    Identity,
    /// base64
    Base64,
    /// quoted-printable
    QuotedPrintable,
}

impl Transfer {
    /// The encoding of that name; `None` when nobody knows it (the body is then opaque,
    /// RFC 2045 6.4). No name is 7bit.
    pub fn of(name: Option<&[u8]>) -> Option<Self> {
        let name = name.unwrap_or(b"7bit");
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("7bit") || is("8bit") || is("binary") {
            Some(Self::Identity)
        } else if is("base64") {
            Some(Self::Base64)
        } else if is("quoted-printable") {
            Some(Self::QuotedPrintable)
        } else {
            None
        }
    }

    /// The octets of an encoded body.
    pub fn decode(self, body: &[u8]) -> Vec<u8> {
        let mut decoder = TransferDecoder::new(self);
        let mut out = Vec::new();
        decoder.push(body, &mut out);
        decoder.finish(&mut out);
        out
    }
}

/// Decodes a body that comes in pieces. What is wrong in it is passed over.
#[derive(Clone, Debug)]
pub struct TransferDecoder {
    transfer: Transfer,
    held: Vec<u8>,
}

impl TransferDecoder {
    /// A decoder at the start of a body.
    pub const fn new(transfer: Transfer) -> Self {
        Self { transfer, held: Vec::new() }
    }

    /// Appends the octets of the next piece to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self.transfer {
            Transfer::Identity => out.extend_from_slice(piece),
            Transfer::Base64 => self.base64(piece, out),
            Transfer::QuotedPrintable => {
                let joined;
                let mut text = piece;
                if !self.held.is_empty() {
                    joined = [&*self.held, piece].concat();
                    text = &joined;
                }
                let rest = quoted_printable(text, false, out);
                self.held = rest.to_vec();
            }
        }
    }

    /// The body ends here.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let held = core::mem::take(&mut self.held);
        match self.transfer {
            Transfer::Identity => {}
            Transfer::Base64 => group(&held, out),
            Transfer::QuotedPrintable => {
                quoted_printable(&held, true, out);
            }
        }
    }

    fn base64(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for run in piece.split_inclusive(|&octet| octet == b'=') {
            let letters =
                run.iter().filter(|o| o.is_ascii_alphanumeric() || matches!(o, b'+' | b'/'));
            self.held.extend(letters);
            // Padding ends a text; another one may follow.
            let whole = if run.ends_with(b"=") { self.held.len() } else { self.held.len() / 4 * 4 };
            group(&self.held[..whole], out);
            self.held.drain(..whole);
        }
    }
}

/// Decodes base64 letters; a last one that stands alone is dropped.
fn group(letters: &[u8], out: &mut Vec<u8>) {
    let letters = &letters[..letters.len() - usize::from(letters.len() % 4 == 1)];
    // Letters of the alphabet only, in a possible number: this does not fail.
    let _ = BASE64.decode_vec(letters, out);
}

/// Decodes quoted-printable; the rest that cannot be judged before more is known.
fn quoted_printable<'a>(text: &'a [u8], last: bool, out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = text;
    while !rest.is_empty() {
        let special = memchr::memchr3(b'=', b' ', b'\t', rest).unwrap_or(rest.len());
        let (plain, tail) = rest.split_at(special);
        out.extend_from_slice(plain);
        rest = tail;
        let Some(&first) = rest.first() else { break };
        let signs = usize::from(first == b'=');
        let blanks = rest[signs..].iter().take_while(|o| matches!(o, b' ' | b'\t')).count();
        let end = signs + blanks;
        match rest.get(end..).unwrap_or_default() {
            // Blanks at the end of a line are none; with a sign before them the line goes on.
            [b'\n', ..] => rest = &rest[end + signs..],
            [b'\r', b'\n', ..] => rest = &rest[end + 2 * signs..],
            [] | [b'\r'] if !last && rest.len() < HELD => return rest,
            [] if last => rest = &[],
            [high] if signs == 1 && blanks == 0 && !last && high.is_ascii_hexdigit() => {
                return rest;
            }
            [high, low, ..] if signs == 1 && blanks == 0 && hex(*high, *low).is_some() => {
                out.extend(hex(*high, *low));
                rest = &rest[3..];
            }
            // A sign that means nothing stands for itself, as do blanks within a line.
            _ => {
                let literal = end.max(1);
                out.extend_from_slice(&rest[..literal]);
                rest = &rest[literal..];
            }
        }
    }
    rest
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let value = |octet: u8| char::from(octet).to_digit(16);
    u8::try_from(value(high)? * 16 + value(low)?).ok()
}

/// The text of a header value, its encoded words decoded. White space between two of them is none
/// (RFC 2047 6.2). What is no encoded word is read as UTF-8.
pub fn decode_words(value: &[u8]) -> String {
    if memmem::find(value, b"=?").is_none() {
        return Charset::UTF8.decode(value);
    }
    let mut out = String::new();
    // Octets of words side by side in one character set: characters may be cut between them.
    let mut open: Option<(Charset, Vec<u8>)> = None;
    let mut rest = value;
    while !rest.is_empty() {
        let start = memmem::find(rest, b"=?").unwrap_or(rest.len());
        let (plain, tail) = rest.split_at(start);
        if let Some((charset, octets, used)) = word(tail) {
            if !plain.trim_ascii().is_empty() || open.is_none() {
                close(&mut open, &mut out);
                out.push_str(&Charset::UTF8.decode(plain));
            }
            match &mut open {
                Some((same, all)) if *same == charset => all.extend_from_slice(&octets),
                _ => {
                    close(&mut open, &mut out);
                    open = Some((charset, octets));
                }
            }
            rest = &tail[used..];
        } else {
            let literal = start + tail.len().min(2);
            close(&mut open, &mut out);
            out.push_str(&Charset::UTF8.decode(&rest[..literal]));
            rest = &rest[literal..];
        }
    }
    close(&mut open, &mut out);
    out
}

fn close(open: &mut Option<(Charset, Vec<u8>)>, out: &mut String) {
    if let Some((charset, octets)) = open.take() {
        out.push_str(&charset.decode(&octets));
    }
}

/// Reads the encoded word at the start of `text`: its character set, octets, and length.
fn word(text: &[u8]) -> Option<(Charset, Vec<u8>, usize)> {
    let inside = text.strip_prefix(b"=?")?;
    let charset = memchr(b'?', inside)?;
    let [encoding, b'?', content @ ..] = inside.get(charset + 1..)? else { return None };
    let end = memchr(b'?', content)?;
    if content.get(end + 1) != Some(&b'=') {
        return None;
    }
    // A language may follow the name (RFC 2231 5).
    let label = inside[..charset].split(|&o| o == b'*').next()?;
    // In an unknown character set ASCII letters are still likely to be themselves.
    let known = Charset::of(label).unwrap_or(Charset::UTF8);
    let octets = match encoding.to_ascii_uppercase() {
        b'B' => Transfer::Base64.decode(&content[..end]),
        b'Q' => q(&content[..end]),
        _ => return None,
    };
    Some((known, octets, 2 + charset + 3 + end + 2))
}

fn q(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'_', _) => out.push(b' '),
            (b'=', [high, low, after @ ..]) if hex(*high, *low).is_some() => {
                out.extend(hex(*high, *low));
                rest = after;
            }
            _ => out.push(first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words() {
        let cases: [(&[u8], &str); 11] = [
            (b"=?utf-8?Q?Ren=C3=A9_M=C3=BCller?= <x@y>", "Ren\u{e9} M\u{fc}ller <x@y>"),
            (b"=?utf-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?=", "Gr\u{fc}\u{df}e aus K\u{f6}ln"),
            (b"a =?iso-8859-1?q?=E9?= b", "a \u{e9} b"),
            (b"=?utf-8?q?a?= \r\n =?utf-8?q?b?=", "ab"),
            (b"=?utf-8?b?w6?= =?utf-8?b?k=?=", "\u{fffd}"),
            (b"=?utf-8?q?=C3?= =?UTF-8?q?=A9?=", "\u{e9}"),
            (b"=?us-ascii*en?q?x?=", "x"),
            (b"=?x-none?q?abc?=", "abc"),
            (b"=?utf-8?x?abc?= =?broken", "=?utf-8?x?abc?= =?broken"),
            (b"=?", "=?"),
            (b"raw \xc3\xa9 \xff", "raw \u{e9} \u{fffd}"),
        ];
        for (raw, text) in cases {
            assert_eq!(decode_words(raw), text, "{}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn bodies() {
        let qp = |text: &str| {
            String::from_utf8(Transfer::QuotedPrintable.decode(text.as_bytes())).unwrap()
        };
        assert_eq!(qp("Gr=C3=BC=C3=9Fe, the plain part."), "Gr\u{fc}\u{df}e, the plain part.");
        assert_eq!(qp("a=\nb=  \r\nc \t\nd = e =3d=\n"), "abc\nd = e =");
        assert_eq!(qp("x=4"), "x=4");
        assert_eq!(qp("x=4g ="), "x=4g ");
        let base64 = |text: &str| Transfer::Base64.decode(text.as_bytes());
        assert_eq!(base64("R3L832UgYXVz\r\nIEv2bG4uDQo="), b"Gr\xfc\xdfe aus K\xf6ln.\r\n");
        assert_eq!(base64("YQ==YmM=\n!ZA"), b"abcd");
        assert_eq!(Transfer::of(None), Some(Transfer::Identity));
        assert_eq!(Transfer::of(Some(b"x-uuencode")), None);
    }

    #[test]
    fn charsets() {
        assert_eq!(Charset::of(b" ISO-8859-15 ").unwrap().decode(b"\xa4"), "\u{20ac}");
        assert_eq!(Charset::of(b"KOI8-R").unwrap().decode(b"\xcd"), "\u{43c}");
        assert_eq!(Charset::of(b"us-ascii"), Ok(Charset::UTF8));
        assert_eq!(Charset::of(b"utf-7"), Err(UnknownCharset));
    }

    proptest! {
        #[test]
        fn bodies_decode_in_any_pieces(
            text in prop::collection::vec(prop::sample::select(&b"=\r\n \tA4bz"[..]), 0..50),
            cut in 0usize..50, then in 0usize..50,
        ) {
            for transfer in [Transfer::Base64, Transfer::QuotedPrintable] {
                let (a, b) = (cut.min(text.len()), then.min(text.len()));
                let (a, b) = (a.min(b), a.max(b));
                let mut decoder = TransferDecoder::new(transfer);
                let mut out = Vec::new();
                for piece in [&text[..a], &text[a..b], &text[b..]] {
                    decoder.push(piece, &mut out);
                }
                decoder.finish(&mut out);
                prop_assert_eq!(out, transfer.decode(&text));
            }
        }

        #[test]
        fn encoding_and_decoding_is_the_same(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Transfer::Base64.decode(BASE64.encode(&octets).as_bytes()), octets.clone());
            let qp: Vec<u8> = octets.iter().flat_map(|o| alloc::format!("={o:02X}").into_bytes()).collect();
            prop_assert_eq!(Transfer::QuotedPrintable.decode(&qp), octets.clone());
            let _ = decode_words(&octets);
        }
    }
}
