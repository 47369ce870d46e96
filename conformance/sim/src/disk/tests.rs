use std::sync::Arc;

use waypost_world::ManualClock;
use waypost_world::fs::{Fs, read_to_end};

use super::*;
use crate::choices::Choices;

fn disk() -> Disk {
    let disk = Disk::new(1, Arc::new(ManualClock::new(1_000)));
    for dir in ["/tmp", "/new"] {
        disk.mkdirs(dir, 0, 0).unwrap();
    }
    disk
}

fn write(disk: &Disk, path: &str, text: &str) -> Box<dyn File> {
    let mut file = disk.create(Path::new(path), 0o600).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn text(disk: &Disk, path: &str) -> Option<String> {
    disk.read(path).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn crashed(disk: &Disk, rule: Survival) -> Disk {
    let copy = disk.copy(Arc::new(ManualClock::new(2_000)));
    copy.crash(rule, &Choices::seeded(3));
    copy
}

#[test]
fn each_layer_survives_by_its_own_sync() {
    let disk = disk();
    write(&disk, "/new/named", "x");
    disk.sync_dir(Path::new("/new")).unwrap();
    let mut file = write(&disk, "/new/both", "one ");
    file.sync().unwrap();
    disk.sync_dir(Path::new("/new")).unwrap();
    file.write_all(b"two").unwrap();
    write(&disk, "/tmp/neither", "x");
    for (rule, named, both, neither) in [
        (Survival::Nothing, Some(""), Some("one "), None),
        (Survival::All, Some("x"), Some("one two"), Some("x")),
        (Survival::Names, Some(""), Some("one "), Some("")),
        (Survival::Data, Some("x"), Some("one two"), None),
    ] {
        let left = crashed(&disk, rule);
        assert_eq!(text(&left, "/new/named").as_deref(), named, "{rule}");
        assert_eq!(text(&left, "/new/both").as_deref(), both, "{rule}");
        assert_eq!(text(&left, "/tmp/neither").as_deref(), neither, "{rule}");
    }
}

#[test]
fn a_rename_is_durable_at_both_ends() {
    let disk = disk();
    write(&disk, "/tmp/a", "x").sync().unwrap();
    disk.rename(Path::new("/tmp/a"), Path::new("/new/a")).unwrap();
    let lost = crashed(&disk, Survival::Nothing);
    assert_eq!((text(&lost, "/tmp/a"), text(&lost, "/new/a")), (None, None));
    disk.sync_dir(Path::new("/new")).unwrap();
    // What happened to /tmp/a before was durable with it, and does not come after it.
    disk.sync_dir(Path::new("/tmp")).unwrap();
    let kept = crashed(&disk, Survival::Nothing);
    assert_eq!((text(&kept, "/tmp/a"), text(&kept, "/new/a")), (None, Some("x".into())));
}

#[test]
fn half_of_it_is_torn_anywhere() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = disk();
        let mut file = write(&disk, "/new/a", "abc");
        file.sync().unwrap();
        disk.sync_dir(Path::new("/new")).unwrap();
        file.write_all(b"def").unwrap();
        write(&disk, "/new/b", "");
        disk.unlink(Path::new("/new/a")).unwrap();
        disk.crash(Survival::Half, &Choices::seeded(seed));
        assert!(file.write_all(b"ghi").is_err(), "open in another life");
        seen.insert((text(&disk, "/new/a"), text(&disk, "/new/b").is_some()));
    }
    let has = |a: Option<&str>, b| seen.contains(&(a.map(str::to_owned), b));
    assert!(has(None, true) && has(Some("abc"), false) && has(Some("abcde"), true), "{seen:?}");
    assert!(has(Some("abc\0e"), true) && !has(None, false), "{seen:?}");
}

#[test]
fn a_failed_sync_forgets() {
    let disk = disk();
    disk.fail(Failure::Sync, Some(1));
    let mut file = write(&disk, "/new/a", "abc");
    assert!(file.sync().is_err());
    file.write_all(b"def").unwrap();
    file.sync().unwrap();
    assert_eq!(text(&disk, "/new/a").as_deref(), Some("abcdef"), "until a crash it is seen");
    disk.sync_dir(Path::new("/new")).unwrap();
    disk.crash(Survival::All, &Choices::seeded(1));
    assert_eq!(text(&disk, "/new/a").as_deref(), Some("\0\0\0def"));
}

