//! The directory in memory.

use std::fmt::Write as _;
use waypost_ldap::ldif;
use waypost_ldap::table::{Step, Table};
use waypost_ldap::tree::Tree;

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
