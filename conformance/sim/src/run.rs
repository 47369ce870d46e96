//! A script becomes a run, and the run a report.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use waypost_queue::{Command, Selection};
use waypost_world::Event;

use crate::actors::{Hosts, Scene};
use crate::book::Book;
use crate::choices::Choices;
use crate::data;
use crate::directory::{Defect, FaultyDirectory, Trouble};
use crate::disk::{Disk, Failure, Survival};
use crate::dns::{self, Zones};
use crate::faults::Lie;
use crate::heap::{ETERNAL, Heap};
use crate::laws::{Breach, Law, Ledger};
use crate::peer::Network;
use crate::script::{Act, Admin, Crash, Fault, Keep, Script, What};
use crate::site::Site;
use crate::stage::{Setting, Stage};
use crate::stream::Tamper;
use crate::weather::Weather;

/// The time of day when a run begins: 2026-11-22 10:00 UTC.
const BEGIN: i64 = 1_795_341_600;
/// `proxy_interfaces` of the configuration.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 25));
/// Of the configuration.
const MAILBOXES: &str = "mail.example.com";
/// An address that changes, and where it leads before and after.
const CHANGING: &str = "moving@example.com";
const MOVING: &str = "mail004@mail.example.com";
const MOVED: &str = "mail005@mail.example.com";
const SPOOL: &str = "/var/spool/waypost";
const HOMES: &str = "/home/mail";
/// A crash comes so long after its line at the latest, be there calls or not.
const CRASH_LATEST: Duration = Duration::from_secs(30);
/// When nothing fails any more, the queue is empty after this time: what cannot be delivered has
/// been given up, twice, and the reports too.
const SETTLED: Duration = Duration::from_secs(4 * 3600);
/// `queue_run_delay` of the configuration, and a bit: what could not be read is read again.
const TAKEN_UP: Duration = Duration::from_secs(70);
/// Whether it is over is looked at so often.
const LOOK: Duration = Duration::from_secs(30);
/// Mailboxes are read in this time.
const READ: Duration = Duration::from_secs(1800);
/// What failed is done again in this time: `queue_run_delay`, some times.
const RESTED: Duration = Duration::from_secs(600);
/// A server stops in this time.
const STOPPED: Duration = Duration::from_secs(600);

/// What is different from a plain run.
#[derive(Clone, Default)]
pub struct Options {
    /// Keep what happens in words.
    pub told: bool,
    /// A disk that does not keep its word.
    pub lie: Option<Lie>,
    /// A directory that does not.
    pub defect: Option<Defect>,
    /// A network or a server that does not.
    pub tamper: Option<Arc<dyn Tamper>>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of all that happened.
    pub hash: u64,
    /// What should not be.
    pub broken: Vec<Breach>,
    /// How much happened.
    pub events: u64,
    /// How long it took, by the clock of the run.
    pub lasted: Duration,
    /// How often the server crashed.
    pub crashes: u32,
    /// Calls of the disk until all was done, before mailboxes were read.
    pub calls: u64,
    /// What happened, in words, if [`Options::told`].
    pub lines: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hash, events, lasted, crashes, .. } = self;
        writeln!(f, "{hash:016x}: {events} events, {crashes} crashes, {} s", lasted.as_secs())?;
        self.broken.iter().try_for_each(|breach| writeln!(f, "  {breach}"))
    }
}

/// Runs a script.
pub fn run(script: &Script, options: &Options) -> Report {
    let world = World::new(script, options);
    for act in &script.acts {
        world.schedule(act);
    }
    world.stage.boot();
    let last = script.acts.iter().map(|act| act.at + lasts(&act.what)).max().unwrap_or_default();
    world.stage.until(last, || false);
    world.heap.pass(last);
    world.heal();
    if script.acts.iter().any(|act| act.what == What::Queue(Admin::Hold)) {
        world.release();
    }
    world.settle();
    let calls = world.disk.calls();
    // Who has no mailbox has nothing to read.
    let has = |user: &str| !world.disk.owners(Path::new(HOMES).join(user)).is_empty();
    world.scene.read_everything(has);
    world.wait(READ, || world.is_quiet());
    world.check_rest();
    world.stop();
    world.sweep();
    world.report(calls)
}

/// How long a line keeps the world from being whole.
fn lasts(what: &What) -> Duration {
    match what {
        What::Fault(_, lasts) => *lasts,
        What::Crash(crash) => CRASH_LATEST + crash.down + Duration::from_secs(1),
        What::Restart(down) => *down + STOPPED,
        _ => Duration::ZERO,
    }
}

#[derive(Clone)]
struct World {
    heap: Arc<Heap>,
    disk: Disk,
    directory: Arc<FaultyDirectory>,
    names: Arc<Zones>,
    ledger: Arc<Mutex<Ledger>>,
    hosts: Hosts,
    scene: Scene,
    stage: Arc<Stage>,
}

