//! The first line of an entry: the message as it was accepted.

use alloc::boxed::Box;
use alloc::string::ToString;

use waypost_machine::UnixTime;
use waypost_mail::{Address, Body, Ret, ReversePath};

use crate::entry::Fault;
use crate::record::{Fields, Line, boxed, time};

pub(crate) const MAGIC: &str = "waypost-spool";
/// The version that is written. Version 1 had no checksum of the body and no head.
const VERSION: u32 = 2;

/// What is known of a message from its acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name in logs and replies.
    pub queue_id: Box<str>,
    /// When it was accepted.
    pub arrived: UnixTime,
    /// MAIL FROM.
    pub sender: ReversePath,
    /// Octets of the body file.
    pub size: u64,
    /// CRC-32 of the body file (that of zip); `None` when the entry is older than that.
    pub checksum: Option<u32>,
    /// Message-ID as written; empty without.
    pub message_id: Box<str>,
    /// `BODY=`
    pub body: Body,
    /// `SMTPUTF8`
    pub smtputf8: bool,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded.
    pub envid: Option<Box<str>>,
    /// The login that sent it.
    pub login: Option<Box<str>>,
    /// Fields that stand before the message when it leaves for other servers (DKIM signatures), CRLF
    /// line ends; mostly none.
    pub head: Box<str>,
}

impl Origin {
    pub(crate) fn write(&self) -> Line {
        let sender = match &self.sender {
            ReversePath::Null => None,
            ReversePath::Address(address) => Some(address.to_string()),
        };
        let ret = self.ret.map(|ret| match ret {
            Ret::Full => "FULL",
            Ret::Headers => "HDRS",
        });
        Line::new(MAGIC)
            .plain(VERSION)
            .text(&self.queue_id)
            .plain(self.arrived.secs)
            .plain(self.arrived.nanos)
            .option(sender.as_deref())
            .plain(self.size)
            .text(&self.message_id)
            .text(match self.body {
                Body::SevenBit => "7BIT",
                Body::EightBitMime => "8BITMIME",
            })
            .plain(self.smtputf8)
            .option(ret)
            .option(self.envid.as_deref())
            .option(self.login.as_deref())
            .option(self.checksum.map(|sum| sum.to_string()).as_deref())
            .text(&self.head)
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, Fault> {
        if fields.text().as_deref() != Some(MAGIC) {
            return Err(Fault::Magic);
        }
        match fields.plain::<u32>() {
            Some(version) if version > VERSION => Err(Fault::Version),
            Some(version) => Self::read_fields(fields, version).ok_or(Fault::Nonsense),
            None => Err(Fault::Nonsense),
        }
    }

    fn read_fields(fields: &mut Fields<'_>, version: u32) -> Option<Self> {
        Some(Self {
            queue_id: boxed(fields.text()?),
            arrived: time(fields)?,
            sender: match fields.option()? {
                None => ReversePath::Null,
                Some(text) => ReversePath::Address(Address::parse(&text).ok()?),
            },
            size: fields.plain()?,
            message_id: boxed(fields.text()?),
            body: match fields.text()?.as_ref() {
                "7BIT" => Body::SevenBit,
                "8BITMIME" => Body::EightBitMime,
                _ => return None,
            },
            smtputf8: fields.plain()?,
            ret: match fields.option()?.as_deref() {
                None => None,
                Some("FULL") => Some(Ret::Full),
                Some("HDRS") => Some(Ret::Headers),
                Some(_) => return None,
            },
            envid: fields.option()?.map(boxed),
            login: fields.option()?.map(boxed),
            checksum: match version {
                1 => None,
                _ => fields.option()?.map(|sum| sum.parse()).transpose().ok()?,
            },
            head: match version {
                1 => Box::default(),
                _ => boxed(fields.text()?),
            },
        })
    }
}
