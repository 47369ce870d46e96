//! Mail out to servers that are not ours: Postfix, its smtp-sink, and the rig's stand-in for the world.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use waypost_conformance::remote::outside::{Outside, submit};
use waypost_conformance::remote::play::MESSAGE;
use waypost_conformance::remote::stand_in::{Peer, StandIn, exchanger, taken};
use waypost_conformance::report::{self, Case};
use waypost_conformance::rig::{Options, Rig, free_ports};
use waypost_conformance::stage::run as program;
use waypost_conformance::talk::Smtp;

/// How long another server may take to deliver.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let case = |name: &str, check: fn() -> Result<(), String>| Case {
        name: name.to_owned(),
        check: Box::new(check),
    };
    let cases = [
        case("smtp-sink", sink),
        case("a Postfix", postfix),
        case("the stand-in for the world", stand_in),
        case("a forward keeps a foreign signature", forward),
    ];
    report::run("mail out to others", &cases, 3)
}

fn sink() -> Result<(), String> {
    const COUNT: usize = 40;
    let text = |e: std::io::Error| e.to_string();
    let mut outside = Outside::new().map_err(text)?;
    let port = free_ports(1)[0];
    let arguments = ["-u", "nobody", "-8", "-c", &format!("127.0.0.2:{port}"), "100"];
    let _sink = Peer::start("/usr/sbin/smtp-sink", &arguments)?;
    outside.domain("sink.test", &exchanger(), port)?;
    outside.daemon.configure("relay.smtp_connection_cache_time_limit", "\"2s\"").map_err(text)?;
    outside.daemon.up().map_err(text)?;
    let stage = outside.stage();
    let to: Vec<String> = (0..COUNT).map(|n| format!("r{n}@sink.test")).collect();
    // One message for ten at a time, and one for each.
    for some in to.chunks(10) {
        submit(&stage, some, MESSAGE)?;
    }
    taken(&outside, &to)?;
    for one in &to {
        submit(&stage, std::slice::from_ref(one), MESSAGE)?;
    }
    for one in &to {
        let wanted = format!(" to=<{one}>,");
        let twice =
            |line: &str| (line.contains(&wanted) && line.contains("status=sent")).then_some(());
        outside.journal.wait(1, one, twice)?;
    }
    Ok(())
}

/// The rig's Postfix, which takes peer.test besides its own domains.
fn postfix() -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let parts = vec!["ldap", "dovecot", "postfix"];
    let rig = Rig::start(Options { parts, ..Options::default() }).map_err(text)?;
    let etc = rig.dir().join("postfix/etc").display().to_string();
    let maps = program("/usr/sbin/postconf", &["-c", &etc, "-h", "virtual_alias_maps"], b"")?;
    let alias = "inline:{ {someone@peer.test = mail001@mail.example.com} }";
    for setting in [
        // It asks its own directory who may write as mail000@example.com.
        "smtpd_recipient_restrictions=".to_owned(),
        format!("virtual_alias_maps={alias}, {}", maps.trim()),
        "virtual_alias_domains=peer.test".to_owned(),
    ] {
        program("/usr/sbin/postconf", &["-c", &etc, "-e", &setting], b"")?;
    }
    program("/usr/sbin/postfix", &["-c", &etc, "reload"], b"")?;
    let mut outside = Outside::new().map_err(text)?;
    let way = format!("[[\"peer.test\", \"[127.0.0.1]:{}\"]]", rig.smtp_port());
    outside.daemon.configure("relay.transport_maps", &way).map_err(text)?;
    outside.daemon.up().map_err(text)?;
    let to = ["someone@peer.test".to_owned()];
    // Dots at the start of lines, octets above 127.
    let message = [MESSAGE, b".\r\n..\r\n.a\r\n\xc3\xa4\r\n"].concat();
    submit(&outside.stage(), &to, &message)?;
    let line = outside.journal.wait(0, "someone", |line| {
        line.contains(" to=<someone@peer.test>,").then(|| line.to_owned())
    })?;
    // By BDAT: `250 2.0.0 Ok: 553 bytes queued as ...`.
    if !line.contains("status=sent (250 2.0.0 Ok: 5") || !line.contains(" bytes queued as ") {
        return Err(line);
    }
    // Postfix delivers when it has taken it.
    let new = rig.dir().join("home/mail/mail001/mailbox/new");
    let started = Instant::now();
    let file = loop {
        match fs::read_dir(&new).into_iter().flatten().flatten().next() {
            Some(file) => break file.path(),
            None if started.elapsed() > PATIENCE => return Err("it did not arrive".into()),
            None => std::thread::yield_now(),
        }
    };
    let arrived = fs::read(file).map_err(text)?;
    let expected = String::from_utf8_lossy(&message).replace("\r\n", "\n");
    let arrived = String::from_utf8_lossy(&arrived);
    if arrived.ends_with(&expected) { Ok(()) } else { Err(format!("changed:\n{arrived}")) }
}

