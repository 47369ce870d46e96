//! Limits on what one client can hold: connections, time, memory, file descriptors.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::net::{Client, Endpoint, Heard, fresh_address, is_end, trusting};
use waypost_conformance::replay::command;
use waypost_conformance::report::{self, Case};
use waypost_conformance::rig::seeded;
use waypost_conformance::shells::Shell;
use waypost_conformance::stage::Stage;
use waypost_conformance::talk::Smtp;

type Check = fn(Shell) -> Result<(), String>;

const CHECKS: &[(&str, Check)] = &[
    ("connections in all and of one address", connections),
    ("connections that are over and stay open", lingering),
    ("a command byte by byte", slow_command),
    ("a message byte by byte", slow_message),
    ("a login byte by byte", slow_login),
    ("a TLS handshake that never begins", no_handshake),
    ("a TLS handshake byte by byte", slow_handshake),
    ("a reader that reads nothing", no_reader),
    ("no file descriptors left", no_descriptors),
];

/// Time limits of a daemon under test.
const SHORT: [(&str, &str); 5] = [
    ("smtp.timeout", "\"2s\""),
    ("imap.login_timeout", "\"2s\""),
    ("limits.handshake_timeout", "\"2s\""),
    ("limits.write_timeout", "\"2s\""),
    ("limits.connections_per_address", "3"),
];
/// When one of them must have been noticed, also on a busy machine.
const SOON: Duration = Duration::from_secs(15);
/// Between the bytes of a slow writer.
const SLOW: Duration = Duration::from_millis(100);
/// KiB the daemon may grow by for one reader that does not read.
const GROWTH: u64 = 24 * 1024;

fn main() -> ExitCode {
    let cases = Shell::ALL.into_iter().flat_map(|shell| {
        CHECKS.iter().map(move |(name, check)| Case {
            name: format!("{} {name}", shell.name()),
            check: Box::new(move || check(shell)),
        })
    });
    let cases: Vec<Case<'_>> = cases.collect();
    waypost_conformance::finish(report::run("limits", &cases, 8))
}

fn text(error: io::Error) -> String {
    error.to_string()
}

fn start(shell: Shell, more: &[(&str, &str)]) -> Result<(Daemon, Stage), String> {
    let mut daemon = Daemon::prepare(&Accounts::Ldif(2), &SHORT).map_err(text)?.on(shell);
    for (path, value) in more {
        daemon.configure(path, value).map_err(text)?;
    }
    daemon.up().map_err(text)?;
    let stage = daemon.stage(seeded(0, 2));
    Ok((daemon, stage))
}

fn dial(port: u16, from: IpAddr) -> Result<Client, String> {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Endpoint::Tcp(here).dial(Some(from)).map(Client::new).map_err(text)
}

fn connections(shell: Shell) -> Result<(), String> {
    let (_daemon, stage) =
        start(shell, &[("limits.connections", "5"), ("smtp.timeout", "\"60s\"")])?;
    let greeted = |from, code: &str| {
        let mut smtp = Smtp { client: dial(stage.smtp, from)? };
        smtp.hear_code(code)?;
        Ok::<_, String>(smtp)
    };
    let (one, two) = (fresh_address(), fresh_address());
    let mut held = Vec::new();
    for from in [one, one, one] {
        held.push(greeted(from, "220")?);
    }
    greeted(one, "421 4.7.0 mail.example.com Error: too many connections from")?;
    // Other ports count too; in TLS there is nothing to say.
    match dial(stage.imaps, one)?.line().map_err(text)? {
        Heard::End => {}
        Heard::Line(line) => return Err(format!("{line:?}")),
    }
    held.extend([greeted(two, "220")?, greeted(two, "220")?]);
    greeted(two, "421 4.3.2 mail.example.com All server ports are busy")?;
    // Who goes makes room.
    held.remove(0).say("QUIT", "221")?;
    let started = Instant::now();
    while greeted(two, "220").is_err() {
        if started.elapsed() > SOON {
            return Err("a place that is free again is not given".into());
        }
    }
    Ok(())
}

