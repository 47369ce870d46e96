//! Draws a script: mostly a short one, so that one that fails is soon understood.
//!
//! Zero is always the plain choice, so choices that are all zero give a run in which one message
//! comes in and is read.

use std::time::Duration;

use crate::choices::Choices;
use crate::script::{
    Act, Admin, Crash, FAULTS, Fault, How, Keep, Login, Mail, Mood, Notify, Ret, Script, Stage,
    Step, Tls, What,
};

/// Users: few, so that they have something to do with each other.
const USERS: &[&str] = &["mail000", "mail001", "mail002", "mail003"];
/// What strangers send as.
const STRANGERS: &[&str] = &[
    "alice@far.test",
    "bob@plain.test",
    "dave@remote.test",
    "",
    "müller@far.test",
    "mail001@example.com",
];
/// Addresses of ours, the plain ones first.
const HERE: &[&str] = &[
    "mail000@example.com",
    "mail001@example.com",
    "info@example.org",
    "mail002@mail.example.com",
    "sales@example.net",
    "mail003+tag@example.net",
    "team@example.com",
    "all@example.com",
    "both@example.org",
    "twice@example.org",
    "forward@example.com",
    "whoever@example.net",
    "POSTMASTER@example.org",
    "dangling@example.com",
    "null@example.com",
    "lost@example.com",
    "grüße@example.net",
    "moving@example.com",
];
/// Addresses elsewhere.
const THERE: &[&str] = &[
    "bob@remote.test",
    "carol@twin.test",
    "dave@plain.test",
    "eve@other.test",
    "someone@null.test",
    "someone@nowhere.test",
    "someone@servfail.test",
    "someone@broken.test",
    "jürgen@twin.test",
    "someone@round.test",
    "someone@ours.test",
];
/// Nobody.
const NOWHERE: &[&str] = &["nobody@example.com", "gone@mail.example.com", "none@example.org"];
const HOSTS: &[&str] = &[
    "mx1.remote.test",
    "mx2.remote.test",
    "a.twin.test",
    "b.twin.test",
    "plain.test",
    "mx.far.test",
    "*",
];
const FOLDERS: &[&str] = &["Trash", "Archive", "INBOX"];
/// Folders that come and go, those that there are mostly the first.
const TREE: &[&str] =
    &["Work", "Work.a", "Old", "Work.a.b", "Old.a", "Trash", "INBOX.sub", "INBOX", "Archive"];
const FLAGS: &[&str] = &["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$Label1", "work"];

/// A script.
pub fn plan(choices: &Choices) -> Script {
    let seed = choices.part();
    let lines = match choices.below(20) {
        0..=15 => choices.between(1, 7),
        16..=18 => choices.between(8, 14),
        _ => choices.between(15, 40),
    };
    // Most runs have their faults in one field, or none.
    let faults = match choices.below(4) {
        0 => &[][..],
        1 => &[Field::Disk, Field::Crash][..],
        2 => &[Field::Peers, Field::Directory][..],
        _ => &[Field::Disk, Field::Crash, Field::Peers, Field::Directory, Field::Net][..],
    };
    let span = *choices.pick(&[2_000, 500, 20_000, 600_000]);
    // Now and then all of it is about one mailbox.
    let crowd = choices.percent(15);
    let mut acts: Vec<Act> = (0..lines)
        .map(|_| {
            let at = Duration::from_millis(choices.below(span));
            let what = match faults.is_empty() || !choices.percent(40) {
                true if crowd => in_a_crowd(choices),
                true => work(choices),
                false => trouble(choices, *choices.pick(faults)),
            };
            Act { at, what }
        })
        .collect();
    // Drawn last, so that the others do not depend on it.
    if choices.percent(FOREST) {
        acts = forest(choices, faults, span);
    }
    acts.sort_by_key(|act| act.at);
    Script { seed, acts }
}

/// So many of a hundred scripts are about one user's folders.
const FOREST: u64 = 10;

