//! A mail store in memory that answers the calls of the IMAP server, for replaying dialogues.
//!
//! It keeps to what the calls promise and no more; how a real store does it, it does not show.

#![allow(dead_code, unreachable_pub, reason = "each test that includes this uses a part of it")]

pub mod client;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use waypost_imap::search::{Candidate, Content, Program};
use waypost_imap::server::*;
use waypost_machine::Answer;
use waypost_mail::{Account, MailHome};
use waypost_message::mime::scan;
use waypost_message::text::Needle;
use waypost_message::{Structure, date, header, text};

/// One stored message.
#[derive(Clone)]
pub struct Mail {
    pub uid: u32,
    pub flags: Flags,
    /// No session has seen it yet.
    pub new: bool,
    pub date: i64,
    pub octets: Bytes,
    /// When it came, and when its flags changed last.
    pub added: u64,
    pub changed: u64,
}

/// One mailbox.
#[derive(Default)]
pub struct Folder {
    pub id: u64,
    pub uid_validity: u32,
    pub uid_next: u32,
    pub mails: Vec<Mail>,
    pub keywords: Vec<Box<str>>,
    /// When a keyword was added last.
    pub keywords_changed: u64,
    /// Uids that are gone, and when they went.
    pub expunged: Vec<(u64, u32)>,
    pub now: u64,
}

impl Folder {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn keywords(&self) -> Keywords {
        self.keywords.clone().into()
    }

    /// The bits of named flags; unknown keywords get a place.
    pub fn flags(&mut self, named: &NamedFlags) -> Flags {
        let mut flags = Flags { system: named.system, keywords: 0 };
        for name in &named.keywords {
            let known = self.keywords.iter().position(|k| k.eq_ignore_ascii_case(name));
            let place = known.unwrap_or_else(|| {
                self.keywords.push(name.clone());
                self.keywords_changed = self.tick();
                self.keywords.len() - 1
            });
            flags.keywords |= 1 << place;
        }
        flags
    }

    pub fn add(&mut self, octets: Bytes, flags: Flags, date: i64) -> u32 {
        let now = self.tick();
        let uid = self.uid_next;
        self.uid_next += 1;
        self.mails.push(Mail { uid, flags, new: true, date, octets, added: now, changed: now });
        uid
    }

    pub fn expunge(&mut self, gone: impl Fn(&Mail) -> bool) {
        let uids: Vec<u32> = self.mails.iter().filter(|m| gone(m)).map(|m| m.uid).collect();
        if !uids.is_empty() {
            let now = self.tick();
            self.mails.retain(|mail| !uids.contains(&mail.uid));
            self.expunged.extend(uids.into_iter().map(|uid| (now, uid)));
        }
    }

    fn changes(&mut self, since: ModSeq) -> Changes {
        let since = since.0;
        let keywords = (self.keywords_changed > since).then(|| self.keywords());
        let mut expunged: Vec<u32> =
            self.expunged.iter().filter(|(at, _)| *at > since).map(|(_, uid)| *uid).collect();
        expunged.sort_unstable();
        let (mut added, mut changed) = (Vec::new(), Vec::new());
        for mail in &mut self.mails {
            if mail.added > since {
                let recent = std::mem::take(&mut mail.new);
                added.push(Message { uid: mail.uid, flags: mail.flags, recent });
            } else if mail.changed > since {
                changed.push(Message { uid: mail.uid, flags: mail.flags, recent: false });
            }
        }
        let (now, uid_next) = (ModSeq(self.now), self.uid_next);
        Changes { now, expunged, added, changed, keywords, uid_next }
    }

    fn counts(&self) -> Counts {
        let number = |test: fn(&Mail) -> bool| self.mails.iter().filter(|m| test(m)).count() as u32;
        Counts {
            messages: number(|_| true),
            recent: number(|mail| mail.new),
            unseen: number(|mail| mail.flags.system & Flags::SEEN == 0),
            deleted: number(|mail| mail.flags.system & Flags::DELETED != 0),
            uid_next: self.uid_next,
            uid_validity: self.uid_validity,
            size: self.mails.iter().map(|mail| mail.octets.len() as u64).sum(),
        }
    }
}

