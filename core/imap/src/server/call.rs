//! What an IMAP server asks of the world, and what it tells.
//!
//! Mailbox names are UTF-8 here (`INBOX`, `Work.2026`), with [`SEPARATOR`] between levels; the wire
//! form (modified UTF-7) is the syntax module's business, the folder on disk is the store's.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use waypost_machine::Ticket;
use waypost_mail::{Account, Peer};
use waypost_message::Structure;
use waypost_sasl::Credentials;

use crate::search::Program;

/// Between the levels of a mailbox name (Maildir++).
pub const SEPARATOR: char = '.';

/// A selected mailbox, as the world names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// A message that is being appended, as the world names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Upload(pub u64);

/// A point in the history of a mailbox; grows with every change (RFC 7162 MODSEQ).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModSeq(pub u64);

/// The flags of a message: system flags and keywords, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// A sum of the constants below.
    pub system: u8,
    /// Bit n: keyword n of the mailbox's [`Keywords`].
    pub keywords: u32,
}

impl Flags {
    /// `\Answered`
    pub const ANSWERED: u8 = 1;
    /// `\Flagged`
    pub const FLAGGED: u8 = 2;
    /// `\Deleted`
    pub const DELETED: u8 = 4;
    /// `\Seen`
    pub const SEEN: u8 = 8;
    /// `\Draft`
    pub const DRAFT: u8 = 16;
}

/// The keywords of a mailbox; a message's bit n means name n. Names keep their place.
pub type Keywords = Arc<[Box<str>]>;

/// Flags as a client names them; the store gives new keywords a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedFlags {
    /// A sum of the constants of [`Flags`].
    pub system: u8,
    /// Keyword names.
    pub keywords: Vec<Box<str>>,
}

/// One message in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its unique identifier (RFC 9051 2.3.1.1).
    pub uid: u32,
    /// Its flags.
    pub flags: Flags,
    /// This session is the first to see it (`\Recent`). Meaningful in [`Opened`] and in
    /// [`Changes::added`] only.
    pub recent: bool,
}

/// One mailbox in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its name.
    pub name: Box<str>,
    /// It can be selected; a level that only has children cannot.
    pub selectable: bool,
    /// In the list of subscriptions.
    pub subscribed: bool,
    /// `\Drafts` and the like (RFC 6154), without backslash.
    pub special_use: Option<&'static str>,
}

/// What STATUS tells (RFC 9051 6.3.11, RFC 8438).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// MESSAGES
    pub messages: u32,
    /// RECENT
    pub recent: u32,
    /// UNSEEN: messages without `\Seen`
    pub unseen: u32,
    /// DELETED
    pub deleted: u32,
    /// UIDNEXT
    pub uid_next: u32,
    /// UIDVALIDITY
    pub uid_validity: u32,
    /// SIZE, octets with CRLF; 0 unless asked for
    pub size: u64,
}

/// Why the store did not do it. Each has its reply text in one place (`response.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No such mailbox: NONEXISTENT, or TRYCREATE for COPY, MOVE and APPEND.
    NoMailbox,
    /// ALREADYEXISTS.
    Exists,
    /// CANNOT, with the reason as Dovecot words it: `Name is empty`.
    Invalid(Box<str>),
    /// NOPERM: the mailbox was opened read-only, or may not be changed so.
    ReadOnly,
    /// OVERQUOTA: the disk or the quota is full.
    NoSpace,
    /// LIMIT: too many keywords, too deep a name.
    Limit,
    /// The mailbox went away or got a new UIDVALIDITY under an open session.
    Gone,
    /// UNAVAILABLE, or SERVERBUG: the disk failed; the details are in the log.
    Unavailable,
}

