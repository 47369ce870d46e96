//! The notation of `sessions/**/*.txt`: one dialogue (or a few) with a server.
//!
//! A file starts with header lines, `@ key: value`:
//!
//! | key       | value                                                                        |
//! |-----------|------------------------------------------------------------------------------|
//! | `subject` | what the dialogue shows                                                      |
//! | `rfc`     | sections that rule it                                                        |
//! | `rows`    | rows of the feature map it covers                                            |
//! | `targets` | servers it is played against: `postfix`, `dovecot`, `waypost`                |
//! | `mail`    | the dialogue has a user of its own, `{user}`: `empty`, or `1-8` for messages of the corpus in INBOX |
//! | `setting` | needs a server with other settings than usual, named here                    |
//! | `lines`   | `lf`: lines end in LF, and `C:` and `S:` texts hold escapes                  |
//!
//! then follow its lines:
//!
//! | line       | meaning                                                                     |
//! |------------|-----------------------------------------------------------------------------|
//! | `C: text`  | the client sends text CRLF                                                  |
//! | `C> text`  | the same, in one write with the following `C` line                          |
//! | `C| bytes` | the client sends exactly these bytes (`\r \n \t \0 \xHH \\` are escapes)    |
//! | `C+ bytes` | the same, in one write with the following `C` line                          |
//! | `C* N bytes` | N times these bytes, in one write with the following `C` line             |
//! | `S: text`  | the server sends text CRLF                                                  |
//! | `S| bytes` | the server sends exactly these bytes, up to a line end                      |
//! | `S* N text` | the server sends text CRLF, N times                                       |
//! | `S? text`  | the server may send this line here, or not                                  |
//! | `-- text`  | an event, see [`Event`]                                                     |
//! | `# text`   | a remark                                                                    |
//!
//! A mark after the letter, `S[postfix]: text`, restricts any of them to the named servers: that is
//! how a file states where servers differ.  Texts hold the wildcards of [`crate::pattern`].

use crate::pattern::Pattern;
use std::path::{Path, PathBuf};

/// One file of dialogue.
#[derive(Clone, Debug)]
pub struct Script {
    /// Path below `sessions/`, without `.txt`.
    pub name: String,
    /// What it shows.
    pub subject: String,
    /// Servers it is played against.
    pub targets: Vec<String>,
    /// The mailbox it starts from, when it needs a user of its own.
    pub mail: Option<Mailbox>,
    /// Settings it needs, by name, when they are not the usual ones.
    pub setting: Option<String>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Script {
    /// Whether it stops the directory, so that no other may run beside it.
    pub fn stops_directory(&self) -> bool {
        self.steps.iter().any(|s| matches!(s.what, What::Event(Event::DirectoryStops)))
    }
}

/// What lies in INBOX before a dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mailbox {
    /// Nothing.
    Empty,
    /// Messages of the corpus, by number.
    Corpus(Vec<usize>),
}

/// One line.
#[derive(Clone, Debug)]
pub struct Step {
    /// File and line number, for messages.
    pub place: String,
    /// Servers it is restricted to; empty means all.
    pub only: Vec<String>,
    /// What it says.
    pub what: What,
}

/// The meaning of a line.
#[derive(Clone, Debug)]
pub enum What {
    /// The client sends; `more` holds it back for the next `Send`.
    Send {
        /// The bytes.
        text: Pattern,
        /// How often they are sent.
        times: usize,
        /// Goes out together with the next one.
        more: bool,
    },
    /// The server sends one line.
    Expect {
        /// The bytes, with the line end.
        text: Pattern,
        /// As the file shows it.
        shown: String,
        /// How often it comes.
        times: usize,
        /// The line may be missing.
        optional: bool,
    },
    /// Something else happens.
    Event(Event),
}

/// What `-- text` may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `connect to SERVICE [from 127.0.0.1]`: a new connection, which the next lines talk through.
    Connect {
        /// smtp, submission, submissions, imaps, auth.
        service: String,
        /// From the server's own address instead of a fresh one.
        local: bool,
    },
    /// `turn to SERVICE`: the next lines talk through the newest connection to it.
    Turn(String),
    /// `TLS established`: the handshake succeeds.
    Tls,
    /// `server closes the connection`, after everything it has sent was expected.
    ServerCloses,
    /// `client closes the connection`.
    ClientCloses,
    /// `logged in as USER`: IMAP LOGIN with tag a001.
    LoggedIn(Pattern),
    /// `another session of USER: COMMAND; COMMAND`: IMAP commands on a connection of their own, in
    /// INBOX; each must succeed.
    Another {
        /// The user.
        user: Pattern,
        /// Commands without tags.
        commands: Vec<Pattern>,
    },
    /// `a message for ADDRESS arrives: SUBJECT`: sent through SMTP on a connection of its own.
    Arrives {
        /// The recipient.
        address: Pattern,
        /// Its subject.
        subject: String,
    },
    /// `messages 1-8 are appended`: to INBOX of `{user}`, by a session of its own.
    Appended(Vec<usize>),
    /// `when INBOX holds N messages`: waits for mail of `{user}` to arrive.
    Holds(usize),
    /// `the directory stops`.
    DirectoryStops,
    /// `the directory starts`.
    DirectoryStarts,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Malformed {
    /// File and line number.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

/// Reads the file `name`.txt below `root`; `-- include FILE` takes the lines of a file in
/// `root/parts`.
///
/// # Errors
/// A file that is missing or does not keep to the notation.
pub fn read(root: &Path, name: &str) -> Result<Script, Malformed> {
    let path = root.join(format!("{name}.txt"));
    let mut script = Script {
        name: name.to_owned(),
        subject: String::new(),
        targets: Vec::new(),
        mail: None,
        setting: None,
        steps: Vec::new(),
    };
    let mut reader = Reader { root, script: &mut script, lf: false, depth: 0 };
    reader.file(&path)?;
    if script.subject.is_empty() || script.targets.is_empty() {
        let problem = "the header lacks subject or targets".to_owned();
        return Err(Malformed { place: path.display().to_string(), problem });
    }
    Ok(script)
}

/// Names of all dialogues below `root`, sorted.
pub fn list(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                if path.file_name().is_none_or(|n| n != "parts") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "txt") {
                let name = path.with_extension("");
                let name = name.strip_prefix(root).expect("invariant: found below root");
                names.push(name.display().to_string());
            }
        }
    }
    names.sort();
    names
}

