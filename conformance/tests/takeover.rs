//! One set of Maildirs served by Dovecot, then by Waypost, then by Dovecot again: every message
//! keeps its UID, flags and keywords, every folder its UIDVALIDITY, and new messages get the next
//! UIDs.

use std::process::ExitCode;
use std::sync::Arc;
use waypost_conformance::corpus;
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::net::Client;
use waypost_conformance::replay::{User, ask, command};
use waypost_conformance::rig::{Options, Rig, seeded};
use waypost_conformance::stage::Stage;
use waypost_conformance::talk::Smtp;

const FOLDERS: [&str; 4] = ["INBOX", "Sent", "Work.2026", "Entw&APw-rfe"];

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    println!("\nDovecot, Waypost, Dovecot on one Maildir");
    let options = Options { seed: 1, ..Options::default() };
    let rig = Arc::new(Rig::start(options).map_err(|e| e.to_string())?);
    let user = seeded(0, 1).pop_front().ok_or("a user")?;
    let peers = rig.stage(seeded(0, 1));
    let mut client = peers.logged_in(&user)?;
    for folder in &FOLDERS[1..] {
        command(&mut client, format!("CREATE {folder}").as_bytes())?;
        command(&mut client, format!("SUBSCRIBE {folder}").as_bytes())?;
    }
    for folder in FOLDERS {
        fill(&mut client, folder)?;
    }
    change(&mut client, "INBOX")?;
    command(&mut client, b"LOGOUT")?;
    deliver(&peers, &user, "from Postfix", 9)?;
    let before = picture(&peers, &user)?;
    for part in ["dovecot", "postfix"] {
        rig.run(&["down", part]).map_err(|e| e.to_string())?;
    }

    let mut daemon =
        Daemon::start(&Accounts::Slapd(rig.clone()), &[]).map_err(|e| e.to_string())?;
    let ours = daemon.stage(seeded(0, 1));
    same("Dovecot", &before, "Waypost", &picture(&ours, &user)?)?;
    deliver(&ours, &user, "from Waypost", 10)?;
    let mut client = ours.logged_in(&user)?;
    command(&mut client, b"CREATE Ours")?;
    command(&mut client, b"SUBSCRIBE Ours")?;
    for folder in ["Sent", "Ours"] {
        fill(&mut client, folder)?;
    }
    change(&mut client, "Work.2026")?;
    command(&mut client, b"SELECT Sent")?;
    command(&mut client, b"COPY 1:3 Work.2026")?;
    command(&mut client, b"MOVE 4 Entw&APw-rfe")?;
    command(&mut client, b"LOGOUT")?;
    let after = picture(&ours, &user)?;
    daemon.down().map_err(|e| e.to_string())?;

    rig.run(&["up"]).map_err(|e| e.to_string())?;
    same("Waypost", &after, "Dovecot", &picture(&peers, &user)?)?;
    deliver(&peers, &user, "from Postfix again", 11)?;
    let uid = ask(&mut examined(&peers, &user)?, "UID SEARCH SUBJECT \"from Postfix again\"")?;
    let next = after.uid_next("INBOX").ok_or("no UIDNEXT")?;
    if !uid.contains(&format!("* SEARCH {next}\n")) {
        return Err(format!("the new message does not get uid {next}: {uid}"));
    }
    println!("all the same");
    Ok(())
}

fn examined(stage: &Stage, user: &User) -> Result<Client, String> {
    let mut client = stage.logged_in(user)?;
    command(&mut client, b"EXAMINE INBOX")?;
    Ok(client)
}

/// The corpus, with its flags and dates.
fn fill(client: &mut Client, folder: &str) -> Result<(), String> {
    for n in 1..=8 {
        let (message, flags, date) = corpus::message(n);
        let head = format!("APPEND {folder} ({flags}) \"{date}\" {{{}+}}\r\n", message.len());
        command(client, &[head.as_bytes(), &message].concat())?;
    }
    Ok(())
}