/// A question or a deed.
///
/// The world gives back by itself what a call made that was cancelled before its answer came: the
/// handle of an [`Call::Open`], the upload of a [`Call::Begin`].
#[derive(Debug)]
pub enum Call {
    /// Is this password right, and where is the mail?
    Login {
        /// The other end.
        peer: Peer,
        /// TLS is up.
        secured: bool,
        /// What the client gave.
        credentials: Credentials,
        /// For the answer.
        ticket: Ticket<LoggedIn>,
    },
    /// Every mailbox and every subscription.
    List {
        /// Whose.
        account: Arc<Account>,
        /// For the answer.
        ticket: Ticket<Listed>,
    },
    /// Change the tree of mailboxes.
    Manage {
        /// Whose.
        account: Arc<Account>,
        /// What.
        change: FolderChange,
        /// For the answer.
        ticket: Ticket<Managed>,
    },
    /// Count without selecting.
    Status {
        /// Whose.
        account: Arc<Account>,
        /// Which mailboxes; answered in this order. One for STATUS, many for LIST-STATUS.
        mailboxes: Vec<Box<str>>,
        /// Also add up the sizes.
        size: bool,
        /// For the answer.
        ticket: Ticket<Counted>,
    },
    /// SELECT or EXAMINE.
    Open {
        /// Whose.
        account: Arc<Account>,
        /// Which mailbox.
        mailbox: Box<str>,
        /// False for EXAMINE: nothing on disk changes.
        write: bool,
        /// For the answer.
        ticket: Ticket<Opened>,
    },
    /// What has changed since `since`? Also looks at the disk.
    Sync {
        /// Which mailbox.
        handle: Handle,
        /// What the session knows already.
        since: ModSeq,
        /// For the answer.
        ticket: Ticket<Synced>,
    },
    /// While `on`, tell this session of changes as they happen ([`Notice::Changed`]): IDLE.
    Watch {
        /// Which mailbox.
        handle: Handle,
        /// Begin or end.
        on: bool,
        /// For the answer.
        ticket: Ticket<Watched>,
    },
    /// CLOSE, UNSELECT, LOGOUT, or the end of the session.
    Release {
        /// Which mailbox.
        handle: Handle,
        /// For the answer.
        ticket: Ticket<Released>,
    },
    /// STORE.
    Store {
        /// Which mailbox.
        handle: Handle,
        /// Which messages, ascending.
        uids: Vec<u32>,
        /// Add, remove or replace.
        how: StoreHow,
        /// Which flags.
        flags: NamedFlags,
        /// What the session knows already: the changes of [`Stored`] start there.
        since: ModSeq,
        /// What is answered survives a power cut. False where FETCH marks what it shows.
        durable: bool,
        /// For the answer.
        ticket: Ticket<Stored>,
    },
    /// Remove those of the messages that are `\Deleted`.
    Expunge {
        /// Which mailbox.
        handle: Handle,
        /// Only among these (UID EXPUNGE); `None`: all.
        uids: Option<Vec<u32>>,
        /// What the session knows already: the changes of [`Expunged`] start there.
        since: ModSeq,
        /// For the answer.
        ticket: Ticket<Expunged>,
    },
    /// COPY or MOVE.
    Copy {
        /// From which mailbox.
        handle: Handle,
        /// Which messages, ascending.
        uids: Vec<u32>,
        /// To which mailbox.
        to: Box<str>,
        /// Remove them here (MOVE).
        remove: bool,
        /// For the answer.
        ticket: Ticket<Copied>,
    },
    /// Look into messages.
    Read {
        /// Which mailbox.
        handle: Handle,
        /// Which messages, ascending; a few at a time (see [`READ_BATCH`]).
        uids: Vec<u32>,
        /// What to bring.
        what: What,
        /// For the answer.
        ticket: Ticket<Looked>,
    },
    /// A piece of one message, CRLF line ends.
    Body {
        /// Which mailbox.
        handle: Handle,
        /// Which message.
        uid: u32,
        /// First octet, counted with CRLF line ends.
        from: u64,
        /// Octets wanted; fewer come only at the end of the message.
        len: u32,
        /// For the answer.
        ticket: Ticket<Piece>,
    },
    /// SEARCH: which of these messages match?
    Search {
        /// Which mailbox.
        handle: Handle,
        /// All messages of the session's view, in order: their places are the sequence numbers.
        view: Arc<[Message]>,
        /// The criteria.
        program: Arc<Program>,
        /// For the answer.
        ticket: Ticket<Found>,
    },
    /// APPEND begins.
    Begin {
        /// Whose.
        account: Arc<Account>,
        /// To which mailbox.
        mailbox: Box<str>,
        /// With which flags.
        flags: NamedFlags,
        /// INTERNALDATE: seconds since the epoch, UTC; `None`: now.
        date: Option<i64>,
        /// Octets announced.
        size: u64,
        /// For the answer.
        ticket: Ticket<Begun>,
    },
    /// A piece of the message, as it came.
    Append {
        /// Which.
        upload: Upload,
        /// The piece, as slices of what was received.
        chunks: Vec<Bytes>,
        /// For the answer.
        ticket: Ticket<Appended>,
    },
    /// The message is complete: make it durable.
    Commit {
        /// Which.
        upload: Upload,
        /// For the answer.
        ticket: Ticket<Committed>,
    },
    /// The message is given up.
    Abort {
        /// Which.
        upload: Upload,
        /// For the answer.
        ticket: Ticket<Aborted>,
    },
}

