//! Memory of a server: the proportional set size of all its processes, which counts a page that n
//! processes share as 1/n of a page in each.

use crate::imap;
use crate::server::Server;
use std::collections::BTreeSet;
use std::fs;
use waypost_conformance::replay::command;

/// KiB of all processes of the server.
pub(crate) fn kib(server: &Server) -> Result<f64, String> {
    let mut total = 0.0;
    for pid in family(server.masters()) {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap_or_default();
        let number = line.trim().trim_end_matches(" kB");
        total += number.parse::<f64>().unwrap_or_default();
    }
    if total > 0.0 { Ok(total) } else { Err("no process of the server is found".into()) }
}

/// What each of `count` sessions that idle in INBOX adds, in KiB.
pub(crate) fn per_idle_session(server: &Server, count: usize) -> Result<f64, String> {
    let before = kib(server)?;
    let mut sessions = Vec::new();
    for n in 0..count {
        let mut client = imap::log_in(server, &format!("u{:05}", n % 50))?;
        command(&mut client, b"SELECT INBOX")?;
        client.send(b"a002 IDLE\r\n").map_err(|e| e.to_string())?;
        client.line().map_err(|e| e.to_string())?;
        sessions.push(client);
    }
    let after = kib(server)?;
    drop(sessions);
    Ok((after - before) / count as f64)
}

/// The processes and all their descendants.
fn family(masters: &[u32]) -> BTreeSet<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit(") ").next().unwrap_or_default();
        if let Some(parent) = after.split(' ').nth(1).and_then(|p| p.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut family: BTreeSet<u32> = masters.iter().copied().collect();
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| family.contains(parent) && !family.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return family;
        }
        family.extend(more);
    }
}
