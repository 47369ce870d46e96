//! What clients say in the sessions, as first inputs for the fuzz targets: `fuzz/corpus/TARGET/session-..`.
//!
//! One input for each connection of each script. The two octets before the text choose settings and
//! freedoms, as the targets read them; a handshake is an octet of its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::notation::{Event, Script, What};
use crate::pattern::Names;

/// Longer ones say the same again and again.
const LONGEST: usize = 1500;
/// Between what comes before a handshake and what comes after it.
const HANDSHAKE: u8 = 0x1e;

/// Contents by their path in `fuzz/corpus`.
pub fn seeds(scripts: &[Script]) -> BTreeMap<String, Vec<u8>> {
    let mut seeds = BTreeMap::new();
    let mut known = BTreeSet::new();
    for script in scripts {
        for (n, connection) in connections(script).into_iter().enumerate() {
            let Some((target, settings)) = target(&connection.service) else { continue };
            if connection.text.is_empty() || !known.insert((target, connection.text.clone())) {
                continue;
            }
            let name = script.name.replace('/', "-");
            let number = if n == 0 { String::new() } else { format!("-{}", n + 1) };
            let file = format!("session-{name}{number}");
            let laws = [&[settings, 40], &*connection.text].concat();
            seeds.insert(format!("{target}-session/{file}"), laws);
            let operations = [&[settings, OPERATIONS.len() as u8], OPERATIONS, &connection.text];
            seeds.insert(format!("{target}-operations/{file}"), operations.concat());
        }
    }
    seeds
}

/// Drain, some octets, a little room, an answer, a tick, many octets, a long time.
const OPERATIONS: &[u8] = b"\x07\x60\x35\x07\x90\x09\x0c\xe2\x07\x09\x45\x0b\x0a\xf1\x07";

struct Connection {
    service: String,
    text: Vec<u8>,
}

/// The target for a service, without what it does with the text, and its settings.
fn target(service: &str) -> Option<(&'static str, u8)> {
    Some(match service {
        "smtp" => ("smtp", 0),
        "submission" => ("smtp", 1),
        "submissions" => ("smtp", 4),
        // In clear, and not logged in.
        "imap" | "imaps" => ("imap", 1),
        "auth" => ("auth", 0),
        _ => return None,
    })
}

fn connections(script: &Script) -> Vec<Connection> {
    let names: Names =
        [("user", "u"), ("password", "p"), ("pass", "p"), ("host", "mail.example.com")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
    let mut all: Vec<Connection> = Vec::new();
    for step in &script.steps {
        if !step.only.is_empty() && !step.only.iter().any(|name| name == "waypost") {
            continue;
        }
        match &step.what {
            What::Event(Event::Connect { service, .. }) => {
                all.push(Connection { service: service.clone(), text: Vec::new() });
            }
            What::Event(Event::LoggedIn(_)) => add(&mut all, b"a001 LOGIN u p\r\n", 1),
            What::Event(Event::Tls) => {
                // TLS from the start is a setting.
                let open = all.last_mut().filter(|open| !open.text.is_empty());
                open.into_iter().for_each(|open| open.text.push(HANDSHAKE));
            }
            What::Send { text, times, .. } => {
                if let Ok(text) = text.fill(&names) {
                    add(&mut all, &text, *times);
                }
            }
            What::Event(_) | What::Expect { .. } => {}
        }
    }
    all
}

fn add(all: &mut [Connection], text: &[u8], times: usize) {
    let Some(open) = all.last_mut() else { return };
    for _ in 0..times {
        if open.text.len() + text.len() <= LONGEST {
            open.text.extend_from_slice(text);
        }
    }
}
