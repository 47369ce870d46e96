//! A client of the auth socket: Dovecot's protocol, as Postfix speaks it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use waypost_daemon::Service;
use waypost_machine::Now;

use super::{Lines, Scene, address};
use crate::book::Book;
use crate::laws::Law;
use crate::peer::{Close, Ended, Line, Peer};
use crate::script::Login;

pub(super) fn begin(scene: &Scene, number: usize, login: &Login) {
    let Some(network) = scene.network.upgrade() else { return };
    let client = Client {
        scene: scene.clone(),
        login: login.clone(),
        lines: Lines::default(),
        asked: false,
    };
    network.connect(Service::Auth, address(number), Box::new(client));
}

struct Client {
    scene: Scene,
    login: Login,
    lines: Lines,
    asked: bool,
}

impl Client {
    fn ask(&mut self, line: &mut Line) {
        let password = match self.login.wrong {
            true => "wrong".to_owned(),
            false => Book::password(&self.login.user),
        };
        let secret = STANDARD.encode(format!("\0{}\0{password}", self.login.user));
        let text = format!("AUTH\t1\tPLAIN\tservice=smtp\tsecured\tresp={secret}\n");
        line.out.extend_from_slice(text.as_bytes());
        self.asked = true;
    }

    fn take(&mut self, text: &str, line: &mut Line) {
        let words: Vec<&str> = text.split('\t').collect();
        let good = match words.first().copied().unwrap_or("") {
            "DONE" if !self.asked => return self.ask(line),
            "OK" if self.asked => true,
            "FAIL" if self.asked => false,
            "VERSION" | "MECH" | "SPID" | "CUID" | "COOKIE" if !self.asked => return,
            _ => {
                let what = format!("auth of {}: {text}", self.login.user);
                return self.scene.ledger().breach(Law::Dialogue, what);
            }
        };
        let temporary = words.iter().any(|word| matches!(*word, "temp" | "code=temp_fail"));
        // A socket of this host needs no TLS.
        self.scene.ledger().login(&self.login.user, self.login.wrong, true, good, temporary);
        line.close = Some(Close::Eof);
    }
}

impl Peer for Client {
    fn opened(&mut self, _: Now, line: &mut Line) {
        line.out.extend_from_slice(b"VERSION\t1\t0\nCPID\t4711\n");
    }

    fn received(&mut self, _: Now, bytes: &[u8], line: &mut Line) {
        self.lines.push(bytes);
        while let Some(text) = self.lines.next() {
            self.take(&String::from_utf8_lossy(&text), line);
        }
    }

    fn secured(&mut self, _: Now, _: &mut Line) {}

    fn ended(&mut self, _: Now, _: Ended, line: &mut Line) {
        line.close = Some(Close::Eof);
    }

    fn woken(&mut self, _: Now, _: &mut Line) {}
}
