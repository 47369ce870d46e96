//! Bytes to and from the peer, in clear or by TLS. The only module that names rustls.

mod info;

use std::collections::VecDeque;
use std::io::{self, BufRead, IoSlice, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig};
use waypost_machine::{TlsInfo, TlsRole};

use self::info::Offer;
pub use self::info::signed;

/// Slices per write, at most.
const SLICES: usize = 16;

/// How to speak TLS; a role without its configuration is refused.
#[derive(Clone, Debug, Default)]
pub struct TlsConfigs {
    /// When ours is the certificate.
    pub server: Option<Arc<ServerConfig>>,
    /// When the peer's is.
    pub client: Option<Arc<ClientConfig>>,
}

/// Why there is no TLS with this peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The peer's fault, or a disagreement, in the words of rustls.
    #[error("{0}")]
    Protocol(Box<str>),
    /// The machine asked for a role that is not configured, or for TLS inside TLS.
    #[error("TLS is not available here")]
    NotConfigured,
    /// The name of the peer is no DNS name.
    #[error("'{0}' is no DNS name")]
    Name(Box<str>),
}

impl From<rustls::Error> for TlsFault {
    fn from(error: rustls::Error) -> Self {
        Self::Protocol(error.to_string().into())
    }
}

/// What has come from the peer.
#[derive(Debug)]
pub(crate) enum Arrived {
    Plain(Bytes),
    Secured(TlsInfo),
    End,
    Nothing,
}

enum Layer {
    Clear,
    /// The server's side, before the ClientHello is complete.
    Accepting(Box<Acceptor>),
    Tls(Box<Tls>),
    /// TLS failed; only what is queued in clear (the alert) still goes out.
    Failed,
}

struct Tls {
    connection: Connection,
    /// Until the handshake is done: what the server's signature is told from.
    offer: Option<Offer>,
    handshaking: bool,
    /// A close_notify is due behind all that is queued.
    closing: bool,
    /// Nothing but the alert goes out any more.
    failed: bool,
}

pub(crate) struct Wire {
    configs: TlsConfigs,
    layer: Layer,
    /// Raw bytes from the peer.
    input: VecDeque<Bytes>,
    eof: bool,
    /// Bytes for the peer, not encrypted yet.
    output: VecDeque<Bytes>,
    output_len: usize,
    /// So many chunks at the front of `output` go in clear.
    clear_chunks: usize,
}

impl Wire {
    pub(crate) fn new(configs: TlsConfigs) -> Self {
        Self {
            configs,
            layer: Layer::Clear,
            input: VecDeque::new(),
            eof: false,
            output: VecDeque::new(),
            output_len: 0,
            clear_chunks: 0,
        }
    }

    pub(crate) fn received(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && !self.eof {
            self.input.push_back(bytes);
        }
    }

    pub(crate) fn eof(&mut self) {
        self.eof = true;
    }

