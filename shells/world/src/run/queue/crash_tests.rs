//! The life of a message on a disk whose power fails after any call.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use waypost_ldap::Table;
use waypost_machine::{Answer, Ledger, Ticket, UnixTime};
use waypost_mail::{
    Address, Body, Client, Delivery, Enhanced, Envelope, MailHome, Peer, Recipient, ReversePath,
    Target,
};
use waypost_queue::{Command, Diagnosis, Place, Selection, SiteState};
use waypost_route::{Gid, Map};
use waypost_smtp::server as smtp;

use crate::carrier::{Carried, Carrier, Consignment, Fate, Passed};
use crate::directory::Ldif;
use crate::fs::Fs;
use crate::store::crash_tests::{SimFs, Survives};
use crate::{ManualClock, QueueError, Settings, Source, World, lock};

const NOON: i64 = 1_795_348_800;

/// Takes mail, but for `refused`, whom nobody knows, and `busy`, who has no time at first.
#[derive(Default)]
struct Remote {
    /// Recipients who have something, each as often as they got it.
    has: Mutex<Vec<String>>,
    busy: Mutex<bool>,
}

impl Carrier for Remote {
    fn carry(&self, consignment: Consignment, done: Box<dyn FnOnce(Carried) + Send>) {
        let each = |to: &waypost_smtp::client::To| {
            let name = to.address.local();
            let (fate, status) = match name {
                "refused" => (Fate::Failed, Enhanced(5, 1, 1)),
                "busy" if !std::mem::replace(&mut *lock(&self.busy), true) => {
                    (Fate::Deferred, Enhanced(4, 2, 1))
                }
                _ => (Fate::Sent { notifies: true }, Enhanced(2, 0, 0)),
            };
            if matches!(fate, Fate::Sent { .. }) {
                lock(&self.has).push(name.to_owned());
            }
            Passed {
                fate,
                diagnosis: Arc::new(Diagnosis::own(status, "so it is")),
                relay: "mx.remote.test[192.0.2.1]:25".into(),
                delays: [Duration::ZERO; 2],
            }
        };
        let recipients = consignment.mail.recipients.iter().map(each).collect();
        done(Carried { recipients, site: SiteState::Alive });
    }
}

/// A server, and what stands still when it crashes.
struct Life {
    fs: SimFs,
    clock: Arc<ManualClock>,
    remote: Arc<Remote>,
    directory: Arc<Ldif>,
    accepted: bool,
}

impl Life {
    fn new(directory: &Arc<Ldif>) -> Self {
        let fs = SimFs::new();
        for dir in ["/spool", "/home"] {
            fs.mkdir(Path::new(dir), 0o755).unwrap();
        }
        fs.sync_dir(Path::new("/")).unwrap();
        lock(&fs.0).calls = 0;
        let clock = Arc::new(ManualClock::new(NOON));
        let directory = Arc::clone(directory);
        Self { fs, clock, remote: Arc::default(), directory, accepted: false }
    }

    fn start(&self) -> Option<World> {
        World::start(self.settings()).ok()
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new("mail.example.com", "/spool", Arc::new(drop));
        settings.fs = Some(Arc::new(self.fs.clone()));
        settings.clock = Arc::<ManualClock>::clone(&self.clock);
        settings.carrier = Some(Arc::<Remote>::clone(&self.remote));
        settings.file_threads = 1;
        // This clock stands still, and a dead disk takes nothing.
        settings.spool.stop_grace = Duration::ZERO;
        settings.policy.gid = Gid::SameAsUid;
        let table = |map: Map, attribute| {
            let text = format!(
                "search_base = dc=example\nbind = no\nquery_filter = maildrop=%s\n\
                 result_attribute = {attribute}\n"
            );
            let table = Arc::new(Table::parse(map.name(), &text).unwrap());
            (map, Source { table, directory: Arc::<Ldif>::clone(&self.directory) })
        };
        settings.maps = [table(Map::Mailboxes, "mailbox"), table(Map::Uids, "uidNumber")].into();
        settings
    }

