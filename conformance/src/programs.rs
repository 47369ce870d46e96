//! Real mail programs against a [`Stage`]: curl, swaks, openssl, Python's libraries, mbsync.

use crate::replay::command;
use crate::report::Case;
use crate::stage::{Stage, run};
use std::fs;
use std::path::Path;

type Check = fn(&Stage) -> Result<(), String>;

const CHECKS: &[(&str, Check)] = &[
    ("openssl s_client, as the article tests", s_client),
    ("curl smtp", curl_smtp),
    ("curl smtps", curl_smtps),
    ("curl imaps", curl_imaps),
    ("swaks", swaks),
    ("Python smtplib", smtplib),
    ("Python imaplib", imaplib),
    ("mbsync both ways", mbsync),
];

/// A case for each program.
pub fn cases(stage: &Stage) -> Vec<Case<'_>> {
    CHECKS
        .iter()
        .map(|(name, check)| Case {
            name: format!("{} {name}", stage.name),
            check: Box::new(move || check(stage)),
        })
        .collect()
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| "a path is not text".into())
}

fn wanted(text: &str, part: &str) -> Result<(), String> {
    if text.contains(part) { Ok(()) } else { Err(format!("`{part}` is not in:\n{text}")) }
}

fn s_client(stage: &Stage) -> Result<(), String> {
    for port in [stage.smtp, stage.submission] {
        let connect = format!("127.0.0.1:{port}");
        let ca = text(&stage.ca)?;
        // -ign_eof: s_client stays until the server closes.
        let arguments = [
            "s_client",
            "-starttls",
            "smtp",
            "-connect",
            &connect,
            "-CAfile",
            ca,
            "-crlf",
            "-ign_eof",
        ];
        let input = b"EHLO client.example.net\nAUTH PLAIN AG1haWwwMDAAc2VjcmV0MDAw\nQUIT\n";
        let output = run("openssl", &arguments, input)?;
        wanted(&output, "Verify return code: 0 (ok)")?;
        wanted(&output, "250-AUTH PLAIN")?;
        wanted(&output, "235 2.7.0 Authentication successful")?;
        wanted(&output, "221 2.0.0 Bye")?;
    }
    let connect = format!("127.0.0.1:{}", stage.imaps);
    let arguments =
        ["s_client", "-connect", &connect, "-CAfile", text(&stage.ca)?, "-crlf", "-ign_eof"];
    let output = run("openssl", &arguments, b"a LOGIN mail000 secret000\nb LOGOUT\n")?;
    wanted(&output, "a OK")?;
    wanted(&output, "* BYE")
}

const LETTER: &str = "From: <mail000@example.com>\r\nTo: <you@example.com>\r\n\
                      Subject: a letter\r\n\r\nHello.\r\n.dot\r\n";

fn curl_smtp(stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    let clear = format!("smtp://localhost:{}/client.example.net", stage.smtp);
    let from = ["--mail-from", "someone@elsewhere.test", "--mail-rcpt", &user.address];
    let mut arguments = vec!["-sS", "--url", &clear, "-T", "-"];
    arguments.extend(from);
    run("curl", &arguments, LETTER.as_bytes())?;
    let submission = format!("smtp://localhost:{}/client.example.net", stage.submission);
    let arguments = [
        "-sS",
        "--ssl-reqd",
        "--cacert",
        text(&stage.ca)?,
        "--url",
        &submission,
        "-T",
        "-",
        "--user",
        "mail000:secret000",
        "--mail-from",
        "mail000@example.com",
        "--mail-rcpt",
        &user.address,
    ];
    run("curl", &arguments, LETTER.as_bytes())?;
    stage.wait_for(&user, 2)?;
    for message in stage.messages(&user) {
        let message = String::from_utf8_lossy(&message).into_owned();
        wanted(&message, "\nSubject: a letter\n")?;
        wanted(&message, "\n\nHello.\n.dot\n")?;
    }
    Ok(())
}

