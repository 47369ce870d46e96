//! Senders that deliver through SMTP, and the time until everything lies in Maildirs.

use crate::server::Server;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use waypost_conformance::net::Client;
use waypost_conformance::replay::reply;

/// One run.
pub(crate) struct Load {
    /// Connections at once; each sends one message after the other.
    pub(crate) senders: usize,
    /// Bytes of a message, about.
    pub(crate) size: usize,
    /// Messages in all, at most.
    pub(crate) messages: usize,
    /// No message is begun after this time.
    pub(crate) time: Duration,
    /// Recipients in turn: u00000 up to this many.
    pub(crate) recipients: usize,
}

/// What came of it.
pub(crate) struct Done {
    /// Messages that were sent and delivered.
    pub(crate) messages: usize,
    /// The same per second, from the first connection until the last lies in its Maildir.
    pub(crate) rate: f64,
}

/// Sends, and waits until all is delivered.
pub(crate) fn run(server: &Server, load: &Load) -> Result<Done, String> {
    let before = server.delivered()?;
    let text = message(load.size);
    let (next, sent, failure) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..load.senders.min(load.messages) {
            scope.spawn(|| match sender(server, load, &text, &next, started) {
                Ok(messages) => drop(sent.fetch_add(messages, Ordering::Relaxed)),
                Err(problem) => {
                    *failure.lock().expect("no sender panics") = Some(problem);
                }
            });
        }
    });
    if let Some(problem) = failure.into_inner().expect("no sender panics") {
        return Err(problem);
    }
    server.wait_until_idle()?;
    let took = started.elapsed();
    let (delivered, messages) = (server.delivered()? - before, sent.into_inner());
    if delivered != messages {
        return Err(format!("{delivered} messages are in Maildirs, {messages} were sent"));
    }
    let rate = messages as f64 / took.max(Duration::from_micros(1)).as_secs_f64();
    Ok(Done { messages, rate })
}

/// One connection; how many messages it has sent.
fn sender(
    server: &Server,
    load: &Load,
    text: &str,
    next: &AtomicUsize,
    started: Instant,
) -> Result<usize, String> {
    let link = server.smtp.dial(None).map_err(|e| e.to_string())?;
    let mut client = Client::new(link);
    reply(&mut client, b"220")?;
    let mut say = |line: &str, code: &[u8]| {
        client.send(line.as_bytes()).map_err(|e| e.to_string())?;
        reply(&mut client, code).map_err(|e| format!("{}: {e}", line.trim_end()))
    };
    say("EHLO client.example.net\r\n", b"250")?;
    let mut sent = 0;
    while started.elapsed() < load.time {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= load.messages {
            break;
        }
        say("MAIL FROM:<someone@elsewhere.test>\r\n", b"250")?;
        say(&format!("RCPT TO:<u{:05}@example.com>\r\n", n % load.recipients), b"250")?;
        say("DATA\r\n", b"354")?;
        say(text, b"250")?;
        sent += 1;
    }
    say("QUIT\r\n", b"221")?;
    Ok(sent)
}

/// A message of about `size` bytes, ready for DATA.
pub(crate) fn message(size: usize) -> String {
    let mut text = String::from(
        "From: <someone@elsewhere.test>\r\nTo: <you@example.com>\r\nSubject: load\r\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <load@client.example.net>\r\n\r\n",
    );
    while text.len() + 72 < size {
        text.push_str(&"0123456789".repeat(7));
        text.push_str("\r\n");
    }
    text.push_str(".\r\n");
    text
}
