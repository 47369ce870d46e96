//! Peers that do not behave: nothing they send may stop the daemon, make it hold much memory, or
//! keep it from serving others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::net::{Client, Endpoint, Heard, trusting};
use waypost_conformance::replay::{ask, command};
use waypost_conformance::report::{self, Case};
use waypost_conformance::rig::seeded;
use waypost_conformance::shells::{Shell, on_all};
use waypost_conformance::stage::Stage;
use waypost_conformance::talk::Smtp;

type Check = fn(&Daemon, &Stage) -> Result<(), String>;

const CHECKS: &[(&str, Check)] = &[
    ("random bytes on every port", random_bytes),
    ("an endless line", endless_line),
    ("an endless IMAP line", endless_imap_line),
    ("a literal announced and never sent", literal_never_sent),
    (MANY_RECIPIENTS, many_recipients),
    ("a peer that reads nothing", reads_nothing),
    ("an IMAP peer that reads nothing", imap_reads_nothing),
    ("byte by byte", byte_by_byte),
    ("garbage instead of TLS", tls_garbage),
    ("commands in one write with STARTTLS", injected_commands),
    ("a peer that goes away in DATA", gone_in_data),
    ("too many connections from one address", too_many_connections),
];

const MANY_RECIPIENTS: &str = "100000 recipients";

/// KiB the daemon may grow by while one peer misbehaves.
const GROWTH: u64 = 48 * 1024;

fn main() -> ExitCode {
    waypost_conformance::finish(on_all(run))
}

fn run(shell: Shell) -> Result<(), String> {
    let extra = [("smtp.recipient_limit", "200000")];
    let mut daemon = Daemon::prepare(&Accounts::Ldif(20), &extra).map_err(|e| e.to_string())?;
    daemon = daemon.on(shell);
    daemon.up().map_err(|e| e.to_string())?;
    let stage = daemon.stage(seeded(0, 20));
    // What takes time here is the machine's work, whatever shell it has.
    let here = |(name, _): &&(&str, Check)| shell == Shell::Tokio || *name != MANY_RECIPIENTS;
    let cases: Vec<Case<'_>> = CHECKS
        .iter()
        .filter(here)
        .map(|(name, check)| Case {
            name: format!("{} {name}", shell.name()),
            check: Box::new(|| {
                let before = resident(&daemon)?;
                check(&daemon, &stage)?;
                serves(&stage)?;
                let after = resident(&daemon)?;
                if after > before + GROWTH {
                    return Err(format!("memory grows from {before} to {after} KiB"));
                }
                Ok(())
            }),
        })
        .collect();
    report::run(&format!("{}: peers that do not behave", shell.name()), &cases, 1)
}

/// A good client is served, and soon.
fn serves(stage: &Stage) -> Result<(), String> {
    let started = Instant::now();
    let mut smtp = Smtp::greeted(stage)?;
    smtp.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
    smtp.say("RCPT TO:<mail000@example.com>", "250")?;
    smtp.say("QUIT", "221")?;
    let mut imap = stage.imaps()?;
    command(&mut imap, b"LOGIN mail000 secret000")?;
    command(&mut imap, b"LOGOUT")?;
    let took = started.elapsed();
    if took < Duration::from_secs(5) { Ok(()) } else { Err(format!("others wait for {took:?}")) }
}

/// Resident memory of the daemon in KiB.
fn resident(daemon: &Daemon) -> Result<u64, String> {
    let pid = daemon.pid().ok_or("the daemon is gone")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|e| format!("the daemon is gone: {e}"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().map_err(|_| "no number".to_owned())
}

/// Bytes that look like nothing, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn random_bytes(_: &Daemon, stage: &Stage) -> Result<(), String> {
    let ports = [Some(stage.smtp), Some(stage.submission), stage.submissions, Some(stage.imaps)];
    for port in ports.into_iter().flatten() {
        for length in [1, 100, 10_000, 1_000_000] {
            let mut client = stage.dial(port).map_err(|e| e.to_string())?;
            // The server may hang up before it has taken all.
            let _ = client.send(&noise(length));
        }
    }
    Ok(())
}

