//! The spool on a disk that changes what was written.

use proptest::prelude::*;

use super::body::Body;
use super::testing::{DIR, at, body, entry, flip, fresh, names, read, waiting};
use super::*;
use crate::fs::read_to_end;
use crate::store::crash_tests::SimFs;

/// Two messages, and the states that the entry of the first has had.
fn spool() -> (SimFs, Spool, Vec<Entry>) {
    let fs = fresh();
    let spool = Spool::new(Arc::new(fs.clone()), Path::new(DIR));
    for id in ["one", "two"] {
        let mut draft = spool.begin(id).unwrap();
        draft.write(&[body(id).into()]).unwrap();
        draft.commit(&mut entry(id, 3)).unwrap();
    }
    let mut states = vec![spool.load("one").unwrap()];
    let steps: [&[Change]; 3] =
        [&[Change::Done(0)], &[Change::Tried(1, at(900)), Change::Warned], &[Change::Done(2)]];
    for changes in steps {
        spool.record("one", changes).unwrap();
        states.push(spool.load("one").unwrap());
    }
    (fs, spool, states)
}

fn size(fs: &SimFs, name: &str) -> usize {
    let file = fs.open(&Path::new(DIR).join(name)).unwrap();
    read_to_end(&*file, 1 << 20).unwrap().len()
}

/// Every byte of every file, changed in several ways, costs nobody else anything.
#[test]
fn a_changed_byte_is_noticed_or_harmless() {
    let (fs, spool, states) = spool();
    let two = spool.load("two").unwrap();
    let mut noticed = 0;
    for name in ["one.entry", "one.body"] {
        for place in 0..size(&fs, name) {
            for mask in [0x01, 0x02, 0x10, 0x20, 0x80, 0xFF] {
                // On a disk of its own: it may be written to.
                let fs = fs.copy();
                let spool = Spool::new(Arc::new(fs.clone()), Path::new(DIR));
                flip(&fs, name, place, mask);
                let case = format!("byte {place} of {name}, {mask:#x}");
                let found = waiting(&spool);
                let aside = names(&fs, "/spool/corrupt");
                assert!(found.contains(&two), "{case}");
                assert_eq!(read(&spool, &two).unwrap(), body("two"), "{case}");
                let Some(one) = found.iter().find(|entry| **entry != two) else {
                    assert_eq!(aside, ["one.body", "one.entry"], "{case}");
                    noticed += 1;
                    continue;
                };
                assert_eq!((found.len(), aside.len()), (2, 0), "{case}");
                // A line end that is gone takes two lines with it.
                let known = states.iter().rposition(|state| state == one);
                assert!(known.is_some_and(|n| n + 3 >= states.len()), "{case}: {one:?}");
                match read(&spool, one) {
                    Ok(text) => assert_eq!(text, body("one"), "{case}"),
                    Err(error) => {
                        assert!(spool.dismiss("one", &error), "{case}: {error}");
                        assert_eq!(names(&fs, "/spool/corrupt"), ["one.body", "one.entry"]);
                        assert_eq!(waiting(&spool), std::slice::from_ref(&two), "{case}");
                        noticed += 1;
                    }
                }
            }
        }
        assert!(noticed > 3 * size(&fs, name), "{name}: {noticed}");
        noticed = 0;
    }
}

#[test]
fn what_is_missing_or_strange_is_set_aside() {
    let (fs, _, states) = spool();
    let case = |harm: &dyn Fn(&SimFs), aside: &[&str]| {
        let fs = fs.copy();
        harm(&fs);
        let spool = Spool::new(Arc::new(fs.clone()), Path::new(DIR));
        let found = waiting(&spool);
        assert_eq!(names(&fs, "/spool/corrupt"), aside);
        assert_eq!(spool.damaged().unwrap(), usize::from(!aside.is_empty()));
        found.len()
    };
    let path = |name: &str| Path::new(DIR).join(name);
    assert_eq!(case(&|_| {}, &[]), 2);
    assert_eq!(case(&|fs| fs.unlink(&path("one.body")).unwrap(), &["one.entry"]), 1);
    // Without entry nobody was told that it is accepted.
    assert_eq!(case(&|fs| fs.unlink(&path("one.entry")).unwrap(), &[]), 1);
    let other = |fs: &SimFs| fs.rename(&path("one.entry"), &path("two.entry")).unwrap();
    assert_eq!(case(&other, &["two.body", "two.entry"]), 0);
    // A later version knows what to do with it; we do not touch it.
    let fs = fs.copy();
    fs.unlink(&path("one.entry")).unwrap();
    let newer = states[0].encode().lines().next().unwrap()[9..].replacen("\t2\t", "\t3\t", 1);
    let line = format!("{:08x}\t{newer}\n", crc32fast::hash(newer.as_bytes()));
    fs.create(&path("one.entry"), 0o600).unwrap().write_all(line.as_bytes()).unwrap();
    let spool = Spool::new(Arc::new(fs.clone()), Path::new(DIR));
    let mut found = 0;
    spool.recover(&mut |_| found += 1).unwrap();
    assert_eq!((found, spool.unread()), (1, 1));
    assert_eq!(names(&fs, DIR), ["one.body", "one.entry", "two.body", "two.entry"]);
}

