//! CAPABILITY, ID, ENABLE, NAMESPACE, LOGOUT: commands that need nobody.

use alloc::format;
use alloc::string::String;

use waypost_machine::Why;

use super::{Context, SEPARATOR, Server, Step};
use crate::response;

/// CAPABILITY (RFC 3501 6.1.1)
pub(super) fn capability(server: &mut Server, cx: &mut Context<'_>) -> Step {
    let (list, text) = if server.account().is_some() {
        (response::capabilities(&server.config), "OK Capability completed.")
    } else {
        server.asked = true;
        (
            response::login_capabilities(&server.config, server.tls.is_some()),
            "OK Pre-login capabilities listed, post-login capabilities have more.",
        )
    };
    server.send(cx, &format!("* CAPABILITY {list}\r\n"));
    server.end(cx, text)
}

/// ID (RFC 2971)
pub(super) fn id(server: &mut Server, cx: &mut Context<'_>) -> Step {
    let mut line = String::from("* ID (\"name\" ");
    response::string(&server.config.product, &mut line);
    line.push_str(")\r\n");
    server.send(cx, &line);
    server.end(cx, "OK ID completed.")
}

/// ENABLE (RFC 5161): there is nothing to enable yet, and what is not known is passed over.
pub(super) fn enable(server: &mut Server, cx: &mut Context<'_>) -> Step {
    server.end(cx, "OK Enabled.")
}

/// ENABLE before login, where it has no place.
pub(super) fn enable_early(server: &mut Server, cx: &mut Context<'_>) -> Step {
    server.send(cx, "* ENABLED\r\n");
    server.end(cx, "OK ENABLE ignored in non-authenticated state.")
}

/// NAMESPACE (RFC 2342): all mailboxes are the user's own.
pub(super) fn namespace(server: &mut Server, cx: &mut Context<'_>) -> Step {
    server.send(cx, &format!("* NAMESPACE ((\"\" \"{SEPARATOR}\")) NIL NIL\r\n"));
    server.end(cx, "OK Namespace completed.")
}

/// LOGOUT (RFC 3501 6.1.3)
pub(super) fn logout(server: &mut Server, cx: &mut Context<'_>) -> Step {
    let reason = if server.account().is_some() { "Logged out" } else { "Aborted login" };
    server.send(cx, &format!("* BYE {}\r\n", response::BYE_LOGOUT));
    server.end(cx, "OK Logout completed.");
    server.close(cx, Why::Done, reason);
    Step::Done
}
