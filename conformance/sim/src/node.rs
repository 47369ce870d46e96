//! One server: its boots, crashes and stops, and whoever is connected to it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use waypost_daemon::{Dial, Ground, Held, Server, Service};
use waypost_world::{Event, Log, Process};

use crate::choices::Choices;
use crate::directory::FaultyDirectory;
use crate::disk::{Disk, Survival};
use crate::dns::Zones;
use crate::heap::{ETERNAL, Heap, Life};
use crate::laws::Law;
use crate::peer::{Ended, Line, Peer};
use crate::site::Site;
use crate::stream::{Net, Opener, Stream, lock};
use crate::weather::{Fortune, Weather};
use crate::workers::{Jobs, Pace};

/// A start that fails is tried again after this time, as an init system does.
const START_AGAIN: Duration = Duration::from_secs(5);
/// A server that does not start so often in a row never does.
const STARTS: u32 = 100;

/// `cache.entries` of the configuration.
const CACHE: usize = 8;
/// Keys whose mail is counted: fewer than there are lines in a script.
const RATES: usize = 100;

/// What stands where the server dials; `None`: nobody listens there.
pub type Hosts = Box<dyn Fn(SocketAddr) -> Option<Box<dyn Peer>> + Send + Sync>;

/// What a server stands on.
pub(crate) struct Parts {
    pub(crate) site: Site,
    /// Where it listens.
    pub(crate) address: IpAddr,
    pub(crate) seed: u64,
    pub(crate) net: Arc<Net>,
    pub(crate) disk: Disk,
    pub(crate) directory: Arc<FaultyDirectory>,
    pub(crate) names: Arc<Zones>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) hosts: Hosts,
    /// Is told of crashes.
    pub(crate) crashed: Box<dyn Fn(Duration) + Send + Sync>,
}

/// A server, whether it runs or not.
pub(crate) struct Node {
    parts: Parts,
    pub(crate) weather: Mutex<Weather>,
    pub(crate) pace: Arc<Pace>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// How often it was started.
    boots: u64,
    /// How often in a row that failed.
    failed: u32,
    /// Connections there were, by address: each has its own choices.
    connections: BTreeMap<(SocketAddr, bool), u64>,
    crash: Option<Crash>,
    /// How often it crashed.
    crashes: u32,
    /// Which of the starts that were wished for counts: the last.
    start: u64,
}

struct Running {
    server: Arc<Server>,
    life: Life,
    streams: Vec<Weak<Stream>>,
    /// Sleeps while nothing is wished for.
    dialling: Arc<Woken>,
    stopping: bool,
}

/// A crash that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) rule: Survival,
    /// Until it starts again.
    pub(crate) down: Duration,
}

/// Wakes something of a server that is no connection.
struct Woken {
    node: Weak<Node>,
    life: Life,
    pending: AtomicBool,
    then: fn(&Arc<Node>),
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        if self.pending.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(node) = self.node.upgrade() {
            let heap = Arc::clone(&node.parts.net.heap);
            heap.after(self.life, Duration::ZERO, move || {
                self.pending.store(false, Ordering::Relaxed);
                (self.then)(&node);
            });
        }
    }
}

/// Tells of nothing that a dead process would have told.
struct Living {
    log: Arc<dyn Log>,
    disk: Disk,
}

impl Log for Living {
    fn event(&self, event: Event) {
        if !self.disk.is_dead() {
            self.log.event(event);
        }
    }
}

