//! The worlds that the tests of the core run their machines in.

#[path = "../../core/imap/tests/fake/mod.rs"]
pub(crate) mod imap;
#[path = "../../core/queue/tests/common/mod.rs"]
pub(crate) mod queue;
#[path = "../../core/smtp/tests/remote/mod.rs"]
pub(crate) mod remote;
#[path = "../../core/route/tests/common/mod.rs"]
pub(crate) mod route;
#[path = "../../core/smtp/tests/common/mod.rs"]
pub(crate) mod smtp;
