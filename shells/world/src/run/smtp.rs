//! What an SMTP session asks for.

use std::borrow::Cow;
use std::sync::Arc;

use waypost_mail::{Enhanced, Reply, Verdict};
use waypost_route::Request;
use waypost_smtp::server::{self as smtp, Call};

use crate::Inner;
use crate::promise::{Done, Promise};
use crate::run::login;
use crate::run::resolve::resolve;

/// Runs one call.
pub(crate) fn run(world: &Arc<Inner>, call: Call, done: Done<smtp::Reply>) {
    match call {
        Call::Authenticate { client: _, credentials, ticket } => {
            let promise = Promise::new(ticket, done, || waypost_sasl::Verified::Unavailable);
            login::verify(world, credentials, Box::new(move |verified| promise.keep(verified)));
        }
        Call::Recipient { client, sender, recipient, ticket } => {
            let promise = Promise::new(ticket, done, || Verdict::Refuse(not_now()));
            let request = Request::Recipient { client, sender, recipient };
            let keep = Box::new(move |verdict| promise.keep(verdict));
            resolve(&world.lookups, &world.settings.clock, &world.policy, request, keep);
        }
        Call::Begin { ticket, .. } => {
            drop(Promise::new(ticket, done, || smtp::Begun::Failed(not_now())));
        }
        Call::Append { ticket, .. } => {
            drop(Promise::new(ticket, done, || smtp::Appended::Failed(not_now())));
        }
        Call::Commit { ticket, .. } => {
            drop(Promise::new(ticket, done, || smtp::Committed::Failed(not_now())));
        }
        Call::Abort { ticket, .. } => drop(Promise::new(ticket, done, || smtp::Aborted)),
    }
}

/// The reply when something of ours failed.
pub(crate) fn not_now() -> Reply {
    Reply::new(451, Enhanced(4, 3, 0), Cow::Borrowed("Error: queue file write error"))
}
