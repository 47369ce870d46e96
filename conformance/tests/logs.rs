//! The classic log format, read by a tool that was made for Postfix's: pflogsumm.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::thread;
use waypost_conformance::daemon::{self, Accounts, Daemon};
use waypost_conformance::remote::outside::{sender, submit};
use waypost_conformance::remote::play::MESSAGE;
use waypost_conformance::replay::command;
use waypost_conformance::rig::seeded;
use waypost_conformance::stage::{Stage, run as program};
use waypost_conformance::talk::Smtp;

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    println!("\nclassic log lines, by pflogsumm");
    let mut daemon = Daemon::prepare(&Accounts::Ldif(3), &[]).map_err(|e| e.to_string())?;
    let log = daemon.dir().join("mail.log").display().to_string();
    for (setting, value) in [("log.format", "classic"), ("log.file", log.as_str())] {
        daemon.configure(setting, &format!("\"{value}\"")).map_err(|e| e.to_string())?;
    }
    // What this computer sends by sendmail may go anywhere; the sessions come from elsewhere.
    daemon.configure("smtp.mynetworks", "[\"127.0.0.1/32\"]").map_err(|e| e.to_string())?;
    let nexthop = format!("[[\"remote.test\", \"[127.0.0.2]:{}\"]]", refuser()?);
    daemon.configure("relay.transport_maps", &nexthop).map_err(|e| e.to_string())?;
    daemon.up().map_err(|e| e.to_string())?;
    let stage = daemon.stage(seeded(0, 3));
    mail(&stage)?;
    // Comes back: two deliveries, that of the report is one.
    submit(&stage, &["nobody@remote.test".to_owned()], MESSAGE)?;
    stage.wait_for(&sender(), 1)?;
    defer(&daemon)?;
    let status = daemon.down().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("waypost ends with {status}"));
    }
    let summary = program("pflogsumm", &[&log], b"")?;
    let lines: Vec<String> =
        summary.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for wanted in
        ["6 received", "6 delivered", "3 rejected (33%)", "1 bounced", "1 deferred (1 deferrals)"]
    {
        if !lines.iter().any(|l| l == wanted) {
            return Err(format!("pflogsumm does not count {wanted}:\n{summary}"));
        }
        println!("{wanted}");
    }
    for named in [
        "u00000@mail.example.com",
        "nobody@example.com",
        "elsewhere.test",
        "User unknown, says 550",
    ] {
        if !summary.contains(named) {
            return Err(format!("pflogsumm does not name {named}:\n{summary}"));
        }
    }
    Ok(())
}

/// A host that knows nobody; its port at 127.0.0.2. It lives as long as this process.
fn refuser() -> Result<u16, String> {
    let listener =
        TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).map_err(|e| e.to_string())?;
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(lines) = stream.try_clone() else { continue };
            let _ = stream.write_all(b"220 mx.remote.test ESMTP\r\n");
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let reply = match line.get(..4).unwrap_or_default() {
                    "RCPT" => "550 5.1.1 User unknown, says 550",
                    "DATA" => "554 5.5.1 no valid recipients",
                    "QUIT" => "221 2.0.0 Bye",
                    _ => "250 2.0.0 Ok",
                };
                let _ = stream.write_all(format!("{reply}\r\n").as_bytes());
            }
        }
    });
    Ok(port)
}

/// One message for an address where nobody listens; tried when this returns.
fn defer(daemon: &Daemon) -> Result<(), String> {
    let waypost = daemon::program().map_err(|e| e.to_string())?.display().to_string();
    let config = daemon.config().display().to_string();
    let arguments =
        ["sendmail", "-C", &config, "-f", "someone@elsewhere.test", "someone@[127.0.0.9]"];
    program(&waypost, &arguments, b"Subject: three\n\nHello.\n")?;
    let list = ["queue", "list", "--json", "--config", &config];
    let mut listed = String::new();
    for _ in 0..1000 {
        listed = program(&waypost, &list, b"")?;
        if listed.contains("\"attempts\":1") {
            return Ok(());
        }
    }
    Err(format!("it is not tried:\n{listed}"))
}

/// Three messages for one, one for two, and three refusals.
fn mail(stage: &Stage) -> Result<(), String> {
    let mut smtp = Smtp::greeted(stage)?;
    for n in 0..3 {
        smtp.message(&format!("u0000{n}@example.com"), "Subject: one\r\n\r\nHello.")?;
    }
    smtp.say("MAIL FROM:<someone@elsewhere.test>", "250")?;
    smtp.say("RCPT TO:<u00000@example.com>", "250")?;
    smtp.say("RCPT TO:<u00001@example.com>", "250")?;
    smtp.say("RCPT TO:<nobody@example.com>", "550")?;
    smtp.say("RCPT TO:<someone@remote.test>", "454")?;
    smtp.say("DATA", "354")?;
    smtp.say("Subject: two\r\n\r\nHello.\r\n.", "250")?;
    smtp.say("MAIL FROM:<mail000@example.com>", "250")?;
    smtp.say("RCPT TO:<u00000@example.com>", "553")?;
    smtp.say("QUIT", "221")?;
    let mut imap = stage.imaps()?;
    command(&mut imap, b"LOGIN mail000 secret000")?;
    command(&mut imap, b"LOGOUT")
}
