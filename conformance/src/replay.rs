//! Plays a [`Script`] against a server and reports the first line that does not fit.

use crate::net::{self, Client, Endpoint, Heard, Link};
use crate::notation::{Event, Mailbox, Script, Step, What, escape};
use crate::pattern::{Names, Pattern};
use crate::transcript::Transcript;
use rustls::ClientConfig;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// An account a dialogue may have for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Password.
    pub password: String,
    /// Mail address.
    pub address: String,
}

/// Opens a connection to a named service; `local` is from the server's own address.
pub type Dial = dyn Fn(&str, bool) -> io::Result<Box<dyn Link>> + Send + Sync;

/// Starts (`true`) or stops the directory.
pub type Switch = dyn Fn(bool) -> io::Result<()> + Send + Sync;

/// A server a script can be played against.
pub struct Target {
    /// `postfix`, `dovecot` or `waypost`: what marks and `targets` say.
    pub name: &'static str,
    /// The program behind it, for the names of cases.
    pub program: &'static str,
    /// The name its certificate is for.
    pub host: String,
    /// How to reach it.
    pub dial: Box<Dial>,
    /// How to trust it.
    pub tls: Arc<ClientConfig>,
    /// Accounts without mail yet; each dialogue that wants one takes one.
    pub users: Mutex<VecDeque<User>>,
    /// Stops and starts its directory, where that is possible.
    pub directory: Option<Box<Switch>>,
    /// Names known to every script.
    pub names: Names,
}

/// A [`Dial`] for services that listen on sockets.
pub fn sockets(endpoints: BTreeMap<String, Endpoint>) -> Box<Dial> {
    Box::new(move |service, local| {
        let endpoint = endpoints
            .get(service)
            .ok_or_else(|| io::Error::other(format!("no service {service}")))?;
        endpoint.dial((!local).then(net::fresh_address))
    })
}

/// Plays `script`; gives what was said, the names of its user masked.
///
/// # Errors
/// What was expected, what came instead, and the lines before.
pub fn play(script: &Script, target: &Target) -> Result<Transcript, String> {
    let mut player = Player {
        target,
        names: target.names.clone(),
        clients: Vec::new(),
        pending: Vec::new(),
        said: Vec::new(),
    };
    player.names.insert("host".into(), target.host.clone().into_bytes());
    let prepared = script.mail.as_ref().map_or(Ok(()), |mail| player.prepare(mail));
    prepared.map_err(|e| format!("{}: preparing the mailbox: {e}", script.name))?;
    for step in &script.steps {
        if step.only.is_empty() || step.only.iter().any(|n| n == target.name) {
            player.step(step).map_err(|problem| player.report(step, &problem))?;
        }
    }
    if player.pending.is_empty() {
        Ok(Transcript::new(&player.said, &player.names))
    } else {
        Err(format!("{}: the last client line is never sent", script.name))
    }
}

struct Player<'a> {
    target: &'a Target,
    names: Names,
    /// Newest last; the current one is the last.
    clients: Vec<(String, Client)>,
    pending: Vec<u8>,
    said: Vec<String>,
}

