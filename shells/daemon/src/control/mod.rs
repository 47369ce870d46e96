//! `waypost queue`: what waits, why, and what the admin wants done about it.
//!
//! A running server answers on a unix socket: one line of JSON asks, lines of JSON answer (see
//! [`protocol`]). Without a server the same questions go to its spool. Either way [`answer`] makes
//! the same lines of it, so that there is one way to show them.
//!
//! | file | what is there |
//! |---|---|
//! | `protocol.rs` | the lines |
//! | `backend.rs` | who answers: a world, or a spool at rest |
//! | `server.rs` | the socket |
//! | `client.rs` | whom to ask, and asking |
//! | `command.rs` | the commands |
//! | `show.rs` | tables and words for people |
//! | `history.rs` | what the log says of a message |

mod backend;
mod client;
pub(crate) mod command;
mod history;
mod protocol;
mod server;
mod show;
#[cfg(test)]
mod testing;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::files::ConfigFile;

pub(crate) use backend::Live;
pub(crate) use server::Control;

/// Name of the socket in the spool's directory, unless `control.socket` has another place for it.
const SOCKET: &str = "control";

/// Octets of a socket's path that the system takes (unix(7)), without the zero at its end.
const LONGEST: usize = 107;

/// Whether the system can have a socket there.
fn fits(path: &Path) -> io::Result<()> {
    let length = path.as_os_str().as_bytes().len();
    if length <= LONGEST {
        return Ok(());
    }
    let text = format!(
        "the path has {length} octets, and a socket's may have {LONGEST}; write a shorter one as \
         socket under [control]"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// Where the socket is.
pub(crate) fn socket(file: &ConfigFile) -> PathBuf {
    match &file.config.control.socket {
        Some(path) => file.at(path),
        None => file.at(&file.config.spool.directory).join(SOCKET),
    }
}
