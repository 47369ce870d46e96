//! What comes with a message besides its bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use waypost_machine::{TlsInfo, UnixTime};

use crate::address::Address;
use crate::verdict::Delivery;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its name, when the address has one that leads back to it; shown as `unknown` without.
    pub name: Option<Box<str>>,
}

/// Everything known of the session that a message or a recipient belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The other end.
    pub peer: Peer,
    /// The name of the service as logs show it: `smtpd`, `submission/smtpd`.
    pub service: Box<str>,
    /// What it called itself in EHLO or HELO.
    pub helo: Box<str>,
    /// It said EHLO.
    pub esmtp: bool,
    /// TLS, when it is up.
    pub tls: Option<TlsInfo>,
    /// The login name and the mechanism, once authenticated.
    pub login: Option<Login>,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The account's own name (its uid attribute), whatever was typed.
    pub user: Box<str>,
    /// `PLAIN`, `LOGIN`.
    pub mechanism: &'static str,
}

/// Where failure notices go: MAIL FROM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: nowhere; the message is a notice itself.
    Null,
    /// An address.
    Address(Address),
}

impl core::fmt::Display for ReversePath {
    /// The address without angle brackets; nothing for the null path.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// `BODY=` of MAIL (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`, and the default.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// `RET=` of MAIL (RFC 3461 4.3): what a failure notice returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// `NOTIFY=` of RCPT (RFC 3461 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// On delay.
    pub delay: bool,
}

impl Notify {
    /// `NEVER`.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
}

/// MAIL, its parameters, and the session around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The session.
    pub client: Client,
    /// MAIL FROM.
    pub sender: ReversePath,
    /// The recipients that were accepted, in order.
    pub recipients: Vec<Recipient>,
    /// When MAIL was accepted.
    pub arrived: UnixTime,
    /// `SIZE=`: octets as announced.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Body,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded.
    pub envid: Option<Box<str>>,
}

/// One accepted RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// As the peer gave it.
    pub address: Address,
    /// Where it leads, as routing found.
    pub deliveries: Vec<Delivery>,
    /// `NOTIFY=`; `None`: failure and delay.
    pub notify: Option<Notify>,
    /// `ORCPT=`, decoded: type and address.
    pub orcpt: Option<(Box<str>, Box<str>)>,
}
