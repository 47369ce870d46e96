//! Questions of the admin: `waypost query`, `waypost check`.

use std::path::Path;
use std::sync::{Arc, Mutex};

use waypost_ldap::table;
use waypost_mail::{Address, Delivery, Target, Verdict};
use waypost_route::{Looked, Map, Request};

use crate::identity::Barrier;
use crate::run::resolve::resolve;
use crate::spool::CORRUPT;
use crate::{Finding, Grade, Inner, lock};

/// Why a map has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No map of that name.
    #[error("unknown map '{0}'")]
    NoMap(String),
    /// The directory did not answer, or not in a way that can be used.
    #[error("{0}")]
    Unavailable(String),
}

const MAPS: [Map; 7] = [
    Map::AliasDomains,
    Map::MailboxDomains,
    Map::Aliases,
    Map::Mailboxes,
    Map::Uids,
    Map::Gids,
    Map::SenderLogins,
];

/// Looks up a key, as postmap(1) does: all values, also where one would do.
pub(crate) fn query(
    world: &Arc<Inner>,
    map: &str,
    key: &str,
    done: Box<dyn FnOnce(Result<Option<String>, QueryError>) + Send>,
) {
    let known = MAPS.into_iter().find(|known| known.name() == map);
    if known.and_then(|map| world.lookups.source(map)).is_none() {
        done(Err(QueryError::NoMap(map.into())));
        return;
    }
    let Some(map) = known else { return };
    let tell = move |looked| {
        done(match looked {
            Looked::Found(values) => Ok(table::joined(&values)),
            Looked::Absent => Ok(None),
            Looked::Unavailable(why) => Err(QueryError::Unavailable(why)),
        });
    };
    world.lookups.ask(map, key, Box::new(tell));
}

/// Takes the findings, once.
type CheckDone = Box<dyn FnOnce(Vec<Finding>) + Send>;

/// The findings so far, and who is to have them when the last question is answered.
struct Report {
    world: Arc<Inner>,
    findings: Mutex<Vec<Finding>>,
    done: Mutex<Option<CheckDone>>,
}

/// Checks everything.
pub(crate) fn check(world: &Arc<Inner>, done: CheckDone) {
    let report = Arc::new(Report {
        world: Arc::clone(world),
        findings: Mutex::default(),
        done: Mutex::new(Some(done)),
    });
    report.settings();
    ask_for_postmaster(&report);
    for (directory, names) in world.directories() {
        let (report, names) = (Arc::clone(&report), names.join(", "));
        directory.check(Box::new(move |result| {
            let (good, text) = match result {
                Ok(text) => (true, text),
                Err(text) => (false, text),
            };
            report.add(good, format!("directory of {names}: {text}"));
        }));
    }
}

/// Whether mail for `postmaster` of this host arrives, as it has to (RFC 5321 4.5.1).
fn ask_for_postmaster(report: &Arc<Report>) {
    let world = &report.world;
    let name = format!("postmaster@{}", world.settings.hostname);
    let Ok(address) = Address::parse(&name) else { return };
    let report = Arc::clone(report);
    let tell = Box::new(move |verdict| {
        let set = report.world.policy.postmaster.as_ref();
        let (grade, text) = match (verdict, set) {
            (Verdict::Accept(deliveries), _) => {
                report.way_to(&deliveries);
                (Grade::Good, format!("{name}: somebody gets its mail"))
            }
            (Verdict::Refuse(reply), _) if reply.code < 500 => {
                (Grade::Warning, format!("{name}: {reply}"))
            }
            (Verdict::Refuse(_), Some(set)) => {
                (Grade::Bad, format!("mail.postmaster: {set} leads nowhere"))
            }
            (Verdict::Refuse(_), None) => {
                let what = "nobody gets its mail; write under [mail] postmaster = \"an address\", \
                    which also gets that of abuse and root where the directory names nobody";
                (Grade::Warning, format!("{name}: {what}"))
            }
        };
        report.grade(grade, text);
    });
    let request = Request::Again { to: address.clone(), orig_to: address };
    resolve(&world.lookups, &world.settings.clock, &world.policy, request, tell);
}

impl Report {
    fn add(&self, good: bool, text: String) {
        self.grade(if good { Grade::Good } else { Grade::Bad }, text);
    }

    fn grade(&self, grade: Grade, text: String) {
        lock(&self.findings).push(Finding { grade, text });
    }

    /// Whether those who are to have mail get at their mailboxes.
    fn way_to(&self, deliveries: &[Delivery]) {
        let identity = self.world.store.identity();
        let bases = &self.world.settings.allowed_bases;
        for delivery in deliveries {
            let Target::Maildir(home) = &delivery.target else { continue };
            let place = Path::new(&*home.path);
            let text = match identity.barrier(home.uid, home.gid, place) {
                Ok(None) => continue,
                // That was told of the base.
                Ok(found) if bases.iter().any(|base| Barrier::of_root(base) == found) => continue,
                Ok(Some(barrier)) => format!(
                    "{}: {barrier}, so that user {} does not get to the mailbox: write chmod o+x {}",
                    delivery.to,
                    home.uid,
                    barrier.directory.display()
                ),
                Err(refused) => format!("{}: {refused}", delivery.to),
            };
            self.grade(Grade::Warning, text);
        }
    }

    fn settings(&self) {
        let settings = &self.world.settings;
        if let Err(error) = settings.policy.check() {
            self.add(false, error.to_string());
        }
        for base in &settings.allowed_bases {
            let good = base.is_dir();
            let what = if good { "is there" } else { "is not a directory" };
            self.add(good, format!("mailboxes under {} {what}", base.display()));
            if let Some(barrier) = Barrier::of_root(base) {
                let path = barrier.directory.display();
                let text = format!(
                    "mailboxes under {}: {barrier}, so that only root gets there: write chmod o+x \
                     {path}, or choose another place",
                    base.display()
                );
                self.grade(Grade::Warning, text);
            }
        }
        let waiting = self.world.queue.len();
        self.add(true, format!("spool {}: {waiting} messages", settings.spool.directory.display()));
        match self.world.queue.spool.damaged() {
            Ok(0) => {}
            Ok(damaged) => {
                let directory = settings.spool.directory.join(CORRUPT);
                self.add(false, format!("{}: {damaged} damaged messages", directory.display()));
            }
            Err(error) => self.add(false, format!("spool {error}")),
        }
        for (map, source) in self.world.lookups.sources() {
            for note in &source.table.notes {
                self.add(true, format!("{}: {note}", map.name()));
            }
        }
    }
}

impl Drop for Report {
    /// The last one who knew of the report is gone: it is complete.
    fn drop(&mut self) {
        if let Some(done) = lock(&self.done).take() {
            done(std::mem::take(&mut lock(&self.findings)));
        }
    }
}
