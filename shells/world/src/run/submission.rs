//! What is done to a message because a user sends it (RFC 6409 8).

use std::sync::Arc;

use waypost_mail::{Address, Client, Domain, Enhanced, Envelope, Reply, ReversePath, Verdict};
use waypost_message::date::{DateTime, stamp};
use waypost_message::envelope;
use waypost_message::header::fields;
use waypost_message::submission::{Additions, apply, edits};
use waypost_route::{Policy, Request};
use waypost_smtp::server::{self as smtp, Committed};

use crate::Inner;
use crate::promise::Promise;
use crate::run::header::Known;
use crate::run::message::Transit;
use crate::run::resolve::resolve;
/// The answer that the session waits for.
type Outcome = Promise<Committed, smtp::Reply>;

/// Addresses in From that are checked; a message with more is refused.
const MAX_AUTHORS: usize = 20;

/// The service that other servers bring mail to; all others are for users.
const RELAY_SERVICE: &str = "smtpd";

/// Additions to the header of one message.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    date: DateTime,
    message_id: String,
    from: String,
}

impl Submission {
    /// What a message needs that comes by a login, or from `mynetworks` to a service for users;
    /// `None` for mail that other servers bring: that stays as it is.
    pub(crate) fn new(
        policy: &Policy,
        hostname: &str,
        queue_id: &str,
        envelope: &Envelope,
    ) -> Option<Self> {
        let client = &envelope.client;
        let own = is_trusted(policy, client) && &*client.service != RELAY_SERVICE;
        if client.login.is_none() && !own {
            return None;
        }
        let seconds = envelope.arrived.secs;
        let from = match &envelope.sender {
            ReversePath::Address(address) => address.to_string(),
            ReversePath::Null => format!("MAILER-DAEMON@{hostname}"),
        };
        let message_id = format!("<{}.{queue_id}@{hostname}>", stamp(seconds));
        Some(Self { date: DateTime { seconds, offset: 0 }, message_id, from })
    }

    /// The header block with what was missing, and without Bcc.
    pub(crate) fn edit(&self, block: &[u8]) -> Vec<u8> {
        let additions =
            Additions { date: self.date, message_id: &self.message_id, from: &self.from };
        apply(block, &edits(block, &additions))
    }
}

/// Whether a client is in `mynetworks`.
pub(crate) fn is_trusted(policy: &Policy, client: &Client) -> bool {
    policy.mynetworks.iter().any(|network| network.contains(client.peer.ip))
}

/// The addresses in From; `None` when there is none that can be read, or too many.
pub(crate) fn authors(block: &[u8]) -> Option<Vec<Address>> {
    let mut authors = Vec::new();
    for field in fields(block).filter(|field| field.is(b"From")) {
        for one in envelope::addresses(&field.value()) {
            let (mailbox, domain) = match (one.mailbox, one.domain) {
                (Some(mailbox), Some(domain)) => (mailbox, domain),
                // The two ends of a group.
                (_, None) => continue,
                (None, Some(_)) => return None,
            };
            let (mailbox, domain) =
                (String::from_utf8(mailbox).ok()?, String::from_utf8(domain).ok()?);
            let domain = Domain::parse(&domain).ok()?;
            authors.push(Address::new(&mailbox, domain).ok()?);
        }
    }
    (1..=MAX_AUTHORS).contains(&authors.len()).then_some(authors)
}

/// Whose message it claims to be.
pub(crate) enum Authors {
    /// Nobody asks.
    Free,
    /// These are to be looked up.
    Check(Vec<Address>),
    /// It does not say.
    Unreadable,
}

/// Ends a message. Where it is wanted, everybody in From is looked up first, one after the other.
/// Runs on a thread for files.
pub(crate) fn finish(world: &Arc<Inner>, mut transit: Transit, promise: Outcome) {
    transit.complete();
    match transit.authors() {
        Authors::Free => promise.keep(transit.commit()),
        Authors::Unreadable => promise.keep(Committed::Failed(no_author())),
        Authors::Check(authors) => {
            let client = Arc::new(transit.client().clone());
            check(world, client, authors, transit, promise);
        }
    }
}

fn check(
    world: &Arc<Inner>,
    client: Arc<Client>,
    mut authors: Vec<Address>,
    transit: Transit,
    promise: Outcome,
) {
    let Some(author) = authors.pop() else {
        return world.files.submit(None, move || promise.keep(transit.commit()));
    };
    let request = Request::Author { client: Arc::clone(&client), author };
    let again = Arc::clone(world);
    let done = Box::new(move |verdict| match verdict {
        Verdict::Accept(_) => check(&again, client, authors, transit, promise),
        // What was written is removed on a thread for files.
        Verdict::Refuse(reply) => again.files.submit(None, move || {
            drop(transit);
            promise.keep(Committed::Failed(reply));
        }),
    });
    resolve(&world.lookups, &world.settings.clock, &world.policy, request, done);
}

/// The domain that signs a message of one of our own: that of everybody in From. Who has logged in
/// must have shown to be of that domain, by MAIL FROM or by a check of From.
pub(crate) fn signing_domain<'k>(
    world: &Inner,
    client: &Client,
    sender: &ReversePath,
    known: &'k Known,
) -> Option<&'k Domain> {
    let authors = known.authors.as_ref().filter(|_| !known.cut)?;
    let domain = authors.first()?.domain();
    let one = authors.iter().all(|author| author.domain() == domain);
    let shown = match sender {
        ReversePath::Address(sender) => sender.domain() == domain,
        ReversePath::Null => false,
    };
    let free = is_trusted(&world.policy, client) || world.settings.check_authors;
    (one && (shown || free)).then_some(domain)
}

fn no_author() -> Reply {
    Reply::new(550, Enhanced(5, 7, 1), "Error: no sender in the From header")
}
