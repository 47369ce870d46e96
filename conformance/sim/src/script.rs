//! What happens in a run, as text that a person reads and writes.
//!
//! ```text
//! seed 1234
//! 0ms mx alice@far.test -> mail000@example.com, team@example.com size 300 pipelined
//! 1200ms directory gone 5s
//! 3s crash after 17 calls keep names down 1s
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

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
    /// Somebody asks at the auth socket.
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
}

/// A point in the dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// After the greeting.
    Greeting,
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
    /// Much latency.
    NetSlow,
    /// One byte at a time.
    NetCuts,
    /// Streams are reset.
    NetResets,
    /// Nothing moves.
    NetStalls,
}

/// Every fault and its words.
pub const FAULTS: &[(&str, Fault)] = &[
    ("directory gone", Fault::DirectoryGone),
    ("directory slow", Fault::DirectorySlow),
    ("directory denied", Fault::DirectoryDenied),
    ("directory doubled", Fault::DirectoryDoubled),
    ("directory late", Fault::DirectoryLate),
    ("directory empty", Fault::DirectoryEmpty),
    ("disk full", Fault::DiskFull),
    ("disk sync-fails", Fault::DiskSyncFails),
    ("disk dir-sync-fails", Fault::DiskDirSyncFails),
    ("disk read-fails", Fault::DiskReadFails),
    ("disk open-fails", Fault::DiskOpenFails),
    ("disk broken", Fault::DiskBroken),
    ("disk slow", Fault::DiskSlow),
    ("names fail", Fault::NamesFail),
    ("names silent", Fault::NamesSilent),
    ("net slow", Fault::NetSlow),
    ("net cuts", Fault::NetCuts),
    ("net resets", Fault::NetResets),
    ("net stalls", Fault::NetStalls),
];

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

const KEEPS: &[(&str, Keep)] = &[
    ("all", Keep::All),
    ("nothing", Keep::Nothing),
    ("names", Keep::Names),
    ("data", Keep::Data),
    ("half", Keep::Half),
];

const STAGES: &[(&str, Stage)] = &[
    ("greeting", Stage::Greeting),
    ("mail", Stage::Mail),
    ("rcpt", Stage::Rcpt),
    ("data", Stage::Data),
    ("dot", Stage::Dot),
];

const HOWS: &[(&str, How)] =
    &[("closes", How::Closes), ("resets", How::Resets), ("stalls", How::Stalls)];

const TLS: &[(&str, Tls)] =
    &[("tls", Tls::Implicit), ("starttls", Tls::Starttls), ("clear", Tls::Clear)];

const ADMIN: &[(&str, Admin)] =
    &[("retry", Admin::Retry), ("hold", Admin::Hold), ("release", Admin::Release)];

/// The word of a value in a table.
fn word<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    table.iter().find(|(_, known)| known == value).map_or("?", |(word, _)| word)
}

/// A length of time as text: whole seconds where it is that.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 if !self.0.is_zero() => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        self.acts.iter().try_for_each(|act| writeln!(f, "{act}"))
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Span(self.at), self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mx(mail) => write!(f, "mx {mail}"),
            Self::Submit(login, mail) => write!(f, "submit {login} {mail}"),
            Self::Imap(login, steps) => {
                write!(f, "imap {login}:")?;
                for (n, step) in steps.iter().enumerate() {
                    write!(f, "{} {step}", if n == 0 { "" } else { ";" })?;
                }
                Ok(())
            }
            Self::Auth(login) => write!(f, "auth {login}"),
            Self::Remote(host, mood) => write!(f, "remote {host} {mood}"),
            Self::Queue(admin) => write!(f, "queue {}", word(ADMIN, admin)),
            Self::File(user, size) => write!(f, "file {user} size {size}"),
            Self::Fault(fault, lasts) => write!(f, "{} {}", word(FAULTS, fault), Span(*lasts)),
            Self::Clock(seconds) => write!(f, "clock {seconds}"),
            Self::Crash(Crash { calls, keep, down }) => {
                let keep = word(KEEPS, keep);
                write!(f, "crash after {calls} calls keep {keep} down {}", Span(*down))
            }
            Self::Restart(down) => write!(f, "restart {}", Span(*down)),
        }
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.user, word(TLS, &self.tls))?;
        f.write_str(if self.wrong { " wrong" } else { "" })
    }
}

