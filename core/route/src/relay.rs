//! The restrictions: may this client send from here to there?

use alloc::vec::Vec;

use waypost_mail::{Address, Client, Reply, ReversePath, Verdict};

use crate::lookup::{Book, Stop};
use crate::policy::{Policy, Restriction};
use crate::sender::{self, Unowned};
use crate::{class, reply};

/// Who wants to send what to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) client: &'a Client,
    pub(crate) sender: &'a ReversePath,
    pub(crate) recipient: &'a Address,
    /// The recipient is one that we have made, and is ours to take.
    pub(crate) returned: bool,
}

impl Attempt<'_> {
    fn login(&self) -> Option<&str> {
        self.client.login.as_ref().map(|login| &*login.user)
    }

    fn in_mynetworks(&self, policy: &Policy) -> bool {
        policy.mynetworks.iter().any(|network| network.contains(self.client.peer.ip))
    }

    fn is_ours(&self, policy: &Policy, book: &mut Book) -> Result<bool, Stop> {
        Ok(self.returned || class::is_ours(policy, book, self.recipient)?)
    }

    fn sender_address(&self) -> Option<&Address> {
        match self.sender {
            ReversePath::Null => None,
            ReversePath::Address(address) => Some(address),
        }
    }
}

/// What one restriction says.
enum Say {
    /// Nothing: ask the next one.
    Next,
    /// The list is over.
    Permit,
    /// The recipient is refused.
    Refuse(Reply),
    /// See whether the recipient leads anywhere.
    Listed,
}

/// Runs both lists, `smtpd_relay_restrictions` first. `listed` finds out whether the recipient leads
/// anywhere.
pub(crate) fn check(
    policy: &Policy,
    book: &mut Book,
    attempt: &Attempt<'_>,
    listed: &mut dyn FnMut(&mut Book) -> Result<(), Stop>,
) -> Result<(), Stop> {
    for list in [&policy.relay_restrictions, &policy.recipient_restrictions] {
        run(list, policy, book, attempt, listed)?;
    }
    // Whatever the lists say: no open relay.
    let trusted = attempt.login().is_some() || attempt.in_mynetworks(policy);
    if !trusted && !attempt.is_ours(policy, book)? {
        return Err(Stop::Refuse(reply::relay_denied(attempt.recipient, false)));
    }
    Ok(())
}

fn run(
    list: &Vec<Restriction>,
    policy: &Policy,
    book: &mut Book,
    attempt: &Attempt<'_>,
    listed: &mut dyn FnMut(&mut Book) -> Result<(), Stop>,
) -> Result<(), Stop> {
    for restriction in list {
        match ask(*restriction, policy, book, attempt)? {
            Say::Next => {}
            Say::Permit => return Ok(()),
            Say::Refuse(reply) => return Err(Stop::Refuse(reply)),
            Say::Listed => listed(book)?,
        }
    }
    Ok(())
}

fn ask(
    restriction: Restriction,
    policy: &Policy,
    book: &mut Book,
    attempt: &Attempt<'_>,
) -> Result<Say, Stop> {
    let recipient = attempt.recipient;
    let permit_if = |yes| if yes { Say::Permit } else { Say::Next };
    let refuse_if = |no: Option<Reply>| no.map_or(Say::Next, Say::Refuse);
    Ok(match restriction {
        Restriction::Defer => Say::Refuse(reply::deferred(recipient)),
        Restriction::DeferUnauthDestination | Restriction::RejectUnauthDestination => {
            let for_good = restriction == Restriction::RejectUnauthDestination;
            if attempt.is_ours(policy, book)? {
                Say::Next
            } else {
                Say::Refuse(reply::relay_denied(recipient, for_good))
            }
        }
        Restriction::Permit => Say::Permit,
        Restriction::PermitAuthDestination => permit_if(attempt.is_ours(policy, book)?),
        Restriction::PermitMynetworks => permit_if(attempt.in_mynetworks(policy)),
        Restriction::PermitSaslAuthenticated => permit_if(attempt.login().is_some()),
        Restriction::Reject => Say::Refuse(reply::rejected(recipient)),
        Restriction::RejectNonFqdnRecipient => {
            refuse_if(unqualified(recipient).then(|| reply::not_qualified(recipient, "Recipient")))
        }
        Restriction::RejectNonFqdnSender => {
            let bad = attempt.sender_address().filter(|sender| unqualified(sender));
            refuse_if(bad.map(|sender| reply::not_qualified(sender, "Sender")))
        }
        Restriction::RejectSenderLoginMismatch
        | Restriction::RejectAuthenticatedSenderLoginMismatch
        | Restriction::RejectUnauthenticatedSenderLoginMismatch
        | Restriction::RejectKnownSenderLoginMismatch => {
            refuse_if(mismatch(restriction, policy, book, attempt)?)
        }
        Restriction::RejectUnlistedRecipient => Say::Listed,
    })
}

/// The rules about senders and logins. The null sender is anybody's.
fn mismatch(
    restriction: Restriction,
    policy: &Policy,
    book: &mut Book,
    attempt: &Attempt<'_>,
) -> Result<Option<Reply>, Stop> {
    let Some(sender) = attempt.sender_address().filter(|_| policy.sender_login_maps) else {
        return Ok(None);
    };
    match (restriction, attempt.login()) {
        (Restriction::RejectUnauthenticatedSenderLoginMismatch, Some(_))
        | (Restriction::RejectAuthenticatedSenderLoginMismatch, None)
        | (Restriction::RejectKnownSenderLoginMismatch, None) => Ok(None),
        (Restriction::RejectKnownSenderLoginMismatch, Some(user)) => {
            sender::authenticated(policy, book, sender, user, Unowned::Allow)
        }
        (_, Some(user)) => sender::authenticated(policy, book, sender, user, Unowned::Refuse),
        (_, None) => sender::unauthenticated(policy, book, sender),
    }
}

/// What a client writes in the From header: who has logged in, only addresses of the login.
pub(crate) fn author(
    policy: &Policy,
    book: &mut Book,
    client: &Client,
    author: &Address,
) -> Result<Verdict, Stop> {
    let Some(login) = client.login.as_ref().filter(|_| policy.sender_login_maps) else {
        return Ok(Verdict::Accept(Vec::new()));
    };
    let refused = sender::authenticated(policy, book, author, &login.user, Unowned::Refuse)?;
    Ok(match refused {
        None => Verdict::Accept(Vec::new()),
        Some(_) => Verdict::Refuse(reply::author_not_owned(author, &login.user)),
    })
}

fn unqualified(address: &Address) -> bool {
    !address.domain().is_literal() && !address.domain().as_str().contains('.')
}
