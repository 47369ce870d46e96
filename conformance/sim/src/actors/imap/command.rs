//! The command of each step, and what its answer means.

use std::time::Duration;

use super::model::Model;
use super::{Audit, Client, Command, State};
use crate::laws::{Answer, Came, Change, Law, Place};
use crate::peer::{Close, Line};
use crate::script::Step;

/// How long the server waits for the end of a change: `call_timeout` of its sessions.
const CALL: Duration = Duration::from_secs(60);

impl Client {
    /// Goes on with the next step that makes sense.
    pub(super) fn next_step(&mut self, line: &mut Line) {
        loop {
            let Some(step) = self.steps.pop_front() else { return self.finish(line) };
            if self.needs_more(&step) {
                if !std::mem::replace(&mut self.learned, true) {
                    self.steps.push_front(step);
                    self.steps.push_front(Step::Fetch);
                } else {
                    self.learned = false;
                }
                continue;
            }
            if step != Step::Fetch {
                self.learned = false;
            }
            if self.act(&step, line) {
                return;
            }
        }
    }

    /// All steps are done.
    fn finish(&mut self, line: &mut Line) {
        match self.audit {
            Audit::Wanted => {
                self.audit = Audit::Reading;
                self.send(Command::List { subscribed: false }, "LIST \"\" *", line);
            }
            Audit::Reading => {
                self.audit = Audit::Done;
                self.scene.ledger().read_all(&self.login.user);
                self.send(Command::Logout, "LOGOUT", line);
            }
            Audit::None | Audit::Done => self.send(Command::Logout, "LOGOUT", line),
        }
    }

    /// True when a step is about a message of which too little is known.
    fn needs_more(&self, step: &Step) -> bool {
        let (Step::Store(n, ..)
        | Step::Delete(n)
        | Step::UidExpunge(n)
        | Step::Copy(n, _)
        | Step::Move(n, _)) = step
        else {
            return false;
        };
        let message = self.model.as_ref().and_then(|model| model.pick(*n));
        message.is_some_and(|message| message.uid.is_none() || message.content.is_none())
    }

    /// Begins a step; false when there is nothing to do.
    fn act(&mut self, step: &Step, line: &mut Line) -> bool {
        match step {
            Step::Select(name) => self.open(name, false, line),
            Step::Examine(name) => self.open(name, true, line),
            Step::Append(name, size) => self.append(step, name, *size, line),
            Step::Create(name) => {
                self.change(Change::Create(name.clone()), &format!("CREATE {name}"), line);
            }
            Step::Remove(name) => {
                self.change(Change::Delete(name.clone()), &format!("DELETE {name}"), line);
            }
            Step::Rename(from, to) => {
                let change = Change::Rename(from.clone(), to.clone());
                self.change(change, &format!("RENAME {from} {to}"), line);
            }
            Step::Subscribe(name, true) => {
                self.change(Change::Subscribe(name.clone()), &format!("SUBSCRIBE {name}"), line);
            }
            Step::Subscribe(name, false) => {
                let change = Change::Unsubscribe(name.clone());
                self.change(change, &format!("UNSUBSCRIBE {name}"), line);
            }
            Step::List => self.send(Command::List { subscribed: false }, "LIST \"\" *", line),
            Step::Lsub => self.send(Command::List { subscribed: true }, "LSUB \"\" *", line),
            Step::Status(name) => {
                let text = format!("STATUS {name} (MESSAGES UIDNEXT UIDVALIDITY)");
                self.send(Command::Status { mailbox: name.clone() }, &text, line);
            }
            Step::Noop => self.send(Command::Noop, "NOOP", line),
            Step::Idle(time) => {
                self.send(Command::Idle { time: *time, begun: false }, "IDLE", line);
            }
            Step::Wait(time) => {
                self.state = State::Pause;
                line.wake = Some(*time);
            }
            Step::Vanish => self.leave(Close::Reset, line),
            _ => return self.act_on_open(step, line),
        }
        true
    }

