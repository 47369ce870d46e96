//! A client of the auth socket: Dovecot's protocol, as Postfix speaks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use waypost_daemon::Service;
use waypost_machine::Now;

use super::{Lines, Scene, address, elapsed};
use crate::book::Book;
use crate::laws::{Answer, Law};
use crate::peer::{Close, Ended, Line, Peer};
use crate::script::{Login, Tls};

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn begin(scene: &Scene, number: usize, login: &Login) {
    let Some(network) = scene.network.upgrade() else { return };
    let client = Client {
        scene: scene.clone(),
        login: login.clone(),
        heard: scene.expect(),
        lines: Lines::default(),
        asked: None,
        left: false,
        at: Duration::ZERO,
    };
    scene.ledger().begun();
    network.connect(Service::Auth, address(number), Box::new(client));
}

struct Client {
    scene: Scene,
    login: Login,
    heard: Arc<AtomicBool>,
    lines: Lines,
    /// When it has asked.
    asked: Option<Duration>,
    left: bool,
    at: Duration,
}

impl Client {
    fn secret(&self) -> String {
        let password = match self.login.wrong {
            true => "wrong".to_owned(),
            false => Book::password(&self.login.user),
        };
        STANDARD.encode(format!("\0{}\0{password}", self.login.user))
    }

    /// With the response at once, or when it is asked for.
    fn ask(&mut self, line: &mut Line) {
        let resp = match self.login.tls {
            Tls::Implicit => format!("\tresp={}", self.secret()),
            Tls::Starttls | Tls::Clear => String::new(),
        };
        line.out.extend_from_slice(format!("AUTH\t1\tPLAIN\tservice=smtp{resp}\n").as_bytes());
        line.wake = Some(PATIENCE);
        self.asked = Some(self.at);
    }

    fn breach(&self, law: Law, what: &str) {
        self.scene.ledger().breach(law, format!("auth of {}: {what}", self.login.user));
    }

    fn take(&mut self, text: &str, line: &mut Line) {
        let words: Vec<&str> = text.split('\t').collect();
        let good = match (words.first().copied().unwrap_or(""), self.asked) {
            ("DONE", None) => return self.ask(line),
            ("OK", Some(_)) => true,
            ("FAIL", Some(_)) => false,
            ("CONT", Some(_)) if self.login.tls != Tls::Implicit => {
                let text = format!("CONT\t1\t{}\n", self.secret());
                return line.out.extend_from_slice(text.as_bytes());
            }
            ("VERSION" | "MECH" | "SPID" | "CUID" | "COOKIE", None) => return,
            _ => return self.breach(Law::Dialogue, text),
        };
        let temporary = words.iter().any(|word| matches!(*word, "temp" | "code=temp_fail"));
        // A socket of this host needs no TLS.
        let time = (self.asked.unwrap_or_default(), self.at);
        let answer = Answer { secure: true, good, temporary, time };
        self.scene.ledger().login(&self.login, &answer);
        self.leave(line);
    }

    fn leave(&mut self, line: &mut Line) {
        if !std::mem::replace(&mut self.left, true) {
            self.scene.ledger().finished();
        }
        line.wake = None;
        line.close = Some(Close::Eof);
    }
}

impl Peer for Client {
    fn opened(&mut self, _: Now, line: &mut Line) {
        self.heard.store(true, Ordering::Relaxed);
        line.out.extend_from_slice(b"VERSION\t1\t0\nCPID\t4711\n");
        line.wake = Some(PATIENCE);
    }

    fn received(&mut self, at: Now, bytes: &[u8], line: &mut Line) {
        self.at = elapsed(at);
        self.lines.push(bytes);
        while !self.left
            && let Some(text) = self.lines.next()
        {
            self.take(&String::from_utf8_lossy(&text), line);
        }
    }

    fn secured(&mut self, _: Now, _: &mut Line) {}

    fn ended(&mut self, _: Now, how: Ended, line: &mut Line) {
        self.heard.store(true, Ordering::Relaxed);
        if !self.left && self.scene.ledger().is_calm() {
            self.breach(Law::Dialogue, &format!("no answer: {how:?}"));
        }
        self.leave(line);
    }

    fn woken(&mut self, _: Now, line: &mut Line) {
        if !self.left && self.scene.ledger().is_calm() {
            self.breach(Law::W10, "no answer");
        }
        self.leave(line);
    }
}
