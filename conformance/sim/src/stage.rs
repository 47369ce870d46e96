//! A server in its world, and events until the end.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use waypost_daemon::{Held, Server, Service};
use waypost_world::Log;

use crate::choices::Choices;
use crate::directory::FaultyDirectory;
use crate::disk::{Disk, Survival};
use crate::dns::Zones;
use crate::heap::{ETERNAL, Heap};
use crate::laws::{Breach, Law};
use crate::node::{Crash, Hosts, Node, Parts, mixed};
use crate::peer::{Network, Peer};
use crate::site::Site;
use crate::stream::{Net, Tamper, lock};
use crate::trace::Trace;
use crate::weather::Weather;

/// So many events are too many for any script.
const EVENTS: u64 = 3_000_000;

/// What a stage is made of.
pub struct Setting {
    /// What the server reads at its start.
    pub site: Site,
    /// The address of the server.
    pub address: IpAddr,
    /// Where small decisions come from.
    pub seed: u64,
    /// The clock, at its beginning.
    pub heap: Arc<Heap>,
    /// The server's files.
    pub disk: Disk,
    /// The directory.
    pub directory: Arc<FaultyDirectory>,
    /// The DNS.
    pub names: Arc<Zones>,
    /// Takes the news of messages.
    pub log: Arc<dyn Log>,
    /// What stands where the server dials.
    pub hosts: Hosts,
    /// Is told when the server crashes.
    pub crashed: Box<dyn Fn(Duration) + Send + Sync>,
    /// Planted faults.
    pub tamper: Option<Arc<dyn Tamper>>,
    /// Keeps what happens in words, too.
    pub told: bool,
}

/// A server in its world. A clone is the same.
#[derive(Clone)]
pub struct Stage {
    net: Arc<Net>,
    node: Arc<Node>,
    disk: Disk,
    choices: Arc<Choices>,
}

impl Stage {
    /// Everything is there, and the server does not run yet.
    pub fn new(setting: Setting) -> Self {
        let Setting { heap, disk, seed, .. } = setting;
        let net = Arc::new(Net {
            heap,
            trace: Arc::new(Trace::new(setting.told)),
            tamper: setting.tamper,
            complaints: Mutex::default(),
        });
        let parts = Parts {
            site: setting.site,
            address: setting.address,
            seed,
            net: Arc::clone(&net),
            disk: disk.clone(),
            directory: setting.directory,
            names: setting.names,
            log: setting.log,
            hosts: setting.hosts,
            crashed: setting.crashed,
        };
        let choices = Arc::new(Choices::seeded(mixed(seed, 0xd15c)));
        Self { net, node: Node::new(parts), disk, choices }
    }

    /// The clock, and what is to happen.
    pub fn heap(&self) -> &Arc<Heap> {
        &self.net.heap
    }

    /// What happened.
    pub fn trace(&self) -> &Arc<Trace> {
        &self.net.trace
    }

    /// The files of the server.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The running server.
    pub fn server(&self) -> Option<Arc<Server>> {
        self.node.server()
    }

    /// True when the server accepts connections.
    pub fn is_up(&self) -> bool {
        self.node.is_up()
    }

    /// How often the server has crashed.
    pub fn crashes(&self) -> u32 {
        self.node.crashes()
    }

    /// Connections whose server's end is not closed.
    pub fn connections(&self) -> Vec<String> {
        self.node.connections()
    }

    /// Starts the server.
    pub fn boot(&self) {
        self.node.boot();
    }

    /// Stops the server in order, and starts it again so long after it has stopped; not at all when
    /// `None`.
    pub fn stop(&self, again: Option<Duration>) {
        self.node.stop(again);
    }

    /// Lets the server die after so many more calls of its disk, or when `latest` is over, and start
    /// again when `down` is over.
    pub fn crash(&self, calls: u64, rule: Survival, down: Duration, latest: Duration) {
        let crashes = self.node.crashes();
        self.node.prepare(Crash { rule, down });
        self.disk.crash_after(Some(calls.max(1)));
        let (node, disk) = (Arc::clone(&self.node), self.disk.clone());
        self.heap().after(ETERNAL, latest, move || {
            if node.crashes() == crashes {
                disk.crash_after(Some(0));
            }
        });
    }

    /// How the network is for connections from now on.
    pub fn weather(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut lock(&self.node.weather));
    }

    /// Lets the server's work on files take so many milliseconds, at most; as usual when zero.
    pub fn slow_files(&self, millis: u64) {
        self.node.pace.files.store(millis, std::sync::atomic::Ordering::Relaxed);
    }

    /// Lets things happen until nothing is left to happen before `end`, or `enough` is true.
    pub fn until(&self, end: Duration, mut enough: impl FnMut() -> bool) {
        while !enough() {
            let Some(event) = self.heap().next(end) else { return };
            event();
            if self.disk.is_dead() {
                self.node.crash(&self.choices);
            }
            self.node.check_held();
            if self.heap().happened() > EVENTS {
                return self.net.complain(Law::W10, format!("there is no end: {EVENTS} events"));
            }
        }
    }

    /// What a server keeps that has nothing to do, if it is anything.
    pub fn unrest(&self) -> Option<Held> {
        self.node.unrest()
    }

    /// Ends it all: events hold the world that holds them, and nothing else would free it.
    pub fn end(&self) {
        self.node.end();
    }

    /// What should not have been: laws W10 and W11.
    pub fn complaints(&self) -> Vec<Breach> {
        lock(&self.net.complaints).clone()
    }
}

impl Network for Stage {
    fn connect(&self, service: Service, from: SocketAddr, peer: Box<dyn Peer>) {
        self.node.connect(service, from, peer);
    }
}