    fn act_on_open(&mut self, step: &Step, line: &mut Line) -> bool {
        let Some(model) = &self.model else { return false };
        match step {
            Step::Fetch => {
                let unknown = (1..).zip(&model.messages);
                let unknown = unknown.filter(|(_, message)| message.content.is_none());
                let numbers: Vec<String> = unknown.map(|(n, _)| format!("{n}")).collect();
                if numbers.is_empty() {
                    return false;
                }
                let text =
                    format!("FETCH {} (UID FLAGS RFC822.SIZE BODY.PEEK[])", numbers.join(","));
                self.send(Command::Fetch, &text, line);
            }
            Step::Flags | Step::Deaf(_) if model.messages.is_empty() => return false,
            Step::Deaf(time) => {
                self.send(Command::Fetch, "FETCH 1:* (UID FLAGS BODY.PEEK[])", line);
                (line.pause, line.wake, self.deaf) = (Some(true), Some(*time), true);
            }
            Step::Flags => self.send(Command::Flags, "FETCH 1:* (UID FLAGS)", line),
            Step::Search => self.send(Command::Search, "SEARCH ALL", line),
            Step::Expunge => self.send(Command::Expunge, "EXPUNGE", line),
            Step::Close => self.send(Command::Close, "CLOSE", line),
            Step::Unselect => self.send(Command::Close, "UNSELECT", line),
            Step::Store(n, set, flag) => return self.store(*n, *set, flag, line),
            Step::Delete(n) => return self.store(*n, true, "\\Deleted", line),
            Step::UidExpunge(n) => {
                let Some(uid) = model.pick(*n).and_then(|message| message.uid) else {
                    return false;
                };
                self.send(Command::Expunge, &format!("UID EXPUNGE {uid}"), line);
            }
            Step::Copy(n, name) | Step::Move(n, name) => return self.copy(step, *n, name, line),
            _ => return false,
        }
        true
    }

    fn change(&mut self, change: Change, text: &str, line: &mut Line) {
        let number = self.scene.ledger().changing(&self.login.user, change.clone());
        self.send(Command::Change { change, number }, text, line);
    }

    fn open(&mut self, mailbox: &str, read_only: bool, line: &mut Line) {
        let verb = if read_only { "EXAMINE" } else { "SELECT" };
        let command = Command::Open { mailbox: mailbox.to_owned(), read_only };
        if self.model.is_none() {
            let (user, mailbox) = (self.login.user.clone(), mailbox.to_owned());
            self.model = Some(Model { user, mailbox, read_only, ..Model::default() });
        }
        self.send(command, &format!("{verb} {mailbox}"), line);
    }

    fn store(&mut self, n: u32, set: bool, flag: &str, line: &mut Line) -> bool {
        let Some(model) = self.model.as_ref().filter(|model| !model.read_only) else {
            return false;
        };
        let Some(uid) = model.pick(n).and_then(|message| message.uid) else { return false };
        let number = 1 + n as usize % model.messages.len();
        let place = model.place(uid);
        let mut ledger = self.scene.ledger();
        if flag.eq_ignore_ascii_case("\\Deleted") && set {
            ledger.doom(place.clone());
        }
        let change = (place.clone(), flag.to_owned(), ledger.storing(&place, flag, set));
        drop(ledger);
        let sign = if set { '+' } else { '-' };
        let command = Command::Store { changes: vec![change], set };
        self.send(command, &format!("STORE {number} {sign}FLAGS ({flag})"), line);
        true
    }

    fn copy(&mut self, step: &Step, n: u32, mailbox: &str, line: &mut Line) -> bool {
        let Some(model) = &self.model else { return false };
        let message = model.pick(n);
        let known = message.and_then(|it| it.uid.zip(it.content.clone()));
        let Some((uid, content)) = known else { return false };
        let is_move = matches!(step, Step::Move(..));
        if is_move && model.read_only {
            return false;
        }
        let place = model.place(uid);
        let mut ledger = self.scene.ledger();
        ledger.copying(place.clone(), mailbox, &content);
        if is_move {
            ledger.moving(place, mailbox);
        }
        drop(ledger);
        let verb = if is_move { "MOVE" } else { "COPY" };
        let mailbox = mailbox.to_owned();
        let text = format!("UID {verb} {uid} {mailbox}");
        self.send(Command::Copy { step: step.clone(), mailbox, content }, &text, line);
        true
    }

