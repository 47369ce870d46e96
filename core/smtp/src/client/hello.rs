//! From the greeting to the login: EHLO, HELO, STARTTLS, AUTH.

use alloc::format;
use alloc::string::String;

use waypost_machine::{Cx, TlsInfo, TlsRole, Why};
use waypost_mail::Enhanced;
use waypost_sasl::plain_response;

use super::call::Fact;
use super::config::{Config, Tls};
use super::outcome::{Cause, Stage, Trouble};
use super::reply::{RemoteReply, Said};
use super::{Client, Phase};

/// What the host offers (RFC 5321 4.1.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): octets; 0 when it names no limit.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH with PLAIN (RFC 4954).
    pub auth_plain: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
}

impl Features {
    /// Reads the lines of a reply to EHLO, after the first.
    fn parse(lines: &str, config: &Config) -> Self {
        let mut features = Self::default();
        for line in lines.lines().skip(1) {
            let line = line.get(4..).unwrap_or_default();
            // Some write AUTH=PLAIN, as a draft once had it.
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            if config.discard.iter().any(|word| word.eq_ignore_ascii_case(keyword)) {
                continue;
            }
            match &*keyword.to_ascii_uppercase() {
                "PIPELINING" => features.pipelining = true,
                // A limit beyond all sizes, or none that can be read, is none.
                "SIZE" => {
                    features.size = Some(words.next().and_then(|w| w.parse().ok()).unwrap_or(0));
                }
                "8BITMIME" => features.eight_bit = true,
                "STARTTLS" => features.starttls = true,
                "AUTH" => {
                    features.auth_plain |= words.any(|word| word.eq_ignore_ascii_case("PLAIN"));
                }
                "DSN" => features.dsn = true,
                "SMTPUTF8" => features.smtputf8 = true,
                "CHUNKING" => features.chunking = config.chunking,
                _ => {}
            }
        }
        features
    }
}

impl Client {
    pub(super) fn greeted(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        if !reply.is_success() {
            return self.unwelcome(cx, Stage::Greeting, reply);
        }
        cx.fact(Fact::Greeted(reply));
        self.hello(cx, Stage::Ehlo);
    }

    fn hello(&mut self, cx: &mut Cx<'_, Self>, stage: Stage) {
        let verb = if stage == Stage::Ehlo { "EHLO" } else { "HELO" };
        let line = format!("{verb} {}", self.config.helo);
        self.command(cx, stage, &line);
    }

    pub(super) fn helloed(&mut self, cx: &mut Cx<'_, Self>, stage: Stage, said: Said) {
        let Said { reply, lines } = said;
        if reply.code / 100 == 5 && stage == Stage::Ehlo {
            return self.hello(cx, Stage::Helo);
        }
        if !reply.is_success() {
            return self.unwelcome(cx, stage, reply);
        }
        let name = lines.get(4..).and_then(|rest| rest.split_ascii_whitespace().next());
        if self.config.detect_loops
            && name.is_some_and(|name| name.eq_ignore_ascii_case(&self.config.helo))
        {
            return self.found_ourselves(cx, stage);
        }
        if stage == Stage::Ehlo {
            self.features = Features::parse(&lines, &self.config);
        }
        if self.features.smtputf8 && !self.features.eight_bit {
            self.features.eight_bit = true;
            cx.fact(Fact::Utf8WithoutEightBit);
        }
        self.want_tls(cx, stage);
    }

    fn found_ourselves(&mut self, cx: &mut Cx<'_, Self>, stage: Stage) {
        let class = if self.remote.best { 5 } else { 4 };
        let reason = format!("mail for {} loops back to myself", self.remote.nexthop).into();
        let trouble = Trouble::own(stage, Cause::Loop, Enhanced(class, 4, 6), reason);
        self.give_up_politely(cx, trouble);
    }

    fn want_tls(&mut self, cx: &mut Cx<'_, Self>, stage: Stage) {
        match self.config.tls {
            Tls::IfOffered | Tls::Required if self.tls.is_some() => self.want_login(cx),
            Tls::IfOffered | Tls::Required if self.features.starttls => {
                self.command(cx, Stage::StartTls, "STARTTLS");
            }
            Tls::Required => {
                let reason =
                    format!("TLS is required, but was not offered by host {}", self.remote).into();
                let own = Trouble::own(stage, Cause::Tls, Enhanced(4, 7, 4), reason);
                self.give_up_politely(cx, Trouble { elsewhere: true, ..own });
            }
            Tls::Never | Tls::IfOffered | Tls::Implicit => self.want_login(cx),
        }
    }

