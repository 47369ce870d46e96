//! The client machine alone: no sockets, and time passes when it waits for a host that is silent.
//!
//! One attempt is one connection here: which host comes next, and what follows a handshake that
//! failed, is the business of others.

use super::Side;
use super::play::{MESSAGE, SENDER};
use super::script::{Case, Tls as Kind};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use waypost_machine::{Input, Limits, Machine, Now, Session, Step, TlsInfo, TlsRole, Why};
use waypost_mail::{Address, Body, ReversePath};
use waypost_smtp::client::{
    Call, Client, Config, Disposition, Mail, Next, Outcome, Read, Remote, Reported, Tls, To,
};

/// A client for one case.
pub struct Bare {
    config: Arc<Config>,
    /// Recipients whose fate is open, and all addresses by name.
    open: Vec<String>,
    domain: String,
    now: Now,
    session: Option<Session<Client>>,
    said: Vec<u8>,
    reads: usize,
    secure: bool,
    closed: Option<Why>,
    fates: BTreeMap<String, String>,
}

impl Bare {
    /// For this case; recipients are at `domain`.
    ///
    /// # Errors
    /// A level that is unknown.
    pub fn new(case: &Case, domain: &str) -> Result<Self, String> {
        let tls = match &*case.level {
            "none" => Tls::Never,
            "may" => Tls::IfOffered,
            "encrypt" | "verify" | "secure" => Tls::Required,
            level => return Err(format!("unknown level {level}")),
        };
        Ok(Self {
            config: Arc::new(Config { tls, ..Config::new("mail.example.com") }),
            open: case.to.clone(),
            domain: domain.to_owned(),
            now: Now::default(),
            session: None,
            said: Vec::new(),
            reads: 0,
            secure: false,
            closed: Some(Why::Done),
            fates: BTreeMap::new(),
        })
    }

    fn mail(&self) -> Result<Mail, String> {
        let address = |text: &str| Address::parse(text).map_err(|e| format!("{text}: {e}"));
        let to = |one: &String| {
            let address = address(&format!("{one}@{}", self.domain))?;
            Ok(To { address, notify: None, orcpt: None })
        };
        Ok(Mail {
            id: 1,
            sender: ReversePath::Address(address(SENDER)?),
            recipients: self.open.iter().map(to).collect::<Result<_, String>>()?,
            size: MESSAGE.len() as u64,
            body: Body::SevenBit,
            smtputf8: false,
            utf8_header: false,
            ret: None,
            envid: None,
        })
    }

    fn handle(&mut self, input: Input<Session<Client>>) {
        if let Some(session) = &mut self.session {
            session.handle(self.now, input);
        }
    }

    /// Lets it work until it wants to read, or a handshake, or has closed.
    fn pump(&mut self) -> Option<waypost_machine::Time> {
        loop {
            let step = self.session.as_mut()?.poll(usize::MAX);
            match step {
                Step::Send(bytes) => self.said.extend_from_slice(&bytes),
                Step::Call(call) => {
                    let answer = match call {
                        Call::Report { outcome, ticket, .. } => {
                            self.note(&outcome);
                            ticket.answer(Reported)
                        }
                        Call::NextMessage { ticket } => ticket.answer(Next::Quit),
                        Call::Read { from, len, ticket, .. } => {
                            let from = usize::try_from(from).unwrap_or(usize::MAX);
                            let rest = MESSAGE.get(from..).unwrap_or_default();
                            let bytes = Bytes::from_static(&rest[..rest.len().min(len)]);
                            let end = bytes.len() == rest.len();
                            ticket.answer(Read::Block { bytes, end })
                        }
                    };
                    self.handle(Input::Answer(answer));
                }
                Step::Cancel(_) | Step::Fact(_) => {}
                Step::Secure(TlsRole::Client { .. } | TlsRole::Server) => self.secure = true,
                Step::Close(why) => {
                    self.closed = Some(why);
                    let rest = self.session.as_ref()?.protocol().unfinished(self.now, why, None);
                    if let Some(outcome) = rest {
                        self.note(&outcome);
                    }
                }
                Step::Wait(wait) => {
                    self.reads = wait.read;
                    return wait.until;
                }
            }
        }
    }