    /// True while bytes of the peer wait here, raw or decrypted, for the machine to take them.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty() || self.eof
    }

    pub(crate) fn is_securing(&self) -> bool {
        match &self.layer {
            Layer::Accepting(_) => true,
            Layer::Tls(tls) => tls.handshaking,
            Layer::Clear | Layer::Failed => false,
        }
    }

    /// The clear bytes that the machine has not taken.
    pub(crate) fn take_clear_input(&mut self) -> Option<Bytes> {
        matches!(self.layer, Layer::Clear).then(|| self.input.pop_front()).flatten()
    }

    /// Starts TLS behind what was sent so far.
    pub(crate) fn secure(&mut self, role: &TlsRole) -> Result<(), TlsFault> {
        if !matches!(self.layer, Layer::Clear) {
            return Err(TlsFault::NotConfigured);
        }
        self.clear_chunks = self.output.len();
        self.layer = match role {
            TlsRole::Server if self.configs.server.is_some() => Layer::Accepting(Box::default()),
            TlsRole::Server => return Err(TlsFault::NotConfigured),
            TlsRole::Client { name } => {
                let config = self.configs.client.clone().ok_or(TlsFault::NotConfigured)?;
                let name = ServerName::try_from(name.to_string())
                    .map_err(|_| TlsFault::Name(name.clone()))?;
                let connection = ClientConnection::new(config, name)?.into();
                Layer::Tls(Box::new(Tls::new(connection, None)))
            }
        };
        Ok(())
    }

    /// The next thing that has come; at most `limit` plain bytes.
    pub(crate) fn arrived(&mut self, limit: usize) -> Result<Arrived, TlsFault> {
        let arrived = match &mut self.layer {
            Layer::Clear => Ok(take_plain(&mut self.input, limit)),
            Layer::Accepting(_) => self.accept(),
            Layer::Tls(tls) => tls.arrived(&mut self.input, limit),
            Layer::Failed => Ok(Arrived::Nothing),
        };
        match arrived {
            Ok(Arrived::Nothing) if self.eof && self.input.is_empty() => Ok(Arrived::End),
            Err(fault) => {
                self.input = VecDeque::new();
                self.drop_encrypted();
                if let Layer::Tls(tls) = &mut self.layer {
                    tls.failed = true;
                }
                Err(fault)
            }
            arrived => arrived,
        }
    }

    /// Reads the ClientHello, and goes on with the configuration's connection.
    fn accept(&mut self) -> Result<Arrived, TlsFault> {
        let (Layer::Accepting(acceptor), Some(config)) = (&mut self.layer, &self.configs.server)
        else {
            return Err(TlsFault::NotConfigured);
        };
        while !self.input.is_empty() {
            read_raw(&mut self.input, |raw| acceptor.read_tls(raw))?;
            let outcome = match acceptor.accept() {
                Ok(None) => continue,
                Ok(Some(accepted)) => {
                    let offer = info::offer(&accepted, config);
                    accepted
                        .into_connection(Arc::clone(config))
                        .map(|connection| Tls::new(connection.into(), Some(offer)))
                }
                Err(error) => Err(error),
            };
            return match outcome {
                Ok(tls) => {
                    self.layer = Layer::Tls(Box::new(tls));
                    self.arrived(0)
                }
                Err((error, mut alert)) => {
                    let mut bytes = Vec::new();
                    alert.write_all(&mut bytes).expect("invariant: a Vec takes all bytes");
                    self.layer = Layer::Failed;
                    self.send(bytes.into());
                    self.clear_chunks = self.output.len();
                    Err(error.into())
                }
            };
        }
        Ok(Arrived::Nothing)
    }

    /// Queues plain bytes.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.output_len += bytes.len();
            self.output.push_back(bytes);
        }
    }

    /// Raw bytes from the peer that nobody has taken.
    pub(crate) fn unread(&self) -> usize {
        remaining(&self.input)
    }

    /// Plain bytes that are queued.
    pub(crate) fn held(&self) -> usize {
        self.output_len
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.output.is_empty()
            || match &self.layer {
                Layer::Tls(tls) => tls.connection.wants_write(),
                _ => false,
            }
    }

    /// Says goodbye in TLS behind all that is queued.
    pub(crate) fn close(&mut self) {
        self.input = VecDeque::new();
        if let Layer::Tls(tls) = &mut self.layer
            && !(tls.handshaking || tls.failed)
        {
            tls.closing = true;
            if self.output.is_empty() {
                tls.connection.send_close_notify();
            }
        }
    }

    /// Drops all that is queued: the peer is gone.
    pub(crate) fn discard(&mut self) {
        self.output = VecDeque::new();
        self.output_len = 0;
        self.clear_chunks = 0;
        self.layer = Layer::Failed;
    }

    /// Keeps of the queue only what goes in clear.
    fn drop_encrypted(&mut self) {
        self.output.truncate(self.clear_chunks);
        self.output_len = self.output.iter().map(Bytes::len).sum();
    }

    /// Writes until nothing is left or `to` would block; returns the number of bytes written.
    pub(crate) fn write_to(&mut self, to: &mut dyn io::Write) -> io::Result<usize> {
        let mut written = 0;
        loop {
            match self.write_once(to) {
                Ok(0) => return Ok(written),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(written),
                Err(error) => return Err(error),
            }
        }
    }

    fn write_once(&mut self, to: &mut dyn io::Write) -> io::Result<usize> {
        let count = match &mut self.layer {
            Layer::Tls(tls) if self.clear_chunks == 0 => {
                if !tls.connection.wants_write() && !self.output.is_empty() && !tls.handshaking {
                    let (slices, used) = slices(&self.output, SLICES);
                    let taken =
                        io::Write::write_vectored(&mut tls.connection.writer(), &slices[..used])?;
                    self.consume(taken);
                }
                let Layer::Tls(tls) = &mut self.layer else { return Ok(0) };
                if tls.closing && self.output.is_empty() {
                    tls.connection.send_close_notify();
                }
                if !tls.connection.wants_write() {
                    return Ok(0);
                }
                tls.connection.write_tls(to)?
            }
            Layer::Tls(_) | Layer::Accepting(_) if self.clear_chunks > 0 => {
                self.write_clear(to, self.clear_chunks)?
            }
            Layer::Accepting(_) => return Ok(0),
            _ => self.write_clear(to, self.output.len())?,
        };
        Ok(count)
    }

    fn write_clear(&mut self, to: &mut dyn io::Write, chunks: usize) -> io::Result<usize> {
        if chunks == 0 {
            return Ok(0);
        }
        let (slices, used) = slices(&self.output, chunks);
        let count = to.write_vectored(&slices[..used])?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.consume(count);
        Ok(count)
    }

    /// Takes bytes off the front of the queue.
    fn consume(&mut self, mut count: usize) {
        self.output_len -= count;
        while let Some(front) = self.output.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.output.pop_front();
            self.clear_chunks = self.clear_chunks.saturating_sub(1);
        }
        // Idle connections keep no queue.
        self.output = VecDeque::new();
    }
}

