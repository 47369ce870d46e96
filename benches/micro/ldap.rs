//! The directory in memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use waypost_ldap::ldif;
use waypost_ldap::table::{Step, Table};
use waypost_ldap::tree::Tree;
use waypost_machine::{Input, Machine, Now, Step as Machines};
use waypost_mail::{Address, Verdict};
use waypost_route::{Fact, Gid, Looked, Lookup, Map, Policy, Request, Resolve};

fn entries(count: usize) -> String {
    let mut text =
        String::from("dn: ou=Mail,dc=example,dc=com\nobjectClass: organizationalUnit\nou: Mail\n");
    for n in 0..count {
        let _ = write!(
            text,
            "\ndn: uid=u{n:05},ou=Mail,dc=example,dc=com\nobjectClass: posixAccount\nuid: u{n:05}\n\
             uidNumber: {n}\ngidNumber: {n}\nhomeDirectory: /home/mail/u{n:05}\n\
             mailacceptinggeneralid: u{n:05}@example.com\nmaildrop: u{n:05}@mail.example.com\n"
        );
    }
    text
}

/// One alias, by the article's map.
pub(crate) fn lookup() -> Box<dyn FnMut() -> usize> {
    let entries = ldif::parse(entries(5_000).as_bytes()).expect("it is well formed");
    let tree = Tree::new(entries).expect("no name stands twice");
    let table = Table::parse(
        "virtual_alias_maps",
        "server_host = ldap://localhost\nsearch_base = ou=Mail,dc=example,dc=com\n\
         query_filter = mailacceptinggeneralid=%s\nresult_attribute = maildrop\n",
    )
    .expect("it is well formed");
    let mut n = 0;
    Box::new(move || {
        n = (n + 1_237) % 5_000;
        let key = format!("u{n:05}@example.com");
        let mut lookup = table.lookup(&key);
        loop {
            match lookup.step() {
                Step::Search(search) => lookup.answer(tree.search(&search)),
                Step::Done(found) => return found.expect("it is found").len(),
            }
        }
    })
}

/// Reading the file.
pub(crate) fn ldif() -> Box<dyn FnMut() -> usize> {
    let text = entries(1_000);
    Box::new(move || ldif::parse(text.as_bytes()).expect("it is well formed").len())
}

/// A recipient from RCPT TO to its Maildir, by the article's maps, nothing remembered.
pub(crate) fn resolve() -> Box<dyn FnMut() -> usize> {
    let entries = ldif::parse(entries(5_000).as_bytes()).expect("it is well formed");
    let tree = Tree::new(entries).expect("no name stands twice");
    let head = "server_host = ldap://localhost\nsearch_base = ou=Mail,dc=example,dc=com\n";
    let table = |map: Map, text: &str| {
        let table = Table::parse(map.name(), &format!("{head}{text}")).expect("it is well formed");
        (map, table)
    };
    let tables = BTreeMap::from([
        table(
            Map::AliasDomains,
            "query_filter = mailacceptinggeneralid=*@%s\n\
             result_attribute = mailacceptinggeneralid\nresult_format = %d\n",
        ),
        table(
            Map::Aliases,
            "query_filter = mailacceptinggeneralid=%s\nresult_attribute = maildrop\n",
        ),
        table(
            Map::Mailboxes,
            "query_filter = maildrop=%s\nresult_attribute = homeDirectory\n\
             result_format = %s/mailbox/\n",
        ),
        table(Map::Uids, "query_filter = maildrop=%s\nresult_attribute = uidNumber\n"),
    ]);
    let mut policy = Policy::new("mail.example.com");
    (policy.gid, policy.sender_login_maps) = (Gid::SameAsUid, false);
    let policy = Arc::new(policy);
    let mut n = 0;
    Box::new(move || {
        n = (n + 1_237) % 5_000 + 100;
        let address =
            Address::parse(&format!("u{:05}@example.com", n % 5_000)).expect("an address");
        let request = Request::Again { to: address.clone(), orig_to: address };
        let mut resolve = Resolve::new(Now::default(), policy.clone(), request);
        loop {
            match resolve.poll(0) {
                Machines::Call(Lookup { map, key, ticket }) => {
                    let looked = look_up(&tree, &tables, map, &key);
                    resolve.handle(Now::default(), Input::Answer(ticket.answer(looked)));
                }
                Machines::Fact(Fact::Verdict(Verdict::Accept(deliveries))) => {
                    return deliveries.len();
                }
                Machines::Fact(Fact::Nonsense { .. }) => {}
                _ => unreachable!("every recipient has a mailbox"),
            }
        }
    })
}

fn look_up(tree: &Tree, tables: &BTreeMap<Map, Table>, map: Map, key: &str) -> Looked {
    let Some(table) = tables.get(&map) else { return Looked::Absent };
    let mut lookup = if map.exists_only() { table.exists(key) } else { table.lookup(key) };
    loop {
        match lookup.step() {
            Step::Search(search) => lookup.answer(tree.search(&search)),
            Step::Done(Ok(values)) if values.is_empty() => return Looked::Absent,
            Step::Done(Ok(values)) => return Looked::Found(values),
            Step::Done(Err(why)) => return Looked::Unavailable(why.to_string()),
        }
    }
}
