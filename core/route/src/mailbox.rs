//! From the address of a mailbox to its Maildir and its owner: `virtual_mailbox_maps`,
//! `virtual_uid_maps`, `virtual_gid_maps`.
//!
//! Each of them must say one thing. Postfix joins what several entries say with commas and goes on
//! with that, so that mail for one user lands below the home of another; here such mail waits, and the
//! log says why.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use waypost_mail::{Address, MailHome};

use crate::lookup::{Book, Map, Stop, keys};
use crate::policy::{Gid, Policy};

/// Where the mail of an address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mailbox {
    /// Here.
    Home(MailHome),
    /// There is no such user.
    Unknown,
    /// The tables say something that cannot be used; says what.
    Nonsense(String),
}

/// Finds the mailbox of an address.
pub(crate) fn find(policy: &Policy, book: &mut Book, address: &Address) -> Result<Mailbox, Stop> {
    let path = match one(policy, book, Map::Mailboxes, address)? {
        One::Value(path) => path,
        One::Nothing => return Ok(Mailbox::Unknown),
        One::Several(values) => {
            let (count, list) = (values.len(), values.join(", "));
            return Ok(Mailbox::Nonsense(format!("mailbox lookup gave {count} values: {list}")));
        }
    };
    let path = match maildir(&policy.virtual_mailbox_base, &path) {
        Ok(path) => path,
        Err(what) => return Ok(Mailbox::Nonsense(what)),
    };
    let uid = match id(policy, book, Map::Uids, "uid", address)? {
        Ok(uid) => uid,
        Err(what) => return Ok(Mailbox::Nonsense(what)),
    };
    if uid == 0 || uid < policy.minimum_uid {
        let what = format!("bad uid {uid}: below the minimum {}", policy.minimum_uid.max(1));
        return Ok(Mailbox::Nonsense(what));
    }
    let gid = match policy.gid {
        Gid::SameAsUid => uid,
        Gid::Table => match id(policy, book, Map::Gids, "gid", address)? {
            Ok(gid) => gid,
            Err(what) => return Ok(Mailbox::Nonsense(what)),
        },
    };
    if gid == 0 {
        return Ok(Mailbox::Nonsense("bad gid 0".into()));
    }
    Ok(Mailbox::Home(MailHome { path: path.into(), uid, gid }))
}

enum One {
    Value(String),
    Nothing,
    Several(Vec<String>),
}

fn one(policy: &Policy, book: &mut Book, map: Map, address: &Address) -> Result<One, Stop> {
    let Some(hit) = book.find(map, keys(policy, address))? else {
        return Ok(One::Nothing);
    };
    let mut values = hit.values.to_vec();
    values.sort_unstable();
    values.dedup();
    if values.len() > 1 {
        return Ok(One::Several(values));
    }
    Ok(values.pop().map_or(One::Nothing, One::Value))
}

/// A numeric id; the inner error says what is wrong with it.
fn id(
    policy: &Policy,
    book: &mut Book,
    map: Map,
    what: &str,
    address: &Address,
) -> Result<Result<u32, String>, Stop> {
    let name = map.name();
    Ok(match one(policy, book, map, address)? {
        One::Value(text) => match text.trim().parse::<u32>() {
            // The last one means "leave it as it is" to system calls.
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(format!("bad {what} '{}' in {name}", shown(&text))),
        },
        One::Nothing => Err(format!("no {what}: not found in {name}")),
        One::Several(values) => {
            let (count, list) = (values.len(), values.join(", "));
            Err(format!("{what} lookup gave {count} values: {list}"))
        }
    })
}

/// The path of a Maildir, base and all: absolute, without trailing slash, `.` and `..`.
fn maildir(base: &str, path: &str) -> Result<String, String> {
    if !path.ends_with('/') {
        let what = "mailbox path has no '/' at its end (only Maildir is kept)";
        return Err(format!("{what}: '{}'", shown(path)));
    }
    let whole = format!("{base}/{path}");
    let bad = |c: char| c.is_control();
    let mut out = String::new();
    for part in whole.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." || part.contains(bad) {
            return Err(format!("bad mailbox path '{}'", shown(path)));
        }
        out.push('/');
        out.push_str(part);
    }
    if !base.starts_with('/') || out.is_empty() {
        return Err(format!("bad mailbox path '{}'", shown(path)));
    }
    Ok(out)
}

/// A value as it may stand in a log line and a reply.
fn shown(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}