impl World {
    fn new(script: &Script, options: &Options) -> Self {
        const READ: &str = "invariant: the texts of the world can be read";
        let heap = Arc::new(Heap::new(BEGIN));
        let parts = Choices::seeded(script.seed);
        let disk = Disk::new(parts.part(), Arc::clone(&heap) as _);
        for dir in [SPOOL, HOMES] {
            disk.mkdirs(dir, 0, 0).expect("invariant: the disk is empty");
        }
        // A secret of its own making would be another one each time.
        let secret = (Path::new(SPOOL).join("srs-secret"), format!("{:064x}", parts.part()));
        disk.put(secret.0, secret.1.as_bytes(), 0, 0).expect("invariant: the disk is empty");
        disk.lie(options.lie);
        let directory = FaultyDirectory::new(Arc::clone(&heap), parts.part(), data::LDIF);
        let directory = Arc::new(directory.expect(READ));
        directory.plant(options.defect);
        let names = Zones::new(Arc::clone(&heap), parts.part(), data::ZONES);
        let names = Arc::new(names.expect(READ));
        let mut book = Book::read(data::LDIF, MAILBOXES);
        book.change(CHANGING, MOVED);
        let ledger = Arc::new(Mutex::new(Ledger::new(book, script)));
        let mut made = None;
        let stage = Arc::new_cyclic(|stage: &Weak<Stage>| {
            let network = Weak::clone(stage) as Weak<dyn Network>;
            let scene = Scene { heap: Arc::clone(&heap), ledger: Arc::clone(&ledger), network };
            let hosts = Hosts::new(&scene, data::ZONES);
            made = Some((scene, hosts.clone()));
            let (news, clock) = (Arc::clone(&ledger), Arc::clone(&heap));
            let told = Weak::clone(stage);
            let crashes = Arc::clone(&ledger);
            Stage::new(Setting {
                site: Site::standard(),
                address: ADDRESS,
                seed: parts.part(),
                heap: Arc::clone(&heap),
                disk: disk.clone(),
                directory: Arc::clone(&directory),
                names: Arc::clone(&names),
                log: Arc::new(move |event: Event| {
                    if let Some(stage) = told.upgrade() {
                        let words = || format!("{event:?}");
                        stage.trace().tell(clock.elapsed(), &format_args!("event"), words);
                    }
                    lock(&news).event(clock.elapsed(), event);
                }),
                hosts: Box::new(move |address| hosts.answer(address)),
                crashed: Box::new(move |at| lock(&crashes).crashed(at)),
                tamper: options.tamper.clone(),
                told: options.told,
            })
        });
        let (scene, hosts) = made.expect("invariant: made with the stage");
        Self { heap, disk, directory, names, ledger, hosts, scene, stage }
    }

    /// Lets a line happen at its time.
    fn schedule(&self, act: &Act) {
        let (world, what) = (self.clone(), act.what.clone());
        // By its words, so that a script without another line has the same address here.
        let number = number(&act.to_string());
        self.heap.after(ETERNAL, act.at, move || world.perform(number, &what));
    }

    fn perform(&self, number: usize, what: &What) {
        match what {
            What::Remote(host, mood) => self.hosts.set(host, *mood),
            What::Queue(admin) => self.command(*admin),
            What::File(user, size) => self.file(number, user, *size),
            What::Fault(fault, lasts) => self.fault(*fault, *lasts),
            What::Clock(seconds) => self.heap.jump(*seconds),
            What::Crash(Crash { calls, keep, down }) => {
                self.stage.crash((*calls).into(), survival(*keep), *down, CRASH_LATEST);
            }
            What::Restart(down) => self.stage.stop(Some(*down)),
            What::Mx(_) | What::Submit(..) | What::Imap(..) | What::Auth(_) => {
                self.scene.begin(number, what);
            }
        }
    }

    fn command(&self, admin: Admin) {
        let all = Selection::All;
        let command = match admin {
            Admin::Retry => Command::Retry(all),
            Admin::Hold => Command::Hold(all),
            Admin::Release => Command::Release(all),
        };
        if let Some(server) = self.stage.server() {
            server.world().queue_command(command, |_| {});
        }
    }

    /// Another program delivers into a user's mailbox, if there is one.
    fn file(&self, number: usize, user: &str, size: u32) {
        let dir = PathBuf::from(format!("{HOMES}/{user}/mailbox/new"));
        let owners = self.disk.owners(&dir);
        let Some(owner) = owners.first() else { return };
        let (_, content) = lock(&self.ledger).compose_for(user, size);
        let seconds = BEGIN.saturating_add_unsigned(self.heap.elapsed().as_secs());
        let path = dir.join(format!("{seconds}.P{number}.elsewhere"));
        // Two lines of the same words at the same time are one file.
        if self.disk.put(path, &content, owner.uid, owner.gid).is_ok() {
            lock(&self.ledger).filed(user, &content);
        }
    }