    fn append(&mut self, step: &Step, mailbox: &str, size: u32, line: &mut Line) {
        let (_, content) = self.scene.ledger().compose_for(&self.login.user, size);
        let octets = content.len();
        let mailbox = mailbox.to_owned();
        let text = format!("APPEND {mailbox} {{{octets}}}");
        self.send(Command::Append { step: step.clone(), mailbox, content }, &text, line);
    }

    /// A command has its answer.
    pub(super) fn answered(&mut self, command: Command, answer: &str, line: &mut Line) {
        let good = answer.starts_with("OK");
        self.take_copied(answer);
        if !good && answer.contains("doesn't exist") {
            self.missed(&command);
        }
        if !good && self.complains(&command, answer) {
            let command: String = format!("{command:?}").chars().take(100).collect();
            self.breach(Law::Dialogue, &format!("{command} got {answer}"));
        }
        match command {
            Command::Starttls if good => {
                self.state = State::Securing;
                line.secure = true;
                return;
            }
            Command::Login => {
                let temporary = answer.contains("UNAVAILABLE");
                let time = (self.sent, self.at);
                let told = Answer { secure: self.secure, good, temporary, time };
                self.scene.ledger().login(&self.login, &told);
                if !good {
                    self.steps.clear();
                    if self.audit != Audit::None {
                        self.breach(Law::W10, &format!("no last reading: {answer}"));
                        self.audit = Audit::Done;
                    }
                    return self.send(Command::Logout, "LOGOUT", line);
                }
            }
            Command::Starttls => return self.send(Command::Logout, "LOGOUT", line),
            Command::Logout => return self.leave(Close::Eof, line),
            Command::List { subscribed } => self.got_list(good, subscribed),
            Command::Change { number, .. } => self.changed(number, answer),
            Command::Open { .. } => self.opened_mailbox(good, answer),
            Command::Fetch if self.audit != Audit::None => self.check_read(good),
            Command::Store { changes, set } if good => self.stored(&changes, set),
            Command::Copy { step, mailbox, content }
            | Command::Append { step, mailbox, content } => {
                self.put(step, mailbox, &content, good, answer);
            }
            Command::Close if good => self.model = None,
            _ => {}
        }
        self.next_step(line);
    }

    /// True when a refusal is not to be expected.
    fn complains(&self, command: &Command, answer: &str) -> bool {
        let expected = match command {
            // The ledger judges it.
            Command::Login => true,
            Command::Change { .. } => refusal(answer).is_some(),
            Command::Copy { .. } | Command::Append { .. } => answer.contains("TRYCREATE"),
            Command::Open { .. } => answer.contains("doesn't exist"),
            Command::Status { .. } => answer.contains("doesn't exist"),
            _ => false,
        };
        // What it was about is not there any more.
        let shaken = match command {
            Command::Copy { mailbox, .. } | Command::Append { mailbox, .. } => {
                self.is_shaken() || self.scene.ledger().is_shaken(&self.login.user, mailbox)
            }
            _ => self.is_shaken(),
        };
        let expected = expected || shaken && answer.contains("UNAVAILABLE");
        !expected && (answer.starts_with("BAD") || self.is_calm() || self.audit != Audit::None)
    }

    /// A mailbox is not there, says the server.
    fn missed(&self, command: &Command) {
        if let Command::Open { mailbox, .. }
        | Command::Status { mailbox }
        | Command::Copy { mailbox, .. }
        | Command::Append { mailbox, .. } = command
        {
            self.scene.ledger().missed(&self.login.user, mailbox, self.asked);
        }
    }

