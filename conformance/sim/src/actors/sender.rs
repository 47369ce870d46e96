//! Somebody who brings a message: another server, or a user.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use waypost_daemon::Service;
use waypost_machine::Now;

use super::{Lines, Scene, elapsed};
use crate::book::Book;
use crate::laws::{Answer, Law, Outcome, Try, Who, envelope_id, xtext};
use crate::peer::{Close, Ended, Line, Peer};
use crate::script::{How, Login, Mail, Ret, Stage, Tls};

/// How long it waits for a reply (RFC 5321 4.5.3.2.6).
const PATIENCE: Duration = Duration::from_secs(600);
/// How long until it tries again, times the number of tries.
const AGAIN: Duration = Duration::from_secs(300);

/// What a message is, and where it comes from; the same for all tries.
#[derive(Clone)]
struct Errand {
    scene: Scene,
    from: SocketAddr,
    login: Option<Login>,
    mail: Mail,
    token: u32,
    data: Arc<[u8]>,
    /// Tries so far.
    tries: u32,
}

pub(super) fn begin(scene: &Scene, from: SocketAddr, login: Option<&Login>, mail: &Mail) {
    let mut ledger = scene.ledger();
    let (token, data) = ledger.compose(mail);
    ledger.begun();
    drop(ledger);
    let (login, mail) = (login.cloned(), mail.clone());
    connect(Errand { scene: scene.clone(), from, login, mail, token, data, tries: 0 });
}

fn connect(mut errand: Errand) {
    let Some(network) = errand.scene.network.upgrade() else { return };
    errand.tries += 1;
    let service = match errand.login.as_ref().map(|login| login.tls) {
        None => Service::Smtp,
        Some(Tls::Implicit) => Service::Submissions,
        Some(Tls::Starttls | Tls::Clear) => Service::Submission,
    };
    let mut from = errand.from;
    from.set_port(from.port() + u16::try_from(errand.tries % 20_000).unwrap_or(0));
    let secure = service == Service::Submissions;
    let sender = Sender { secure, ..Sender::new(errand) };
    network.connect(service, from, Box::new(sender));
}

/// What the next reply is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Greeting,
    Ehlo,
    Starttls,
    Auth,
    Mail,
    Rcpt(usize),
    Data,
    Chunk,
    Dot,
    Quit,
}

/// One connection.
struct Sender {
    errand: Errand,
    heard: Arc<AtomicBool>,
    lines: Lines,
    reply: Vec<String>,
    due: VecDeque<Due>,
    secure: bool,
    begun: Duration,
    /// When the login was asked for.
    asked: Duration,
    at: Now,
    /// Recipients that were accepted, and those that may be later.
    accepted: Vec<String>,
    deferred: Vec<String>,
    outcome: Outcome,
    /// It answered with 5xx to something that makes the rest useless.
    hopeless: bool,
    /// Leaves there; `None` once it has no reason to.
    leaves: Option<(Stage, How)>,
    /// It is over for us: nothing is said any more.
    left: bool,
    is_over: bool,
}

impl Sender {
    fn new(errand: Errand) -> Self {
        let heard = errand.scene.expect();
        // It leaves the first time only.
        let leaves = errand.mail.leaves.filter(|_| errand.tries == 1);
        Self {
            errand,
            heard,
            lines: Lines::default(),
            reply: Vec::new(),
            due: VecDeque::from([Due::Greeting]),
            secure: false,
            begun: Duration::ZERO,
            asked: Duration::ZERO,
            at: Now::default(),
            accepted: Vec::new(),
            deferred: Vec::new(),
            outcome: Outcome::Unsent,
            hopeless: false,
            leaves,
            left: false,
            is_over: false,
        }
    }

    fn breach(&self, law: Law, what: &str) {
        let Errand { token, from, .. } = &self.errand;
        self.errand.scene.ledger().breach(law, format!("message {token} from {from}: {what}"));
    }

    fn say(&mut self, due: Due, text: &str, line: &mut Line) {
        line.say(text);
        line.wake = Some(PATIENCE);
        self.due.push_back(due);
    }

