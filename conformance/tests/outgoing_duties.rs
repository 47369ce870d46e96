//! Mail out: signatures of ours, and what comes back of forwards.

use std::process::ExitCode;
use waypost_conformance::daemon;
use waypost_conformance::remote::outside::submit;
use waypost_conformance::remote::play::MESSAGE;
use waypost_conformance::remote::stand_in::{StandIn, taken};
use waypost_conformance::report::{self, Case};
use waypost_conformance::stage::run as program;
use waypost_conformance::talk::Smtp;

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let case = |name: &str, check: fn() -> Result<(), String>| Case {
        name: name.to_owned(),
        check: Box::new(check),
    };
    let cases = [
        case("what users send is signed", signed),
        case("a report on a forward goes to its sender", reported),
        case("a report to a rewritten sender goes to the first one", returned),
    ];
    report::run("duties of mail out", &cases, 3)
}

/// Takes the one message that arrived after `before` others: its envelope, and its text.
fn arrived(world: &StandIn, before: usize) -> Result<(String, String), String> {
    let all = world.arrived()?;
    let [one] = all.get(before..).unwrap_or_default() else {
        return Err(format!("{} messages", all.len()));
    };
    let (envelope, text) = one.split_once("\r\n").ok_or("no envelope")?;
    Ok((envelope.to_owned(), text.to_owned()))
}

/// With keys as `waypost dkim-key` makes them, one of each kind, dkimpy finds the signature good.
fn signed() -> Result<(), String> {
    let waypost = daemon::program().map_err(|e| e.to_string())?.display().to_string();
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let key = |selector: &str, more: &[&str]| -> Result<(String, String), String> {
        let file = dir.path().join(selector).display().to_string();
        let arguments = ["dkim-key", "example.com", selector, "--file", &file];
        let line = program(&waypost, &[&arguments, more].concat(), b"")?;
        let name = format!("{selector}._domainkey.example.com. IN TXT ");
        if !line.starts_with(&name) {
            return Err(format!("not a record: {line}"));
        }
        // The strings of the record are one text.
        Ok((file, line.split('"').skip(1).step_by(2).collect()))
    };
    let (rsa, record) = key("s1", &[])?;
    let (ed25519, _) = key("s2", &["--ed25519"])?;
    let keys =
        format!("[[\"example.com\", \"s1\", \"{rsa}\"], [\"example.com\", \"s2\", \"{ed25519}\"]]");
    let world = StandIn::start("verify", &[("dkim.keys", &keys)])?;
    let to = ["someone@remote.test".to_owned()];
    submit(&world.outside.stage(), &to, MESSAGE)?;
    taken(&world.outside, &to)?;
    let (_, text) = arrived(&world, 0)?;
    for start in ["a=rsa-sha256; s=s1; d=example.com;", "a=ed25519-sha256; s=s2; d=example.com;"] {
        if !text.contains(&format!("DKIM-Signature: v=1; {start}")) {
            return Err(format!("no signature {start} in\n{text}"));
        }
    }
    let helper = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/dkim_message.py");
    let verify = |text: &str| {
        let arguments = [helper, "verify", "s1", "example.com", &record];
        program("/usr/bin/python3", &arguments, text.as_bytes())
    };
    verify(&text).map_err(|e| format!("{e}\n{text}"))?;
    match verify(&text.replace("Hello.", "Hallo.")) {
        Ok(_) => Err("a changed message is taken for signed".into()),
        Err(_) => Ok(()),
    }
}

/// rejected@example.com leads to somebody whom the other server does not know: the sender is told,
/// by its own name, and of the address that it wrote to.
fn reported() -> Result<(), String> {
    let world = StandIn::start("verify", &[])?;
    let mut smtp = Smtp::greeted(&world.outside.stage())?;
    smtp.message("rejected@example.com", "Subject: a letter\r\n\r\nHello.")?;
    taken(&world.outside, &["someone@elsewhere.test".to_owned()])?;
    let (envelope, report) = arrived(&world, 0)?;
    for part in ["from=<>", "<someone@elsewhere.test>"] {
        if !envelope.contains(part) {
            return Err(format!("{part} is not in {envelope}"));
        }
    }
    for part in [
        "\r\nTo: someone@elsewhere.test\r\n",
        "\r\nFinal-Recipient: rfc822; reject@remote.test\r\n",
        "\r\nOriginal-Recipient: rfc822; rejected@example.com\r\n",
        "\r\nSubject: a letter\r\n",
    ] {
        if !report.contains(part) {
            return Err(format!("{part:?} is not in\n{report}"));
        }
    }
    Ok(())
}

/// What the next server sends to the sender that it was shown.
fn returned() -> Result<(), String> {
    let world = StandIn::start("verify", &[])?;
    let mut smtp = Smtp::greeted(&world.outside.stage())?;
    smtp.message("forward@example.com", "Subject: a letter\r\n\r\nHello.")?;
    taken(&world.outside, &["someone@remote.test".to_owned()])?;
    let (envelope, _) = arrived(&world, 0)?;
    let rewritten = envelope.split_once("from=<").and_then(|(_, rest)| rest.split_once('>'));
    let (rewritten, _) = rewritten.ok_or("no sender")?;
    smtp.say("MAIL FROM:<>", "250")?;
    smtp.say(&format!("RCPT TO:<{rewritten}>"), "250")?;
    // One that nobody has been shown.
    smtp.say(&format!("RCPT TO:<{}>", rewritten.replace("=someone@", "=other@")), "550")?;
    smtp.say("DATA", "354")?;
    smtp.say("Subject: not delivered\r\n\r\nHello.\r\n.", "250")?;
    taken(&world.outside, &["someone@elsewhere.test".to_owned()])?;
    let (envelope, text) = arrived(&world, 1)?;
    let good = envelope.contains("from=<>") && envelope.contains("<someone@elsewhere.test>");
    if good && text.contains("\r\nSubject: not delivered\r\n") {
        Ok(())
    } else {
        Err(format!("{envelope}\n{text}"))
    }
}
