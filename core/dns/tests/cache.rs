//! The cache, against a map that forgets nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use waypost_dns::{Answer, Cache, Failure, Found, Kind, Question, Record};
use waypost_machine::Time;

fn at(seconds: u64) -> Time {
    Time::ZERO.plus(Duration::from_secs(seconds))
}

fn question(name: &str) -> Question {
    Question::new(name, Kind::A).unwrap()
}

fn records(n: u8, ttl: u32) -> Answer {
    let found = Found::Records(vec![Record::A([192, 0, 2, n].into())]);
    Answer { found, authentic: true, ttl }
}

#[test]
fn answers_that_fill_the_memory_are_not_kept() {
    let answer = |records| Answer { found: Found::Records(records), authentic: false, ttl: 60 };
    let name = || "mx.a.test".into();
    for (record, few) in [
        (Record::A([192, 0, 2, 1].into()), 50),
        (Record::Mx { preference: 10, exchange: name() }, 50),
        (Record::Ptr(name()), 50),
        (Record::Txt([b'x'; 255][..].into()), 20),
        (Record::Tlsa { usage: 3, selector: 1, matching: 1, data: [0; 32][..].into() }, 50),
    ] {
        let mut cache = Cache::new(10);
        cache.put(at(0), &question("a.test"), &answer(vec![record.clone(); few]));
        assert_eq!(cache.len(), 1, "{record:?}");
        // What was known before is not true any more.
        cache.put(at(1), &question("a.test"), &answer(vec![record.clone(); 1000]));
        assert!(cache.is_empty(), "{record:?}");
    }
}

#[test]
fn answers_hold_as_long_as_they_say_within_limits() {
    let nothing = |found: Found, ttl| Answer { found, authentic: false, ttl };
    for (answer, seconds) in [
        (records(1, 60), 60),
        (records(1, 0), 0),
        (records(1, u32::MAX), 86_400),
        (nothing(Found::NoName, 60), 60),
        (nothing(Found::NoName, 0), 0),
        (nothing(Found::NoData, 86_400), 900),
        (Answer::unavailable(Failure::ServFail), 5),
    ] {
        let mut cache = Cache::new(10);
        cache.put(at(100), &question("a.test"), &answer);
        assert_eq!(cache.get(at(100 + seconds), &question("a.test")), None, "{answer:?}");
        assert_eq!(cache.is_empty(), seconds == 0);
        if seconds > 0 {
            let got = cache.get(at(100 + seconds - 1), &question("A.test.")).unwrap();
            assert_eq!((got.found, got.ttl), (answer.found, 1));
            assert_eq!(cache.get(at(100), &Question::new("a.test", Kind::Mx).unwrap()), None);
        }
    }
}

#[test]
fn a_failure_does_not_drive_out_what_is_known() {
    let mut cache = Cache::new(10);
    let a = question("a.test");
    cache.put(at(0), &a, &records(1, 60));
    cache.put(at(1), &a, &Answer::unavailable(Failure::Silence));
    assert_eq!(cache.get(at(2), &a).unwrap().found, records(1, 60).found);
    cache.put(at(60), &a, &Answer::unavailable(Failure::Silence));
    assert_eq!(cache.get(at(61), &a).unwrap().found, Found::Unavailable(Failure::Silence));
    cache.put(at(62), &a, &records(2, 60));
    assert_eq!(cache.get(at(63), &a).unwrap().found, records(2, 60).found);
    cache.forget(&a);
    assert!(cache.is_empty() && cache.get(at(63), &a).is_none());
}

#[test]
fn what_ends_first_goes_first() {
    let mut cache = Cache::new(2);
    cache.put(at(0), &question("long.test"), &records(1, 600));
    cache.put(at(0), &question("short.test"), &records(2, 60));
    cache.put(at(0), &question("new.test"), &records(3, 300));
    assert_eq!(cache.len(), 2);
    assert!(cache.get(at(1), &question("short.test")).is_none());
    assert!(cache.get(at(1), &question("long.test")).is_some());
    let mut none = Cache::new(0);
    none.put(at(0), &question("a.test"), &records(1, 60));
    assert!(none.is_empty());
}

proptest! {
    #[test]
    fn it_never_says_what_does_not_hold(
        steps in proptest::collection::vec((0u8..6, 0u32..50, 0u64..20, any::<bool>()), 0..60),
        limit in 0usize..5,
    ) {
        let mut cache = Cache::new(limit);
        let mut model: BTreeMap<u8, (Answer, u64)> = BTreeMap::new();
        let mut now = 0;
        for (name, ttl, passed, put) in steps {
            now += passed;
            let asked = question(&format!("n{name}.test"));
            if put {
                let answer = records(name, ttl);
                cache.put(at(now), &asked, &answer);
                model.insert(name, (answer, now + u64::from(ttl)));
            }
            if let Some(got) = cache.get(at(now), &asked) {
                let (answer, end) = &model[&name];
                prop_assert_eq!(&got.found, &answer.found);
                prop_assert_eq!(u64::from(got.ttl), end - now);
                prop_assert!(got.ttl > 0);
            }
            prop_assert!(cache.len() <= limit);
        }
    }
}