struct Open {
    folder: u64,
    write: bool,
    watched: bool,
}

struct Writing {
    mailbox: Box<str>,
    flags: NamedFlags,
    date: i64,
    octets: Vec<u8>,
}

/// The whole store, of one user.
pub struct World {
    pub folders: BTreeMap<Box<str>, Folder>,
    /// How many messages each [`Call::Read`] was about.
    pub reads: Vec<usize>,
    /// How many octets of whole messages come with what is read of them, at most.
    pub bodies: u32,
    pub subscriptions: Vec<Box<str>>,
    /// Name and password.
    pub user: (Box<str>, Box<str>),
    /// The directory does not answer.
    pub directory_down: bool,
    /// Calls that fail for now: those whose `Debug` text begins so.
    pub failing: &'static [&'static str],
    /// The time of day: seconds since the epoch, UTC.
    pub now: i64,
    opened: BTreeMap<u64, Open>,
    writing: BTreeMap<u64, Writing>,
    /// Mailboxes with news for those who watch them.
    pub changed: Vec<Handle>,
    issued: u64,
}

impl World {
    /// A store with an empty INBOX.
    pub fn new(user: &str, password: &str) -> Self {
        let mut world = Self {
            folders: BTreeMap::new(),
            reads: Vec::new(),
            bodies: u32::MAX,
            subscriptions: Vec::new(),
            user: (user.into(), password.into()),
            directory_down: false,
            failing: &[],
            now: 1_795_334_160,
            opened: BTreeMap::new(),
            writing: BTreeMap::new(),
            changed: Vec::new(),
            issued: 0,
        };
        world.create("INBOX");
        world
    }

    pub fn create(&mut self, name: &str) {
        self.issued += 1;
        let uid_validity = 1_795_334_160 + self.issued as u32;
        let folder = Folder { id: self.issued, uid_validity, uid_next: 1, ..Folder::default() };
        self.folders.insert(name.into(), folder);
    }

    /// Puts a message into a mailbox.
    pub fn deliver(&mut self, name: &str, octets: Bytes, flags: &NamedFlags, date: i64) -> u32 {
        let folder = self.folders.get_mut(name).expect("the mailbox is there");
        let flags = folder.flags(flags);
        let uid = folder.add(octets, flags, date);
        let id = folder.id;
        self.news(id);
        uid
    }

    /// Handles that are in use.
    pub fn open_handles(&self) -> usize {
        self.opened.len()
    }

