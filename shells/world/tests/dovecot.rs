//! Mailboxes that Dovecot and our store use in turn, and at the same time.
//!
//! Needs root and Debian's dovecot-imapd (feature `rig`). Dovecot's imap runs without its master, already
//! logged in, on a Maildir of our own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use waypost_imap::server::{self as imap, FolderChange, NamedFlags, StoreHow};
use waypost_mail::MailHome;
use waypost_world::SystemClock;
use waypost_world::fs::RealFs;
use waypost_world::identity::Identity;
use waypost_world::store::{Parcel, Store};

const UID: u32 = 20000;

/// A Maildir both servers know.
struct Place {
    dir: tempfile::TempDir,
    home: MailHome,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::open_to_all(dir.path());
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(UID), Some(UID)).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(UID), Some(UID)).unwrap();
        let path = home.join("mailbox").to_str().unwrap().into();
        let place = Self { dir, home: MailHome { path, uid: UID, gid: UID } };
        std::fs::write(place.config(), place.config_text()).unwrap();
        place
    }

    fn open_to_all(dir: &Path) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("dovecot.conf")
    }

    /// Without its list index, which looks at the time of directories in whole seconds: a folder that we
    /// make within the second of its last look it would not see.
    fn config_text(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "protocols = imap\nbase_dir = {dir}/run\nstate_dir = {dir}/state\nssl = no\n\
             mail_location = maildir:{}\nlog_path = {dir}/dovecot.log\nstats_writer_socket_path =\n\
             mail_uid = {UID}\nmail_gid = {UID}\nfirst_valid_uid = {UID}\nmailbox_list_index = no\n\
             namespace inbox {{\n inbox = yes\n separator = .\n}}\n",
            self.home.path
        )
    }

    fn store(&self) -> Store {
        let fs = RealFs::new([self.dir.path().join("home")]).unwrap();
        let clock = Arc::new(SystemClock::default());
        Store::new(
            Arc::new(fs),
            Identity::of_process(100),
            waypost_world::Process::own(),
            clock,
            "mail.example.com",
        )
    }

    fn dovecot(&self) -> Dovecot {
        Dovecot::start(self)
    }

    /// What Dovecot has to complain about.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("dovecot.log")).unwrap_or_default();
        let wrong =
            |line: &&str| ["Error", "Warning", "Fatal", "Panic"].iter().any(|w| line.contains(w));
        log.lines().filter(wrong).collect::<Vec<_>>().join("\n")
    }
}

/// A session with Dovecot's imap.
struct Dovecot {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    tag: u32,
}

impl Dovecot {
    fn start(place: &Place) -> Self {
        let mut child = Command::new("/usr/lib/dovecot/imap")
            .arg("-c")
            .arg(place.config())
            .env_clear()
            .env("USER", "mail000")
            .env("HOME", place.dir.path().join("home"))
            .current_dir(place.dir.path())
            .uid(UID)
            .gid(UID)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's dovecot-imapd is installed");
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut dovecot = Self { child, to, from, tag: 0 };
        let greeting = dovecot.line();
        assert!(greeting.starts_with(b"* PREAUTH"), "{}", place.log());
        dovecot
    }

