//! Verbs that are none.

use waypost_machine::Cx;

use super::{Fact, Server, printable};
use crate::error::CommandError;
use crate::limits;

/// Verbs of HTTP: a browser may have been made to send mail (smtpd_forbidden_commands).
const FOREIGN: [&str; 3] = ["CONNECT", "GET", "POST"];

impl Server {
    /// A line of another protocol, or one that does not begin with a letter, ends the session.
    pub(super) fn unknown(
        &mut self,
        cx: &mut Cx<'_, Self>,
        line: &str,
    ) -> Result<(), CommandError> {
        let (name, _) = crate::syntax::split_verb(line);
        let foreign = FOREIGN.iter().any(|verb| verb.eq_ignore_ascii_case(name))
            || !name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !foreign {
            return Err(CommandError::Unknown);
        }
        let line: alloc::string::String = line.chars().take(limits::SHOWN).collect();
        cx.fact(Fact::NotSmtp { line: printable(&line).into() });
        Err(CommandError::NotSmtp)
    }
}