/// Flags and keywords set, messages expunged.
fn change(client: &mut Client, folder: &str) -> Result<(), String> {
    command(client, format!("SELECT {folder}").as_bytes())?;
    for text in [
        "STORE 1,3 +FLAGS (\\Flagged work $Label1)",
        "STORE 2 +FLAGS (later)",
        "STORE 5 +FLAGS (\\Deleted)",
        "EXPUNGE",
        "STORE 4 -FLAGS (\\Seen)",
    ] {
        command(client, text.as_bytes())?;
    }
    command(client, b"CLOSE")
}

/// A message through SMTP; waits until INBOX holds `count`.
fn deliver(stage: &Stage, user: &User, subject: &str, more: usize) -> Result<(), String> {
    let mut smtp = Smtp::greeted(stage)?;
    let reply = smtp.message(&user.address, &format!("Subject: {subject}\r\n\r\nHello."))?;
    if !reply.starts_with("250") {
        return Err(reply);
    }
    // INBOX was filled with 8 messages, two of which change() has expunged.
    stage.wait_for(user, more - 2)
}

/// What a client sees of an account, one text for each thing.
#[derive(PartialEq)]
struct Picture(Vec<(String, String)>);

impl Picture {
    fn uid_next(&self, folder: &str) -> Option<u32> {
        let (_, text) = self.0.iter().find(|(what, _)| *what == format!("STATUS {folder}"))?;
        text.split("UIDNEXT ").nth(1)?.split([' ', ')']).next()?.parse().ok()
    }
}

fn picture(stage: &Stage, user: &User) -> Result<Picture, String> {
    let mut client = stage.logged_in(user)?;
    let mut seen = Vec::new();
    let sorted = |text: &str, start: &str| {
        let mut lines: Vec<&str> = text.lines().filter(|l| l.starts_with(start)).collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    let subscribed = ask(&mut client, "LSUB \"\" \"*\"")?;
    // Only the names: attributes in LSUB are for the server to choose.
    let mut names: Vec<&str> =
        subscribed.lines().filter_map(|l| l.split("\".\" ").nth(1)).collect();
    names.sort_unstable();
    seen.push(("LSUB".to_owned(), names.join("\n")));
    let folders = ask(&mut client, "LIST \"\" \"*\"")?;
    let real = folders.lines().filter(|l| !l.to_lowercase().contains("\\noselect"));
    let names = real.filter_map(|l| l.strip_prefix("* LIST ")?.split("\".\" ").nth(1));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    for name in names {
        let status = format!("STATUS {name} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)");
        let status = ask(&mut client, &status)?;
        let plain = name.trim_matches('"').to_owned();
        seen.push((format!("STATUS {plain}"), sorted(&status, "* STATUS").replace('"', "")));
        command(&mut client, format!("EXAMINE {name}").as_bytes())?;
        let what =
            "UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])";
        let fetched = ask(&mut client, what)?;
        let lines: Vec<String> =
            fetched.lines().filter(|l| !l.starts_with("a001")).map(flags_sorted).collect();
        seen.push((format!("messages of {plain}"), lines.join("\n")));
    }
    command(&mut client, b"LOGOUT")?;
    Ok(Picture(seen))
}

/// A FETCH line with its flags in order and without \Recent, which ends with the session that saw
/// it.
fn flags_sorted(line: &str) -> String {
    let Some((before, rest)) = line.split_once("FLAGS (") else { return line.to_owned() };
    let Some((flags, after)) = rest.split_once(')') else { return line.to_owned() };
    let mut flags: Vec<&str> = flags.split(' ').filter(|f| *f != "\\Recent").collect();
    flags.sort_unstable();
    format!("{before}FLAGS ({}){after}", flags.join(" "))
}

fn same(first: &str, before: &Picture, second: &str, after: &Picture) -> Result<(), String> {
    for ((what, old), (other, new)) in before.0.iter().zip(&after.0) {
        if (what, old) != (other, new) {
            return Err(format!("{what} with {first}:\n{old}\n{other} with {second}:\n{new}"));
        }
    }
    if before == after { Ok(()) } else { Err(format!("{first} and {second} differ in folders")) }
}
