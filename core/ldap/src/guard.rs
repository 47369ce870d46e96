//! What stands between a directory server and an LDAP client that trusts it.
//!
//! ldap3 0.12 does: nested elements overflow its stack, malformed answers make it panic, an answer
//! without end fills the memory. So every answer passes here first. It is taken apart by
//! its known shape, without recursion, and only what a client of ours can use is handed on, written
//! anew: search entries, and results as code, matched name and text. Continuation references,
//! intermediate responses and controls are dropped, for we ask for none and follow none. All else
//! ends the connection.

use alloc::string::String;
use alloc::vec::Vec;

/// Octets of one answer, at most: an entry with its attributes.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const CONTROLS: u8 = 0xa0;
const BIND_RESPONSE: u8 = 0x61;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED_RESPONSE: u8 = 0x78;
const INTERMEDIATE_RESPONSE: u8 = 0x79;

/// Why a connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no LDAP, or nested where nothing may be.
    #[error("the server sent something that is no LDAP")]
    Malformed,
    /// It is longer than [`MAX_ANSWER`].
    #[error("the server sent an answer of more than {MAX_ANSWER} octets")]
    TooLong,
    /// No answer has this tag.
    #[error("the server sent an answer of unknown kind {0:#04x}")]
    Unknown(u8),
    /// Notice of Disconnection (RFC 4511 4.4.1): its code and text.
    #[error("the server ended the connection: result code {0}, {1}")]
    Disconnected(u32, String),
}

/// One answer, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Which request it answers; 0 for none.
    pub id: u32,
    /// What it says.
    pub body: Body<'a>,
}

/// The kinds of answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A search entry, as it came, without its tag.
    Entry(&'a [u8]),
    /// The end of an operation.
    Result(LdapResult<'a>),
    /// Nothing for us.
    Ignored,
}

/// The common part of all results (RFC 4511 4.1.9).
#[derive(Debug, PartialEq, Eq)]
pub struct LdapResult<'a> {
    /// What kind of operation has ended.
    pub tag: u8,
    /// The result code; 0 for success.
    pub code: u32,
    /// How far the name was found, as it came.
    pub matched: &'a [u8],
    /// For the admin, as it came.
    pub text: &'a [u8],
}

/// Collects octets from the server into answers, and writes them anew.
#[derive(Debug, Default)]
pub struct Guard {
    held: Vec<u8>,
}

impl Guard {
    /// Takes octets as they come and appends to `out` what the client may see.
    ///
    /// # Errors
    /// The connection must end.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.held.extend_from_slice(octets);
        let mut at = 0;
        while let Some(len) = frame(&self.held[at..])? {
            let answer = parse(&self.held[at..at + len])?;
            at += len;
            match (answer.id, answer.body) {
                (_, Body::Ignored) => {}
                (0, Body::Result(result)) => {
                    let text = String::from_utf8_lossy(result.text).into_owned();
                    return Err(Fault::Disconnected(result.code, text));
                }
                (0, Body::Entry(_)) => return Err(Fault::Malformed),
                (id, Body::Entry(entry)) => message(id, SEARCH_ENTRY, entry, out),
                (id, Body::Result(result)) => result.write(id, out),
            }
        }
        self.held.drain(..at);
        Ok(())
    }
}

impl LdapResult<'_> {
    fn write(&self, id: u32, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        element(ENUMERATED, &integer(self.code), &mut body);
        for text in [self.matched, self.text] {
            element(OCTETS, String::from_utf8_lossy(text).as_bytes(), &mut body);
        }
        message(id, self.tag, &body, out);
    }
}

/// The length of the answer at the start of `octets`, once all of it is there.
///
/// # Errors
/// It cannot be an answer.
pub fn frame(octets: &[u8]) -> Result<Option<usize>, Fault> {
    match octets.first() {
        None => return Ok(None),
        Some(&SEQUENCE) => {}
        Some(_) => return Err(Fault::Malformed),
    }
    let Some((header, len)) = length(&octets[1..])? else { return Ok(None) };
    if len > MAX_ANSWER {
        return Err(Fault::TooLong);
    }
    let whole = 1 + header + len;
    Ok((octets.len() >= whole).then_some(whole))
}