/// One user's folders, by some at the same time, and what is in them.
fn forest(choices: &Choices, faults: &[Field], span: u64) -> Vec<Act> {
    let at = |choices: &Choices| Duration::from_millis(choices.below(span));
    let user = USERS[0].to_owned();
    let mail = Mail { to: vec![HERE[0].to_owned()], ..mail(choices, None) };
    let mut acts = vec![Act { at: Duration::ZERO, what: What::Mx(Mail { retries: 3, ..mail }) }];
    for _ in 0..choices.between(1, 3) {
        let login = Login { user: user.clone(), tls: Tls::Implicit, wrong: false };
        let mut steps = vec![Step::Create(early(choices, TREE))];
        for _ in 0..choices.between(2, 14) {
            steps.push(folder_step(choices));
        }
        acts.push(Act { at: at(choices), what: What::Imap(login, steps) });
    }
    let troubles: Vec<Field> = faults
        .iter()
        .copied()
        .filter(|field| matches!(field, Field::Disk | Field::Crash))
        .collect();
    if !troubles.is_empty() {
        for _ in 0..choices.below(4) {
            let what = trouble(choices, *choices.pick(&troubles));
            acts.push(Act { at: at(choices), what });
        }
    }
    acts
}

fn folder_step(choices: &Choices) -> Step {
    let n = || u32::try_from(choices.below(5)).unwrap_or(0);
    let folder = || early(choices, TREE);
    match choices.below(36) {
        0..=5 => Step::Create(folder()),
        6..=9 => Step::Remove(folder()),
        10..=15 => Step::Rename(folder(), folder()),
        16 | 17 => Step::Subscribe(folder(), true),
        18 => Step::Subscribe(folder(), false),
        19 => Step::List,
        20 => Step::Lsub,
        21 => Step::Status(folder()),
        22..=25 => Step::Append(folder(), size(choices)),
        26 => Step::Copy(n(), folder()),
        27 | 28 => Step::Move(n(), folder()),
        29 | 30 => Step::Select(folder()),
        31 => Step::Unselect,
        _ => step(choices),
    }
}

/// Where something goes wrong.
#[derive(Clone, Copy)]
enum Field {
    Disk,
    Crash,
    Peers,
    Directory,
    Net,
}

fn name(choices: &Choices, from: &[&str]) -> String {
    (*choices.pick(from)).to_owned()
}

/// One of the first more often than one of the last.
fn early(choices: &Choices, from: &[&str]) -> String {
    let end = 1 + choices.below(from.len() as u64);
    from[usize::try_from(choices.below(end)).unwrap_or(0)].to_owned()
}

fn work(choices: &Choices) -> What {
    match choices.below(20) {
        0..=7 => What::Mx(mail(choices, None)),
        8..=12 => {
            let login = login(choices);
            let mail = mail(choices, Some(&login.user));
            What::Submit(login, mail)
        }
        13..=17 => What::Imap(login(choices), steps(choices)),
        18 => What::Auth(login(choices)),
        _ => match choices.below(2) {
            0 => What::File(name(choices, USERS), size(choices)),
            _ => What::Queue(*choices.pick(&[Admin::Retry, Admin::Hold, Admin::Release])),
        },
    }
}

/// One user's mail, by many at the same time.
fn in_a_crowd(choices: &Choices) -> What {
    let user = USERS[0].to_owned();
    match choices.below(10) {
        0 | 1 => {
            let mail = Mail { to: vec![HERE[0].to_owned()], ..mail(choices, None) };
            What::Mx(mail)
        }
        2 => What::File(user, size(choices)),
        _ => {
            let tls = Tls::Implicit;
            let mut steps = steps(choices);
            for _ in 0..choices.below(12) {
                steps.push(step(choices));
            }
            What::Imap(Login { user, tls, wrong: false }, steps)
        }
    }
}

