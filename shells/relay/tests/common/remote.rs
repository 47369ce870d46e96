//! A server that takes mail, or does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How a server behaves.
#[derive(Clone, Debug)]
pub(crate) struct Mood {
    pub(crate) greeting: &'static str,
    /// What EHLO offers.
    pub(crate) offers: Vec<&'static str>,
    /// Replies to lines that begin so, in place of the usual; an empty one: the connection is closed.
    pub(crate) replies: Vec<(&'static str, &'static str)>,
    /// Recipients of a transaction; more get 452.
    pub(crate) crowd: usize,
    /// Messages of a connection; MAIL after that closes it.
    pub(crate) messages: usize,
    /// With a certificate of its own.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// TLS from the start.
    pub(crate) wrapped: bool,
}

impl Default for Mood {
    fn default() -> Self {
        Self {
            greeting: "220 mx ESMTP",
            offers: vec!["PIPELINING"],
            replies: Vec::new(),
            crowd: 100,
            messages: 100,
            tls: None,
            wrapped: false,
        }
    }
}

impl Mood {
    pub(crate) fn saying(replies: &[(&'static str, &'static str)]) -> Self {
        Self { replies: replies.to_vec(), ..Self::default() }
    }

    /// Speaks TLS, and nobody vouches for it.
    pub(crate) fn secure(offers: &[&'static str]) -> Self {
        let offers = [&["STARTTLS"], offers].concat();
        Self { offers, tls: Some(self_signed()), ..Self::default() }
    }
}

/// A server on loopback.
pub(crate) struct Remote {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Remote {
    /// On this address; with port 0 on any.
    pub(crate) fn start(ip: &str, port: u16, mood: Mood) -> Self {
        let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), port)).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, lines) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (count, log) = (Arc::clone(&connections), Arc::clone(&lines));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let (mood, log) = (mood.clone(), Arc::clone(&log));
                // A client that has gone is no trouble of ours.
                thread::spawn(move || serve(stream, &mood, &log));
            }
        });
        Self { address, connections, lines }
    }

    /// As a next hop.
    pub(crate) fn hop(&self) -> String {
        format!("[{}]:{}", self.address.ip(), self.address.port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What clients said, but for greetings.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The recipients, in order.
    pub(crate) fn recipients(&self) -> Vec<String> {
        let lines = self.lines();
        let to = lines.iter().filter_map(|line| line.strip_prefix("RCPT TO:<"));
        to.map(|rest| rest.split('>').next().unwrap().to_owned()).collect()
    }
}

fn self_signed() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["mx.test".into()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// With TLS from now on.
fn secured(stream: TcpStream, config: &Arc<ServerConfig>) -> BufReader<Box<dyn Stream>> {
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    BufReader::new(Box::new(StreamOwned::new(connection, stream)))
}

fn serve(stream: TcpStream, mood: &Mood, log: &Mutex<Vec<String>>) {
    let raw = stream.try_clone().unwrap();
    let mut stream: BufReader<Box<dyn Stream>> = match &mood.tls {
        Some(config) if mood.wrapped => secured(stream, config),
        _ => BufReader::new(Box::new(stream)),
    };
    let (mut recipients, mut messages) = (0, 0);
    if !say(&mut stream, mood.greeting) {
        return;
    }
    loop {
        let mut line = Vec::new();
        if !stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            return;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        if verb != "EHLO" {
            log.lock().unwrap().push(line.clone());
        }
        if verb == "MAIL" {
            (recipients, messages) = (0, messages + 1);
            if messages > mood.messages {
                return;
            }
        }
        if let Some((_, reply)) = mood.replies.iter().find(|(start, _)| line.starts_with(start)) {
            if reply.is_empty() || !say(&mut stream, reply) {
                return;
            }
            continue;
        }
        let said = match (&*verb, &mood.tls) {
            ("EHLO", _) => {
                let offers: String =
                    mood.offers.iter().map(|offer| format!("250-{offer}\r\n")).collect();
                say(&mut stream, &format!("250-mx at your service\r\n{offers}250 HELP"))
            }
            ("STAR", Some(config)) => {
                let said = say(&mut stream, "220 go");
                stream = secured(raw.try_clone().unwrap(), config);
                said
            }
            ("RCPT", _) if recipients >= mood.crowd => {
                say(&mut stream, "452 4.5.3 Too many recipients")
            }
            ("RCPT", _) => {
                recipients += 1;
                say(&mut stream, "250 2.1.5 Ok")
            }
            ("DATA", _) => {
                say(&mut stream, "354 go on")
                    && data(&mut stream, log)
                    && say(&mut stream, "250 2.0.0 Ok: queued as 7")
            }
            ("QUIT", _) => {
                say(&mut stream, "221 2.0.0 Bye");
                return;
            }
            _ => say(&mut stream, "250 2.0.0 Ok"),
        };
        if !said {
            return;
        }
    }
}

fn say(stream: &mut BufReader<Box<dyn Stream>>, text: &str) -> bool {
    let to = stream.get_mut();
    write!(to, "{text}\r\n").and_then(|()| to.flush()).is_ok()
}

fn data(from: &mut impl BufRead, log: &Mutex<Vec<String>>) -> bool {
    let mut body = String::new();
    loop {
        let mut line = String::new();
        match from.read_line(&mut line) {
            Ok(count) if count > 0 => {}
            _ => return false,
        }
        if line == ".\r\n" {
            log.lock().unwrap().push(body);
            return true;
        }
        body.push_str(&line);
    }
}
