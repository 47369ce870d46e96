//! What was said of a recipient.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use waypost_mail::{Enhanced, Reply};

use crate::record::{Fields, Line, boxed};

/// Why a recipient has, has not yet, or will never have a message: for the log, the queue listing
/// and the reports to the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The `Status` field of a report (RFC 3463), `dsn=` in logs.
    pub status: Enhanced,
    /// One line for people: `host mx.remote.test[192.0.2.1] said: 550 5.1.1 <x@remote.test>: User
    /// unknown (in reply to RCPT TO command)`.
    pub text: Box<str>,
    /// The other server and its own words, when it was one that said it.
    pub remote: Option<Box<Remote>>,
}

/// The other server and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name: `Remote-MTA`.
    pub host: Box<str>,
    /// Its reply as it came, in one line, code first: `Diagnostic-Code: smtp; ...`.
    pub reply: Box<str>,
}

impl Diagnosis {
    /// Something that we say ourselves.
    pub fn own(status: Enhanced, text: impl Into<Box<str>>) -> Self {
        Self { status, text: text.into(), remote: None }
    }

    /// Something that the other server said; `context` tells to what:
    /// `(in reply to RCPT TO command)`. Without an enhanced code the class of the reply stands.
    pub fn said(host: &str, address: &str, reply: &Reply, context: &str) -> Self {
        let class = u8::try_from(reply.code / 100).unwrap_or(4);
        let words = alloc::format!("{reply}");
        Self {
            status: reply.enhanced.unwrap_or(Enhanced(class, 0, 0)),
            text: alloc::format!("host {host}[{address}] said: {words} {context}").into(),
            remote: Some(Box::new(Remote { host: host.into(), reply: words.into() })),
        }
    }

    /// What a reply of our own says, as routing gives it.
    pub fn of_reply(reply: &Reply) -> Self {
        let class = u8::try_from(reply.code / 100).unwrap_or(4);
        Self::own(reply.enhanced.unwrap_or(Enhanced(class, 0, 0)), reply.text.as_ref().to_owned())
    }

    /// The same as a reason to try nothing there for some time.
    pub(crate) fn suspended(&self) -> Self {
        const WORDS: &str = "delivery temporarily suspended: ";
        let mut text = String::from(WORDS);
        text.push_str(self.text.strip_prefix(WORDS).unwrap_or(&self.text));
        let Enhanced(_, subject, detail) = self.status;
        Self { status: Enhanced(4, subject, detail), text: text.into(), remote: None }
    }
}

/// `-`, or `4.3.0`.
pub(crate) fn enhanced(text: &str) -> Option<Option<Enhanced>> {
    if text == "-" {
        return Some(None);
    }
    let mut parts = text.split('.');
    let mut part = || parts.next()?.parse::<u16>().ok();
    let (class, subject, detail) = (part()?, part()?, part()?);
    Some(Some(Enhanced(u8::try_from(class).ok()?, subject, detail)))
}

/// Status, words, other server, its reply.
pub(crate) fn write_diagnosis(line: Line, diagnosis: Option<&Diagnosis>) -> Line {
    let remote = diagnosis.and_then(|diagnosis| diagnosis.remote.as_deref());
    line.text(&diagnosis.map_or_else(|| "-".into(), |diagnosis| diagnosis.status.to_string()))
        .text(diagnosis.map_or("", |diagnosis| &diagnosis.text))
        .option(remote.map(|remote| remote.host.as_ref()))
        .option(remote.map(|remote| remote.reply.as_ref()))
}

pub(crate) fn read_diagnosis(fields: &mut Fields<'_>) -> Option<Option<Arc<Diagnosis>>> {
    let status = enhanced(&fields.text()?)?;
    let text = boxed(fields.text()?);
    let remote = match (fields.option()?, fields.option()?) {
        (Some(host), Some(reply)) => {
            Some(Box::new(Remote { host: boxed(host), reply: boxed(reply) }))
        }
        _ => None,
    };
    Some(status.map(|status| Arc::new(Diagnosis { status, text, remote })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let reply = Reply::new(550, Enhanced(5, 1, 1), "<x@remote.test>: User unknown");
        let said = Diagnosis::said("mx", "192.0.2.1", &reply, "(in reply to RCPT TO command)");
        assert_eq!(
            &*said.text,
            "host mx[192.0.2.1] said: 550 5.1.1 <x@remote.test>: User unknown \
             (in reply to RCPT TO command)"
        );
        assert_eq!(&*said.remote.unwrap().reply, "550 5.1.1 <x@remote.test>: User unknown");
        let plain = Reply { code: 421, enhanced: None, text: "busy".into() };
        assert_eq!(Diagnosis::said("mx", "::1", &plain, "").status, Enhanced(4, 0, 0));
        let once = Diagnosis::of_reply(&plain).suspended();
        assert_eq!(&*once.text, "delivery temporarily suspended: busy");
        assert_eq!(once.suspended(), once);
    }
}