fn stand_in() -> Result<(), String> {
    let world = StandIn::start("verify", &[])?;
    let to = ["someone@remote.test".to_owned()];
    submit(&world.outside.stage(), &to, MESSAGE)?;
    taken(&world.outside, &to)?;
    let arrived = world.arrived()?;
    let [one] = arrived.as_slice() else { return Err(format!("{} messages", arrived.len())) };
    let (envelope, message) = one.split_once("\r\n").ok_or("no envelope")?;
    for part in ["helo=mail.example.com", "tls=TLSv1.3", "from=<mail000@example.com>"] {
        if !envelope.contains(part) {
            return Err(format!("{part} is not in {envelope}"));
        }
    }
    if message.as_bytes().ends_with(MESSAGE) { Ok(()) } else { Err(format!("changed:\n{message}")) }
}

/// A message that somebody else has signed goes through forward@example.com to someone@remote.test.
fn forward() -> Result<(), String> {
    let world = StandIn::start("verify", &[])?;
    let dir = world.outside.daemon.dir();
    let key = dir.join("dkim.pem").display().to_string();
    program("openssl", &["genrsa", "-traditional", "-out", &key, "2048"], b"")?;
    let public = program("openssl", &["rsa", "-in", &key, "-pubout"], b"")?;
    let public: String = public.lines().filter(|line| !line.starts_with('-')).collect();
    let helper = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/dkim_message.py");
    let dkim = |arguments: &[&str], message: &[u8]| {
        program("/usr/bin/python3", &[&[helper], arguments].concat(), message)
    };
    let message = String::from_utf8_lossy(MESSAGE).replace("example.com", "elsewhere.test");
    let signed = dkim(&["sign", &key, "s1", "elsewhere.test"], message.as_bytes())?;
    let mut smtp = Smtp::greeted(&world.outside.stage())?;
    let stuffed = signed.replace("\r\n.", "\r\n..");
    smtp.message("forward@example.com", stuffed.strip_suffix("\r\n").ok_or("no end")?)?;
    taken(&world.outside, &["someone@remote.test".to_owned()])?;
    let arrived = world.arrived()?;
    let [one] = arrived.as_slice() else { return Err(format!("{} messages", arrived.len())) };
    let (envelope, message) = one.split_once("\r\n").ok_or("no envelope")?;
    let rewritten = envelope.contains("from=<SRS0=")
        && envelope.contains("=elsewhere.test=someone@mail.example.com>");
    if !rewritten {
        return Err(format!("the sender is not rewritten: {envelope}"));
    }
    let record = format!("v=DKIM1; k=rsa; p={public}");
    let verify = ["verify", "s1", "elsewhere.test", &record];
    dkim(&verify, message.as_bytes()).map_err(|e| format!("{e}\n{message}"))?;
    // The check can fail.
    match dkim(&verify, message.replace("Hello.", "Hallo.").as_bytes()) {
        Ok(_) => Err("a changed message is taken for signed".into()),
        Err(_) => Ok(()),
    }
}