/// Takes one whole answer apart.
///
/// # Errors
/// It is no answer.
pub fn parse(answer: &[u8]) -> Result<Answer<'_>, Fault> {
    let mut outer = Elements(answer);
    let mut parts = Elements(outer.expect(SEQUENCE)?);
    outer.end()?;
    let id = number(parts.expect(INTEGER)?)?;
    let (tag, content) = parts.next()?;
    let body = match tag {
        SEARCH_ENTRY => {
            check_entry(content)?;
            Body::Entry(content)
        }
        BIND_RESPONSE | SEARCH_DONE | EXTENDED_RESPONSE => {
            let mut fields = Elements(content);
            let code = number(fields.expect(ENUMERATED)?)?;
            let matched = fields.expect(OCTETS)?;
            let text = fields.expect(OCTETS)?;
            Body::Result(LdapResult { tag, code, matched, text })
        }
        SEARCH_REFERENCE | INTERMEDIATE_RESPONSE => Body::Ignored,
        other => return Err(Fault::Unknown(other)),
    };
    // Controls, and the stray name that Active Directory puts here in notices (RFC 4511 4.4.1).
    while !parts.0.is_empty() {
        let (tag, _) = parts.next()?;
        if tag != CONTROLS && id != 0 {
            return Err(Fault::Malformed);
        }
    }
    Ok(Answer { id, body })
}

/// `SEQUENCE { name, SEQUENCE OF SEQUENCE { type, SET OF value } }`
fn check_entry(content: &[u8]) -> Result<(), Fault> {
    let mut fields = Elements(content);
    fields.expect(OCTETS)?;
    let mut attributes = Elements(fields.expect(SEQUENCE)?);
    fields.end()?;
    while !attributes.0.is_empty() {
        let mut attribute = Elements(attributes.expect(SEQUENCE)?);
        attribute.expect(OCTETS)?;
        let mut values = Elements(attribute.expect(SET)?);
        attribute.end()?;
        while !values.0.is_empty() {
            values.expect(OCTETS)?;
        }
    }
    Ok(())
}

/// The elements of a constructed value, one after the other.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Result<(u8, &'a [u8]), Fault> {
        let (&tag, rest) = self.0.split_first().ok_or(Fault::Malformed)?;
        // No element of LDAP has a number that needs more than one octet.
        if tag & 0x1f == 0x1f {
            return Err(Fault::Malformed);
        }
        let (header, len) = length(rest)?.ok_or(Fault::Malformed)?;
        let content = rest.get(header..header + len).ok_or(Fault::Malformed)?;
        self.0 = &rest[header + len..];
        Ok((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Result<&'a [u8], Fault> {
        let (tag, content) = self.next()?;
        if tag == wanted { Ok(content) } else { Err(Fault::Malformed) }
    }

    fn end(&self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::Malformed) }
    }
}

/// Octets of the length field and the length it tells; `None` when the field is cut off. LDAP has
/// only definite lengths (RFC 4511 5.1).
fn length(octets: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let Some(&first) = octets.first() else { return Ok(None) };
    let count = usize::from(first & 0x7f);
    match (first & 0x80, count) {
        (0, short) => Ok(Some((1, short))),
        (_, 1..=4) => match octets.get(1..=count) {
            None => Ok(None),
            Some(digits) => {
                let len = digits.iter().fold(0_usize, |len, digit| len << 8 | usize::from(*digit));
                Ok(Some((1 + count, len)))
            }
        },
        _ => Err(Fault::Malformed),
    }
}