    /// Uploads that are neither committed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.writing.len()
    }

    /// Answers a call.
    pub fn run(&mut self, call: Call) -> Answer<Reply> {
        let text = format!("{call:?}");
        if self.failing.iter().any(|name| text.starts_with(name)) {
            return self.fail(call);
        }
        match call {
            Call::Login { credentials, ticket, .. } => ticket.answer(self.login(&credentials)),
            Call::List { ticket, .. } => ticket.answer(Listed(Ok(self.list()))),
            Call::Manage { change, ticket, .. } => ticket.answer(Managed(self.manage(change))),
            Call::Status { mailboxes, ticket, .. } => {
                let counts = mailboxes.iter().map(|name| {
                    self.folders.get(name).map(Folder::counts).ok_or(Failure::NoMailbox)
                });
                ticket.answer(Counted(counts.collect()))
            }
            Call::Open { mailbox, write, ticket, .. } => {
                ticket.answer(Opened(self.open(&mailbox, write)))
            }
            Call::Sync { handle, since, ticket } => {
                let changes = self.folder(handle).map(|folder| folder.changes(since));
                ticket.answer(Synced(changes))
            }
            Call::Watch { handle, on, ticket } => {
                if let Some(open) = self.opened.get_mut(&handle.0) {
                    open.watched = on;
                }
                ticket.answer(Watched)
            }
            Call::Release { handle, ticket } => {
                self.opened.remove(&handle.0).expect("released once, and only what was opened");
                ticket.answer(Released)
            }
            Call::Store { handle, uids, how, flags, since, ticket, .. } => {
                ticket.answer(Stored(self.store(handle, &uids, how, &flags, since)))
            }
            Call::Expunge { handle, uids, since, ticket } => {
                ticket.answer(Expunged(self.expunge(handle, uids.as_deref(), since)))
            }
            Call::Copy { handle, uids, to, remove, ticket } => {
                ticket.answer(Copied(self.copy(handle, &uids, &to, remove)))
            }
            Call::Read { handle, uids, what, ticket } => {
                self.reads.push(uids.len());
                ticket.answer(Looked(self.read(handle, &uids, what)))
            }
            Call::Body { handle, uid, from, len, ticket } => {
                ticket.answer(Piece(self.body(handle, uid, from, len)))
            }
            Call::Search { handle, view, program, ticket } => {
                ticket.answer(Found(self.search(handle, &view, &program)))
            }
            Call::Begin { mailbox, flags, date, ticket, .. } => {
                ticket.answer(Begun(self.begin(mailbox, flags, date)))
            }
            Call::Append { upload, chunks, ticket } => {
                let writing = self.writing.get_mut(&upload.0).expect("begun");
                chunks.iter().for_each(|chunk| writing.octets.extend_from_slice(chunk));
                ticket.answer(Appended(Ok(())))
            }
            Call::Commit { upload, ticket } => {
                let done = self.writing.remove(&upload.0).expect("begun, and not ended yet");
                ticket.answer(Committed(Ok(self.commit(&done))))
            }
            Call::Abort { upload, ticket } => {
                self.writing.remove(&upload.0).expect("begun, and not ended yet");
                ticket.answer(Aborted)
            }
        }
    }

    fn fail(&mut self, call: Call) -> Answer<Reply> {
        let failed = Failure::Unavailable;
        match call {
            Call::Login { ticket, .. } => ticket.answer(LoggedIn::Unavailable),
            Call::List { ticket, .. } => ticket.answer(Listed(Err(failed))),
            Call::Manage { ticket, .. } => ticket.answer(Managed(Err(failed))),
            Call::Status { ticket, mailboxes, .. } => {
                ticket.answer(Counted(mailboxes.iter().map(|_| Err(failed.clone())).collect()))
            }
            Call::Open { ticket, .. } => ticket.answer(Opened(Err(failed))),
            Call::Sync { ticket, .. } => ticket.answer(Synced(Err(failed))),
            Call::Watch { ticket, .. } => ticket.answer(Watched),
            Call::Release { handle, ticket } => {
                self.opened.remove(&handle.0);
                ticket.answer(Released)
            }
            Call::Store { ticket, .. } => ticket.answer(Stored(Err(failed))),
            Call::Expunge { ticket, .. } => ticket.answer(Expunged(Err(failed))),
            Call::Copy { ticket, .. } => ticket.answer(Copied(Err(failed))),
            Call::Read { ticket, .. } => ticket.answer(Looked(Err(failed))),
            Call::Body { ticket, .. } => ticket.answer(Piece(Err(failed))),
            Call::Search { ticket, .. } => ticket.answer(Found(Err(failed))),
            Call::Begin { ticket, .. } => ticket.answer(Begun(Err(failed))),
            Call::Append { ticket, .. } => ticket.answer(Appended(Err(failed))),
            Call::Commit { upload, ticket } => {
                self.writing.remove(&upload.0);
                ticket.answer(Committed(Err(failed)))
            }
            Call::Abort { upload, ticket } => {
                self.writing.remove(&upload.0);
                ticket.answer(Aborted)
            }
        }
    }

    fn read(&mut self, handle: Handle, uids: &[u32], what: What) -> Result<Vec<Data>, Failure> {
        assert!(uids.len() <= READ_BATCH && uids.is_sorted());
        let mut left = what.bodies.min(self.bodies) as usize;
        let mails = self.folder(handle)?.mails.iter();
        let wanted = mails.filter(|mail| uids.binary_search(&mail.uid).is_ok());
        let with_body = |mail| {
            let mut data = data(mail, what);
            if what.bodies > 0 && mail.octets.len() <= left {
                left -= mail.octets.len();
                data.body = Some(mail.octets.clone());
            }
            data
        };
        Ok(wanted.map(with_body).collect())
    }

    fn body(&mut self, handle: Handle, uid: u32, from: u64, len: u32) -> Result<Bytes, Failure> {
        let mail = self.folder(handle)?.mails.iter().find(|mail| mail.uid == uid);
        let octets = &mail.ok_or(Failure::Gone)?.octets;
        let from = (from as usize).min(octets.len());
        Ok(octets.slice(from..octets.len().min(from + len as usize)))
    }

    fn search(
        &mut self,
        handle: Handle,
        view: &[Message],
        program: &Program,
    ) -> Result<Vec<u32>, Failure> {
        let now = self.now;
        let folder = self.folder(handle)?;
        let keywords = folder.keywords();
        let mut found = Vec::new();
        for (n, message) in view.iter().enumerate() {
            let mail = folder.mails.iter().find(|mail| mail.uid == message.uid);
            let mut content = Reader { mail, structure: None };
            let candidate = Candidate { seq: n as u32 + 1, message, keywords: &keywords, now };
            if program.matches(&candidate, &mut content)? {
                found.push(message.uid);
            }
        }
        Ok(found)
    }

    fn begin(
        &mut self,
        mailbox: Box<str>,
        flags: NamedFlags,
        date: Option<i64>,
    ) -> Result<Upload, Failure> {
        if !self.folders.contains_key(&mailbox) {
            return Err(Failure::NoMailbox);
        }
        self.issued += 1;
        let date = date.unwrap_or(self.now);
        self.writing.insert(self.issued, Writing { mailbox, flags, date, octets: Vec::new() });
        Ok(Upload(self.issued))
    }

    fn commit(&mut self, done: &Writing) -> (u32, u32) {
        let octets = waypost_message::crlf::to_crlf(&done.octets);
        let uid = self.deliver(&done.mailbox, octets.into(), &done.flags, done.date);
        (self.folders[&done.mailbox].uid_validity, uid)
    }

    fn login(&self, credentials: &waypost_sasl::Credentials) -> LoggedIn {
        if self.directory_down {
            return LoggedIn::Unavailable;
        }
        let name = credentials.authcid.to_ascii_lowercase();
        if *name != *self.user.0 || *credentials.password.expose() != self.user.1 {
            return LoggedIn::Denied;
        }
        let home = MailHome { path: "/mail".into(), uid: 1000, gid: 1000 };
        LoggedIn::Accepted(Arc::new(Account { user: self.user.0.clone(), home }))
    }

    fn list(&self) -> Vec<waypost_imap::server::Folder> {
        let special = |name: &str| match name {
            "Drafts" => Some("Drafts"),
            "Junk" => Some("Junk"),
            "Sent" | "Sent Messages" => Some("Sent"),
            "Trash" => Some("Trash"),
            _ => None,
        };
        let folder = |name: &str, selectable| waypost_imap::server::Folder {
            name: name.into(),
            selectable,
            subscribed: self.subscriptions.iter().any(|s| **s == *name),
            special_use: special(name),
        };
        let there = self.folders.keys().map(|name| folder(name, true));
        let gone = self.subscriptions.iter().filter(|name| !self.folders.contains_key(*name));
        there.chain(gone.map(|name| folder(name, false))).collect()
    }

    fn manage(&mut self, change: FolderChange) -> Result<(), Failure> {
        match change {
            FolderChange::Create(name) => {
                let why = match &*name {
                    "" => Some("Name is empty"),
                    n if n.starts_with('.') => Some("Begins with hierarchy separator"),
                    n if n.starts_with('~') => Some("Begins with '~'"),
                    n if n.contains("..") => Some("Has adjacent hierarchy separators"),
                    n if n.contains('/') => Some("Name must not have '/' characters"),
                    _ => None,
                };
                if let Some(why) = why {
                    return Err(Failure::Invalid(why.into()));
                }
                if name.len() > 255 {
                    return Err(Failure::Limit);
                }
                if self.folders.contains_key(&name) {
                    return Err(Failure::Exists);
                }
                self.create(&name);
            }
            FolderChange::Delete(name) => {
                self.folders.remove(&name).ok_or(Failure::NoMailbox)?;
            }
            FolderChange::Rename(from, to) => {
                if !self.folders.contains_key(&from) {
                    return Err(Failure::NoMailbox);
                }
                if self.folders.contains_key(&to) {
                    return Err(Failure::Exists);
                }
                let below = format!("{from}.");
                let moved: Vec<Box<str>> = self.folders.keys().cloned().collect();
                for name in moved.into_iter().filter(|n| **n == *from || n.starts_with(&below)) {
                    if let Some(mut folder) = self.folders.remove(&name) {
                        // Who has it open under its old name finds nothing there.
                        self.issued += 1;
                        folder.id = self.issued;
                        let new = format!("{to}{}", &name[from.len()..]);
                        self.folders.insert(new.into(), folder);
                    }
                }
            }
            FolderChange::Subscribe(name) => {
                if !self.folders.contains_key(&name) {
                    return Err(Failure::NoMailbox);
                }
                self.subscriptions.push(name);
            }
            FolderChange::Unsubscribe(name) => self.subscriptions.retain(|n| *n != name),
        }
        Ok(())
    }

    fn open(&mut self, mailbox: &str, write: bool) -> Result<OpenMailbox, Failure> {
        let folder = self.folders.get_mut(mailbox).ok_or(Failure::NoMailbox)?;
        self.issued += 1;
        let open = Open { folder: folder.id, write, watched: false };
        self.opened.insert(self.issued, open);
        let messages = folder.mails.iter_mut().map(|mail| {
            let recent = mail.new;
            mail.new &= !write;
            Message { uid: mail.uid, flags: mail.flags, recent }
        });
        Ok(OpenMailbox {
            handle: Handle(self.issued),
            uid_validity: folder.uid_validity,
            uid_next: folder.uid_next,
            messages: messages.collect(),
            now: ModSeq(folder.now),
            keywords: folder.keywords(),
            may_add_keywords: true,
        })
    }

    fn folder(&mut self, handle: Handle) -> Result<&mut Folder, Failure> {
        let id = self.opened.get(&handle.0).expect("an open handle").folder;
        self.folders.values_mut().find(|folder| folder.id == id).ok_or(Failure::Gone)
    }

    fn news(&mut self, id: u64) {
        let watched = self.opened.iter().filter(|(_, o)| o.folder == id && o.watched);
        self.changed.extend(watched.map(|(handle, _)| Handle(*handle)));
    }

    fn store(
        &mut self,
        handle: Handle,
        uids: &[u32],
        how: StoreHow,
        named: &NamedFlags,
        since: ModSeq,
    ) -> Result<Changes, Failure> {
        assert!(uids.is_sorted() && self.opened[&handle.0].write);
        let folder = self.folder(handle)?;
        let named = folder.flags(named);
        let now = folder.tick();
        for mail in folder.mails.iter_mut().filter(|m| uids.binary_search(&m.uid).is_ok()) {
            let (system, keywords) = match how {
                StoreHow::Add => {
                    (mail.flags.system | named.system, mail.flags.keywords | named.keywords)
                }
                StoreHow::Remove => {
                    (mail.flags.system & !named.system, mail.flags.keywords & !named.keywords)
                }
                StoreHow::Replace => (named.system, named.keywords),
            };
            mail.flags = Flags { system, keywords };
            mail.changed = now;
        }
        let (id, changes) = (folder.id, folder.changes(since));
        self.news(id);
        Ok(changes)
    }

    fn expunge(
        &mut self,
        handle: Handle,
        uids: Option<&[u32]>,
        since: ModSeq,
    ) -> Result<Changes, Failure> {
        assert!(self.opened[&handle.0].write);
        let folder = self.folder(handle)?;
        folder.expunge(|mail| {
            mail.flags.system & Flags::DELETED != 0
                && uids.is_none_or(|uids| uids.binary_search(&mail.uid).is_ok())
        });
        let (id, changes) = (folder.id, folder.changes(since));
        self.news(id);
        Ok(changes)
    }

    fn copy(
        &mut self,
        handle: Handle,
        uids: &[u32],
        to: &str,
        remove: bool,
    ) -> Result<CopyUids, Failure> {
        let folder = self.folder(handle)?;
        let keywords = folder.keywords();
        let wanted = folder.mails.iter().filter(|mail| uids.binary_search(&mail.uid).is_ok());
        let wanted: Vec<Mail> = wanted.cloned().collect();
        let target = self.folders.get_mut(to).ok_or(Failure::NoMailbox)?;
        let mut pairs = Vec::new();
        for mail in wanted {
            let names =
                keywords.iter().enumerate().filter(|(n, _)| mail.flags.keywords & (1 << n) != 0);
            let named = NamedFlags {
                system: mail.flags.system,
                keywords: names.map(|(_, name)| name.clone()).collect(),
            };
            let flags = target.flags(&named);
            pairs.push((mail.uid, target.add(mail.octets, flags, mail.date)));
        }
        let (id, uid_validity) = (target.id, target.uid_validity);
        self.news(id);
        if remove {
            let folder = self.folder(handle)?;
            folder.expunge(|mail| uids.binary_search(&mail.uid).is_ok());
        }
        Ok(CopyUids { uid_validity, pairs })
    }
}

