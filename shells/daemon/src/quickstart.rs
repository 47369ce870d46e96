//! `waypost quickstart`: a server to try, made on the spot in a directory of its own.

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::ring::default_provider;
use waypost_config::Listen;
use waypost_world::directory::password::hash;
use waypost_world::identity::{Barrier, Identity};

use crate::files::{self, ConfigFile};

/// Its options.
#[derive(Debug, clap::Args)]
pub(crate) struct Quickstart {
    /// Where to put everything; what is there already is used again
    #[arg(long, default_value = "waypost-quickstart")]
    dir: PathBuf,
    /// The password of both users; without it, a random one is made
    #[arg(long)]
    password: Option<String>,
    /// Mail from other servers [default: 2525]
    #[arg(long, value_name = "PORT")]
    smtp_port: Option<u16>,
    /// Mail from users, STARTTLS [default: 2587]
    #[arg(long, value_name = "PORT")]
    submission_port: Option<u16>,
    /// Mail from users, TLS [default: 2465]
    #[arg(long, value_name = "PORT")]
    submissions_port: Option<u16>,
    /// Reading mail, TLS [default: 2993]
    #[arg(long, value_name = "PORT")]
    imaps_port: Option<u16>,
    /// The stand-in for other servers, and the two ports behind it [default: 2526]
    #[arg(long, value_name = "PORT")]
    remote_port: Option<u16>,
}

/// What was made.
pub(crate) struct Made {
    pub(crate) file: ConfigFile,
    dir: PathBuf,
    password: String,
    /// What keeps the users from their mailboxes.
    barrier: Option<Barrier>,
}

/// User and group of the first user.
const FIRST_ID: u32 = 20_000;
const CONFIG: &str = "waypost.toml";
const LDIF: &str = "accounts.ldif";
const PASSWORD: &str = "password";

/// Makes what is missing in the directory.
pub(crate) fn make(options: &Quickstart) -> Result<Made, Box<dyn Error>> {
    fs::create_dir_all(&options.dir)?;
    let dir = options.dir.canonicalize()?;
    let known = files::secret(&dir.join(PASSWORD)).ok();
    let password = password(&dir, options.password.as_deref())?;
    let changed = known.is_some_and(|known| *known.expose() != password);
    if !dir.join("CA.pem").exists() {
        certificates(&dir)?;
    }
    let config = config(&dir, options.remote_port.unwrap_or(2526));
    for (name, text) in
        [(LDIF, accounts(&dir, &password)?), (CONFIG, config), ("hello.eml", HELLO.into())]
    {
        if !dir.join(name).exists() {
            write(&dir.join(name), &text, 0o600)?;
        }
    }
    if changed {
        change_passwords(&dir.join(LDIF), &password)?;
    }
    let mail = dir.join("mail");
    fs::create_dir_all(&mail)?;
    for way in [&dir, &mail] {
        // Run as root, deliveries happen with the rights of each user, who has to get there.
        fs::set_permissions(way, fs::Permissions::from_mode(0o755))?;
    }
    let mut file = ConfigFile::read(&dir.join(CONFIG))?;
    let identity = Identity::of_process(file.config.mail.minimum_uid);
    let barrier = identity.barrier(FIRST_ID, FIRST_ID, &mail)?;
    let listen = &mut file.config.listen;
    for (port, addresses) in [
        (options.smtp_port, &mut listen.smtp),
        (options.submission_port, &mut listen.submission),
        (options.submissions_port, &mut listen.submissions),
        (options.imaps_port, &mut listen.imaps),
    ] {
        if let Some(port) = port {
            *addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
        }
    }
    Ok(Made { file, dir, password, barrier })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Box<dyn Error>> {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::write(path, "").map_err(said)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(said)?;
    Ok(fs::write(path, text).map_err(said)?)
}

/// The password given, or that of the last time, or a new one; kept for the next time.
fn password(dir: &Path, given: Option<&str>) -> Result<String, Box<dyn Error>> {
    let path = dir.join(PASSWORD);
    if given.is_none() && path.exists() {
        return Ok(files::secret(&path)?.expose().clone());
    }
    let password = match given {
        Some("") => return Err("--password: an empty password never logs in".into()),
        Some(given) if given.chars().any(char::is_control) => {
            return Err("--password: holds a control character".into());
        }
        Some(given) => given.into(),
        None => random()?,
    };
    write(&path, &format!("{password}\n"), 0o600)?;
    Ok(password)
}

/// 16 letters and digits that are not mistaken for each other: 80 bits.
fn random() -> Result<String, Box<dyn Error>> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 16];
    default_provider().secure_random.fill(&mut bytes).map_err(|_| "no random numbers")?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

