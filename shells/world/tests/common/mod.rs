//! A world with the article's directory, maps and logins.

#![allow(dead_code, reason = "each test file uses its part of this")]

pub(crate) mod fragile;
pub(crate) mod remote;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use waypost_ldap::Table;
use waypost_ldap::attrs::Accounts;
use waypost_machine::{Answer, Ledger, Secret, Ticket, UnixTime};
use waypost_mail::{
    Address, Body, Client, Envelope, Login, Network, Peer, Recipient, Reply, ReversePath, Verdict,
};
use waypost_route::{Gid, Map};
use waypost_sasl::Credentials;
use waypost_smtp::server as smtp;
use waypost_world::directory::{Directory, Ldif};
use waypost_world::{Event, Logins, ManualClock, Settings, Source, World};

pub(crate) const NOON: i64 = 1_795_348_800;

const COMMON: &str =
    "server_host = ldapi://%2Fnone\nbind = no\nsearch_base = ou=Mail,dc=example,dc=com\n";
const MAPS: [(Map, &str); 5] = [
    (
        Map::AliasDomains,
        "query_filter = mailacceptinggeneralid=*@%s\n\
         result_attribute = mailacceptinggeneralid\nresult_format = %d\n",
    ),
    (Map::Aliases, "query_filter = mailacceptinggeneralid=%s\nresult_attribute = maildrop\n"),
    (
        Map::Mailboxes,
        "query_filter = maildrop=%s\nresult_attribute = homeDirectory\n\
         result_format = %s/mailbox/\n",
    ),
    (Map::Uids, "query_filter = maildrop=%s\nresult_attribute = uidNumber\n"),
    (
        Map::SenderLogins,
        "query_filter = (|(mailacceptinggeneralid=%s)(maildrop=%s))\nresult_attribute = uid\n",
    ),
];
const DOVECOT: &str = "uris = ldapi://%2Fnone\nbase = ou=Mail,dc=example,dc=com\n\
    auth_bind = yes\nauth_bind_userdn = uid=%u,ou=Mail,dc=example,dc=com\n\
    user_attrs = homeDirectory=home,uidNumber=uid,gidNumber=gid\n\
    user_filter = (&(objectClass=posixAccount)(uid=%u))\n";

/// A place for a world: a directory with the LDIF file, homes and a spool.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ldif: Arc<Ldif>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        let path = dir.path().join("mail.ldif");
        let home = dir.path().join("home");
        let data =
            include_str!("../data/article.ldif").replace("/home/mail", home.to_str().unwrap());
        std::fs::write(&path, data).unwrap();
        if nix::unistd::geteuid().is_root() {
            use std::os::unix::fs::PermissionsExt;
            // Users must be able to reach their homes.
            for path in [dir.path(), &home] {
                let all = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(path, all).unwrap();
            }
        }
        let clock = Arc::new(ManualClock::new(NOON));
        let ldif = Arc::new(Ldif::open(path, false, Arc::<ManualClock>::clone(&clock)).unwrap());
        Self { dir, clock, ldif, events: Arc::default() }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings_with(Arc::<Ldif>::clone(&self.ldif))
    }

    pub(crate) fn settings_with(&self, directory: Arc<dyn Directory>) -> Settings {
        let events = Arc::clone(&self.events);
        let log = Arc::new(move |event: Event| events.lock().unwrap().push(event));
        let mut settings = Settings::new("mail.example.com", self.dir.path().join("spool"), log);
        settings.policy.gid = Gid::SameAsUid;
        settings.policy.mynetworks = vec!["127.0.0.0/8".parse::<Network>().unwrap()];
        let source = |text: &str, name: &str| Source {
            table: Arc::new(Table::parse(name, &format!("{COMMON}{text}")).unwrap()),
            directory: Arc::clone(&directory),
        };
        settings.maps = MAPS
            .iter()
            .map(|(map, text)| (*map, source(text, map.name())))
            .collect::<BTreeMap<_, _>>();
        settings.logins = Some(Logins {
            accounts: Arc::new(Accounts::parse("dovecot-ldap.conf.ext", DOVECOT).unwrap()),
            directory: Arc::clone(&directory),
            by_address: false,
        });
        settings.allowed_bases = vec![self.home()];
        settings.clock = Arc::<ManualClock>::clone(&self.clock);
        settings.file_threads = 4;
        settings
    }

    pub(crate) fn world(&self) -> World {
        World::start(self.settings()).unwrap()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub(crate) fn new_mail(&self, user: &str) -> Vec<String> {
        let new = self.home().join(user).join("mailbox/new");
        let mut mails: Vec<String> = files(&new)
            .into_iter()
            .map(|name| std::fs::read_to_string(new.join(name)).unwrap())
            .collect();
        mails.sort();
        mails
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
}

/// Names in a directory; none when it is not there.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn sender(text: &str) -> ReversePath {
    if text.is_empty() { ReversePath::Null } else { ReversePath::Address(address(text)) }
}

