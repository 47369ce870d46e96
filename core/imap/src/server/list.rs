//! LIST and LSUB (RFC 3501 6.3.8, 6.3.9, RFC 5258, RFC 5819, RFC 6154).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Bound;

use super::{
    Call, Command, Context, Counted, Counts, Failure, Folder, Job, Listed, Reply, SEPARATOR,
    Server, Step,
};
use crate::response::{self, Missing, Refusal};
use crate::syntax::list::{self as syntax, List as Wanted};
use crate::syntax::mailbox;

/// Mailboxes per [`Call::Status`] of LIST-STATUS.
const STATUS_BATCH: usize = 32;

/// A LIST or LSUB under way.
pub(super) struct List {
    wanted: Wanted,
    verb: &'static str,
    rows: Option<vec::IntoIter<Row>>,
    /// The rows whose STATUS is being asked for.
    counting: Vec<Row>,
}

/// One line of the reply.
struct Row {
    name: Box<str>,
    flags: Vec<&'static str>,
    /// A mailbox below is subscribed (RFC 5258 3.5).
    child_info: bool,
    selectable: bool,
}

pub(super) fn list(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let wanted = syntax::list(command.args)?;
    begin(server, cx, wanted, "LIST")
}

pub(super) fn lsub(
    server: &mut Server,
    cx: &mut Context<'_>,
    command: &Command<'_>,
) -> Result<Step, Refusal> {
    let wanted = syntax::lsub(command.args)?;
    begin(server, cx, wanted, "LSUB")
}

fn begin(
    server: &mut Server,
    cx: &mut Context<'_>,
    wanted: Wanted,
    verb: &'static str,
) -> Result<Step, Refusal> {
    if wanted.root {
        server.send(cx, &format!("* {verb} (\\Noselect) \"{SEPARATOR}\" \"\"\r\n"));
        return Ok(server.end(cx, completed(verb)));
    }
    let account = server.account_arc()?;
    cx.call(server.config.call_timeout, |ticket| Call::List { account, ticket });
    Ok(Step::Wait(Job::List(Box::new(List { wanted, verb, rows: None, counting: Vec::new() }))))
}

fn completed(verb: &str) -> &'static str {
    if verb == "LIST" { "OK List completed." } else { "OK Lsub completed." }
}

impl List {
    pub(super) fn expired(&self) -> Reply {
        match self.rows {
            None => Listed(Err(Failure::Unavailable)).into(),
            Some(_) => Counted(Vec::new()).into(),
        }
    }
}

pub(super) fn answered(
    server: &mut Server,
    cx: &mut Context<'_>,
    mut job: Box<List>,
    reply: Reply,
) -> Step {
    match reply {
        Reply::Listed(Listed(Ok(folders))) => {
            let tree = Tree::new(folders);
            let rows: Vec<Row> = match job.verb {
                "LSUB" => tree.lsub(&job.wanted),
                _ => tree.list(&job.wanted),
            };
            job.rows = Some(rows.into_iter());
            Step::Run(Job::List(job))
        }
        Reply::Listed(Listed(Err(failure))) => {
            let text = response::failure(&failure, Missing::Plain, "");
            server.end(cx, &text)
        }
        Reply::Counted(Counted(counted)) => {
            let mut counted = counted.into_iter();
            let mut out = String::new();
            for row in core::mem::take(&mut job.counting) {
                write_row(&row, job.verb, &mut out);
                // A mailbox that went away, or cannot be read now, has no STATUS line.
                if row.selectable
                    && let Some(Ok(counts)) = counted.next()
                {
                    write_status(server, &row, &job.wanted, &counts, &mut out);
                }
            }
            server.send(cx, &out);
            Step::Run(Job::List(job))
        }
        _ => Step::Wait(Job::List(job)),
    }
}

