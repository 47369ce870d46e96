//! Directory servers that do what they should not. Whatever they do, every question is answered, in
//! time, with "not now", and the next one finds the directory as it then is.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use common::*;
use waypost_ldap::Outcome;
use waypost_ldap::server::Bind;
use waypost_world::directory::{Bound, Counts, Directory};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

fn found(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Entries { entries, more: false } => entries.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_are_what_the_server_says() {
    let fake = Fake::start(|mut stream, _| {
        let mut count = 0;
        answer(&mut stream, |request| {
            count += 1;
            let done = |code, text: &str| result(request.id, DONE, code, text);
            let one = entry(
                request.id,
                "uid=x,dc=example",
                &[("b", &[b"2", b"\xff", b"1"]), ("a", &[]), ("B;x", &[b""])],
            );
            match count {
                1 => [one, done(0, "")].concat(),
                2 => [one, done(4, "")].concat(),
                3 => done(32, "no such object"),
                _ => done(51, "come back later"),
            }
        });
    });
    let client = client();
    let ldap = client.directory(&fake.server(LONG)).unwrap();
    let Outcome::Entries { entries, more: false } = search(&ldap) else { panic!() };
    let names: Vec<&str> = entries[0].attributes.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["b", "a", "B;x"]);
    assert_eq!(entries[0].attributes[0].values, [b"2".to_vec(), b"\xff".to_vec(), b"1".to_vec()]);
    assert!(matches!(search(&ldap), Outcome::Entries { more: true, .. }));
    assert_eq!(search(&ldap), Outcome::NoSuchBase);
    let text = why(search(&ldap));
    assert!(text.contains("busy (51) come back later"), "{text}");
    assert_eq!((fake.connections(), ldap.counters().searches), (1, 4));
    // The same settings are the same directory.
    assert!(Arc::ptr_eq(&ldap, &client.directory(&fake.server(LONG)).unwrap()));
}

#[test]
fn nested_elements_overflow_nothing() {
    for clear in [true, false] {
        let fake = Fake::start(move |mut stream, before| {
            answer(&mut stream, |request| match (before, clear) {
                (0, true) => nested(40_000),
                (0, false) => nested(600),
                (_, true) => well(request),
                (_, false) => result(request.id, EXTENDED_RESPONSE, 2, ""),
            });
        });
        let client = client();
        let mut server = fake.server(LONG);
        if clear {
            // The first connection dies of it, the search is sent again on a second one.
            assert_eq!(found(search(&client.directory(&server).unwrap())), 1);
        } else {
            let authority = Authority::new();
            server = authority.trusted(server);
            let text = why(search(&client.directory(&server).unwrap()));
            assert!(text.contains("StartTLS: the server sent something that is no LDAP"), "{text}");
        }
    }
}

#[test]
fn garbage_is_survived() {
    let garbage: [&[u8]; 4] =
        [b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0x30, 0x80, 0, 0], &[0xff; 64], &[0x30, 0]];
    for (n, octets) in garbage.into_iter().enumerate() {
        let fake = Fake::start(move |mut stream, _| {
            answer(&mut stream, |_| octets.to_vec());
        });
        let client = client();
        let text = why(search(&client.directory(&fake.server(LONG)).unwrap()));
        assert!(text.contains("no LDAP"), "{n}: {text}");
        assert_eq!(fake.connections(), 2, "tried twice");
    }
}

#[test]
fn an_entry_that_makes_no_sense_harms_nobody() {
    let fake = Fake::start(|mut stream, _| {
        let mut count = 0;
        answer(&mut stream, |request| {
            count += 1;
            match count {
                // Not a DN, which only we read.
                1 => [entry(request.id, "nonsense", &[]), result(request.id, DONE, 0, "")].concat(),
                _ => well(request),
            }
        });
    });
    let client = client();
    let ldap = client.directory(&fake.server(LONG)).unwrap();
    assert!(why(search(&ldap)).contains("makes no sense"));
    assert_eq!(found(search(&ldap)), 1);
}

#[test]
fn a_silent_server_is_left() {
    let fake = Fake::start(|mut stream, before| {
        if before == 0 {
            // Reads, and never answers.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        } else {
            answer(&mut stream, well);
        }
    });
    let client = client();
    let ldap = client.directory(&fake.server(SHORT)).unwrap();
    let start = Instant::now();
    let all: Vec<_> = (0..20).map(|_| begin(&ldap)).collect();
    for outcome in all {
        why(outcome.recv().unwrap());
    }
    assert!(start.elapsed() < SHORT * 10, "they wait beside each other");
    assert_eq!(found(search(&ldap)), 1);
    assert_eq!(fake.connections(), 2);
}