fn trouble(choices: &Choices, field: Field) -> What {
    let fault = |begins: &str| {
        let of_field: Vec<Fault> = FAULTS
            .iter()
            .filter(|(words, _)| words.starts_with(begins))
            .map(|(_, fault)| *fault)
            .collect();
        let lasts = *choices.pick(&[1_000, 100, 10_000, 120_000]);
        What::Fault(*choices.pick(&of_field), Duration::from_millis(lasts))
    };
    match field {
        Field::Disk => fault("disk"),
        Field::Directory if choices.percent(30) => fault("names"),
        Field::Directory => fault("directory"),
        Field::Net => match choices.below(4) {
            0..=2 => fault("net"),
            _ => What::Clock(*choices.pick(&[1, -1, 3600, -3600, 86_400])),
        },
        Field::Peers => What::Remote(name(choices, HOSTS), mood(choices)),
        Field::Crash if choices.percent(15) => {
            What::Restart(Duration::from_millis(*choices.pick(&[1_000, 10, 60_000])))
        }
        Field::Crash => {
            let keep =
                *choices.pick(&[Keep::All, Keep::Nothing, Keep::Names, Keep::Data, Keep::Half]);
            let end = *choices.pick(&[20, 100, 400]);
            let calls = u32::try_from(choices.below(end)).unwrap_or(0);
            What::Crash(Crash { calls, keep, down: Duration::from_secs(choices.between(1, 30)) })
        }
    }
}

fn size(choices: &Choices) -> u32 {
    let most = *choices.pick(&[500, 500, 500, 5_000, 70_000]);
    u32::try_from(choices.between(200, most)).unwrap_or(200)
}

fn stage(choices: &Choices) -> Stage {
    *choices.pick(&[
        Stage::Rcpt,
        Stage::Greeting,
        Stage::Mail,
        Stage::Data,
        Stage::Dot,
        Stage::Dot,
        Stage::Tls,
    ])
}

fn how(choices: &Choices) -> How {
    *choices.pick(&[How::Closes, How::Resets, How::Stalls])
}

fn mood(choices: &Choices) -> Mood {
    match choices.below(10) {
        0 | 1 => Mood::Accepts,
        2 | 3 => Mood::Defers(stage(choices)),
        4 => Mood::Refuses(stage(choices)),
        5 | 6 => Mood::Leaves(stage(choices), how(choices)),
        7 => Mood::Greylists,
        _ => Mood::LosesReply,
    }
}

fn login(choices: &Choices) -> Login {
    let user = early(choices, USERS);
    let tls = match choices.below(20) {
        0..=11 => Tls::Implicit,
        12..=18 => Tls::Starttls,
        _ => Tls::Clear,
    };
    Login { user, tls, wrong: choices.percent(5) }
}

/// A message of a stranger, or of a user.
fn mail(choices: &Choices, user: Option<&str>) -> Mail {
    let from = match user {
        None => early(choices, STRANGERS),
        Some(user) if !choices.percent(5) => format!("{user}@mail.example.com"),
        Some(_) => early(choices, HERE),
    };
    let trusted = user.is_none() && choices.percent(8);
    let is_local = user.is_some() || trusted;
    let count = *choices.pick(&[1, 1, 1, 2, 3, 6]);
    let mut to: Vec<String> = (0..count).map(|_| recipient(choices, is_local)).collect();
    to.sort();
    to.dedup();
    let pipelined = choices.percent(40);
    let chunks =
        if choices.percent(20) { u8::try_from(choices.between(1, 4)).unwrap_or(1) } else { 0 };
    let leaves = choices.percent(15).then(|| (stage(choices), how(choices)));
    let retries = u8::try_from(choices.below(4)).unwrap_or(0);
    let size = size(choices);
    let utf8 = choices.percent(8) || !from.is_ascii() || to.iter().any(|to| !to.is_ascii());
    let starttls = user.is_none() && choices.percent(15);
    let (notify, ret, envid) = match choices.percent(20) {
        false => (None, None, false),
        true => (notify(choices), ret(choices), choices.percent(40)),
    };
    let wishes = Mail { notify, ret, envid, utf8, starttls, trusted, ..Mail::default() };
    Mail { from, to, size, pipelined, chunks, leaves, retries, ..wishes }
}

