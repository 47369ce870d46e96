//! Mail of users to other servers: through submission and the queue into ten smtp-sinks.

use crate::server::Server;
use crate::smtp::{Load, message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use waypost_conformance::net::Client;
use waypost_conformance::replay::reply;
use waypost_conformance::rig::{Rig, SEED_PASSWORD, free_ports};

/// Other servers, and the domains whose mail they take.
pub(crate) struct Sinks {
    sinks: Vec<Child>,
    ports: Vec<u16>,
}

impl Sinks {
    /// Starts as many of Postfix's smtp-sink.
    pub(crate) fn start(count: u16) -> Result<Self, String> {
        let mut all = Self { sinks: Vec::new(), ports: free_ports(count) };
        for port in &all.ports {
            // The second argument is the backlog of connections.
            let child = Command::new("/usr/sbin/smtp-sink")
                .args(["-u", "postfix", "-m", "256", &format!("127.0.0.1:{port}"), "256"])
                .stdin(Stdio::null())
                .spawn();
            all.sinks.push(child.map_err(|e| format!("smtp-sink: {e}"))?);
        }
        for port in &all.ports {
            let started = Instant::now();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            while TcpStream::connect(address).is_err() {
                if started.elapsed() > Duration::from_secs(10) {
                    return Err(format!("smtp-sink does not listen on {address}"));
                }
                std::thread::yield_now();
            }
        }
        Ok(all)
    }

    /// Domains, and where their mail goes: `sink0.test`, port.
    pub(crate) fn domains(&self) -> impl Iterator<Item = (String, u16)> {
        self.ports.iter().enumerate().map(|(n, port)| (format!("sink{n}.test"), *port))
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        for sink in &mut self.sinks {
            // Gone already is as good.
            let _ = sink.kill();
            let _ = sink.wait();
        }
    }
}

/// Messages per second, from the first connection until the last has left the queue.
pub(crate) fn run(server: &Server, sinks: &Sinks, load: &Load) -> Result<f64, String> {
    let text = message(load.size);
    let (next, sent, failure) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for user in 0..load.senders {
            let (text, next, sent, failure) = (&text, &next, &sent, &failure);
            scope.spawn(move || match sender(server, sinks, load, user, text, next, started) {
                Ok(messages) => drop(sent.fetch_add(messages, Ordering::Relaxed)),
                Err(problem) => *failure.lock().expect("no sender panics") = Some(problem),
            });
        }
    });
    if let Some(problem) = failure.into_inner().expect("no sender panics") {
        return Err(problem);
    }
    server.wait_until_idle()?;
    let took = started.elapsed();
    server.nothing_deferred()?;
    Ok(sent.into_inner() as f64 / took.max(Duration::from_micros(1)).as_secs_f64())
}

/// One user with one connection; how many messages it has sent.
fn sender(
    server: &Server,
    sinks: &Sinks,
    load: &Load,
    user: usize,
    text: &str,
    next: &AtomicUsize,
    started: Instant,
) -> Result<usize, String> {
    let link = server.submission.dial(None).map_err(|e| e.to_string())?;
    let mut client = Client::new(link);
    reply(&mut client, b"220")?;
    say(&mut client, "EHLO client.example.net\r\n", b"250")?;
    say(&mut client, "STARTTLS\r\n", b"220")?;
    client.secure(&server.tls, "mail.example.com").map_err(|e| e.to_string())?;
    say(&mut client, "EHLO client.example.net\r\n", b"250")?;
    let login = STANDARD.encode(format!("\0u{user:05}\0{SEED_PASSWORD}"));
    say(&mut client, &format!("AUTH PLAIN {login}\r\n"), b"235")?;
    let domains: Vec<_> = sinks.domains().map(|(domain, _)| domain).collect();
    let mut sent = 0;
    while started.elapsed() < load.time {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= load.messages {
            break;
        }
        let domain = &domains[n % domains.len()];
        say(&mut client, &format!("MAIL FROM:<u{user:05}@example.com>\r\n"), b"250")?;
        say(&mut client, &format!("RCPT TO:<someone{n}@{domain}>\r\n"), b"250")?;
        say(&mut client, "DATA\r\n", b"354")?;
        say(&mut client, text, b"250")?;
        sent += 1;
    }
    say(&mut client, "QUIT\r\n", b"221")?;
    Ok(sent)
}

fn say(client: &mut Client, line: &str, code: &[u8]) -> Result<(), String> {
    client.send(line.as_bytes()).map_err(|e| e.to_string())?;
    reply(client, code).map(drop).map_err(|e| format!("{}: {e}", line.trim_end()))
}

/// Tells the rig's Postfix where the sinks are. They have no certificates, so TLS is off.
pub(crate) fn route_postfix(rig: &Rig, sinks: &Sinks) -> Result<(), String> {
    let etc = rig.dir().join("postfix/etc");
    let lines = sinks.domains().map(|(domain, port)| format!("{domain} smtp:[127.0.0.1]:{port}\n"));
    let table = etc.join("transport");
    let mut text = fs::read_to_string(&table).map_err(|e| format!("{}: {e}", table.display()))?;
    text.extend(lines);
    fs::write(&table, text).map_err(|e| format!("{}: {e}", table.display()))?;
    for command in [&["postconf", "-e", "smtp_tls_security_level=none"][..], &["postfix", "reload"]]
    {
        let output = Command::new(format!("/usr/sbin/{}", command[0]))
            .arg("-c")
            .arg(&etc)
            .args(&command[1..])
            .output()
            .map_err(|e| format!("{}: {e}", command[0]))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    Ok(())
}

/// The same for Waypost, as the value of `relay.transport_maps`.
pub(crate) fn transport_maps(sinks: &Sinks) -> String {
    let each =
        sinks.domains().map(|(domain, port)| format!("[\"{domain}\", \"[127.0.0.1]:{port}\"]"));
    format!("[{}]", each.collect::<Vec<_>>().join(", "))
}
