//! An IMAP session: its calls go to the world, its facts to the log.

use std::sync::{Arc, Weak};

use waypost_driver::Fault;
use waypost_imap::server::{Call, Fact, Server};
use waypost_machine::{TlsInfo, Why};
use waypost_world::{ImapSession, World};

use crate::log;
use crate::session::Role;
use crate::session::post::{Arrival, Post};

type Session = waypost_machine::Session<Server>;

pub(crate) struct Imap {
    world: World,
    /// Made with the first call: a client that never logs in needs none.
    mailboxes: Option<Arc<ImapSession>>,
    log: log::imap::Session,
}

impl Imap {
    pub(crate) fn new(world: World, log: log::imap::Session) -> Self {
        Self { world, mailboxes: None, log }
    }
}

impl Role for Imap {
    type Machine = Session;

    fn call(&mut self, call: Call, post: &Arc<Post<Session>>) {
        let mailboxes = self.mailboxes.get_or_insert_with(|| {
            // The world may outlive the session; it must not keep its letter box.
            let post: Weak<Post<Session>> = Arc::downgrade(post);
            Arc::new(self.world.imap_session(move |notice| {
                if let Some(post) = post.upgrade() {
                    post.put(Arrival::Notice(notice));
                }
            }))
        });
        let post = Arc::clone(post);
        self.world.imap(mailboxes, call, move |answer| post.put(Arrival::Answer(answer)));
    }

    fn fact(&mut self, fact: Fact) {
        self.log.fact(&fact);
    }

    fn secured(&mut self, info: TlsInfo) {
        self.log.secured(&info);
    }

    fn fault(&mut self, fault: &Fault) {
        self.log.fault(fault);
    }

    fn ended(&mut self, _: &Session, why: Why) {
        self.log.ended(why);
    }
}