struct Reader<'a> {
    root: &'a Path,
    script: &'a mut Script,
    lf: bool,
    depth: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) -> Result<(), Malformed> {
        let shown = path.strip_prefix(self.root).unwrap_or(path).display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Malformed { place: shown.clone(), problem: e.to_string() })?;
        for (n, line) in text.lines().enumerate() {
            let place = format!("{shown}:{}", n + 1);
            self.line(line, &place)
                .map_err(|problem| Malformed { place: place.clone(), problem })??;
        }
        Ok(())
    }

    /// The outer error is this line's, the inner one that of an included file.
    fn line(&mut self, line: &str, place: &str) -> Result<Result<(), Malformed>, String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(Ok(()));
        }
        if let Some(header) = line.strip_prefix("@ ") {
            return self.header(header).map(Ok);
        }
        let (only, sign, text) = split(line)?;
        let step = |what| Step { place: place.to_owned(), only: only.clone(), what };
        let end: &[u8] = if self.lf { b"\n" } else { b"\r\n" };
        let whole = |text: &str| -> Result<Vec<u8>, String> {
            let mut bytes = if self.lf { unescape(text)? } else { text.as_bytes().to_vec() };
            bytes.extend_from_slice(end);
            Ok(bytes)
        };
        let send =
            |bytes: &[u8], times, more| What::Send { text: Pattern::new(bytes), times, more };
        let what = match sign {
            "C:" => send(&whole(text)?, 1, false),
            "C>" => send(&whole(text)?, 1, true),
            "C|" => send(&unescape(text)?, 1, false),
            "C+" => send(&unescape(text)?, 1, true),
            "C*" => {
                let (times, bytes) = repeated(text)?;
                send(&unescape(bytes)?, times, true)
            }
            "S*" => {
                let (times, line) = repeated(text)?;
                let (text, shown) = (Pattern::new(&whole(line)?), line.to_owned());
                What::Expect { text, shown, times, optional: false }
            }
            "S:" | "S?" | "S|" => {
                let bytes = if sign == "S|" { unescape(text)? } else { whole(text)? };
                let optional = sign == "S?";
                let (text, shown) = (Pattern::new(&bytes), text.to_owned());
                What::Expect { text, shown, times: 1, optional }
            }
            "--" => {
                if let Some(part) = text.strip_prefix("include ") {
                    if self.depth > 3 {
                        return Err("includes nest too deeply".into());
                    }
                    self.depth += 1;
                    let from = self.script.steps.len();
                    let done = self.file(&self.root.join("parts").join(part));
                    self.depth -= 1;
                    for step in &mut self.script.steps[from..] {
                        if step.only.is_empty() {
                            step.only.clone_from(&only);
                        }
                    }
                    return Ok(done);
                }
                What::Event(event(text)?)
            }
            _ => return Err(format!("unknown kind of line: {sign}")),
        };
        self.script.steps.push(step(what));
        Ok(Ok(()))
    }

    fn header(&mut self, header: &str) -> Result<(), String> {
        let (key, value) = header.split_once(": ").ok_or("a header is `@ key: value`")?;
        match key {
            "subject" => self.script.subject = value.to_owned(),
            "rfc" | "rows" => {}
            "targets" => self.script.targets = value.split(", ").map(str::to_owned).collect(),
            "setting" => self.script.setting = Some(value.to_owned()),
            "mail" if value == "empty" => self.script.mail = Some(Mailbox::Empty),
            "mail" => self.script.mail = Some(Mailbox::Corpus(numbers(value)?)),
            "lines" if value == "lf" => self.lf = true,
            _ => return Err(format!("unknown header `{key}: {value}`")),
        }
        Ok(())
    }
}