#[test]
fn a_body_of_another_size_is_noticed() {
    let (fs, spool, states) = spool();
    let one = states.last().unwrap();
    let path = spool.path("one", "body");
    fs.append(&path).unwrap().write_all(b"x").unwrap();
    let error = read(&spool, one).unwrap_err();
    let length = body("one").len();
    let text = format!("/spool/one.body: not of the size that was accepted, {length} octets");
    assert_eq!(error.to_string(), text);
    fs.unlink(&path).unwrap();
    fs.create(&path, 0o600).unwrap().write_all(&body("one").as_bytes()[1..]).unwrap();
    assert_eq!(read(&spool, one).unwrap_err().to_string(), text);
    fs.unlink(&path).unwrap();
    assert!(read(&spool, one).unwrap_err().is_damage());
    // An entry of version 1 knows the size alone.
    fs.create(&path, 0o600).unwrap().write_all(body("two").as_bytes()).unwrap();
    assert_eq!(
        read(&spool, one).unwrap_err().to_string(),
        "/spool/one.body: not what was accepted: the checksum differs"
    );
    let mut older = one.clone();
    older.origin.checksum = None;
    assert_eq!(read(&spool, &older).unwrap(), body("two"));
}

/// Reads in any pieces; whether the end was reached.
fn pieces(body: &mut Body, text: &[u8], reads: &[(u64, usize)]) -> Result<bool, SpoolError> {
    let mut ended = false;
    for (from, len) in reads {
        let from = from % (text.len() as u64 + 1);
        let (piece, end) = body.read(from, *len)?;
        let start = usize::try_from(from).unwrap();
        assert_eq!(end, start + len >= text.len());
        assert_eq!(piece.len(), (*len).min(text.len() - start));
        if end {
            assert_eq!(&piece[..], &text[start..]);
            ended = true;
        }
    }
    Ok(ended)
}

proptest! {
    /// Nobody gets the end of a body that is not whole, wherever he reads.
    #[test]
    fn the_end_comes_only_of_what_is_whole(
        reads in prop::collection::vec((any::<u64>(), 0usize..300), 1..20),
        damage in any::<Option<(usize, u8)>>(),
    ) {
        let (fs, spool, states) = spool();
        let one = states.last().unwrap();
        let text = body("one");
        let damage = damage.filter(|(_, mask)| *mask != 0);
        if let Some((place, mask)) = damage {
            flip(&fs, "one.body", place % text.len(), mask);
        }
        match pieces(&mut spool.body(&one.origin).unwrap(), text.as_bytes(), &reads) {
            Ok(ended) => prop_assert!(!ended || damage.is_none()),
            Err(error) => {
                prop_assert!(damage.is_some() && error.is_damage(), "{error}");
            }
        }
    }
}

/// With so many messages, several threads read.
#[test]
fn many_are_taken_up_once_each() {
    let fs = fresh();
    let path = |name: String| Path::new(DIR).join(name);
    for n in 0..1200 {
        let id = format!("m{n:04}");
        let text = if n == 700 { "nonsense\n".into() } else { entry(&id, 1).encode() };
        for (kind, text) in [("entry", text), ("body", body(&id))] {
            let mut file = fs.create(&path(format!("{id}.{kind}")), 0o600).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }
    fs.unlink(&path("m0300.entry".into())).unwrap();
    let spool = Spool::new(Arc::new(fs.clone()), Path::new(DIR));
    let mut found: Vec<_> =
        waiting(&spool).into_iter().map(|entry| entry.origin.queue_id).collect();
    found.sort_unstable();
    let expected = (0..1200).filter(|n| ![300, 700].contains(n));
    assert!(found.iter().map(|id| id.to_string()).eq(expected.map(|n| format!("m{n:04}"))));
    assert_eq!(names(&fs, "/spool/corrupt"), ["m0700.body", "m0700.entry"]);
    assert_eq!(names(&fs, DIR).len(), 2 * found.len() + 1);
}