fn curl_smtps(stage: &Stage) -> Result<(), String> {
    let Some(port) = stage.submissions else { return Ok(()) };
    let user = stage.user()?;
    let url = format!("smtps://localhost:{port}/client.example.net");
    let arguments = [
        "-sS",
        "--cacert",
        text(&stage.ca)?,
        "--url",
        &url,
        "-T",
        "-",
        "--user",
        "mail000:secret000",
        "--mail-from",
        "mail000@example.com",
        "--mail-rcpt",
        &user.address,
    ];
    run("curl", &arguments, LETTER.as_bytes())?;
    stage.wait_for(&user, 1)
}

fn curl_imaps(stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    let base = format!("imaps://localhost:{}", stage.imaps);
    let login = format!("{}:{}", user.name, user.password);
    let ca = text(&stage.ca)?;
    let curl = |url: &str, more: &[&str], input: &[u8]| {
        let mut arguments = vec!["-sS", "--cacert", ca, "--user", &login, "--url", url];
        arguments.extend_from_slice(more);
        run("curl", &arguments, input)
    };
    let file = std::env::temp_dir().join(format!("{}-{}.eml", stage.name, user.name));
    let file = text(&file)?.to_owned();
    fs::write(&file, LETTER).map_err(|e| e.to_string())?;
    let appended = curl(&format!("{base}/INBOX"), &["-T", &file], b"");
    let _ = fs::remove_file(&file);
    appended?;
    let body = curl(&format!("{base}/INBOX;MAILINDEX=1"), &[], b"")?;
    if body != LETTER {
        return Err(format!("not what was appended: {body}"));
    }
    wanted(&curl(&format!("{base}/INBOX?SUBJECT%20letter"), &[], b"")?, "* SEARCH 1")?;
    wanted(&curl(&base, &["-X", "LIST \"\" *"], b"")?, "INBOX")?;
    wanted(&curl(&base, &["-X", "STATUS INBOX (MESSAGES)"], b"")?, "MESSAGES 1")
}

fn swaks(stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    let (smtp, submission) = (stage.smtp.to_string(), stage.submission.to_string());
    let common = ["--to", &user.address, "--helo", "client.example.net", "--server", "127.0.0.1"];
    let mut arguments = vec!["--port", &smtp, "--from", "someone@elsewhere.test"];
    arguments.extend(common);
    run("swaks", &arguments, b"")?;
    let mut arguments = vec!["--port", &submission, "--from", "mail000@example.com", "--tls"];
    arguments.extend(["--auth", "PLAIN", "--auth-user", "mail000", "--auth-password", "secret000"]);
    arguments.extend(common);
    let output = run("swaks", &arguments, b"")?;
    wanted(&output, "235 2.7.0 Authentication successful")?;
    stage.wait_for(&user, 2)
}

