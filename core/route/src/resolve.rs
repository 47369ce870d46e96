//! The story of a recipient, top to bottom, and the machine that tells it.
//!
//! The story (`tell`) is plain code that reads from a book of answers. Where an answer is missing,
//! it stops and says which; the machine asks the tables, writes the answers down, and has the story
//! told again from the start. So it reads as if tables answered at once, and all that can be asked at
//! the same time is. Each telling goes at least one step further, and all of them together ask each
//! question once.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use waypost_machine::{CallId, Input, Ledger, Machine, Now, Step, Wait, Why};
use waypost_mail::{Address, Client, Delivery, Reply, ReversePath, Target, Verdict};

use crate::alias;
use crate::class::{self, Class};
use crate::lookup::{Book, Looked, Lookup, Map, Stop};
use crate::mailbox::{self, Mailbox};
use crate::policy::Policy;
use crate::relay::{self, Attempt};
use crate::reply;

/// Lookups under way at the same time for one recipient.
const PARALLEL: usize = 16;

/// What is to be decided.
#[derive(Clone, Debug)]
pub enum Request {
    /// RCPT TO: may this client send to this recipient, and where does it lead?
    Recipient {
        /// The session.
        client: Arc<Client>,
        /// MAIL FROM.
        sender: ReversePath,
        /// RCPT TO.
        recipient: Address,
    },
    /// RCPT TO with an address that we have made for somebody else's (SRS): may this client send
    /// from this sender at all, and where does it lead?
    Returned {
        /// The session.
        client: Arc<Client>,
        /// MAIL FROM.
        sender: ReversePath,
        /// RCPT TO.
        recipient: Address,
        /// Whom it stands for.
        to: Address,
    },
    /// A recipient that was accepted before and has waited ([`Target::Later`]): where does it lead
    /// now? No restriction is asked again.
    Again {
        /// The address that waited.
        to: Address,
        /// What the peer gave.
        orig_to: Address,
    },
    /// An address in the From header of a message: may this client write so? Only those are asked
    /// who have logged in; the verdict names no delivery.
    Author {
        /// The session.
        client: Arc<Client>,
        /// The address.
        author: Address,
    },
}

/// News of a resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A table did not answer.
    Unavailable {
        /// Which.
        map: Map,
        /// What was looked for.
        key: String,
        /// Why.
        why: String,
    },
    /// The tables hold something that cannot be used; somebody must look into it.
    Nonsense {
        /// The address that it is about.
        address: Address,
        /// What is wrong.
        what: String,
    },
    /// The end: comes once, before the machine closes.
    Verdict(Verdict),
}

/// Decides about one recipient: a machine without bytes.
///
/// It asks for [`Lookup`]s; its last fact is the [`Fact::Verdict`], after which it closes.
pub struct Resolve {
    policy: Arc<Policy>,
    request: Request,
    book: Book,
    ledger: Ledger,
    open: BTreeMap<CallId, (Map, String)>,
    queued: VecDeque<(Map, String)>,
    out: VecDeque<Step<Self>>,
    over: bool,
}

/// The story, and what it noticed on the way.
struct Story<'a> {
    policy: &'a Policy,
    nonsense: Vec<(Address, String)>,
}

/// Where one final address leads.
enum Lead {
    To(Address, Target),
    Unknown(Address, Class),
}

impl Resolve {
    /// Begins.
    pub fn new(now: Now, policy: Arc<Policy>, request: Request) -> Self {
        let mut resolve = Self {
            policy,
            request,
            book: Book::default(),
            ledger: Ledger::new(),
            open: BTreeMap::new(),
            queued: VecDeque::new(),
            out: VecDeque::new(),
            over: false,
        };
        resolve.go_on(now);
        resolve
    }

    fn recipient(&self) -> &Address {
        match &self.request {
            Request::Recipient { recipient, .. } | Request::Returned { recipient, .. } => recipient,
            Request::Again { to, .. } => to,
            Request::Author { author, .. } => author,
        }
    }