    /// A line with the literals in it.
    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        loop {
            self.from.read_until(b'\n', &mut line).unwrap();
            assert!(line.ends_with(b"\r\n"), "Dovecot ended: {}", String::from_utf8_lossy(&line));
            let text = &line[..line.len() - 2];
            let open = text.iter().rposition(|c| *c == b'{');
            let length = open.and_then(|open| text[open + 1..].strip_suffix(b"}"));
            let length: Option<usize> =
                length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            let Some(length) = length else { return line };
            let start = line.len();
            let whole = start + length;
            line.resize(whole, 0);
            self.from.read_exact(&mut line[start..]).unwrap();
        }
    }

    /// The untagged lines and the tagged one.
    fn command(&mut self, command: &[u8]) -> (Vec<String>, String) {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        let line = [tag.as_bytes(), command, b"\r\n"].concat();
        self.to.write_all(&line).unwrap();
        self.to.flush().unwrap();
        let mut untagged = Vec::new();
        loop {
            let line = String::from_utf8(self.line()).unwrap().trim_end().to_owned();
            match line.strip_prefix(&tag) {
                Some(rest) => return (untagged, rest.to_owned()),
                None => untagged.push(line),
            }
        }
    }

    fn ok(&mut self, command: &str) -> Vec<String> {
        let (untagged, tagged) = self.command(command.as_bytes());
        assert!(tagged.starts_with("OK"), "{command}: {tagged}");
        untagged
    }

    fn append(&mut self, mailbox: &str, flags: &str, text: &str) {
        let command = format!(
            "APPEND \"{mailbox}\" ({flags}) \"01-Feb-2026 12:34:56 +0000\" {{{}+}}\r\n{text}",
            text.len()
        );
        self.ok(&command);
    }

    /// Everything a client can know of the account.
    fn picture(&mut self) -> Picture {
        let mut picture = Picture::default();
        for line in self.ok("LSUB \"\" \"*\"") {
            picture.subscribed.push(unquoted(line.split_once("\".\" ").unwrap().1));
        }
        picture.subscribed.sort();
        for line in self.ok("LIST \"\" \"*\"") {
            if !line.contains("\\Noselect") && !line.contains("\\NonExistent") {
                let name = unquoted(line.split_once("\".\" ").unwrap().1);
                let shown = self.mailbox(&name);
                picture.mailboxes.insert(name, shown);
            }
        }
        picture
    }

    fn mailbox(&mut self, name: &str) -> Shown {
        let lines = self.ok(&format!("EXAMINE \"{name}\""));
        let number = |key: &str| {
            let line = lines.iter().find(|line| line.contains(key)).unwrap();
            line.split_once(key).unwrap().1.split(']').next().unwrap().parse().unwrap()
        };
        let mut shown = Shown {
            uid_validity: number("[UIDVALIDITY "),
            uid_next: number("[UIDNEXT "),
            messages: Vec::new(),
        };
        if !lines.iter().any(|line| line == "* 0 EXISTS") {
            for line in self.ok("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)") {
                if line.contains(" FETCH (UID ") {
                    shown.messages.push(message_of(&line));
                }
            }
        }
        self.ok("UNSELECT");
        shown
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = self.to.write_all(b"bye LOGOUT\r\n");
        let _ = self.to.flush();
        let _ = self.from.read_to_end(&mut Vec::new());
        let _ = self.child.wait();
    }
}

fn unquoted(name: &str) -> String {
    name.trim_matches('"').to_owned()
}

/// `* 1 FETCH (UID 1 FLAGS (\Seen work) INTERNALDATE "01-Feb-2026 12:34:56 +0000" RFC822.SIZE 29)`
fn message_of(line: &str) -> Message {
    let between = |from: &str, to: &str| line.split_once(from).unwrap().1.split(to).next().unwrap();
    let mut flags: Vec<String> = between("FLAGS (", ")")
        .split_whitespace()
        .filter(|flag| *flag != "\\Recent")
        .map(str::to_lowercase)
        .collect();
    flags.sort();
    Message {
        uid: between("UID ", " ").parse().unwrap(),
        flags,
        date: between("INTERNALDATE \"", " +0000\"").to_owned(),
        size: between("RFC822.SIZE ", ")").parse().unwrap(),
    }
}

/// What a client can know of an account.
#[derive(Debug, Default, PartialEq)]
struct Picture {
    mailboxes: BTreeMap<String, Shown>,
    subscribed: Vec<String>,
}

#[derive(Debug, PartialEq)]
struct Shown {
    uid_validity: u32,
    uid_next: u32,
    messages: Vec<Message>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    uid: u32,
    flags: Vec<String>,
    date: String,
    size: u64,
}

/// The same through our store.
fn picture(store: &Store, home: &MailHome) -> Picture {
    let mut picture = Picture::default();
    for folder in store.list(home).unwrap() {
        let name = waypost_maildir::Folder::parse(&folder.name).unwrap().encoded();
        if folder.subscribed {
            picture.subscribed.push(name.clone());
        }
        if folder.selectable {
            picture.mailboxes.insert(name, shown(store, home, &folder.name));
        }
    }
    picture.subscribed.sort();
    picture
}

