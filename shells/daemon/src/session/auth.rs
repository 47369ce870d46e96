//! A connection of a service that asks about logins, by Dovecot's protocol.

use std::sync::Arc;

use waypost_auth::{Call, Fact, Origin, Server};
use waypost_driver::Fault;
use waypost_machine::{TlsInfo, Why};
use waypost_sasl::Verified;
use waypost_world::World;

use crate::log;
use crate::session::Role;
use crate::session::post::{Arrival, Post};

type Session = waypost_machine::Session<Server>;

/// What a classic line names before its colon.
const PROGRAM: &str = "dovecot";

pub(crate) struct Auth {
    world: World,
}

impl Auth {
    pub(crate) fn new(world: World) -> Self {
        Self { world }
    }
}

impl Role for Auth {
    type Machine = Session;

    fn call(&mut self, call: Call, post: &Arc<Post<Session>>) {
        let Call::Authenticate { credentials, ticket, .. } = call;
        let post = Arc::clone(post);
        let done = move |verified: Verified| post.put(Arrival::Answer(ticket.answer(verified)));
        self.world.verify(credentials, done);
    }

    fn fact(&mut self, fact: Fact) {
        match fact {
            Fact::Login { outcome: Verified::Accepted(_), .. } => {}
            Fact::Login { origin, user, mechanism, outcome } => {
                let why = match outcome {
                    Verified::Unavailable => "not now",
                    _ => "refused",
                };
                let text = format!(
                    "auth: login {why}: user=<{user}>, method={mechanism}, {}",
                    from(&origin)
                );
                log::line(PROGRAM, None, &text);
            }
            Fact::Broken { fault } => {
                log::warning(PROGRAM, &format!("auth: client broke the protocol: {fault}"));
            }
        }
    }

    fn secured(&mut self, _: TlsInfo) {}

    fn fault(&mut self, fault: &Fault) {
        tracing::debug!(target: "waypost", "auth: {fault}");
    }

    fn ended(&mut self, _: &Session, _: Why) {}
}

/// `rip=192.0.2.1, lip=192.0.2.2, service=smtp`
fn from(origin: &Origin) -> String {
    let mut text = String::new();
    for (name, address) in [("rip", origin.remote), ("lip", origin.local)] {
        if let Some(address) = address {
            text += &format!("{name}={address}, ");
        }
    }
    text + "service=" + &origin.service
}
