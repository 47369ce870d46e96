//! A spool made by hand, at rest.

use std::fs;
use std::sync::Arc;

use waypost_mail::{Address, Body, Delivery, ReversePath, Target};
use waypost_queue::{Origin, Waiting};

use super::*;

const NOW: UnixTime = UnixTime { secs: 1000, nanos: 0 };

fn id(text: &str) -> QueueId {
    text.parse().unwrap()
}

fn one(text: &str) -> Selection {
    Selection::Id(id(text))
}

fn waiting(address: &str, last: Option<&str>) -> Waiting {
    let to = Address::parse(address).unwrap();
    let delivery = Delivery { to: to.clone(), orig_to: to, target: Target::Remote };
    let mut waiting = Waiting::new(delivery, None, None, UnixTime { secs: 5000, nanos: 0 });
    if let Some(last) = last {
        waiting.attempts = 1;
        waiting.last = Some(Arc::new(Diagnosis::own(Enhanced(4, 3, 0), last)));
    }
    waiting
}

fn entry(name: &str, recipients: Vec<Waiting>) -> Entry {
    let origin = Origin {
        queue_id: name.into(),
        arrived: UnixTime { secs: 1, nanos: 0 },
        sender: ReversePath::Null,
        size: 21,
        checksum: None,
        message_id: "".into(),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
        login: None,
        head: Box::default(),
    };
    Entry::new(origin, recipients)
}

/// Three messages: for two places, for one, and one that is damaged.
fn spool() -> (tempfile::TempDir, AtRest) {
    let dir = tempfile::tempdir().unwrap();
    let both = vec![waiting("x@a.test", Some("busy")), waiting("y@B.test", None)];
    for (name, text) in [
        ("1one", entry("1one", both).encode()),
        ("2two", entry("2two", vec![waiting("z@a.test", None)]).encode()),
        ("3bad", "nonsense\n".into()),
    ] {
        fs::write(dir.path().join(format!("{name}.entry")), text).unwrap();
        fs::write(dir.path().join(format!("{name}.body")), "Subject: x\r\n\r\nhello\r\n").unwrap();
    }
    let rest = AtRest::open(dir.path(), None).unwrap();
    (dir, rest)
}

fn list(rest: &AtRest, selection: &Selection) -> Vec<Queued> {
    let mut all = Vec::new();
    rest.each::<RestError>(selection, |it| {
        all.push(it);
        Ok(())
    })
    .unwrap();
    all
}

fn names(rest: &AtRest, selection: &Selection) -> Vec<String> {
    list(rest, selection).iter().map(|it| it.listed.id.to_string()).collect()
}

#[test]
fn what_is_there_is_listed_in_order() {
    let (_dir, rest) = spool();
    assert_eq!(names(&rest, &Selection::All), ["1one", "2two"]);
    assert_eq!(names(&rest, &one("2two")), ["2two"]);
    assert!(names(&rest, &one("9none")).is_empty());
    assert_eq!(names(&rest, &Selection::Nexthop("b.TEST".into())), ["1one"]);
    assert_eq!(names(&rest, &Selection::Nexthop("a.test".into())), ["1one", "2two"]);
    let listed = list(&rest, &one("1one"))[0].listed;
    assert_eq!(listed.place, Place::Deferred);
    assert_eq!(listed.next, Some(UnixTime { secs: 5000, nanos: 0 }));
    let mut body = Vec::new();
    assert!(rest.body(id("1one"), &mut |piece| body.extend_from_slice(&piece)).unwrap());
    assert_eq!(body, b"Subject: x\r\n\r\nhello\r\n");
    assert!(!rest.body(id("9none"), &mut drop).unwrap());
}

#[test]
fn commands_are_written_down() {
    let (dir, rest) = spool();
    let run = |command| rest.command(NOW, &command).unwrap();
    assert_eq!(run(Command::Hold(Selection::Nexthop("b.test".into()))), 1);
    assert_eq!(run(Command::Hold(Selection::All)), 1);
    assert_eq!(run(Command::Hold(Selection::All)), 0);
    assert!(list(&rest, &Selection::All).iter().all(|it| it.listed.place == Place::Hold));
    assert_eq!(run(Command::Retry(Selection::All)), 0);
    assert_eq!(run(Command::Release(one("1one"))), 1);
    assert_eq!(list(&rest, &one("1one"))[0].listed.next, Some(NOW));
    // It is due already.
    assert_eq!(run(Command::Retry(one("1one"))), 0);

    assert_eq!(run(Command::Expire(Selection::All)), 2);
    let entry = &list(&rest, &one("1one"))[0].entry;
    let told: Vec<_> = entry
        .recipients
        .iter()
        .flatten()
        .map(|it| (it.state, &*it.last.as_ref().unwrap().text))
        .collect();
    assert_eq!(told, [(State::Failed, "busy"), (State::Failed, "returned by the administrator")]);
    assert!(!list(&rest, &one("2two"))[0].entry.held);

    assert_eq!(run(Command::Drop(one("1one"))), 1);
    assert_eq!(names(&rest, &Selection::All), ["2two"]);
    assert!(!dir.path().join("1one.body").exists() && !dir.path().join("1one.entry").exists());
    assert!(dir.path().join("3bad.entry").exists());
}

#[test]
fn what_was_changed_belongs_to_the_owner_of_the_spool() {
    let (dir, _) = spool();
    let path = dir.path().join("2two.entry");
    let own = |path: &Path| fs::metadata(path).map(|it| (it.uid(), it.gid())).unwrap();
    let owner = match own(dir.path()) {
        // Who is root may be asked for anybody.
        (0, _) => (20_000, 20_001),
        this => this,
    };
    for path in [dir.path(), &path] {
        std::os::unix::fs::chown(path, Some(owner.0), Some(owner.1)).unwrap();
    }
    let rest = AtRest::open(dir.path(), None).unwrap();
    assert_eq!(rest.command(NOW, &Command::Hold(one("2two"))), Ok(1));
    assert_eq!(own(&path), owner);
}

#[test]
fn what_a_crash_left_is_not_in_the_way() {
    let (dir, rest) = spool();
    fs::write(dir.path().join("2two.tmp"), "half").unwrap();
    assert_eq!(rest.command(NOW, &Command::Hold(one("2two"))), Ok(1));
    assert!(list(&rest, &one("2two"))[0].entry.held);
}

#[test]
fn a_spool_in_use_is_left_alone() {
    let (dir, rest) = spool();
    let lock = rest.lock().unwrap();
    let in_use = RestError::InUse(dir.path().display().to_string());
    assert_eq!(AtRest::open(dir.path(), None).err(), Some(in_use.clone()));
    assert_eq!(rest.command(NOW, &Command::Hold(Selection::All)), Err(in_use));
    drop(lock);
    assert!(AtRest::open(dir.path(), None).is_ok());
    assert!(AtRest::open(&dir.path().join("missing"), None).is_err());
}
