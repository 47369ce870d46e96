//! IMAP commands per second.

use crate::server::Server;
use std::time::Instant;
use waypost_conformance::net::Client;
use waypost_conformance::replay::command;
use waypost_conformance::rig::SEED_PASSWORD;

/// A session after its greeting.
pub(crate) fn connect(server: &Server) -> Result<Client, String> {
    let link = server.imaps.dial(None).map_err(|e| e.to_string())?;
    let mut client = Client::new(link);
    client.secure(&server.tls, "mail.example.com").map_err(|e| e.to_string())?;
    client.line().map_err(|e| e.to_string())?;
    Ok(client)
}

/// A session that is logged in.
pub(crate) fn log_in(server: &Server, user: &str) -> Result<Client, String> {
    let mut client = connect(server)?;
    command(&mut client, format!("LOGIN {user} {SEED_PASSWORD}").as_bytes())?;
    Ok(client)
}

/// Makes the mailbox `Bench` of `user` hold `count` messages.
pub(crate) fn fill(server: &Server, user: &str, count: usize) -> Result<(), String> {
    let mut client = log_in(server, user)?;
    command(&mut client, b"CREATE Bench")?;
    let text = crate::smtp::message(4_000);
    for _ in 0..count {
        let append = format!("APPEND Bench (\\Seen) {{{}+}}\r\n{text}", text.len());
        command(&mut client, append.as_bytes())?;
    }
    command(&mut client, b"LOGOUT")
}

/// Sessions per second of login, SELECT, FETCH of all envelopes, logout.
pub(crate) fn envelopes(
    server: &Server,
    user: &str,
    count: usize,
    rounds: usize,
) -> Result<f64, String> {
    let started = Instant::now();
    for _ in 0..rounds {
        let mut client = log_in(server, user)?;
        command(&mut client, b"SELECT Bench")?;
        command(&mut client, format!("FETCH 1:{count} (UID FLAGS ENVELOPE)").as_bytes())?;
        command(&mut client, b"LOGOUT")?;
    }
    Ok(rounds as f64 / started.elapsed().as_secs_f64())
}

/// Bodies per second, one FETCH each, over one session.
pub(crate) fn bodies(
    server: &Server,
    user: &str,
    count: usize,
    rounds: usize,
) -> Result<f64, String> {
    let mut client = log_in(server, user)?;
    command(&mut client, b"SELECT Bench")?;
    let started = Instant::now();
    for _ in 0..rounds {
        for n in 1..=count {
            command(&mut client, format!("FETCH {n} BODY.PEEK[]").as_bytes())?;
        }
    }
    Ok((rounds * count) as f64 / started.elapsed().as_secs_f64())
}
