//! What a client may send.

use alloc::boxed::Box;

use waypost_sasl::Mechanism;

use crate::call::Origin;
use crate::line::unescape;

/// A line of the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// `VERSION major minor`
    Version { major: u32 },
    /// `CPID pid`
    ClientPid,
    /// `AUTH id mechanism parameters`
    Auth { id: u32, mechanism: Mechanism, origin: Origin, initial: Option<&'a str> },
    /// `CONT id response`
    Continue { id: u32, response: &'a str },
    /// `CANCEL id`
    Cancel { id: u32 },
}

/// How a client breaks the protocol; its connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line has no end.
    #[error("a line is too long")]
    LineTooLong,
    /// A line is not UTF-8.
    #[error("a line is not UTF-8")]
    NotUtf8,
    /// A verb that is none.
    #[error("unknown command")]
    Unknown,
    /// A field is missing, or is no number.
    #[error("a field is missing or is no number")]
    Field,
    /// VERSION with a major version that is not ours.
    #[error("another major version")]
    Version,
    /// A request before VERSION and CPID.
    #[error("a request before VERSION and CPID")]
    NoHandshake,
    /// AUTH with a mechanism that is not on.
    #[error("unknown mechanism")]
    Mechanism,
    /// AUTH without service.
    #[error("AUTH without service")]
    NoService,
    /// AUTH with something after the initial response.
    #[error("resp= is not the last parameter")]
    NotLast,
    /// AUTH with the id of an open request.
    #[error("an id is used twice")]
    IdInUse,
    /// CONT for a request that has all it needs.
    #[error("CONT for a request that wants none")]
    Unasked,
}

/// Parses a line without its LF. `mechanisms` are those that are on.
pub(crate) fn parse<'a>(line: &'a str, mechanisms: &[Mechanism]) -> Result<Request<'a>, Fault> {
    let mut fields = line.split('\t');
    let verb = fields.next().unwrap_or_default();
    let number =
        |field: Option<&str>| field.and_then(|f| f.parse::<u32>().ok()).ok_or(Fault::Field);
    match verb {
        "VERSION" => {
            let major = number(fields.next())?;
            number(fields.next())?;
            Ok(Request::Version { major })
        }
        "CPID" => number(fields.next()).map(|_| Request::ClientPid),
        "AUTH" => {
            let id = number(fields.next())?;
            let name = fields.next().ok_or(Fault::Field)?;
            let mechanism = Mechanism::parse(name)
                .filter(|mechanism| mechanisms.contains(mechanism))
                .ok_or(Fault::Mechanism)?;
            let (origin, initial) = params(fields)?;
            Ok(Request::Auth { id, mechanism, origin, initial })
        }
        "CONT" => {
            let id = number(fields.next())?;
            let response = fields.next().ok_or(Fault::Field)?;
            Ok(Request::Continue { id, response })
        }
        "CANCEL" => Ok(Request::Cancel { id: number(fields.next())? }),
        _ => Err(Fault::Unknown),
    }
}

/// The parameters of AUTH; those that mean nothing to us are passed over.
fn params<'a>(fields: impl Iterator<Item = &'a str>) -> Result<(Origin, Option<&'a str>), Fault> {
    let mut service: Option<Box<str>> = None;
    let mut origin = Origin { service: "".into(), local: None, remote: None, secured: false };
    let mut initial = None;
    for field in fields {
        if initial.is_some() {
            // It may hold anything, so nothing can follow it.
            return Err(Fault::NotLast);
        }
        match field.split_once('=') {
            Some(("service", value)) => service = Some(unescape(value).into()),
            Some(("lip", value)) => origin.local = value.parse().ok(),
            Some(("rip", value)) => origin.remote = value.parse().ok(),
            Some(("resp", value)) => initial = Some(value),
            None if field == "secured" => origin.secured = true,
            // `secured=tls`, as newer clients say.
            Some(("secured", _)) => origin.secured = true,
            _ => {}
        }
    }
    origin.service = service.ok_or(Fault::NoService)?;
    Ok((origin, initial))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: [Mechanism; 1] = [Mechanism::Plain];

    #[test]
    fn requests() {
        let line = "AUTH\t7\tplain\tservice=smtp\tnologin\tlip=127.0.0.1\trip=::1\tsecured\t\
                    bogus=1\tresp=AG0A";
        let origin = Origin {
            service: "smtp".into(),
            local: Some("127.0.0.1".parse().unwrap()),
            remote: Some("::1".parse().unwrap()),
            secured: true,
        };
        let expected =
            Request::Auth { id: 7, mechanism: Mechanism::Plain, origin, initial: Some("AG0A") };
        assert_eq!(parse(line, &ON), Ok(expected));
        for (line, expected) in [
            ("VERSION\t1\t0", Ok(Request::Version { major: 1 })),
            ("CPID\t4711", Ok(Request::ClientPid)),
            ("CONT\t1\t", Ok(Request::Continue { id: 1, response: "" })),
            ("CANCEL\t1", Ok(Request::Cancel { id: 1 })),
            ("", Err(Fault::Unknown)),
            ("BOGUS\t1", Err(Fault::Unknown)),
            ("VERSION\t1", Err(Fault::Field)),
            ("CPID\tx", Err(Fault::Field)),
            ("AUTH\t1", Err(Fault::Field)),
            ("AUTH\t-1\tPLAIN\tservice=x", Err(Fault::Field)),
            ("AUTH\t1\tLOGIN\tservice=x", Err(Fault::Mechanism)),
            ("AUTH\t1\tPLAIN\tsecured", Err(Fault::NoService)),
            ("AUTH\t1\tPLAIN\tservice=x\tresp=\tsecured", Err(Fault::NotLast)),
            ("CONT\t1", Err(Fault::Field)),
            ("CANCEL", Err(Fault::Field)),
        ] {
            assert_eq!(parse(line, &ON), expected, "{line:?}");
        }
    }
}
