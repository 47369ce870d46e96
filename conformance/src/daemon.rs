//! Waypost itself as a process, on free ports, with a directory of its own or with a rig's slapd.

use crate::net::{self, Endpoint};
use crate::replay::{Target, User, sockets};
use crate::rig::{Rig, free_ports};
use crate::shells::Shell;
use crate::stage::Stage;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// `{SSHA}` of [`crate::rig::SEED_PASSWORD`].
const SEED_HASH: &str = "{SSHA}fU6qlI3iJthOUr6Qo1AjfSiolz13YXlwYXNzMQ==";

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where accounts come from.
#[derive(Clone)]
pub enum Accounts {
    /// An LDIF file that Waypost serves itself: `data/accounts.ldif` and this many seeded users.
    Ldif(usize),
    /// The slapd of a rig, by the article's own map files.
    Slapd(Arc<Rig>),
}

/// A configuration and the place where its state lies; it can be started more than once.
pub struct Daemon {
    dir: PathBuf,
    shell: Shell,
    threads: Option<u8>,
    ports: Ports,
    accounts: Accounts,
    /// `section.name` and the value as TOML.
    settings: Vec<(String, String)>,
    child: Option<Child>,
    /// What it tells systemd.
    told: Option<UnixDatagram>,
    /// Open files it may have.
    descriptors: Option<u32>,
}

#[derive(Clone, Copy)]
struct Ports {
    smtp: u16,
    submission: u16,
    submissions: u16,
    imaps: u16,
}

impl Daemon {
    /// Makes a place below `/var/tmp` and writes the configuration, with `extra` settings:
    /// `("smtp.recipient_limit", "5")`, the value as TOML.
    ///
    /// # Errors
    /// Those of the file system, of the rig, of the certificates.
    pub fn prepare(accounts: &Accounts, extra: &[(&str, &str)]) -> io::Result<Self> {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/var/tmp/waypost-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for folder in ["home/mail", "spool", "run"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        for folder in ["", "home", "home/mail"] {
            fs::set_permissions(dir.join(folder), PermissionsExt::from_mode(0o755))?;
        }
        let free = free_ports(4);
        let ports =
            Ports { smtp: free[0], submission: free[1], submissions: free[2], imaps: free[3] };
        let mut daemon = Self {
            dir,
            shell: Shell::Tokio,
            threads: None,
            ports,
            accounts: accounts.clone(),
            settings: Vec::new(),
            child: None,
            told: None,
            descriptors: None,
        };
        daemon.settings = daemon.usual_settings()?;
        fs::write(daemon.config(), toml(&daemon.settings))?;
        fs::set_permissions(daemon.config(), PermissionsExt::from_mode(0o600))?;
        for (path, value) in extra {
            daemon.configure(path, value)?;
        }
        Ok(daemon)
    }

    /// The same, run by this program.
    #[must_use]
    pub fn on(mut self, shell: Shell) -> Self {
        self.shell = shell;
        self
    }

    /// So many threads drive its connections, on tokio.
    #[must_use]
    pub fn on_threads(mut self, threads: u8) -> Self {
        self.threads = Some(threads);
        self
    }

    /// It may have no more than so many open files, from the next start on.
    pub fn limit_descriptors(&mut self, most: u32) {
        self.descriptors = Some(most);
    }

    /// Changes a setting, for the next start.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn configure(&mut self, path: &str, value: &str) -> io::Result<()> {
        self.settings.retain(|(known, _)| known != path);
        self.settings.push((path.to_owned(), value.to_owned()));
        fs::write(self.config(), toml(&self.settings))
    }

    /// Prepares and starts.
    ///
    /// # Errors
    /// As [`Daemon::prepare`] and [`Daemon::up`].
    pub fn start(accounts: &Accounts, extra: &[(&str, &str)]) -> io::Result<Self> {
        let mut daemon = Self::prepare(accounts, extra)?;
        daemon.up()?;
        Ok(daemon)
    }

    /// Starts the process and waits until it says that it is ready (sd_notify(3)).
    ///
    /// # Errors
    /// It ends instead, or says nothing; with what it logged.
    pub fn up(&mut self) -> io::Result<()> {
        let mut command = self.command("exec \"$@\"")?;
        command.stdin(Stdio::null()).stdout(self.log_file()?);
        self.begin(command)
    }