/// A client from outside, or one that has logged in.
pub(crate) fn client(login: Option<&str>) -> Client {
    Client {
        peer: Peer { ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), port: 4711, name: None },
        service: "smtpd".into(),
        helo: "client.example.net".into(),
        esmtp: true,
        tls: None,
        login: login.map(|user| Login { user: user.into(), mechanism: "PLAIN" }),
    }
}

pub(crate) fn credentials(user: &str, password: &str) -> Credentials {
    Credentials {
        mechanism: "PLAIN",
        authzid: "".into(),
        authcid: user.into(),
        password: Secret::new(password.into()),
    }
}

/// Runs a call and waits for its answer.
pub(crate) fn call<T: 'static>(
    world: &World,
    make: impl FnOnce(Ticket<T>) -> smtp::Call,
) -> smtp::Reply {
    let (to, from) = mpsc::channel();
    let call = make(Ledger::new().open(None));
    world.smtp(call, move |answer: Answer<smtp::Reply>| {
        to.send(answer.into_parts().1).unwrap();
    });
    from.recv().expect("every call is answered")
}

/// Waits for what a question with a callback answers.
pub(crate) fn wait<T: Send + 'static>(ask: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> T {
    let (to, from) = mpsc::channel();
    ask(Box::new(move |outcome| to.send(outcome).unwrap()));
    from.recv().expect("every question is answered")
}

/// RCPT TO.
pub(crate) fn route(
    world: &World,
    client: &Client,
    from: &str,
    to: &str,
) -> Result<Recipient, Reply> {
    let (client, sender, recipient) = (Arc::new(client.clone()), sender(from), address(to));
    let reply = call(world, |ticket| smtp::Call::Recipient { client, sender, recipient, ticket });
    match reply {
        smtp::Reply::Verdict(Verdict::Accept(deliveries)) => {
            Ok(Recipient { address: address(to), deliveries, notify: None, orcpt: None })
        }
        smtp::Reply::Verdict(Verdict::Refuse(reply)) => Err(reply),
        other => panic!("{other:?}"),
    }
}

/// Sends a message, in pieces.
pub(crate) fn send(
    world: &World,
    client: &Client,
    from: &str,
    to: &str,
    text: &str,
) -> Result<(), Reply> {
    let recipients = vec![route(world, client, from, to)?];
    let envelope = Arc::new(Envelope {
        client: client.clone(),
        sender: sender(from),
        recipients,
        arrived: UnixTime { secs: NOON, nanos: 0 },
        size: None,
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
    });
    let message = match call(world, |ticket| smtp::Call::Begin { envelope, ticket }) {
        smtp::Reply::Begun(smtp::Begun::Ready { message, .. }) => message,
        smtp::Reply::Begun(smtp::Begun::Failed(reply)) => return Err(reply),
        other => panic!("{other:?}"),
    };
    for piece in text.as_bytes().chunks(4000) {
        let chunks = vec![Bytes::copy_from_slice(piece)];
        call(world, |ticket| smtp::Call::Append { message, chunks, ticket });
    }
    match call(world, |ticket| smtp::Call::Commit { message, ticket }) {
        smtp::Reply::Committed(smtp::Committed::Done) => Ok(()),
        smtp::Reply::Committed(smtp::Committed::Failed(reply)) => Err(reply),
        other => panic!("{other:?}"),
    }
}
