//! STARTTLS (RFC 3207).

use alloc::sync::Arc;

use waypost_machine::{Cx, TlsRole};

use super::{Server, Tls, send};
use crate::error::CommandError;
use crate::reply;

impl Server {
    /// What was learned in clear is forgotten: anybody may have said it (RFC 3207 4.2).
    pub(super) fn starttls(
        &mut self,
        cx: &mut Cx<'_, Self>,
        args: &str,
    ) -> Result<(), CommandError> {
        if !args.is_empty() {
            return Err(CommandError::Syntax("STARTTLS"));
        }
        if self.client.tls.is_some() {
            return Err(CommandError::TlsActive);
        }
        if self.config.tls == Tls::Off {
            return Err(CommandError::NotImplemented);
        }
        if !cx.input.is_empty() {
            return Err(CommandError::Injected);
        }
        self.reset(cx);
        let client = Arc::make_mut(&mut self.client);
        client.helo = "".into();
        client.esmtp = false;
        client.login = None;
        self.tally.count(self.verb, true);
        send(cx, &reply::READY_FOR_TLS);
        cx.secure(TlsRole::Server);
        Ok(())
    }
}
