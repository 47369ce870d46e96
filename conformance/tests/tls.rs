//! TLS as openssl sees it: versions, one certificate for each name and kind of key, certificates
//! that change on disk.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use waypost_conformance::daemon::{Accounts, Daemon};
use waypost_conformance::report::{self, Case};
use waypost_conformance::rig::seeded;
use waypost_conformance::stage::{Stage, run as program};

fn main() -> ExitCode {
    waypost_conformance::finish(run())
}

fn run() -> Result<(), String> {
    let mut daemon = Daemon::prepare(&Accounts::Ldif(1), &[]).map_err(|e| e.to_string())?;
    let dir = daemon.dir().to_owned();
    // The same name with an ECDSA and an RSA key, and another name.
    certificate(&dir, "rsa", "mail.example.com", "rsa:2048")?;
    certificate(&dir, "ecdsa", "mail.example.com", "ec")?;
    certificate(&dir, "other", "imap.example.org", "ec")?;
    let pairs = ["ecdsa", "rsa", "other"].map(|n| format!("[\"{n}.crt\", \"{n}.key\"]"));
    daemon
        .configure("tls.certificates", &format!("[{}]", pairs.join(", ")))
        .map_err(|e| e.to_string())?;
    daemon.up().map_err(|e| e.to_string())?;
    let stage = daemon.stage(seeded(0, 1));
    let case = |name: &str, check: Box<dyn Fn() -> Result<(), String> + Send + Sync>| Case {
        name: name.to_owned(),
        check,
    };
    let shared = std::sync::Arc::new(stage);
    let (a, b, c, d) = (shared.clone(), shared.clone(), shared.clone(), shared);
    let cases = [
        case("versions", Box::new(move || versions(&a))),
        case("a certificate for each name", Box::new(move || names(&b))),
        case("a certificate for each kind of key", Box::new(move || keys(&c))),
        case("a certificate that is renewed", Box::new(move || renewed(&d, &dir))),
    ];
    report::run("TLS", &cases, 1)
}

/// A self-signed certificate and its key, as NAME.crt and NAME.key.
fn certificate(dir: &Path, name: &str, host: &str, kind: &str) -> Result<(), String> {
    let path = |ending: &str| dir.join(format!("{name}.{ending}")).display().to_string();
    let (subject, alt) = (format!("/CN={host}"), format!("subjectAltName=DNS:{host}"));
    let (key, certificate) = (path("key"), path("crt"));
    let mut arguments = vec![
        "req",
        "-x509",
        "-nodes",
        "-days",
        "30",
        "-newkey",
        kind,
        "-keyout",
        &key,
        "-out",
        &certificate,
        "-subj",
        &subject,
        "-addext",
        &alt,
    ];
    if kind == "ec" {
        arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-256"]);
    }
    program("openssl", &arguments, b"")?;
    program("chmod", &["600", &key], b"").map(drop)
}

/// What s_client tells of a handshake with these arguments; `None` when it fails.
fn handshake(port: u16, arguments: &[&str]) -> Option<String> {
    let connect = format!("127.0.0.1:{port}");
    let mut all = vec!["s_client", "-connect", &connect];
    all.extend(arguments);
    program("openssl", &all, b"").ok()
}

fn ports(stage: &Stage) -> Vec<(u16, Vec<&'static str>)> {
    let mut ports = vec![
        (stage.smtp, vec!["-starttls", "smtp"]),
        (stage.submission, vec!["-starttls", "smtp"]),
        (stage.imaps, vec![]),
    ];
    ports.extend(stage.submissions.map(|port| (port, vec![])));
    ports
}

fn versions(stage: &Stage) -> Result<(), String> {
    for (port, how) in ports(stage) {
        let with = |more: &[&str]| handshake(port, &[how.as_slice(), more].concat());
        for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let told = with(&[version]).ok_or_else(|| format!("{port}: no {shown}"))?;
            if !told.contains(&format!("New, {shown}, Cipher is ")) {
                return Err(told);
            }
        }
        for version in ["-tls1", "-tls1_1"] {
            let told = with(&[version, "-cipher", "ALL:@SECLEVEL=0"]).unwrap_or_default();
            if !told.is_empty() && !told.contains("Cipher is (NONE)") {
                return Err(format!("{port}: {version} is accepted\n{told}"));
            }
        }
    }
    Ok(())
}

/// The subject of the certificate and the kind of its key, as s_client shows them.
fn shown(stage: &Stage, arguments: &[&str]) -> Result<(String, String), String> {
    let told = handshake(stage.imaps, arguments).ok_or("the handshake fails")?;
    let line = |start: &str| {
        let line = told.lines().find(|l| l.starts_with(start));
        line.map(str::to_owned).ok_or_else(|| format!("no `{start}` in\n{told}"))
    };
    Ok((line("subject=")?, line("Peer signature type:")?))
}

fn names(stage: &Stage) -> Result<(), String> {
    for (asked, told) in [
        ("mail.example.com", "mail.example.com"),
        ("imap.example.org", "imap.example.org"),
        ("unknown.test", "mail.example.com"),
    ] {
        let (subject, _) = shown(stage, &["-servername", asked])?;
        if !subject.contains(told) {
            return Err(format!("asked for {asked}: {subject}"));
        }
    }
    Ok(())
}

fn keys(stage: &Stage) -> Result<(), String> {
    let with = |more: &[&str]| shown(stage, &[&["-servername", "mail.example.com"], more].concat());
    let (_, usual) = with(&[])?;
    let (_, rsa) = with(&["-sigalgs", "rsa_pss_rsae_sha256:RSA+SHA256"])?;
    let (_, old) = with(&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"])?;
    if usual.contains("ECDSA") && rsa.contains("RSA") && old.contains("RSA") {
        return Ok(());
    }
    Err(format!("{usual}; RSA asked for: {rsa}; {old}"))
}

fn renewed(stage: &Stage, dir: &Path) -> Result<(), String> {
    let serial = || -> Result<String, String> {
        let told = handshake(stage.imaps, &["-servername", "imap.example.org"]).ok_or("no TLS")?;
        program("openssl", &["x509", "-noout", "-serial"], told.as_bytes())
    };
    let before = serial()?;
    // As certbot does: new files take the place of the old ones.
    certificate(dir, "new", "imap.example.org", "ec")?;
    for ending in ["key", "crt"] {
        let (from, to) = (dir.join(format!("new.{ending}")), dir.join(format!("other.{ending}")));
        fs::rename(from, to).map_err(|e| e.to_string())?;
    }
    // Each look is a whole handshake by a program: some ten a second, for a minute at most.
    for _ in 0..2_000 {
        if serial()? != before {
            return Ok(());
        }
    }
    Err("the old certificate is still shown".into())
}