impl fmt::Display for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.from.is_empty() { "<>" } else { &self.from };
        write!(f, "{from} -> {} size {}", self.to.join(", "), self.size)?;
        if self.pipelined {
            f.write_str(" pipelined")?;
        }
        if self.chunks > 0 {
            write!(f, " chunks {}", self.chunks)?;
        }
        if let Some((stage, how)) = &self.leaves {
            write!(f, " {} {}", word(HOWS, how), word(STAGES, stage))?;
        }
        match self.retries {
            0 => Ok(()),
            some => write!(f, " retries {some}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select(name) => write!(f, "select {name}"),
            Self::Examine(name) => write!(f, "examine {name}"),
            Self::Fetch => f.write_str("fetch"),
            Self::Flags => f.write_str("flags"),
            Self::Store(n, add, flag) => write!(f, "store {n} {}{flag}", sign(*add)),
            Self::Delete(n) => write!(f, "delete {n}"),
            Self::Expunge => f.write_str("expunge"),
            Self::UidExpunge(n) => write!(f, "uidexpunge {n}"),
            Self::Copy(n, name) => write!(f, "copy {n} {name}"),
            Self::Move(n, name) => write!(f, "move {n} {name}"),
            Self::Append(name, size) => write!(f, "append {name} {size}"),
            Self::Create(name) => write!(f, "create {name}"),
            Self::Status(name) => write!(f, "status {name}"),
            Self::Search => f.write_str("search"),
            Self::Noop => f.write_str("noop"),
            Self::Idle(time) => write!(f, "idle {}", Span(*time)),
            Self::Wait(time) => write!(f, "wait {}", Span(*time)),
            Self::Close => f.write_str("close"),
            Self::Unselect => f.write_str("unselect"),
            Self::Vanish => f.write_str("vanish"),
        }
    }
}

fn sign(add: bool) -> char {
    if add { '+' } else { '-' }
}

impl fmt::Display for Mood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepts => f.write_str("accepts"),
            Self::Defers(stage) => write!(f, "defers {}", word(STAGES, stage)),
            Self::Refuses(stage) => write!(f, "refuses {}", word(STAGES, stage)),
            Self::Leaves(stage, how) => write!(f, "{} {}", word(HOWS, how), word(STAGES, stage)),
            Self::Greylists => f.write_str("greylists"),
            Self::LosesReply => f.write_str("loses-reply"),
        }
    }
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine(pub String);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a line of a script: {}", self.0)
    }
}

impl std::error::Error for BadLine {}

impl FromStr for Script {
    type Err = BadLine;

    /// Empty lines and those that begin with `#` mean nothing.
    fn from_str(text: &str) -> Result<Self, BadLine> {
        let mut script = Self::default();
        for line in text.lines().map(str::trim) {
            match line.strip_prefix("seed ") {
                _ if line.is_empty() || line.starts_with('#') => {}
                Some(seed) => script.seed = seed.parse().map_err(|_| BadLine(line.into()))?,
                None => script.acts.push(line.parse()?),
            }
        }
        Ok(script)
    }
}

impl FromStr for Act {
    type Err = BadLine;

    fn from_str(line: &str) -> Result<Self, BadLine> {
        let mut words = Words(line.trim());
        let act = words.span().and_then(|at| words.what().map(|what| Self { at, what }));
        act.filter(|_| words.0.is_empty()).ok_or_else(|| BadLine(line.into()))
    }
}

/// What is left of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest.trim_start();
        Some(word).filter(|word| !word.is_empty())
    }

    /// The next word, if it is this one.
    fn take(&mut self, word: &str) -> Option<()> {
        let rest = self.0.strip_prefix(word).filter(|it| it.is_empty() || it.starts_with(' '))?;
        self.0 = rest.trim_start();
        Some(())
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.next()?.parse().ok()
    }

    fn owned(&mut self) -> Option<String> {
        self.next().map(str::to_owned)
    }

    fn span(&mut self) -> Option<Duration> {
        let word = self.next()?;
        match (word.strip_suffix("ms"), word.strip_suffix('s')) {
            (Some(number), _) => number.parse().ok().map(Duration::from_millis),
            (None, Some(number)) => number.parse().ok().map(Duration::from_secs),
            (None, None) => None,
        }
    }

    fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        table.iter().find_map(|(word, value)| self.take(word).map(|()| *value))
    }

    fn what(&mut self) -> Option<What> {
        if let Some(fault) = self.one_of(FAULTS) {
            return Some(What::Fault(fault, self.span()?));
        }
        Some(match self.next()? {
            "mx" => What::Mx(self.mail()?),
            "submit" => What::Submit(self.login()?, self.mail()?),
            "imap" => {
                let (who, steps) = self.0.split_once(':')?;
                self.0 = "";
                let mut who = Words(who);
                let login = who.login().filter(|_| who.0.is_empty())?;
                let steps = steps.split(';').map(str::trim).filter(|step| !step.is_empty());
                What::Imap(login, steps.map(step).collect::<Option<_>>()?)
            }
            "auth" => What::Auth(self.login()?),
            "remote" => What::Remote(self.owned()?, self.mood()?),
            "queue" => What::Queue(self.one_of(ADMIN)?),
            "file" => {
                let user = self.owned()?;
                self.take("size")?;
                What::File(user, self.number()?)
            }
            "clock" => What::Clock(self.number()?),
            "crash" => What::Crash(self.crash()?),
            "restart" => What::Restart(self.span()?),
            _ => return None,
        })
    }

    fn login(&mut self) -> Option<Login> {
        let (user, tls) = (self.owned()?, self.one_of(TLS)?);
        Some(Login { user, tls, wrong: self.take("wrong").is_some() })
    }

    fn mail(&mut self) -> Option<Mail> {
        let from = self.owned()?;
        self.take("->")?;
        let mut mail = Mail { from: from.replace("<>", ""), ..Mail::default() };
        loop {
            let word = self.next()?;
            mail.to.push(word.trim_end_matches(',').to_owned());
            if !word.ends_with(',') {
                break;
            }
        }
        self.take("size")?;
        mail.size = self.number()?;
        mail.pipelined = self.take("pipelined").is_some();
        if self.take("chunks").is_some() {
            mail.chunks = self.number()?;
        }
        if let Some(how) = self.one_of(HOWS) {
            mail.leaves = Some((self.one_of(STAGES)?, how));
        }
        if self.take("retries").is_some() {
            mail.retries = self.number()?;
        }
        Some(mail)
    }

    fn mood(&mut self) -> Option<Mood> {
        if let Some(how) = self.one_of(HOWS) {
            return Some(Mood::Leaves(self.one_of(STAGES)?, how));
        }
        Some(match self.next()? {
            "accepts" => Mood::Accepts,
            "defers" => Mood::Defers(self.one_of(STAGES)?),
            "refuses" => Mood::Refuses(self.one_of(STAGES)?),
            "greylists" => Mood::Greylists,
            "loses-reply" => Mood::LosesReply,
            _ => return None,
        })
    }

    fn crash(&mut self) -> Option<Crash> {
        self.take("after")?;
        let calls = self.number()?;
        self.take("calls")?;
        self.take("keep")?;
        let keep = self.one_of(KEEPS)?;
        self.take("down")?;
        Some(Crash { calls, keep, down: self.span()? })
    }
}

