//! Other servers on loopback, a zone in a table, and a runtime of threads.

pub(crate) mod remote;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use waypost_dns::{Answer, Failure, Found, Question, Record};
use waypost_driver::{Conn, Effect, Fault, TlsConfigs};
use waypost_mail::{Address, ReversePath};
use waypost_relay::{Dial, Event, Relay, Resolve, Settings, Wish};
use waypost_smtp::client::{Mail, Read as Piece, Reply, To};
use waypost_tls::{Defaults, Level, PolicyTable};
use waypost_tls_client::{Ask, Security};
use waypost_world::carrier::{Body, Carried, Carrier, Consignment};
use waypost_world::{Clock, SystemClock};

/// Long enough for everything that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const BODY: &str = "Subject: hello\r\n\r\n.dot\r\n";

/// A relay with its surroundings.
pub(crate) struct Bench {
    pub(crate) relay: Relay,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

impl Bench {
    /// With these lines of a zone: `name TYPE data`; `!` for what cannot be told now.
    pub(crate) fn new(zone: &str, change: impl FnOnce(&mut Settings)) -> Self {
        Self::secured(zone, Level::None, change)
    }

    pub(crate) fn secured(zone: &str, level: Level, change: impl FnOnce(&mut Settings)) -> Self {
        let table = PolicyTable::new(Defaults { level, ..Defaults::default() }).unwrap();
        let tls = waypost_tls_client::Settings { table, ..Default::default() };
        Self::with(zone, tls, None, change)
    }

    /// `port`: where those listen who should listen at port 25.
    pub(crate) fn with(
        zone: &str,
        tls: waypost_tls_client::Settings,
        port: Option<u16>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::dialing(zone, tls, Arc::new(Threads(Arc::new(SystemClock::default()), port)), change)
    }

    pub(crate) fn dialing(
        zone: &str,
        tls: waypost_tls_client::Settings,
        dial: Arc<dyn Dial>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings::new("mail.example.com");
        settings.ipv6 = false;
        change(&mut settings);
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let zone = Arc::new(Zone::new(zone));
        let names = Arc::clone(&zone);
        let ask: Ask = Arc::new(move |question, done| names.ask(question, done));
        let security = Security::new(tls, ask, Arc::new(|| 1_795_333_822));
        let relay = Relay::new(
            settings,
            clock,
            dial,
            zone,
            security,
            Arc::new(move |event| log.lock().unwrap().push(event)),
        );
        Self { relay, events }
    }

    /// Begins to send; the outcome comes from the channel.
    pub(crate) fn begin(&self, nexthop: &str, recipients: &[&str]) -> Receiver<Carried> {
        let (send, receive) = channel();
        let done = Box::new(move |carried| {
            let _ = send.send(carried);
        });
        self.relay.carry(consignment(nexthop, recipients), done);
        receive
    }

    pub(crate) fn send(&self, nexthop: &str, recipients: &[&str]) -> Carried {
        self.begin(nexthop, recipients).recv_timeout(PATIENCE).expect("an outcome")
    }

    /// `fate status text` for each recipient.
    pub(crate) fn words(&self, nexthop: &str, recipients: &[&str]) -> Vec<String> {
        words(&self.send(nexthop, recipients))
    }
}

pub(crate) fn words(carried: &Carried) -> Vec<String> {
    let word = |passed: &waypost_world::carrier::Passed| {
        let diagnosis = &passed.diagnosis;
        format!("{:?} {} {}", passed.fate, diagnosis.status, diagnosis.text)
    };
    carried.recipients.iter().map(word).collect()
}

fn consignment(nexthop: &str, recipients: &[&str]) -> Consignment {
    let address = |text: &&str| Address::parse(text).unwrap();
    let to = |text| To { address: address(text), notify: None, orcpt: None };
    let mail = Mail {
        id: 1,
        sender: ReversePath::Address(address(&"mail001@example.com")),
        recipients: recipients.iter().map(to).collect(),
        size: BODY.len() as u64,
        body: waypost_mail::Body::SevenBit,
        smtputf8: false,
        utf8_header: false,
        ret: None,
        envid: None,
    };
    Consignment {
        queue_id: "CADDB142031".into(),
        nexthop: nexthop.into(),
        mail: Arc::new(mail),
        body: Arc::new(Text),
    }
}

struct Text;

impl Body for Text {
    fn read(&self, from: u64, len: usize, done: Box<dyn FnOnce(Piece) + Send>) {
        let from = usize::try_from(from).unwrap().min(BODY.len());
        let to = BODY.len().min(from + len.min(10));
        let bytes = Bytes::from_static(&BODY.as_bytes()[from..to]);
        done(Piece::Block { bytes, end: to == BODY.len() });
    }
}

/// Names that are not mentioned do not exist.
struct Zone(BTreeMap<String, Vec<(String, String)>>);

impl Zone {
    fn new(text: &str) -> Self {
        let mut zone: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (name, kind, data) = (word(), word(), word());
            zone.entry(name).or_default().push((kind, data));
        }
        Self(zone)
    }
}

