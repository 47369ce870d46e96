//! Who takes part in a run: those who bring mail, those who read it, the hosts it goes to.
//!
//! | file | who |
//! |---|---|
//! | `sender.rs` | a server or user who brings a message |
//! | `imap/` | an IMAP client with a model of its mailbox |
//! | `host.rs` | a host that the server sends mail to |
//! | `auth.rs` | a client of the auth socket |

mod auth;
mod host;
mod imap;
mod sender;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use waypost_machine::Now;

use crate::heap::{ETERNAL, Heap};
use crate::laws::Ledger;
use crate::peer::Network;
use crate::script::{Login, Mail, Step, Tls, What};

pub use host::Hosts;

/// How long anybody waits for a connection.
const CONNECTED: Duration = Duration::from_secs(900);

/// Where actors act.
#[derive(Clone)]
pub struct Scene {
    /// What happens when.
    pub heap: Arc<Heap>,
    /// What is promised.
    pub ledger: Arc<Mutex<Ledger>>,
    /// The way to the server.
    pub network: Weak<dyn Network>,
}

impl Scene {
    /// The ledger, locked.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the actor of a line begin. `number`: that of the line, each comes from its own address.
    /// False when the line is not about an actor.
    pub fn begin(&self, number: usize, what: &What) -> bool {
        match what {
            What::Mx(mail) => self.send(number, None, mail),
            What::Submit(login, mail) => self.send(number, Some(login), mail),
            What::Imap(login, steps) => self.read(number, login, steps),
            What::Auth(login) => auth::begin(self, number, login),
            _ => return false,
        }
        true
    }

    fn send(&self, number: usize, login: Option<&Login>, mail: &Mail) {
        let from = if mail.trusted { trusted(number) } else { address(number) };
        sender::begin(self, from, login, mail);
    }

    fn read(&self, number: usize, login: &Login, steps: &[Step]) {
        imap::begin(self, address(number), login, steps);
    }

    /// Honest readers go through the mailboxes at the end of a run, and tell the ledger; but for
    /// users that have none.
    pub fn read_everything(&self, of: impl Fn(&str) -> bool) {
        let users: Vec<String> = self.ledger().book.users.iter().cloned().collect();
        for (number, user) in (200..).zip(users) {
            if !of(&user) {
                self.ledger().read_all(&user);
                continue;
            }
            let login = Login { user, tls: Tls::Implicit, wrong: false };
            imap::audit(self, address(number), &login);
        }
    }

    /// What a peer sets when it hears of its stream for the first time. One that never does, since the
    /// network lost all of it, is given up after a while.
    fn expect(&self) -> Arc<AtomicBool> {
        let heard = Arc::new(AtomicBool::new(false));
        let (scene, flag) = (self.clone(), Arc::clone(&heard));
        self.after(CONNECTED, move || {
            if !flag.load(Ordering::Relaxed) {
                scene.ledger().finished();
            }
        });
        heard
    }

    /// Lets something happen after a while.
    fn after(&self, delay: Duration, event: impl FnOnce() + Send + 'static) {
        self.heap.after(ETERNAL, delay, event);
    }
}

/// The address that an actor comes from: in no network that the server trusts.
fn address(number: usize) -> SocketAddr {
    let last = u8::try_from(1 + number % 250).unwrap_or(1);
    let third = u8::try_from(number / 250 % 250).unwrap_or(0);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, third, last)), 40_000)
}

/// The address of one in `mynetworks` of the configuration.
fn trusted(number: usize) -> SocketAddr {
    let last = u8::try_from(1 + number % 250).unwrap_or(1);
    let port = 40_000 + u16::try_from(number / 250 % 250).unwrap_or(0);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)), port)
}

fn elapsed(at: Now) -> Duration {
    Duration::from_nanos(at.mono.as_nanos())
}

/// Lines out of bytes that come in pieces.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next line, without its end.
    fn next(&mut self) -> Option<Vec<u8>> {
        let at = self.0.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.0.drain(..=at).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// So many bytes as they are, once they are there.
    fn octets(&mut self, count: usize) -> Option<Vec<u8>> {
        (self.0.len() >= count).then(|| self.0.drain(..count).collect())
    }
}