    fn note(&mut self, outcome: &Outcome) {
        for (to, disposition) in outcome.mail.recipients.iter().zip(&outcome.recipients) {
            let local = to.address.to_string();
            let local = local.split('@').next().unwrap_or_default().to_owned();
            let fate = match disposition {
                Disposition::Delivered(reply) => {
                    format!("sent {} ({})", reply.status(), reply.text)
                }
                Disposition::Deferred(trouble) => {
                    format!("deferred {} ({})", trouble.status, trouble.reason)
                }
                Disposition::Bounced(trouble) => {
                    format!("bounced {} ({})", trouble.status, trouble.reason)
                }
            };
            if !matches!(disposition, Disposition::Deferred(_)) {
                self.open.retain(|open| *open != local);
            }
            self.fates.insert(local, fate);
        }
    }

    /// Waits until it has said as much as is wanted; false when it has closed before.
    fn wait(&mut self, enough: impl Fn(&[u8]) -> bool) -> Result<bool, String> {
        loop {
            let until = self.pump();
            if enough(&self.said) {
                return Ok(true);
            }
            if self.closed.is_some() {
                return Ok(false);
            }
            if self.secure {
                return Err("it waits for a handshake".into());
            }
            // The host is silent: time passes.
            self.now.mono = until.ok_or("nothing would ever wake it")?;
            self.handle(Input::Tick);
        }
    }
}

impl Side for Bare {
    fn connection(&mut self, _: Option<&str>) -> Result<(), String> {
        self.pump();
        if self.closed.is_none() || !self.said.is_empty() {
            return Err("the last connection is still open".into());
        }
        if self.open.is_empty() {
            return Err("no recipient is left".into());
        }
        let remote = Remote {
            name: "mx.remote.test".into(),
            ip: [192, 0, 2, 25].into(),
            port: 25,
            nexthop: self.domain.as_str().into(),
            best: true,
        };
        let client = Client::new(Arc::clone(&self.config), remote, Arc::new(self.mail()?));
        self.closed = None;
        self.session = Some(Session::new(self.now, client, Limits::default()));
        Ok(())
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let ends = |said: &[u8]| said.iter().position(|&b| b == b'\n');
        if self.wait(|said| ends(said).is_some())? {
            let end = ends(&self.said).map_or(0, |end| end + 1);
            return Ok(Some(self.said.drain(..end).collect()));
        }
        match self.said.is_empty() {
            true => Ok(None),
            false => Err("it closes in the middle of a line".into()),
        }
    }

    fn octets(&mut self, count: usize) -> Result<Vec<u8>, String> {
        if self.wait(|said| said.len() >= count)? {
            return Ok(self.said.drain(..count).collect());
        }
        Err("it closes before".into())
    }

    fn say(&mut self, bytes: &[u8]) {
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() && self.closed.is_none() {
            self.pump();
            if self.reads == 0 || self.closed.is_some() {
                break;
            }
            let part = rest.split_to(rest.len().min(self.reads));
            self.handle(Input::Bytes(part));
        }
        self.pump();
    }

    fn secure(&mut self, how: Kind) -> Result<(), String> {
        self.pump();
        if !std::mem::take(&mut self.secure) {
            return Err("it does not want a handshake".into());
        }
        if how == Kind::Good {
            let info = TlsInfo { protocol: "TLSv1.3", bits: 256, ..TlsInfo::default() };
            self.handle(Input::Secured(info));
        } else {
            // What a shell does when the handshake fails.
            self.handle(Input::Gone);
        }
        self.pump();
        Ok(())
    }

    fn close(&mut self) {
        self.pump();
        self.handle(Input::Eof);
        self.pump();
        self.said.clear();
    }

    fn reset(&mut self) {
        self.pump();
        self.handle(Input::Gone);
        self.pump();
        self.said.clear();
    }

    fn fate(&mut self, recipient: &str) -> Result<String, String> {
        self.pump();
        self.fates.remove(recipient).ok_or_else(|| format!("nothing is told of {recipient}"))
    }

    fn retry(&mut self) -> Result<(), String> {
        Ok(())
    }
}
