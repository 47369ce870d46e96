//! The running server, as a runtime sees it: sockets to accept on, sessions for what they accept.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use waypost_config::Config;
use waypost_driver::TlsConfigs;
use waypost_imap as imap;
use waypost_machine::{Limits, Time};
use waypost_mail::Peer;
use waypost_smtp::server as smtp;
use waypost_tls_client as tls_client;
use waypost_world::{Clock, World};

use crate::control::{self, Control, Live};
use crate::dial::Dial;
use crate::files::{self, ConfigFile};
use crate::ground::Ground;
use crate::listen::{self, Listening, Service};
use crate::log;
use crate::registry::{self, Full, Place, Registry};
use crate::session::auth::Auth;
use crate::session::imap::Imap;
use crate::session::smtp::Smtp;
use crate::session::{Link, Role, Session};
use crate::settings::outgoing::Outgoing;
use crate::settings::{self, Running};
use crate::tls::{Certificates, Files};

/// After a failed accept the next one waits a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failed accepts are told of so often at most.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// A server that has its sockets, its certificates and its world.
pub struct Server {
    clock: Arc<dyn Clock>,
    running: Running,
    control: Mutex<Option<Control>>,
    /// The way to other servers.
    outgoing: Outgoing,
    registry: Arc<Registry>,
    sockets: Mutex<Vec<(Service, Listening)>>,
    tls: TlsConfigs,
    certificates: Arc<Certificates>,
    smtp: settings::SmtpServices,
    imap: Arc<imap::Config>,
    imaps: Arc<imap::Config>,
    config: Config,
    /// Instead of chance.
    seed: Option<u64>,
    /// When a failed accept was last told of.
    told: Mutex<Option<Time>>,
}

/// What a server keeps in memory: numbers of things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Connections, those of our own making included.
    pub sessions: usize,
    /// Messages on their way to other servers.
    pub consignments: usize,
    /// Connections to other servers that wait for another message.
    pub idle: usize,
    /// What the world keeps.
    pub world: waypost_world::Held,
}

/// A configuration that was read, with its certificates. Many servers may start from it.
pub struct Given {
    file: ConfigFile,
    certificates: Arc<Certificates>,
    /// Towards other servers.
    security: tls_client::Settings,
}

impl Given {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, for the admin.
    pub fn read(config: &Path) -> Result<Self, StartError> {
        Self::of(ConfigFile::read(config)?)
    }

    pub(crate) fn of(file: ConfigFile) -> Result<Self, StartError> {
        let certificates = certificates(&file)?;
        let security = settings::security::settings(&file)?;
        Ok(Self { file, certificates, security })
    }
}