#[test]
fn a_connection_that_breaks_is_made_anew() {
    let fake = Fake::start(|mut stream, before| {
        let request = read(&mut stream).unwrap();
        if before == 0 {
            // Half an answer, then nothing.
            let whole = well(request);
            stream.write_all(&whole[..whole.len() / 2]).unwrap();
        } else {
            stream.write_all(&well(request)).unwrap();
            answer(&mut stream, well);
        }
    });
    let client = client();
    let ldap = client.directory(&fake.server(LONG)).unwrap();
    assert_eq!(found(search(&ldap)), 1);
    assert_eq!(found(search(&ldap)), 1);
    assert_eq!((fake.connections(), ldap.counters().searches), (2, 3));
}

#[test]
fn a_server_that_says_good_bye_is_asked_anew() {
    let fake = Fake::start(|mut stream, before| {
        answer(&mut stream, |request| match before {
            0 => result(0, EXTENDED_RESPONSE, 52, "shutting down"),
            _ => well(request),
        });
    });
    let client = client();
    assert_eq!(found(search(&client.directory(&fake.server(LONG)).unwrap())), 1);
}

#[test]
fn slow_answers_hold_up_no_others() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let fake = Fake::start(move |mut stream, _| {
        let slow = read(&mut stream).unwrap();
        for _ in 0..10 {
            let quick = read(&mut stream).unwrap();
            stream.write_all(&well(quick)).unwrap();
        }
        wait.lock().unwrap().recv().unwrap();
        // Octet by octet.
        for octet in well(slow) {
            stream.write_all(&[octet]).unwrap();
        }
        answer(&mut stream, well);
    });
    let client = client();
    let ldap = client.directory(&fake.server(LONG)).unwrap();
    let slow = begin(&ldap);
    for _ in 0..10 {
        assert_eq!(found(search(&ldap)), 1);
    }
    assert!(slow.try_recv().is_err());
    go.send(()).unwrap();
    assert_eq!(found(slow.recv().unwrap()), 1);
    assert_eq!(fake.connections(), 1);
}

#[test]
fn an_answer_that_comes_too_late_is_nobodys() {
    let fake = Fake::start(|mut stream, _| {
        let late = read(&mut stream).unwrap();
        // Something comes, so the server is there; but not the answer.
        let sign = entry(late.id, "uid=y,dc=example", &[]);
        stream.write_all(&sign).unwrap();
        let mut first = true;
        answer(&mut stream, |request| {
            if request.tag != SEARCH {
                return Vec::new();
            }
            let late_answer = if std::mem::take(&mut first) {
                [sign.clone(), result(late.id, DONE, 0, "")].concat()
            } else {
                Vec::new()
            };
            [late_answer, well(request)].concat()
        });
    });
    let client = client();
    let ldap = client.directory(&fake.server(SHORT)).unwrap();
    assert!(why(search(&ldap)).contains("no answer within"));
    for _ in 0..3 {
        let Outcome::Entries { entries, .. } = search(&ldap) else { panic!() };
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].text("uid"), Some("x"));
    }
    assert_eq!(fake.connections(), 1);
}

#[test]
fn tls_is_checked_before_anything_is_said() {
    let authority = Authority::new();
    for (config, expected) in [
        (authority.server("localhost", false), None),
        (authority.server("elsewhere.test", false), Some("not for the name 'localhost'")),
        (authority.server("localhost", true), Some("has expired")),
        (Authority::new().server("localhost", false), Some("not signed by a trusted authority")),
    ] {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let fake = Fake::start(move |stream, _| {
            let mut wire = start_tls(stream, &config);
            while let Some(request) = read(&mut wire) {
                heard.lock().unwrap().push(request.tag);
                wire.write_all(&well(request)).unwrap();
            }
        });
        let client = client();
        let mut server = authority.trusted(fake.server(LONG));
        server.bind =
            Bind::Simple { dn: "cn=reader".into(), password: String::from("secret").into() };
        let ldap = client.directory(&server).unwrap();
        let outcome = search(&ldap);
        match expected {
            None => {
                assert_eq!(found(outcome), 1);
                assert_eq!(*said.lock().unwrap(), [BIND, SEARCH]);
            }
            Some(text) => {
                let why = why(outcome);
                assert!(why.contains(text), "{why}");
                assert!(said.lock().unwrap().is_empty());
                // Nor does a password of a user go there.
                let bound = bind(&ldap, "uid=x", "secret");
                assert!(matches!(bound, Bound::Unavailable { code: None, .. }));
                assert!(said.lock().unwrap().is_empty());
            }
        }
    }
}

