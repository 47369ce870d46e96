//! PLAIN (RFC 4616): everything in one message.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use waypost_machine::Secret;

use crate::credentials::Credentials;
use crate::mech::{Failure, Mechanism, credentials};

/// What a client says to log in with this name: the whole exchange in base64, as it follows
/// `AUTH PLAIN` in SMTP.
pub fn plain_response(user: &str, password: &Secret<Box<str>>) -> Secret<String> {
    Secret::new(STANDARD.encode(format!("\0{user}\0{}", password.expose())))
}

/// Takes `[authzid] NUL authcid NUL password`.
pub(crate) fn parse(message: &[u8]) -> Result<Credentials, Failure> {
    let text = core::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
    let mut parts = text.split('\0');
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::Malformed);
    };
    credentials(Mechanism::Plain, authzid, authcid, password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says() {
        let response = plain_response("mail001", &Secret::new("secret001".into()));
        assert_eq!(response.expose(), "AG1haWwwMDEAc2VjcmV0MDAx");
    }

    #[test]
    fn messages() {
        let malformed = Err(Failure::Malformed);
        for (message, expected) in [
            ("\0user\0pass", Ok(("user", "pass"))),
            ("user\0user\0pass", Ok(("user", "pass"))),
            ("\0us er\0p a\u{e9}", Ok(("us er", "p a\u{e9}"))),
            ("", malformed.clone()),
            ("user", malformed.clone()),
            ("user\0pass", malformed.clone()),
            ("\0\0pass", malformed.clone()),
            ("\0user\0pa\0ss", malformed.clone()),
            ("\0user\0pass\0", malformed),
            ("\0user\0", Err(Failure::EmptyPassword { user: "user".into() })),
            ("other\0user\0pass", Err(Failure::OtherIdentity { user: "user".into() })),
        ] {
            let got = parse(message.as_bytes());
            let got = match &got {
                Ok(c) => Ok((&*c.authcid, &**c.password.expose())),
                Err(failure) => Err(failure.clone()),
            };
            assert_eq!(got, expected, "{message:?}");
        }
        assert_eq!(parse(b"\0user\0\xff"), Err(Failure::Malformed));
    }
}
