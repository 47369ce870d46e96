//! The sessions and the mail programs against the daemon, which serves its accounts from an LDIF
//! file: no other server is needed.

use std::process::ExitCode;
use waypost_conformance::daemon::Accounts;
use waypost_conformance::runner;

fn main() -> ExitCode {
    let outcome = waypost_conformance::scripts().and_then(|scripts| {
        runner::against_waypost(&Accounts::Ldif(runner::users(&scripts)), &scripts)
    });
    waypost_conformance::finish(outcome)
}
