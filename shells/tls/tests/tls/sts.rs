//! MTA-STS against HTTPS servers of every mood.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use waypost_dns::{Answer, Found, Kind, Question, Record};
use waypost_tls::{Level, StsMode};
use waypost_tls_client::{Done, Handshake, Policy, Refusal, Security, Settings, Trust};

use crate::common::{
    Authority, Identity, Names, Time, host, policy, records, security, self_signed, settings,
    with_entry,
};

const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: *.remote.test\r\nmax_age: 604800\r\n";

/// What a web server says.
#[derive(Clone)]
enum Says {
    Bytes(Vec<u8>),
    /// Nothing, for as long as the client stays.
    Nothing,
}

fn page(status: &str, kind: &str, body: &str) -> Says {
    let len = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n");
    Says::Bytes(format!("{head}Connection: close\r\n\r\n{body}").into_bytes())
}

/// A web server on loopback.
struct Web {
    port: u16,
    says: Arc<Mutex<Says>>,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    /// A word for every request.
    requested: Mutex<mpsc::Receiver<()>>,
}

impl Web {
    fn start(config: Arc<ServerConfig>, says: Says) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (request_came, requested) = mpsc::channel();
        let web = Self {
            requested: Mutex::new(requested),
            port,
            says: Arc::new(Mutex::new(says)),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (says, requests) = (Arc::clone(&web.says), Arc::clone(&web.requests));
        let connections = Arc::clone(&web.connections);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let connection = ServerConnection::new(Arc::clone(&config)).expect("a server");
                let mut stream = StreamOwned::new(connection, stream);
                let mut request = Vec::new();
                let mut piece = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut piece) {
                        Ok(0) | Err(_) => break,
                        Ok(len) => request.extend_from_slice(&piece[..len]),
                    }
                }
                if request.is_empty() {
                    continue;
                }
                requests.lock().unwrap().push(String::from_utf8(request).unwrap());
                let _ = request_came.send(());
                let say = says.lock().unwrap().clone();
                match say {
                    Says::Bytes(bytes) => {
                        // A client that has had enough may be gone.
                        let _ = stream.write_all(&bytes);
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                    Says::Nothing => while stream.read(&mut piece).is_ok_and(|len| len > 0) {},
                }
            }
        });
        web
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A domain with a web server, and somebody who sends mail there.
struct Scene {
    authority: Authority,
    names: Names,
    time: Time,
    web: Web,
}

impl Scene {
    fn new(says: Says) -> Self {
        let authority = Authority::new("CA");
        let site = authority.issue(&["mta-sts.remote.test"]);
        Self::with_site(authority, &site, says)
    }

    fn with_site(authority: Authority, site: &Identity, says: Says) -> Self {
        let web = Web::start(Arc::clone(&site.config), says);
        let names = Names::default();
        names.txt("_mta-sts.remote.test", "v=STSv1; id=1;");
        let here = records(vec![Record::A(Ipv4Addr::LOCALHOST)], false);
        names.set("mta-sts.remote.test", Kind::A, here);
        Self { authority, names, time: Time::new(), web }
    }

    fn settings(&self, level: Level) -> Settings {
        let base = settings(level, &self.authority);
        let timeout = Duration::from_secs(10);
        Settings { mta_sts: true, sts_port: self.web.port, sts_timeout: timeout, ..base }
    }

    fn sender(&self, settings: Settings) -> Arc<Security> {
        security(settings, &self.names, &self.time)
    }
}

fn greet(security: &Security, nexthop: &str, mx: &str) -> Result<Handshake, Refusal> {
    let policy = policy(security, nexthop);
    security.handshake(&policy, &host(mx, false), 25, None)
}

