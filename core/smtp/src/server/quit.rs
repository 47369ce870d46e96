//! QUIT (RFC 5321 4.1.1.10).

use waypost_machine::{Cx, Why};

use super::{Server, send};
use crate::error::CommandError;
use crate::reply;

impl Server {
    /// Whatever follows the verb: who wants to go may go.
    pub(super) fn quit(&mut self, cx: &mut Cx<'_, Self>, _: &str) -> Result<(), CommandError> {
        self.tally.count(self.verb, true);
        send(cx, &reply::BYE);
        self.close(cx, None, Why::Done);
        Ok(())
    }
}