impl Node {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            weather: Mutex::new(Weather::CALM),
            pace: Arc::default(),
            state: Mutex::default(),
        })
    }

    fn heap(&self) -> &Arc<Heap> {
        &self.parts.net.heap
    }

    fn note(&self, what: &str) {
        let at = self.heap().elapsed();
        self.parts.net.trace.note(at, &format_args!("server"), what, b"");
    }

    /// True when it accepts connections.
    pub(crate) fn is_up(&self) -> bool {
        lock(&self.state).running.as_ref().is_some_and(|running| !running.stopping)
    }

    /// The server, while there is one.
    pub(crate) fn server(&self) -> Option<Arc<Server>> {
        lock(&self.state).running.as_ref().map(|running| Arc::clone(&running.server))
    }

    /// How often it crashed.
    pub(crate) fn crashes(&self) -> u32 {
        lock(&self.state).crashes
    }

    /// Starts the server; tries again later when that fails.
    pub(crate) fn boot(self: &Arc<Self>) {
        let life = self.heap().birth();
        let boots = {
            let mut state = lock(&self.state);
            state.boots += 1;
            state.boots
        };
        let seed = mixed(self.parts.seed, boots);
        let jobs = Jobs::new(Arc::clone(self.heap()), life, Arc::clone(&self.pace), seed);
        let log = Living { log: Arc::clone(&self.parts.log), disk: self.parts.disk.clone() };
        let ground = Ground {
            clock: Arc::clone(self.heap()) as _,
            fs: Some(Arc::new(self.parts.disk.clone())),
            workers: Some(Arc::new(jobs)),
            directory: Some(self.parts.directory.of(life)),
            names: Some(self.parts.names.of(life)),
            log: Some(Arc::new(log)),
            process: Some(process(boots)),
            seed: Some(seed),
        };
        match Server::on(&ground, self.parts.site.given()) {
            Ok(server) => self.booted(server, life),
            Err(error) => {
                self.note(&format!("does not start: {error}"));
                self.bury(life);
                self.start_again(&error.to_string());
            }
        }
    }

    fn booted(self: &Arc<Self>, server: Arc<Server>, life: Life) {
        self.note("starts");
        let woken = |then| {
            let node = Arc::downgrade(self);
            Arc::new(Woken { node, life, pending: AtomicBool::new(false), then })
        };
        let dialling = woken(Self::dial);
        {
            let mut state = lock(&self.state);
            state.failed = 0;
            let streams = Vec::new();
            let stopping = false;
            let dialling = Arc::clone(&dialling);
            state.running = Some(Running { server, life, streams, dialling, stopping });
        }
        dialling.wake();
    }

    fn start_again(self: &Arc<Self>, why: &str) {
        let failed = {
            let mut state = lock(&self.state);
            state.failed += 1;
            state.failed
        };
        // A crash in the middle of the start is one like any other.
        if self.parts.disk.is_dead() {
            return;
        }
        if failed >= STARTS {
            return self
                .parts
                .net
                .complain(Law::W10, format!("the server does not start any more: {why}"));
        }
        self.boot_after(START_AGAIN);
    }

    /// Starts the server after a while.
    fn boot_after(self: &Arc<Self>, delay: Duration) {
        let start = {
            let mut state = lock(&self.state);
            state.start += 1;
            state.start
        };
        let node = Arc::clone(self);
        self.heap().after(ETERNAL, delay, move || {
            if lock(&node.state).start == start {
                node.boot();
            }
        });
    }

    /// A client connects; it learns what becomes of it.
    pub(crate) fn connect(
        self: &Arc<Self>,
        service: Service,
        from: SocketAddr,
        peer: Box<dyn Peer>,
    ) {
        let to = SocketAddr::new(self.parts.address, port(service));
        let (choices, fortune) = self.fortune(from, true);
        let accepted = self.server().filter(|_| self.is_up()).map(|server| match service {
            Service::Auth => server.accept_auth().ok_or_else(bytes::Bytes::new),
            _ => server.accept(service, from, to),
        });
        let net = &self.parts.net;
        match accepted {
            Some(Ok(session)) => {
                let tls = matches!(service, Service::Submissions | Service::Imaps);
                let Some(life) = self.life() else { return };
                let opener = Opener::Client { tls };
                let ends = (session, peer);
                let stream = Stream::new(net, life, (from, to), opener, (choices, fortune), ends);
                self.keep(&stream);
                stream.open();
            }
            Some(Err(words)) => tell_later(net, fortune.latency, peer, words.to_vec(), Ended::Eof),
            None => tell_later(net, fortune.latency, peer, Vec::new(), Ended::Refused),
        }
    }

    fn life(&self) -> Option<Life> {
        lock(&self.state).running.as_ref().map(|running| running.life)
    }

    fn keep(&self, stream: &Arc<Stream>) {
        if let Some(running) = &mut lock(&self.state).running {
            let streams = &mut running.streams;
            if streams.len() == streams.capacity() {
                streams.retain(|stream| stream.strong_count() > 0);
            }
            streams.push(Arc::downgrade(stream));
        }
    }

    /// Connections whose server's end is not closed.
    pub(crate) fn connections(&self) -> Vec<String> {
        let state = lock(&self.state);
        let streams = state.running.iter().flat_map(|running| &running.streams);
        let open = streams.filter_map(Weak::upgrade).filter(|stream| stream.is_open());
        open.map(|stream| stream.name.clone()).collect()
    }

    /// W10: time is over for sessions that do not end. Only those may be left that the other end keeps
    /// waiting.
    fn judge_left(&self) {
        let state = lock(&self.state);
        let streams = state.running.iter().flat_map(|running| &running.streams);
        let open = streams.filter_map(Weak::upgrade).filter(|stream| stream.is_open());
        let (waiting, others): (Vec<_>, Vec<_>) = open.partition(|stream| stream.is_kept_waiting());
        if waiting.is_empty() || !others.is_empty() {
            let others: Vec<_> = others.iter().map(|stream| &stream.name).collect();
            let what = format!("sessions do not end although the server stops: {others:?}");
            self.parts.net.complain(Law::W10, what);
        }
    }

    /// W11: a server keeps no more than there is reason to.
    pub(crate) fn check_held(&self) {
        let state = lock(&self.state);
        let Some(running) = &state.running else { return };
        let held = running.server.held();
        let world = &held.world;
        // What a session has left is removed by a job.
        let most = held.sessions + world.jobs;
        let too_much = world.transits > most
            || world.open > most
            || world.uploads > most
            || world.answers > CACHE
            || world.rates > RATES
            || held.idle > held.sessions;
        if too_much {
            self.parts.net.complain(Law::W11, format!("the server keeps too much: {held:?}"));
        }
    }

    /// What a server keeps that has nothing to do, beside what may be useful again.
    pub(crate) fn unrest(&self) -> Option<Held> {
        let held = self.server()?.held();
        let Held { sessions, consignments, idle, world } = held;
        let waypost_world::Held { transits, queued, open, uploads, questions, jobs, .. } = world;
        let left = [sessions, consignments, idle, transits, queued, open, uploads, questions, jobs];
        left.iter().any(|count| *count > 0).then_some(held)
    }

    /// The choices of the next connection with this address.
    fn fortune(&self, address: SocketAddr, inwards: bool) -> (Choices, Fortune) {
        let count = {
            let mut state = lock(&self.state);
            let count = state.connections.entry((address, inwards)).or_default();
            *count += 1;
            *count
        };
        let choices = Choices::seeded(mixed(self.parts.seed, part(address, inwards, count)));
        let fortune = Fortune::draw(&lock(&self.weather), &choices);
        (choices, fortune)
    }

    /// Opens the connections that the server wishes for.
    fn dial(self: &Arc<Self>) {
        let (Some(server), Some(waker)) = (self.server(), self.dial_waker()) else { return };
        while let Poll::Ready(dial) = server.poll_dial(&waker) {
            let Some(life) = self.life() else { return };
            let (choices, fortune) = self.fortune(dial.address(), false);
            let refused = lock(&self.weather).refused;
            let (delay, error) = match choices.percent(refused).then(|| choices.below(2)) {
                None => (fortune.latency, None),
                Some(0) => (fortune.latency, Some(io::ErrorKind::ConnectionRefused)),
                Some(_) => (dial.timeout(), Some(io::ErrorKind::TimedOut)),
            };
            let node = Arc::clone(self);
            self.heap().after(life, delay, move || match error {
                Some(error) => dial.failed(&error.into()),
                None => node.reached(dial, life, (choices, fortune)),
            });
        }
    }

    fn dial_waker(&self) -> Option<Waker> {
        let state = lock(&self.state);
        state.running.as_ref().map(|running| Waker::from(Arc::clone(&running.dialling)))
    }

    fn reached(self: &Arc<Self>, dial: Dial, life: Life, lot: (Choices, Fortune)) {
        let address = dial.address();
        let Some(peer) = (self.parts.hosts)(address) else {
            return dial.failed(&io::ErrorKind::ConnectionRefused.into());
        };
        let Some(session) = dial.connected() else { return };
        let ends = (SocketAddr::new(self.parts.address, 0), address);
        let net = &self.parts.net;
        let stream = Stream::new(net, life, ends, Opener::Server, lot, (session, peer));
        self.keep(&stream);
        stream.open();
    }

    /// The next crash, when the disk dies, is of this kind.
    pub(crate) fn prepare(&self, crash: Crash) {
        lock(&self.state).crash = Some(crash);
    }

    /// The power fails, or the process is killed: all it knew is gone, and what was on the disk is
    /// what the rule leaves.
    pub(crate) fn crash(self: &Arc<Self>, choices: &Choices) {
        let (running, crash) = {
            let mut state = lock(&self.state);
            state.crashes += 1;
            let crash = state.crash.take();
            let plain = Crash { rule: Survival::All, down: Duration::from_secs(1) };
            (state.running.take(), crash.unwrap_or(plain))
        };
        self.note("crashes");
        (self.parts.crashed)(self.heap().elapsed());
        if let Some(running) = running {
            // Nothing that its end makes it want still happens on the disk.
            self.parts.disk.crash_after(Some(0));
            let told = crash.rule == Survival::All;
            self.leave(running, told);
        }
        self.parts.disk.crash(crash.rule, choices);
        self.boot_after(crash.down);
    }

    /// Drops a server and all that belongs to it.
    fn leave(&self, running: Running, told: bool) {
        let Running { server, life, streams, .. } = running;
        for stream in streams.iter().filter_map(Weak::upgrade) {
            stream.crash_near(told);
        }
        let left = Arc::downgrade(&server);
        drop(server);
        self.bury(life);
        if left.strong_count() > 0 {
            self.parts.net.complain(Law::W11, "a server is gone and still held by something");
        }
    }

    /// Nothing happens any more.
    pub(crate) fn end(&self) {
        let running = lock(&self.state).running.take();
        self.parts.disk.crash_after(Some(0));
        self.bury(ETERNAL);
        if let Some(running) = running {
            self.leave(running, false);
        }
    }

    fn bury(&self, life: Life) {
        // What is dropped may want something by that.
        loop {
            let events = self.heap().death(life);
            if events.is_empty() {
                return;
            }
            drop(events);
        }
    }

    /// Stops the server in order, as by SIGTERM, and starts it again so long after its end; not at
    /// all when `None`.
    pub(crate) fn stop(self: &Arc<Self>, again: Option<Duration>) {
        let (server, life) = {
            let mut state = lock(&self.state);
            match &mut state.running {
                Some(running) if !running.stopping => {
                    running.stopping = true;
                    (Arc::clone(&running.server), running.life)
                }
                _ => return,
            }
        };
        self.note("stops");
        let until = self.heap().elapsed() + server.stop_timeout();
        server.stop();
        drop(server);
        let node = Arc::clone(self);
        self.heap().after(life, Duration::ZERO, move || node.await_end(until, again));
    }

    /// Looks whether the last session has ended, as whoever is woken by that does.
    fn await_end(self: &Arc<Self>, until: Duration, again: Option<Duration>) {
        let (Some(server), Some(life)) = (self.server(), self.life()) else { return };
        let now = self.heap().elapsed();
        let empty = server.poll_empty(Waker::noop()).is_ready();
        if !empty && now < until {
            let node = Arc::clone(self);
            let look = Duration::from_millis(100).min(until - now);
            return self.heap().after(life, look, move || node.await_end(until, again));
        }
        if !empty {
            self.judge_left();
        }
        server.finish();
        drop(server);
        let node = Arc::clone(self);
        // What was begun is finished by events.
        self.heap().after(life, FINISH, move || node.ended(again));
    }

    fn ended(self: &Arc<Self>, again: Option<Duration>) {
        let Some(running) = lock(&self.state).running.take() else { return };
        self.note("has stopped");
        self.leave(running, true);
        if let Some(down) = again {
            self.boot_after(down);
        }
    }
}