#[test]
fn ldaps_and_unchecked_certificates() {
    let (authority, other) = (Authority::new(), Authority::new());
    let config = authority.server("localhost", false);
    let fake = Fake::start(move |stream, _| answer(&mut tls(stream, &config), well));
    let client = client();
    let mut server = authority.trusted(fake.server(LONG));
    let place = waypost_ldap::url::Place::parse(&format!("ldaps://localhost:{}", fake.port));
    server.places = vec![place.unwrap()];
    assert_eq!(found(search(&client.directory(&server).unwrap())), 1);
    // By address the certificate does not fit.
    let mut by_address = server.clone();
    by_address.places[0].host = "127.0.0.1".into();
    assert!(why(search(&client.directory(&by_address).unwrap())).contains("not for the name"));
    let mut distrusted = server.clone();
    distrusted.tls.ca_file = Some(other.file().display().to_string());
    assert!(why(search(&client.directory(&distrusted).unwrap())).contains("trusted authority"));
    distrusted.tls.verify = false;
    assert_eq!(found(search(&client.directory(&distrusted).unwrap())), 1);
    distrusted.tls.verify = true;
    distrusted.tls.ca_file = Some("/nowhere/CA.pem".into());
    assert!(client.directory(&distrusted).err().unwrap().to_string().contains("/nowhere/CA.pem"));
}

#[test]
fn a_server_that_hides_start_tls_hears_nothing() {
    let (to, heard) = mpsc::channel();
    let fake = Fake::start(move |mut stream, _| {
        let request = read(&mut stream).unwrap();
        stream.write_all(&result(request.id, EXTENDED_RESPONSE, 2, "unsupported")).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        to.send(rest).unwrap();
    });
    let client = client();
    let ldap = client.directory(&Authority::new().trusted(fake.server(LONG))).unwrap();
    let text = why(search(&ldap));
    assert!(text.contains("StartTLS refused: protocol error (2) unsupported"), "{text}");
    assert_eq!(heard.recv().unwrap(), Vec::<u8>::new());
}

#[test]
fn what_is_said_before_tls_does_not_count_after_it() {
    let authority = Authority::new();
    let config = authority.server("localhost", false);
    let fake = Fake::start(move |mut stream, _| {
        let request = read(&mut stream).unwrap();
        // In one piece with the answer: an entry in clear, as somebody on the way would put it.
        let injected = entry(2, "uid=evil,dc=example", &[("uid", &[b"evil"])]);
        let answers = [result(request.id, EXTENDED_RESPONSE, 0, ""), injected].concat();
        stream.write_all(&answers).unwrap();
        let mut wire = tls(stream, &config);
        while let Some(request) = read(&mut wire) {
            wire.write_all(&well(request)).unwrap();
        }
    });
    let client = client();
    let ldap = client.directory(&authority.trusted(fake.server(LONG))).unwrap();
    assert!(why(search(&ldap)).contains("TLS: "));
}

#[test]
fn a_start_tls_answer_without_end() {
    let fake = Fake::start(|mut stream, _| {
        read(&mut stream).unwrap();
        let _ = stream.write_all(&[0x30, 0x84, 0, 0x20, 0, 0]);
        let block = [0; 1024];
        while stream.write_all(&block).is_ok() {}
    });
    let client = client();
    let ldap = client.directory(&Authority::new().trusted(fake.server(LONG))).unwrap();
    assert!(why(search(&ldap)).contains("StartTLS: the answer is too long"));
}