    /// True when it leaves at this point.
    fn leaves(&mut self, stage: Stage, line: &mut Line) -> bool {
        let Some((_, how)) = self.leaves.filter(|(where_, _)| *where_ == stage) else {
            return false;
        };
        self.left = true;
        match how {
            How::Closes => line.close = Some(Close::Eof),
            How::Resets => {
                line.close = Some(Close::Reset);
                self.note(self.at);
            }
            How::Stalls => {}
        }
        true
    }

    fn take(&mut self, line: &mut Line) {
        let last = self.reply.last().map_or("", String::as_str);
        let code: u16 = last.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
        let lines = std::mem::take(&mut self.reply);
        // It may say so at any time, and ends then.
        if code == 421 {
            self.due.clear();
            return self.give_up(line);
        }
        let Some(due) = self.due.pop_front() else {
            return self.breach(Law::Dialogue, &format!("a reply to nothing: {lines:?}"));
        };
        match due {
            Due::Greeting if code == 220 => {
                if !self.leaves(Stage::Greeting, line) {
                    self.say(Due::Ehlo, "EHLO client.far.test", line);
                }
            }
            Due::Ehlo if code == 250 => self.hello(&lines, line),
            Due::Starttls if code == 220 => line.secure = !self.leaves(Stage::Tls, line),
            Due::Auth => self.logged_in(code, line),
            Due::Mail if code == 250 => {
                if !self.leaves(Stage::Mail, line) && !self.errand.mail.pipelined {
                    self.next_recipient(0, line);
                }
            }
            Due::Rcpt(n) => self.recipient(n, code, line),
            Due::Data if code == 354 => self.send_data(line),
            Due::Chunk if code == 250 => {}
            Due::Dot => self.answered(code, &lines.concat(), line),
            Due::Quit => {
                line.close = Some(Close::Eof);
                self.left = true;
            }
            Due::Data if self.accepted.is_empty() => self.quit(line),
            _ if code / 100 == 4 || code / 100 == 5 => self.refused(due, code, &lines, line),
            _ => {
                self.breach(Law::Dialogue, &format!("{due:?} got {lines:?}"));
                self.give_up(line);
            }
        }
    }

    fn hello(&mut self, lines: &[String], line: &mut Line) {
        let has =
            |word: &str| lines.iter().any(|line| line.get(4..).unwrap_or("").starts_with(word));
        if !self.secure && has("AUTH") {
            self.breach(Law::W8, "AUTH is offered before TLS");
        }
        let wants_tls = match &self.errand.login {
            Some(login) => login.tls == Tls::Starttls,
            None => self.errand.mail.starttls,
        };
        if !self.secure && wants_tls {
            return self.say(Due::Starttls, "STARTTLS", line);
        }
        let Some(login) = self.errand.login.clone() else { return self.envelope(line) };
        let password = match login.wrong {
            true => "wrong".to_owned(),
            false => Book::password(&login.user),
        };
        let secret = STANDARD.encode(format!("\0{}\0{password}", login.user));
        self.asked = elapsed(self.at);
        self.say(Due::Auth, &format!("AUTH PLAIN {secret}"), line);
    }

    fn logged_in(&mut self, code: u16, line: &mut Line) {
        let Some(login) = self.errand.login.clone() else { return };
        let (good, temporary) = (code == 235, code / 100 == 4);
        let time = (self.asked, elapsed(self.at));
        let answer = Answer { secure: self.secure, good, temporary, time };
        self.errand.scene.ledger().login(&login, &answer);
        if good {
            self.envelope(line);
        } else {
            self.hopeless = !temporary;
            self.quit(line);
        }
    }

    fn envelope(&mut self, line: &mut Line) {
        let mail = self.errand.mail.clone();
        self.say(Due::Mail, &mail_command(&mail, self.errand.token), line);
        if mail.pipelined && self.leaves.is_none_or(|(stage, _)| stage != Stage::Mail) {
            for n in 0..mail.to.len() {
                self.say(Due::Rcpt(n), &rcpt_command(&mail, &mail.to[n]), line);
            }
            if mail.chunks == 0 && self.leaves.is_none_or(|(stage, _)| stage != Stage::Rcpt) {
                self.say(Due::Data, "DATA", line);
            }
        }
    }

