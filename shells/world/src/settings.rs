//! What a world has to know before it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use waypost_ldap::Table;
use waypost_ldap::attrs::Accounts;
use waypost_mail::{Address, Domain};
use waypost_route::rate::Rates;
use waypost_route::{Map, Policy};

use crate::carrier::Carrier;
use crate::clock::{Clock, SystemClock};
use crate::directory::Directory;
use crate::event::Log;
use crate::fs::Fs;
use crate::process::Process;
use crate::signer::Signer;
use crate::workers::Workers;

/// All settings of a world. The shell makes them out of its configuration.
#[derive(Clone)]
pub struct Settings {
    /// Our name: `myhostname`, as Received headers, file names and logs show it.
    pub hostname: Box<str>,
    /// Domains, restrictions, aliases.
    pub policy: Policy,
    /// The tables. One that is missing holds nothing.
    pub maps: BTreeMap<Map, Source>,
    /// Who may log in. Without it nobody may.
    pub logins: Option<Logins>,
    /// Who has logged in may only write From what is an address of the login, too.
    pub check_authors: bool,
    /// Signs what users send to other servers. Without it nothing is signed.
    pub signer: Option<Arc<dyn Signer>>,
    /// The domain of the senders with which forwarded mail leaves (SRS); mail for it must come here.
    /// Without it, forwarded mail keeps its sender.
    pub srs_domain: Option<Domain>,
    /// How much users and clients may send.
    pub rates: Rates,
    /// What is remembered of the tables' answers.
    pub cache: Cache,
    /// Dovecot's `mail_location`: where in a home the mail lies. `%h`, `%u`, `%n`, `%d`, `~`.
    pub mail_location: Box<str>,
    /// Directories below which mailboxes may lie. They must exist.
    pub allowed_bases: Vec<PathBuf>,
    /// The lowest user id that may own mail.
    pub minimum_uid: u32,
    /// Where messages wait that cannot be delivered now.
    pub spool: Spool,
    /// Takes mail to other servers. Without it such mail waits.
    pub carrier: Option<Arc<dyn Carrier>>,
    /// Threads for work on messages that come and go, and as many for work in mailboxes that are read; at
    /// most. Each waits for the disk by itself, so there are more than cores.
    pub file_threads: usize,
    /// What runs jobs instead of threads of our own. With it, files are used with no user's rights
    /// but those of [`fs`](Self::fs).
    pub workers: Option<Arc<dyn Workers>>,
    /// Which process we are; the one that we are when `None`.
    pub process: Option<Process>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where news of messages go.
    pub log: Arc<dyn Log>,
    /// The file system; `None` for the real one, below the bases and the spool.
    pub fs: Option<Arc<dyn Fs>>,
}

/// A table and the directory it is in.
#[derive(Clone)]
pub struct Source {
    /// How to ask.
    pub table: Arc<Table>,
    /// Whom to ask.
    pub directory: Arc<dyn Directory>,
}

/// Who may log in, and where their mail is.
#[derive(Clone)]
pub struct Logins {
    /// The passdb and userdb.
    pub accounts: Arc<Accounts>,
    /// Whom to ask.
    pub directory: Arc<dyn Directory>,
    /// One may log in with any address of the account too: the one login that
    /// `smtpd_sender_login_maps` names for it.
    pub by_address: bool,
}

/// What is remembered of the tables' answers. Failures never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// How long a value counts.
    pub positive: Duration,
    /// How long the absence of one counts.
    pub negative: Duration,
    /// How many answers are kept, about.
    pub entries: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(60),
            negative: Duration::from_secs(10),
            entries: 100_000,
        }
    }
}

/// The spool and its schedule, with Postfix's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Its directory; made when it is missing.
    pub directory: PathBuf,
    /// When and where messages are tried, and how many at a time.
    pub queue: waypost_queue::Settings,
    /// `bounce_size_limit`: of larger messages, in octets, a report returns the header alone.
    pub bounce_size_limit: u64,
    /// `2bounce_notice_recipient`: who is told of our reports that cannot be delivered; `None`:
    /// nobody.
    pub double_bounce: Option<Address>,
    /// How long what is under way may take to end when the world stops.
    pub stop_grace: Duration,
}

impl Spool {
    /// The defaults of Postfix, for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            queue: waypost_queue::Settings::default(),
            bounce_size_limit: 50_000,
            double_bounce: None,
            stop_grace: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// Settings with every default: no tables, nobody may log in.
    pub fn new(hostname: &str, spool: impl Into<PathBuf>, log: Arc<dyn Log>) -> Self {
        let mut spool = Spool::new(spool);
        spool.double_bounce = Address::parse(&format!("postmaster@{hostname}")).ok();
        Self {
            hostname: hostname.into(),
            policy: Policy::new(hostname),
            maps: BTreeMap::new(),
            logins: None,
            check_authors: false,
            signer: None,
            srs_domain: None,
            rates: Rates::default(),
            cache: Cache::default(),
            mail_location: "maildir:~/mailbox".into(),
            allowed_bases: Vec::new(),
            minimum_uid: crate::identity::MIN_UID,
            spool,
            carrier: None,
            file_threads: 32,
            workers: None,
            process: None,
            clock: Arc::new(SystemClock::default()),
            log,
            fs: None,
        }
    }
}
