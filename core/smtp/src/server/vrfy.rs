//! VRFY (RFC 5321 4.1.1.6), which tells nothing: it would serve those who guess addresses.

use waypost_machine::Cx;

use super::Server;
use crate::error::CommandError;
use crate::reply;
use crate::syntax::{Path, path};

impl Server {
    pub(super) fn vrfy(&mut self, cx: &mut Cx<'_, Self>, args: &str) -> Result<(), CommandError> {
        if args.is_empty() {
            return Err(CommandError::Syntax("VRFY address [SMTPUTF8]"));
        }
        match path(args, &self.config.origin) {
            Ok((Path::Address(_), rest))
                if rest.is_empty() || rest.eq_ignore_ascii_case("SMTPUTF8") => {}
            _ => return Err(CommandError::BadRecipient),
        }
        self.finish(cx, &reply::not_told(args));
        Ok(())
    }
}