fn notify(choices: &Choices) -> Option<Notify> {
    let of = |n: u64| Notify { success: n & 1 > 0, failure: n & 2 > 0, delay: n & 4 > 0 };
    (!choices.percent(20)).then(|| of(choices.below(8)))
}

fn ret(choices: &Choices) -> Option<Ret> {
    choices.percent(30).then(|| *choices.pick(&[Ret::Headers, Ret::Full]))
}

fn recipient(choices: &Choices, is_local: bool) -> String {
    let elsewhere = if is_local { 50 } else { 5 };
    if choices.percent(elsewhere) {
        early(choices, THERE)
    } else if choices.percent(5) {
        name(choices, NOWHERE)
    } else {
        early(choices, HERE)
    }
}

fn steps(choices: &Choices) -> Vec<Step> {
    let mut steps = vec![match choices.below(10) {
        0..=7 => Step::Select("INBOX".into()),
        8 => Step::Select(name(choices, FOLDERS)),
        _ => Step::Examine("INBOX".into()),
    }];
    for _ in 0..choices.between(1, 8) {
        steps.push(step(choices));
    }
    steps
}

fn step(choices: &Choices) -> Step {
    let n = || u32::try_from(choices.below(5)).unwrap_or(0);
    match choices.below(40) {
        0..=5 => Step::Fetch,
        6..=8 => Step::Idle(Duration::from_millis(*choices.pick(&[500, 50, 5_000, 60_000]))),
        9..=13 => Step::Store(n(), !choices.percent(30), name(choices, FLAGS)),
        14..=17 => Step::Delete(n()),
        18..=20 => Step::Expunge,
        21 => Step::UidExpunge(n()),
        22..=24 => Step::Copy(n(), name(choices, FOLDERS)),
        25..=27 => Step::Move(n(), name(choices, &FOLDERS[..2])),
        28..=30 => Step::Append(name(choices, FOLDERS), size(choices)),
        31 => Step::Create(name(choices, FOLDERS)),
        32 => Step::Status(name(choices, FOLDERS)),
        33 => Step::Search,
        34 => Step::Flags,
        35 => Step::Noop,
        36 => match choices.percent(50) {
            true => Step::Deaf(Duration::from_secs(*choices.pick(&[5, 1, 60]))),
            false => Step::Wait(Duration::from_millis(*choices.pick(&[100, 10, 3_000]))),
        },
        37 => match choices.percent(50) {
            true => Step::Close,
            false => Step::Unselect,
        },
        38 => Step::Select(name(choices, FOLDERS)),
        _ => Step::Vanish,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_plan_is_a_script_that_can_be_written_down() {
        for seed in 0..2_000 {
            let script = plan(&Choices::seeded(seed));
            assert!((1..=40).contains(&script.acts.len()));
            assert_eq!(script.to_string().parse(), Ok(script));
        }
    }

    #[test]
    fn without_choices_one_plain_message_comes() {
        let script = plan(&Choices::from_bytes(&[]));
        let plain = "seed 0\n0ms mx alice@far.test -> mail000@example.com size 200\n";
        assert_eq!(script.to_string(), plain);
    }

    #[test]
    fn everything_is_planned_some_time() {
        let mut words = BTreeSet::new();
        for seed in 0..5_000 {
            let text = plan(&Choices::seeded(seed)).to_string();
            words.extend(text.split([' ', '\n', ';', ':', ',']).map(str::to_owned));
        }
        let steps = "select examine fetch flags store delete expunge uidexpunge copy move append \
            create remove rename subscribe unsubscribe list lsub status search noop idle wait deaf close unselect vanish";
        let rest = "mx submit imap auth remote queue file clock crash restart pipelined chunks \
            retries wrong clear starttls tls closes resets stalls greylists loses-reply defers \
            refuses accepts hold release retry nothing names data half greeting rcpt dot <> notify \
            never success failure delay ret headers full envid utf8 trusted";
        let faults = FAULTS.iter().flat_map(|(words, _)| words.split(' '));
        for word in steps.split_whitespace().chain(rest.split_whitespace()).chain(faults) {
            assert!(words.contains(word), "{word}");
        }
    }
}
