//! An SMTP session, in the words of Postfix's smtpd.

use std::fmt::Write;

use waypost_driver::Fault;
use waypost_machine::TlsInfo;
use waypost_mail::{Peer, Reply};
use waypost_sasl::Verified;
use waypost_smtp::server::{Config, Fact};

use crate::log::{line, warning};

/// The session that lines are about.
pub(crate) struct Session {
    pub(crate) program: Box<str>,
    pub(crate) peer: Peer,
}

/// `unknown[192.0.2.1]`
pub(crate) fn peer(peer: &Peer) -> String {
    format!("{}[{}]", peer.name.as_deref().unwrap_or("unknown"), peer.ip.to_canonical())
}

/// As `Received:` and the log show it: `TLSv1.3 with cipher .. (256/256 bits) key-exchange ..`.
pub(crate) fn tls(info: &TlsInfo) -> String {
    let TlsInfo { protocol, cipher, bits, key_exchange, signature, .. } = info;
    let mut text = format!("{protocol} with cipher {cipher} ({bits}/{bits} bits)");
    for (word, value) in [(" key-exchange ", *key_exchange), (" server-signature ", *signature)] {
        if !value.is_empty() {
            text = text + word + value;
        }
    }
    if !info.signature_key.is_empty() {
        let _ = write!(text, " ({})", info.signature_key);
    }
    if !info.digest.is_empty() {
        let _ = write!(text, " server-digest {}", info.digest);
    }
    text
}

impl Session {
    /// The number of the session stands where Postfix has the number of a process: each of its
    /// sessions has one of its own, and tools tell them apart by it.
    pub(crate) fn new(config: &Config, peer: Peer, number: u64) -> Self {
        Self { program: format!("postfix/{}[{number}]", config.service).into(), peer }
    }

    fn line(&self, queue_id: Option<&str>, text: &str) {
        line(&self.program, queue_id, text);
    }

    fn peer(&self) -> String {
        peer(&self.peer)
    }

    pub(crate) fn secured(&self, info: &TlsInfo) {
        let text =
            format!("Anonymous TLS connection established from {}: {}", self.peer(), tls(info));
        self.line(None, &text);
    }

    pub(crate) fn fault(&self, fault: &Fault) {
        match fault {
            Fault::Tls(_) => {
                self.line(None, &format!("SSL_accept error from {}: {fault}", self.peer()))
            }
            Fault::WriteTimeout | Fault::Socket(_) => {
                tracing::debug!(target: "waypost", peer = self.peer(), "connection broken: {fault}");
            }
        }
    }

    pub(crate) fn fact(&self, fact: &Fact) {
        match fact {
            Fact::Connected => self.line(None, &format!("connect from {}", self.peer())),
            // Told with all its details by `secured`.
            Fact::Secured => {}
            Fact::Login { user, mechanism, outcome } => self.login(user, mechanism, outcome),
            Fact::Rejected { client, queue_id, stage, sender, recipient, reply } => {
                let mut text = self.reject(stage, reply);
                let _ = sender.as_ref().map(|sender| write!(text, " from=<{sender}>"));
                let _ = recipient.as_ref().map(|recipient| write!(text, " to=<{recipient}>"));
                let proto = if client.esmtp { "ESMTP" } else { "SMTP" };
                let _ = write!(text, " proto={proto}");
                if !client.helo.is_empty() {
                    let _ = write!(text, " helo=<{}>", client.helo);
                }
                self.line(Some(queue_id.as_deref().unwrap_or("NOQUEUE")), &text);
            }
            Fact::NotSmtp { line } => {
                warning(&self.program, &format!("non-SMTP command from {}: {line}", self.peer()));
            }
            Fact::Disconnected { counts, lost } => {
                if let Some(lost) = lost {
                    let octets = lost.octets.map(|octets| format!(" ({octets} bytes)"));
                    let octets = octets.unwrap_or_default();
                    let text =
                        format!("{} after {}{octets} from {}", lost.what, lost.after, self.peer());
                    self.line(None, &text);
                }
                self.line(None, &format!("disconnect from {}{}", self.peer(), tally(counts)));
            }
        }
    }

    fn login(&self, user: &str, mechanism: &str, outcome: &Verified) {
        let why = match outcome {
            Verified::Accepted(_) => return,
            Verified::Denied => "(reason unavailable)",
            // The words that tell fail2ban that the client is not to blame.
            Verified::Unavailable => "Connection lost to authentication server",
        };
        let text = format!(
            "{}: SASL {mechanism} authentication failed: {why}, sasl_username={user}",
            self.peer()
        );
        warning(&self.program, &text);
    }

    fn reject(&self, stage: &str, reply: &Reply) -> String {
        format!("reject: {stage} from {}: {reply};", self.peer())
    }
}

/// ` ehlo=2 mail=2/3 commands=4/5`: good ones, and all where some were not.
fn tally(counts: &[(&str, u32, u32)]) -> String {
    let mut text = String::new();
    let (mut good_sum, mut all_sum) = (0, 0);
    let mut one = |name: &str, good: u32, all: u32| {
        let _ = write!(text, " {name}={good}");
        if good != all {
            let _ = write!(text, "/{all}");
        }
    };
    for (name, good, all) in counts {
        good_sum += good;
        all_sum += all;
        one(name, *good, *all);
    }
    one("commands", good_sum, all_sum);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_postfix_logs_them() {
        let counts = [("ehlo", 1, 1), ("mail", 2, 3), ("rcpt", 0, 4), ("quit", 1, 1)];
        assert_eq!(tally(&counts), " ehlo=1 mail=2/3 rcpt=0/4 quit=1 commands=4/9");
        assert_eq!(tally(&[]), " commands=0");
    }

    #[test]
    fn tls_as_postfix_logs_it() {
        let info = TlsInfo {
            protocol: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
            bits: 256,
            key_exchange: "X25519",
            signature: "RSA-PSS",
            signature_key: "2048 bits".into(),
            digest: "SHA256",
            server_name: None,
        };
        assert_eq!(
            tls(&info),
            "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 \
             server-signature RSA-PSS (2048 bits) server-digest SHA256"
        );
    }
}