pub(super) fn advance(server: &mut Server, cx: &mut Context<'_>, mut job: Box<List>) -> Step {
    if job.rows.is_none() || !job.counting.is_empty() {
        return Step::Wait(Job::List(job));
    }
    if job.wanted.status.is_empty() {
        let mut out = String::new();
        while cx.room() > 0 {
            let Some(row) = job.rows.as_mut().and_then(Iterator::next) else {
                return server.end(cx, completed(job.verb));
            };
            out.clear();
            write_row(&row, job.verb, &mut out);
            server.send(cx, &out);
        }
        return Step::Run(Job::List(job));
    }
    job.counting = job.rows.iter_mut().flatten().take(STATUS_BATCH).collect();
    if job.counting.is_empty() {
        return server.end(cx, completed(job.verb));
    }
    let Some(account) = server.state.account().cloned() else { return Step::Done };
    let selectable = job.counting.iter().filter(|row| row.selectable);
    let mailboxes = selectable.map(|row| row.name.clone()).collect();
    let size = job.wanted.status.contains(&syntax::StatusItem::Size);
    cx.call(server.config.call_timeout, |ticket| Call::Status { account, mailboxes, size, ticket });
    Step::Wait(Job::List(job))
}

fn write_row(row: &Row, verb: &str, out: &mut String) {
    out.push_str(&format!("* {verb} ({}) \"{SEPARATOR}\" ", row.flags.join(" ")));
    response::mailbox_name(&row.name, out);
    if row.child_info {
        out.push_str(" (CHILDINFO (\"SUBSCRIBED\"))");
    }
    out.push_str("\r\n");
}

fn write_status(server: &Server, row: &Row, wanted: &Wanted, counts: &Counts, out: &mut String) {
    let name = mailbox::encode(&row.name);
    response::status(&name, &wanted.status, counts, server.config.append_limit, out);
}

/// One name of the tree; a level that only leads to others has no folder.
#[derive(Default)]
struct Node {
    folder: Option<Folder>,
    children: bool,
    /// A mailbox below is subscribed.
    subscribed_below: bool,
}

impl Node {
    fn subscribed(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.subscribed)
    }

    fn special_use(&self) -> Option<&'static str> {
        self.folder.as_ref().and_then(|folder| folder.special_use)
    }

    fn selectable(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.selectable)
    }
}

/// All mailboxes and the levels above them, by name.
struct Tree(BTreeMap<Box<str>, Node>);

impl Tree {
    fn new(folders: Vec<Folder>) -> Self {
        let mut nodes: BTreeMap<Box<str>, Node> = BTreeMap::new();
        nodes.entry("INBOX".into()).or_default().folder = Some(Folder {
            name: "INBOX".into(),
            selectable: true,
            subscribed: false,
            special_use: None,
        });
        for folder in folders {
            let mut end = folder.name.len();
            while let Some(at) = folder.name[..end].rfind(SEPARATOR) {
                let level = nodes.entry(folder.name[..at].into()).or_default();
                // A subscription of what is not there makes no level that is.
                level.children |= folder.selectable;
                level.subscribed_below |= folder.subscribed;
                end = at;
            }
            let name = folder.name.clone();
            nodes.entry(name).or_default().folder = Some(folder);
        }
        Self(nodes)
    }

    fn list(&self, wanted: &Wanted) -> Vec<Row> {
        let mut rows = Vec::new();
        for (name, node) in &self.0 {
            let exists = node.selectable() || node.children;
            let subscribed = !wanted.subscribed || node.subscribed();
            let special = !wanted.special_use || node.special_use().is_some();
            let selected = subscribed && special && (exists || wanted.subscribed);
            let below = wanted.recursive && wanted.subscribed && node.subscribed_below;
            let fits = wanted.patterns.iter().any(|pattern| syntax::matches(pattern, name));
            if !fits || !(selected || below) {
                continue;
            }
            rows.push(Row {
                name: name.clone(),
                flags: flags(node, wanted),
                // Told only where `%` keeps what is below out of sight.
                child_info: below && (!selected || self.hidden_below(name, wanted)),
                selectable: node.selectable(),
            });
        }
        rows
    }

    /// True when a subscribed mailbox below does not fit the patterns itself (RFC 5258 3.5).
    fn hidden_below(&self, name: &str, wanted: &Wanted) -> bool {
        let prefix = format!("{name}{SEPARATOR}");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let below = self.0.range::<str, _>(from);
        let below = below.take_while(|(name, _)| name.starts_with(&prefix));
        below
            .filter(|(_, node)| node.subscribed())
            .any(|(name, _)| !wanted.patterns.iter().any(|pattern| syntax::matches(pattern, name)))
    }

