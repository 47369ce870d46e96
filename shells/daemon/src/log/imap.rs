//! An IMAP session, in the words of Dovecot's imap-login and imap.

use std::net::IpAddr;
use std::process;
use std::sync::Arc;

use waypost_driver::Fault;
use waypost_imap::server::Fact;
use waypost_machine::{Time, TlsInfo, Why};
use waypost_mail::Peer;
use waypost_world::Clock;

use crate::log::{line, smtp};

/// What a classic line names before its colon.
const PROGRAM: &str = "dovecot";

/// The session that lines are about.
pub(crate) struct Session {
    clock: Arc<dyn Clock>,
    peer: Peer,
    local: IpAddr,
    id: String,
    tls: bool,
    started: Time,
    /// Once logged in.
    user: Option<Box<str>>,
    failures: Failures,
    /// What was wrong with TLS.
    fault: Option<String>,
    farewell: bool,
}

/// Refused logins.
#[derive(Default)]
struct Failures {
    count: u32,
    user: Box<str>,
    method: &'static str,
    /// The directory was down: the client is not to blame.
    unavailable: bool,
}

impl Session {
    pub(crate) fn new(clock: Arc<dyn Clock>, peer: Peer, local: IpAddr, number: u64) -> Self {
        let now = clock.now();
        // No other session has the same: the time, and a number within this process.
        let id = format!("{:x}.{number:x}", now.wall.secs);
        Self {
            started: now.mono,
            clock,
            peer,
            local: local.to_canonical(),
            id,
            tls: false,
            user: None,
            failures: Failures::default(),
            fault: None,
            farewell: false,
        }
    }

    pub(crate) fn secured(&mut self, info: &TlsInfo) {
        self.tls = true;
        tracing::debug!(target: "waypost", "TLS connection from {}: {}", smtp::peer(&self.peer), smtp::tls(info));
    }

    pub(crate) fn fault(&mut self, fault: &Fault) {
        if let Fault::Tls(_) | Fault::WriteTimeout = fault {
            self.fault = Some(fault.to_string());
        }
    }

    pub(crate) fn fact(&mut self, fact: &Fact) {
        match fact {
            Fact::LoggedIn { user, method } => {
                self.user = Some(user.clone());
                let pid = format!("mpid={}, ", process::id());
                self.line(&format!("imap-login: Login: {}", self.who(user, method, &pid)));
            }
            Fact::LoginFailed { user, method, unavailable } => {
                self.failures.count += 1;
                self.failures.user = user.clone();
                self.failures.method = method;
                self.failures.unavailable |= unavailable;
            }
            Fact::Disconnected { user: Some(user), reason, octets } => {
                self.farewell = true;
                let reason = self.fault.as_deref().unwrap_or(reason);
                let text = format!(
                    "imap({user})<{}><{}>: Disconnected: {reason} in={} out={}",
                    process::id(),
                    self.id,
                    octets.0,
                    octets.1
                );
                self.line(&text);
            }
            Fact::Disconnected { user: None, reason, .. } => self.never_logged_in(reason),
        }
    }

    pub(crate) fn ended(&mut self, why: Why) {
        if self.farewell {
            return;
        }
        let reason = match why {
            Why::Done => "Logged out",
            Why::Gone => "Connection closed",
            Why::Timeout => "Inactivity",
            Why::Stopped => "Server shutting down",
            Why::Injected => "Injected commands",
            Why::Refused => "Too much input",
        };
        match self.user.clone() {
            Some(user) => {
                self.fact(&Fact::Disconnected { user: Some(user), reason, octets: (0, 0) })
            }
            None => self.never_logged_in(reason),
        }
    }

    fn never_logged_in(&mut self, reason: &str) {
        self.farewell = true;
        let reason = match &self.fault {
            Some(fault) => fault.clone(),
            // fail2ban knows the end of a session without a login by these words.
            None if reason == "Logged out" => "Aborted login by logging out".into(),
            None => reason.into(),
        };
        let seconds = self.clock.mono().since(self.started).as_secs();
        let Failures { count, user, method, unavailable } = &self.failures;
        let attempts = match count {
            0 => format!("no auth attempts in {seconds} secs"),
            count if *unavailable => {
                format!("auth service not available, {count} attempts in {seconds} secs")
            }
            count => format!("auth failed, {count} attempts in {seconds} secs"),
        };
        let who = self.who(user, method, "");
        self.line(&format!("imap-login: Disconnected: {reason} ({attempts}): {who}"));
    }

    /// `user=<mail000>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.2, mpid=42, TLS, session=<..>`
    fn who(&self, user: &str, method: &str, pid: &str) -> String {
        let method = match method {
            "" => String::new(),
            method => format!("method={method}, "),
        };
        let tls = if self.tls { "TLS, " } else { "" };
        let (peer, local, id) = (self.peer.ip.to_canonical(), self.local, &self.id);
        format!("user=<{user}>, {method}rip={peer}, lip={local}, {pid}{tls}session=<{id}>")
    }

    fn line(&self, text: &str) {
        line(PROGRAM, None, text);
    }
}