fn endless_line(daemon: &Daemon, stage: &Stage) -> Result<(), String> {
    let mut smtp = Smtp::greeted(stage)?;
    let block = vec![b'x'; 1_000_000];
    let before = resident(daemon)?;
    for _ in 0..100 {
        if smtp.client.send(&block).is_err() {
            return Ok(());
        }
        if resident(daemon)? > before + GROWTH {
            return Err("the line is kept in memory".into());
        }
    }
    // Still there: the line is refused, and the session goes on or ends.
    smtp.send("")?;
    let reply = smtp.hear()?;
    if reply.starts_with('5') || reply.starts_with('4') { Ok(()) } else { Err(reply) }
}

fn endless_imap_line(daemon: &Daemon, stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    for logged_in in [false, true] {
        let mut client = if logged_in { stage.logged_in(&user)? } else { stage.imaps()? };
        let before = resident(daemon)?;
        let block = vec![b'x'; 1_000_000];
        for _ in 0..50 {
            if client.send(&block).is_err() {
                break;
            }
            if resident(daemon)? > before + GROWTH {
                return Err("the line is kept in memory".into());
            }
        }
    }
    Ok(())
}

fn literal_never_sent(_: &Daemon, stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    let mut waiting = stage.imaps()?;
    waiting.send(b"a LOGIN {7}\r\n").map_err(|e| e.to_string())?;
    let mut client = stage.logged_in(&user)?;
    client.send(b"b APPEND INBOX {5000000}\r\n").map_err(|e| e.to_string())?;
    client.line().map_err(|e| e.to_string())?;
    client.send(&vec![b'x'; 100_000]).map_err(|e| e.to_string())?;
    client.close();
    // Nothing of it is in the mailbox.
    let mut client = stage.logged_in(&user)?;
    let said = ask(&mut client, "STATUS INBOX (MESSAGES)")?;
    if said.contains("(MESSAGES 0)") { Ok(()) } else { Err(said) }
}

fn many_recipients(_: &Daemon, stage: &Stage) -> Result<(), String> {
    let started = Instant::now();
    let user = stage.user()?;
    let mut smtp = Smtp::greeted(stage)?;
    smtp.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
    let line = format!("RCPT TO:<{}>\r\n", user.address);
    for _ in 0..100 {
        smtp.client.send(line.repeat(1_000).as_bytes()).map_err(|e| e.to_string())?;
        for _ in 0..1_000 {
            smtp.hear_code("250")?;
        }
    }
    smtp.say("DATA", "354")?;
    smtp.say("Subject: to you, and you\r\n\r\nHello.\r\n.", "250")?;
    stage.wait_for(&user, 1)?;
    let took = started.elapsed();
    if took < Duration::from_secs(100) { Ok(()) } else { Err(format!("it takes {took:?}")) }
}

fn reads_nothing(daemon: &Daemon, stage: &Stage) -> Result<(), String> {
    let mut smtp = Smtp::greeted(stage)?;
    let before = resident(daemon)?;
    let commands = "VRFY nobody\r\n".repeat(10_000);
    for _ in 0..20 {
        // The server stops reading, then our write times out or fails.
        if smtp.client.send_within(commands.as_bytes(), Duration::from_secs(1)).is_err() {
            break;
        }
    }
    if resident(daemon)? > before + GROWTH {
        return Err("replies that nobody reads are kept in memory".into());
    }
    Ok(())
}

/// Of 2.4 MB each.
const FETCHES: usize = 50;

fn imap_reads_nothing(daemon: &Daemon, stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    let mut client = stage.logged_in(&user)?;
    let message = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(200_000));
    let append = format!("APPEND INBOX {{{}+}}\r\n{message}", message.len());
    command(&mut client, append.as_bytes())?;
    let before = resident(daemon)?;
    command(&mut client, b"SELECT INBOX")?;
    let fetch: String = (0..FETCHES).map(|n| format!("f{n} FETCH 1 BODY.PEEK[]\r\n")).collect();
    client.send(fetch.as_bytes()).map_err(|e| e.to_string())?;
    serves(stage)?;
    if resident(daemon)? > before + GROWTH {
        return Err("data that nobody reads is kept in memory".into());
    }
    // And it is all there for a reader that is late.
    let mut done = 0;
    while done < FETCHES {
        match client.line().map_err(|e| e.to_string())? {
            Heard::Line(line) => done += usize::from(line.starts_with(b"f")),
            Heard::End => return Err(format!("closed after {done} answers")),
        }
    }
    Ok(())
}

