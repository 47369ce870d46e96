//! The notation of `remotes/*.txt`: cases, one after the other, each begun by its subject.
//!
//! | line | meaning |
//! |---|---|
//! | `@ subject: text` | a new case |
//! | `@ to: one two` | local parts of the recipients, all at `{domain}`; else `one` |
//! | `@ on: daemon` | where it can be played: `bare`, `daemon`; else both |
//! | `@ level: encrypt` | the TLS level, of [`crate::remote::bare`] and of the daemon; else `may` |
//! | `@ mx: 10 dead, 20 mx` | the exchangers of `{domain}`, see [`HOSTS`]; else `10 mx` |
//! | `S: text` | the host says text CRLF |
//! | `S\| bytes` | it says exactly these bytes, with escapes |
//! | `C: text` | it hears text CRLF; with the wildcards of [`crate::pattern`] |
//! | `= one text` | what comes of the recipient `one`: `sent 2.0.0 (250 2.0.0 Ok)` |
//! | `-- connection` | a connection comes |
//! | `-- connection to second` | a connection to this host |
//! | `-- hello A B` | greeting and EHLO; the host offers these keywords, `SIZE:100` with a value |
//! | `-- again A B` | the second EHLO, inside TLS |
//! | `-- envelope` | MAIL and all RCPT, accepted |
//! | `-- message` | the message up to its dot, which is compared with what was sent |
//! | `-- chunk` | as many octets as the last `{size}` says |
//! | `-- taken` | DATA with all of it and `250 2.0.0 Ok: queued as 000001` |
//! | `-- quit` | QUIT, and the end |
//! | `-- TLS kind` | the handshake, with a host of this [`Tls`] |
//! | `-- close` | the host closes |
//! | `-- reset` | it closes although there is something to read |
//! | `-- end` | the client closes |
//! | `-- over` | the client closes, after RSET and QUIT if it likes; those are answered |
//! | `-- retry` | the message is tried again |
//!
//! `{domain}` and `{sender}` are known in every line.

use crate::notation::unescape;
use crate::pattern::Pattern;
use std::path::Path;

/// One case.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// File and number, `421/2`.
    pub name: String,
    /// What it shows.
    pub subject: String,
    /// Local parts of the recipients.
    pub to: Vec<String>,
    /// Where it can be played; empty: everywhere.
    pub on: Vec<String>,
    /// The TLS level.
    pub level: String,
    /// Preference and host of each exchanger; empty: the domain does not exist.
    pub mx: Vec<(u16, String)>,
    /// Its lines.
    pub steps: Vec<Step>,
}

/// Hosts that a domain can have: name, address; nobody listens at `dead`, `nowhere` has no address, and
/// `null` takes no mail at all.
pub const HOSTS: &[(&str, Option<[u8; 4]>)] = &[
    ("mx", Some([127, 0, 0, 2])),
    ("second", Some([127, 0, 0, 3])),
    ("dead", Some([127, 0, 0, 4])),
    ("nowhere", None),
    ("null", None),
];

/// One line.
#[derive(Clone, Debug)]
pub struct Step {
    /// File and line, for messages.
    pub place: String,
    /// What happens.
    pub what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// The host says this.
    Say(Pattern),
    /// The host hears this line.
    Hear(Pattern, String),
    /// What came of a recipient.
    Fate(String, Pattern, String),
    /// A connection comes, to this host if one is named.
    Connection(Option<String>),
    /// The message, up to its dot.
    Message,
    /// Octets of a message.
    Chunk,
    /// The handshake.
    Tls(Tls),
    /// The host closes.
    Close,
    /// The host closes with octets unread.
    Reset,
    /// The client closes.
    End,
    /// The client ends it in any way.
    Over,
    /// Another attempt.
    Retry,
}

/// What a host does after it has said `220` to STARTTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// A handshake with a certificate of an authority that is trusted, for its own name.
    Good,
    /// The certificate is for another name.
    WrongName,
    /// The certificate has ended.
    Expired,
    /// The certificate is signed by itself.
    SelfSigned,
    /// It sends something else.
    Garbage,
    /// It ends the handshake with an alert.
    Refused,
    /// It closes.
    Closed,
}

const KINDS: &[(&str, Tls)] = &[
    ("good", Tls::Good),
    ("wrong name", Tls::WrongName),
    ("expired", Tls::Expired),
    ("self-signed", Tls::SelfSigned),
    ("garbage", Tls::Garbage),
    ("refused", Tls::Refused),
    ("closed", Tls::Closed),
];

/// All cases of a folder, in the order of their names.
///
/// # Errors
/// What does not keep to the notation.
pub fn read(folder: &Path) -> Result<Vec<Case>, String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{name}: {e}"))?;
        cases.extend(parse(&name, &text)?);
    }
    Ok(cases)
}

/// The cases of a text; `name` is for messages.
///
/// # Errors
/// What does not keep to the notation.
pub fn parse(name: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", n + 1);
        take(&mut cases, line, &place).map_err(|e| format!("{place}: {e}"))?;
    }
    for (n, case) in cases.iter_mut().enumerate() {
        case.name = format!("{name}/{}", n + 1);
    }
    Ok(cases)
}