/// Anything that keeps a server from starting; the text is for the admin.
pub type StartError = Box<dyn std::error::Error>;

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    /// What keeps it from starting, for the admin.
    pub fn on(ground: &Ground, given: &Given) -> Result<Arc<Self>, StartError> {
        let Given { file, certificates, security } = given;
        let certificates = Arc::clone(certificates);

        let config = &file.config;
        let clock = Arc::clone(&ground.clock);
        let tls = match config.certificates.is_empty() {
            true => TlsConfigs::default(),
            false => TlsConfigs { server: Some(certificates.server_config()), client: None },
        };
        settings::check(file)?;
        let mut sockets = listen::open(&config.listen)?;
        if let Some(socket) = &config.auth.socket {
            let socket = listen::open_auth(&file.at(&socket.path), socket)?;
            sockets.push((Service::Auth, socket));
        }
        let outgoing = Outgoing::start(file, security.clone(), ground)?;
        let running = settings::world(file, ground, outgoing.carrier())?;
        let control = match ground.fs {
            None => open_control(file, &running),
            Some(_) => None,
        };
        Ok(Arc::new(Self {
            control: Mutex::new(control),
            running,
            outgoing,
            registry: Registry::new(registry::Limits {
                total: config.limits.connections,
                per_address: config.limits.connections_per_address,
                exempt: config.smtp.mynetworks.clone(),
            }),
            sockets: Mutex::new(sockets),
            smtp: settings::smtp(config, tls.server.is_some()),
            imap: settings::imap(config, false),
            imaps: settings::imap(config, true),
            config: config.clone(),
            seed: ground.seed,
            told: Mutex::default(),
            tls,
            certificates,
            clock,
        }))
    }

    /// What is served where, for a line in the log.
    pub(crate) fn describe(&self) -> String {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let each = sockets.iter().map(|(service, socket)| {
            let address = match socket {
                Listening::Tcp(socket) => socket.local_addr().map(|at| at.to_string()),
                Listening::Unix(socket) => socket.local_addr().map(|at| {
                    at.as_pathname().unwrap_or_else(|| Path::new("?")).display().to_string()
                }),
            };
            format!("{} on {}", service.name(), address.unwrap_or_default())
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// The sockets, once: whoever takes them accepts on them, until [`Server::poll_stopping`].
    pub fn take_sockets(&self) -> Vec<(Service, Listening)> {
        std::mem::take(&mut self.sockets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session for a TCP connection.
    ///
    /// # Errors
    /// When there are too many connections: what to say, possibly nothing, before closing.
    pub fn accept(
        &self,
        service: Service,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<Box<dyn Session>, Bytes> {
        let peer = Peer { ip: peer.ip().to_canonical(), port: peer.port(), name: None };
        let place = self.registry.admit(Some(peer.ip)).map_err(|full| {
            tracing::warn!(target: "waypost", "{}: connection refused: {full:?}", log::smtp::peer(&peer));
            self.last_words(service, full, peer.ip)
        })?;
        match service {
            Service::Smtp => Ok(self.smtp(&self.smtp.smtp, peer, place)),
            Service::Submission => Ok(self.smtp(&self.smtp.submission, peer, place)),
            Service::Submissions => Ok(self.smtp(&self.smtp.submissions, peer, place)),
            Service::Imap => Ok(self.imap(&self.imap, peer, local, place)),
            Service::Imaps => Ok(self.imap(&self.imaps, peer, local, place)),
            Service::Auth => Err(Bytes::new()),
        }
    }

    /// An accept failed, for want of file descriptors most often: how long to wait before the next.
    pub fn accept_failed(&self, service: Service, error: &io::Error) -> Duration {
        let now = self.clock.mono();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // It may last, on every socket.
        if told.is_none_or(|last| now.since(last) >= TELL_AGAIN) {
            *told = Some(now);
            tracing::error!(target: "waypost", "accept on {}: {error}", service.name());
        }
        ACCEPT_PAUSE
    }

    /// A session for a connection to the auth socket; `None` when there are too many.
    pub fn accept_auth(&self) -> Option<Box<dyn Session>> {
        let place = self.registry.admit(None).ok()?;
        let connection = u32::try_from(place.id() & u64::from(u32::MAX)).unwrap_or(0);
        let config = settings::auth(&self.config, connection, self.seed)?;
        let server = waypost_auth::Server::new(config);
        let machine = waypost_machine::Session::new(self.clock.now(), server, self.limits());
        let role = Auth::new(self.running.world.clone());
        let tls = TlsConfigs::default();
        Some(self.link(machine, role, tls, place))
    }

    fn link<R>(
        &self,
        machine: R::Machine,
        role: R,
        tls: TlsConfigs,
        place: Place,
    ) -> Box<dyn Session>
    where
        R: Role<Machine: 'static> + 'static,
    {
        let write_timeout = self.config.limits.write_timeout;
        let settings = waypost_driver::Settings { write_timeout, ..Default::default() };
        Box::new(Link::new(machine, role, tls, place, Arc::clone(&self.clock), settings))
    }

    fn limits(&self) -> Limits {
        Limits { handshake: self.config.limits.handshake_timeout, ..Limits::default() }
    }

    fn smtp(&self, config: &Arc<smtp::Config>, peer: Peer, place: Place) -> Box<dyn Session> {
        let log = log::smtp::Session::new(config, peer.clone(), place.id());
        let server = smtp::Server::new(Arc::clone(config), peer);
        let machine = waypost_machine::Session::new(self.clock.now(), server, self.limits());
        let role = Smtp::new(self.running.world.clone(), log);
        self.link(machine, role, self.tls.clone(), place)
    }

    fn imap(
        &self,
        config: &Arc<imap::Config>,
        peer: Peer,
        local: SocketAddr,
        place: Place,
    ) -> Box<dyn Session> {
        let clock = Arc::clone(&self.clock);
        let log = log::imap::Session::new(clock, peer.clone(), local.ip(), place.id());
        let server = waypost_imap::server::Server::new(Arc::clone(config), peer);
        let machine = waypost_machine::Session::new(self.clock.now(), server, self.limits());
        let role = Imap::new(self.running.world.clone(), log);
        self.link(machine, role, self.tls.clone(), place)
    }

    /// What a client in clear is told when there is no place for it.
    fn last_words(&self, service: Service, full: Full, ip: IpAddr) -> Bytes {
        let hostname = &self.smtp.smtp.hostname;
        let reply = match (service, full) {
            (Service::Smtp | Service::Submission, Full::Address) => {
                format!("421 4.7.0 {hostname} Error: too many connections from {ip}\r\n")
            }
            (Service::Smtp | Service::Submission, Full::Total) => {
                format!("421 4.3.2 {hostname} All server ports are busy\r\n")
            }
            (Service::Smtp | Service::Submission, Full::Stopping) => {
                format!("421 4.3.2 {hostname} Service shutting down\r\n")
            }
            (Service::Imap, _) => "* BYE Too many connections.\r\n".into(),
            (Service::Submissions | Service::Imaps | Service::Auth, _) => String::new(),
        };
        reply.into()
    }

    /// The next connection that is to be opened. The waker is woken when there is one.
    pub fn poll_dial(&self, waker: &Waker) -> Poll<Dial> {
        self.outgoing
            .poll(waker)
            .map(|wish| Dial::new(wish, Arc::clone(&self.registry), Arc::clone(&self.clock)))
    }

    /// The world that the sessions ask.
    pub fn world(&self) -> &World {
        &self.running.world
    }

    /// What is kept in memory now, for a look from outside.
    pub fn held(&self) -> Held {
        let (consignments, idle) = self.outgoing.held();
        let (sessions, world) = (self.registry.count(), self.running.world.held());
        Held { sessions, consignments, idle, world }
    }

    /// The time now, by the clock that [`Session::deadline`] goes by.
    pub fn now(&self) -> Time {
        self.clock.mono()
    }

    /// How long it is until then.
    pub fn until(&self, time: Time) -> Duration {
        time.since(self.clock.mono())
    }

    /// Ready when the server shall stop: accept no more. The waker is woken then.
    pub fn poll_stopping(&self, waker: &Waker) -> Poll<()> {
        self.registry.poll_stopping(waker)
    }

    /// Ready when the server is stopping and the last session has ended.
    pub fn poll_empty(&self, waker: &Waker) -> Poll<()> {
        self.registry.poll_empty(waker)
    }

    /// How long sessions may take to end, once the server is stopping.
    pub fn stop_timeout(&self) -> Duration {
        self.config.limits.stop_timeout
    }

    /// [`Server::stop_timeout`] is over before [`Server::poll_empty`] is ready.
    pub fn give_up(&self) {
        let count = self.registry.count();
        tracing::warn!(target: "waypost", "sessions that do not end: {count}");
    }

    /// Tells all sessions to stop.
    pub fn stop(&self) {
        tracing::info!(target: "waypost", "stopping; {} sessions are told", self.registry.count());
        self.outgoing.stop();
        self.registry.stop();
    }

    /// Finishes what was begun. Waits for the disk.
    pub fn finish(&self) {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(control);
        self.running.world.stop();
        tracing::info!(target: "waypost", "stopped");
    }

    /// When many sessions have ended, what they had goes back to the system.
    pub(crate) fn give_back_memory(&self) {
        if self.registry.has_shrunk() {
            waypost_memory::give_back();
        }
    }

    /// Takes up changed certificates.
    pub(crate) fn refresh_certificates(&self) {
        match self.certificates.refresh() {
            Ok(true) => tracing::info!(target: "waypost", "certificates: changed files taken up"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(target: "waypost", "certificates: {error}; the old ones stay");
            }
        }
    }
}

/// The socket for `waypost queue`. Mail does not wait for it: without it a warning has to do.
fn open_control(file: &ConfigFile, running: &Running) -> Option<Control> {
    let path = control::socket(file);
    let relayhost = settings::outgoing::queue_relayhost(&file.config);
    let live = Live { world: running.world.clone(), relayhost };
    Control::start(&path, Arc::new(live))
        .inspect_err(|error| {
            let path = path.display();
            tracing::warn!(target: "waypost", "control socket {path}: {error}; no waypost queue");
        })
        .ok()
}

pub(crate) fn certificates(file: &ConfigFile) -> Result<Arc<Certificates>, StartError> {
    let mut pairs = Vec::new();
    for pair in &file.config.certificates {
        let pair = Files { chain: file.at(&pair.chain), key: file.at(&pair.key) };
        files::guard(&pair.key)?;
        pairs.push(pair);
    }
    Ok(Certificates::read(pairs)?)
}