fn client(name: &str) -> String {
    format!("{}/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn smtplib(stage: &Stage) -> Result<(), String> {
    let (from, to) = (stage.user()?, stage.user()?);
    let (program, ca) = (client("smtp_client.py"), text(&stage.ca)?);
    let mut expected = 0;
    for (how, port) in [("starttls", Some(stage.submission)), ("tls", stage.submissions)] {
        let Some(port) = port.map(|p| p.to_string()) else { continue };
        let arguments =
            [&program, how, &port, ca, &from.name, &from.password, &from.address, &to.address];
        run("python3", &arguments, b"")?;
        expected += 1;
    }
    stage.wait_for(&to, expected)
}

fn imaplib(stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    let (program, port) = (client("imap_client.py"), stage.imaps.to_string());
    run("python3", &[&program, &port, text(&stage.ca)?, &user.name, &user.password], b"").map(drop)
}

/// Two-way sync of several folders: new messages, flags, deletions from both sides.
fn mbsync(stage: &Stage) -> Result<(), String> {
    let user = stage.user()?;
    let near = std::env::temp_dir().join(format!("waypost-mbsync-{}-{}", stage.name, user.name));
    let result = sync_both_ways(stage, &user, &near);
    let _ = fs::remove_dir_all(&near);
    result
}

fn sync_both_ways(stage: &Stage, user: &crate::replay::User, near: &Path) -> Result<(), String> {
    let io = |e: std::io::Error| e.to_string();
    let _ = fs::remove_dir_all(near);
    fs::create_dir_all(near.join("mail")).map_err(io)?;
    let (folder, config) = (text(near)?, near.join("mbsyncrc"));
    let lines = format!(
        "IMAPAccount far\nHost localhost\nPort {}\nUser {}\nPass {}\nSSLType IMAPS\n\
         CertificateFile {}\n\nIMAPStore far\nAccount far\n\nMaildirStore near\n\
         Path {folder}/mail/\nInbox {folder}/mail/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\n\
         SyncState *\n",
        stage.imaps,
        user.name,
        user.password,
        text(&stage.ca)?
    );
    fs::write(&config, lines).map_err(io)?;
    let config = text(&config)?.to_owned();
    let sync = || run("mbsync", &["-c", &config, "all"], b"");

    let mut client = stage.logged_in(user)?;
    let append = |folder: &str, subject: &str| {
        let letter = format!("Subject: {subject}\r\n\r\nHello.\r\n");
        format!("APPEND {folder} (\\Seen) {{{}+}}\r\n{letter}", letter.len())
    };
    command(&mut client, b"CREATE Work")?;
    command(&mut client, b"CREATE Old")?;
    for n in 0..20 {
        command(&mut client, append("Work", &format!("work {n}")).as_bytes())?;
        command(&mut client, append("INBOX", &format!("inbox {n}")).as_bytes())?;
    }
    sync()?;
    let local = |folder: &str| {
        let mut files = Vec::new();
        for part in ["cur", "new"] {
            let at = near.join("mail").join(folder).join(part);
            files.extend(fs::read_dir(at).into_iter().flatten().flatten().map(|e| e.path()));
        }
        files.sort();
        files
    };
    let count = |folder: &str, wanted: usize| {
        let found = local(folder).len();
        if found == wanted { Ok(()) } else { Err(format!("{folder}: {found}, not {wanted}")) }
    };
    count("INBOX", 20)?;
    count("Work", 20)?;
    count("Old", 0)?;

    // From here to there: one message new, one flagged, one deleted; a folder new.
    fs::write(near.join("mail/Work/new/1.local"), "Subject: from here\n\nHello.\n").map_err(io)?;
    let files = local("INBOX");
    let marked = |at: &Path, flags: &str| {
        let name = at.to_string_lossy().into_owned();
        let base = name.split(":2,").next().unwrap_or_default();
        fs::rename(at, format!("{base}:2,{flags}"))
    };
    marked(&files[0], "FS").map_err(io)?;
    marked(&files[1], "ST").map_err(io)?;
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(near.join("mail/Fresh").join(part)).map_err(io)?;
    }
    // From there to here: one deleted, one answered.
    command(&mut client, b"SELECT Work")?;
    command(&mut client, b"STORE 3 +FLAGS.SILENT (\\Deleted)")?;
    command(&mut client, b"STORE 5 +FLAGS.SILENT (\\Answered)")?;
    command(&mut client, b"EXPUNGE")?;
    sync()?;
    count("INBOX", 19)?;
    count("Work", 20)?;
    let answered = local("Work").iter().filter(|p| p.to_string_lossy().contains(":2,RS")).count();
    if answered != 1 {
        return Err(format!("{answered} messages of Work are answered, not 1"));
    }
    command(&mut client, b"SELECT INBOX")?;
    expect_search(&mut client, "FLAGGED", 1)?;
    expect_search(&mut client, "ALL", 19)?;
    command(&mut client, b"SELECT Work")?;
    expect_search(&mut client, "SUBJECT \"from here\"", 1)?;
    command(&mut client, b"SELECT Fresh")?;
    command(&mut client, b"LOGOUT")?;
    // A third run finds nothing to do.
    sync()?;
    count("INBOX", 19)?;
    count("Work", 20)
}

fn expect_search(client: &mut crate::net::Client, what: &str, wanted: usize) -> Result<(), String> {
    let text = crate::replay::ask(client, &format!("SEARCH {what}"))?;
    let line = text.lines().find(|l| l.starts_with("* SEARCH")).unwrap_or_default();
    let found = line.split_whitespace().skip(2).count();
    if found == wanted { Ok(()) } else { Err(format!("SEARCH {what}: {found}, not {wanted}")) }
}
