//! Every combination of yes, not now and never, to every command, with and without PIPELINING and
//! CHUNKING, against a model of one page.

mod remote;

use remote::{Host, config, mail};
use waypost_machine::Why;
use waypost_smtp::client::Mail;

/// What a host says to each command of the first message.
#[derive(Clone, Copy, Debug)]
struct Mood {
    mail: u16,
    rcpt: [u16; 2],
    data: u16,
    end: u16,
}

/// A host that answers line by line, as it hears them.
struct Answering {
    mood: Mood,
    rcpt: usize,
    in_data: bool,
    chunk: usize,
    heard: String,
    /// Commands in order; a body is one `.`.
    log: Vec<String>,
}

impl Answering {
    fn hear(&mut self, text: &str) -> String {
        self.heard.push_str(text);
        let mut said = String::new();
        loop {
            if self.chunk > 0 {
                let part = self.chunk.min(self.heard.len());
                self.heard.drain(..part);
                self.chunk -= part;
                if self.chunk > 0 {
                    return said;
                }
                said.push_str(&format!("{} end\r\n", self.mood.end));
            }
            let Some((line, rest)) = self.heard.split_once("\r\n") else { return said };
            let line = line.to_owned();
            self.heard = rest.to_owned();
            if self.in_data {
                if line == "." {
                    self.in_data = false;
                    self.log.push(line);
                    said.push_str(&format!("{} end\r\n", self.mood.end));
                }
                continue;
            }
            let verb = line.split([' ', ':']).next().unwrap().to_owned();
            let code = match verb.as_str() {
                "MAIL" => self.mood.mail,
                "RCPT" => {
                    self.rcpt += 1;
                    self.mood.rcpt[self.rcpt - 1]
                }
                "DATA" => {
                    self.in_data = self.mood.data == 354;
                    self.mood.data
                }
                "BDAT" => {
                    self.chunk = line.split(' ').nth(1).unwrap().parse().unwrap();
                    self.log.push(verb);
                    continue;
                }
                "RSET" => 250,
                "QUIT" => 221,
                other => panic!("{other}"),
            };
            said.push_str(&format!("{code} {verb}\r\n"));
            self.log.push(verb);
        }
    }
}

fn word(code: u16) -> &'static str {
    match code / 100 {
        2 => "sent",
        4 => "deferred",
        _ => "bounced",
    }
}

/// What must come of it.
fn fates(mood: Mood, chunking: bool) -> [&'static str; 2] {
    if mood.mail != 250 {
        return [word(mood.mail); 2];
    }
    mood.rcpt.map(|rcpt| match (rcpt, mood.data) {
        (250, _) if chunking => word(mood.end),
        (250, 354) => word(mood.end),
        // Yes to DATA makes no sense.
        (250, 250) => "deferred",
        (250, data) => word(data),
        (rcpt, _) => word(rcpt),
    })
}

fn run(mood: Mood, keywords: &[&str]) -> (Host, Vec<String>) {
    let first = mail(&["a@remote.test", "b@remote.test"]);
    let mut host = Host::new(config(), first);
    host.thinks = true;
    let mut peer = Answering {
        mood,
        rcpt: 0,
        in_data: false,
        chunk: 0,
        heard: String::new(),
        log: Vec::new(),
    };
    let mut said = host.greets(keywords);
    while !said.is_empty() && host.closed.is_none() {
        let answer = peer.hear(&said);
        said = host.says(&answer);
    }
    assert_eq!(peer.hear(&said), "");
    (host, peer.log)
}

fn all_moods() -> Vec<Mood> {
    let mut moods = Vec::new();
    let replies = [250, 450, 550];
    for mail in replies {
        for a in replies {
            for b in replies {
                for data in [354, 450, 550, 250] {
                    for end in replies {
                        moods.push(Mood { mail, rcpt: [a, b], data, end });
                    }
                }
            }
        }
    }
    moods
}

#[test]
fn every_combination() {
    for keywords in [&["X"][..], &["PIPELINING"], &["CHUNKING"], &["PIPELINING", "CHUNKING"]] {
        let chunking = keywords.contains(&"CHUNKING");
        for mood in all_moods() {
            let (host, log) = run(mood, keywords);
            let case = format!("{mood:?} {keywords:?} {log:?}");
            assert_eq!(host.reports.len(), 1, "{case}");
            let got: Vec<String> = host.reports[0].recipients.iter().map(remote::fate).collect();
            for (got, want) in got.iter().zip(fates(mood, chunking)) {
                assert!(got.starts_with(want), "{got}: {case}");
            }
            check_log(&host, &log, mood, &case);
        }
    }
}

/// Whether the commands were right, and whether the connection is in step afterwards.
fn check_log(host: &Host, log: &[String], mood: Mood, case: &str) {
    let sent = |verb: &str| log.iter().any(|line| line == verb);
    let somebody = mood.mail == 250 && mood.rcpt.contains(&250);
    let confused = sent("DATA") && mood.data == 250;
    let dangerous =
        sent("DATA") && mood.data == 354 && mood.mail != 250 && mood.rcpt.contains(&250);
    assert_eq!(host.closed, (confused || dangerous).then_some(Why::Refused), "{case}");
    if host.closed.is_some() {
        assert!(!sent("."), "{case}");
        return;
    }
    assert!(host.idle.is_some(), "ready for another message: {case}");
    assert!(!sent("BDAT") || somebody, "{case}");
    // A transaction that was opened and not ended is reset.
    let ended = sent(".") || (sent("BDAT") && mood.end == 250);
    assert_eq!(sent("RSET"), mood.mail == 250 && !ended, "{case}");
    assert_eq!(sent("."), sent("DATA") && mood.data == 354, "{case}");
}

#[test]
fn the_next_message_is_in_step() {
    for keywords in [&["X"][..], &["PIPELINING"], &["PIPELINING", "CHUNKING"]] {
        for mood in all_moods() {
            let (mut host, log) = run(mood, keywords);
            if host.closed.is_some() {
                continue;
            }
            host.waiting.push_back(Mail { id: 2, ..mail(&["c@remote.test"]) });
            host.resume();
            let good = Mood { mail: 250, rcpt: [250, 250], data: 354, end: 250 };
            let mut peer = Answering {
                mood: good,
                rcpt: 0,
                in_data: false,
                chunk: 0,
                heard: String::new(),
                log: Vec::new(),
            };
            let mut said = host.take();
            while !said.is_empty() && host.closed.is_none() {
                let answer = peer.hear(&said);
                said = host.says(&answer);
            }
            assert_eq!(
                remote::fate(&host.reports[1].recipients[0]),
                "sent 2.0.0 (250 end)",
                "{mood:?} {log:?}"
            );
            assert_eq!(host.closed, Some(Why::Done));
        }
    }
}