/// An integer from 0 to 2^31 - 1.
fn number(octets: &[u8]) -> Result<u32, Fault> {
    if !(1..=4).contains(&octets.len()) || octets[0] & 0x80 != 0 {
        return Err(Fault::Malformed);
    }
    Ok(octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
}

fn integer(number: u32) -> Vec<u8> {
    let octets = number.to_be_bytes();
    let mut start = octets.iter().take_while(|octet| **octet == 0).count().min(3);
    if octets[start] & 0x80 != 0 && start > 0 {
        start -= 1;
    }
    octets[start..].to_vec()
}

/// Writes one element.
fn element(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    let len = content.len();
    if len < 0x80 {
        out.push(u8::try_from(len).unwrap_or(0x7f));
    } else {
        let digits = len.to_be_bytes();
        let start = digits.iter().take_while(|digit| **digit == 0).count();
        out.push(0x80 | u8::try_from(digits.len() - start).unwrap_or(8));
        out.extend_from_slice(&digits[start..]);
    }
    out.extend_from_slice(content);
}

fn message(id: u32, tag: u8, body: &[u8], out: &mut Vec<u8>) {
    let mut content = Vec::with_capacity(body.len() + 16);
    element(INTEGER, &integer(id), &mut content);
    element(tag, body, &mut content);
    element(SEQUENCE, &content, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn ber(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        element(tag, &parts.concat(), &mut out);
        out
    }

    fn octets(text: &str) -> Vec<u8> {
        ber(OCTETS, &[text.into()])
    }

    fn result(id: u8, tag: u8, code: u8, extra: &[Vec<u8>]) -> Vec<u8> {
        let mut fields = vec![ber(ENUMERATED, &[vec![code]]), octets("dc=x"), octets("text")];
        fields.extend_from_slice(extra);
        ber(SEQUENCE, &[ber(INTEGER, &[vec![id]]), ber(tag, &fields)])
    }

    fn entry(id: u8) -> Vec<u8> {
        let values = ber(SET, &[octets("a@b"), octets("\u{e4}@b")]);
        let attributes = ber(SEQUENCE, &[ber(SEQUENCE, &[octets("maildrop"), values])]);
        let entry = ber(SEARCH_ENTRY, &[octets("uid=x"), attributes]);
        ber(SEQUENCE, &[ber(INTEGER, &[vec![id]]), entry])
    }

    fn pass(input: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        Guard::default().push(input, &mut out).map(|()| out)
    }

    #[test]
    fn entries_and_results_pass() {
        let input = [entry(2), result(2, SEARCH_DONE, 0, &[])].concat();
        assert_eq!(pass(&input).unwrap(), input);
        let referral = ber(0xa3, &[octets("ldap://elsewhere")]);
        assert_eq!(
            pass(&result(3, BIND_RESPONSE, 49, &[referral])).unwrap(),
            result(3, BIND_RESPONSE, 49, &[])
        );
    }

    #[test]
    fn what_we_did_not_ask_for_is_dropped() {
        let reference = ber(
            SEQUENCE,
            &[ber(INTEGER, &[vec![2]]), ber(SEARCH_REFERENCE, &[octets("ldap://x")])],
        );
        let controls = ber(CONTROLS, &[vec![1, 2, 3]]);
        let with = ber(
            SEQUENCE,
            &[
                ber(INTEGER, &[vec![2]]),
                ber(SEARCH_DONE, &[ber(ENUMERATED, &[vec![0]]), octets(""), octets("")]),
                controls,
            ],
        );
        let out = pass(&[reference, with].concat()).unwrap();
        assert!(matches!(parse(&out).unwrap(), Answer { id: 2, body: Body::Result(_) }));
        assert!(!out.contains(&CONTROLS));
    }

    #[test]
    fn faults_end_the_connection() {
        let depth = 50_000_u32;
        let nested: Vec<u8> = (1..=depth)
            .rev()
            .flat_map(|level| [&[SEQUENCE, 0x84][..], &(6 * (level - 1)).to_be_bytes()].concat())
            .collect();
        for (input, fault) in [
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), Fault::Malformed),
            (vec![SEQUENCE, 0x80], Fault::Malformed),
            (vec![SEQUENCE, 0x85, 0, 0, 0, 0, 1], Fault::Malformed),
            (vec![SEQUENCE, 0x84, 0x7f, 0xff, 0xff, 0xff], Fault::TooLong),
            (vec![SEQUENCE, 0], Fault::Malformed),
            (vec![SEQUENCE, 2, INTEGER, 0], Fault::Malformed),
            (ber(SEQUENCE, &[ber(INTEGER, &[vec![1]]), ber(0x60, &[])]), Fault::Unknown(0x60)),
            (
                ber(SEQUENCE, &[ber(INTEGER, &[vec![1]]), ber(SEARCH_ENTRY, &[octets("x")])]),
                Fault::Malformed,
            ),
            (
                ber(SEQUENCE, &[ber(INTEGER, &[vec![0x80]]), ber(SEARCH_DONE, &[])]),
                Fault::Malformed,
            ),
            (nested, Fault::Malformed),
            (result(0, EXTENDED_RESPONSE, 52, &[]), Fault::Disconnected(52, "text".into())),
        ] {
            assert_eq!(pass(&input), Err(fault));
        }
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(cuts in prop::collection::vec(0usize..200, 0..6)) {
            let input = [entry(2), result(2, SEARCH_DONE, 4, &[]), entry(7)].concat();
            let mut guard = Guard::default();
            let (mut out, mut at) = (Vec::new(), 0);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.sort_unstable();
            cuts.push(input.len());
            for cut in cuts {
                guard.push(&input[at..cut], &mut out).unwrap();
                at = cut;
            }
            prop_assert_eq!(out, input);
            prop_assert!(guard.held.is_empty());
        }

        #[test]
        fn no_octets_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = pass(&input);
        }

        /// An answer with one octet changed either fails or comes out as an answer again.
        #[test]
        fn what_passes_is_well_formed(place in 0usize..200, octet in any::<u8>()) {
            let mut input = [entry(2), result(2, SEARCH_DONE, 0, &[])].concat();
            let place = place % input.len();
            input[place] = octet;
            if let Ok(out) = pass(&input) {
                let mut rest = out.as_slice();
                while let Some(len) = frame(rest).unwrap() {
                    parse(&rest[..len]).unwrap();
                    rest = &rest[len..];
                }
                prop_assert!(rest.is_empty());
            }
        }
    }
}
