//! Packets (RFC 1035 4), with EDNS (RFC 6891). The codec is `hickory-proto`'s; here is what a stub
//! asks, and what it takes from an answer.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record as Resource, RecordType};

use crate::question::{Failure, Found, Kind, Question, Record, canonical, wire_name};

/// Octets of an answer by UDP: what fits everywhere without fragments (RFC 9715).
const UDP_PAYLOAD: u16 = 1232;
/// Aliases in one answer.
const ALIASES: usize = 16;

/// What an answer must look like to be one to our question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    id: u16,
    question: Question,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// This, for so many seconds.
    Found { found: Found, authentic: bool, ttl: u32 },
    /// The name is another name for this one, of which the packet says no more.
    Alias { to: Box<str>, authentic: bool, ttl: u32 },
    /// It did not fit: ask by TCP.
    Truncated,
    /// The server does not know EDNS.
    NoEdns,
    /// Ask another server.
    Useless(Failure),
}

impl Awaited {
    pub(crate) fn new(id: u16, question: Question) -> Self {
        Self { id, question }
    }

    /// The packet to send.
    pub(crate) fn packet(&self, edns: bool) -> Vec<u8> {
        let Ok(name) = wire_name(self.question.name()) else { return Vec::new() };
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        // RFC 6840 5.7: we want to be told whether it was validated.
        message.metadata.authentic_data = true;
        message.add_query(Query::query(name, record_type(self.question.kind())));
        if edns {
            let mut options = Edns::new();
            options.set_max_payload(UDP_PAYLOAD).set_version(0);
            message.set_edns(options);
        }
        message.to_vec().unwrap_or_default()
    }

    /// Whether a datagram is the answer. What is not was sent by somebody else, or too late: go on
    /// listening.
    pub fn is_answered_by(&self, datagram: &[u8]) -> bool {
        self.parse(datagram).is_some()
    }

    fn parse(&self, packet: &[u8]) -> Option<Message> {
        // Before the rest is looked at: this much costs nothing.
        if packet.get(..2)? != self.id.to_be_bytes() {
            return None;
        }
        let message = match is_truncated(packet) {
            // It may end in the middle of a record: only the question counts (RFC 2181 9).
            true => Message::from_vec(&without_records(packet)).ok()?,
            false => Message::from_vec(packet).ok()?,
        };
        let meta = &message.metadata;
        if meta.message_type != MessageType::Response || meta.op_code != OpCode::Query {
            return None;
        }
        let [query] = message.queries.as_slice() else {
            // A server that could not read the question does not repeat it.
            let unread = message.queries.is_empty() && message.answers.is_empty();
            let refuses = meta.response_code != ResponseCode::NoError
                && meta.response_code != ResponseCode::NXDomain;
            return (unread && refuses).then_some(message);
        };
        let ours = query.query_type() == record_type(self.question.kind())
            && query.query_class() == DNSClass::IN
            && *canonical(query.name()) == *self.question.name();
        ours.then_some(message)
    }

    /// Reads an answer.
    pub(crate) fn read(&self, packet: &[u8], edns: bool) -> Response {
        let Some(message) = self.parse(packet) else {
            return Response::Useless(Failure::Nonsense);
        };
        match message.metadata.response_code {
            ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS if edns => {
                Response::NoEdns
            }
            ResponseCode::NoError | ResponseCode::NXDomain if message.metadata.truncation => {
                Response::Truncated
            }
            ResponseCode::NoError | ResponseCode::NXDomain => self.answer(&message),
            ResponseCode::ServFail => Response::Useless(Failure::ServFail),
            _ => Response::Useless(Failure::Refused),
        }
    }

    fn answer(&self, message: &Message) -> Response {
        let authentic = message.metadata.authentic_data;
        let mut name: Box<str> = self.question.name().into();
        let mut ttl = u32::MAX;
        for _ in 0..ALIASES {
            let own = |record: &&Resource| *canonical(&record.name) == *name;
            let mut records = Vec::new();
            for record in message.answers.iter().filter(own) {
                if let Some(read) = self.record(record) {
                    ttl = ttl.min(record.ttl);
                    records.push(read);
                }
            }
            if !records.is_empty() {
                // Some servers say the same thing twice.
                records.dedup();
                return Response::Found { found: Found::Records(records), authentic, ttl };
            }
            let alias = message.answers.iter().filter(own).find_map(|record| match &record.data {
                RData::CNAME(to) => Some((canonical(&to.0), record.ttl)),
                _ => None,
            });
            let Some((to, alias_ttl)) = alias else {
                return self.nothing(message, name, authentic, ttl);
            };
            ttl = ttl.min(alias_ttl);
            name = to;
        }
        Response::Useless(Failure::Aliases)
    }

    /// The answer ends at this name, which has nothing of the kind in it.
    fn nothing(&self, message: &Message, name: Box<str>, authentic: bool, ttl: u32) -> Response {
        // RFC 2308 5: for as long as the zone says. Without that, not at all.
        let zone = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        let absent = |found| Response::Found { found, authentic, ttl: ttl.min(zone.unwrap_or(0)) };
        if message.metadata.response_code == ResponseCode::NXDomain {
            return absent(Found::NoName);
        }
        // An alias whose target the server has not looked up; it would have told us its zone.
        if *name != *self.question.name() && zone.is_none() {
            return Response::Alias { to: name, authentic, ttl };
        }
        // A list of other servers to ask: this one does not recurse.
        let referral = message.authorities.iter().any(|r| r.record_type() == RecordType::NS);
        if zone.is_none() && referral {
            return Response::Useless(Failure::Refused);
        }
        absent(Found::NoData)
    }

    fn record(&self, record: &Resource) -> Option<Record> {
        if record.dns_class != DNSClass::IN {
            return None;
        }
        Some(match (&record.data, self.question.kind()) {
            (RData::A(address), Kind::A) => Record::A(address.0),
            (RData::AAAA(address), Kind::Aaaa) => Record::Aaaa(address.0),
            (RData::MX(mx), Kind::Mx) => {
                Record::Mx { preference: mx.preference, exchange: canonical(&mx.exchange) }
            }
            (RData::PTR(to), Kind::Ptr) => Record::Ptr(canonical(&to.0)),
            (RData::TLSA(tlsa), Kind::Tlsa) => Record::Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone().into(),
            },
            (RData::TXT(text), Kind::Txt) => Record::Txt(text.txt_data.concat().into()),
            _ => return None,
        })
    }
}

/// The TC bit (RFC 1035 4.1.1).
fn is_truncated(packet: &[u8]) -> bool {
    packet.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// A packet that tells of no records: what follows the question is not looked at.
fn without_records(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if let Some(counts) = packet.get_mut(6..12) {
        counts.fill(0);
    }
    packet
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Ptr => RecordType::PTR,
        Kind::Tlsa => RecordType::TLSA,
        Kind::Txt => RecordType::TXT,
    }
}

/// The next question, for an alias that the server did not follow.
pub(crate) fn about(name: &str, kind: Kind) -> Result<Question, Failure> {
    Question::new(name, kind).map_err(|_| Failure::Nonsense)
}