#[test]
fn enforced() {
    let scene = Scene::new(page("200 OK", "text/plain; charset=utf-8", POLICY));
    let sender = scene.sender(scene.settings(Level::May));
    let told = policy(&sender, "Remote.test").to_string();
    assert_eq!(told, "verify (MTA-STS policy of remote.test)");
    let request = scene.web.requests.lock().unwrap().concat();
    assert!(request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("host: mta-sts.remote.test"), "{request}");

    let good = greet(&sender, "remote.test", "mx.remote.test").unwrap();
    assert_eq!(good.level, Level::Verify);
    scene.authority.issue(&["mx.remote.test"]).shake(&good).expect("a handshake");
    assert_eq!(good.seen.trust(), Trust::Verified);
    let bad = greet(&sender, "remote.test", "mx.remote.test").unwrap();
    assert!(self_signed(&["mx.remote.test"]).shake(&bad).is_err());
    let other = greet(&sender, "remote.test", "mx.elsewhere.test").err().unwrap();
    let why = "mx.elsewhere.test is no host of the MTA-STS policy of remote.test";
    assert_eq!(&*other.reason, why);
    // One question, one fetch for all of these.
    assert_eq!((scene.names.count(Kind::Txt), scene.web.connections()), (1, 1));
    // A relay host is not a domain, whatever it is called.
    assert!(policy(&sender, "[remote.test]").sts().is_none());
    assert!(policy(&sender, "remote.test:587").sts().is_none());
}

#[test]
fn tried_out() {
    let testing = POLICY.replace("enforce", "testing");
    let scene = Scene::new(page("200 OK", "text/plain", &testing));
    let sender = scene.sender(scene.settings(Level::May));
    for mx in ["mx.remote.test", "mx.elsewhere.test"] {
        let handshake = greet(&sender, "remote.test", mx).unwrap();
        assert_eq!(handshake.level, Level::May);
        self_signed(&["x.test"]).shake(&handshake).expect("a handshake");
    }
    assert_eq!(policy(&sender, "remote.test").sts().unwrap().mode, StsMode::Testing);
}

#[test]
fn levels_above_and_entries() {
    let scene = Scene::new(page("200 OK", "text/plain", POLICY));
    for (level, asked) in [
        (Level::None, false),
        (Level::May, true),
        (Level::Encrypt, true),
        (Level::Fingerprint, false),
        (Level::Dane, true),
        (Level::DaneOnly, false),
        (Level::Verify, true),
        (Level::Secure, true),
    ] {
        let mut settings = scene.settings(Level::May);
        if level == Level::Fingerprint {
            let hash = scene.authority.issue(&[]).leaf();
            settings.table =
                with_entry(&format!("fingerprint match={hash}"), &scene.authority).table;
        } else {
            settings.table = crate::common::settings(level, &scene.authority).table;
        }
        let got = policy(&scene.sender(settings), "remote.test");
        assert_eq!(got.sts().is_some(), asked, "{level}");
    }
    // Whom the domain names over HTTPS, "secure" can believe.
    let sender = scene.sender(scene.settings(Level::Secure));
    let handshake = greet(&sender, "remote.test", "mx.remote.test").unwrap();
    assert_eq!(handshake.level, Level::Secure);
    scene.authority.issue(&["mx.remote.test"]).shake(&handshake).expect("a handshake");
    // The admin has the last word.
    let mut settings = scene.settings(Level::Verify);
    settings.table = with_entry("may until=2026-11-30", &scene.authority).table;
    let sender = scene.sender(settings);
    assert_eq!(policy(&sender, "remote.test").level(), Level::May);
    assert!(policy(&sender, "remote.test").sts().is_none());
    scene.time.pass(30 * 86_400);
    assert!(policy(&sender, "remote.test").sts().is_some(), "the relaxation is over");
}

#[test]
fn pages_that_are_no_policy() {
    let big = format!("{POLICY}x: {}\r\n", "x".repeat(70_000));
    let away = "HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.remote.test/policy\r\n\
                Content-Length: 0\r\n\r\n";
    for (what, says) in [
        ("not found", page("404 Not Found", "text/plain", POLICY)),
        ("redirect", Says::Bytes(away.into())),
        ("web page", page("200 OK", "text/html", POLICY)),
        ("no kind", page("200 OK", "", POLICY)),
        ("too big", page("200 OK", "text/plain", &big)),
        ("broken", page("200 OK", "text/plain", "version: STSv1\nmode: enforce\n")),
        ("no HTTP", Says::Bytes(b"220 mx ESMTP\r\n".into())),
        ("nothing", Says::Bytes(Vec::new())),
    ] {
        let scene = Scene::new(says);
        let sender = scene.sender(scene.settings(Level::May));
        assert!(policy(&sender, "remote.test").sts().is_none(), "{what}");
        assert_eq!(scene.web.connections(), 1, "{what}");
        // Not again for every message, but some day.
        assert!(policy(&sender, "remote.test").sts().is_none(), "{what}");
        assert_eq!(scene.web.connections(), 1, "{what}");
        scene.web.say(page("200 OK", "text/plain", POLICY));
        scene.time.pass(300);
        assert!(policy(&sender, "remote.test").sts().is_some(), "{what}");
    }
}

