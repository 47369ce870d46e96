//! What is done for each call: call in, answer out, in plain steps.

pub(crate) mod imap;
pub(crate) mod login;
pub(crate) mod query;
pub(crate) mod smtp;