    /// A message comes; the queue works on it until it is gone, or the power fails.
    fn live(&mut self) {
        let Some(world) = self.start() else { return };
        self.accepted = send(&world);
        self.work(&world);
        world.stop();
    }

    fn work(&self, world: &World) {
        let mut rounds = 0;
        while world.queued() > 0 && lock(&self.fs.0).left > 0 {
            // So that the queue gets somewhere meanwhile.
            for _ in 0..10 {
                let (to, from) = mpsc::channel();
                world.destinations(move |all| to.send(all).unwrap());
                // Of a queue that has stopped there is nothing to wait for.
                let _ = from.recv().unwrap();
                std::thread::yield_now();
            }
            self.clock.advance(Duration::from_secs(100));
            world.run_queue();
            rounds += 1;
            assert!(rounds < 4000, "the queue does not empty");
        }
    }

    fn count(&self, name: &str) -> usize {
        lock(&self.remote.has).iter().filter(|has| *has == name).count()
    }

    fn in_mailbox(&self) -> usize {
        let mut count = 0;
        // It may not be there.
        let _ = self.fs.list(Path::new("/home/u/mailbox/new"), &mut |_, _| count += 1);
        count
    }

    /// After the crash: everybody has it, or has been told of.
    fn check(&self, case: &str) {
        let world = self.start().unwrap_or_else(|| panic!("{case}: no start"));
        self.work(&world);
        assert_eq!(world.queued(), 0, "{case}");
        world.stop();
        let counts = ["easy", "busy", "sender"].map(|name| (name, self.count(name)));
        let mailbox = [("mailbox", self.in_mailbox())];
        for (name, count) in counts.into_iter().chain(mailbox) {
            assert!(count > 0 || !self.accepted, "{case}: {name} has nothing");
            // Twice when that was not written down; the sender also another report, if the first one
            // was not.
            let most = if name == "sender" { 3 } else { 2 };
            assert!(count <= most, "{case}: {name} has it {count} times");
        }
        assert_eq!(self.count("refused"), 0, "{case}");
        let mut left = Vec::new();
        self.fs
            .list(Path::new("/spool"), &mut |name, _| {
                left.push(String::from_utf8_lossy(name).into_owned());
            })
            .unwrap();
        assert!(left.is_empty(), "{case}: {left:?}");
    }
}

fn call<T: 'static>(world: &World, make: impl FnOnce(Ticket<T>) -> smtp::Call) -> smtp::Reply {
    let (to, from) = mpsc::channel();
    let call = make(Ledger::new().open(None));
    world.smtp(call, move |answer: Answer<smtp::Reply>| {
        to.send(answer.into_parts().1).unwrap();
    });
    from.recv().expect("every call is answered")
}

/// True when it is accepted.
fn send(world: &World) -> bool {
    let address = |text: &str| Address::parse(text).unwrap();
    let home = MailHome { path: "/home/u/mailbox".into(), uid: 20000, gid: 20000 };
    let recipient = |text: &str, target| Recipient {
        address: address(text),
        deliveries: vec![Delivery { to: address(text), orig_to: address(text), target }],
        notify: None,
        orcpt: None,
    };
    let envelope = Envelope {
        client: Client {
            peer: Peer { ip: "192.0.2.7".parse().unwrap(), port: 4711, name: None },
            service: "smtpd".into(),
            helo: "client.example.net".into(),
            esmtp: true,
            tls: None,
            login: None,
        },
        sender: ReversePath::Address(address("sender@elsewhere.test")),
        recipients: vec![
            recipient("easy@remote.test", Target::Remote),
            recipient("refused@remote.test", Target::Remote),
            recipient("busy@other.test", Target::Remote),
            recipient("u@mail.example.com", Target::Maildir(home)),
        ],
        arrived: UnixTime { secs: NOON, nanos: 0 },
        size: None,
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
    };
    let begun = call(world, |ticket| smtp::Call::Begin { envelope: Arc::new(envelope), ticket });
    let smtp::Reply::Begun(smtp::Begun::Ready { message, .. }) = begun else { return false };
    let chunks = vec!["Subject: x\r\n\r\nHello.\r\n".into()];
    call(world, |ticket| smtp::Call::Append { message, chunks, ticket });
    let committed = call(world, |ticket| smtp::Call::Commit { message, ticket });
    matches!(committed, smtp::Reply::Committed(smtp::Committed::Done))
}