/// A CA of our own, a certificate of it for us and one for the stand-in for other servers, and one
/// of nobody. The CA's key is not kept.
fn certificates(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Waypost quickstart CA");
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    fs::create_dir_all(dir.join("remote"))?;
    for (name, file, signed) in [
        ("mail.example.com", "server", true),
        ("mx.remote.test", "remote/remote", true),
        ("mx.selfsigned.test", "remote/selfsigned", false),
    ] {
        let mut host = CertificateParams::new([name, "localhost", "127.0.0.1"].map(String::from))?;
        host.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate = match signed {
            true => {
                host.use_authority_key_identifier_extension = true;
                host.signed_by(&key, &issuer)?
            }
            false => host.self_signed(&key)?,
        };
        write(&dir.join(format!("{file}.key")), &key.serialize_pem(), 0o600)?;
        write(&dir.join(format!("{file}.crt")), &certificate.pem(), 0o644)?;
    }
    write(&dir.join("CA.pem"), &ca_certificate.pem(), 0o644)
}

/// The article's accounts, with addresses in two hosted domains.
fn accounts(dir: &Path, password: &str) -> Result<String, Box<dyn Error>> {
    let mut text = String::from(
        "# Served by Waypost itself, and read again when this file changes.\n\
         dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\n\
         objectClass: top\ndc: example\no: Example\n\n\
         dn: ou=Mail,dc=example,dc=com\nobjectClass: organizationalUnit\nobjectClass: top\n\
         ou: Mail\n",
    );
    let addresses: [&[&str]; 2] = [
        &["mail000@example.com", "postmaster@example.com", "postmaster@example.org"],
        &["mail001@example.com", "info@example.org"],
    ];
    for (number, addresses) in addresses.iter().enumerate() {
        let (name, id) = (format!("mail{number:03}"), FIRST_ID as usize + number);
        let home = dir.join("mail").join(&name);
        text += &format!(
            "\ndn: uid={name},ou=Mail,dc=example,dc=com\ncn: {name}\ngidNumber: {id}\n\
             homeDirectory: {}\nobjectClass: account\nobjectClass: posixAccount\n\
             objectClass: postfixUser\nobjectClass: top\nuid: {name}\nuidNumber: {id}\n",
            home.display()
        );
        for address in *addresses {
            text += &format!("mailacceptinggeneralid: {address}\n");
        }
        text += &format!("maildrop: {name}@mail.example.com\n{}\n", user_password(password)?);
    }
    text += "\n# An alias that leads to another server.\n\
        dn: uid=forward,ou=Mail,dc=example,dc=com\nobjectClass: account\n\
        objectClass: postfixUser\nobjectClass: top\nuid: forward\n\
        mailacceptinggeneralid: forward@example.com\nmaildrop: someone@remote.test\n";
    Ok(text)
}

/// The attribute's line: a salted hash.
fn user_password(password: &str) -> Result<String, Box<dyn Error>> {
    let mut salt = [0; 16];
    default_provider().secure_random.fill(&mut salt).map_err(|_| "no random numbers")?;
    Ok(format!("userPassword: {}", hash(password.as_bytes(), &salt)))
}

