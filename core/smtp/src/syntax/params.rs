//! The parameters of MAIL and RCPT (RFC 5321 4.1.1.11 and the extensions).

use alloc::boxed::Box;

use waypost_mail::{Body, Notify, Ret};

use super::{BLANKS, decode_xtext};

/// The parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// `SIZE=` (RFC 1870), in octets.
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: Body,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 4.3).
    pub ret: Option<Ret>,
    /// `ENVID=` (RFC 3461 4.4), decoded.
    pub envid: Option<Box<str>>,
}

/// The parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParams {
    /// `NOTIFY=` (RFC 3461 4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=` (RFC 3461 4.2): type and decoded address.
    pub orcpt: Option<(Box<str>, Box<str>)>,
}

/// A parameter that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// The value of SIZE is no number.
    #[error("SIZE is not a number")]
    Size,
    /// The value of SIZE is a number beyond all sizes.
    #[error("SIZE is beyond all sizes")]
    HugeSize,
    /// RET is wrong, or stands twice.
    #[error("bad RET")]
    Ret,
    /// ENVID is wrong, or stands twice.
    #[error("bad ENVID")]
    Envid,
    /// NOTIFY is wrong, or stands twice.
    #[error("bad NOTIFY")]
    Notify,
    /// ORCPT is wrong, or stands twice.
    #[error("bad ORCPT")]
    Orcpt,
    /// Nobody knows this parameter, or this value of it.
    #[error("unsupported option {0}")]
    Unsupported(Box<str>),
}

/// The parameters of a command, each with its value.
pub fn params(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(BLANKS).filter(|word| !word.is_empty()).map(|word| match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    })
}

/// The parameters of MAIL. `smtputf8` tells whether that extension is offered.
///
/// # Errors
/// The first parameter that is wrong.
pub fn mail_params(text: &str, smtputf8: bool) -> Result<MailParams, ParamError> {
    let mut mail = MailParams::default();
    for (name, value) in params(text) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match value {
            Some(value) if is("SIZE") => mail.size = Some(size(value)?),
            Some(value) if is("BODY") && value.eq_ignore_ascii_case("7BIT") => {
                mail.body = Body::SevenBit;
            }
            Some(value) if is("BODY") && value.eq_ignore_ascii_case("8BITMIME") => {
                mail.body = Body::EightBitMime;
            }
            None if is("SMTPUTF8") && smtputf8 => mail.smtputf8 = true,
            Some(value) if is("RET") => {
                once(&mail.ret, ParamError::Ret)?;
                mail.ret = Some(ret(value).ok_or(ParamError::Ret)?);
            }
            Some(value) if is("ENVID") => {
                once(&mail.envid, ParamError::Envid)?;
                let envid = decode_xtext(value).filter(|envid| !envid.is_empty());
                mail.envid = Some(envid.ok_or(ParamError::Envid)?.into());
            }
            // RFC 4954 5: who the submitter was, which only a trusted relay may say.
            Some(_) if is("AUTH") => {}
            _ => return Err(unsupported(name, value)),
        }
    }
    Ok(mail)
}

/// The parameters of RCPT.
///
/// # Errors
/// The first parameter that is wrong.
pub fn rcpt_params(text: &str) -> Result<RcptParams, ParamError> {
    let mut rcpt = RcptParams::default();
    for (name, value) in params(text) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match value {
            Some(value) if is("NOTIFY") => {
                once(&rcpt.notify, ParamError::Notify)?;
                rcpt.notify = Some(notify(value).ok_or(ParamError::Notify)?);
            }
            Some(value) if is("ORCPT") => {
                once(&rcpt.orcpt, ParamError::Orcpt)?;
                rcpt.orcpt = Some(orcpt(value).ok_or(ParamError::Orcpt)?);
            }
            _ => return Err(unsupported(name, value)),
        }
    }
    Ok(rcpt)
}

fn once<T>(seen: &Option<T>, error: ParamError) -> Result<(), ParamError> {
    if seen.is_some() { Err(error) } else { Ok(()) }
}

fn unsupported(name: &str, value: Option<&str>) -> ParamError {
    ParamError::Unsupported(match value {
        Some(value) => alloc::format!("{name}={value}").into(),
        None => name.into(),
    })
}

fn size(value: &str) -> Result<u64, ParamError> {
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParamError::Size);
    }
    value.parse().map_err(|_| ParamError::HugeSize)
}

fn ret(value: &str) -> Option<Ret> {
    [("FULL", Ret::Full), ("HDRS", Ret::Headers)]
        .into_iter()
        .find_map(|(name, ret)| name.eq_ignore_ascii_case(value).then_some(ret))
}

fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in value.split(',') {
        match word {
            _ if word.eq_ignore_ascii_case("SUCCESS") => notify.success = true,
            _ if word.eq_ignore_ascii_case("FAILURE") => notify.failure = true,
            _ if word.eq_ignore_ascii_case("DELAY") => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

fn orcpt(value: &str) -> Option<(Box<str>, Box<str>)> {
    let (kind, address) = value.split_once(';')?;
    // The type is an atom, and goes into commands and reports as it is.
    let atom = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\".[]".contains(c);
    if kind.is_empty() || !kind.chars().all(atom) || address.is_empty() {
        return None;
    }
    // The type utf-8 has an encoding of its own (RFC 6533 3), which is passed on as it is.
    let address = if kind.eq_ignore_ascii_case("utf-8") {
        (!address.contains(char::is_control)).then(|| address.into())?
    } else {
        decode_xtext(address)?.into()
    };
    Some((kind.into(), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_mail() {
        let none = MailParams::default;
        let unsupported = |word: &str| Err(ParamError::Unsupported(word.into()));
        for (text, expected) in [
            ("", Ok(none())),
            ("SIZE=10", Ok(MailParams { size: Some(10), ..none() })),
            ("SIZE=100 size=200", Ok(MailParams { size: Some(200), ..none() })),
            ("SIZE=", Err(ParamError::Size)),
            ("SIZE=abc", Err(ParamError::Size)),
            ("SIZE=-1", Err(ParamError::Size)),
            ("SIZE=+1", Err(ParamError::Size)),
            ("SIZE=99999999999999999999", Err(ParamError::HugeSize)),
            ("SIZE", unsupported("SIZE")),
            ("body=8bitmime", Ok(MailParams { body: Body::EightBitMime, ..none() })),
            ("BODY=7BIT", Ok(none())),
            ("BODY=BINARYMIME", unsupported("BODY=BINARYMIME")),
            ("BODY=", unsupported("BODY=")),
            ("SMTPUTF8", Ok(MailParams { smtputf8: true, ..none() })),
            ("SMTPUTF8=1", unsupported("SMTPUTF8=1")),
            ("AUTH=<> AUTH=x+40y", Ok(none())),
            ("RET=hdrs", Ok(MailParams { ret: Some(Ret::Headers), ..none() })),
            ("RET=NONE", Err(ParamError::Ret)),
            ("RET=", Err(ParamError::Ret)),
            ("RET=FULL RET=HDRS", Err(ParamError::Ret)),
            ("ENVID=a+3Db", Ok(MailParams { envid: Some("a=b".into()), ..none() })),
            ("ENVID=a=b", Ok(MailParams { envid: Some("a=b".into()), ..none() })),
            ("ENVID=", Err(ParamError::Envid)),
            ("ENVID=a+b", Err(ParamError::Envid)),
            ("ENVID=a ENVID=b", Err(ParamError::Envid)),
            ("FOO", unsupported("FOO")),
            ("FOO=BAR", unsupported("FOO=BAR")),
        ] {
            assert_eq!(mail_params(text, true), expected, "{text}");
        }
        assert_eq!(mail_params("SMTPUTF8", false), unsupported("SMTPUTF8"));
    }

    #[test]
    fn of_rcpt() {
        let none = RcptParams::default;
        let notify = |success, failure, delay| {
            Ok(RcptParams { notify: Some(Notify { success, failure, delay }), ..none() })
        };
        let orcpt = |kind: &str, address: &str| {
            Ok(RcptParams { orcpt: Some((kind.into(), address.into())), ..none() })
        };
        for (text, expected) in [
            ("NOTIFY=NEVER", notify(false, false, false)),
            ("notify=success,Failure,DELAY", notify(true, true, true)),
            ("NOTIFY=NEVER,FAILURE", Err(ParamError::Notify)),
            ("NOTIFY=", Err(ParamError::Notify)),
            ("NOTIFY=SOMETIMES", Err(ParamError::Notify)),
            ("NOTIFY=FAILURE NOTIFY=DELAY", Err(ParamError::Notify)),
            ("ORCPT=rfc822;mail000+2Bx@example.com", orcpt("rfc822", "mail000+x@example.com")),
            ("ORCPT=utf-8;x@y", orcpt("utf-8", "x@y")),
            ("ORCPT=mail000@example.com", Err(ParamError::Orcpt)),
            ("ORCPT=rfc822;", Err(ParamError::Orcpt)),
            ("ORCPT=utf-8;x\r@y", Err(ParamError::Orcpt)),
            ("ORCPT=rfc\r822;x@y", Err(ParamError::Orcpt)),
            ("ORCPT=(rfc822);x@y", Err(ParamError::Orcpt)),
            ("ORCPT=", Err(ParamError::Orcpt)),
            ("ORCPT=rfc822;a ORCPT=rfc822;b", Err(ParamError::Orcpt)),
            ("extra", Err(ParamError::Unsupported("extra".into()))),
        ] {
            assert_eq!(rcpt_params(text), expected, "{text}");
        }
    }
}
