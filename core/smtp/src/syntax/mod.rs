//! The grammar of commands (RFC 5321 4.1): from text to values, without any state.
//!
//! Commands reach this module as lines of UTF-8. The grammar takes what real clients send, where
//! that is harmless: addresses without angle brackets, blanks around them, names without a domain.

mod params;
mod path;
mod xtext;

pub use params::{MailParams, ParamError, RcptParams, mail_params, params, rcpt_params};
pub use path::{Path, PathError, after_keyword, path};
pub use xtext::{decode_xtext, encode_utf8_xtext, encode_xtext};

/// The verb and the rest of a command line, blanks trimmed from both.
pub fn split_verb(line: &str) -> (&str, &str) {
    let line = line.trim_matches(BLANKS);
    match line.find(BLANKS) {
        Some(at) => (&line[..at], line[at..].trim_matches(BLANKS)),
        None => (line, ""),
    }
}

/// What separates words.
const BLANKS: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    #[test]
    fn verbs() {
        for (line, expected) in [
            ("NOOP", ("NOOP", "")),
            ("  mail  FROM:<> SIZE=1 ", ("mail", "FROM:<> SIZE=1")),
            ("RSET\tnow", ("RSET", "now")),
            ("", ("", "")),
        ] {
            assert_eq!(super::split_verb(line), expected);
        }
    }
}
