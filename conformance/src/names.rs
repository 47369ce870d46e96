//! A name server of a test, for whoever needs no real one: zones in text, by UDP.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Records by name and type.
type Zone = BTreeMap<(String, u16), Vec<Vec<u8>>>;

/// It answers until it is dropped.
pub struct Names {
    /// Where it listens.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    /// Answers say that they were validated.
    authentic: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
}

impl Names {
    /// Starts it, without names: all of them are unknown.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start() -> std::io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let zone = Arc::new(Mutex::new(Zone::new()));
        let (authentic, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (known, validates, over) =
            (Arc::clone(&zone), Arc::clone(&authentic), Arc::clone(&end));
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((len, from)) = socket.recv_from(&mut buffer)
                && !over.load(Ordering::Relaxed)
            {
                let zone = known.lock().unwrap_or_else(PoisonError::into_inner);
                let ad = validates.load(Ordering::Relaxed);
                if let Some(answer) = answer(&buffer[..len], &zone, ad) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(Self { address, zone, authentic, end })
    }

    /// From now on it says that its answers were validated, or that they were not.
    pub fn validate(&self, authentic: bool) {
        self.authentic.store(authentic, Ordering::Relaxed);
    }

    /// Adds records, one a line: `name A 127.0.0.1`, `name MX 10 host`, `name TXT text`,
    /// `name TLSA 3 1 1 HEX`.
    ///
    /// # Errors
    /// A line that is none of these.
    pub fn add(&self, text: &str) -> Result<(), String> {
        for line in text.lines() {
            let bad = || format!("not a record: {line}");
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            let [name, kind, data] = words[..] else { return Err(bad()) };
            let (kind, data) = record(kind, data).ok_or_else(bad)?;
            let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
            zone.entry((name.to_ascii_lowercase(), kind)).or_default().push(data);
        }
        Ok(())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(b"end", self.address);
        }
    }
}

fn record(kind: &str, data: &str) -> Option<(u16, Vec<u8>)> {
    Some(match kind {
        "A" => (1, data.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        "MX" => {
            let (preference, host) = data.split_once(' ')?;
            let preference: u16 = preference.parse().ok()?;
            (15, [&preference.to_be_bytes()[..], &wire(host)].concat())
        }
        "TXT" => (16, [&[u8::try_from(data.len()).ok()?], data.as_bytes()].concat()),
        "TLSA" => {
            let words: Vec<&str> = data.split(' ').collect();
            let [usage, selector, matching, hex] = words[..] else { return None };
            let mut bytes =
                vec![usage.parse().ok()?, selector.parse().ok()?, matching.parse().ok()?];
            for at in (0..hex.len()).step_by(2) {
                bytes.push(u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?);
            }
            (52, bytes)
        }
        _ => return None,
    })
}

/// A name as packets have it.
fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The answer to a packet (RFC 1035 4).
fn answer(packet: &[u8], zone: &Zone, authentic: bool) -> Option<Vec<u8>> {
    let (id, mut rest) = (packet.get(..2)?, packet.get(12..)?);
    let mut labels: Vec<String> = Vec::new();
    loop {
        let (&len, after) = rest.split_first()?;
        let (label, after) = after.split_at_checked(len.into())?;
        rest = after;
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
    let kind = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
    let question = packet.get(12..packet.len() - rest.len() + 4)?;
    let name = labels.join(".");
    let none = Vec::new();
    let records = zone.get(&(name.clone(), kind)).unwrap_or(&none);
    let known = zone.keys().any(|(other, _)| {
        *other == name || other.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.'))
    });
    let ad = if authentic { 0x20 } else { 0 };
    let code = if known { 0 } else { 3 };
    let mut answer = [id, &[0x81, 0x80 | ad | code, 0, 1]].concat();
    answer.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend_from_slice(question);
    for data in records {
        // The name of the question, for a minute.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend_from_slice(data);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_dns::{Found, Kind, Question, Record};
    use waypost_resolver::{Resolver, Settings};
    use waypost_world::{Clock, SystemClock};

    #[test]
    fn our_resolver_understands_it() {
        let names = Names::start().unwrap();
        names.add("a.test MX 10 mx.a.test\nmx.a.test A 127.0.0.2\na.test TXT v=x y").unwrap();
        names.add("_25._tcp.mx.a.test TLSA 3 1 1 00ff\nnull.test MX 0 .").unwrap();
        assert!(names.add("a.test NAPTR x").is_err());
        let clock = SystemClock::default();
        let settings = Settings { servers: vec![names.address], ..Settings::default() };
        let resolver = Resolver::start(settings, move || clock.now()).unwrap();
        let ask = |name: &str, kind| {
            let (to, from) = std::sync::mpsc::channel();
            let question = Question::new(name, kind).unwrap();
            resolver.ask(question, move |answer| to.send(answer).unwrap());
            from.recv().unwrap()
        };
        let exchanger = |preference, exchange: &str| {
            Found::Records(vec![Record::Mx { preference, exchange: exchange.into() }])
        };
        assert_eq!(ask("A.test", Kind::Mx).found, exchanger(10, "mx.a.test"));
        assert_eq!(ask("null.test", Kind::Mx).found, exchanger(0, ""));
        let two = Record::A([127, 0, 0, 2].into());
        assert_eq!(ask("mx.a.test", Kind::A).found, Found::Records(vec![two]));
        let text = Record::Txt((*b"v=x y").into());
        assert_eq!(ask("a.test", Kind::Txt).found, Found::Records(vec![text]));
        names.validate(true);
        let tlsa = ask("_25._tcp.mx.a.test", Kind::Tlsa);
        assert!(tlsa.authentic && matches!(tlsa.found, Found::Records(_)));
        assert_eq!(ask("mx.a.test", Kind::Aaaa).found, Found::NoData);
        assert_eq!(ask("b.test", Kind::A).found, Found::NoName);
    }
}