    fn next_recipient(&mut self, n: usize, line: &mut Line) {
        let mail = &self.errand.mail;
        let text = rcpt_command(mail, &mail.to[n]);
        self.say(Due::Rcpt(n), &text, line);
    }

    fn recipient(&mut self, n: usize, code: u16, line: &mut Line) {
        let mail = &self.errand.mail;
        let to = mail.to[n].clone();
        let who = match &self.errand.login {
            Some(login) => Who::User(&login.user),
            None if mail.trusted => Who::Trusted,
            None => Who::Stranger,
        };
        self.errand.scene.ledger().recipient(who, &mail.from, &to, code);
        match code / 100 {
            2 => self.accepted.push(to),
            4 => self.deferred.push(to),
            _ => {}
        }
        let (all, pipelined, chunks) = (mail.to.len(), mail.pipelined, mail.chunks);
        if n + 1 < all {
            if !pipelined {
                self.next_recipient(n + 1, line);
            }
        } else if self.leaves(Stage::Rcpt, line) {
        } else if self.accepted.is_empty() {
            if !pipelined || chunks > 0 {
                self.quit(line);
            }
        } else if chunks > 0 {
            self.send_chunks(line);
        } else if !pipelined {
            self.say(Due::Data, "DATA", line);
        }
    }

    fn send_data(&mut self, line: &mut Line) {
        let mut stuffed = Vec::with_capacity(self.errand.data.len() + 64);
        for text in self.errand.data.split_inclusive(|byte| *byte == b'\n') {
            if text.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(text);
        }
        if self.leaves.is_some_and(|(stage, _)| stage == Stage::Data) {
            line.out.extend_from_slice(&stuffed[..stuffed.len() / 2]);
            self.leaves(Stage::Data, line);
            return;
        }
        line.out.extend_from_slice(&stuffed);
        self.say(Due::Dot, ".", line);
        self.sent(line);
    }

    fn send_chunks(&mut self, line: &mut Line) {
        let data = Arc::clone(&self.errand.data);
        let count = usize::from(self.errand.mail.chunks);
        let each = data.len().div_ceil(count).max(1);
        let pieces: Vec<&[u8]> = data.chunks(each).collect();
        for (n, piece) in pieces.iter().enumerate() {
            let is_last = n + 1 == pieces.len();
            if is_last && self.leaves.is_some_and(|(stage, _)| stage == Stage::Data) {
                self.leaves(Stage::Data, line);
                return;
            }
            let (due, word) = if is_last { (Due::Dot, " LAST") } else { (Due::Chunk, "") };
            self.say(due, &format!("BDAT {}{word}", piece.len()), line);
            line.out.extend_from_slice(piece);
        }
        self.sent(line);
    }

    /// The end of the message is sent.
    fn sent(&mut self, line: &mut Line) {
        self.outcome = Outcome::Unknown;
        self.leaves(Stage::Dot, line);
    }

    fn answered(&mut self, code: u16, text: &str, line: &mut Line) {
        self.outcome = match (code, text.split_once("queued as ")) {
            (250, Some((_, id))) => Outcome::Accepted(id.trim().to_owned()),
            (250, None) => {
                self.breach(Law::Dialogue, &format!("no queue id in {text:?}"));
                Outcome::Unknown
            }
            (code, _) => Outcome::Refused(code),
        };
        let is_calm = self.errand.scene.ledger().is_calm();
        match code / 100 {
            2 => {}
            4 if !is_calm => {}
            5 if self.accepted.is_empty() => {}
            _ => self.breach(Law::W9, &format!("the message got {text:?}")),
        }
        if code / 100 == 5 {
            self.hopeless = true;
        }
        self.note(self.at);
        self.quit(line);
    }