fn change_passwords(ldif: &Path, password: &str) -> Result<(), Box<dyn Error>> {
    let old = files::text(ldif)?;
    let mut text = String::new();
    for line in old.lines() {
        match line.starts_with("userPassword:") {
            true => text.push_str(&user_password(password)?),
            false => text.push_str(line),
        }
        text.push('\n');
    }
    write(ldif, &text, 0o600)
}

fn config(dir: &Path, remote: u16) -> String {
    let [tls, none, bad] = [remote, remote + 1, remote + 2];
    format!(
        "# Made by waypost quickstart. Every setting there is: waypost reference\n\
         hostname = \"mail.example.com\"\n\n\
         [listen]\n\
         smtp = [\"127.0.0.1:2525\"]\n\
         submission = [\"127.0.0.1:2587\"]\n\
         submissions = [\"127.0.0.1:2465\"]\n\
         imaps = [\"127.0.0.1:2993\"]\n\n\
         [tls]\n\
         certificates = [[\"server.crt\", \"server.key\"]]\n\n\
         [directory]\n\
         ldif = \"{LDIF}\"\n\
         search_base = \"ou=Mail,dc=example,dc=com\"\n\n\
         [mail]\n\
         allowed_bases = ['{}']\n\
         postmaster = \"mail000@example.com\"\n\n\
         [spool]\n\
         directory = \"spool\"\n\n\
         # A stand-in for other servers takes mail for these: with TLS, without it, and with a\n\
         # certificate that nobody has signed.\n\
         [relay]\n\
         transport_maps = [\n    [\"remote.test\", \"[localhost]:{tls}\"],\n    \
         [\"notls.test\", \"[localhost]:{none}\"],\n    \
         [\"selfsigned.test\", \"[localhost]:{bad}\"],\n]\n\
         smtp_tls_CAfile = \"CA.pem\"\n\
         smtp_tls_policy_maps = [\n    [\"[localhost]:{tls}\", \"verify\"],\n    \
         [\"[localhost]:{none}\", \"encrypt\"],\n    \
         [\"[localhost]:{bad}\", \"verify\"],\n]\n",
        dir.join("mail").display()
    )
}

const HELLO: &str = "From: Someone <someone@elsewhere.test>\r\n\
    To: mail000@example.com\r\n\
    Subject: Hello\r\n\
    Message-ID: <hello@client.example.net>\r\n\
    \r\n\
    Hello from the quickstart.\r\n";

impl Made {
    /// Says how to use it.
    pub(crate) fn print(&self) {
        print!("{}", self.text());
    }

    fn text(&self) -> String {
        let Listen { smtp, submission, submissions, imaps, .. } = &self.file.config.listen;
        let port =
            |addresses: &[SocketAddr]| addresses.first().map_or(0, SocketAddr::port).to_string();
        HOWTO
            .replace("{dir}", &quoted(&self.dir.to_string_lossy()))
            .replace("{user}", &quoted(&format!("mail000:{}", self.password)))
            .replace("{password}", &self.password)
            .replace("{smtp}", &port(smtp))
            .replace("{submission}", &port(submission))
            .replace("{submissions}", &port(submissions))
            .replace("{imaps}", &port(imaps))
            + &self.warning()
    }

    /// Without a way to them no mailbox can be used, and mail waits in the spool.
    fn warning(&self) -> String {
        let Some(barrier) = &self.barrier else { return String::new() };
        let path = quoted(&barrier.directory.to_string_lossy());
        format!(
            "warning: {barrier}: mail000 and mail001 do not get to their mailboxes behind it.\n\
             warning: write chmod o+x {path}, or end this and choose another --dir\n\n"
        )
    }
}

const HOWTO: &str = r"
Waypost serves {dir} on 127.0.0.1; Ctrl-C ends it.
Users mail000 and mail001, password {password}
Hosted domains example.com and example.org: mail000@example.com, postmaster@example.com and
postmaster@example.org lead to mail000, mail001@example.com and info@example.org to mail001.

Send a message, as another mail server would:

  curl smtp://127.0.0.1:{smtp}/client.example.net --mail-from someone@elsewhere.test \
    --mail-rcpt postmaster@example.org --upload-file {dir}/hello.eml