    /// Asks what is queued; with all answers there, tells the story again.
    fn go_on(&mut self, now: Now) {
        while !self.over {
            while self.open.len() < PARALLEL
                && let Some((map, key)) = self.queued.pop_front()
            {
                let ticket = self.ledger.open(Some(now.mono.plus(self.policy.lookup_timeout)));
                self.open.insert(ticket.id(), (map, key.clone()));
                self.out.push_back(Step::Call(Lookup { map, key, ticket }));
            }
            if !self.open.is_empty() {
                return;
            }
            let mut story = Story { policy: &self.policy, nonsense: Vec::new() };
            let end = match tell(&mut story, &mut self.book, &self.request) {
                Err(Stop::Wait) => {
                    self.queued = self.book.wanted().into();
                    continue;
                }
                Ok(verdict) => verdict,
                Err(Stop::Refuse(reply)) => Verdict::Refuse(reply),
                Err(Stop::Down) => Verdict::Refuse(reply::lookup_failure(self.recipient())),
            };
            let nonsense = story.nonsense;
            for (address, what) in nonsense {
                self.out.push_back(Step::Fact(Fact::Nonsense { address, what }));
            }
            self.end(end, Why::Done);
        }
    }

    fn end(&mut self, verdict: Verdict, why: Why) {
        self.over = true;
        self.queued.clear();
        self.open.clear();
        for id in self.ledger.cancel_all() {
            self.out.push_back(Step::Cancel(id));
        }
        self.out.push_back(Step::Fact(Fact::Verdict(verdict)));
        self.out.push_back(Step::Close(why));
    }

    fn learn(&mut self, id: CallId, looked: Looked) {
        let Some((map, key)) = self.open.remove(&id) else { return };
        let looked = match looked {
            Looked::Found(values) if values.is_empty() => Looked::Absent,
            other => other,
        };
        if let Looked::Unavailable(why) = &looked {
            let (key, why) = (key.clone(), why.clone());
            self.out.push_back(Step::Fact(Fact::Unavailable { map, key, why }));
        }
        self.book.learn(map, key, looked);
    }
}

impl Machine for Resolve {
    type Call = Lookup;
    type Reply = Looked;
    type Notice = core::convert::Infallible;
    type Fact = Fact;

    fn handle(&mut self, now: Now, input: Input<Self>) {
        if self.over {
            return;
        }
        match input {
            Input::Answer(answer) => {
                let (id, looked) = answer.into_parts();
                if self.ledger.close(id) {
                    self.learn(id, looked);
                }
            }
            Input::Tick => {}
            // Nobody waits for the verdict any more.
            Input::Eof | Input::Gone | Input::Stop => {
                let verdict = Verdict::Refuse(reply::lookup_failure(self.recipient()));
                return self.end(verdict, Why::Stopped);
            }
            Input::Bytes(_) | Input::Secured(_) => return,
            Input::Notice(never) => match never {},
        }
        while let Some(id) = self.ledger.expire(now.mono) {
            self.learn(id, Looked::Unavailable("no answer in time".into()));
            self.out.push_back(Step::Cancel(id));
        }
        self.go_on(now);
    }

    fn poll(&mut self, _room: usize) -> Step<Self> {
        let idle = Wait { until: self.ledger.until(), read: 0 };
        self.out.pop_front().unwrap_or(Step::Wait(idle))
    }
}

