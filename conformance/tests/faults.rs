//! The world fails: the directory dies, the disk is full, a mailbox cannot be used, an entry makes
//! no sense.  The peer hears a temporary error or the message waits; nothing is lost, nothing is
//! half, nothing lands in the wrong place.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::net::Heard;
use waypost_conformance::replay::{User, command};
use waypost_conformance::report::{self, Case};
use waypost_conformance::rig::{Options, Rig, seeded};
use waypost_conformance::stage::{Stage, run as program};
use waypost_conformance::talk::Smtp;

/// What waits is tried again every second; nothing is cached.
const SOON: [(&str, &str); 5] = [
    ("spool.minimal_backoff_time", "\"1s\""),
    ("spool.maximal_backoff_time", "\"1s\""),
    ("spool.queue_run_delay", "\"1s\""),
    ("cache.positive", "\"0s\""),
    ("cache.negative", "\"0s\""),
];

type Check = fn() -> Result<(), String>;

const CHECKS: &[(&str, Check)] = &[
    ("slapd dies before RCPT", slapd_dies_before_rcpt),
    ("slapd dies between RCPT and the end of DATA", slapd_dies_before_the_end),
    ("full disk", full_disk),
    ("a Maildir that the user cannot use", unusable_maildir),
    ("entries that make no sense", senseless_entries),
    ("a Postfix beside us logs its users in through our socket", postfix_beside_us),
];

fn main() -> ExitCode {
    let case = |(name, check): &(&str, Check)| {
        let check = *check;
        Case { name: (*name).to_owned(), check: Box::new(check) }
    };
    let cases: Vec<Case<'_>> = CHECKS.iter().map(case).collect();
    waypost_conformance::finish(report::run("the world fails", &cases, cases.len()))
}

fn slapd() -> Result<Arc<Rig>, String> {
    let options = Options { parts: vec!["ldap"], seed: 4, ..Options::default() };
    Rig::start(options).map(Arc::new).map_err(|e| e.to_string())
}

fn start(accounts: &Accounts) -> Result<Daemon, String> {
    Daemon::start(accounts, &SOON).map_err(|e| e.to_string())
}

fn user(n: usize) -> Result<User, String> {
    seeded(n, 1).pop_front().ok_or_else(|| "a user".to_owned())
}

fn begins(reply: &str, code: &str) -> Result<(), String> {
    if reply.starts_with(code) { Ok(()) } else { Err(format!("`{reply}`, not {code}")) }
}

fn slapd_dies_before_rcpt() -> Result<(), String> {
    let rig = slapd()?;
    let daemon = start(&Accounts::Slapd(rig.clone()))?;
    let stage = daemon.stage(seeded(0, 1));
    let mut smtp = Smtp::greeted(&stage)?;
    smtp.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
    rig.run(&["down", "ldap"]).map_err(|e| e.to_string())?;
    smtp.say("RCPT TO:<u00000@example.com>", "451 4.3.0")?;
    // Not even an address that does not exist is refused for good.
    smtp.say("RCPT TO:<nobody@example.com>", "451 4.3.0")?;
    let mut imap = stage.imaps()?;
    imap.send(b"a LOGIN u00000 seedpass\r\n").map_err(|e| e.to_string())?;
    match imap.line().map_err(|e| e.to_string())? {
        Heard::Line(line) if line.starts_with(b"a NO [UNAVAILABLE]") => {}
        other => return Err(format!("LOGIN without a directory: {other:?}")),
    }
    rig.run(&["up", "ldap"]).map_err(|e| e.to_string())?;
    until(|| smtp.say("RCPT TO:<u00000@example.com>", "250").map(drop))?;
    smtp.say("DATA", "354")?;
    smtp.say("Subject: late\r\n\r\nHello.\r\n.", "250")?;
    stage.wait_for(&user(0)?, 1)
}

fn slapd_dies_before_the_end() -> Result<(), String> {
    let rig = slapd()?;
    let daemon = start(&Accounts::Slapd(rig.clone()))?;
    let stage = daemon.stage(seeded(0, 1));
    let mut smtp = Smtp::greeted(&stage)?;
    smtp.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
    smtp.say("RCPT TO:<u00000@example.com>", "250")?;
    smtp.say("RCPT TO:<team@example.com>", "250")?;
    smtp.say("DATA", "354")?;
    rig.run(&["down", "ldap"]).map_err(|e| e.to_string())?;
    smtp.send("Subject: in between\r\n\r\nHello.\r\n.")?;
    let reply = smtp.hear()?;
    rig.run(&["up", "ldap"]).map_err(|e| e.to_string())?;
    if reply.starts_with('4') {
        // Refused for now: then the sender comes again.
        until(|| {
            begins(&smtp.message("u00000@example.com", "Subject: again\r\n\r\nHello.")?, "250")
        })?;
    } else {
        begins(&reply, "250")?;
    }
    until(|| stage.wait_for(&user(0)?, 1))?;
    let count = stage.messages(&user(0)?).len();
    if count == 1 { Ok(()) } else { Err(format!("{count} copies")) }
}