    pub(super) fn may_secure(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        if reply.is_success() {
            if !cx.input.is_empty() {
                // RFC 3207 6: it came in clear, from who knows whom.
                let said =
                    String::from_utf8_lossy(&cx.input.head(64)).replace(char::is_control, "?");
                let said = format!("host {} said in clear, after STARTTLS: {said}", self.remote);
                let trouble = Trouble::nonsense(Stage::StartTls, &said, None);
                return self.give_up(cx, trouble, Why::Injected);
            }
            return self.secure(cx);
        }
        if !reply.is_refusal() {
            let trouble = Trouble::said(&self.remote, Stage::StartTls, reply);
            return self.give_up(cx, trouble, Why::Refused);
        }
        if self.config.tls == Tls::Required {
            let reason = format!(
                "TLS is required, but host {} refused to start TLS: {}",
                self.remote, reply.text
            );
            // Deferred, whatever the code: that a host cannot encrypt is no fault of the message.
            let own = Trouble::own(Stage::StartTls, Cause::Tls, Enhanced(4, 7, 4), reason.into());
            return self
                .give_up_politely(cx, Trouble { reply: Some(reply), elsewhere: true, ..own });
        }
        cx.fact(Fact::TlsRefused(reply));
        self.want_login(cx);
    }

    pub(super) fn secure(&mut self, cx: &mut Cx<'_, Self>) {
        self.phase = Phase::Securing;
        let name = match &*self.config.tls_name {
            "" => self.remote.name.clone(),
            name => name.into(),
        };
        cx.secure(TlsRole::Client { name });
    }

    pub(super) fn secured(&mut self, cx: &mut Cx<'_, Self>, info: TlsInfo) {
        cx.fact(Fact::Secured(info.clone()));
        self.tls = Some(info);
        self.phase = Phase::Hello;
        // What was offered in clear does not count (RFC 3207 4.2).
        self.features = Features::default();
        match self.config.tls {
            Tls::Implicit => self.expect(cx, Stage::Greeting, 0),
            _ => self.hello(cx, Stage::Ehlo),
        }
    }

    fn want_login(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(login) = &self.config.login else { return self.begin(cx) };
        let private = self.tls.is_some() || self.config.login_in_clear;
        if !(private && self.features.auth_plain) {
            let reason = format!(
                "SASL authentication failed: server {} offered no compatible authentication \
                 mechanisms for this type of connection security",
                self.remote
            );
            let own =
                Trouble::own(Stage::Auth, Cause::Unsuitable, Enhanced(4, 7, 0), reason.into());
            return self.give_up_politely(cx, Trouble { elsewhere: true, ..own });
        }
        let response = plain_response(&login.user, &login.password);
        let line = format!("AUTH PLAIN {}", response.expose());
        self.command(cx, Stage::Auth, &line);
    }

    pub(super) fn authenticated(&mut self, cx: &mut Cx<'_, Self>, reply: RemoteReply) {
        match (&self.config.login, reply.code) {
            (_, 200..=299) => {
                cx.fact(Fact::LoggedIn);
                self.begin(cx);
            }
            // It has not understood the response that came with the command: once more, alone.
            (Some(login), 334) if !self.challenged => {
                self.challenged = true;
                let response = plain_response(&login.user, &login.password);
                self.command(cx, Stage::Auth, response.expose());
            }
            _ if reply.is_refusal() => {
                let Enhanced(_, subject, detail) = reply.status();
                let reason = format!(
                    "SASL authentication failed; server {} said: {}",
                    self.remote, reply.text
                );
                // Deferred, whatever the code: the admin can mend it, the sender cannot.
                let status = Enhanced(4, subject, detail);
                let own = Trouble::own(Stage::Auth, Cause::Refused, status, reason.into());
                self.give_up_politely(cx, Trouble { reply: Some(reply), elsewhere: true, ..own });
            }
            _ => {
                let trouble = Trouble::said(&self.remote, Stage::Auth, reply);
                self.give_up(cx, trouble, Why::Refused);
            }
        }
    }

    fn unwelcome(&mut self, cx: &mut Cx<'_, Self>, stage: Stage, reply: RemoteReply) {
        if reply.is_refusal() {
            let trouble = Trouble::unwelcome(&self.remote, stage, reply);
            self.give_up_politely(cx, trouble);
        } else {
            let trouble = Trouble::said(&self.remote, stage, reply);
            self.give_up(cx, trouble, Why::Refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers() {
        let mut config = Config::new("me.example");
        let lines = "250-mx.example at your service\n250-pipelining\n250-SIZE 1000\n\
                     250-AUTH LOGIN\n250-AUTH=PLAIN X\n250-STARTTLS\n250-8BITMIME\n250-DSN\n\
                     250-X-SECRET\n250-\n250 CHUNKING";
        let all = Features {
            pipelining: true,
            size: Some(1000),
            eight_bit: true,
            starttls: true,
            auth_plain: true,
            dsn: true,
            smtputf8: false,
            chunking: true,
        };
        assert_eq!(Features::parse(lines, &config), all);
        config.discard = ["dsn".into(), "SIZE".into()].into();
        config.chunking = false;
        let some = Features { dsn: false, size: None, chunking: false, ..all };
        assert_eq!(Features::parse(lines, &config), some);
        for (limit, size) in [
            ("SIZE", 0),
            ("SIZE 0", 0),
            ("SIZE x", 0),
            ("SIZE -1", 0),
            ("SIZE 99999999999999999999", 0),
            ("SIZE=5", 5),
        ] {
            let features = Features::parse(&format!("250-x\n250 {limit}"), &Config::new("me"));
            assert_eq!(features.size, Some(size), "{limit}");
        }
        assert_eq!(Features::parse("250 SIZE 5", &Config::new("me")), Features::default());
    }
}
