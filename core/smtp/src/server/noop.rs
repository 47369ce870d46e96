//! NOOP (RFC 5321 4.1.1.9).

use waypost_machine::Cx;

use super::Server;
use crate::error::CommandError;
use crate::reply;

impl Server {
    /// Anything may follow the verb.
    pub(super) fn noop(&mut self, cx: &mut Cx<'_, Self>, _: &str) -> Result<(), CommandError> {
        self.finish(cx, &reply::OK);
        Ok(())
    }
}
