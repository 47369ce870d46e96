//! Tables in memory and a loop that runs a resolution against them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use waypost_machine::{Input, Machine, Now, Step, Why};
use waypost_mail::{Address, Client, Delivery, Login, Peer, ReversePath, Target, Verdict};
use waypost_route::{Fact, Gid, Looked, Map, Policy, Request, Resolve};

/// Tables by key; everything else is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables(pub(crate) BTreeMap<(Map, String), Looked>);

impl Tables {
    pub(crate) fn put(&mut self, map: Map, key: &str, values: &[&str]) {
        let values = values.iter().map(|v| v.to_string()).collect();
        self.0.insert((map, key.to_string()), Looked::Found(values));
    }

    pub(crate) fn down(&mut self, map: Map, key: &str) {
        self.0.insert((map, key.to_string()), Looked::Unavailable("down".into()));
    }

    pub(crate) fn look(&self, map: Map, key: &str) -> Looked {
        self.0.get(&(map, key.to_string())).cloned().unwrap_or(Looked::Absent)
    }

    /// An account as the article's maps show it.
    pub(crate) fn account(&mut self, name: &str, id: &str, aliases: &[&str]) {
        let mailbox = format!("{name}@mail.example.com");
        self.alias(name, aliases, &[&mailbox]);
        self.put(Map::Mailboxes, &mailbox, &[&format!("/home/mail/{name}/mailbox/")]);
        self.put(Map::Uids, &mailbox, &[id]);
        self.put(Map::Gids, &mailbox, &[id]);
        self.owner(&mailbox, name);
    }

    /// An alias entry: its addresses lead to its maildrops and may be sent from by its uid.
    pub(crate) fn alias(&mut self, uid: &str, aliases: &[&str], maildrops: &[&str]) {
        for alias in aliases {
            self.put(Map::Aliases, alias, maildrops);
            let domain = alias.rsplit('@').next().unwrap();
            self.put(Map::AliasDomains, domain, &["yes"]);
            self.owner(alias, uid);
        }
        if !aliases.is_empty() && !maildrops[0].starts_with(uid) {
            maildrops.iter().for_each(|drop| self.owner(drop, uid));
        }
    }

    fn owner(&mut self, address: &str, uid: &str) {
        let at = (Map::SenderLogins, address.to_string());
        match self.0.entry(at).or_insert(Looked::Found(Vec::new())) {
            Looked::Found(owners) => owners.push(uid.to_string()),
            other => *other = Looked::Found(vec![uid.to_string()]),
        }
    }
}

/// The accounts and aliases of the reference directory.
pub(crate) fn reference() -> Tables {
    let mut t = Tables::default();
    let of_mail000 = [
        "mail000@example.com",
        "postmaster@example.com",
        "postmaster@example.org",
        "sales@example.net",
    ];
    t.account("mail000", "20000", &of_mail000);
    t.account("mail001", "20001", &["mail001@example.com", "info@example.org"]);
    t.alias("forward", &["forward@example.com"], &["someone@remote.test"]);
    let both = ["mail000@mail.example.com", "mail001@mail.example.com"];
    t.alias("team", &["team@example.com"], &both);
    t.alias("catchall", &["@example.net"], &["mail001@mail.example.com"]);
    t.alias("catchall2", &["@only-catchall.test"], &["mail000@mail.example.com"]);
    t.alias("dangling", &["dangling@example.com"], &["nobody@mail.example.com"]);
    t
}

/// The reference configuration.
pub(crate) fn policy() -> Policy {
    let mut policy = Policy::new("mail.example.com");
    policy.mynetworks = vec!["203.0.113.0/24".parse().unwrap()];
    policy.own_addresses = vec!["127.0.0.1".parse().unwrap()];
    policy.gid = Gid::SameAsUid;
    policy.check().unwrap();
    policy
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn path(text: &str) -> ReversePath {
    if text.is_empty() { ReversePath::Null } else { ReversePath::Address(address(text)) }
}

pub(crate) fn client(ip: &str, login: Option<&str>) -> Arc<Client> {
    Arc::new(Client {
        peer: Peer { ip: ip.parse().unwrap(), port: 40000, name: None },
        service: "smtpd".into(),
        helo: "client.example.net".into(),
        esmtp: true,
        tls: None,
        login: login.map(|user| Login { user: user.into(), mechanism: "PLAIN" }),
    })
}

/// A request from outside, or of a login.
pub(crate) fn rcpt(login: Option<&str>, from: &str, to: &str) -> Request {
    let client = client("127.0.1.32", login);
    Request::Recipient { client, sender: path(from), recipient: address(to) }
}

/// What came of a resolution.
pub(crate) struct Run {
    pub(crate) verdict: Verdict,
    pub(crate) facts: Vec<Fact>,
    pub(crate) asked: Vec<(Map, String)>,
}

pub(crate) fn run(
    policy: &Policy,
    request: Request,
    mut look: impl FnMut(Map, &str) -> Looked,
) -> Run {
    let now = Now::default();
    let mut resolve = Resolve::new(now, Arc::new(policy.clone()), request);
    let (mut facts, mut asked, mut verdict) = (Vec::new(), Vec::new(), None);
    loop {
        match resolve.poll(0) {
            Step::Call(lookup) => {
                let looked = look(lookup.map, &lookup.key);
                asked.push((lookup.map, lookup.key));
                resolve.handle(now, Input::Answer(lookup.ticket.answer(looked)));
            }
            Step::Fact(Fact::Verdict(it)) => assert!(verdict.replace(it).is_none()),
            Step::Fact(fact) => facts.push(fact),
            Step::Close(Why::Done) => break,
            Step::Wait(_) => panic!("stuck"),
            _ => panic!("not of a machine without bytes"),
        }
    }
    assert!(matches!(resolve.poll(0), Step::Wait(wait) if wait.until.is_none()));
    Run { verdict: verdict.unwrap(), facts, asked }
}

pub(crate) fn resolve(tables: &Tables, request: Request) -> Run {
    run(&policy(), request, |map, key| tables.look(map, key))
}

/// The verdict in one line: the reply, or where it goes.
pub(crate) fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Refuse(reply) => reply.to_string(),
        Verdict::Accept(deliveries) => {
            let one = |d: &Delivery| match &d.target {
                Target::Maildir(h) => format!("{} in {} {}:{}", d.to, h.path, h.uid, h.gid),
                Target::Remote => format!("{} remote", d.to),
                Target::Later(reply) => format!("{} later {reply}", d.to),
                Target::Undeliverable(reply) => format!("{} bounce {reply}", d.to),
            };
            deliveries.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    }
}