/// Who is sent away and does not go keeps its place for as long as it is waited for.
fn lingering(shell: Shell) -> Result<(), String> {
    let (_daemon, stage) = start(shell, &[])?;
    // On a busy machine that time may be over before the last one comes.
    for _ in 0..5 {
        let from = fresh_address();
        let mut over = Vec::new();
        for _ in 0..3 {
            let mut client = dial(stage.smtp, from)?;
            client.send(b"EHLO client.example.net\r\nSTARTTLS\r\nNOOP\r\n").map_err(text)?;
            while matches!(client.line().map_err(text)?, Heard::Line(_)) {}
            over.push(client);
        }
        let mut next = Smtp { client: dial(stage.smtp, from)? };
        if next.hear()?.starts_with("421 4.7.0 ") {
            drop(over);
            let started = Instant::now();
            while !(Smtp { client: dial(stage.smtp, from)? }).hear()?.starts_with("220 ") {
                if started.elapsed() > SOON {
                    return Err("a place that is free again is not given".into());
                }
            }
            return Ok(());
        }
    }
    Err("connections that are still open take no places".into())
}

/// A connection to write to slowly; its reads wait as long as its writes shall.
fn slow(port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(text)?;
    stream.set_read_timeout(Some(SLOW)).map_err(text)?;
    Ok(stream)
}

/// Sends a byte now and then until the server closes; what it said then.
fn drip(stream: &mut TcpStream, byte: Option<u8>) -> Result<String, String> {
    let (started, mut heard, mut block) = (Instant::now(), Vec::new(), [0; 4096]);
    while started.elapsed() < SOON {
        match stream.read(&mut block) {
            Ok(0) => return Ok(String::from_utf8_lossy(&heard).into()),
            Ok(count) => heard.extend_from_slice(&block[..count]),
            Err(error) if is_end(error.kind()) => return Ok(String::from_utf8_lossy(&heard).into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // After the end this may fail; the next read tells.
                let _ = byte.map(|byte| stream.write(&[byte]));
            }
            Err(error) => return Err(text(error)),
        }
    }
    Err(format!("still there after {SOON:?}: {}", String::from_utf8_lossy(&heard)))
}

fn ends(heard: &str, wanted: &str) -> Result<(), String> {
    let last = heard.lines().last().unwrap_or_default();
    if last.starts_with(wanted) { Ok(()) } else { Err(format!("`{heard}`, not {wanted}")) }
}

const TIMEOUT: &str = "421 4.4.2 mail.example.com Error: timeout exceeded";

fn slow_command(shell: Shell) -> Result<(), String> {
    let (_daemon, stage) = start(shell, &[])?;
    for port in [stage.smtp, stage.submission] {
        ends(&drip(&mut slow(port)?, Some(b'N'))?, TIMEOUT)?;
    }
    Ok(())
}

fn slow_message(shell: Shell) -> Result<(), String> {
    let (_daemon, stage) = start(shell, &[])?;
    let mut stream = slow(stage.smtp)?;
    // In one write: the replies come when they come.
    let begin = b"EHLO client.example.net\r\nMAIL FROM:<someone@elsewhere.test>\r\n\
                  RCPT TO:<u00000@example.com>\r\nDATA\r\n";
    stream.write_all(begin).map_err(text)?;
    let heard = drip(&mut stream, Some(b'x'))?;
    if !heard.contains("\n354 ") {
        return Err(heard);
    }
    ends(&heard, TIMEOUT)
}

fn slow_login(shell: Shell) -> Result<(), String> {
    let (_daemon, stage) = start(shell, &[])?;
    let mut client = stage.imaps()?;
    let started = Instant::now();
    while started.elapsed() < SOON {
        match client.hear_within(SLOW).map_err(text)? {
            Some(Heard::Line(line)) if line.starts_with(b"* BYE") => return Ok(()),
            Some(other) => return Err(format!("{other:?}")),
            None => drop(client.send(b"x")),
        }
    }
    Err(format!("still there after {SOON:?}"))
}

fn no_handshake(shell: Shell) -> Result<(), String> {
    let (_daemon, stage) = start(shell, &[])?;
    for port in [stage.submissions, Some(stage.imaps)].into_iter().flatten() {
        let heard = drip(&mut slow(port)?, None)?;
        if !heard.is_empty() {
            return Err(format!("before the handshake: {heard}"));
        }
    }
    let mut stream = slow(stage.smtp)?;
    stream.write_all(b"EHLO client.example.net\r\nSTARTTLS\r\n").map_err(text)?;
    ends(&drip(&mut stream, None)?, "220 2.0.0 Ready to start TLS")
}

fn slow_handshake(shell: Shell) -> Result<(), String> {
    let (_daemon, stage) = start(shell, &[])?;
    // A record is announced, then it comes byte by byte.
    let mut stream = slow(stage.imaps)?;
    stream.write_all(&[0x16, 3, 1, 2, 0]).map_err(text)?;
    let heard = drip(&mut stream, Some(1))?;
    // An alert may come, in seven octets.
    if heard.len() <= 20 { Ok(()) } else { Err(format!("{heard:?}")) }
}