    fn refused(&mut self, due: Due, code: u16, lines: &[String], line: &mut Line) {
        self.hopeless |= code / 100 == 5;
        let ledger = self.errand.scene.ledger();
        let (is_calm, login) = (ledger.is_calm(), self.errand.login.is_some());
        drop(ledger);
        if is_calm && !(login && due == Due::Mail) {
            self.breach(Law::Dialogue, &format!("{due:?} got {lines:?}"));
        }
        if due == Due::Chunk {
            // The chunks are on their way; the last one has the answer.
            return;
        }
        if self.errand.mail.pipelined && due == Due::Mail {
            // So are the other commands.
            return;
        }
        self.quit(line);
    }

    fn quit(&mut self, line: &mut Line) {
        if !self.left && self.due.back() != Some(&Due::Quit) {
            self.say(Due::Quit, "QUIT", line);
        }
    }

    fn give_up(&mut self, line: &mut Line) {
        self.left = true;
        line.close = Some(Close::Eof);
    }

    /// Notes what came of it, once.
    fn note(&mut self, at: Now) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let now = elapsed(at);
        let tried = Try {
            to: self.accepted.clone(),
            outcome: self.outcome.clone(),
            time: (self.begun, now),
        };
        self.errand.scene.ledger().tried(self.errand.token, tried);
        let mut again = self.errand.clone();
        again.mail.to = match &self.outcome {
            Outcome::Accepted(_) => self.deferred.clone(),
            _ if self.hopeless => Vec::new(),
            // Those that were refused are not asked again.
            Outcome::Refused(_) | Outcome::Unknown => {
                self.accepted.iter().chain(&self.deferred).cloned().collect()
            }
            Outcome::Unsent => self.errand.mail.to.clone(),
        };
        if !again.mail.to.is_empty() && again.tries <= u32::from(again.mail.retries) {
            let scene = self.errand.scene.clone();
            scene.after(AGAIN * again.tries, move || connect(again));
        } else {
            self.errand.scene.ledger().finished();
        }
    }
}

fn mail_command(mail: &Mail, token: u32) -> String {
    let mut text = format!("MAIL FROM:<{}> SIZE={}", mail.from, mail.size);
    if mail.utf8 {
        text.push_str(" BODY=8BITMIME SMTPUTF8");
    }
    text.push_str(match mail.ret {
        None => "",
        Some(Ret::Full) => " RET=FULL",
        Some(Ret::Headers) => " RET=HDRS",
    });
    if mail.envid {
        text.push_str(&format!(" ENVID={}", envelope_id(token)));
    }
    text
}

fn rcpt_command(mail: &Mail, to: &str) -> String {
    let mut text = format!("RCPT TO:<{to}>");
    if let Some(notify) = mail.notify {
        text.push_str(&format!(" NOTIFY={}", notify.to_string().to_ascii_uppercase()));
    }
    if mail.envid && to.is_ascii() {
        text.push_str(&format!(" ORCPT=rfc822;{}", xtext(to)));
    }
    text
}

impl Peer for Sender {
    fn opened(&mut self, at: Now, line: &mut Line) {
        self.heard.store(true, Ordering::Relaxed);
        self.begun = elapsed(at);
        line.wake = Some(PATIENCE);
    }

    fn received(&mut self, at: Now, bytes: &[u8], line: &mut Line) {
        self.at = at;
        self.lines.push(bytes);
        while let Some(text) = self.lines.next() {
            if self.left {
                return;
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let is_last = text.as_bytes().get(3) != Some(&b'-');
            self.reply.push(text);
            if is_last {
                self.take(line);
            }
        }
    }

    fn secured(&mut self, _: Now, line: &mut Line) {
        self.secure = true;
        self.say(Due::Ehlo, "EHLO client.far.test", line);
    }

    fn ended(&mut self, at: Now, _: Ended, line: &mut Line) {
        self.heard.store(true, Ordering::Relaxed);
        self.note(at);
        self.left = true;
        line.close = Some(Close::Eof);
    }

    fn woken(&mut self, at: Now, line: &mut Line) {
        if self.is_over {
            return;
        }
        self.at = at;
        if !self.left && self.errand.scene.ledger().is_calm() {
            self.breach(Law::W10, &format!("no reply to {:?}", self.due));
        }
        self.give_up(line);
        self.note(at);
    }
}