fn step(text: &str) -> Option<Step> {
    let mut words = Words(text);
    let step = match words.next()? {
        "select" => Step::Select(words.owned()?),
        "examine" => Step::Examine(words.owned()?),
        "fetch" => Step::Fetch,
        "flags" => Step::Flags,
        "store" => {
            let n = words.number()?;
            let change = words.next()?;
            let add = change.starts_with('+');
            let flag = change.strip_prefix(sign(add)).filter(|flag| !flag.is_empty())?;
            Step::Store(n, add, flag.to_owned())
        }
        "delete" => Step::Delete(words.number()?),
        "expunge" => Step::Expunge,
        "uidexpunge" => Step::UidExpunge(words.number()?),
        "copy" => Step::Copy(words.number()?, words.owned()?),
        "move" => Step::Move(words.number()?, words.owned()?),
        "append" => Step::Append(words.owned()?, words.number()?),
        "create" => Step::Create(words.owned()?),
        "status" => Step::Status(words.owned()?),
        "search" => Step::Search,
        "noop" => Step::Noop,
        "idle" => Step::Idle(words.span()?),
        "wait" => Step::Wait(words.span()?),
        "close" => Step::Close,
        "unselect" => Step::Unselect,
        "vanish" => Step::Vanish,
        _ => return None,
    };
    Some(step).filter(|_| words.0.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "\
seed 1234
0ms mx alice@far.test -> mail000@example.com, team@example.com size 3000
1200ms mx <> -> mail000@example.com size 10 pipelined chunks 2 resets data retries 3
5s submit mail000 starttls mail000@example.com -> bob@remote.test size 1
5s submit mail000 tls wrong mail000@example.com -> bob@remote.test size 1 closes dot
6s imap mail000 tls: select INBOX; fetch; flags; store 1 +\\Seen; store 0 -$Label1; delete 2
6s imap mail000 clear: expunge; uidexpunge 1; copy 0 Trash; move 0 Trash; append INBOX 200; noop
6s imap mail000 starttls: create A; status A; search; idle 2s; wait 10ms; close; unselect; vanish
6s imap mail000 tls wrong: examine INBOX
6s auth mail000 clear wrong
7s remote mx1.remote.test accepts
7s remote mx1.remote.test defers rcpt
7s remote mx1.remote.test refuses dot
7s remote mx1.remote.test stalls greeting
7s remote mx1.remote.test greylists
7s remote mx1.remote.test loses-reply
8s queue hold
8s file mail000 size 100
8s directory gone 5s
8s disk sync-fails 1s
9s clock -3600
10s crash after 17 calls keep names down 1s
11s restart 500ms
";

    #[test]
    fn a_script_is_its_text() {
        let script: Script = ALL.parse().unwrap();
        assert_eq!(script.acts.len(), ALL.lines().count() - 1);
        assert_eq!(script.to_string(), ALL);
    }

    #[test]
    fn every_fault_has_its_words() {
        for (words, fault) in FAULTS {
            let act: Act = format!("1s {words} 2s").parse().unwrap();
            assert_eq!(act.what, What::Fault(*fault, Duration::from_secs(2)));
        }
    }

    #[test]
    fn what_is_no_line_is_said() {
        for bad in ["nothing", "1s", "1s mx a@b", "1s queue stop", "x crash after 1 calls", "1 mx"]
        {
            assert_eq!(bad.parse::<Act>(), Err(BadLine(bad.into())));
        }
        let beyond = "1s restart 1s and more";
        assert_eq!(beyond.parse::<Script>(), Err(BadLine(beyond.into())));
        assert_eq!("# nothing\n\n".parse(), Ok(Script::default()));
    }
}
