//! HELP (RFC 5321 4.1.1.8).

use waypost_machine::Cx;

use super::Server;
use crate::error::CommandError;
use crate::reply;

impl Server {
    /// The same for every argument.
    pub(super) fn help(&mut self, cx: &mut Cx<'_, Self>, _: &str) -> Result<(), CommandError> {
        self.finish(cx, &reply::HELP);
        Ok(())
    }
}