/// A port where nobody listens, or not yet.
fn closed() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn the_second_server_serves_when_the_first_does_not() {
    let (listener, dead) = closed();
    drop(listener);
    let silent = Fake::start(|mut stream, _| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let fake = Fake::start(|mut stream, _| answer(&mut stream, well));
    let client = client();
    let mut server = server(&[dead, silent.port, fake.port], Duration::from_secs(3));
    server.bind = Bind::Simple { dn: "cn=x".into(), password: String::from("y").into() };
    let ldap = client.directory(&server).unwrap();
    assert_eq!(found(search(&ldap)), 1);
    assert_eq!(bind(&ldap, "uid=x", "secret"), Bound::Accepted);
    // It is asked first from now on.
    assert_eq!(silent.connections(), 1);
}

#[test]
fn while_it_is_down_the_answer_comes_at_once_and_it_is_found_when_it_is_back() {
    let (listener, port) = closed();
    drop(listener);
    let client = client();
    let ldap = client.directory(&server(&[port], LONG)).unwrap();
    let text = why(search(&ldap));
    assert!(text.contains(&format!("ldap://localhost:{port}: cannot connect")), "{text}");
    let start = Instant::now();
    for _ in 0..1000 {
        why(search(&ldap));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(ldap.counters().searches, 0);
    let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) else {
        // Somebody else has the port by now.
        return;
    };
    let _fake = Fake::on(listener, |mut stream, _| answer(&mut stream, well));
    while !matches!(search(&ldap), Outcome::Entries { .. }) {
        assert!(start.elapsed() < Duration::from_secs(30), "it was not found again");
        std::thread::yield_now();
    }
}

#[test]
fn only_49_is_a_wrong_password() {
    let fake = Fake::start(|mut stream, _| {
        answer(&mut stream, |request| {
            let has = |text: &[u8]| request.content.windows(text.len()).any(|w| w == text);
            let code = if has(b"right") {
                0
            } else if has(b"wrong") {
                49
            } else {
                53
            };
            result(request.id, BIND_RESPONSE, code, "a text")
        });
    });
    let client = client();
    let ldap = client.directory(&fake.server(LONG)).unwrap();
    assert_eq!(bind(&ldap, "uid=x", "right"), Bound::Accepted);
    assert_eq!(bind(&ldap, "uid=x", "wrong"), Bound::Denied);
    match bind(&ldap, "uid=x", "other") {
        Bound::Unavailable { code: Some(53), text } => assert!(text.contains("a text"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(ldap.counters(), Counts { searches: 0, binds: 3 });
    // These would be anonymous, and "succeed": nothing is sent.
    assert_eq!(bind(&ldap, "uid=x", ""), Bound::Denied);
    assert_eq!(bind(&ldap, "", "right"), Bound::Denied);
    assert_eq!((ldap.counters().binds, fake.connections()), (3, 1));
}

#[test]
fn binds_survive_closed_connections_and_silence() {
    let binds = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&binds);
    let fake = Fake::start(move |mut stream, before| {
        // One answer for each connection, none on the third.
        let request = read(&mut stream).unwrap();
        count.fetch_add(1, Ordering::AcqRel);
        if before == 2 {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        } else {
            stream.write_all(&well(request)).unwrap();
        }
    });
    let client = client();
    let ldap = client.directory(&fake.server(SHORT)).unwrap();
    assert_eq!(bind(&ldap, "uid=x", "y"), Bound::Accepted);
    assert_eq!(bind(&ldap, "uid=x", "y"), Bound::Accepted);
    assert!(matches!(bind(&ldap, "uid=x", "y"), Bound::Unavailable { code: None, .. }));
    assert_eq!(bind(&ldap, "uid=x", "y"), Bound::Accepted);
    assert_eq!(binds.load(Ordering::Acquire), 4);
}

#[test]
fn too_many_questions_are_answered_too() {
    let fake = Fake::start(|mut stream, _| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let client = client();
    let ldap = client.directory(&fake.server(Duration::from_secs(1))).unwrap();
    let all: Vec<_> = (0..5000).map(|_| begin(&ldap)).collect();
    let outcomes: Vec<String> = all.into_iter().map(|it| why(it.recv().unwrap())).collect();
    let crowded = outcomes.iter().filter(|text| text.contains("requests wait already")).count();
    assert_eq!(crowded, 5000 - 4096);
}

#[test]
fn the_end_of_the_client_answers_what_is_open() {
    let fake = Fake::start(|mut stream, _| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let client = client();
    let ldap = client.directory(&fake.server(LONG)).unwrap();
    let open = begin(&ldap);
    drop(client);
    why(open.recv().unwrap());
    why(search(&ldap));
    assert!(matches!(bind(&ldap, "uid=x", "y"), Bound::Unavailable { .. }));
}

#[test]
fn a_check_tells_of_every_server() {
    let (listener, dead) = closed();
    drop(listener);
    let fake = Fake::start(|mut stream, _| {
        answer(&mut stream, |request| result(request.id, BIND_RESPONSE, 49, ""));
    });
    let client = client();
    let mut server = server(&[dead, fake.port], LONG);
    server.bind = Bind::Simple { dn: "cn=reader".into(), password: String::from("x").into() };
    let (to, from) = mpsc::channel();
    let ldap = client.directory(&server).unwrap();
    ldap.check(Box::new(move |result| to.send(result).unwrap()));
    let text = from.recv().unwrap().unwrap_err();
    assert!(text.contains(&format!("ldap://localhost:{dead}: cannot connect")), "{text}");
    assert!(text.contains("bind as 'cn=reader' failed: invalid credentials (49)"), "{text}");
}
