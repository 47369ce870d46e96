//! The control socket of a running server: a thread that accepts, a thread for each of a few
//! connections. No event loop waits for any of it.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::unistd::Uid;
use rustix::net::sockopt::socket_peercred;
use socket2::{Domain, SockAddr, Socket, Type};

use super::backend::{Backend, answer};
use super::fits;
use super::protocol::{Line, Request, VERSION, Version};

/// Connections at once.
const CONNECTIONS: usize = 8;
/// Octets of a question.
const QUESTION: u64 = 4096;
/// For each reading of the question, and each writing of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(200);

/// The socket; it ends with this.
pub(crate) struct Control {
    path: PathBuf,
    listener: Arc<UnixListener>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Opens the socket and answers on it. Whoever calls this holds the spool: a socket that lies
    /// there is one of a former life.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn start(path: &Path, backend: Arc<dyn Backend + Send + Sync>) -> io::Result<Self> {
        let listener = Arc::new(listen(path)?);
        let accepting = Arc::clone(&listener);
        let thread = thread::Builder::new().name("control".into()).spawn(move || {
            accept(&accepting, &backend);
        })?;
        Ok(Self { path: path.into(), listener, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Wakes the thread that accepts; those that answer come to their end by themselves.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket for its owner alone. Nobody can connect before its mode is right.
fn listen(path: &Path) -> io::Result<UnixListener> {
    fits(path)?;
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            let text = "there is something that is no socket; take it away";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(16)?;
    Ok(socket.into())
}

fn accept(listener: &UnixListener, backend: &Arc<dyn Backend + Send + Sync>) {
    let open = Arc::new(());
    let mut failing = false;
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => {
                failing = false;
                stream
            }
            // Shut down.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            // The client is gone already, or there are no descriptors left: each connection that
            // ends gives one back. Until then every call fails at once, so it is told once, and
            // neither log nor processor are to be filled with it.
            Err(error) => {
                if !failing {
                    tracing::warn!(target: "waypost", "control socket: {error}");
                }
                failing = true;
                thread::park_timeout(PAUSE);
                continue;
            }
        };
        let (place, backend) = (Arc::clone(&open), Arc::clone(backend));
        let full = Arc::strong_count(&open) > CONNECTIONS + 1;
        let serve = move || {
            if let Err(error) = serve(&stream, &*backend, full) {
                tracing::debug!(target: "waypost", "control socket: {error}");
            }
            drop(place);
        };
        if let Err(error) = thread::Builder::new().name("control".into()).spawn(serve) {
            tracing::warn!(target: "waypost", "control socket: {error}");
        }
    }
}

fn serve(stream: &UnixStream, backend: &dyn Backend, full: bool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut out = BufWriter::with_capacity(64 * 1024, stream);
    let mut line = |line: Line| -> io::Result<()> {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")
    };
    let peer = socket_peercred(stream)?.uid.as_raw();
    let done = if may(peer, Uid::effective().as_raw()) {
        match question(stream, full) {
            Ok(request) => answer(&request.ask, backend, &mut line),
            Err(text) => line(Line::Error(text)),
        }
    } else {
        line(Line::Error(format!("user {peer} may not ask this server")))
    };
    done.and_then(|()| out.flush())
}

/// The owner of the server, and root.
fn may(peer: u32, owner: u32) -> bool {
    peer == owner || peer == 0
}

fn question(stream: &UnixStream, full: bool) -> Result<Request, String> {
    let mut text = String::new();
    let read = BufReader::new(stream.take(QUESTION)).read_line(&mut text);
    read.map_err(|error| error.to_string())?;
    let json = |error: serde_json::Error| format!("not a question: {error}");
    // Read first: closing on an unread question would take the answer away.
    if full {
        return Err("too many connections to the control socket; try again".into());
    }
    let Version { version } = serde_json::from_str(&text).map_err(json)?;
    if version != VERSION {
        return Err(format!("this server speaks version {VERSION}, not {version}"));
    }
    serde_json::from_str(&text).map_err(json)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