fn byte_by_byte(_: &Daemon, stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    let mut smtp = Smtp::greeted(stage)?;
    let dialogue = format!(
        "MAIL FROM:<someone@elsewhere.test>\r\nRCPT TO:<{}>\r\nDATA\r\nSubject: slow\r\n\r\n\
         ..dot\r\n.\r\nQUIT\r\n",
        user.address
    );
    for byte in dialogue.bytes() {
        smtp.client.send(&[byte]).map_err(|e| e.to_string())?;
    }
    for code in ["250", "250", "354", "250", "221"] {
        smtp.hear_code(code)?;
    }
    stage.wait_for(&user, 1)?;
    let text = stage.messages(&user).concat();
    if text.ends_with(b"\n\n.dot\n") { Ok(()) } else { Err(String::from_utf8_lossy(&text).into()) }
}

fn tls_garbage(_: &Daemon, stage: &Stage) -> Result<(), String> {
    let mut smtp = Smtp::greeted(stage)?;
    smtp.say("STARTTLS", "220")?;
    let _ = smtp.client.send(&noise(5_000));
    loop {
        match smtp.client.line().map_err(|e| e.to_string())? {
            Heard::End => break,
            // A TLS alert may hold a line feed.
            Heard::Line(line) if line.len() < 100 => {}
            Heard::Line(line) => return Err(String::from_utf8_lossy(&line).into()),
        }
    }
    for port in [stage.submissions, Some(stage.imaps)].into_iter().flatten() {
        let mut client = stage.dial(port).map_err(|e| e.to_string())?;
        let _ = client.send(b"a1 LOGIN mail000 secret000\r\n");
        while client.line().map_err(|e| e.to_string())? != Heard::End {}
    }
    Ok(())
}

fn injected_commands(_: &Daemon, stage: &Stage) -> Result<(), String> {
    let mut smtp = Smtp::greeted(stage)?;
    let both = b"STARTTLS\r\nMAIL FROM:<injected@elsewhere.test>\r\n";
    smtp.client.send(both).map_err(|e| e.to_string())?;
    let Ok(reply) = smtp.hear() else { return Ok(()) };
    if !reply.starts_with("220") {
        return Ok(());
    }
    let tls = trusting(&stage.ca).map_err(|e| e.to_string())?;
    if smtp.client.secure(&tls, "localhost").is_err() {
        return Ok(());
    }
    // The handshake worked: then the injected MAIL must be forgotten.
    smtp.say("EHLO client.example.net", "250")?;
    smtp.say("RCPT TO:<mail000@example.com>", "503").map(drop)
}

fn gone_in_data(_: &Daemon, stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    for _ in 0..50 {
        let mut smtp = Smtp::greeted(stage)?;
        smtp.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
        smtp.say(&format!("RCPT TO:<{}>", user.address), "250")?;
        smtp.say("DATA", "354")?;
        smtp.client.send(b"Subject: never finished\r\n\r\nhalf a li").map_err(|e| e.to_string())?;
        smtp.client.close();
    }
    let mut smtp = Smtp::greeted(stage)?;
    smtp.message(&user.address, "Subject: finished\r\n\r\nHello.")?;
    stage.wait_for(&user, 1)?;
    let messages = stage.messages(&user);
    if messages.len() == 1 { Ok(()) } else { Err(format!("{} messages, not 1", messages.len())) }
}

fn too_many_connections(_: &Daemon, stage: &Stage) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, stage.smtp));
    let from = IpAddr::V4(Ipv4Addr::new(127, 99, 99, 99));
    let connect = || Endpoint::Tcp(address).dial(Some(from)).map_err(|e| e.to_string());
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut smtp = Smtp { client: Client::new(connect()?) };
        smtp.hear_code("220")?;
        held.push(smtp);
    }
    let mut smtp = Smtp { client: Client::new(connect()?) };
    smtp.hear_code("421 4.7.0 mail.example.com Error: too many connections from 127.99.99.99")?;
    // One goes, one may come.
    held.pop().ok_or("fifty are held")?.say("QUIT", "221")?;
    for _ in 0..1_000 {
        let mut smtp = Smtp { client: Client::new(connect()?) };
        if smtp.hear()?.starts_with("220") {
            return Ok(());
        }
    }
    Err("a place that is free again is not given".into())
}