impl Resolve for Zone {
    fn ask(&self, question: Question, done: Box<dyn FnOnce(Answer) + Send>) {
        let found = |found| Answer { found, authentic: false, ttl: 60 };
        let Some(entries) = self.0.get(question.name()) else { return done(found(Found::NoName)) };
        let kind = question.kind().to_string();
        let mut records = Vec::new();
        for (_, data) in entries.iter().filter(|(of, _)| *of == kind) {
            records.push(match data.split_once(' ') {
                _ if data == "!" => return done(Answer::unavailable(Failure::ServFail)),
                Some((preference, exchange)) => Record::Mx {
                    preference: preference.parse().unwrap(),
                    exchange: exchange.trim_end_matches('.').into(),
                },
                None if kind == "AAAA" => Record::Aaaa(data.parse().unwrap()),
                None => Record::A(data.parse().unwrap()),
            });
        }
        done(found(if records.is_empty() { Found::NoData } else { Found::Records(records) }));
    }
}

/// A thread for each connection, and one that reads for it.
struct Threads(Arc<dyn Clock>, Option<u16>);

impl Dial for Threads {
    fn dial(&self, wish: Wish) {
        let clock = Arc::clone(&self.0);
        let mut address = wish.address();
        if let Some(port) = self.1 {
            address.set_port(port);
        }
        thread::spawn(move || match TcpStream::connect_timeout(&address, wish.timeout()) {
            Ok(stream) => drive(wish, stream, &*clock),
            Err(error) => wish.failed(&error),
        });
    }
}

enum Arrived {
    Bytes(Bytes),
    Eof,
    Answer(waypost_machine::Answer<Reply>),
}

fn read(mut stream: TcpStream, to: &Sender<Arrived>) {
    let mut buffer = [0; 4096];
    loop {
        let arrived = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => Arrived::Eof,
            Ok(count) => Arrived::Bytes(Bytes::copy_from_slice(&buffer[..count])),
        };
        let end = matches!(arrived, Arrived::Eof);
        if to.send(arrived).is_err() || end {
            return;
        }
    }
}

fn drive(wish: Wish, mut stream: TcpStream, clock: &dyn Clock) {
    let Some(started) = wish.connected() else { return };
    let mut line = started.line;
    let tls = TlsConfigs { server: None, client: started.tls };
    let mut conn = Conn::new(1, started.machine, tls, waypost_driver::Settings::default());
    let (send, arrived) = channel();
    let (reader, from) = (send.clone(), stream.try_clone().unwrap());
    thread::spawn(move || read(from, &reader));
    loop {
        conn.pump(clock.now(), |effect| match effect {
            Effect::Call(call) => {
                let send = send.clone();
                line.call(call, move |answer| drop(send.send(Arrived::Answer(answer))));
            }
            Effect::Cancel(id) => line.cancel(id),
            Effect::Fact(fact) => line.fact(fact),
            Effect::Secured(_) => {}
            Effect::Fault(fault) => line.fault(matches!(fault, Fault::Tls(_)), &fault.to_string()),
        });
        if let Some(why) = conn.closed() {
            line.ended(conn.machine().protocol(), why);
        }
        if conn.wants_write() && conn.write_to(clock.now(), &mut Blocking(&mut stream)) {
            continue;
        }
        if conn.finished() {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        let deadline = conn.deadline().map_or(PATIENCE, |at| at.since(clock.mono()));
        match arrived.recv_timeout(deadline.min(PATIENCE)) {
            Ok(Arrived::Bytes(bytes)) => conn.received(bytes),
            Ok(Arrived::Eof) => conn.eof(),
            Ok(Arrived::Answer(answer)) => conn.answer(clock.now(), answer),
            Err(_) => conn.tick(clock.now()),
        }
    }
}

struct Blocking<'s>(&'s mut TcpStream);

impl Write for Blocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