fn take(cases: &mut Vec<Case>, line: &str, place: &str) -> Result<(), String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let (sign, text) = line.split_once(' ').ok_or("not a line of the notation")?;
    if let Some(subject) = line.strip_prefix("@ subject: ") {
        let (subject, level, to) = (subject.to_owned(), "may".to_owned(), vec!["one".to_owned()]);
        let mx = vec![(10, "mx".to_owned())];
        cases.push(Case { subject, level, to, mx, ..Case::default() });
        return Ok(());
    }
    let case = cases.last_mut().ok_or("no subject yet")?;
    if sign == "@" {
        let (key, value) = text.split_once(": ").ok_or("a header is `@ key: value`")?;
        let words = || value.split(' ').map(str::to_owned).collect();
        match key {
            "to" => case.to = words(),
            "on" => case.on = words(),
            "level" => case.level = value.to_owned(),
            "mx" => case.mx = exchangers(value)?,
            _ => return Err(format!("unknown header {key}")),
        }
        return Ok(());
    }
    let to = case.to.clone();
    let mut push = |what| case.steps.push(Step { place: place.to_owned(), what });
    let crlf = |text: &str| Pattern::new(format!("{text}\r\n").as_bytes());
    let mut say = |text: &str| push(What::Say(crlf(text)));
    match sign {
        "S:" => say(text),
        "S|" => push(What::Say(Pattern::new(&unescape(text)?))),
        "C:" => push(What::Hear(crlf(text), text.to_owned())),
        "=" => {
            let (who, fate) = text.split_once(' ').ok_or("`= recipient text`")?;
            push(What::Fate(who.into(), Pattern::new(fate.as_bytes()), fate.into()));
        }
        "--" => expand(text, &to, &mut push)?,
        _ => return Err(format!("unknown kind of line: {sign}")),
    }
    Ok(())
}

/// `10 mx, 20 second`, or `none`.
fn exchangers(text: &str) -> Result<Vec<(u16, String)>, String> {
    let known = |name: &str| HOSTS.iter().any(|(host, _)| *host == name);
    let one = |text: &str| {
        let (preference, host) = text.split_once(' ')?;
        Some((preference.parse().ok()?, host.to_owned())).filter(|_| known(host))
    };
    let all = text.split(", ").filter(|_| text != "none").map(one).collect::<Option<_>>();
    all.ok_or_else(|| format!("not a list of exchangers: {text}"))
}

/// What an event stands for.
fn expand(text: &str, to: &[String], push: &mut impl FnMut(What)) -> Result<(), String> {
    let crlf = |text: &str| Pattern::new(format!("{text}\r\n").as_bytes());
    let hear = |text: &str| What::Hear(crlf(text), text.to_owned());
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match (word, rest) {
        ("connection", "") => push(What::Connection(None)),
        ("connection", host) => {
            let host = host.strip_prefix("to ").ok_or("`connection to HOST`")?;
            push(What::Connection(Some(host.to_owned())));
        }
        ("hello" | "again", keywords) => {
            if word == "hello" {
                push(What::Say(crlf("220 mx.remote.test ESMTP")));
            }
            push(hear("EHLO mail.example.com"));
            let mut offer = vec!["mx.remote.test".to_owned()];
            offer.extend(keywords.split_ascii_whitespace().map(|word| word.replace(':', " ")));
            for (n, word) in offer.iter().enumerate() {
                let dash = if n + 1 == offer.len() { ' ' } else { '-' };
                push(What::Say(crlf(&format!("250{dash}{word}"))));
            }
        }
        ("envelope", "") => {
            push(hear("MAIL FROM:<{sender}>{..}"));
            push(What::Say(crlf("250 2.1.0 Ok")));
            for one in to {
                push(hear(&format!("RCPT TO:<{one}@{{domain}}>{{..}}")));
                push(What::Say(crlf("250 2.1.5 Ok")));
            }
        }
        ("message", "") => push(What::Message),
        ("chunk", "") => push(What::Chunk),
        ("taken", "") => {
            push(hear("DATA"));
            push(What::Say(crlf("354 End data with <CR><LF>.<CR><LF>")));
            push(What::Message);
            push(What::Say(crlf("250 2.0.0 Ok: queued as 000001")));
        }
        ("quit", "") => {
            push(hear("QUIT"));
            push(What::Say(crlf("221 2.0.0 Bye")));
            push(What::End);
        }
        ("TLS", kind) => {
            let known = KINDS.iter().find(|(name, _)| *name == kind);
            push(What::Tls(known.ok_or_else(|| format!("unknown kind of TLS: {kind}"))?.1));
        }
        ("close", "") => push(What::Close),
        ("reset", "") => push(What::Reset),
        ("end", "") => push(What::End),
        ("over", "") => push(What::Over),
        ("retry", "") => push(What::Retry),
        _ => return Err(format!("unknown event: {text}")),
    }
    Ok(())
}
