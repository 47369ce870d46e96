//! What the server says when all goes well. What it says otherwise stands in [`crate::error`].

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

use waypost_mail::{Enhanced, Reply};

use crate::server::Config;

const fn fixed(code: u16, enhanced: Enhanced, text: &'static str) -> Reply {
    Reply { code, enhanced: Some(enhanced), text: Cow::Borrowed(text) }
}

/// After RSET and NOOP.
pub const OK: Reply = fixed(250, Enhanced(2, 0, 0), "Ok");
/// After MAIL.
pub const SENDER_OK: Reply = fixed(250, Enhanced(2, 1, 0), "Ok");
/// After RCPT.
pub const RECIPIENT_OK: Reply = fixed(250, Enhanced(2, 1, 5), "Ok");
/// After QUIT.
pub const BYE: Reply = fixed(221, Enhanced(2, 0, 0), "Bye");
/// After STARTTLS.
pub const READY_FOR_TLS: Reply = fixed(220, Enhanced(2, 0, 0), "Ready to start TLS");
/// After AUTH.
pub const LOGGED_IN: Reply = fixed(235, Enhanced(2, 7, 0), "Authentication successful");
/// After HELP.
pub const HELP: Reply = fixed(
    214,
    Enhanced(2, 0, 0),
    "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT (RFC 5321)",
);
/// After DATA.
pub const GO_AHEAD: Reply =
    Reply { code: 354, enhanced: None, text: Cow::Borrowed("End data with <CR><LF>.<CR><LF>") };

/// The first line of a session.
pub fn greeting(config: &Config) -> Reply {
    plain(220, format!("{} {}", config.hostname, config.banner))
}

/// After HELO.
pub fn hello(config: &Config) -> Reply {
    plain(250, (*config.hostname).into())
}

/// A challenge of AUTH, in base64.
pub fn challenge(text: &'static str) -> Reply {
    Reply { code: 334, enhanced: None, text: Cow::Borrowed(text) }
}

/// After VRFY: who knows, we will see when mail comes (RFC 5321 3.5.3).
pub fn not_told(argument: &str) -> Reply {
    Reply::new(252, Enhanced(2, 0, 0), String::from(argument))
}

/// After a message.
pub fn queued(id: &str) -> Reply {
    Reply::new(250, Enhanced(2, 0, 0), format!("Ok: queued as {id}"))
}

/// After a chunk of a message.
pub fn chunk(octets: u64) -> Reply {
    Reply::new(250, Enhanced(2, 0, 0), format!("Ok: {octets} bytes"))
}

/// After the last chunk of a message.
pub fn chunks_queued(octets: u64, id: &str) -> Reply {
    Reply::new(250, Enhanced(2, 0, 0), format!("Ok: {octets} bytes queued as {id}"))
}

fn plain(code: u16, text: String) -> Reply {
    Reply { code, enhanced: None, text: Cow::Owned(text) }
}