/// How long a stopped server's files and queue take to finish, at most: `stop_grace` and the jobs
/// after it.
const FINISH: Duration = Duration::from_secs(60);

fn tell_later(
    net: &Arc<Net>,
    after: Duration,
    mut peer: Box<dyn Peer>,
    words: Vec<u8>,
    how: Ended,
) {
    let heap = Arc::clone(&net.heap);
    let net = Arc::clone(net);
    heap.after(ETERNAL, after, move || {
        let mut line = Line::default();
        if how == Ended::Eof {
            peer.opened(net.now(), &mut line);
        }
        if !words.is_empty() {
            peer.received(net.now(), &words, &mut line);
        }
        peer.ended(net.now(), how, &mut line);
        wake_alone(&net, peer, &line);
    });
}

/// A peer without a connection still has its plans.
fn wake_alone(net: &Arc<Net>, mut peer: Box<dyn Peer>, line: &Line) {
    let Some(after) = line.wake else { return };
    let heap = Arc::clone(&net.heap);
    let net = Arc::clone(net);
    heap.after(ETERNAL, after, move || {
        let mut line = Line::default();
        peer.woken(net.now(), &mut line);
        wake_alone(&net, peer, &line);
    });
}

/// Each start is a process of its own.
fn process(boots: u64) -> Process {
    Process::alone(u32::try_from(100 + boots).unwrap_or(1), "mail")
}

fn port(service: Service) -> u16 {
    match service {
        Service::Smtp => 25,
        Service::Submission => 587,
        Service::Submissions => 465,
        Service::Imap => 143,
        Service::Imaps => 993,
        Service::Auth => 0,
    }
}

/// A number for one connection.
fn part(address: SocketAddr, inwards: bool, count: u64) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64 ^ u128::from(ip) as u64,
    };
    let place = mixed(ip, u64::from(address.port()));
    mixed(place, count << 1 | u64::from(inwards))
}

/// A seed out of two numbers.
pub(crate) fn mixed(a: u64, b: u64) -> u64 {
    Choices::seeded(a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)).part()
}
