//! What must be true of a whole run, and the ledger of promises by which it is judged.
//!
//! The actors and the log write into the [`Ledger`] what they were told; at the end
//! [`Ledger::judge`] compares that with what is there.
//!
//! | file | what is there |
//! |---|---|
//! | `judge.rs` | the ends of messages: W1 to W3, W10 |
//! | `wishes.rs` | what senders want to be told: W2; envelopes on their way: W4 |
//! | `mailbox.rs` | mailboxes: W5, and what their owners did |
//! | `folders.rs` | the tree of mailboxes, and subscriptions: W13 |

mod folders;
mod judge;
mod mailbox;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use waypost_world::Event;

use crate::book::{Book, Known};
use crate::message;
use crate::script::{Fault, Login, Mail, Script, What};

pub use folders::{Came, Change};
pub use mailbox::Place;
pub use wishes::{envelope_id, xtext};

/// The laws (and `Dialogue`: a reply that fits no command).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// What got a 250 is durable, delivered, or told to its sender.
    W1,
    /// Each recipient has one end, and the message once.
    W2,
    /// Nothing is delivered without a 250.
    W3,
    /// The octets are those that were sent.
    W4,
    /// A uid names one message for ever; flags that were answered stay.
    W5,
    /// What an IMAP client is told agrees with what it was told before.
    W6,
    /// No relay for strangers.
    W7,
    /// No credentials before TLS, and no message where there must be TLS.
    W8,
    /// A failure of the directory is temporary.
    W9,
    /// Everything ends.
    W10,
    /// Memory has its limits.
    W11,
    /// The same seed gives the same run.
    W12,
    /// The tree of mailboxes and the subscriptions are what was answered.
    W13,
    /// A reply that fits no command, or none where one is due.
    Dialogue,
}

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub law: Law,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.law, self.what)
    }
}

/// A message that somebody brings.
#[derive(Clone, Debug)]
pub struct Message {
    /// How it is handed over.
    pub mail: Mail,
    /// Its octets.
    pub data: Arc<[u8]>,
    /// What came of each time that it was handed over.
    pub tries: Vec<Try>,
    /// Somebody put it into this user's mailbox, by APPEND or as a file.
    pub put: Option<String>,
}

/// One time that a message was handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Try {
    /// Recipients that got a 250, or whose reply was lost.
    pub to: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, and when that was known.
    pub time: (Duration, Duration),
}

/// How handing over ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The end of the message was not sent, or is known not to have arrived.
    #[default]
    Unsent,
    /// It got a 250, with this queue id.
    Accepted(String),
    /// It got another answer.
    Refused(u16),
    /// The end of the message was sent, but no answer came.
    Unknown,
}

/// What a host got from us, and took.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The host.
    pub host: String,
    /// MAIL FROM.
    pub from: String,
    /// What stands behind it.
    pub words: String,
    /// RCPT TO, those that the host accepted.
    pub to: Vec<String>,
    /// What stands behind each of them.
    pub to_words: Vec<String>,
    /// The host knows DSN (RFC 3461): it tells the sender itself.
    pub knows_dsn: bool,
    /// It came by TLS.
    pub secure: bool,
    /// Octets after unstuffing.
    pub data: Vec<u8>,
    /// When the host took it.
    pub at: Duration,
    /// The server went on after the reply, so it has got it.
    pub heard: bool,
}

/// Who brings a message.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// Anybody.
    Stranger,
    /// Somebody in a network that the server trusts.
    Trusted,
    /// Somebody who has logged in.
    User(&'a str),
}

/// What became of a login.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// It was asked for inside TLS.
    pub secure: bool,
    /// It succeeded.
    pub good: bool,
    /// It is to be tried again.
    pub temporary: bool,
    /// When it was asked for, and when answered.
    pub time: (Duration, Duration),
}

