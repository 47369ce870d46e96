//! Envelope fields and address lists (RFC 5322 3.4 and 4.4, RFC 3501 7.4.2 ENVELOPE).
//!
//! Encoded words stay raw. What is no address is named as Dovecot names it (`MISSING_MAILBOX`,
//! `MISSING_DOMAIN`, `SYNTAX_ERROR`, `INVALID_ROUTE`), so that clients see it.

use alloc::vec::Vec;

use crate::header::fields;
use crate::lexer::{Broken, Lexer, Step, Then};
use crate::structure::FieldName;

/// Entries that one list of an envelope takes: a header that is nothing but commas would come out
/// a hundred times its size.
pub(crate) const LIST: usize = 10_000;

/// One entry of an address list, as IMAP gives it.
///
/// A group is an entry with the group's name as `mailbox` and no domain, its members, and an
/// entry with neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Display name or comment, raw.
    pub name: Option<Vec<u8>>,
    /// Source route, `@a,@b` (RFC 5322 4.4).
    pub route: Option<Vec<u8>>,
    /// Local part, or the name of a group.
    pub mailbox: Option<Vec<u8>>,
    /// Domain.
    pub domain: Option<Vec<u8>>,
}

/// The envelope of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Date, raw.
    pub date: Option<Vec<u8>>,
    /// Subject, raw, folds included.
    pub subject: Option<Vec<u8>>,
    /// From.
    pub from: Vec<Address>,
    /// Sender as it stands; see [`sender`](Self::sender).
    pub sender: Vec<Address>,
    /// Reply-To as it stands; see [`reply_to`](Self::reply_to).
    pub reply_to: Vec<Address>,
    /// To.
    pub to: Vec<Address>,
    /// Cc.
    pub cc: Vec<Address>,
    /// Bcc.
    pub bcc: Vec<Address>,
    /// In-Reply-To, raw.
    pub in_reply_to: Option<Vec<u8>>,
    /// Message-ID, raw.
    pub message_id: Option<Vec<u8>>,
}

impl Envelope {
    /// Reads the envelope of a header block.
    pub fn parse(block: &[u8]) -> Self {
        let mut envelope = Self::default();
        for field in fields(block) {
            if let Some(name) = FieldName::of(field.name) {
                envelope.add(name, &crate::mime::kept_value(field.raw));
            }
        }
        envelope
    }

    /// Takes in one field. Address fields add up, to 10,000 entries; of the others the last one
    /// counts.
    pub(crate) fn add(&mut self, name: FieldName, value: &[u8]) {
        match name {
            FieldName::Date => self.date = Some(text(value)),
            FieldName::Subject => self.subject = Some(text(value)),
            FieldName::InReplyTo => self.in_reply_to = Some(text(value)),
            FieldName::MessageId => self.message_id = Some(text(value)),
            FieldName::From => more(&mut self.from, value),
            FieldName::Sender => more(&mut self.sender, value),
            FieldName::ReplyTo => more(&mut self.reply_to, value),
            FieldName::To => more(&mut self.to, value),
            FieldName::Cc => more(&mut self.cc, value),
            FieldName::Bcc => more(&mut self.bcc, value),
            _ => {}
        }
    }

    /// Sender, or From when there is none.
    pub fn sender(&self) -> &[Address] {
        if self.sender.is_empty() { &self.from } else { &self.sender }
    }

    /// Reply-To, or From when there is none.
    pub fn reply_to(&self) -> &[Address] {
        if self.reply_to.is_empty() { &self.from } else { &self.reply_to }
    }
}

/// Adds the entries of one more field.
fn more(list: &mut Vec<Address>, value: &[u8]) {
    if let Some(room @ 1..) = LIST.checked_sub(list.len()) {
        list.append(&mut first_addresses(value, room));
    }
}