#[test]
fn a_slow_site_takes_its_time_and_no_more() {
    let scene = Scene::new(Says::Nothing);
    let mut settings = scene.settings(Level::May);
    settings.sts_timeout = Duration::from_millis(300);
    let sender = scene.sender(settings);
    let (told, waits) = mpsc::channel();
    let other = told.clone();
    sender.policy("remote.test", move |policy| told.send(policy.sts().is_some()).unwrap());
    // Nobody else waits for it; who wants the same waits for the same.
    assert!(policy(&sender, "else.test").sts().is_none());
    sender.policy("remote.test", move |policy| other.send(policy.sts().is_some()).unwrap());
    assert_eq!((waits.recv(), waits.recv()), (Ok(false), Ok(false)));
    assert_eq!(scene.web.connections(), 1);
}

#[test]
fn many_slow_sites_hold_nobody_up_for_long() {
    let scene = Scene::new(page("200 OK", "text/plain", POLICY));
    let (names, all) = (scene.names.clone(), 200);
    for n in 0..all {
        names.txt(&format!("_mta-sts.d{n}.test"), "v=STSv1; id=1;");
    }
    let record = Record::Txt(b"v=STSv1; id=1;"[..].into());
    let hour = Answer { ttl: 3600, ..records(vec![record], false) };
    names.set("_mta-sts.remote.test", Kind::Txt, hour);
    // Their addresses are long in coming.
    let held: Arc<Mutex<Option<Vec<Done>>>> = Arc::new(Mutex::new(Some(Vec::new())));
    let hold = Arc::clone(&held);
    let ask = Arc::new(move |question: Question, done: Done| {
        let mut held = hold.lock().unwrap();
        match &mut *held {
            Some(held) if question.name().starts_with("mta-sts.d") => held.push(done),
            _ => {
                drop(held);
                names.answer(question, done);
            }
        }
    });
    let sender = Security::new(scene.settings(Level::May), ask, scene.time.clock());
    let (told, waits) = mpsc::channel();
    for n in 0..all {
        let told = told.clone();
        let done = move |policy: Policy| told.send(policy.sts().is_some()).unwrap();
        sender.policy(&format!("d{n}.test"), done);
    }
    // One too many does not wait, and is not forgotten.
    assert!(policy(&sender, "remote.test").sts().is_none());
    let waiting = held.lock().unwrap().take().unwrap();
    let absent = || Answer { found: Found::NoName, authentic: false, ttl: 0 };
    waiting.into_iter().for_each(|done| done(absent()));
    let patience = Duration::from_secs(30);
    assert!((0..all).all(|_| waits.recv_timeout(patience) == Ok(false)));
    scene.time.pass(60);
    assert!(policy(&sender, "remote.test").sts().is_some());
}

#[test]
fn sites_that_are_somebody_else() {
    let authority = Authority::new("CA");
    let stranger = Authority::new("Other CA");
    let name = ["mta-sts.remote.test"];
    for (what, site) in [
        ("wrong name", authority.issue(&["remote.test"])),
        ("expired", authority.issue_with(&name, crate::common::expired)),
        ("wrong CA", stranger.issue(&name)),
        ("self-signed", self_signed(&name)),
    ] {
        let authority = Authority::new("CA");
        let says = page("200 OK", "text/plain", POLICY);
        let scene = Scene::with_site(authority, &site, says);
        let sender = scene.sender(scene.settings(Level::May));
        assert!(policy(&sender, "remote.test").sts().is_none(), "{what}");
        assert!(scene.web.requests.lock().unwrap().is_empty(), "{what}");
    }
}