/// Repeats something that may fail while a server comes back, some hundred times at most.
fn until(mut attempt: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let mut last = Ok(());
    for _ in 0..300 {
        last = attempt();
        if last.is_ok() {
            return last;
        }
        // A round through the kernel and the disk: gives the daemon the processor.
        let _ = program("sync", &[], b"");
    }
    last
}

/// A small file system in memory, gone with this value.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path, size: &str) -> Result<Self, String> {
        let options = format!("size={size},mode=755");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs", path(at)?];
        program("mount", &arguments, b"").map(|_| Self(at))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = program("umount", &["-l", &self.0.display().to_string()], b"");
    }
}

fn path(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| "a path is not text".to_owned())
}

fn full_disk() -> Result<(), String> {
    let mut daemon = Daemon::prepare(&Accounts::Ldif(2), &SOON).map_err(|e| e.to_string())?;
    let (home, spool) = (daemon.dir().join("home"), daemon.dir().join("spool"));
    let _home = Tmpfs::mount(&home, "1m")?;
    let _spool = Tmpfs::mount(&spool, "1m")?;
    fs::create_dir_all(home.join("mail")).map_err(|e| e.to_string())?;
    daemon.up().map_err(|e| e.to_string())?;
    let stage = daemon.stage(seeded(0, 2));
    let mut smtp = Smtp::greeted(&stage)?;
    let large = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(20_000));
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..20 {
        let reply = smtp.message("u00000@example.com", &large)?;
        match reply.get(..3) {
            Some("250") => accepted += 1,
            Some("452" | "451") => refused += 1,
            _ => return Err(reply),
        }
    }
    if accepted == 0 || refused == 0 {
        return Err(format!("{accepted} accepted, {refused} refused on a disk of 1 MB"));
    }
    // Room again: mail flows again, and what was accepted is there, whole.
    let remount = |at: &Path| program("mount", &["-o", "remount,size=64m", path(at)?], b"");
    remount(&home)?;
    remount(&spool)?;
    begins(&smtp.message("u00000@example.com", &large)?, "250")?;
    stage.wait_for(&user(0)?, accepted + 1)?;
    let whole = stage.messages(&user(0)?).iter().filter(|m| m.len() > 220_000).count();
    if whole == accepted + 1 { Ok(()) } else { Err(format!("{whole} whole of {accepted} + 1")) }
}

fn unusable_maildir() -> Result<(), String> {
    let daemon = start(&Accounts::Ldif(2))?;
    let stage = daemon.stage(seeded(0, 2));
    let home = daemon.homes().join("u00000");
    fs::create_dir_all(home.join("mailbox")).map_err(|e| e.to_string())?;
    // Owned by root, closed to the user.
    let mailbox = home.join("mailbox");
    program("chmod", &["000", path(&mailbox)?], b"")?;
    let mut smtp = Smtp::greeted(&stage)?;
    let reply = smtp.message("u00000@example.com", "Subject: closed\r\n\r\nHello.")?;
    let mut imap = stage.imaps()?;
    command(&mut imap, b"LOGIN u00000 seedpass")?;
    imap.send(b"b SELECT INBOX\r\n").map_err(|e| e.to_string())?;
    loop {
        match imap.line().map_err(|e| e.to_string())? {
            Heard::Line(line) if line.starts_with(b"b NO") => break,
            Heard::Line(line) if line.starts_with(b"* ") => {}
            other => return Err(format!("SELECT of an unusable mailbox: {other:?}")),
        }
    }
    program("chmod", &["700", path(&mailbox)?], b"")?;
    program("chown", &["-R", "30000:30000", path(&home)?], b"")?;
    if reply.starts_with('4') {
        begins(&smtp.message("u00000@example.com", "Subject: open\r\n\r\nHello.")?, "250")?;
    } else {
        begins(&reply, "250")?;
    }
    stage.wait_for(&user(0)?, 1)
}

const SENSELESS: &str = "
dn: uid=nouid,ou=Mail,dc=example,dc=com
objectClass: account
objectClass: postfixUser
uid: nouid
homeDirectory: BASE/home/mail/nouid
mailacceptinggeneralid: nouid@example.com
maildrop: nouid@mail.example.com

