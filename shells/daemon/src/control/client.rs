//! Asking: a running server if there is one, else its spool.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use waypost_world::{AtRest, RestError};

use super::backend::{Resting, answer};
use super::fits;
use super::protocol::{Ask, Line, Request, VERSION};

/// A server answers within this time, or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whom to ask.
pub(crate) struct Asked<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) spool: &'a Path,
    pub(crate) relayhost: Option<&'a str>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("{0}: {1}; ask as root, or as the user whose server it is")]
    NotYours(String, io::Error),
    #[error("{spool}: a server uses this spool, but does not answer on {socket}: {error}")]
    Silent { spool: String, socket: String, error: io::Error },
    #[error("{0}")]
    Spool(String),
    #[error("the server ended in the middle of its answer: {0}")]
    Torn(String),
    #[error("{0}")]
    Refused(String),
    /// The reader of our own output is gone, for example.
    #[error("{0}")]
    Output(#[from] io::Error),
}

/// Asks; hands out the lines of the answer but the last one, which gives the count.
pub(crate) fn ask(
    asked: &Asked<'_>,
    ask: &Ask,
    each: &mut dyn FnMut(Line) -> io::Result<()>,
) -> Result<usize, AskError> {
    let socket = || asked.socket.display().to_string();
    match fits(asked.socket).and_then(|()| UnixStream::connect(asked.socket)) {
        Ok(stream) => over(&stream, ask, each),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(AskError::NotYours(socket(), error))
        }
        Err(error) => match AtRest::open(asked.spool, asked.relayhost) {
            Ok(spool) => resting(spool, asked.relayhost, ask, each),
            Err(RestError::InUse(spool)) => {
                Err(AskError::Silent { spool, socket: socket(), error })
            }
            Err(error) => Err(AskError::Spool(error.to_string())),
        },
    }
}

fn over(
    mut stream: &UnixStream,
    ask: &Ask,
    each: &mut dyn FnMut(Line) -> io::Result<()>,
) -> Result<usize, AskError> {
    let torn = |text: String| AskError::Torn(text);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = serde_json::to_string(&Request { version: VERSION, ask: ask.clone() })
        .map_err(|error| torn(error.to_string()))?;
    request.push('\n');
    stream.write_all(request.as_bytes()).map_err(|error| torn(error.to_string()))?;
    for line in BufReader::with_capacity(64 * 1024, stream).lines() {
        let line = line.map_err(|error| torn(error.to_string()))?;
        match serde_json::from_str(&line).map_err(|error| torn(error.to_string()))? {
            Line::Done(count) => return Ok(count),
            Line::Error(text) => return Err(AskError::Refused(text)),
            line => each(line)?,
        }
    }
    Err(torn("no last line".into()))
}

fn resting(
    spool: AtRest,
    relayhost: Option<&str>,
    ask: &Ask,
    each: &mut dyn FnMut(Line) -> io::Result<()>,
) -> Result<usize, AskError> {
    let backend = Resting { spool, relayhost: relayhost.map(Into::into) };
    let mut last = None;
    answer(ask, &backend, &mut |line| match line {
        Line::Done(count) => {
            last = Some(Ok(count));
            Ok(())
        }
        Line::Error(text) => {
            last = Some(Err(AskError::Spool(text)));
            Ok(())
        }
        line => each(line),
    })?;
    last.unwrap_or_else(|| Err(AskError::Torn("no last line".into())))
}