fn directory() -> Arc<Ldif> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mail.ldif");
    let entry = "dn: uid=u,dc=example\nuid: u\nmaildrop: u@mail.example.com\n\
         mailbox: /home/u/mailbox/\nuidNumber: 20000\n";
    std::fs::write(&file, entry).unwrap();
    Arc::new(Ldif::open(file, false, Arc::new(ManualClock::new(NOON))).unwrap())
}

/// A fault of the queue's thread leaves nobody waiting.
#[test]
fn a_queue_that_broke_says_so() {
    let life = Life::new(&directory());
    let world = life.start().unwrap();
    let listed = || {
        let (to, from) = mpsc::channel();
        world.queue(Selection::All, move |all| to.send(all).unwrap());
        from.recv_timeout(Duration::from_secs(20)).expect("an answer")
    };
    assert_eq!(listed(), Ok(Vec::new()));
    let (to, from) = mpsc::channel::<()>();
    world.inner.queue.push(super::Task::Look(Box::new(move |_| {
        let _until_the_end = to;
        panic!("a fault in the queue");
    })));
    assert!(from.recv().is_err());
    assert_eq!(listed(), Err(QueueError::Stopped));
    assert!(send(&world), "mail is still kept");
    world.stop();
    let world = life.start().unwrap();
    life.work(&world);
    assert_eq!((world.queued(), life.count("easy")), (0, 1));
    world.stop();
}

/// While the disk is busy with one removal, others gather for the next.
#[test]
fn messages_that_are_over_share_a_sync() {
    const COUNT: usize = 20;
    let life = Life::new(&directory());
    let world = World::start(Settings { carrier: None, ..life.settings() }).unwrap();
    assert!((0..COUNT).all(|_| send(&world)));
    let listed = || {
        let (to, from) = mpsc::channel();
        world.queue(Selection::All, move |all| to.send(all).unwrap());
        from.recv().unwrap().unwrap()
    };
    while !listed().iter().all(|listed| listed.place == Place::Deferred) {
        std::thread::yield_now();
    }
    let (to, from) = mpsc::channel();
    let disk = lock(&life.fs.0);
    let before = disk.calls;
    world.queue_command(Command::Drop(Selection::All), move |count| to.send(count).unwrap());
    assert_eq!(from.recv().unwrap(), Ok(COUNT));
    // Nothing else is done meanwhile; the first job may have gone ahead of the others.
    drop(disk);
    while world.queued() > 0 {
        std::thread::yield_now();
    }
    let syncs = lock(&life.fs.0).calls - before - 2 * COUNT;
    assert!(syncs <= 2, "{syncs} syncs");
    world.stop();
}

#[test]
fn a_power_failure_after_any_call_loses_nothing() {
    let directory = directory();
    let mut life = Life::new(&directory);
    life.live();
    let calls = lock(&life.fs.0).calls;
    assert!(life.accepted && calls > 50, "only {calls} calls");
    life.check("without a crash");
    assert_eq!(["easy", "busy", "sender"].map(|name| life.count(name)), [1, 1, 1]);
    assert_eq!(life.in_mailbox(), 1);
    for survives in [Survives::Synced, Survives::All, Survives::Names] {
        for at in 0..calls {
            let case = format!("{survives:?}, after call {at} of {calls}");
            let mut life = Life::new(&directory);
            lock(&life.fs.0).left = at;
            life.live();
            lock(&life.fs.0).crash(survives);
            life.check(&case);
        }
    }
}
