//! The trace headers that delivery adds (RFC 5321 4.4), folded and worded as Postfix does.
//! Lines end with LF, as messages lie on disk.
//!
//! Addresses are given as they stand in SMTP, their local parts quoted where they must be.

use alloc::string::String;

use crate::date::{DateTime, rfc5322};

/// The connection a message came over, and the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The name the client gave with HELO or EHLO; without one its host name stands in.
    pub helo: Option<&'a str>,
    /// The client's verified host name, or `unknown`.
    pub client_name: &'a str,
    /// The client's address: `192.0.2.1`, `IPv6:2001:db8::1`.
    pub client_address: &'a str,
    /// What is known of TLS, if there is any.
    pub tls: Option<Tls<'a>>,
    /// The login name, to be named in the header; off by default, for privacy.
    pub shown_login: Option<&'a str>,
    /// Our host name.
    pub host: &'a str,
    /// The name of the software, in the comment behind the host.
    pub software: &'a str,
    /// How it was spoken.
    pub with: With,
    /// The queue id.
    pub id: &'a str,
    /// The recipient, if it is the only one.
    pub only_recipient: Option<&'a str>,
    /// When it arrived.
    pub at: DateTime,
    /// Name of the zone, in a comment behind the date: `UTC`, `CET`.
    pub zone: &'a str,
}

/// The protocol, as named in `with` (RFC 3848, RFC 6531 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct With {
    /// EHLO, not HELO. TLS and login are told only with it.
    pub extended: bool,
    /// MAIL had SMTPUTF8.
    pub utf8: bool,
    /// The client has logged in.
    pub authenticated: bool,
}

/// A TLS session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls<'a> {
    /// `TLSv1.3`
    pub protocol: &'a str,
    /// `TLS_AES_256_GCM_SHA384`
    pub cipher: &'a str,
    /// Bits of the key that are used.
    pub bits: u32,
    /// `X25519`, if known.
    pub key_exchange: Option<&'a str>,
    /// Kind and size of the server's key and its digest: `RSA-PSS (2048 bits)`, `SHA256`.
    pub server_signature: Option<Signature<'a>>,
    /// The same of the client, if it has shown a certificate.
    pub client_signature: Option<Signature<'a>>,
    /// What there is to say of the client's certificate.
    pub client: ClientCertificate<'a>,
}

/// A signature of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// `RSA-PSS`, `ECDSA`
    pub name: &'a str,
    /// `2048 bits`, `P-256`; empty if not known.
    pub detail: &'a str,
    /// `SHA256`; empty if not known.
    pub digest: &'a str,
}

/// The client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate<'a> {
    /// The server did not ask.
    #[default]
    NotRequested,
    /// The client has none.
    NotPresented,
    /// It has one.
    Presented {
        /// Common name of its subject.
        subject: &'a str,
        /// Common name of its issuer.
        issuer: &'a str,
        /// Whether it is trusted.
        verified: bool,
    },
}

/// What delivery into a mailbox puts before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// The envelope sender; empty for the null sender.
    pub sender: &'a str,
    /// The recipient as the client gave it; `None` leaves the header out.
    pub original_to: Option<&'a str>,
    /// The recipient after all rewriting.
    pub delivered_to: &'a str,
}

impl Delivered<'_> {
    /// `Return-Path`, `X-Original-To` and `Delivered-To`.
    pub fn print(&self, out: &mut String) {
        let mut out = Lines(out);
        out.own("Return-Path: <").given(self.sender).own(">\n");
        if let Some(original) = self.original_to {
            out.own("X-Original-To: ").given(original).own("\n");
        }
        out.own("Delivered-To: ").given(self.delivered_to).own("\n");
    }
}

impl Received<'_> {
    /// The `Received` field.
    pub fn print(&self, out: &mut String) {
        let mut out = Lines(out);
        out.own("Received: from ").given(self.helo.unwrap_or(self.client_name));
        out.own(" (").given(self.client_name).own(" [").given(self.client_address).own("])\n");
        if let Some(tls) = &self.tls {
            tls.print(&mut out);
        }
        if let Some(login) = self.shown_login {
            out.own("\t(Authenticated sender: ").comment(login).own(")\n");
        }
        out.own("\tby ").given(self.host).own(" (").comment(self.software).own(") with ");
        self.with.print(self.tls.is_some(), &mut out);
        out.own(" id ").given(self.id);
        match self.only_recipient {
            Some(recipient) => out.own("\n\tfor <").given(recipient).own(">; "),
            None => out.own(";\n\t"),
        };
        out.given(&rfc5322(self.at)).own(" (").comment(self.zone).own(")\n");
    }
}

impl With {
    fn print(self, tls: bool, out: &mut Lines<'_>) {
        out.own(match self {
            Self { utf8: true, .. } => "UTF8SMTP",
            Self { extended: true, .. } => "ESMTP",
            _ => "SMTP",
        });
        if self.extended && tls {
            out.own("S");
        }
        if self.extended && self.authenticated {
            out.own("A");
        }
    }
}

impl Tls<'_> {
    fn print(&self, out: &mut Lines<'_>) {
        let bits = alloc::format!("{0}/{0}", self.bits);
        out.own("\t(using ").given(self.protocol).own(" with cipher ").given(self.cipher);
        out.own(" (").given(&bits).own(" bits)");
        if let Some(name) = self.key_exchange {
            out.own("\n\t key-exchange ").given(name);
        }
        if let Some(signature) = &self.server_signature {
            out.own(if self.key_exchange.is_some() { " " } else { "\n\t " });
            signature.print("server", out);
        }
        if let Some(signature) = &self.client_signature {
            signature.print("client", out.own("\n\t "));
        }
        out.own(")\n");
        match self.client {
            ClientCertificate::NotRequested => out.own("\t(No client certificate requested)\n"),
            ClientCertificate::NotPresented => {
                out.own("\t(Client did not present a certificate)\n")
            }
            ClientCertificate::Presented { subject, issuer, verified } => {
                out.own("\t(Client CN \"").comment(subject).own("\", Issuer \"").comment(issuer);
                out.own(if verified { "\" (verified OK))\n" } else { "\" (not verified))\n" })
            }
        };
    }
}

