//! The thin path: a message comes in, the server crashes, starts again, and the message is read.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use waypost_daemon::Service;
use waypost_machine::Now;
use waypost_sim::data;
use waypost_sim::directory::FaultyDirectory;
use waypost_sim::disk::{Disk, Survival};
use waypost_sim::dns::Zones;
use waypost_sim::heap::{ETERNAL, Heap};
use waypost_sim::peer::{Close, Ended, Line, Network, Peer};
use waypost_sim::site::Site;
use waypost_sim::stage::{Setting, Stage};
use waypost_world::Event;

/// Says each line once the one before has been answered.
struct Dialogue {
    lines: std::vec::IntoIter<String>,
    ends: &'static [&'static str],
    heard: Arc<Mutex<String>>,
}

impl Peer for Dialogue {
    fn opened(&mut self, _: Now, _: &mut Line) {}

    fn received(&mut self, _: Now, bytes: &[u8], line: &mut Line) {
        let text = String::from_utf8_lossy(bytes);
        self.heard.lock().unwrap().push_str(&text);
        let last = text.lines().last().unwrap_or_default();
        if text.ends_with('\n') && self.ends.iter().any(|end| last.starts_with(end))
            || last.as_bytes().get(3) == Some(&b' ')
        {
            match self.lines.next() {
                Some(next) => line.say(&next),
                None => line.close = Some(Close::Eof),
            }
        }
    }

    fn secured(&mut self, _: Now, _: &mut Line) {}
    fn ended(&mut self, _: Now, how: Ended, _: &mut Line) {
        self.heard.lock().unwrap().push_str(&format!("[{how:?}]"));
    }
    fn woken(&mut self, _: Now, _: &mut Line) {}
}

fn dialogue(lines: &[&str]) -> (Box<dyn Peer>, Arc<Mutex<String>>) {
    let heard = Arc::<Mutex<String>>::default();
    let lines: Vec<String> = lines.iter().map(|line| (*line).into()).collect();
    let ends = &["* OK", "a OK", "b OK", "c OK", "d OK"];
    (Box::new(Dialogue { lines: lines.into_iter(), ends, heard: Arc::clone(&heard) }), heard)
}

fn once(seed: u64) -> (u64, String, String) {
    let heap = Arc::new(Heap::new(1_795_348_800));
    let disk = Disk::new(seed, Arc::clone(&heap) as _);
    disk.mkdirs("/var/spool/waypost", 0, 0).unwrap();
    disk.mkdirs("/home", 0, 0).unwrap();
    let run = Stage::new(Setting {
        site: Site::standard(),
        address: [198, 51, 100, 25].into(),
        seed,
        directory: Arc::new(FaultyDirectory::new(Arc::clone(&heap), seed, data::LDIF).unwrap()),
        names: Arc::new(Zones::new(Arc::clone(&heap), seed, data::ZONES).unwrap()),
        heap,
        disk,
        log: Arc::new(|_: Event| {}),
        hosts: Box::new(|_| None),
        crashed: Box::new(|_| {}),
        tamper: None,
        told: false,
    });
    run.boot();
    let (mx, mx_heard) = dialogue(&[
        "EHLO far.test",
        "MAIL FROM:<a@far.test>",
        "RCPT TO:<mail000@example.com>",
        "DATA",
        "Subject: hello\r\n\r\nHello.\r\n.",
        "QUIT",
    ]);
    run.connect(Service::Smtp, "198.51.100.1:1000".parse::<SocketAddr>().unwrap(), mx);
    run.until(Duration::from_secs(20), || false);
    run.crash(3, Survival::Nothing, Duration::from_secs(1), Duration::from_secs(5));
    run.until(Duration::from_secs(60), || false);
    let (imap, imap_heard) = dialogue(&[
        "a LOGIN mail000 secret000",
        "b SELECT INBOX",
        "c FETCH 1:* BODY[]",
        "d LOGOUT",
    ]);
    let other = run.clone();
    run.heap().after(ETERNAL, Duration::from_secs(1), move || {
        other.connect(Service::Imaps, "198.51.100.2:1000".parse().unwrap(), imap);
    });
    run.until(Duration::from_secs(120), || false);
    run.stop(None);
    run.until(Duration::from_secs(300), || run.server().is_none());
    assert_eq!(run.crashes(), 1);
    assert!(run.server().is_none(), "it does not stop");
    assert_eq!(run.complaints(), []);
    let hash = run.trace().hash();
    run.end();
    let said = |heard: Arc<Mutex<String>>| heard.lock().unwrap().clone();
    (hash, said(mx_heard), said(imap_heard))
}

#[test]
fn a_message_comes_in_a_crash_comes_between_and_it_is_read() {
    let (hash, mx, imap) = once(1);
    assert!(mx.contains("\n354 ") && mx.contains("250 2.0.0 Ok"), "{mx}");
    assert!(imap.contains("Hello."), "{imap}");
    assert_eq!(once(1), (hash, mx, imap));
    assert_ne!(once(2).0, hash);
}
