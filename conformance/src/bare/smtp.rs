//! The SMTP server machine, and the authentication server for a Postfix beside it, with routing over the article's maps and the entries of
//! `data/accounts.ldif`; messages go nowhere.

use super::{Bare, World};
use crate::net::Link;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use waypost_auth as auth;
use waypost_ldap::ldif;
use waypost_ldap::table::{Step as TableStep, Table};
use waypost_ldap::tree::Tree;
use waypost_machine::{Answer, Input, Machine, Now, Step};
use waypost_mail::{Domain, Peer, Verdict};
use waypost_route::{Fact, Gid, Looked, Lookup, Map, Policy, Request, Resolve};
use waypost_sasl::{Credentials, Mechanism, Verified};
use waypost_smtp::server::{
    Aborted, Appended, BareNewline, Begun, Call, Committed, Config, MessageId, Reply, Server, Tls,
};

const ACCOUNTS: &[u8] = include_bytes!("../../data/accounts.ldif");

const MAPS: &[(Map, &str)] = &[
    (Map::AliasDomains, include_str!("../../rig/templates/postfix/ldap/virtual_alias_domains")),
    (Map::Aliases, include_str!("../../rig/templates/postfix/ldap/virtual_alias_maps")),
    (Map::Mailboxes, include_str!("../../rig/templates/postfix/ldap/virtual_mailbox_maps")),
    (Map::Uids, include_str!("../../rig/templates/postfix/ldap/virtual_uid_maps")),
    (Map::SenderLogins, include_str!("../../rig/templates/postfix/ldap/smtpd_sender_login_maps")),
];

/// What all sessions share.
pub struct Place {
    tree: Tree,
    tables: BTreeMap<Map, Table>,
    policy: Arc<Policy>,
    port_25: Arc<Config>,
    port_587: Arc<Config>,
}

impl Place {
    /// A server with the rig's settings, and those of a script's `setting`.
    ///
    /// # Errors
    /// A setting that is not known.
    pub fn new(setting: Option<&str>) -> Result<Self, String> {
        let host = Domain::parse("mail.example.com").map_err(|e| e.to_string())?;
        let mut config = Config::new(host);
        config.mechanisms = vec![Mechanism::Plain];
        config.broken_sasl_auth_clients = true;
        match setting {
            None => {}
            Some("auth-login") => config.mechanisms.push(Mechanism::Login),
            Some("bare-newline-normalize") => config.bare_newline = BareNewline::Normalise,
            Some("bare-newline-reject") => config.bare_newline = BareNewline::Reject,
            Some(other) => return Err(format!("no setting {other}")),
        }
        let mut submission = config.clone();
        submission.tls = Tls::Required;
        let mut policy = Policy::new("mail.example.com");
        policy.gid = Gid::SameAsUid;
        policy.own_addresses = vec![[127, 0, 0, 1].into()];
        let entries = ldif::parse(ACCOUNTS).map_err(|e| e.to_string())?;
        let mut tables = BTreeMap::new();
        for (map, text) in MAPS {
            let head = "server_host = ldap://localhost\nsearch_base = ou=Mail,dc=example,dc=com\n";
            let table = Table::parse(map.name(), &format!("{head}{text}"));
            tables.insert(*map, table.map_err(|e| e.to_string())?);
        }
        Ok(Self {
            tree: Tree::new(entries).map_err(|e| e.to_string())?,
            tables,
            policy: Arc::new(policy),
            port_25: Arc::new(config),
            port_587: Arc::new(submission),
        })
    }

    /// Connects to `smtp`, `submission` or `auth`.
    ///
    /// # Errors
    /// Another service.
    pub fn dial(self: &Arc<Self>, service: &str, local: bool) -> io::Result<Box<dyn Link>> {
        let world = Box::new(Here { place: self.clone(), messages: 0 });
        let config = match service {
            "auth" => {
                let config = auth::Config::new(4711, 1, "a5173911e3973f09a8ec6e7039f31542");
                return Ok(Box::new(Bare::new(auth::Server::new(config), world)));
            }
            "smtp" => &self.port_25,
            "submission" => &self.port_587,
            _ => return Err(io::Error::other(format!("no service {service}"))),
        };
        let ip = if local { [127, 0, 0, 1] } else { [127, 0, 1, 1] };
        let peer = Peer { ip: ip.into(), port: 40_000, name: None };
        Ok(Box::new(Bare::new(Server::new(config.clone(), peer), world)))
    }

    fn look_up(&self, map: Map, key: &str) -> Looked {
        let Some(table) = self.tables.get(&map) else { return Looked::Absent };
        let mut lookup = if map.exists_only() { table.exists(key) } else { table.lookup(key) };
        loop {
            match lookup.step() {
                TableStep::Search(search) => lookup.answer(self.tree.search(&search)),
                TableStep::Done(Ok(values)) if values.is_empty() => return Looked::Absent,
                TableStep::Done(Ok(values)) => return Looked::Found(values),
                TableStep::Done(Err(why)) => return Looked::Unavailable(why.to_string()),
            }
        }
    }

    fn resolve(&self, now: Now, request: Request) -> Verdict {
        let mut resolve = Resolve::new(now, self.policy.clone(), request);
        loop {
            match resolve.poll(0) {
                Step::Call(Lookup { map, key, ticket }) => {
                    let answer = ticket.answer(self.look_up(map, &key));
                    resolve.handle(now, Input::Answer(answer));
                }
                Step::Fact(Fact::Verdict(verdict)) => return verdict,
                Step::Fact(_) => {}
                _ => unreachable!("a resolution asks, and ends with a verdict"),
            }
        }
    }
}

/// The world of one session.
struct Here {
    place: Arc<Place>,
    messages: u64,
}

impl World<Server> for Here {
    fn run(&mut self, now: Now, call: Call) -> Answer<Reply> {
        match call {
            Call::Authenticate { credentials, ticket, .. } => ticket.answer(verify(&credentials)),
            Call::Recipient { client, sender, recipient, ticket } => {
                let request = Request::Recipient { client, sender, recipient };
                ticket.answer(self.place.resolve(now, request))
            }
            Call::Begin { ticket, .. } => {
                self.messages += 1;
                let queue_id = format!("4bare{:05}", self.messages).into();
                ticket.answer(Begun::Ready { message: MessageId(self.messages), queue_id })
            }
            Call::Append { ticket, .. } => ticket.answer(Appended::Done),
            Call::Commit { ticket, .. } => ticket.answer(Committed::Done),
            Call::Abort { ticket, .. } => ticket.answer(Aborted),
        }
    }
}

impl World<auth::Server> for Here {
    fn run(&mut self, _: Now, call: auth::Call) -> Answer<auth::Reply> {
        let auth::Call::Authenticate { credentials, ticket, .. } = call;
        ticket.answer(verify(&credentials))
    }
}

fn verify(credentials: &Credentials) -> Verified {
    let user = credentials.authcid.to_lowercase();
    let password: &str = credentials.password.expose();
    match (user.as_str(), password) {
        ("mail000", "secret000") | ("mail001", "secret001") => Verified::Accepted(user.into()),
        _ => Verified::Denied,
    }
}
