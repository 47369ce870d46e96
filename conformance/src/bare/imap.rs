//! The IMAP server machine with the real mailbox store on a folder of its own; logins are the
//! article's users and whoever a script brings along.

use super::{Bare, World};
use crate::net::Link;
use crate::replay::User;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use waypost_imap::Config;
use waypost_imap::server::{Call, LoggedIn, Notice, Reply, Server};
use waypost_machine::{Answer, Now};
use waypost_mail::{Account, MailHome, Peer};
use waypost_world::{Event, ImapSession, Log, Settings, World as Store};

/// What all sessions share.
pub struct Place {
    store: Store,
    homes: PathBuf,
    config: Arc<Config>,
    passwords: BTreeMap<String, String>,
}

struct Quiet;

impl Log for Quiet {
    fn event(&self, _: Event) {}
}

impl Place {
    /// A server with mailboxes below `dir`.
    ///
    /// # Errors
    /// What keeps the world from starting.
    pub fn new(dir: PathBuf, users: &[User]) -> io::Result<Self> {
        // Users work with their own rights: they must be able to reach their homes.
        let homes = dir.join("home");
        fs::create_dir_all(&homes)?;
        for folder in [&dir, &homes] {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
        }
        let mut settings = Settings::new("mail.example.com", dir.join("spool"), Arc::new(Quiet));
        settings.allowed_bases.push(homes.clone());
        let store = Store::start(settings).map_err(io::Error::other)?;
        let own = users.iter().map(|u| (u.name.clone(), u.password.clone()));
        let article = [("mail000", "secret000"), ("mail001", "secret001")];
        let article = article.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Ok(Self {
            store,
            homes,
            config: Arc::new(Config::default()),
            passwords: own.chain(article).collect(),
        })
    }

    /// Connects to `imaps`.
    ///
    /// # Errors
    /// Another service.
    pub fn dial(self: &Arc<Self>, service: &str) -> io::Result<Box<dyn Link>> {
        if service != "imaps" {
            return Err(io::Error::other(format!("no service {service}")));
        }
        let peer = Peer { ip: [127, 0, 1, 1].into(), port: 40_000, name: None };
        let (tell, news) = mpsc::channel();
        let session = self.store.imap_session(move |notice| {
            // Nobody listens any more when the session has ended.
            let _ = tell.send(notice);
        });
        let world = Here { place: self.clone(), session, news: Mutex::new(news) };
        Ok(Box::new(Bare::new(Server::new(self.config.clone(), peer), Box::new(world))))
    }

    fn log_in(&self, name: &str, password: &str) -> LoggedIn {
        let user = name.to_lowercase();
        if password.is_empty() || self.passwords.get(&user).is_none_or(|right| right != password) {
            return LoggedIn::Denied;
        }
        let path = self.homes.join(&user).join("mailbox").display().to_string().into();
        // Without rights of root the store works as who runs it, whatever stands here.
        let home = MailHome { path, uid: 20_000, gid: 20_000 };
        LoggedIn::Accepted(Arc::new(Account { user: user.into(), home }))
    }
}

/// The world of one session.
struct Here {
    place: Arc<Place>,
    session: ImapSession,
    news: Mutex<Receiver<Notice>>,
}

impl World<Server> for Here {
    fn run(&mut self, _: Now, call: Call) -> Answer<Reply> {
        if let Call::Login { credentials, ticket, .. } = call {
            let own = credentials.authzid.is_empty() || credentials.authzid == credentials.authcid;
            let password: &str = credentials.password.expose();
            let outcome = self.place.log_in(&credentials.authcid, password);
            return ticket.answer(if own { outcome } else { LoggedIn::Denied });
        }
        let (done, answer) = mpsc::channel();
        self.place.store.imap(&self.session, call, move |outcome| {
            let _ = done.send(outcome);
        });
        answer.recv().expect("invariant: the world answers every call")
    }

    fn news(&mut self, wait: Duration) -> Option<Notice> {
        let news = self.news.get_mut().ok()?;
        if wait.is_zero() { news.try_recv().ok() } else { news.recv_timeout(wait).ok() }
    }
}
