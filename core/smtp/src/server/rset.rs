//! RSET (RFC 5321 4.1.1.5).

use waypost_machine::Cx;

use super::Server;
use crate::error::CommandError;
use crate::reply;

impl Server {
    pub(super) fn rset(&mut self, cx: &mut Cx<'_, Self>, args: &str) -> Result<(), CommandError> {
        if !args.is_empty() {
            return Err(CommandError::Syntax("RSET"));
        }
        self.reset(cx);
        self.finish(cx, &reply::OK);
        Ok(())
    }
}