impl Tls {
    fn new(connection: Connection, offer: Option<Offer>) -> Self {
        Self { connection, offer, handshaking: true, closing: false, failed: false }
    }

    fn process(&mut self) -> Result<(usize, bool), TlsFault> {
        let state = self.connection.process_new_packets()?;
        Ok((state.plaintext_bytes_to_read(), state.peer_has_closed()))
    }

    fn arrived(&mut self, input: &mut VecDeque<Bytes>, limit: usize) -> Result<Arrived, TlsFault> {
        let (mut waiting, mut ended) = self.process()?;
        let mut plain = BytesMut::new();
        loop {
            if self.handshaking && !self.connection.is_handshaking() {
                self.handshaking = false;
                return Ok(Arrived::Secured(info::info(&self.connection, self.offer.take())));
            }
            if waiting > 0 && plain.len() < limit {
                if plain.is_empty() {
                    plain.reserve(limit.min(waiting.max(remaining(input))));
                }
                self.read_plain(&mut plain, limit);
            } else if !(waiting > 0 || ended || input.is_empty())
                && (self.handshaking || plain.len() < limit)
            {
                read_raw(input, |raw| self.connection.read_tls(raw))?;
            } else {
                break;
            }
            (waiting, ended) = self.process()?;
        }
        Ok(match plain.is_empty() {
            false => Arrived::Plain(plain.freeze()),
            true if ended && waiting == 0 => Arrived::End,
            true => Arrived::Nothing,
        })
    }

    fn read_plain(&mut self, plain: &mut BytesMut, limit: usize) {
        let mut reader = self.connection.reader();
        let count = match reader.fill_buf() {
            Ok(chunk) => {
                let count = chunk.len().min(limit - plain.len());
                plain.extend_from_slice(&chunk[..count]);
                count
            }
            // "Nothing yet", or the end without close_notify; `process` tells the two apart.
            Err(_) => 0,
        };
        reader.consume(count);
    }
}

fn take_plain(input: &mut VecDeque<Bytes>, limit: usize) -> Arrived {
    match input.front_mut() {
        Some(front) if limit > 0 && front.len() > limit => Arrived::Plain(front.split_to(limit)),
        Some(_) if limit > 0 => input.pop_front().map_or(Arrived::Nothing, Arrived::Plain),
        _ => Arrived::Nothing,
    }
}

/// Lets `read` take a part of the first chunk, which is there.
fn read_raw(
    input: &mut VecDeque<Bytes>,
    read: impl FnOnce(&mut dyn Read) -> io::Result<usize>,
) -> Result<(), TlsFault> {
    let Some(front) = input.front_mut() else { return Ok(()) };
    let mut rest: &[u8] = front;
    read(&mut rest).map_err(|error| TlsFault::Protocol(error.to_string().into()))?;
    let count = front.len() - rest.len();
    front.advance(count);
    if front.is_empty() {
        input.pop_front();
        if input.is_empty() {
            *input = VecDeque::new();
        }
    }
    Ok(())
}

fn remaining(input: &VecDeque<Bytes>) -> usize {
    input.iter().map(Bytes::len).sum()
}

/// The first chunks of a queue, for one vectored write.
fn slices(queue: &VecDeque<Bytes>, chunks: usize) -> ([IoSlice<'_>; SLICES], usize) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = chunks.min(SLICES).min(queue.len());
    for (slice, chunk) in slices.iter_mut().zip(queue.iter().take(used)) {
        *slice = IoSlice::new(chunk);
    }
    (slices, used)
}