/// A good client is served, and soon.
fn serves(stage: &Stage) -> Result<(), String> {
    let started = Instant::now();
    Smtp::greeted(stage)?.say("QUIT", "221")?;
    let took = started.elapsed();
    if took < Duration::from_secs(5) { Ok(()) } else { Err(format!("others wait for {took:?}")) }
}

fn resident(daemon: &Daemon) -> Result<u64, String> {
    let pid = daemon.pid().ok_or("the daemon is gone")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(text)?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().map_err(|_| "no number".to_owned())
}

fn no_reader(shell: Shell) -> Result<(), String> {
    let (daemon, stage) = start(shell, &[])?;
    let user = stage.user()?;
    let mut client = stage.logged_in(&user)?;
    let message = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(200_000));
    command(&mut client, format!("APPEND INBOX {{{}+}}\r\n{message}", message.len()).as_bytes())?;
    command(&mut client, b"SELECT INBOX")?;
    let before = resident(&daemon)?;
    let fetch: String = (0..200).map(|n| format!("f{n} FETCH 1 BODY.PEEK[]\r\n")).collect();
    client.send(fetch.as_bytes()).map_err(text)?;
    let started = Instant::now();
    while !daemon.logged().contains("Disconnected: the peer does not read") {
        serves(&stage)?;
        let now = resident(&daemon)?;
        if now > before + GROWTH {
            return Err(format!("memory grows from {before} to {now} KiB"));
        }
        if started.elapsed() > SOON {
            return Err(format!("still there after {SOON:?}\n{}", daemon.logged()));
        }
    }
    Ok(())
}

/// Hundredths of a second that the daemon has worked.
fn worked(daemon: &Daemon) -> Result<u64, String> {
    let pid = daemon.pid().ok_or("the daemon is gone")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(text)?;
    // utime and stime, proc(5); the name before them may hold blanks.
    let (_, rest) = stat.rsplit_once(") ").ok_or("no stat")?;
    let fields = rest.split(' ').skip(11).take(2).map(str::parse::<u64>);
    fields.sum::<Result<u64, _>>().map_err(|e| e.to_string())
}

fn no_descriptors(shell: Shell) -> Result<(), String> {
    const DESCRIPTORS: u32 = 80;
    let mut daemon = Daemon::prepare(&Accounts::Ldif(2), &[]).map_err(text)?.on(shell);
    daemon.limit_descriptors(DESCRIPTORS);
    daemon.up().map_err(text)?;
    let stage = daemon.stage(seeded(0, 2));
    // The kernel takes more connections than the daemon can.
    let mut served = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..DESCRIPTORS {
        let mut client = stage.dial(stage.smtp).map_err(text)?;
        let patience = if waiting.is_empty() { Duration::from_secs(4) } else { SLOW };
        match client.hear_within(patience).map_err(text)? {
            Some(_) => served.push(client),
            None => waiting.push(client),
        }
    }
    if served.len() < 20 || waiting.len() < 10 {
        return Err(format!("{} served, {} waiting", served.len(), waiting.len()));
    }
    // While nobody goes it does next to nothing, and says so once.
    let before = worked(&daemon)?;
    if waiting[0].hear_within(Duration::from_secs(2)).map_err(text)?.is_some() {
        return Err("a descriptor out of nothing".into());
    }
    let work = worked(&daemon)? - before;
    if work > 40 {
        return Err(format!("{work} hundredths of work in two seconds"));
    }
    let told = daemon.logged().lines().filter(|l| l.contains("accept on ")).count();
    if told != 1 {
        return Err(format!("told {told} times:\n{}", daemon.logged()));
    }
    // Sessions that are there go on, and when some end, those that wait are served.
    let mut smtp = Smtp { client: served.pop().ok_or("none is served")? };
    smtp.say("EHLO client.example.net", "250")?;
    drop(served);
    for client in &mut waiting {
        match client.line().map_err(text)? {
            Heard::Line(line) if line.starts_with(b"220 ") => {}
            other => return Err(format!("{other:?}")),
        }
    }
    drop(waiting);
    let mut imap = stage.imaps()?;
    command(&mut imap, b"LOGIN u00000 seedpass")?;
    smtp.say("QUIT", "221")?;
    let tls = trusting(&stage.ca).map_err(text)?;
    let mut submission = Smtp { client: stage.dial(stage.submission).map_err(text)? };
    submission.hear_code("220")?;
    submission.say("EHLO client.example.net", "250")?;
    submission.say("STARTTLS", "220")?;
    submission.client.secure(&tls, "localhost").map_err(text)
}