    /// Starts it as systemd does that listens on two sockets in its place.
    ///
    /// # Errors
    /// As [`Daemon::up`].
    pub fn up_with(&mut self, sockets: [TcpListener; 2]) -> io::Result<()> {
        // A shell can move them to the numbers that they have to have.
        let script = "exec 3<&0 4<&1 </dev/null >&2; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"";
        let mut command = self.command(script)?;
        let [one, two] = sockets.map(OwnedFd::from);
        command.stdin(one).stdout(two);
        self.begin(command)
    }

    /// The program, started by a shell with this script.
    fn command(&self, script: &str) -> io::Result<Command> {
        let limit = self.descriptors.map(|most| format!("ulimit -n {most}; ")).unwrap_or_default();
        let mut command = Command::new("sh");
        command.arg("-c").arg(limit + script).arg("sh").arg(program_of(self.shell)?);
        command.args(["serve", "--config"]).arg(self.config()).stderr(self.log_file()?);
        if let Some(threads) = self.threads {
            command.env("TOKIO_WORKER_THREADS", threads.to_string());
        }
        Ok(command)
    }

    fn log_file(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(self.log())
    }

    fn begin(&mut self, mut command: Command) -> io::Result<()> {
        let ready = self.dir.join("run/notify");
        let _ = fs::remove_file(&ready);
        let socket = UnixDatagram::bind(&ready)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut child = command.env("NOTIFY_SOCKET", &ready).spawn()?;
        // The sockets are the child's alone.
        drop(command);
        for _ in 0..PATIENCE.as_millis() / 200 {
            let mut message = [0; 512];
            match socket.recv(&mut message) {
                Ok(n) if message[..n].split(|&b| b == b'\n').any(|l| l == b"READY=1") => {
                    self.child = Some(child);
                    self.told = Some(socket);
                    return Ok(());
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("waypost: {status}\n{}", self.logged())));
            }
        }
        child.kill()?;
        child.wait()?;
        Err(io::Error::other(format!("waypost does not get ready\n{}", self.logged())))
    }

    /// The next that it tells systemd, `STOPPING=1` for example, its lines joined by blanks.
    ///
    /// # Errors
    /// It says nothing for long.
    pub fn told(&self) -> io::Result<String> {
        let socket = self.told.as_ref().ok_or_else(|| io::Error::other("it was never ready"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut message = [0; 512];
        let length = socket.recv(&mut message)?;
        Ok(String::from_utf8_lossy(&message[..length]).trim_end().replace('\n', " "))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is not running.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let child = self.child.as_ref().ok_or_else(|| io::Error::other("not running"))?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It is not running, or does not end in time.
    pub fn down(&mut self) -> io::Result<ExitStatus> {
        let mut child = self.child.take().ok_or_else(|| io::Error::other("not running"))?;
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::TERM)?;
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || send.send(child.wait()));
        receive.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            kill_process(pid, Signal::KILL)?;
            Err(io::Error::other("waypost does not stop on SIGTERM"))
        })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> io::Result<()> {
        let mut child = self.child.take().ok_or_else(|| io::Error::other("not running"))?;
        child.kill()?;
        child.wait().map(drop)
    }

    /// What `waypost` says to these arguments, with this configuration.
    ///
    /// # Errors
    /// It fails; with all that it wrote.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let program = program_of(self.shell).map_err(|e| e.to_string())?.display().to_string();
        let config = self.config().display().to_string();
        crate::stage::run(&program, &[arguments, &["--config", &config]].concat(), b"")
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("waypost.toml")
    }

    /// Where its state lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// All it has logged.
    pub fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The folder of the homes.
    pub fn homes(&self) -> PathBuf {
        match &self.accounts {
            Accounts::Ldif(_) => self.dir.join("home/mail"),
            Accounts::Slapd(rig) => rig.dir().join("home/mail"),
        }
    }

    /// The socket that speaks Dovecot's auth protocol.
    pub fn auth_socket(&self) -> PathBuf {
        self.dir.join("run/auth")
    }

    /// The certificate of its CA.
    pub fn ca(&self) -> PathBuf {
        match &self.accounts {
            Accounts::Ldif(_) => self.dir.join("CA.pem"),
            Accounts::Slapd(rig) => rig.dir().join("tls/CA.pem"),
        }
    }

    /// As the target of scripts.
    ///
    /// # Errors
    /// A CA file that cannot be read.
    pub fn target(&self, users: VecDeque<User>) -> io::Result<Target> {
        let here = |port| Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let endpoints = BTreeMap::from([
            ("smtp".to_owned(), here(self.ports.smtp)),
            ("submission".to_owned(), here(self.ports.submission)),
            ("submissions".to_owned(), here(self.ports.submissions)),
            ("imaps".to_owned(), here(self.ports.imaps)),
            ("auth".to_owned(), Endpoint::Unix(self.auth_socket())),
        ]);
        let switch: Option<Box<crate::replay::Switch>> = match &self.accounts {
            Accounts::Ldif(_) => None,
            Accounts::Slapd(rig) => {
                let rig = rig.clone();
                Some(Box::new(move |on| {
                    rig.run(&[if on { "up" } else { "down" }, "ldap"]).map(drop)
                }))
            }
        };
        Ok(Target {
            name: "waypost",
            program: self.shell.name(),
            host: "mail.example.com".into(),
            dial: sockets(endpoints),
            tls: net::trusting(&self.ca())?,
            users: Mutex::new(users),
            directory: switch,
            names: BTreeMap::new(),
        })
    }

    /// As real mail programs see it.
    pub fn stage(&self, users: VecDeque<User>) -> Stage {
        Stage {
            name: self.shell.name(),
            smtp: self.ports.smtp,
            submission: self.ports.submission,
            submissions: Some(self.ports.submissions),
            imaps: self.ports.imaps,
            ca: self.ca(),
            homes: self.homes(),
            users: Mutex::new(users),
        }
    }

    /// The rig's settings in Waypost's words.
    fn usual_settings(&self) -> io::Result<Vec<(String, String)>> {
        let quoted = |path: &Path| format!("\"{}\"", path.display());
        let listen = |port: u16| format!("[\"127.0.0.1:{port}\"]");
        let (certificate, key, mut settings) = match &self.accounts {
            Accounts::Ldif(seeded) => {
                let ldif = self.dir.join("accounts.ldif");
                fs::write(&ldif, accounts(&self.dir, *seeded)?)?;
                self.make_certificates()?;
                let settings = vec![
                    ("directory.ldif", quoted(&ldif)),
                    ("directory.search_base", "\"ou=Mail,dc=example,dc=com\"".to_owned()),
                    ("mail.allowed_bases", format!("[{}]", quoted(&self.dir.join("home")))),
                ];
                (self.dir.join("server.crt"), self.dir.join("server.key"), settings)
            }
            Accounts::Slapd(rig) => {
                rig.write_maps()?;
                let maps = rig.dir().join("postfix/etc/ldap");
                let mut settings = vec![
                    ("mail.virtual_mailbox_base", quoted(rig.dir())),
                    ("mail.allowed_bases", format!("[{}]", quoted(&rig.dir().join("home")))),
                    (
                        "maps.dovecot_ldap",
                        quoted(&rig.dir().join("dovecot/etc/dovecot-ldap.conf.ext")),
                    ),
                    ("maps.virtual_gid_maps", quoted(&maps.join("virtual_uid_maps"))),
                ];
                for (setting, file) in [
                    ("maps.virtual_alias_domains", "virtual_alias_domains"),
                    ("maps.virtual_alias_maps", "virtual_alias_maps"),
                    ("maps.virtual_mailbox_maps", "virtual_mailbox_maps"),
                    ("maps.virtual_uid_maps", "virtual_uid_maps"),
                    ("maps.smtpd_sender_login_maps", "smtpd_sender_login_maps"),
                ] {
                    settings.push((setting, quoted(&maps.join(file))));
                }
                let tls = rig.dir().join("tls");
                (tls.join("server.crt"), tls.join("server.key"), settings)
            }
        };
        settings.extend([
            ("hostname", "\"mail.example.com\"".to_owned()),
            ("listen.smtp", listen(self.ports.smtp)),
            ("listen.submission", listen(self.ports.submission)),
            ("listen.submissions", listen(self.ports.submissions)),
            ("listen.imaps", listen(self.ports.imaps)),
            ("tls.certificates", format!("[[{}, {}]]", quoted(&certificate), quoted(&key))),
            ("smtp.mynetworks", "[\"203.0.113.0/24\"]".to_owned()),
            ("smtp.recipient_delimiter", "\"+\"".to_owned()),
            ("smtp.sasl_mechanisms", "[\"PLAIN\"]".to_owned()),
            ("smtp.broken_sasl_auth_clients", "true".to_owned()),
            ("auth.socket", quoted(&self.auth_socket())),
            ("spool.directory", quoted(&self.dir.join("spool"))),
            ("log.format", "\"human\"".to_owned()),
        ]);
        Ok(settings.into_iter().map(|(path, value)| (path.to_owned(), value)).collect())
    }

    /// A CA and a certificate of it for mail.example.com and localhost.
    fn make_certificates(&self) -> io::Result<()> {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
        let ca_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut ca = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Waypost test CA");
        let certificate = ca.self_signed(&ca_key).map_err(io::Error::other)?;
        fs::write(self.dir.join("CA.pem"), certificate.pem())?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let names = ["mail.example.com", "localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        let mut server = CertificateParams::new(names).map_err(io::Error::other)?;
        server.distinguished_name.push(DnType::CommonName, "mail.example.com");
        let issuer = Issuer::new(ca, ca_key);
        let certificate = server.signed_by(&key, &issuer).map_err(io::Error::other)?;
        fs::write(self.dir.join("server.crt"), certificate.pem())?;
        fs::write(self.dir.join("server.key"), key.serialize_pem())?;
        fs::set_permissions(self.dir.join("server.key"), PermissionsExt::from_mode(0o600))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::env::var_os("WAYPOST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// `data/accounts.ldif` with homes below `dir`, and seeded users.
fn accounts(dir: &Path, seeded: usize) -> io::Result<String> {
    let article = concat!(env!("CARGO_MANIFEST_DIR"), "/data/accounts.ldif");
    let base = dir.display();
    let mut text = fs::read_to_string(article)?
        .replace("homeDirectory: /home", &format!("homeDirectory: {base}/home"));
    for n in 0..seeded {
        let id = 30_000 + n;
        write!(
            text,
            "\ndn: uid=u{n:05},ou=Mail,dc=example,dc=com\nobjectClass: account\n\
             objectClass: posixAccount\nobjectClass: postfixUser\nobjectClass: top\n\
             uid: u{n:05}\ncn: u{n:05}\nuidNumber: {id}\ngidNumber: {id}\n\
             homeDirectory: {base}/home/mail/u{n:05}\n\
             mailacceptinggeneralid: u{n:05}@example.com\n\
             mailacceptinggeneralid: u{n:05}@example.org\n\
             maildrop: u{n:05}@mail.example.com\nuserPassword: {SEED_HASH}\n"
        )
        .map_err(io::Error::other)?;
    }
    Ok(text)
}

/// `section.name` settings as a file.
fn toml(settings: &[(String, String)]) -> String {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for (path, value) in settings {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let _ = writeln!(sections.entry(section).or_default(), "{name} = {value}");
    }
    let mut text = String::new();
    for (section, lines) in sections {
        if !section.is_empty() {
            let _ = writeln!(text, "\n[{section}]");
        }
        text.push_str(&lines);
    }
    text
}

static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Makes this the program that [`program`] says and [`Daemon::up`] starts, whatever its shell.
///
/// # Errors
/// Another one is in use already.
pub fn choose_program(path: PathBuf) -> io::Result<()> {
    CHOSEN.set(path).map_err(|_| io::Error::other("the program is chosen already"))
}

/// The binary `waypost`, for what every shell does alike.
///
/// # Errors
/// It does not build.
pub fn program() -> io::Result<PathBuf> {
    program_of(Shell::Tokio)
}

fn program_of(shell: Shell) -> io::Result<PathBuf> {
    CHOSEN.get().map_or_else(|| shell.program(), |chosen| Ok(chosen.clone()))
}