    fn fault(&self, fault: Fault, lasts: Duration) {
        let directory = |trouble| self.directory.trouble(trouble, lasts);
        let failure = |failure, times| {
            self.disk.fail(failure, times);
            let disk = self.disk.clone();
            self.later(lasts, move |_| disk.heal_one(failure));
        };
        match fault {
            Fault::DirectoryGone => directory(Trouble::Gone),
            Fault::DirectorySlow => directory(Trouble::Slow),
            Fault::DirectoryDenied => directory(Trouble::Denied),
            Fault::DirectoryDoubled => directory(Trouble::Doubled),
            Fault::DirectoryLate => directory(Trouble::Late),
            Fault::DirectoryEmpty => directory(Trouble::Empty),
            Fault::DirectoryUnbound => directory(Trouble::Unbound),
            Fault::DirectoryChanged => {
                self.moving(MOVED);
                let world = self.clone();
                self.later(lasts, move |_| world.moving(MOVING));
            }
            Fault::DiskFull => failure(Failure::Full, None),
            Fault::DiskSyncFails => failure(Failure::Sync, Some(1)),
            Fault::DiskDirSyncFails => failure(Failure::SyncDir, Some(1)),
            Fault::DiskReadFails => failure(Failure::Read, None),
            Fault::DiskOpenFails => failure(Failure::Open, None),
            Fault::DiskBroken => failure(Failure::Any, None),
            Fault::DiskSlow => {
                self.stage.slow_files(2_000);
                self.later(lasts, |stage| stage.slow_files(0));
            }
            Fault::NamesFail => self.names.trouble(dns::Trouble::Fail, lasts),
            Fault::NamesSilent => self.names.trouble(dns::Trouble::Silent, lasts),
            Fault::NamesSlow => self.names.trouble(dns::Trouble::Slow, lasts),
            Fault::NetSlow | Fault::NetCuts | Fault::NetResets | Fault::NetStalls => {
                self.stage.weather(|weather| storm(weather, fault));
                self.later(lasts, move |stage| stage.weather(|weather| calm(weather, fault)));
            }
        }
    }

    /// The entry that changes leads there now.
    fn moving(&self, target: &str) {
        let known = self.directory.set("moving", "maildrop", &[target]);
        debug_assert!(known, "the entry is in the directory");
    }

    fn later(&self, delay: Duration, then: impl FnOnce(&Stage) + Send + 'static) {
        let stage = Arc::clone(&self.stage);
        self.heap.after(ETERNAL, delay, move || then(&stage));
    }

    /// Nothing fails any more.
    fn heal(&self) {
        self.disk.heal();
        self.directory.heal();
        self.names.heal();
        self.hosts.set("*", crate::script::Mood::Accepts);
        self.stage.weather(|weather| *weather = Weather::CALM);
        self.stage.slow_files(0);
    }

    /// What was put on hold is released: now, and once more when what could not be read at the start
    /// has been taken up.
    fn release(&self) {
        for _ in 0..2 {
            self.wait(STOPPED, || self.stage.is_up());
            self.command(Admin::Release);
            self.wait(TAKEN_UP, || false);
        }
    }

    /// Nobody is there any more: the server keeps nothing, once it has done again what failed.
    fn check_rest(&self) {
        if !self.is_settled() {
            return;
        }
        self.wait(RESTED, || self.stage.unrest().is_none());
        if let Some(held) = self.stage.unrest() {
            self.breach(Law::W11, format!("the server is at rest and keeps {held:?}"));
        }
    }

    /// The queue becomes empty, and all connections end.
    fn settle(&self) {
        self.wait(SETTLED, || self.is_settled());
        if !self.stage.is_up() {
            self.breach(Law::W10, "the server does not run, and nothing keeps it from that");
        }
        if !lock(&self.ledger).is_idle() {
            self.breach(Law::W10, "somebody waits for an end that does not come");
        }
        let left = self.stage.connections();
        if !left.is_empty() {
            self.breach(Law::W10, format!("connections do not end: {left:?}"));
        }
    }

    /// Lets things happen until something is true; looks now and then, and waits for so long at most.
    fn wait(&self, limit: Duration, until: impl Fn() -> bool) {
        let end = self.heap.elapsed() + limit;
        while self.heap.elapsed() < end && !until() {
            let look = self.heap.elapsed() + LOOK;
            self.stage.until(look, || false);
            self.heap.pass(look);
        }
    }

    fn is_settled(&self) -> bool {
        self.is_quiet() && lock(&self.ledger).is_idle() && self.waiting().is_empty()
    }