Send one as a user, with STARTTLS or with TLS from the start:

  curl --ssl-reqd --cacert {dir}/CA.pem --user {user} smtp://localhost:{submission} \
    --mail-from mail000@example.com --mail-rcpt info@example.org --upload-file {dir}/hello.eml
  curl --cacert {dir}/CA.pem --user {user} smtps://localhost:{submissions} \
    --mail-from mail000@example.com --mail-rcpt mail000@example.com --upload-file {dir}/hello.eml

Read the mail of mail000:

  curl --cacert {dir}/CA.pem --user {user} 'imaps://localhost:{imaps}/INBOX' \
    --request 'FETCH 1:* (FLAGS ENVELOPE)'
  curl --cacert {dir}/CA.pem --user {user} 'imaps://localhost:{imaps}/INBOX;MAILINDEX=1'

Talk to it yourself:

  openssl s_client -quiet -CAfile {dir}/CA.pem -starttls smtp -connect localhost:{submission}
  openssl s_client -quiet -CAfile {dir}/CA.pem -crlf -connect localhost:{imaps}

";

/// A word for the shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_world::directory::password::check;

    fn options(dir: &Path, password: Option<&str>) -> Quickstart {
        Quickstart {
            dir: dir.into(),
            password: password.map(Into::into),
            smtp_port: Some(4025),
            submission_port: None,
            submissions_port: None,
            imaps_port: None,
            remote_port: None,
        }
    }

    #[test]
    fn made_once_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a b");
        let first = make(&options(&dir, None)).unwrap();
        assert_eq!(first.password.len(), 16);
        let key = fs::read(dir.join("server.key")).unwrap();
        let second = make(&options(&dir, None)).unwrap();
        assert_eq!((&second.password, &second.file.config), (&first.password, &first.file.config));
        assert_eq!(fs::read(dir.join("server.key")).unwrap(), key);
        assert_eq!(first.file.config.listen.smtp[0].port(), 4025);
        assert_eq!(first.file.config.listen.imaps[0].port(), 2993);
        let postmaster = first.file.config.mail.postmaster.as_ref().map(ToString::to_string);
        assert_eq!(postmaster.as_deref(), Some("mail000@example.com"));
        let mode = |name| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("server.key"), mode(LDIF), mode(PASSWORD)), (0o600, 0o600, 0o600));
        let text = first.text();
        let quoted = format!("--cacert '{}'/CA.pem", dir.canonicalize().unwrap().display());
        assert!(text.contains("smtp://127.0.0.1:4025/") && text.contains(&quoted), "{text}");
    }

    /// The users have no way through a directory that is root's alone.
    #[test]
    fn a_closed_directory_is_named() {
        let closed = tempfile::tempdir().unwrap();
        let dir = closed.path().canonicalize().unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let text = || make(&options(&dir.join("a"), None)).unwrap().text();
        let warning = format!("warning: {} has mode 0700: mail000", dir.display());
        let advice = format!("chmod o+x {}, or", dir.display());
        let root = nix::unistd::geteuid().is_root();
        let told = text();
        assert_eq!((told.contains(&warning), told.contains(&advice)), (root, root), "{told}");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).unwrap();
        let told = text();
        assert!(!told.contains("warning"), "{told}");
    }

    #[test]
    fn a_new_password_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        make(&options(dir.path(), Some("one"))).unwrap();
        let made = make(&options(dir.path(), Some("it's {two}"))).unwrap();
        let ldif = fs::read_to_string(dir.path().join(LDIF)).unwrap();
        let hashes = || ldif.lines().filter_map(|line| line.strip_prefix("userPassword: "));
        assert_eq!(hashes().count(), 2);
        for hash in hashes() {
            assert!(check(hash.as_bytes(), b"it's {two}", false).unwrap());
        }
        assert!(made.text().contains(r"--user 'mail000:it'\''s {two}'"));
        assert!(make(&options(dir.path(), Some(""))).is_err());
    }
}