dn: uid=rooty,ou=Mail,dc=example,dc=com
objectClass: account
objectClass: posixAccount
objectClass: postfixUser
uid: rooty
cn: rooty
uidNumber: 0
gidNumber: 0
homeDirectory: BASE/home/mail/rooty
mailacceptinggeneralid: rooty@example.com
maildrop: rooty@mail.example.com

dn: uid=climber,ou=Mail,dc=example,dc=com
objectClass: account
objectClass: posixAccount
objectClass: postfixUser
uid: climber
cn: climber
uidNumber: 31000
gidNumber: 31000
homeDirectory: BASE/home/mail/../../climber
mailacceptinggeneralid: climber@example.com
maildrop: climber@mail.example.com

dn: uid=twin1,ou=Mail,dc=example,dc=com
objectClass: account
objectClass: posixAccount
objectClass: postfixUser
uid: twin1
cn: twin1
uidNumber: 31001
gidNumber: 31001
homeDirectory: BASE/home/mail/twin1
mailacceptinggeneralid: twin@example.com
maildrop: twin@mail.example.com

dn: uid=twin2,ou=Mail,dc=example,dc=com
objectClass: account
objectClass: posixAccount
objectClass: postfixUser
uid: twin2
cn: twin2
uidNumber: 31002
gidNumber: 31002
homeDirectory: BASE/home/mail/twin2
maildrop: twin@mail.example.com
";

fn senseless_entries() -> Result<(), String> {
    let mut daemon = Daemon::prepare(&Accounts::Ldif(2), &SOON).map_err(|e| e.to_string())?;
    let ldif = daemon.dir().join("accounts.ldif");
    let mut text = fs::read_to_string(&ldif).map_err(|e| e.to_string())?;
    text.push_str(&SENSELESS.replace("BASE", path(daemon.dir())?));
    fs::write(&ldif, text).map_err(|e| e.to_string())?;
    daemon.up().map_err(|e| e.to_string())?;
    let stage = daemon.stage(seeded(0, 2));
    let mut smtp = Smtp::greeted(&stage)?;
    for name in ["nouid", "rooty", "climber", "twin"] {
        smtp.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
        smtp.send(&format!("RCPT TO:<{name}@example.com>"))?;
        let reply = smtp.hear()?;
        if reply.starts_with("250") {
            smtp.say("DATA", "354")?;
            smtp.send("Subject: to whom\r\n\r\nHello.\r\n.")?;
            let reply = smtp.hear()?;
            if !reply.starts_with("250") && !reply.starts_with('4') {
                return Err(format!("{name}: {reply}"));
            }
        } else {
            begins(&reply, "4").map_err(|e| format!("{name}: {e}"))?;
            smtp.say("RSET", "250")?;
        }
    }
    // Somebody else's mail still arrives, and then nothing has been written for the four.
    begins(&smtp.message("u00000@example.com", "Subject: fine\r\n\r\nHello.")?, "250")?;
    stage.wait_for(&user(0)?, 1)?;
    let written = program("find", &[path(daemon.dir())?, "-path", "*/new/*", "-type", "f"], b"")?;
    let elsewhere: Vec<&str> = written.lines().filter(|l| !l.contains("/u00000/")).collect();
    if !elsewhere.is_empty() {
        return Err(format!("written for entries that make no sense: {elsewhere:?}"));
    }
    let status = daemon.down().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("waypost ends with {status}")) }
}

fn postfix_beside_us() -> Result<(), String> {
    let rig = slapd()?;
    let extra = [("auth.socket_user", "\"postfix\""), ("auth.socket_group", "\"postfix\"")];
    let daemon = Daemon::start(&Accounts::Slapd(rig.clone()), &extra).map_err(|e| e.to_string())?;
    let socket = path(&daemon.auth_socket())?.to_owned();
    rig.run_with(&["up", "postfix"], &[("RIG_SASL_PATH", &socket)]).map_err(|e| e.to_string())?;
    let stage: Stage = rig.stage(seeded(0, 4));
    let port = stage.submission.to_string();
    let swaks = |password: &str| {
        let arguments = [
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--tls",
            "--auth",
            "PLAIN",
            "--auth-user",
            "mail000",
            "--auth-password",
            password,
            "--from",
            "mail000@example.com",
            "--to",
            "u00000@example.com",
            "--helo",
            "client.example.net",
            "--quit-after",
            "RCPT",
        ];
        program("swaks", &arguments, b"")
    };
    let output = swaks("secret000")?;
    if !output.contains("235 2.7.0 Authentication successful") {
        return Err(output);
    }
    match swaks("wrong") {
        Err(problem) if problem.contains("535 5.7.8") => Ok(()),
        other => Err(format!("a wrong password: {other:?}")),
    }
}