    fn changed(&self, number: usize, answer: &str) {
        let came = match refusal(answer) {
            _ if answer.starts_with("OK") => Came::Done,
            Some(came) => came,
            // The server waits no longer; it may happen yet.
            None if self.at.saturating_sub(self.sent) >= CALL => return,
            None => Came::Unknown,
        };
        self.scene.ledger().changed(number, came);
    }

    /// All mailboxes, or all subscriptions.
    fn got_list(&mut self, good: bool, subscribed: bool) {
        let folders = std::mem::take(&mut self.folders);
        if !good {
            return;
        }
        self.scene.ledger().listed(&self.login.user, &folders, subscribed, self.asked);
        if self.audit == Audit::Reading && !subscribed {
            self.steps.push_back(Step::Lsub);
            for folder in folders {
                self.steps.extend([Step::Examine(folder), Step::Fetch]);
            }
        }
    }

    fn opened_mailbox(&mut self, good: bool, answer: &str) {
        let Some(model) = self.model.as_mut().filter(|_| good) else {
            self.model = None;
            return;
        };
        model.is_open = true;
        let (validity, next) = (model.validity, model.next);
        let mailbox = model.mailbox.clone();
        if validity == 0 || next == 0 {
            return self.breach(Law::Dialogue, &format!("no UIDVALIDITY or UIDNEXT: {answer}"));
        }
        let place = (&*self.login.user, &*mailbox);
        self.scene.ledger().uid_next(place, validity, next, self.asked);
    }

    /// The last reading must have got everything.
    fn check_read(&mut self, good: bool) {
        let messages = self.model.iter().flat_map(|model| &model.messages);
        let unknown = messages.filter(|message| message.content.is_none()).count();
        if !good || unknown > 0 {
            self.breach(Law::W1, &format!("{unknown} messages cannot be read"));
        }
    }

    fn stored(&mut self, changes: &[(Place, String, usize)], set: bool) {
        let mut ledger = self.scene.ledger();
        let alone = ledger.is_alone(&self.login.user);
        for (place, flag, number) in changes {
            ledger.stored(place, flag, *number);
        }
        drop(ledger);
        let Some(model) = self.model.as_ref().filter(|_| alone) else { return };
        for (place, flag, _) in changes {
            let message = model.messages.iter().find(|it| it.uid == Some(place.uid));
            let flags = message.and_then(|message| message.flags.as_ref());
            if flags.is_some_and(|flags| flags.contains(flag) != set) {
                self.breach(Law::W6, &format!("after STORE {place} has {flags:?}, {flag} {set}"));
            }
        }
    }

    /// The answer to COPY, MOVE or APPEND.
    fn put(&mut self, step: Step, mailbox: String, content: &[u8], good: bool, answer: &str) {
        if !good && answer.contains("TRYCREATE") {
            // Once; the folder is there then, or cannot be made.
            if !std::mem::replace(&mut self.made, true) {
                self.steps.push_front(step);
                self.steps.push_front(Step::Create(mailbox));
            }
            return;
        }
        self.made = false;
        let is_append = matches!(step, Step::Append(..));
        match self.copied.take() {
            Some((validity, uid)) => {
                let user = self.login.user.clone();
                let place = Place { user, mailbox, validity, uid };
                self.scene.ledger().promised(place, content, self.asked);
            }
            None if good && is_append => self.breach(Law::Dialogue, "no APPENDUID"),
            None => {}
        }
    }
}

/// Why nothing was done, where the answer says that.
fn refusal(answer: &str) -> Option<Came> {
    const WORDS: [(&str, Came); 4] = [
        ("doesn't exist", Came::Missing),
        ("ALREADYEXISTS", Came::Exists),
        ("INBOX can't be deleted", Came::Refused),
        ("Renaming INBOX isn't supported", Came::Refused),
    ];
    WORDS.iter().find(|(words, _)| answer.contains(words)).map(|(_, came)| *came)
}
