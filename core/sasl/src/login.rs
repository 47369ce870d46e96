//! LOGIN (draft-murchison-sasl-login): a name, then a password, each asked for.

use alloc::boxed::Box;

use crate::credentials::Credentials;
use crate::mech::{Failure, Mechanism, credentials};

/// `Username:` in base64, as every client expects it.
pub(crate) const ASK_NAME: &str = "VXNlcm5hbWU6";
/// `Password:` in base64.
pub(crate) const ASK_PASSWORD: &str = "UGFzc3dvcmQ6";

/// Takes the answer to [`ASK_NAME`].
pub(crate) fn name(message: &[u8]) -> Result<Box<str>, Failure> {
    match text(message)? {
        "" => Err(Failure::Malformed),
        name => Ok(name.into()),
    }
}

/// Takes the answer to [`ASK_PASSWORD`].
pub(crate) fn password(name: &str, message: &[u8]) -> Result<Credentials, Failure> {
    credentials(Mechanism::Login, "", name, text(message)?)
}

fn text(message: &[u8]) -> Result<&str, Failure> {
    match core::str::from_utf8(message) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Failure::Malformed),
    }
}
