//! The dialogues of `conformance/sessions/imap`, replayed on the bare machine.

mod fake;
#[path = "../../../conformance/src/notation.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other runners")]
mod notation;
#[path = "../../../conformance/src/pattern.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other runners")]
mod pattern;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fake::World;
use fake::client::Client;
use notation::{Event, Mailbox, What};
use pattern::{Names, Pattern};
use waypost_imap::Config;

const FLAGS: [&str; 8] = [
    "()",
    "(\\Seen)",
    "(\\Seen \\Answered)",
    "(\\Flagged)",
    "(\\Seen $Forwarded)",
    "(\\Draft)",
    "()",
    "(\\Deleted)",
];

const DATES: [&str; 8] = [
    " 2-Mar-2026 09:15:01 +0100",
    " 2-Mar-2026 10:00:05 +0000",
    " 4-Mar-2026 06:00:00 +0100",
    " 4-Mar-2026 08:00:01 +0000",
    " 5-Mar-2026 12:00:02 +0000",
    " 5-Mar-2026 12:00:03 +0000",
    " 6-Mar-2026 00:00:05 +0000",
    " 6-Mar-2026 18:30:09 +0000",
];

fn conformance() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance")
}

/// Octets of a message of the corpus, with CRLF.
fn corpus(number: usize) -> Vec<u8> {
    let path = conformance().join(format!("corpus/m{number:02}.eml"));
    waypost_message::crlf::to_crlf(&std::fs::read(path).expect("the corpus is there"))
}

struct Replay {
    world: Rc<RefCell<World>>,
    config: Arc<Config>,
    client: Client,
    names: Names,
    held: Vec<u8>,
}

impl Replay {
    fn new(config: &Arc<Config>, user: &str, password: &str) -> Self {
        let world = Rc::new(RefCell::new(World::new(user, password)));
        let client = Client::connect(&world, config);
        let mut names = BTreeMap::new();
        names.insert("user".to_owned(), user.as_bytes().to_vec());
        names.insert("password".to_owned(), password.as_bytes().to_vec());
        names.insert("address".to_owned(), format!("{user}@example.com").into_bytes());
        Self { world, config: config.clone(), client, names, held: Vec::new() }
    }

    fn append(&self, numbers: &[usize]) {
        let mut client = Client::connect(&self.world, &self.config);
        let (user, password) = self.world.borrow().user.clone();
        client.command(&format!("l LOGIN {user} {password}"));
        for &n in numbers {
            let octets = corpus(n);
            let (flags, date) = (FLAGS[n - 1], DATES[n - 1]);
            let command = format!("a APPEND INBOX {flags} \"{date}\" {{{}+}}\r\n", octets.len());
            client.send(&[command.as_bytes(), &octets, b"\r\n"].concat());
            assert!(client.text().contains("a OK [APPENDUID"), "message {n} is appended");
        }
        client.command("x LOGOUT");
    }

    fn another(&mut self, commands: &[Pattern]) {
        let mut client = Client::connect(&self.world, &self.config);
        let (user, password) = self.world.borrow().user.clone();
        client.command(&format!("l LOGIN {user} {password}"));
        client.command("s SELECT INBOX");
        for command in commands {
            let command = String::from_utf8(command.fill(&self.names).unwrap()).unwrap();
            let reply = client.command(&format!("o {command}"));
            assert!(reply.contains("o OK"), "{command}: {reply}");
        }
        client.command("x LOGOUT");
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Connect { .. } => self.client = Client::connect(&self.world, &self.config),
            Event::Tls | Event::Turn(_) => {}
            Event::ServerCloses => {
                self.client.wait(Duration::from_secs(20));
                if !self.client.said.is_empty() || self.client.closed.is_none() {
                    return Err(format!("not closed; said {:?}", self.client.text()));
                }
            }
            Event::ClientCloses => self.client.end(),
            Event::LoggedIn(user) => {
                let user = String::from_utf8(user.fill(&self.names).unwrap()).unwrap();
                let password = self.world.borrow().user.1.clone();
                let reply = self.client.command(&format!("a001 LOGIN {user} {password}"));
                if !reply.contains("a001 OK") {
                    return Err(format!("no login: {reply}"));
                }
            }
            Event::Another { commands, .. } => self.another(commands),
            Event::Arrives { .. } => {
                let octets = Bytes::from_static(b"Subject: news\r\n\r\nnews\r\n");
                let now = self.world.borrow().now;
                self.world.borrow_mut().deliver("INBOX", octets, &Default::default(), now);
            }
            Event::Appended(numbers) => self.append(numbers),
            Event::DirectoryStops => self.world.borrow_mut().directory_down = true,
            Event::DirectoryStarts => self.world.borrow_mut().directory_down = false,
            other => return Err(format!("no such event here: {other:?}")),
        }
        Ok(())
    }

    fn step(&mut self, what: &What) -> Result<(), String> {
        match what {
            What::Send { text, times, more } => {
                let text = text.fill(&self.names).map_err(|e| e.to_string())?;
                for _ in 0..*times {
                    self.held.extend_from_slice(&text);
                }
                if !more {
                    let octets = std::mem::take(&mut self.held);
                    self.client.send(&octets);
                }
            }
            What::Expect { text, shown, times, optional } => {
                for _ in 0..*times {
                    let line = self.client.line().unwrap_or_default();
                    if !text.matches(&line, &mut self.names) {
                        if *optional {
                            let rest = std::mem::take(&mut self.client.said);
                            self.client.said = [line, rest].concat();
                            continue;
                        }
                        let line = String::from_utf8_lossy(&line).into_owned();
                        return Err(format!("expected {shown:?}\n    but got  {line:?}"));
                    }
                }
            }
            What::Event(event) => self.event(event)?,
        }
        Ok(())
    }
}

fn replay(name: &str) -> Result<(), String> {
    let script =
        notation::read(&conformance().join("sessions"), name).map_err(|e| e.to_string())?;
    let config = Arc::new(Config::default());
    let text = std::fs::read_to_string(conformance().join(format!("sessions/{name}.txt")));
    // Some dialogues log in themselves, as a user whom they name.
    let text = text.map_err(|error| error.to_string())?;
    let named = text.contains("mail000 secret000") || text.contains("AG1haWwwMDAA");
    let (user, password) = if named { ("mail000", "secret000") } else { ("mail001", "secret001") };
    let mut replay = Replay::new(&config, user, password);
    if let Some(Mailbox::Corpus(numbers)) = &script.mail {
        replay.append(numbers);
    }
    for step in &script.steps {
        if !step.only.is_empty() && !step.only.iter().any(|only| only == "waypost") {
            continue;
        }
        replay.step(&step.what).map_err(|error| format!("{}: {error}", step.place))?;
    }
    Ok(())
}

#[test]
fn every_dialogue() {
    let root = conformance().join("sessions");
    let mut wrong = Vec::new();
    let mut count = 0;
    for name in notation::list(&root).into_iter().filter(|name| name.starts_with("imap/")) {
        let script = notation::read(&root, &name).expect("a script");
        if !script.targets.iter().any(|target| target == "waypost") || script.setting.is_some() {
            continue;
        }
        count += 1;
        if let Err(error) = replay(&name) {
            wrong.push(format!("{name}: {error}"));
        }
    }
    assert!(count > 20, "the dialogues are there");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}