/// `S[postfix]: text` into the marks, `S:` and the text.
fn split(line: &str) -> Result<(Vec<String>, &'static str, &str), String> {
    const SIGNS: [&str; 10] = ["C:", "C>", "C|", "C+", "C*", "S:", "S?", "S|", "S*", "--"];
    let bad = || format!("not a line of the notation: {line}");
    let (letter, rest) = match line.strip_prefix("--") {
        Some(rest) => ("--", rest),
        None => (line.get(..1).ok_or_else(bad)?, line.get(1..).ok_or_else(bad)?),
    };
    let (only, rest) = match rest.strip_prefix('[') {
        Some(marked) => {
            let (marks, rest) = marked.split_once(']').ok_or_else(bad)?;
            (marks.split(", ").map(str::to_owned).collect(), rest)
        }
        None => (Vec::new(), rest),
    };
    let (kind, text) = if letter == "--" {
        ("", rest)
    } else {
        (rest.get(..1).ok_or_else(bad)?, rest.get(1..).ok_or_else(bad)?)
    };
    let sign = format!("{letter}{kind}");
    let sign = SIGNS.iter().find(|s| **s == sign).ok_or_else(bad)?;
    let text = text.strip_prefix(' ').unwrap_or(text);
    Ok((only, sign, text))
}

/// `3 text`: how often, and what.
fn repeated(text: &str) -> Result<(usize, &str), String> {
    let bad = || format!("a number must come first: {text}");
    let (times, rest) = text.split_once(' ').ok_or_else(bad)?;
    Ok((times.parse().map_err(|_| bad())?, rest))
}

/// `1-8`, messages of the corpus.
fn numbers(text: &str) -> Result<Vec<usize>, String> {
    let bad = || format!("not a range of messages: {text}");
    let (from, to) = text.split_once('-').ok_or_else(bad)?;
    let from = from.parse().map_err(|_| bad())?;
    let to = to.parse().map_err(|_| bad())?;
    Ok((from..=to).collect())
}

fn event(text: &str) -> Result<Event, String> {
    let pattern = |text: &str| Pattern::new(text.as_bytes());
    if let Some(service) = text.strip_prefix("connect to ") {
        let (service, local) = match service.strip_suffix(" from 127.0.0.1") {
            Some(service) => (service, true),
            None => (service, false),
        };
        return Ok(Event::Connect { service: service.to_owned(), local });
    }
    if let Some(service) = text.strip_prefix("turn to ") {
        return Ok(Event::Turn(service.to_owned()));
    }
    if let Some(user) = text.strip_prefix("logged in as ") {
        return Ok(Event::LoggedIn(pattern(user)));
    }
    if let Some((user, commands)) =
        text.strip_prefix("another session of ").and_then(|t| t.split_once(": "))
    {
        let commands = commands.split("; ").map(pattern).collect();
        return Ok(Event::Another { user: pattern(user), commands });
    }
    if let Some((address, subject)) =
        text.strip_prefix("a message for ").and_then(|t| t.split_once(" arrives: "))
    {
        return Ok(Event::Arrives { address: pattern(address), subject: subject.to_owned() });
    }
    if let Some(range) =
        text.strip_prefix("messages ").and_then(|t| t.strip_suffix(" are appended"))
    {
        return Ok(Event::Appended(numbers(range)?));
    }
    if let Some(count) = text.strip_prefix("when INBOX holds ") {
        let count = count.trim_end_matches(" messages").trim_end_matches(" message");
        return count.parse().map(Event::Holds).map_err(|_| format!("not a number: {count}"));
    }
    match text {
        "TLS established" => Ok(Event::Tls),
        "server closes the connection" => Ok(Event::ServerCloses),
        "client closes the connection" => Ok(Event::ClientCloses),
        "the directory stops" => Ok(Event::DirectoryStops),
        "the directory starts" => Ok(Event::DirectoryStarts),
        _ => Err(format!("unknown event: {text}")),
    }
}

/// Bytes from their escaped form.
///
/// # Errors
/// An escape that is none.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'0') => out.push(0),
            Some(b'\\') => out.push(b'\\'),
            Some(b'x') => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err("\\x needs two hex digits".into());
                };
                out.push(u8::try_from(high * 16 + low).map_err(|e| e.to_string())?);
            }
            _ => return Err("unknown escape".into()),
        }
    }
    Ok(out)
}

/// Bytes in the escaped form, for messages.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(byte.into()),
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            0 => out.push_str("\\0"),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_both_ways() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)), Ok(all));
        assert!(unescape("\\xg0").is_err());
        assert!(unescape("\\").is_err());
    }

    #[test]
    fn marks_are_split_off() {
        let (only, sign, text) = split("S[postfix, waypost]: 250 x").expect("parses");
        assert_eq!((only.len(), sign, text), (2, "S:", "250 x"));
        let (only, sign, text) = split("C| a\\r").expect("parses");
        assert_eq!((only.len(), sign, text), (0, "C|", "a\\r"));
        let (only, sign, text) = split("--[waypost] TLS established").expect("parses");
        assert_eq!((only.len(), sign, text), (1, "--", "TLS established"));
        assert!(split("X: y").is_err());
        assert!(split("S:").is_ok_and(|(_, _, text)| text.is_empty()));
    }
}