/// The story of a recipient.
fn tell(story: &mut Story<'_>, book: &mut Book, request: &Request) -> Result<Verdict, Stop> {
    let policy = story.policy;
    let (start, orig_to) = match request {
        Request::Recipient { client, sender, recipient } => {
            // Has the client a right to send from this sender to this recipient?
            let attempt = Attempt { client, sender, recipient, returned: false };
            let mut listed = |book: &mut Book| {
                let mut ahead = Story { policy, nonsense: Vec::new() };
                match leads(&mut ahead, book, recipient, recipient)? {
                    Verdict::Refuse(reply) => Err(Stop::Refuse(reply)),
                    Verdict::Accept(_) => Ok(()),
                }
            };
            relay::check(policy, book, &attempt, &mut listed)?;
            (recipient, recipient)
        }
        Request::Returned { client, sender, recipient, to } => {
            let attempt = Attempt { client, sender, recipient, returned: true };
            relay::check(policy, book, &attempt, &mut |_| Ok(()))?;
            (to, recipient)
        }
        Request::Again { to, orig_to } => (to, orig_to),
        Request::Author { client, author } => return relay::author(policy, book, client, author),
    };
    leads(story, book, start, orig_to)
}

/// Where does it lead? Through all aliases to mailboxes and other servers.
fn leads(
    story: &mut Story<'_>,
    book: &mut Book,
    start: &Address,
    orig_to: &Address,
) -> Result<Verdict, Stop> {
    let mut found = follow(story, book, start)?;
    let unknown = |lead: &Lead| matches!(lead, Lead::Unknown(..));
    if found.iter().all(unknown)
        && let Some(postmaster) = &story.policy.postmaster
        && ["postmaster", "abuse", "root"].iter().any(|n| start.local().eq_ignore_ascii_case(n))
    {
        found = follow(story, book, postmaster)?;
    }
    // A recipient that leads nowhere at all is refused while the peer is still there to be told.
    if found.iter().all(unknown)
        && let Some(Lead::Unknown(_, class)) = found.first()
    {
        return Ok(Verdict::Refuse(reply::unknown_user(start, *class)));
    }
    let delivery = |to, target| Delivery { to, orig_to: orig_to.clone(), target };
    let deliveries = found.into_iter().map(|lead| match lead {
        Lead::To(to, target) => delivery(to, target),
        Lead::Unknown(to, _) => {
            let reply = reply::unknown_target(&to);
            delivery(to, Target::Undeliverable(reply))
        }
    });
    Ok(Verdict::Accept(deliveries.collect()))
}

/// Expands the aliases and finds the target of each final address.
fn follow(story: &mut Story<'_>, book: &mut Book, start: &Address) -> Result<Vec<Lead>, Stop> {
    let expansion = alias::expand(story.policy, book, start)?;
    let mut leads = Vec::with_capacity(expansion.addresses.len());
    let mut waiting = false;
    for address in expansion.addresses {
        match lead(story, book, address) {
            Ok(lead) => leads.push(lead),
            Err(Stop::Wait) => waiting = true,
            Err(other) => return Err(other),
        }
    }
    for (alias, text) in expansion.bad {
        let what = alloc::format!("alias lookup gave no address: '{}'", text.escape_debug());
        leads.push(story.later(alias, what));
    }
    if waiting { Err(Stop::Wait) } else { Ok(leads) }
}

/// Where one final address leads.
fn lead(story: &mut Story<'_>, book: &mut Book, address: Address) -> Result<Lead, Stop> {
    let class = class::of(story.policy, book, address.domain())?;
    Ok(match class {
        Class::Local | Class::VirtualAlias => Lead::Unknown(address, class),
        Class::VirtualMailbox => match mailbox::find(story.policy, book, &address)? {
            Mailbox::Home(home) => Lead::To(address, Target::Maildir(home)),
            Mailbox::Unknown => Lead::Unknown(address, class),
            Mailbox::Nonsense(what) => story.later(address, what),
        },
        Class::Relay | Class::Default => Lead::To(address, Target::Remote),
    })
}

impl Story<'_> {
    /// The mail waits until somebody has looked into it.
    fn later(&mut self, address: Address, what: String) -> Lead {
        let reply: Reply = reply::nonsense(&what);
        self.nonsense.push((address.clone(), what));
        Lead::To(address, Target::Later(reply))
    }
}
