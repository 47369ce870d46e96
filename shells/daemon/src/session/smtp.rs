//! An SMTP session: its calls go to the world, its facts to the log.

use std::sync::{Arc, Mutex, PoisonError};

use waypost_driver::Fault;
use waypost_machine::{CallId, Ledger, TlsInfo, Why};
use waypost_smtp::server::{Begun, Call, Fact, MessageId, Reply, Server};
use waypost_world::World;

use crate::log;
use crate::session::Role;
use crate::session::post::{Arrival, Post};

type Session = waypost_machine::Session<Server>;

pub(crate) struct Smtp {
    world: World,
    log: log::smtp::Session,
    /// The last message that was asked for.
    beginning: Option<(CallId, Arc<Mutex<Beginning>>)>,
    /// The log has the session's last line.
    farewell: bool,
}

/// What has become of a [`Call::Begin`].
#[derive(Clone, Copy)]
enum Beginning {
    Asked,
    Ready(MessageId),
    Cancelled,
}

impl Smtp {
    pub(crate) fn new(world: World, log: log::smtp::Session) -> Self {
        Self { world, log, beginning: None, farewell: false }
    }
}

impl Role for Smtp {
    type Machine = Session;

    fn call(&mut self, call: Call, post: &Arc<Post<Session>>) {
        let post = Arc::clone(post);
        let Call::Begin { envelope, ticket } = call else {
            return self.world.smtp(call, move |answer| post.put(Arrival::Answer(answer)));
        };
        let state = Arc::new(Mutex::new(Beginning::Asked));
        self.beginning = Some((ticket.id(), Arc::clone(&state)));
        let world = self.world.clone();
        self.world.smtp(Call::Begin { envelope, ticket }, move |answer| {
            if let Reply::Begun(Begun::Ready { message, .. }) = answer.value() {
                begun_meanwhile(&world, &state, *message);
            }
            post.put(Arrival::Answer(answer));
        });
    }

    /// No other call will name a message whose beginning was cancelled: it is given up here.
    fn cancel(&mut self, id: CallId) {
        let Some((_, state)) = self.beginning.take_if(|(begin, _)| *begin == id) else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Beginning::Ready(message) = *state {
            abort(&self.world, message);
        }
        *state = Beginning::Cancelled;
    }

    fn fact(&mut self, fact: Fact) {
        self.farewell |= matches!(fact, Fact::Disconnected { .. });
        self.log.fact(&fact);
    }

    fn secured(&mut self, info: TlsInfo) {
        self.log.secured(&info);
    }

    fn fault(&mut self, fault: &Fault) {
        self.log.fault(fault);
    }

    fn ended(&mut self, machine: &Session, why: Why) {
        if !self.farewell {
            let lost = match why {
                Why::Done | Why::Stopped => None,
                Why::Gone => Some("lost connection"),
                Why::Timeout => Some("timeout"),
                Why::Injected => Some("injected commands"),
                Why::Refused => Some("too much input"),
            };
            self.log.fact(&machine.protocol().farewell(lost));
        }
    }
}

fn begun_meanwhile(world: &World, state: &Mutex<Beginning>, message: MessageId) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    match *state {
        Beginning::Cancelled => abort(world, message),
        _ => *state = Beginning::Ready(message),
    }
}

fn abort(world: &World, message: MessageId) {
    let ticket = Ledger::new().open(None);
    world.smtp(Call::Abort { message, ticket }, |_| {});
}