    fn is_quiet(&self) -> bool {
        self.stage.is_up() && self.stage.connections().is_empty()
    }

    /// Messages in the spool.
    fn waiting(&self) -> Vec<PathBuf> {
        self.spooled(&["entry"])
    }

    /// Files in the spool with one of these extensions.
    fn spooled(&self, kinds: &[&str]) -> Vec<PathBuf> {
        let files = self.disk.files(SPOOL).into_iter().map(|(path, _)| path);
        let is_one = |path: &PathBuf| {
            path.extension().is_some_and(|kind| kinds.iter().any(|it| kind == *it))
        };
        files.filter(is_one).collect()
    }

    /// Nothing is left of messages that are gone, but where the disk failed; then the next start
    /// removes it.
    fn sweep(&self) {
        // What still waits is another matter.
        let waits = |path: &Path| !self.disk.files(path.with_extension("entry")).is_empty();
        let left = || {
            let mut left = self.spooled(&["body", "tmp"]);
            left.retain(|path| !waits(path));
            left
        };
        if !left().is_empty() && lock(&self.ledger).has_failing_disk() {
            self.stage.boot();
            self.wait(STOPPED, || self.stage.is_up());
            self.stop();
        }
        if !left().is_empty() {
            self.breach(Law::W10, format!("left in the spool: {:?}", left()));
        }
        let is_draft = |path: &PathBuf| path.parent().is_some_and(|dir| dir.ends_with("tmp"));
        let mut drafts: Vec<_> = self.disk.files(HOMES).into_iter().map(|(path, _)| path).collect();
        drafts.retain(is_draft);
        // Those are removed when they are old; also one that was under way when its mailbox got another
        // name.
        let ledger = lock(&self.ledger);
        drafts.retain(|path| {
            let user = path.strip_prefix(HOMES).ok().and_then(|path| path.iter().next());
            user.is_none_or(|user| !ledger.renames(&user.to_string_lossy()))
        });
        if !drafts.is_empty() && self.stage.crashes() == 0 && !ledger.has_failing_disk() {
            drop(ledger);
            self.breach(Law::W10, format!("left in mailboxes: {drafts:?}"));
        }
    }

    /// The server stops in order.
    fn stop(&self) {
        self.stage.stop(None);
        let end = self.heap.elapsed() + STOPPED;
        self.stage.until(end, || self.stage.server().is_none());
        if self.stage.server().is_some() {
            self.breach(Law::W10, "the server does not stop");
        }
    }

    fn breach(&self, law: Law, what: impl Into<String>) {
        lock(&self.ledger).breach(law, what);
    }

    fn report(&self, calls: u64) -> Report {
        for Breach { law, what } in self.stage.complaints() {
            self.breach(law, what);
        }
        lock(&self.ledger).judge(&self.disk.files(SPOOL));
        let trace = self.stage.trace();
        for (path, content) in self.disk.files("/") {
            note(trace, self.heap.elapsed(), &path, &content);
        }
        let report = Report {
            hash: trace.hash(),
            broken: lock(&self.ledger).breaches().to_vec(),
            events: self.heap.happened(),
            lasted: self.heap.elapsed(),
            crashes: self.stage.crashes(),
            calls,
            lines: trace.lines(),
        };
        self.stage.end();
        report
    }
}

fn note(trace: &crate::trace::Trace, at: Duration, path: &Path, content: &[u8]) {
    trace.note(at, &format_args!("disk"), &path.to_string_lossy(), content);
}

fn storm(weather: &mut Weather, fault: Fault) {
    match fault {
        Fault::NetSlow => weather.latency = Duration::from_secs(5),
        Fault::NetCuts => weather.cut = 90,
        Fault::NetResets => (weather.reset, weather.refused) = (40, 20),
        Fault::NetStalls => (weather.stall, weather.silent) = (40, 10),
        _ => {}
    }
}

fn calm(weather: &mut Weather, fault: Fault) {
    match fault {
        Fault::NetSlow => weather.latency = Weather::CALM.latency,
        Fault::NetCuts => weather.cut = 0,
        Fault::NetResets => (weather.reset, weather.refused) = (0, 0),
        Fault::NetStalls => (weather.stall, weather.silent) = (0, 0),
        _ => {}
    }
}

fn survival(keep: Keep) -> Survival {
    match keep {
        Keep::All => Survival::All,
        Keep::Nothing => Survival::Nothing,
        Keep::Names => Survival::Names,
        Keep::Data => Survival::Data,
        Keep::Half => Survival::Half,
    }
}

/// A number for a line; what comes behind is for the readers at the end.
fn number(line: &str) -> usize {
    let hash = line.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    1_000 + usize::try_from(hash % 60_000).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
