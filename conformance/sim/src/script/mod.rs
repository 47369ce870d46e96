//! What happens in a run, as text that a person reads and writes.
//!
//! ```text
//! seed 1234
//! 0ms mx alice@far.test -> mail000@example.com, team@example.com size 300 pipelined
//! 1200ms directory gone 5s
//! 3s crash after 17 calls keep names down 1s
//! ```

mod text;

use std::time::Duration;

pub use text::{BadLine, FAULTS};

/// A run: small decisions come from parts of the seed, everything else stands in the lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Where the network, the workers and the disk take their small decisions from.
    pub seed: u64,
    /// What happens.
    pub acts: Vec<Act>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When it begins.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Another server brings a message to port 25.
    Mx(Mail),
    /// A user hands in a message.
    Submit(Login, Mail),
    /// A user reads mail.
    Imap(Login, Vec<Step>),
    /// Somebody asks at the auth socket: with the response at once (`tls`), or when asked for it.
    Auth(Login),
    /// A host that the server dials has this mood from now on.
    Remote(String, Mood),
    /// The admin does something with all messages in the queue.
    Queue(Admin),
    /// Another program puts a message of this size into a user's INBOX.
    File(String, u32),
    /// Something does not work for a while.
    Fault(Fault, Duration),
    /// The time of day is set, by so many seconds.
    Clock(i64),
    /// The server dies after so many more calls of the file system.
    Crash(Crash),
    /// The server is stopped in order, and started again after this time.
    Restart(Duration),
}

/// A message, and how it is handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// MAIL FROM; empty for the null sender.
    pub from: String,
    /// RCPT TO.
    pub to: Vec<String>,
    /// About how many octets.
    pub size: u32,
    /// Without waiting for replies where that is allowed.
    pub pipelined: bool,
    /// In so many pieces by BDAT; by DATA when zero.
    pub chunks: u8,
    /// Leaves here.
    pub leaves: Option<(Stage, How)>,
    /// Tries so often again, as long as it has no final answer.
    pub retries: u8,
    /// NOTIFY= of each recipient (RFC 3461 4.1).
    pub notify: Option<Notify>,
    /// RET=
    pub ret: Option<Ret>,
    /// With ENVID=, and ORCPT= of each recipient.
    pub envid: bool,
    /// With SMTPUTF8, and letters beyond ASCII in the header.
    pub utf8: bool,
    /// The server that brings it begins TLS.
    pub starttls: bool,
    /// It comes from a network that the server trusts.
    pub trusted: bool,
}

/// What the sender wants to be told; `never` when nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// That it arrived.
    pub success: bool,
    /// That it did not.
    pub failure: bool,
    /// That it is late.
    pub delay: bool,
}

/// How much of a message comes back with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// All.
    Full,
    /// Its header.
    Headers,
}

/// A point in the dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// After the greeting.
    Greeting,
    /// After STARTTLS, before the handshake.
    Tls,
    /// After MAIL.
    Mail,
    /// After the recipients.
    Rcpt,
    /// Within the message.
    Data,
    /// After the end of the message, without waiting for the reply.
    Dot,
}

/// How somebody leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By closing.
    Closes,
    /// By a reset.
    Resets,
    /// By doing nothing any more, until the other side has enough of it.
    Stalls,
}

/// Who logs in, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The login name.
    pub user: String,
    /// TLS.
    pub tls: Tls,
    /// With a wrong password.
    pub wrong: bool,
}

/// How a stream is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// From its first byte.
    #[default]
    Implicit,
    /// By STARTTLS.
    Starttls,
    /// Not at all, which must not work.
    Clear,
}

/// Something that an IMAP client does. Messages are meant by their place among those that are there
/// at that moment, beginning with zero, and around again behind the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// SELECT
    Select(String),
    /// EXAMINE
    Examine(String),
    /// FETCH of all that is not known, with the messages.
    Fetch,
    /// FETCH of all flags.
    Flags,
    /// STORE: add (`true`) or remove a flag.
    Store(u32, bool, String),
    /// STORE \Deleted
    Delete(u32),
    /// EXPUNGE
    Expunge,
    /// UID EXPUNGE of one.
    UidExpunge(u32),
    /// UID COPY of one.
    Copy(u32, String),
    /// UID MOVE of one.
    Move(u32, String),
    /// APPEND of a message of this size.
    Append(String, u32),
    /// CREATE
    Create(String),
    /// DELETE
    Remove(String),
    /// RENAME
    Rename(String, String),
    /// SUBSCRIBE (`true`) or UNSUBSCRIBE
    Subscribe(String, bool),
    /// LIST of everything.
    List,
    /// LSUB of everything.
    Lsub,
    /// STATUS
    Status(String),
    /// SEARCH ALL
    Search,
    /// NOOP
    Noop,
    /// IDLE for a while.
    Idle(Duration),
    /// Nothing for a while.
    Wait(Duration),
    /// FETCH of everything, whose answer is not read for a while.
    Deaf(Duration),
    /// CLOSE
    Close,
    /// UNSELECT
    Unselect,
    /// The stream is reset.
    Vanish,
}

/// How a host treats our mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything.
    #[default]
    Accepts,
    /// Says 4xx at this point.
    Defers(Stage),
    /// Says 5xx at this point.
    Refuses(Stage),
    /// Goes away at this point.
    Leaves(Stage, How),
    /// Defers recipients that it sees for the first time.
    Greylists,
    /// Takes the message, and goes away before it says so.
    LosesReply,
}

/// What the admin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Tries all now.
    Retry,
    /// Holds all.
    Hold,
    /// Lets all go on.
    Release,
}

/// What does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No answer but "unavailable".
    DirectoryGone,
    /// Answers come late.
    DirectorySlow,
    /// Binds are refused although the password is right.
    DirectoryDenied,
    /// Each value comes twice.
    DirectoryDoubled,
    /// Answers come after they are given up.
    DirectoryLate,
    /// Entries are not there.
    DirectoryEmpty,
    /// Binds fail, be the password right or wrong.
    DirectoryUnbound,
    /// An entry says something else than before.
    DirectoryChanged,
    /// No space left.
    DiskFull,
    /// The next sync fails, once.
    DiskSyncFails,
    /// The next sync of a directory fails, once.
    DiskDirSyncFails,
    /// Reading fails.
    DiskReadFails,
    /// Nothing can be opened.
    DiskOpenFails,
    /// Every call fails.
    DiskBroken,
    /// Calls take long.
    DiskSlow,
    /// SERVFAIL
    NamesFail,
    /// No answer.
    NamesSilent,
    /// Answers come late.
    NamesSlow,
    /// Much latency.
    NetSlow,
    /// One byte at a time.
    NetCuts,
    /// Streams are reset.
    NetResets,
    /// Nothing moves.
    NetStalls,
}

/// The end of a server process, and what of its work outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// So many more calls of the file system are made.
    pub calls: u32,
    /// What is left of what was not synced.
    pub keep: Keep,
    /// Until it runs again.
    pub down: Duration,
}

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All: only the process died.
    #[default]
    All,
    /// Nothing.
    Nothing,
    /// Names of files, not what is in them.
    Names,
    /// What is in files, not their names.
    Data,
    /// Some, by the seed; appends are torn at any byte.
    Half,
}