#[test]
fn a_full_disk_takes_a_part() {
    let disk = disk();
    let mut file = write(&disk, "/new/a", "");
    disk.fail(Failure::Full, None);
    assert_eq!(file.write_all(&[b'x'; 1000]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(disk.create(Path::new("/new/b"), 0o600).is_err());
    let size = file.stat().unwrap().size;
    assert!(size < 1000 && size > 0, "{size}");
    disk.heal();
    file.write_all(b"y").unwrap();
    assert_eq!(read_to_end(&*file, 2000).unwrap().len() as u64, size + 1);
}

#[test]
fn the_power_fails_after_a_call() {
    let disk = disk();
    disk.crash_after(Some(2));
    let mut file = write(&disk, "/new/a", "abc");
    assert!(disk.is_dead());
    assert!(file.write_all(b"d").is_err() && disk.unlink(Path::new("/new/a")).is_err());
    assert_eq!(disk.calls(), 2);
    disk.crash(Survival::All, &Choices::seeded(1));
    assert_eq!(text(&disk, "/new/a").as_deref(), Some("abc"));
}

#[test]
fn directories_are_listed_in_an_order_of_their_own() {
    let order = |seed| {
        let disk = Disk::new(seed, Arc::new(ManualClock::new(0)));
        for name in ["a", "b", "c", "d", "e"] {
            disk.put(Path::new("/").join(name), b"", 0, 0).unwrap();
        }
        let mut names = Vec::new();
        disk.list(Path::new("/"), &mut |name, _| names.push(name.to_vec())).unwrap();
        names
    };
    assert_eq!(order(1), order(1));
    assert!((2..9).any(|seed| order(seed) != order(1)));
}

#[test]
fn a_copy_lives_alone() {
    let disk = disk();
    write(&disk, "/new/a", "abc");
    let copy = disk.copy(Arc::new(ManualClock::new(0)));
    copy.append(Path::new("/new/a")).unwrap().write_all(b"def").unwrap();
    assert_eq!(
        (text(&disk, "/new/a"), text(&copy, "/new/a")),
        (Some("abc".into()), Some("abcdef".into()))
    );
}

#[test]
fn names_that_lead_nowhere_are_refused() {
    let disk = disk();
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    let at = Path::new;
    write(&disk, "/new/a", "x");
    assert_eq!(kind(disk.create(at("/new/a"), 0o600).map(drop)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create(at("/old/a"), 0o600).map(drop)), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.rmdir(at("/new"))), io::ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(disk.unlink(at("/new"))), io::ErrorKind::IsADirectory);
    assert_eq!(kind(disk.open(at("/new")).map(drop)), io::ErrorKind::IsADirectory);
    assert_eq!(kind(disk.rename(at("/tmp/b"), at("/new/b"))), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.link(at("/new/a"), at("/new/a"))), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.rename(at("/new"), at("/new/x"))), io::ErrorKind::InvalidInput);
    assert_eq!(kind(disk.stat(at("/new/../new/a")).map(drop)), io::ErrorKind::PermissionDenied);
}

#[test]
fn every_lie_is_seen_after_a_crash() {
    let after = |lie| {
        let disk = disk();
        disk.put("/new/list", b"old", 0, 0).unwrap();
        disk.put("/new/mail", b"mail", 0, 0).unwrap();
        disk.lie(lie);
        write(&disk, "/tmp/list", "new").sync().unwrap();
        disk.rename(Path::new("/tmp/list"), Path::new("/new/list")).unwrap();
        disk.unlink(Path::new("/new/mail")).unwrap();
        disk.sync_dir(Path::new("/new")).unwrap();
        disk.crash(Survival::Nothing, &Choices::seeded(1));
        (text(&disk, "/new/list"), text(&disk, "/new/mail"))
    };
    let is = |list: &str, mail: Option<&str>| (Some(list.to_owned()), mail.map(str::to_owned));
    assert_eq!(after(None), is("new", None));
    assert_eq!(after(Some(Lie::Sync)), is("", None));
    assert_eq!(after(Some(Lie::SyncDir)), is("old", Some("mail")));
    assert_eq!(after(Some(Lie::NamesFirst)), is("", None));
    assert_eq!(after(Some(Lie::RemovedComesBack)), is("new", Some("mail")));
    assert_eq!(after(Some(Lie::ReplacedComesBack)), is("old", None));
}

#[test]
fn each_file_is_somebodys() {
    use waypost_world::identity::Identity;
    let disk = disk();
    disk.mkdirs("/home/a", 1000, 1000).unwrap();
    let at = Path::new;
    let as_user = |uid, work: &dyn Fn() -> io::Result<()>| {
        Identity::simulated(100).as_user(uid, uid, work).unwrap().map_err(|error| error.kind())
    };
    as_user(1000, &|| disk.create(at("/home/a/x"), 0o600).map(drop)).unwrap();
    let denied = Err(io::ErrorKind::PermissionDenied);
    assert_eq!(as_user(1001, &|| disk.open(at("/home/a/x")).map(drop)), denied);
    assert_eq!(as_user(1001, &|| disk.unlink(at("/home/a/x"))), denied);
    assert_eq!(as_user(1001, &|| disk.mkdir(at("/home/b"), 0o700)), denied);
    assert_eq!(as_user(1000, &|| disk.chown(at("/home/a/x"), 1001, 1001)), denied);
    disk.chown(at("/home/a/x"), 1001, 1001).unwrap();
    let whose = |disk: &Disk| disk.owners("/home/a").last().map(|file| (file.uid, file.mode));
    assert_eq!(whose(&disk), Some((1001, 0o600)));
    assert_eq!(whose(&crashed(&disk, Survival::Names)), Some((1000, 0o600)), "never synced");
}

#[test]
fn what_is_mounted_ends_with_a_crash() {
    let disk = disk();
    let mounted = disk.mount();
    disk.crash(Survival::All, &Choices::seeded(1));
    assert!(mounted.create(Path::new("/new/a"), 0o600).is_err());
    assert!(disk.mount().create(Path::new("/new/a"), 0o600).is_ok());
}