    fn lsub(&self, wanted: &Wanted) -> Vec<Row> {
        let mut rows = Vec::new();
        for (name, node) in &self.0 {
            let fits = wanted.patterns.iter().any(|pattern| syntax::matches(pattern, name));
            if !fits {
                continue;
            }
            // RFC 3501 6.3.9: with `%`, a level above a subscribed mailbox shows too.
            let level = node.subscribed_below && self.hidden_below(name, wanted);
            if node.subscribed() || level {
                let flags = if node.subscribed() { vec![] } else { vec!["\\Noselect"] };
                let name = name.clone();
                rows.push(Row { name, flags, child_info: false, selectable: false });
            }
        }
        rows
    }
}

fn flags(node: &Node, wanted: &Wanted) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if wanted.return_subscribed && node.subscribed() {
        flags.push("\\Subscribed");
    }
    if !node.selectable() {
        // RFC 5258 3: a level that only leads to others does not exist as a mailbox.
        flags.push(if wanted.extended { "\\NonExistent" } else { "\\Noselect" });
    }
    if !wanted.extended || wanted.return_children {
        flags.push(if node.children { "\\HasChildren" } else { "\\HasNoChildren" });
    }
    if !wanted.extended || wanted.return_special_use {
        flags.extend(node.special_use().and_then(attribute));
    }
    flags
}

/// The special uses (RFC 6154 2) with their backslash.
fn attribute(name: &str) -> Option<&'static str> {
    const ALL: [&str; 7] =
        ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"];
    ALL.into_iter().find(|known| known[1..].eq_ignore_ascii_case(name.trim_start_matches('\\')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let folder = |name: &str, selectable, subscribed, special_use| Folder {
            name: name.into(),
            selectable,
            subscribed,
            special_use,
        };
        Tree::new(vec![
            folder("INBOX", true, true, None),
            folder("A", true, false, None),
            folder("A.B", true, true, None),
            folder("A.B.C", true, false, None),
            folder("Sent", true, false, Some("Sent")),
            folder("x.y", true, false, None),
            folder("Gone.sub", false, true, None),
        ])
    }

    fn shown(rows: Vec<Row>) -> Vec<String> {
        let written = rows.iter().map(|row| {
            let mut out = String::new();
            write_row(row, "LIST", &mut out);
            out.trim_end().replace("* LIST ", "").replace(" \".\"", "")
        });
        written.collect()
    }

    fn list(text: &str) -> Vec<String> {
        let args = crate::syntax::args::args(text.as_bytes()).unwrap();
        shown(tree().list(&syntax::list(&args).unwrap()))
    }

    fn lsub(text: &str) -> Vec<String> {
        let args = crate::syntax::args::args(text.as_bytes()).unwrap();
        shown(tree().lsub(&syntax::lsub(&args).unwrap()))
    }

    #[test]
    fn plain_list() {
        assert_eq!(
            list("\"\" %"),
            [
                "(\\HasChildren) A",
                "(\\HasNoChildren) INBOX",
                "(\\HasNoChildren \\Sent) Sent",
                "(\\Noselect \\HasChildren) x",
            ]
        );
        assert_eq!(
            list("A *"),
            ["(\\HasChildren) A", "(\\HasChildren) A.B", "(\\HasNoChildren) A.B.C"]
        );
    }

    #[test]
    fn extended_list() {
        assert_eq!(
            list("(SUBSCRIBED) \"\" *"),
            ["(\\Subscribed) A.B", "(\\Subscribed \\NonExistent) Gone.sub", "(\\Subscribed) INBOX"]
        );
        assert_eq!(
            list("(SUBSCRIBED RECURSIVEMATCH) \"\" %"),
            [
                "() A (CHILDINFO (\"SUBSCRIBED\"))",
                "(\\NonExistent) Gone (CHILDINFO (\"SUBSCRIBED\"))",
                "(\\Subscribed) INBOX",
            ]
        );
        assert_eq!(list("(SPECIAL-USE) \"\" *"), ["(\\Sent) Sent"]);
        assert_eq!(
            list("\"\" (inbox A%) RETURN (CHILDREN)"),
            ["(\\HasChildren) A", "(\\HasNoChildren) INBOX"]
        );
    }

    #[test]
    fn lsub_shows_levels() {
        assert_eq!(lsub("\"\" *"), ["() A.B", "() Gone.sub", "() INBOX"]);
        assert_eq!(lsub("\"\" %"), ["(\\Noselect) A", "(\\Noselect) Gone", "() INBOX"]);
    }
}