fn shown(store: &Store, home: &MailHome, name: &str) -> Shown {
    let open = store.open(home, name, false).unwrap();
    let uids: Vec<u32> = open.messages.iter().map(|message| message.uid).collect();
    let what = imap::What { date: true, size: true, ..imap::What::default() };
    let data = store.read(open.handle, &uids, what).unwrap();
    let messages = open.messages.iter().zip(data).map(|(message, data)| Message {
        uid: message.uid,
        flags: flag_names(message.flags, &open.keywords),
        date: date_text(data.date),
        size: data.size,
    });
    let messages = messages.collect();
    store.release(open.handle);
    Shown { uid_validity: open.uid_validity, uid_next: open.uid_next, messages }
}

fn flag_names(flags: imap::Flags, keywords: &[Box<str>]) -> Vec<String> {
    let system = [
        (imap::Flags::ANSWERED, "\\answered"),
        (imap::Flags::FLAGGED, "\\flagged"),
        (imap::Flags::DELETED, "\\deleted"),
        (imap::Flags::SEEN, "\\seen"),
        (imap::Flags::DRAFT, "\\draft"),
    ];
    let mut names: Vec<String> = system
        .iter()
        .filter(|(bit, _)| flags.system & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let set = keywords.iter().enumerate().filter(|(i, _)| flags.keywords & (1 << i) != 0);
    names.extend(set.map(|(_, name)| name.to_lowercase()));
    names.sort();
    names
}

/// `01-Feb-2026 12:34:56`, by counting days.
fn date_text(secs: i64) -> String {
    let (mut days, time) = (secs / 86400, secs % 86400);
    let mut year = 1970;
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let feb = 28 + i64::from(leap(year));
    let months = [31, feb, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let name = &names[month * 3..month * 3 + 3];
    format!(
        "{:02}-{name}-{year} {:02}:{:02}:{:02}",
        days + 1,
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

fn deliver(store: &Store, home: &MailHome, text: &str) {
    let parcel = Parcel { home: home.clone(), head: b"Delivered-To: mail000\r\n".to_vec() };
    let mut incoming = store.deliver(vec![parcel]);
    incoming.append(&[Bytes::copy_from_slice(text.as_bytes())]);
    incoming.commit().remove(0).unwrap();
}

/// Opens a mailbox of ours, does something, closes it.
fn session<T>(
    store: &Store,
    home: &MailHome,
    name: &str,
    work: impl FnOnce(&imap::OpenMailbox) -> T,
) -> T {
    let open = store.open(home, name, true).unwrap();
    let result = work(&open);
    store.release(open.handle);
    result
}

/// A small generator of numbers; the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }
}

const FLAGS: [&str; 8] =
    ["\\Seen", "\\Flagged", "\\Deleted", "\\Answered", "\\Draft", "work", "$Label1", "NonJunk"];
const NAMES: [&str; 5] = ["Work", "Work.2026", "Trash", "Entw&APw-rfe", "INBOX"];
const TEXTS: [&str; 3] = [
    "Subject: a\r\n\r\nHello.\r\n",
    "Subject: b\r\n\r\nno line end",
    "A: b\r\nC: d\r\n\r\n.\r\n\r\n",
];

/// Something Dovecot does. What cannot be done (a mailbox that is not there) is refused, and no matter.
fn dovecot_acts(dovecot: &mut Dovecot, dice: &mut Dice) {
    let (name, flag) = (dice.pick(&NAMES), dice.pick(&FLAGS));
    let text = dice.pick(&TEXTS);
    let command = match dice.roll(9) {
        0 => format!("CREATE \"{name}\""),
        1 => format!("SUBSCRIBE \"{name}\""),
        2 => format!("UNSUBSCRIBE \"{name}\""),
        3 if name != "INBOX" && dice.roll(3) == 0 => format!("DELETE \"{name}\""),
        4 | 5 => format!("APPEND \"{name}\" ({flag}) {{{}+}}\r\n{text}", text.len()),
        other => {
            if dovecot.command(format!("SELECT \"{name}\"").as_bytes()).1.starts_with("OK") {
                let at = dice.roll(4) + 1;
                let sign = dice.pick(&["+", "-", ""]);
                dovecot.command(format!("STORE {at}:* {sign}FLAGS ({flag})").as_bytes());
                let target = dice.pick(&NAMES);
                match other {
                    6 => drop(dovecot.command(format!("COPY {at} \"{target}\"").as_bytes())),
                    7 => drop(dovecot.command(format!("MOVE {at} \"{target}\"").as_bytes())),
                    _ => drop(dovecot.command(b"EXPUNGE")),
                }
                dovecot.command(b"UNSELECT");
            }
            return;
        }
    };
    dovecot.command(command.as_bytes());
}

/// Something our store does.
fn we_act(store: &Store, home: &MailHome, dice: &mut Dice) {
    let encoded = dice.pick(&NAMES);
    let name = waypost_maildir::Folder::from_encoded(encoded).unwrap().name().to_owned();
    let flag = dice.pick(&FLAGS);
    let flags = named(flag);
    let text = dice.pick(&TEXTS);
    let boxed = || -> Box<str> { name.as_str().into() };
    match dice.roll(10) {
        0 => drop(store.manage(home, &FolderChange::Create(boxed()))),
        1 => drop(store.manage(home, &FolderChange::Subscribe(boxed()))),
        2 => drop(store.manage(home, &FolderChange::Unsubscribe(boxed()))),
        3 if dice.roll(3) == 0 => drop(store.manage(home, &FolderChange::Delete(boxed()))),
        4 => deliver(store, home, text),
        5 => {
            if let Ok(upload) = store.begin_upload(home, &name, flags, Some(1_770_000_000)) {
                store.append(upload, &[Bytes::copy_from_slice(text.as_bytes())]).unwrap();
                store.commit_upload(upload).unwrap();
            }
        }
        other => {
            let Ok(open) = store.open(home, &name, true) else { return };
            let skip = usize::try_from(dice.roll(4)).unwrap();
            let uids: Vec<u32> = open.messages.iter().skip(skip).map(|m| m.uid).collect();
            let how = [StoreHow::Add, StoreHow::Remove, StoreHow::Replace]
                [usize::try_from(dice.roll(3)).unwrap()];
            store.set_flags(open.handle, &uids, how, &flags, open.now).unwrap();
            let target = waypost_maildir::Folder::from_encoded(dice.pick(&NAMES)).unwrap();
            match (other, uids.first()) {
                (6, Some(uid)) => drop(store.copy(open.handle, &[*uid], target.name(), false)),
                (7, Some(uid)) => drop(store.copy(open.handle, &[*uid], target.name(), true)),
                (8, _) => drop(store.expunge(open.handle, None, open.now).unwrap()),
                _ => {}
            }
            store.release(open.handle);
        }
    }
}

fn named(flag: &str) -> NamedFlags {
    let bits = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];
    match bits.iter().position(|known| *known == flag) {
        Some(bit) => NamedFlags { system: 1 << bit, keywords: Vec::new() },
        None => NamedFlags { system: 0, keywords: vec![flag.into()] },
    }
}

#[test]
fn from_dovecot_to_us_and_back() {
    let place = Place::new();
    let home = &place.home;
    let mut dovecot = place.dovecot();
    dovecot.append("INBOX", "", TEXTS[0]);
    dovecot.append("INBOX", "\\Seen work", TEXTS[1]);
    for command in ["CREATE Work", "CREATE \"Entw&APw-rfe\"", "SUBSCRIBE Work", "SUBSCRIBE INBOX"] {
        dovecot.ok(command);
    }
    dovecot.ok("SELECT INBOX");
    dovecot.ok("STORE 1 +FLAGS (\\Flagged $Label1)");
    dovecot.ok("COPY 1:2 Work");
    dovecot.ok("UNSELECT");
    let before = dovecot.picture();
    drop(dovecot);

    let store = place.store();
    assert_eq!(picture(&store, home), before);
    deliver(&store, home, TEXTS[2]);
    session(&store, home, "INBOX", |inbox| {
        assert_eq!(inbox.messages.last().unwrap().uid, 3);
        let (how, now) = (StoreHow::Add, inbox.now);
        let keywords = NamedFlags { system: imap::Flags::DELETED, keywords: vec!["fresh".into()] };
        store.set_flags(inbox.handle, &[2], how, &keywords, now).unwrap();
        store.copy(inbox.handle, &[2, 3], "Work", false).unwrap();
    });
    store.manage(home, &FolderChange::Subscribe("Entwürfe".into())).unwrap();
    store.manage(home, &FolderChange::Create("Ours".into())).unwrap();
    let ours = picture(&store, home);
    assert_eq!(ours.mailboxes["INBOX"].uid_validity, before.mailboxes["INBOX"].uid_validity);
    assert_eq!((ours.mailboxes["INBOX"].uid_next, ours.mailboxes["Work"].uid_next), (4, 5));

    let mut dovecot = place.dovecot();
    assert_eq!(dovecot.picture(), ours);
    dovecot.append("INBOX", "", TEXTS[0]);
    assert_eq!(dovecot.picture().mailboxes["INBOX"].messages.last().unwrap().uid, 4);
    assert_eq!(place.log(), "");
}

#[test]
fn in_turn_both_always_see_the_same() {
    for seed in 0..6 {
        let place = Place::new();
        let (home, mut dice) = (&place.home, Dice(seed));
        let mut store = place.store();
        let mut dovecot = place.dovecot();
        for round in 0..60 {
            if dice.roll(2) == 0 {
                dovecot_acts(&mut dovecot, &mut dice);
            } else {
                we_act(&store, home, &mut dice);
            }
            match dice.roll(12) {
                0 => store = place.store(),
                1 => dovecot = place.dovecot(),
                _ => {}
            }
            if round % 3 == 2 {
                let ours = picture(&store, home);
                assert_eq!(ours, dovecot.picture(), "seed {seed}, round {round}, Dovecot is right");
            }
        }
        drop(dovecot);
        assert_eq!(place.log(), "", "seed {seed}");
    }
}

#[test]
fn at_the_same_time_no_uid_is_given_twice() {
    const EACH: usize = 40;
    let place = Place::new();
    let home = &place.home;
    let mut dovecot = place.dovecot();
    dovecot.append("INBOX", "", "Subject: first\r\n\r\nx\r\n");
    let store = place.store();
    // What each uid was told to be, by whom.
    let mut told: Vec<(u32, String)> = Vec::new();
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            let mut told = Vec::new();
            for i in 0..EACH {
                let text = format!("Subject: theirs{i}\r\n\r\nx\r\n");
                let (_, tagged) = dovecot
                    .command(format!("APPEND INBOX () {{{}+}}\r\n{text}", text.len()).as_bytes());
                let uid = tagged.split_once("APPENDUID ").unwrap().1.split([' ', ']']).nth(1);
                told.push((uid.unwrap().parse().unwrap(), format!("theirs{i}")));
                dovecot.ok("SELECT INBOX");
                dovecot.ok("STORE 1:* +FLAGS.SILENT (\\Seen)");
                dovecot.ok("UNSELECT");
            }
            told
        });
        for i in 0..EACH {
            let text = format!("Subject: ours{i}\r\n\r\nx\r\n");
            if i % 2 == 0 {
                deliver(&store, home, &text);
            } else {
                let upload =
                    store.begin_upload(home, "INBOX", NamedFlags::default(), None).unwrap();
                store.append(upload, &[Bytes::from(text)]).unwrap();
                told.push((store.commit_upload(upload).unwrap().1, format!("ours{i}")));
            }
            session(&store, home, "INBOX", |inbox| {
                let uids: Vec<u32> = inbox.messages.iter().map(|message| message.uid).collect();
                let flags = NamedFlags { system: imap::Flags::FLAGGED, keywords: Vec::new() };
                store.set_flags(inbox.handle, &uids, StoreHow::Add, &flags, inbox.now).unwrap();
            });
        }
        told.extend(theirs.join().unwrap());
    });
    let ours = picture(&store, home);
    assert_eq!(ours.mailboxes["INBOX"].messages.len(), 2 * EACH + 1);
    session(&place.store(), home, "INBOX", |_| ());
    assert_eq!(ours, dovecot.picture());
    session(&store, home, "INBOX", |inbox| {
        for (uid, subject) in &told {
            let body = store.body(inbox.handle, *uid, 0, 1000).unwrap().unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(text.contains(&format!("Subject: {subject}\r\n")), "uid {uid}: {text}");
        }
    });
    drop(dovecot);
    assert_eq!(place.log(), "");
}