impl Signature<'_> {
    fn print(&self, side: &'static str, out: &mut Lines<'_>) {
        out.own(side).own("-signature ").given(self.name);
        if !self.detail.is_empty() {
            out.own(" (").given(self.detail).own(")");
        }
        if !self.digest.is_empty() {
            out.own(" ").own(side).own("-digest ").given(self.digest);
        }
    }
}

/// Header lines being written, from our own words and from what came from outside.
struct Lines<'a>(&'a mut String);

impl Lines<'_> {
    /// Words of ours, line ends among them.
    fn own(&mut self, text: &'static str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    /// Text from outside: no control character gets through, least of all a line end.
    fn given(&mut self, text: &str) -> &mut Self {
        self.0.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
        self
    }

    /// Text from outside within a comment, which it must not end.
    fn comment(&mut self, text: &str) -> &mut Self {
        let unsafe_here = |c: char| c.is_control() || matches!(c, '(' | ')' | '\\' | '"');
        self.0.extend(text.chars().map(|c| if unsafe_here(c) { '?' } else { c }));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received<'a>() -> Received<'a> {
        Received {
            helo: Some("client.example.net"),
            client_name: "unknown",
            client_address: "127.0.1.10",
            tls: None,
            shown_login: None,
            host: "mail.example.com",
            software: "Postfix",
            with: With { extended: true, ..With::default() },
            id: "EBE06142003",
            only_recipient: Some("mail000@example.com"),
            at: DateTime { seconds: 1_795_333_986, offset: 0 },
            zone: "UTC",
        }
    }

    fn printed(received: &Received<'_>) -> String {
        let mut out = String::new();
        received.print(&mut out);
        out
    }

    #[test]
    fn plain() {
        let mut out = String::new();
        let recipient = "mail000@example.com";
        Delivered {
            sender: "",
            original_to: Some(recipient),
            delivered_to: "mail000@mail.example.com",
        }
        .print(&mut out);
        received().print(&mut out);
        assert_eq!(
            out,
            "Return-Path: <>\n\
             X-Original-To: mail000@example.com\n\
             Delivered-To: mail000@mail.example.com\n\
             Received: from client.example.net (unknown [127.0.1.10])\n\
             \tby mail.example.com (Postfix) with ESMTP id EBE06142003\n\
             \tfor <mail000@example.com>; Sun, 22 Nov 2026 07:53:06 +0000 (UTC)\n"
        );
    }

    #[test]
    fn several_recipients() {
        let out = printed(&Received {
            id: "C29FB142023",
            client_address: "127.0.1.13",
            only_recipient: None,
            at: DateTime { seconds: 1_795_333_988, offset: 0 },
            ..received()
        });
        assert_eq!(
            out,
            "Received: from client.example.net (unknown [127.0.1.13])\n\
             \tby mail.example.com (Postfix) with ESMTP id C29FB142023;\n\
             \tSun, 22 Nov 2026 07:53:08 +0000 (UTC)\n"
        );
    }

    fn tls<'a>() -> Tls<'a> {
        Tls {
            protocol: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
            bits: 256,
            key_exchange: Some("X25519"),
            server_signature: Some(Signature {
                name: "RSA-PSS",
                detail: "2048 bits",
                digest: "SHA256",
            }),
            ..Tls::default()
        }
    }

    #[test]
    fn submitted_with_tls() {
        let out = printed(&Received {
            client_address: "127.0.1.9",
            tls: Some(tls()),
            with: With { extended: true, utf8: false, authenticated: true },
            id: "5FF7C142003",
            ..received()
        });
        assert_eq!(
            out,
            "Received: from client.example.net (unknown [127.0.1.9])\n\
             \t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\n\
             \t key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256)\n\
             \t(No client certificate requested)\n\
             \tby mail.example.com (Postfix) with ESMTPSA id 5FF7C142003\n\
             \tfor <mail000@example.com>; Sun, 22 Nov 2026 07:53:06 +0000 (UTC)\n"
        );
    }

    #[test]
    fn certificate_login_and_less_known_of_tls() {
        let client = ClientCertificate::Presented { subject: "a (b", issuer: "CA", verified: true };
        let tls = Tls { key_exchange: None, server_signature: None, client, ..tls() };
        let out = printed(&Received {
            tls: Some(tls),
            shown_login: Some("mail001"),
            with: With { extended: true, utf8: true, authenticated: true },
            ..received()
        });
        assert!(out.contains(
            "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\
             \t(Client CN \"a ?b\", Issuer \"CA\" (verified OK))\n\
             \t(Authenticated sender: mail001)\n\
             \tby mail.example.com (Postfix) with UTF8SMTPSA id "
        ));
    }

    #[test]
    fn nothing_given_makes_a_line() {
        let evil = "x\r\nSubject: forged\n";
        let out = printed(&Received {
            helo: Some(evil),
            client_name: evil,
            client_address: evil,
            shown_login: Some(evil),
            host: evil,
            software: evil,
            id: evil,
            only_recipient: Some(evil),
            zone: evil,
            ..received()
        });
        assert_eq!(crate::header::fields(out.as_bytes()).count(), 1);
        assert_eq!(out.lines().count(), 4);
        assert!(!out.contains('\r'));
    }
}
