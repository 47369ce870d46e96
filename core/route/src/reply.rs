//! Every reply that routing gives. The words are those of Postfix.

use alloc::format;

use waypost_mail::{Address, Enhanced, Reply};

use crate::class::Class;

/// A table did not answer: the address may come again.
pub(crate) fn lookup_failure(about: &Address) -> Reply {
    let text = format!("<{}>: Temporary lookup failure", about.lookup_key());
    Reply::new(451, Enhanced(4, 3, 0), text)
}

/// The recipient is not ours, and the client may not send elsewhere.
pub(crate) fn relay_denied(recipient: &Address, for_good: bool) -> Reply {
    let text = format!("<{}>: Relay access denied", recipient.lookup_key());
    if for_good {
        Reply::new(554, Enhanced(5, 7, 1), text)
    } else {
        Reply::new(454, Enhanced(4, 7, 1), text)
    }
}

/// `reject`
pub(crate) fn rejected(recipient: &Address) -> Reply {
    let text = format!("<{}>: Recipient address rejected: Access denied", recipient.lookup_key());
    Reply::new(554, Enhanced(5, 7, 1), text)
}

/// `defer`
pub(crate) fn deferred(recipient: &Address) -> Reply {
    let text = format!("<{}>: Recipient address rejected: Try again later", recipient.lookup_key());
    Reply::new(450, Enhanced(4, 3, 2), text)
}

/// A domain without a dot. `which` is `Sender` or `Recipient`.
pub(crate) fn not_qualified(address: &Address, which: &str) -> Reply {
    let key = address.lookup_key();
    let text = format!("<{key}>: {which} address rejected: need fully-qualified address");
    Reply::new(504, Enhanced(5, 5, 2), text)
}

/// A login used an address of somebody else, or of nobody.
pub(crate) fn not_owned(sender: &Address, user: &str) -> Reply {
    let key = sender.lookup_key();
    let text = format!("<{key}>: Sender address rejected: not owned by user {user}");
    Reply::new(553, Enhanced(5, 7, 1), text)
}

/// A login wrote an address of somebody else, or of nobody, in the From header.
pub(crate) fn author_not_owned(author: &Address, user: &str) -> Reply {
    let key = author.lookup_key();
    let text = format!("<{key}>: From address rejected: not owned by user {user}");
    Reply::new(553, Enhanced(5, 7, 1), text)
}

/// Somebody without a login used an address that has an owner.
pub(crate) fn not_logged_in(sender: &Address) -> Reply {
    let text = format!("<{}>: Sender address rejected: not logged in", sender.lookup_key());
    Reply::new(553, Enhanced(5, 7, 1), text)
}

/// The recipient leads nowhere. `class` is that of the address where it ends.
pub(crate) fn unknown_user(recipient: &Address, class: Class) -> Reply {
    let table = match class {
        Class::VirtualAlias => "virtual alias table",
        Class::VirtualMailbox => "virtual mailbox table",
        Class::Local | Class::Relay | Class::Default => "local recipient table",
    };
    let key = recipient.lookup_key();
    let text = format!("<{key}>: Recipient address rejected: User unknown in {table}");
    Reply::new(550, Enhanced(5, 1, 1), text)
}

/// One of an alias's addresses leads nowhere; for the failure notice.
pub(crate) fn unknown_target(address: &Address) -> Reply {
    let text = format!("unknown user: \"{}\"", address.lookup_key());
    Reply::new(550, Enhanced(5, 1, 1), text)
}

/// The aliases lead to one another without end, or to too many addresses.
pub(crate) fn alias_error(recipient: &Address) -> Reply {
    let text = format!("<{}>: Alias expansion error", recipient.lookup_key());
    Reply::new(451, Enhanced(4, 6, 0), text)
}

/// "System incorrectly configured" (RFC 3463 3.4): the code of a [`waypost_mail::Target::Later`] whose
/// tables say what cannot be used. Whoever has it was found beside all others of an alias.
pub const NONSENSE: Enhanced = Enhanced(4, 3, 5);

/// A table has an answer that cannot be used: somebody must look into it.
pub(crate) fn nonsense(what: &str) -> Reply {
    Reply::new(451, NONSENSE, alloc::string::String::from(what))
}
