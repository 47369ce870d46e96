//! Untagged responses.

use super::model::{Fetched, Known, Model};
use super::response::{Part, code, parts};
use super::{Audit, Client, Command, State};
use crate::laws::Law;

impl Client {
    pub(super) fn news(&mut self, news: &str, response: &[u8]) {
        let mut words = news.splitn(3, ' ');
        let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match (first, first.parse::<usize>(), second) {
            ("OK" | "NO", ..) => self.status(news),
            ("BYE", ..) => {
                let asked = matches!(self.state, State::Command(Command::Logout));
                // Of a mailbox that is gone.
                let is_gone = ["mailbox was deleted", "please relogin"]
                    .iter()
                    .any(|words| news.contains(words))
                    && self.is_shaken();
                if !asked && !is_gone && self.is_calm() {
                    self.breach(Law::Dialogue, news);
                }
                self.state = State::Command(Command::Logout);
            }
            (_, Ok(number), "EXISTS" | "RECENT" | "EXPUNGE" | "FETCH") => {
                self.number(number, second, response);
            }
            ("LIST" | "LSUB", ..) => self.listed(response),
            ("STATUS", ..) => self.counted(response),
            ("SEARCH", ..) => self.searched(news),
            ("CAPABILITY" | "FLAGS", ..) => {
                if !self.secure && news.contains("AUTH=PLAIN") {
                    self.breach(Law::W8, "AUTH=PLAIN is offered before TLS");
                }
            }
            _ => self.breach(Law::Dialogue, &format!("not understood: {news}")),
        }
    }

    fn status(&mut self, news: &str) {
        let opening = match &self.state {
            State::Command(Command::Open { mailbox, read_only }) => Some((mailbox, *read_only)),
            _ => None,
        };
        if news.contains("[CLOSED]")
            && let Some((mailbox, read_only)) = opening
        {
            let (user, mailbox) = (self.login.user.clone(), mailbox.clone());
            self.model = Some(Model { user, mailbox, read_only, ..Model::default() });
        }
        if let Some(model) = &mut self.model {
            if let Some(validity) = code(news, "UIDVALIDITY") {
                model.validity = validity;
            }
            if let Some(next) = code(news, "UIDNEXT") {
                model.next = next;
            }
        }
        self.take_copied(news);
    }

    /// COPYUID and APPENDUID of one message: `[COPYUID 1 2 3]`, `[APPENDUID 1 3]`.
    pub(super) fn take_copied(&mut self, text: &str) {
        let inner = |word: &str| {
            let (_, rest) = text.split_once(&format!("[{word} "))?;
            let (inner, _) = rest.split_once(']')?;
            let numbers = inner.split(' ').map(str::parse).collect::<Result<Vec<u32>, _>>().ok()?;
            Some((*numbers.first()?, *numbers.last()?))
        };
        self.copied = inner("COPYUID").or_else(|| inner("APPENDUID")).or(self.copied);
    }

    fn number(&mut self, number: usize, what: &str, response: &[u8]) {
        let Some(model) = &mut self.model else {
            return self.breach(Law::W6, &format!("{what} without a mailbox"));
        };
        let told = match what {
            "EXISTS" => model.exists(number),
            "RECENT" if number > model.messages.len() => {
                Err(format!("{number} RECENT of {}", model.messages.len()))
            }
            "RECENT" => Ok(()),
            "EXPUNGE" => match model.expunge(number) {
                Ok(known) => return self.expunged(&known),
                Err(why) => Err(why),
            },
            _ => return self.fetched(number, response),
        };
        if let Err(why) = told {
            self.breach(Law::W6, &why);
        }
    }

    fn expunged(&mut self, known: &Known) {
        match &self.state {
            State::Command(command) if command.forbids_expunge() => {
                self.breach(Law::W6, &format!("EXPUNGE during {command:?}"));
            }
            State::Command(_) => {}
            state => self.breach(Law::W6, &format!("EXPUNGE without a command ({state:?})")),
        }
        let place = known.uid.zip(self.model.as_ref()).map(|(uid, model)| model.place(uid));
        if let Some(place) = place {
            self.scene.ledger().expunged(place);
        }
    }

    fn fetched(&mut self, number: usize, response: &[u8]) {
        let parts = parts(response).unwrap_or_default();
        let fetched = parts.get(3).and_then(|items| Fetched::read(items.list()));
        let (Some(fetched), Some(model)) = (fetched, &mut self.model) else {
            let text = String::from_utf8_lossy(response);
            return self.breach(Law::Dialogue, &format!("not a FETCH response: {text}"));
        };
        if let Err(why) = model.fetch(number, &fetched) {
            return self.breach(Law::W6, &why);
        }
        if let (Some(uid), Some(content)) = (fetched.uid, &fetched.content) {
            let place = model.place(uid);
            let mut ledger = self.scene.ledger();
            match self.audit {
                Audit::None => ledger.read(&place, content),
                _ => {
                    let flags: Vec<String> = fetched.flags.into_iter().flatten().collect();
                    ledger.read_last(&place, content, &flags);
                }
            }
        }
    }

    fn listed(&mut self, response: &[u8]) {
        let parts = parts(response).unwrap_or_default();
        let is_no_mailbox = |flag: &Part| flag.atom().eq_ignore_ascii_case("\\Noselect");
        if let [_, _, flags, _, name] = parts.as_slice() {
            if !flags.list().iter().any(is_no_mailbox) {
                self.folders.push(String::from_utf8_lossy(name.octets()).into_owned());
            }
        } else {
            self.breach(Law::Dialogue, "not a LIST response");
        }
    }

    fn counted(&mut self, response: &[u8]) {
        let parts = parts(response).unwrap_or_default();
        let [_, _, name, items] = parts.as_slice() else {
            return self.breach(Law::Dialogue, "not a STATUS response");
        };
        let mailbox = String::from_utf8_lossy(name.octets()).into_owned();
        let items = items.list();
        let value = |word: &str| {
            let at = items.iter().position(|item| item.atom() == word)?;
            items.get(at + 1)?.number()
        };
        if let (Some(validity), Some(next)) = (value("UIDVALIDITY"), value("UIDNEXT")) {
            let place = (&*self.login.user, &*mailbox);
            self.scene.ledger().uid_next(place, validity, next, self.asked);
        }
    }

    fn searched(&mut self, news: &str) {
        let found: Vec<usize> =
            news.split(' ').skip(1).filter_map(|word| word.parse().ok()).collect();
        let count = self.model.as_ref().map_or(0, |model| model.messages.len());
        let ascend = found.windows(2).all(|two| two[0] < two[1]);
        if !ascend || found.last().is_some_and(|last| *last > count) {
            self.breach(Law::W6, &format!("{count} are known: {news}"));
        }
        if self.scene.ledger().is_alone(&self.login.user) && found.len() < count {
            self.breach(Law::W6, &format!("SEARCH ALL leaves some of {count} out: {news}"));
        }
    }
}
