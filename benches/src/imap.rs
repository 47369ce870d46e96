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

/// Commands per second of ten sessions at once, each of which goes through the mailbox: FETCH of one
/// message's flags and size, and a NOOP after each.
pub(crate) fn commands(
    server: &Server,
    user: &str,
    count: usize,
    rounds: usize,
) -> Result<f64, String> {
    const SESSIONS: usize = 10;
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = log_in(server, user)?;
        command(&mut client, b"SELECT Bench")?;
        clients.push(client);
    }
    let started = Instant::now();
    let go = |mut client: Client| {
        for n in (0..rounds).flat_map(|_| 1..=count) {
            command(&mut client, format!("FETCH {n} (FLAGS RFC822.SIZE)").as_bytes())?;
            command(&mut client, b"NOOP")?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let sessions: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || go(client))).collect();
        sessions.into_iter().try_for_each(|it| it.join().map_err(|_| "a session panicked")?)
    })
    .map_err(|error: String| error)?;
    Ok((2 * SESSIONS * rounds * count) as f64 / started.elapsed().as_secs_f64())
}