impl Player<'_> {
    fn report(&self, step: &Step, problem: &str) -> String {
        let mut text = format!("{}: {problem}\n", step.place);
        let from = self.said.len().saturating_sub(24);
        for line in &self.said[from..] {
            let short: String = line.chars().take(300).collect();
            let _ = writeln!(text, "      | {short}");
        }
        text
    }

    fn client(&mut self) -> Result<&mut Client, String> {
        self.clients.last_mut().map(|(_, c)| c).ok_or_else(|| "no connection".to_owned())
    }

    fn fill(&self, text: &Pattern) -> Result<Vec<u8>, String> {
        text.fill(&self.names).map_err(|e| e.to_string())
    }

    fn fill_text(&self, text: &Pattern) -> Result<String, String> {
        String::from_utf8(self.fill(text)?).map_err(|e| e.to_string())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.what {
            What::Send { text, times, more } => {
                let bytes = self.fill(text)?;
                self.said.push(format!("C| {}", escape(&bytes)));
                self.pending.extend_from_slice(&bytes.repeat(*times));
                if !more {
                    let bytes = std::mem::take(&mut self.pending);
                    self.client()?.send(&bytes).or_else(|e| {
                        // The server may have closed already; what it said last is still to read.
                        if net::is_end(e.kind()) { Ok(()) } else { Err(e.to_string()) }
                    })?;
                }
                Ok(())
            }
            What::Expect { text, shown, times, optional } => {
                (0..*times).try_for_each(|_| self.expect(text, shown, *optional))
            }
            What::Event(event) => {
                self.said.push(format!("-- {event:?}"));
                self.event(event)
            }
        }
    }

    fn expect(&mut self, text: &Pattern, shown: &str, optional: bool) -> Result<(), String> {
        let heard = self.client()?.line().map_err(|e| format!("wanted `{shown}`, but: {e}"))?;
        let Heard::Line(line) = heard else {
            if optional {
                return Ok(());
            }
            return Err(format!("wanted `{shown}`, but the server closed the connection"));
        };
        if text.matches(&line, &mut self.names) {
            let mark = if optional { "S?" } else { "S|" };
            self.said.push(format!("{mark} {}", escape(&line)));
            return Ok(());
        }
        if optional {
            self.client()?.unread(&line);
            return Ok(());
        }
        Err(format!("wanted\n        `{shown}`\n      got\n        `{}`", escape(&line)))
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        let io = |e: io::Error| e.to_string();
        match event {
            Event::Connect { service, local } => {
                let link = (self.target.dial)(service, *local).map_err(io)?;
                self.clients.push((service.clone(), Client::new(link)));
            }
            Event::Turn(service) => {
                let at = self.clients.iter().rposition(|(s, _)| s == service);
                let client = self.clients.remove(at.ok_or("no such connection")?);
                self.clients.push(client);
            }
            Event::Tls => {
                let (tls, host) = (self.target.tls.clone(), self.target.host.clone());
                self.client()?.secure(&tls, &host).map_err(|e| format!("TLS: {e}"))?;
            }
            Event::ServerCloses => match self.client()?.line().map_err(io)? {
                Heard::End => {}
                Heard::Line(line) => {
                    return Err(format!("wanted the end, got\n        `{}`", escape(&line)));
                }
            },
            Event::ClientCloses => self.client()?.close(),
            Event::LoggedIn(user) => {
                let user = self.fill_text(user)?;
                let password = self.password(&user)?;
                log_in(self.client()?, &user, &password)?;
            }
            Event::Another { user, commands } => {
                let user = self.fill_text(user)?;
                let mut client = self.imap(&user)?;
                command(&mut client, b"SELECT INBOX")?;
                for text in commands {
                    let text = self.fill(text)?;
                    command(&mut client, &text)?;
                }
                command(&mut client, b"LOGOUT")?;
            }
            Event::Arrives { address, subject } => {
                let address = self.fill_text(address)?;
                self.send_message(&address, subject)?;
            }
            Event::Appended(numbers) => {
                let user = self.names.get("user").ok_or("the dialogue has no user")?;
                self.append(&String::from_utf8_lossy(user), numbers)?;
            }
            Event::Holds(count) => {
                let user = self.names.get("user").ok_or("the dialogue has no user")?;
                let mut client = self.imap(&String::from_utf8_lossy(user))?;
                wait_for_messages(&mut client, *count)?;
            }
            Event::DirectoryStops => self.switch(false)?,
            Event::DirectoryStarts => self.switch(true)?,
        }
        Ok(())
    }

    fn switch(&self, on: bool) -> Result<(), String> {
        let switch = self.target.directory.as_ref().ok_or("this directory cannot be stopped")?;
        switch(on).map_err(|e| e.to_string())?;
        if !on {
            return Ok(());
        }
        // A server need not look at once whether its directory is back.
        let (started, mut last) = (Instant::now(), Ok(()));
        while started.elapsed() < net::PATIENCE {
            last = self.imap("mail000").map(drop);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    fn password(&self, user: &str) -> Result<String, String> {
        if self.names.get("user").is_some_and(|u| u == user.as_bytes()) {
            return Ok(String::from_utf8_lossy(&self.names["password"]).into_owned());
        }
        // The article's accounts: mail000 has secret000.
        user.strip_prefix("mail")
            .map(|n| format!("secret{n}"))
            .ok_or_else(|| "unknown password".into())
    }

    fn imap(&self, user: &str) -> Result<Client, String> {
        let link = (self.target.dial)("imaps", false).map_err(|e| e.to_string())?;
        let mut client = Client::new(link);
        client.secure(&self.target.tls, &self.target.host).map_err(|e| e.to_string())?;
        client.line().map_err(|e| e.to_string())?;
        log_in(&mut client, user, &self.password(user)?)?;
        Ok(client)
    }

    /// Gives the dialogue a user of its own and fills the mailbox.
    fn prepare(&mut self, mail: &Mailbox) -> Result<(), String> {
        let user = self.target.users.lock().map_err(|e| e.to_string())?.pop_front();
        let user = user.ok_or("no account is left")?;
        self.names.insert("user".into(), user.name.clone().into_bytes());
        self.names.insert("password".into(), user.password.into_bytes());
        self.names.insert("address".into(), user.address.into_bytes());
        match mail {
            Mailbox::Empty => Ok(()),
            Mailbox::Corpus(numbers) => self.append(&user.name, numbers),
        }
    }

    /// Appends messages of the corpus to INBOX.
    fn append(&self, user: &str, numbers: &[usize]) -> Result<(), String> {
        let mut client = self.imap(user)?;
        for &n in numbers {
            let (message, flags, date) = crate::corpus::message(n);
            let head = format!("APPEND INBOX ({flags}) \"{date}\" {{{}+}}\r\n", message.len());
            let text = [head.as_bytes(), &message].concat();
            command(&mut client, &text)?;
        }
        command(&mut client, b"LOGOUT")
    }

    fn send_message(&self, address: &str, subject: &str) -> Result<(), String> {
        let link = (self.target.dial)("smtp", false).map_err(|e| e.to_string())?;
        let mut client = Client::new(link);
        reply(&mut client, b"2")?;
        let text = format!(
            "From: <someone@elsewhere.test>\r\nTo: <{address}>\r\nSubject: {subject}\r\n\
             Date: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
             Message-ID: <{}@client.example.net>\r\n\r\nHello.\r\n.\r\n",
            subject.replace(' ', "-")
        );
        for (line, code) in [
            ("EHLO client.example.net\r\n", b"2"),
            ("MAIL FROM:<someone@elsewhere.test>\r\n", b"2"),
            (&format!("RCPT TO:<{address}>\r\n"), b"2"),
            ("DATA\r\n", b"3"),
            (&text, b"2"),
            ("QUIT\r\n", b"2"),
        ] {
            client.send(line.as_bytes()).map_err(|e| e.to_string())?;
            reply(&mut client, code)?;
        }
        Ok(())
    }
}

/// IMAP LOGIN with tag a001, which must succeed.
fn log_in(client: &mut Client, user: &str, password: &str) -> Result<(), String> {
    command(client, format!("LOGIN {user} {password}").as_bytes())
}

/// One IMAP command with tag a001, which must succeed; what else the server says is passed over.
///
/// # Errors
/// Another answer than OK.
pub fn command(client: &mut Client, text: &[u8]) -> Result<(), String> {
    exchange(client, text, |_| {})
}

/// The same, and what the server said, with LF line ends.
///
/// # Errors
/// Another answer than OK.
pub fn ask(client: &mut Client, text: &str) -> Result<String, String> {
    let mut said = String::new();
    exchange(client, text.as_bytes(), |line| {
        said.push_str(String::from_utf8_lossy(line).trim_end_matches("\r\n"));
        said.push('\n');
    })?;
    Ok(said)
}

fn exchange(client: &mut Client, text: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), String> {
    let io = |e: io::Error| e.to_string();
    client.send(&[b"a001 ", text, b"\r\n"].concat()).map_err(io)?;
    loop {
        let Heard::Line(line) = client.line().map_err(io)? else {
            return Err(format!("{}: the server closed the connection", escape(text)));
        };
        each(&line);
        if let Some(answer) = line.strip_prefix(b"a001 ") {
            let shown = || format!("{}: {}", escape(text), escape(&line));
            return if answer.starts_with(b"OK") { Ok(()) } else { Err(shown()) };
        }
    }
}

/// Waits, with IDLE, until INBOX holds `count` messages.
///
/// # Errors
/// Another failure than time: the server stays silent for [`net::PATIENCE`], or refuses.
pub fn wait_for_messages(client: &mut Client, count: usize) -> Result<(), String> {
    let io = |e: io::Error| e.to_string();
    client.send(b"a001 EXAMINE INBOX\r\na002 IDLE\r\n").map_err(io)?;
    loop {
        let Heard::Line(line) = client.line().map_err(io)? else {
            return Err("the server closed the connection".into());
        };
        let text = String::from_utf8_lossy(&line);
        let number = text.strip_prefix("* ").and_then(|t| t.strip_suffix(" EXISTS\r\n"));
        if number.and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| n >= count) {
            client.close();
            return Ok(());
        }
        if text.starts_with("a001 ") && !text.starts_with("a001 OK") || text.starts_with("a002 ") {
            return Err(text.into_owned());
        }
    }
}

/// One SMTP reply, whose code must start with `code`; returns its last line.
///
/// # Errors
/// Another reply, or none.
pub fn reply(client: &mut Client, code: &[u8]) -> Result<Vec<u8>, String> {
    loop {
        let Heard::Line(line) = client.line().map_err(|e| e.to_string())? else {
            return Err("the server closed the connection".into());
        };
        if !line.starts_with(code) {
            return Err(escape(&line));
        }
        if line.get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}