/// Messages per [`Call::Read`], at most.
pub const READ_BATCH: usize = 64;

/// A change of the tree of mailboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderChange {
    /// CREATE
    Create(Box<str>),
    /// DELETE
    Delete(Box<str>),
    /// RENAME from, to
    Rename(Box<str>, Box<str>),
    /// SUBSCRIBE
    Subscribe(Box<str>),
    /// UNSUBSCRIBE
    Unsubscribe(Box<str>),
}

/// How STORE combines flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreHow {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

/// What [`Call::Read`] shall bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct What {
    /// INTERNALDATE
    pub date: bool,
    /// RFC822.SIZE
    pub size: bool,
    /// The header block
    pub header: bool,
    /// The MIME structure
    pub structure: bool,
    /// Whole messages, as long as all that come are not more than so many octets.
    pub bodies: u32,
}

/// What [`Call::Read`] found of one message; fields that were not asked for may be empty.
#[derive(Clone, Debug)]
pub struct Data {
    /// Which message.
    pub uid: u32,
    /// INTERNALDATE: seconds since the epoch, UTC.
    pub date: i64,
    /// RFC822.SIZE: octets with CRLF line ends.
    pub size: u64,
    /// The header block with CRLF line ends, the empty line included when there is one.
    pub header: Bytes,
    /// The MIME structure.
    pub structure: Option<Arc<Structure>>,
    /// The whole message as [`Call::Body`] would bring it, `size` octets.
    pub body: Option<Bytes>,
}

/// The outcome of [`Call::Login`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedIn {
    /// Come in.
    Accepted(Arc<Account>),
    /// AUTHENTICATIONFAILED.
    Denied,
    /// UNAVAILABLE: the directory does not answer.
    Unavailable,
}

/// The outcome of [`Call::List`]. Sorted by name is not promised.
#[derive(Debug)]
pub struct Listed(pub Result<Vec<Folder>, Failure>);

/// The outcome of [`Call::Manage`].
#[derive(Debug)]
pub struct Managed(pub Result<(), Failure>);

/// The outcome of [`Call::Status`], one for each mailbox.
#[derive(Debug)]
pub struct Counted(pub Vec<Result<Counts, Failure>>);

/// The outcome of [`Call::Open`].
#[derive(Debug)]
pub struct Opened(pub Result<OpenMailbox, Failure>);

/// A mailbox as it is when it is opened.
#[derive(Debug)]
pub struct OpenMailbox {
    /// Its name in further calls.
    pub handle: Handle,
    /// UIDVALIDITY
    pub uid_validity: u32,
    /// UIDNEXT
    pub uid_next: u32,
    /// The state that `messages` show.
    pub now: ModSeq,
    /// All messages, by uid.
    pub messages: Vec<Message>,
    /// The keywords in use.
    pub keywords: Keywords,
    /// New keywords can be made.
    pub may_add_keywords: bool,
}

/// The outcome of [`Call::Sync`].
#[derive(Debug)]
pub struct Synced(pub Result<Changes, Failure>);

/// What has changed in a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The state after these changes.
    pub now: ModSeq,
    /// Uids that are gone, ascending.
    pub expunged: Vec<u32>,
    /// New messages, by uid.
    pub added: Vec<Message>,
    /// Messages with other flags than before, by uid.
    pub changed: Vec<Message>,
    /// The keywords, when there are new ones.
    pub keywords: Option<Keywords>,
    /// UIDNEXT
    pub uid_next: u32,
}

/// The outcome of [`Call::Watch`].
#[derive(Debug)]
pub struct Watched;

/// The outcome of [`Call::Release`].
#[derive(Debug)]
pub struct Released;

/// The outcome of [`Call::Store`]: the changes since `since`, those just made included.
#[derive(Debug)]
pub struct Stored(pub Result<Changes, Failure>);

/// The outcome of [`Call::Expunge`]: the changes since `since`, those just made included.
#[derive(Debug)]
pub struct Expunged(pub Result<Changes, Failure>);

/// The outcome of [`Call::Copy`].
#[derive(Debug)]
pub struct Copied(pub Result<CopyUids, Failure>);

/// COPYUID (RFC 4315 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyUids {
    /// UIDVALIDITY of the target.
    pub uid_validity: u32,
    /// Uid here, uid there; messages that had gone meanwhile are missing.
    pub pairs: Vec<(u32, u32)>,
}

/// The outcome of [`Call::Read`]; messages that have gone are missing.
#[derive(Debug)]
pub struct Looked(pub Result<Vec<Data>, Failure>);

