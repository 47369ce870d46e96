//! The words of a script: each line as text, and back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{
    Act, Admin, Crash, Fault, How, Keep, Login, Mail, Mood, Notify, Ret, Script, Stage, Step, Tls,
    What,
};

/// Every fault and its words.
pub const FAULTS: &[(&str, Fault)] = &[
    ("directory gone", Fault::DirectoryGone),
    ("directory slow", Fault::DirectorySlow),
    ("directory denied", Fault::DirectoryDenied),
    ("directory doubled", Fault::DirectoryDoubled),
    ("directory late", Fault::DirectoryLate),
    ("directory empty", Fault::DirectoryEmpty),
    ("directory unbound", Fault::DirectoryUnbound),
    ("directory changed", Fault::DirectoryChanged),
    ("disk full", Fault::DiskFull),
    ("disk sync-fails", Fault::DiskSyncFails),
    ("disk dir-sync-fails", Fault::DiskDirSyncFails),
    ("disk read-fails", Fault::DiskReadFails),
    ("disk open-fails", Fault::DiskOpenFails),
    ("disk broken", Fault::DiskBroken),
    ("disk slow", Fault::DiskSlow),
    ("names fail", Fault::NamesFail),
    ("names silent", Fault::NamesSilent),
    ("names slow", Fault::NamesSlow),
    ("net slow", Fault::NetSlow),
    ("net cuts", Fault::NetCuts),
    ("net resets", Fault::NetResets),
    ("net stalls", Fault::NetStalls),
];

const KEEPS: &[(&str, Keep)] = &[
    ("all", Keep::All),
    ("nothing", Keep::Nothing),
    ("names", Keep::Names),
    ("data", Keep::Data),
    ("half", Keep::Half),
];

const STAGES: &[(&str, Stage)] = &[
    ("greeting", Stage::Greeting),
    ("tls", Stage::Tls),
    ("mail", Stage::Mail),
    ("rcpt", Stage::Rcpt),
    ("data", Stage::Data),
    ("dot", Stage::Dot),
];

const HOWS: &[(&str, How)] =
    &[("closes", How::Closes), ("resets", How::Resets), ("stalls", How::Stalls)];

const TLS: &[(&str, Tls)] =
    &[("tls", Tls::Implicit), ("starttls", Tls::Starttls), ("clear", Tls::Clear)];

const RETS: &[(&str, Ret)] = &[("full", Ret::Full), ("headers", Ret::Headers)];

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
        if self.retries > 0 {
            write!(f, " retries {}", self.retries)?;
        }
        if let Some(notify) = &self.notify {
            write!(f, " notify {notify}")?;
        }
        if let Some(ret) = &self.ret {
            write!(f, " ret {}", word(RETS, ret))?;
        }
        let flags = [
            (self.envid, " envid"),
            (self.utf8, " utf8"),
            (self.starttls, " starttls"),
            (self.trusted, " trusted"),
        ];
        flags.iter().filter(|(on, _)| *on).try_for_each(|(_, word)| f.write_str(word))
    }
}

impl fmt::Display for Notify {
    /// As in RCPT, in small letters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "success"), (self.failure, "failure"), (self.delay, "delay")];
        let words: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(if words.is_empty() { "never" } else { "" })?;
        f.write_str(&words.join(","))
    }
}

impl FromStr for Notify {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        let mut notify = Self::default();
        for word in text.split(',').filter(|_| text != "never") {
            match word {
                "success" => notify.success = true,
                "failure" => notify.failure = true,
                "delay" => notify.delay = true,
                _ => return Err(BadLine(text.into())),
            }
        }
        Ok(notify)
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
            Self::Remove(name) => write!(f, "remove {name}"),
            Self::Rename(from, to) => write!(f, "rename {from} {to}"),
            Self::Subscribe(name, true) => write!(f, "subscribe {name}"),
            Self::Subscribe(name, false) => write!(f, "unsubscribe {name}"),
            Self::List => f.write_str("list"),
            Self::Lsub => f.write_str("lsub"),
            Self::Status(name) => write!(f, "status {name}"),
            Self::Search => f.write_str("search"),
            Self::Noop => f.write_str("noop"),
            Self::Idle(time) => write!(f, "idle {}", Span(*time)),
            Self::Wait(time) => write!(f, "wait {}", Span(*time)),
            Self::Deaf(time) => write!(f, "deaf {}", Span(*time)),
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
        if self.take("notify").is_some() {
            mail.notify = Some(self.next()?.parse().ok()?);
        }
        if self.take("ret").is_some() {
            mail.ret = Some(self.one_of(RETS)?);
        }
        mail.envid = self.take("envid").is_some();
        mail.utf8 = self.take("utf8").is_some();
        mail.starttls = self.take("starttls").is_some();
        mail.trusted = self.take("trusted").is_some();
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
        "remove" => Step::Remove(words.owned()?),
        "rename" => Step::Rename(words.owned()?, words.owned()?),
        "subscribe" => Step::Subscribe(words.owned()?, true),
        "unsubscribe" => Step::Subscribe(words.owned()?, false),
        "list" => Step::List,
        "lsub" => Step::Lsub,
        "status" => Step::Status(words.owned()?),
        "search" => Step::Search,
        "noop" => Step::Noop,
        "idle" => Step::Idle(words.span()?),
        "wait" => Step::Wait(words.span()?),
        "deaf" => Step::Deaf(words.span()?),
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
2s mx a@far.test -> bob@remote.test size 10 notify success,delay ret headers envid trusted
2s mx a@far.test -> bob@remote.test size 10 stalls tls notify never ret full utf8 starttls
6s imap mail000 clear: expunge; uidexpunge 1; copy 0 Trash; move 0 Trash; append INBOX 200; noop
6s imap mail000 starttls: create A; status A; search; idle 2s; wait 10ms; close; unselect; deaf 9s; vanish
6s imap mail000 tls wrong: examine INBOX
6s imap mail000 tls: remove A; rename A.b C; subscribe C; unsubscribe C; list; lsub
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