/// Everything that was promised and told in a run.
#[derive(Default)]
pub struct Ledger {
    /// The directory.
    pub book: Book,
    /// Messages by token.
    messages: Vec<Message>,
    /// What the hosts took.
    taken: Vec<Taken>,
    mailboxes: mailbox::Mailboxes,
    /// The log, with the time of each event.
    events: Vec<(Duration, Event)>,
    crashes: Vec<Duration>,
    /// What the script holds, and when it begins.
    faults: BTreeMap<Fault, Vec<(Duration, Duration)>>,
    /// Nothing in the script keeps the server from doing its work at once.
    calm: bool,
    /// How many clients each user has.
    clients: BTreeMap<String, usize>,
    /// Actors that have not finished.
    active: usize,
    breaches: Vec<Breach>,
    seen: BTreeSet<String>,
}

impl Ledger {
    /// A ledger for a run of this script.
    pub fn new(book: Book, script: &Script) -> Self {
        let mut ledger = Self { book, calm: true, ..Self::default() };
        for act in &script.acts {
            match &act.what {
                What::Fault(fault, lasts) => {
                    ledger.faults.entry(*fault).or_default().push((act.at, act.at + *lasts));
                    ledger.calm = false;
                }
                What::Crash(_) | What::Restart(_) | What::Clock(_) => ledger.calm = false,
                What::Imap(login, _) => *ledger.clients.entry(login.user.clone()).or_default() += 1,
                _ => {}
            }
        }
        ledger
    }

    /// Notes that a law is broken; the same words count once.
    pub fn breach(&mut self, law: Law, what: impl Into<String>) {
        let what = what.into();
        if self.seen.insert(format!("{law:?} {what}")) {
            self.breaches.push(Breach { law, what });
        }
    }

    /// What is broken so far.
    pub fn breaches(&self) -> &[Breach] {
        &self.breaches
    }

    /// Notes an event of the log.
    pub fn event(&mut self, at: Duration, event: Event) {
        self.events.push((at, event));
    }

    /// The events of the log.
    pub fn events(&self) -> &[(Duration, Event)] {
        &self.events
    }

    /// Notes that the server died.
    pub fn crashed(&mut self, at: Duration) {
        self.crashes.push(at);
        self.changes_end();
    }

    /// An actor begins something.
    pub fn begun(&mut self) {
        self.active += 1;
    }

    /// An actor has finished what it began.
    pub fn finished(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// True when no actor goes on by itself.
    pub fn is_idle(&self) -> bool {
        self.active == 0
    }

    /// True when nothing keeps the server from doing everything at once.
    pub fn is_calm(&self) -> bool {
        self.calm
    }

    /// True when no more than one client changes this user's mailboxes.
    pub fn is_alone(&self, user: &str) -> bool {
        self.clients.get(user).is_none_or(|count| *count <= 1)
    }

    /// True when the script has this fault anywhere.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains_key(&fault)
    }

    /// True when the script lets the disk fail.
    pub fn has_failing_disk(&self) -> bool {
        use Fault::{
            DiskBroken, DiskDirSyncFails, DiskFull, DiskOpenFails, DiskReadFails, DiskSyncFails,
        };
        [DiskBroken, DiskDirSyncFails, DiskFull, DiskOpenFails, DiskReadFails, DiskSyncFails]
            .iter()
            .any(|fault| self.has(*fault))
    }

    /// A new message, by its token.
    pub fn compose(&mut self, mail: &Mail) -> (u32, Arc<[u8]>) {
        let token = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        let data = message::write(token, &mail.from, &mail.to, mail.size, mail.utf8);
        let data: Arc<[u8]> = data.into();
        let (mail, tries) = (mail.clone(), Vec::new());
        self.messages.push(Message { mail, data: Arc::clone(&data), tries, put: None });
        (token, data)
    }

    /// A new message that somebody puts into this user's mailbox.
    pub fn compose_for(&mut self, user: &str, size: u32) -> (u32, Arc<[u8]>) {
        let from = format!("{user}@sim.test");
        let (token, data) = self.compose(&Mail { from, size, ..Mail::default() });
        self.messages[token as usize].put = Some(user.to_owned());
        (token, data)
    }