#[test]
fn what_was_fetched_holds() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("mta-sts");
    let scene = Scene::new(page("200 OK", "text/plain", POLICY));
    let settings = |directory: &Path| Settings {
        sts_directory: Some(directory.into()),
        ..scene.settings(Level::May)
    };
    let sender = scene.sender(settings(&directory));
    let mode = |sender: &Security| policy(sender, "remote.test").sts().map(|sts| sts.mode);
    assert_eq!(mode(&sender), Some(StsMode::Enforce));

    // The record is gone, the resolver fails, the site is down: the policy holds.
    scene.web.say(page("500 Oops", "text/plain", ""));
    scene.names.fail("_mta-sts.remote.test", Kind::Txt);
    scene.time.pass(3600);
    assert_eq!(mode(&sender), Some(StsMode::Enforce));
    scene.names.txt("_mta-sts.remote.test", "v=spf1 -all");
    scene.time.pass(3600);
    assert_eq!(mode(&sender), Some(StsMode::Enforce));
    scene.names.txt("_mta-sts.remote.test", "v=STSv1; id=2;");
    scene.time.pass(3600);
    assert_eq!(mode(&sender), Some(StsMode::Enforce));
    assert_eq!(scene.web.connections(), 2, "a new id is fetched");

    // Also after a restart.
    let again = scene.sender(settings(&directory));
    assert_eq!(mode(&again), Some(StsMode::Enforce));
    // Without the directory it would not.
    assert_eq!(mode(&scene.sender(scene.settings(Level::May))), None);

    // Until it is over.
    scene.time.pass(604_800);
    assert_eq!(mode(&sender), None);
    assert_eq!(mode(&scene.sender(settings(&directory))), None);
}

#[test]
fn a_new_id_brings_a_new_policy() {
    let scene = Scene::new(page("200 OK", "text/plain", POLICY));
    let sender = scene.sender(scene.settings(Level::May));
    let mode = || policy(&sender, "remote.test").sts().map(|sts| sts.mode);
    assert_eq!(mode(), Some(StsMode::Enforce));
    scene.web.say(page("200 OK", "text/plain", &POLICY.replace("enforce", "testing")));
    scene.time.pass(3600);
    assert_eq!(mode(), Some(StsMode::Enforce), "the same id, the same policy");
    assert_eq!(scene.web.connections(), 1);
    scene.names.txt("_mta-sts.remote.test", "v=STSv1; id=2");
    scene.time.pass(3600);
    assert_eq!(mode(), Some(StsMode::Testing));
    scene.web.say(page("200 OK", "text/plain", &POLICY.replace("enforce", "none")));
    scene.names.txt("_mta-sts.remote.test", "v=STSv1; id=3");
    scene.time.pass(3600);
    assert_eq!(mode(), None);
    assert_eq!(scene.web.connections(), 3);
}

#[test]
fn a_clock_that_was_wrong_once_keeps_nothing_for_longer() {
    const YEARS: u64 = 4 * 31_557_600;
    let scene = Scene::new(page("200 OK", "text/plain", POLICY));
    let sender = scene.sender(scene.settings(Level::May));
    let mode = || policy(&sender, "remote.test").sts().map(|sts| sts.mode);
    scene.time.pass(YEARS);
    assert_eq!(mode(), Some(StsMode::Enforce));
    scene.time.set_back(YEARS);
    assert_eq!(mode(), Some(StsMode::Enforce));
    // It is asked again after an hour, and the policy holds for a week at most.
    scene.names.txt("_mta-sts.remote.test", "v=spf1 -all");
    scene.time.pass(604_799);
    assert_eq!(mode(), Some(StsMode::Enforce));
    scene.time.pass(3600);
    assert_eq!(mode(), None);
}

#[test]
fn once_a_day_it_is_fetched_again_and_nobody_waits() {
    let scene = Scene::new(page("200 OK", "text/plain", POLICY));
    let mut settings = scene.settings(Level::May);
    settings.sts_timeout = Duration::from_secs(60);
    let sender = scene.sender(settings);
    let is_there = || policy(&sender, "remote.test").sts().is_some();
    assert!(is_there());
    scene.time.pass(86_399);
    assert!(is_there());
    assert_eq!(scene.web.connections(), 1);
    // The site does not answer any more, and holds on to the connection.
    scene.web.say(Says::Nothing);
    scene.time.pass(3600);
    for _ in 0..3 {
        assert!(is_there());
    }
    assert_eq!(scene.web.requested.lock().unwrap().iter().take(2).count(), 2);
}