fn data(mail: &Mail, what: What) -> Data {
    let header = header::block(&mail.octets).len();
    Data {
        uid: mail.uid,
        date: if what.date { mail.date } else { 0 },
        size: if what.size { mail.octets.len() as u64 } else { 0 },
        header: if what.header { mail.octets.slice(..header) } else { Bytes::new() },
        structure: what.structure.then(|| Arc::new(scan(&mail.octets))),
        body: None,
    }
}

/// A message as a search reads it; nothing is in one that is gone.
struct Reader<'a> {
    mail: Option<&'a Mail>,
    structure: Option<Structure>,
}

impl Reader<'_> {
    fn octets(&self) -> &[u8] {
        self.mail.map_or(&[], |mail| &mail.octets)
    }

    fn structure(&mut self) -> &Structure {
        let octets = self.mail.map_or(&[][..], |mail| &mail.octets);
        self.structure.get_or_insert_with(|| scan(octets))
    }
}

impl Content for Reader<'_> {
    fn date(&mut self) -> Result<i64, Failure> {
        Ok(self.mail.map_or(0, |mail| mail.date))
    }

    fn size(&mut self) -> Result<u64, Failure> {
        Ok(self.octets().len() as u64)
    }

    fn sent(&mut self) -> Result<Option<i64>, Failure> {
        Ok(date::sent_day(header::block(self.octets())))
    }

    fn header(&mut self, name: &str, needle: &Needle) -> Result<bool, Failure> {
        Ok(text::header(header::block(self.octets()), name.as_bytes(), needle))
    }

    fn body(&mut self, needle: &Needle) -> Result<bool, Failure> {
        let structure = self.structure().clone();
        Ok(text::body(self.octets(), &structure, needle))
    }

    fn text(&mut self, needle: &Needle) -> Result<bool, Failure> {
        let structure = self.structure().clone();
        Ok(text::text(self.octets(), &structure, needle))
    }
}