    /// The messages, by token.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Notes what came of handing a message over.
    pub fn tried(&mut self, token: u32, tried: Try) {
        if let Some(message) = self.messages.get_mut(token as usize) {
            message.tries.push(tried);
        }
    }

    /// Notes that a host took a message; the number is for [`Ledger::heard`].
    pub fn took(&mut self, taken: Taken) -> usize {
        self.taken.push(taken);
        self.taken.len() - 1
    }

    /// Notes that the server went on after the host's reply.
    pub fn heard(&mut self, number: usize) {
        if let Some(taken) = self.taken.get_mut(number) {
            taken.heard = true;
        }
    }

    /// W7 and W9: what a recipient got.
    pub fn recipient(&mut self, who: Who<'_>, sender: &str, to: &str, code: u16) {
        let owned = match who {
            Who::User(user) => self.book.may_send(user, sender),
            Who::Stranger | Who::Trusted => !self.book.is_claimed(sender),
        };
        let may_relay = !matches!(who, Who::Stranger);
        let is_listed = !self.has(Fault::DirectoryEmpty);
        let known = self.book.look(to);
        let what = format!("RCPT TO:<{to}> from <{sender}> as {who:?} got {code}");
        match (&known, code / 100) {
            (Known::Foreign, 2) if !may_relay => self.breach(Law::W7, what),
            // Whose a sender is, an empty directory does not tell.
            (_, 2) if !owned && is_listed => self.breach(Law::W7, what),
            // Nor which domains are ours, so that whoever may relay may send there.
            (Known::Unknown, 2) if is_listed || !may_relay || self.is_in_mailbox_domain(to) => {
                self.breach(Law::W9, what);
            }
            (Known::Here(_) | Known::Foreign, 5) if owned && is_listed => {
                // A stranger's foreign recipient may be refused for good.
                if may_relay || known != Known::Foreign {
                    self.breach(Law::W9, what);
                }
            }
            (Known::Here(_), 4) if self.calm && owned => self.breach(Law::W9, what),
            (_, 2 | 4 | 5) => {}
            _ => self.breach(Law::Dialogue, what),
        }
    }

    /// The configuration alone says of these that they are ours.
    fn is_in_mailbox_domain(&self, to: &str) -> bool {
        let domain = to.rsplit_once('@').map_or("", |(_, domain)| domain);
        domain.eq_ignore_ascii_case(self.book.mailbox_domain())
    }

    /// W8 and W9: what a login got.
    pub fn login(&mut self, login: &Login, answer: &Answer) {
        let Answer { secure, good, temporary, time } = *answer;
        let what = format!("{login}: {answer:?}");
        // While it was under way, or all that time.
        let while_some =
            |faults: &[Fault]| faults.iter().any(|it| self.falls_into(*it, time, false));
        let while_all = |faults: &[Fault]| faults.iter().any(|it| self.falls_into(*it, time, true));
        let denied = while_some(&[Fault::DirectoryDenied, Fault::DirectoryEmpty]);
        let impossible = while_all(&[
            Fault::DirectoryGone,
            Fault::DirectoryUnbound,
            Fault::DirectoryDenied,
            Fault::DirectoryEmpty,
        ]);
        if good && !secure {
            self.breach(Law::W8, what);
        } else if good && login.wrong {
            self.breach(Law::W9, what);
        } else if good && impossible {
            self.breach(Law::W9, format!("{what}, while the directory could not know"));
        } else if secure && !good && !login.wrong && !denied && (!temporary || self.calm) {
            self.breach(Law::W9, what);
        }
    }

    /// True when something happened while this fault lasted: any part of it, or all.
    fn falls_into(&self, fault: Fault, (begun, ended): (Duration, Duration), all: bool) -> bool {
        self.faults.get(&fault).into_iter().flatten().any(|(from, to)| match all {
            true => *from <= begun && ended <= *to,
            false => *from <= ended && begun <= *to,
        })
    }
}
