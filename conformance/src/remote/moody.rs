//! A host that takes some messages, defers some, goes away in the middle of others, and remembers all
//! of it. What it does is decided by the recipient, `m17@...`, and by how often it was asked for.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::PATIENCE;

/// One message that came whole.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// When.
    pub at: Instant,
    /// What was said to it.
    pub answer: Answer,
}

/// What became of one message that came whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 250 was said, and the client said something after it: it has heard.
    Heard,
    /// 250 was said, and the client was not heard of again.
    Said,
    /// The host went away without a word.
    Lost,
}

/// Deliveries by recipient, in order.
pub type Deliveries = BTreeMap<String, Vec<Delivery>>;

/// The host; it lives as long as the process.
#[derive(Clone)]
pub struct Moody {
    /// Where it listens.
    pub port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    connections: usize,
    asked: BTreeMap<String, usize>,
    deliveries: Deliveries,
    /// Messages that were not whole: never counted as delivered.
    torn: usize,
}

impl Moody {
    /// Starts it at the address of `mx`, 127.0.0.2.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0))?;
        let port = listener.local_addr()?.port();
        let moody = Self { port, shared: Arc::default() };
        let host = moody.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let host = host.clone();
                thread::spawn(move || host.serve(stream));
            }
        });
        Ok(moody)
    }

    /// What came so far.
    pub fn deliveries(&self) -> Deliveries {
        self.state(|state| state.deliveries.clone())
    }

    /// Waits until `enough` says so; at most for a while, then false.
    pub fn wait(&self, enough: impl Fn(&Deliveries) -> bool) -> bool {
        let started = Instant::now();
        let mut state = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !enough(&state.deliveries) {
            let left = PATIENCE.saturating_sub(started.elapsed());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.1.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = act(&mut self.shared.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.1.notify_all();
        done
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut out = stream.try_clone().ok()?;
        let mut input = BufReader::new(stream);
        let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes()).ok();
        let connection = self.state(|state| {
            state.connections += 1;
            state.connections
        });
        if connection.is_multiple_of(13) {
            return say("421 4.3.2 not now");
        }
        say("220 mx.remote.test ESMTP")?;
        let mut recipients: Vec<(String, usize)> = Vec::new();
        // What was said 250 to, and whether the client has heard.
        let mut unheard: Vec<(String, usize)> = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            if input.read_line(&mut line).ok()? == 0 {
                return None;
            }
            self.heard(&mut unheard);
            let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
            match &*verb {
                "EHLO" => say("250-mx.remote.test\r\n250 PIPELINING")?,
                "MAIL" => {
                    recipients.clear();
                    say("250 2.1.0 Ok")?;
                }
                "RCPT" => {
                    let name = line.split(['<', '@']).nth(1).unwrap_or_default().to_owned();
                    let times = self.state(|state| {
                        let times = state.asked.entry(name.clone()).or_default();
                        *times += 1;
                        *times
                    });
                    match (times, mood(&name)) {
                        (1, 1) => say("450 4.2.0 greylisted")?,
                        (1, 2) => return None,
                        _ => {
                            recipients.push((name, times));
                            say("250 2.1.5 Ok")?;
                        }
                    }
                }
                "DATA" if recipients.is_empty() => say("554 5.5.1 no valid recipients")?,
                "DATA" => {
                    say("354 go on")?;
                    if !whole(&mut input) {
                        self.state(|state| state.torn += 1);
                        return None;
                    }
                    let (name, times) = recipients.first().cloned()?;
                    match (times, mood(&name)) {
                        (1, 3) => say("451 4.3.0 not now")?,
                        (1, 4) => {
                            self.deliver(&name, Answer::Lost);
                            return None;
                        }
                        _ => {
                            for (name, _) in recipients.drain(..) {
                                unheard.push((name.clone(), self.deliver(&name, Answer::Said)));
                            }
                            say("250 2.0.0 Ok: queued")?;
                        }
                    }
                }
                "QUIT" => return say("221 2.0.0 Bye"),
                _ => say("250 2.0.0 Ok")?,
            }
        }
    }

    fn deliver(&self, name: &str, answer: Answer) -> usize {
        self.state(|state| {
            let all = state.deliveries.entry(name.to_owned()).or_default();
            all.push(Delivery { at: Instant::now(), answer });
            all.len() - 1
        })
    }

    fn heard(&self, unheard: &mut Vec<(String, usize)>) {
        for (name, at) in unheard.drain(..) {
            self.state(|state| {
                if let Some(delivery) = state.deliveries.get_mut(&name).and_then(|d| d.get_mut(at))
                {
                    delivery.answer = Answer::Heard;
                }
            });
        }
    }
}

/// What the host does to the first attempt: 0, 5, 6 are taken.
fn mood(name: &str) -> usize {
    name.trim_start_matches('m').parse::<usize>().unwrap_or(0) % 7
}

/// Reads a message; false when it does not end with its dot, or is not whole.
fn whole(input: &mut impl BufRead) -> bool {
    let (mut line, mut before) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return false;
        }
        if line == b".\r\n" {
            return before == b"the last line of the message\r\n";
        }
        std::mem::swap(&mut line, &mut before);
    }
}
