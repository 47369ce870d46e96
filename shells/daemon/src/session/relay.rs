//! A session with another server: its calls go to whoever has it take mail there.

use std::sync::Arc;

use waypost_driver::Fault;
use waypost_machine::{CallId, TlsInfo, Why};
use waypost_relay::Line;
use waypost_smtp::client::{Call, Client, Fact};

use crate::session::Role;
use crate::session::post::{Arrival, Post};

type Session = waypost_machine::Session<Client>;

pub(crate) struct Relay(Line);

impl Relay {
    pub(crate) fn new(line: Line) -> Self {
        Self(line)
    }
}

impl Role for Relay {
    type Machine = Session;

    fn call(&mut self, call: Call, post: &Arc<Post<Session>>) {
        let post = Arc::clone(post);
        self.0.call(call, move |answer| post.put(Arrival::Answer(answer)));
    }

    fn cancel(&mut self, id: CallId) {
        self.0.cancel(id);
    }

    fn fact(&mut self, fact: Fact) {
        self.0.fact(fact);
    }

    /// The client says it itself, with its facts.
    fn secured(&mut self, _: TlsInfo) {}

    fn fault(&mut self, fault: &Fault) {
        self.0.fault(matches!(fault, Fault::Tls(_)), &fault.to_string());
    }

    fn ended(&mut self, machine: &Session, why: Why) {
        self.0.ended(machine.protocol(), why);
    }
}