/// The outcome of [`Call::Body`].
#[derive(Debug)]
pub struct Piece(pub Result<Bytes, Failure>);

/// The outcome of [`Call::Search`]: the uids that match, ascending.
#[derive(Debug)]
pub struct Found(pub Result<Vec<u32>, Failure>);

/// The outcome of [`Call::Begin`].
#[derive(Debug)]
pub struct Begun(pub Result<Upload, Failure>);

/// The outcome of [`Call::Append`].
#[derive(Debug)]
pub struct Appended(pub Result<(), Failure>);

/// The outcome of [`Call::Commit`]: APPENDUID (RFC 4315 3), uidvalidity and uid.
#[derive(Debug)]
pub struct Committed(pub Result<(u32, u32), Failure>);

/// The outcome of [`Call::Abort`].
#[derive(Debug)]
pub struct Aborted;

/// The sum of all answers.
#[derive(Debug)]
#[allow(missing_docs, reason = "each variant is named and described by the type it holds")]
pub enum Reply {
    LoggedIn(LoggedIn),
    Listed(Listed),
    Managed(Managed),
    Counted(Counted),
    Opened(Opened),
    Synced(Synced),
    Watched(Watched),
    Released(Released),
    Stored(Stored),
    Expunged(Expunged),
    Copied(Copied),
    Looked(Looked),
    Piece(Piece),
    Found(Found),
    Begun(Begun),
    Appended(Appended),
    Committed(Committed),
    Aborted(Aborted),
}

impl From<LoggedIn> for Reply {
    fn from(answer: LoggedIn) -> Self {
        Self::LoggedIn(answer)
    }
}

impl From<Listed> for Reply {
    fn from(answer: Listed) -> Self {
        Self::Listed(answer)
    }
}

impl From<Managed> for Reply {
    fn from(answer: Managed) -> Self {
        Self::Managed(answer)
    }
}

impl From<Counted> for Reply {
    fn from(answer: Counted) -> Self {
        Self::Counted(answer)
    }
}

impl From<Opened> for Reply {
    fn from(answer: Opened) -> Self {
        Self::Opened(answer)
    }
}

impl From<Synced> for Reply {
    fn from(answer: Synced) -> Self {
        Self::Synced(answer)
    }
}

impl From<Watched> for Reply {
    fn from(answer: Watched) -> Self {
        Self::Watched(answer)
    }
}

impl From<Released> for Reply {
    fn from(answer: Released) -> Self {
        Self::Released(answer)
    }
}

impl From<Stored> for Reply {
    fn from(answer: Stored) -> Self {
        Self::Stored(answer)
    }
}

impl From<Expunged> for Reply {
    fn from(answer: Expunged) -> Self {
        Self::Expunged(answer)
    }
}

impl From<Copied> for Reply {
    fn from(answer: Copied) -> Self {
        Self::Copied(answer)
    }
}

impl From<Looked> for Reply {
    fn from(answer: Looked) -> Self {
        Self::Looked(answer)
    }
}

impl From<Piece> for Reply {
    fn from(answer: Piece) -> Self {
        Self::Piece(answer)
    }
}

impl From<Found> for Reply {
    fn from(answer: Found) -> Self {
        Self::Found(answer)
    }
}

impl From<Begun> for Reply {
    fn from(answer: Begun) -> Self {
        Self::Begun(answer)
    }
}

impl From<Appended> for Reply {
    fn from(answer: Appended) -> Self {
        Self::Appended(answer)
    }
}

impl From<Committed> for Reply {
    fn from(answer: Committed) -> Self {
        Self::Committed(answer)
    }
}

impl From<Aborted> for Reply {
    fn from(answer: Aborted) -> Self {
        Self::Aborted(answer)
    }
}

/// News from the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A watched mailbox has changed: ask with [`Call::Sync`].
    Changed(Handle),
}

/// News for the log, in the words of Dovecot's lines (see `shells/daemon`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `imap-login: Login: user=<..>, method=..`
    LoggedIn {
        /// The account.
        user: Box<str>,
        /// The mechanism; `PLAIN` for the command LOGIN too.
        method: &'static str,
    },
    /// A login was refused.
    LoginFailed {
        /// The name as typed.
        user: Box<str>,
        /// The mechanism.
        method: &'static str,
        /// The directory did not answer; else the password was wrong.
        unavailable: bool,
    },
    /// The end of the session.
    Disconnected {
        /// The account, once logged in.
        user: Option<Box<str>>,
        /// `Logged out`, `Connection closed`, `Inactivity`.
        reason: &'static str,
        /// Octets from the client and to the client.
        octets: (u64, u64),
    },
}
