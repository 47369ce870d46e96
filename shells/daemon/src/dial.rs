//! Connections to other servers: wishes on their way to the runtime, which opens them.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use waypost_driver::TlsConfigs;
use waypost_relay::{Started, Wish};
use waypost_world::Clock;

use crate::registry::Registry;
use crate::session::relay::Relay;
use crate::session::{Link, Session};

/// Wishes that the runtime has not taken yet.
#[derive(Default)]
pub(crate) struct Dialer(Mutex<Wishes>);

#[derive(Default)]
struct Wishes {
    waiting: VecDeque<Wish>,
    waker: Option<Waker>,
    closed: bool,
}

impl Dialer {
    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next wish, or the waker is woken when there is one.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Wish> {
        let mut wishes = self.lock();
        match wishes.waiting.pop_front() {
            Some(wish) => Poll::Ready(wish),
            None => {
                wishes.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// No wish is fulfilled any more.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut wishes = self.lock();
            wishes.closed = true;
            std::mem::take(&mut wishes.waiting)
        };
        // Not under the lock: who is refused may wish for something else.
        drop(waiting);
    }
}

impl waypost_relay::Dial for Dialer {
    fn dial(&self, wish: Wish) {
        let waker = {
            let mut wishes = self.lock();
            if wishes.closed {
                drop(wishes);
                return drop(wish);
            }
            wishes.waiting.push_back(wish);
            wishes.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A connection to another server, to be opened by the runtime. To drop it counts as a failure.
pub struct Dial {
    wish: Wish,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
}

impl Dial {
    pub(crate) fn new(wish: Wish, registry: Arc<Registry>, clock: Arc<dyn Clock>) -> Self {
        Self { wish, registry, clock }
    }

    /// A socket that does not block, on its way to the other server. It is connected once it can be
    /// written to and has no pending error (`take_error`).
    ///
    /// # Errors
    /// Those of the operating system: the connection fails at once.
    pub fn begin(&self) -> io::Result<TcpStream> {
        let address = self.wish.address();
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Commands are written as a whole, so there is nothing to gather.
        socket.set_tcp_nodelay(true)?;
        if let Some(from) = self.wish.bind() {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        match socket.connect(&address.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
            _ => Ok(socket.into()),
        }
    }

    /// Where to, for a runtime that has no use for [`Dial::begin`].
    pub fn address(&self) -> SocketAddr {
        self.wish.address()
    }

    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        self.wish.timeout()
    }

    /// The connection is there: what to drive on it. `None`: close it, it is not wanted any more.
    pub fn connected(self) -> Option<Box<dyn Session>> {
        let place = self.registry.outgoing()?;
        let Started { machine, tls, line } = self.wish.connected()?;
        let tls = TlsConfigs { server: None, client: tls };
        let settings = waypost_driver::Settings::default();
        Some(Box::new(Link::new(machine, Relay::new(line), tls, place, self.clock, settings)))
    }

    /// There is no connection.
    pub fn failed(self, error: &io::Error) {
        self.wish.failed(error);
    }
}