/// A raw value with U+FFFD for NUL.
pub(crate) fn text(value: &[u8]) -> Vec<u8> {
    if memchr::memchr(0, value).is_none() {
        return value.to_vec();
    }
    let parts: Vec<&[u8]> = value.split(|&octet| octet == 0).collect();
    parts.join("\u{fffd}".as_bytes())
}

/// Reads an address list.
pub fn addresses(value: &[u8]) -> Vec<Address> {
    first_addresses(value, usize::MAX)
}

/// Reads an address list as far as its first `most` entries; the end of a group comes with them.
pub(crate) fn first_addresses(value: &[u8], most: usize) -> Vec<Address> {
    let (lexer, now) = (Lexer::new(value), Address::default());
    let mut parser = Parser { lexer, most, list: Vec::new(), now };
    if parser.lexer.cfws() == Ok(Then::More) {
        parser.address_list();
    }
    parser.list
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// Entries that are wanted.
    most: usize,
    list: Vec<Address>,
    /// The entry being read.
    now: Address,
}

impl Parser<'_> {
    fn add(&mut self) {
        self.list.push(core::mem::take(&mut self.now));
    }

    fn is_full(&self) -> bool {
        self.list.len() >= self.most
    }

    /// Adds a mailbox, naming what it lacks.
    fn add_mailbox(&mut self) {
        self.now.mailbox.get_or_insert_with(|| b"MISSING_MAILBOX".to_vec());
        if self.now.domain.as_ref().is_none_or(Vec::is_empty) {
            self.now.domain = Some(b"MISSING_DOMAIN".to_vec());
        }
        self.add();
    }

    fn address_list(&mut self) {
        loop {
            if self.address() == Ok(Then::End) || self.is_full() || !self.lexer.eat(b',') {
                return;
            }
            match self.lexer.cfws() {
                Ok(Then::More) => {}
                Ok(Then::End) => return,
                // Ends with an unclosed comment.
                Err(Broken) => return self.add_mailbox(),
            }
        }
    }

    fn address(&mut self) -> Step {
        let start = self.lexer.pos;
        self.group().or_else(|Broken| {
            self.lexer.pos = start;
            self.mailbox()
        })
    }

    /// Fails only when it is no group; a broken group is read as well as it goes.
    fn group(&mut self) -> Step {
        let mut name = Vec::new();
        if self.lexer.phrase(&mut name)? == Then::End || !self.lexer.eat(b':') {
            return Err(Broken);
        }
        let mut step = self.lexer.cfws();
        self.now.mailbox = Some(name);
        self.add();
        if step == Ok(Then::More) && self.lexer.peek() != Some(b';') {
            loop {
                let _ = self.mailbox();
                if self.is_full() || !self.lexer.eat(b',') {
                    break;
                }
                if self.lexer.cfws() != Ok(Then::More) {
                    step = Err(Broken);
                    break;
                }
            }
        }
        if step.is_ok() {
            step = if self.lexer.eat(b';') { self.lexer.cfws() } else { Err(Broken) };
        }
        self.add();
        Ok(if step == Ok(Then::End) { Then::End } else { Then::More })
    }

    fn mailbox(&mut self) -> Step {
        let start = self.lexer.pos;
        let step = self.name_addr().or_else(|Broken| {
            self.lexer.pos = start;
            let (step, valid) = self.addr_spec();
            let now = &mut self.now;
            if !valid && now.name.is_none() && now.domain.is_none() {
                now.name = now.mailbox.take();
            }
            step
        });
        self.add_mailbox();
        step
    }

    /// `[display-name] angle-addr`
    fn name_addr(&mut self) -> Step {
        let mut name = Vec::new();
        if self.lexer.phrase(&mut name)? == Then::End || self.lexer.peek() != Some(b'<') {
            return Err(Broken);
        }
        self.now.name = (!name.is_empty()).then_some(name);
        if self.angle_addr().is_err() {
            self.now.domain = Some(b"SYNTAX_ERROR".to_vec());
        }
        Ok(if self.lexer.peek().is_some() { Then::More } else { Then::End })
    }

    /// `"<" [route ":"] local-part ["@" domain] ">"`
    fn angle_addr(&mut self) -> Step {
        self.lexer.pos += 1;
        self.more()?;
        if self.lexer.peek() == Some(b'@') {
            if !(self.route() == Ok(Then::More) && self.lexer.eat(b':')) {
                self.now.route = Some(b"INVALID_ROUTE".to_vec());
                if self.lexer.peek().is_none() {
                    return Err(Broken);
                }
            }
            self.more()?;
        }
        if self.lexer.peek() != Some(b'>') {
            if self.local_part()? == Then::End {
                return Err(Broken);
            }
            if self.lexer.peek() == Some(b'@') && self.domain()? == Then::End {
                return Err(Broken);
            }
        }
        if self.lexer.eat(b'>') { self.lexer.cfws() } else { Err(Broken) }
    }

    /// Blanks, and then there must be more.
    fn more(&mut self) -> Result<(), Broken> {
        if self.lexer.cfws()? == Then::More { Ok(()) } else { Err(Broken) }
    }

    fn route(&mut self) -> Step {
        let mut route = Vec::new();
        while let Some(octet) = self.lexer.peek() {
            if octet != b'@' {
                self.now.route = Some(route);
                return Ok(Then::More);
            }
            route.extend_from_slice(if route.is_empty() { b"@" } else { b",@" });
            if self.lexer.domain(&mut route)? == Then::End {
                return Ok(Then::End);
            }
            while self.lexer.cfws() == Ok(Then::More) && self.lexer.eat(b',') {}
        }
        Ok(Then::End)
    }

    fn local_part(&mut self) -> Step {
        let mut local = Vec::new();
        let step = if self.lexer.peek() == Some(b'"') {
            self.lexer.quoted(&mut local)?
        } else {
            self.lexer.loose_dot_atom(&mut local)?
        };
        self.now.mailbox = Some(local);
        Ok(step)
    }

    fn domain(&mut self) -> Step {
        let mut domain = Vec::new();
        let step = self.lexer.domain(&mut domain)?;
        self.now.domain = Some(domain);
        Ok(step)
    }

    /// `local-part "@" domain`, perhaps with the name in a comment; and whether it is valid.
    fn addr_spec(&mut self) -> (Step, bool) {
        self.lexer.comment.clear();
        let quoted = self.lexer.peek() == Some(b'"');
        let start = self.lexer.pos;
        let mut step = self.local_part();
        let mut valid = step == Ok(Then::More);
        let mut has_domain = false;
        if step != Ok(Then::End) && self.lexer.peek() == Some(b'@') {
            has_domain = true;
            match self.domain() {
                Ok(Then::More) => {}
                other => step = other,
            }
        }
        if !self.lexer.comment.is_empty() {
            self.now.name = Some(core::mem::take(&mut self.lexer.comment));
        } else if !has_domain {
            // A single word is a mailbox; followed by more words it is a display name.
            let mut words = self.spoken(start);
            let before = words.len();
            let _ = self.lexer.phrase(&mut words);
            if words.len() == before {
                if !quoted {
                    self.now.domain = Some(Vec::new());
                }
            } else {
                self.now.mailbox = None;
                self.now.name = Some(words);
            }
            valid = false;
            step = Err(Broken);
        }
        (step, valid)
    }

    /// The text of the local part that began at `start`, also of a broken one, and a space.
    fn spoken(&self, start: usize) -> Vec<u8> {
        let mut words = self.now.mailbox.clone().unwrap_or_else(|| {
            let mut lexer = self.lexer.clone();
            lexer.pos = start;
            let mut local = Vec::new();
            let _ = if lexer.peek() == Some(b'"') {
                lexer.quoted(&mut local)
            } else {
                lexer.loose_dot_atom(&mut local)
            };
            local
        });
        words.push(b' ');
        words
    }
}
