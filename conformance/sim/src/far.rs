//! The other end of a connection: a peer, and the TLS that it knows nothing of.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use rustls::Connection;

use crate::heap::ETERNAL;
use crate::peer::{Close, Ended, Line, Peer};
use crate::peer_tls;
use crate::stream::{Opener, Stream, Taken, lock};
use crate::weather::Direction;

/// Bytes read at once, at most.
const BLOCK: usize = 64 * 1024;
/// A peer waits so long for the end of a handshake.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(300);

pub(crate) struct Far {
    /// Until it has ended.
    peer: Option<Box<dyn Peer>>,
    tls: Option<Box<Connection>>,
    /// TLS is on its way up.
    securing: bool,
    /// The peer knows that there is a connection.
    opened: bool,
    /// Reads nothing.
    paused: bool,
    /// It was told how the connection ended.
    told: bool,
    /// Plain bytes that came while TLS had more of them.
    plain: VecDeque<Bytes>,
    /// Which wake-up counts.
    wake: u64,
}

/// What a peer is told.
enum Told {
    Opened,
    Received(Bytes),
    Secured,
    Ended(Ended),
    Woken,
}

impl Far {
    /// The peer says nothing more.
    pub(crate) fn is_stalled(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.is_stalled())
    }

    pub(crate) fn new(peer: Box<dyn Peer>) -> Self {
        Self {
            peer: Some(peer),
            tls: None,
            securing: false,
            opened: false,
            paused: false,
            told: false,
            plain: VecDeque::new(),
            wake: 0,
        }
    }
}

impl Stream {
    /// The connection is there.
    pub(crate) fn far_opened(self: &Arc<Self>) {
        let mut far = lock(&self.far);
        match self.opener {
            Opener::Client { tls: true } => self.secure(&mut far),
            _ => {
                far.opened = true;
                self.tell(&mut far, Told::Opened);
            }
        }
        drop(far);
        self.far_readable();
    }

    /// Something has come for the peer.
    pub(crate) fn far_readable(self: &Arc<Self>) {
        let mut far = lock(&self.far);
        // Not before it has begun.
        if !far.opened && !far.securing {
            return;
        }
        while !far.paused && far.peer.is_some() {
            if let Some(bytes) = far.plain.pop_front() {
                self.tell(&mut far, Told::Received(bytes));
                continue;
            }
            match self.take(Direction::ToPeer, BLOCK) {
                Taken::Bytes(bytes) if far.tls.is_some() => self.decrypt(&mut far, &bytes),
                Taken::Bytes(bytes) => self.tell(&mut far, Told::Received(bytes)),
                Taken::End(how) => {
                    if !std::mem::replace(&mut far.told, true) {
                        self.tell(&mut far, Told::Ended(how));
                    }
                    return;
                }
                Taken::Nothing => return,
            }
        }
    }

    fn decrypt(self: &Arc<Self>, far: &mut Far, mut bytes: &[u8]) {
        let Some(tls) = &mut far.tls else { return };
        while !bytes.is_empty() {
            let read = tls.read_tls(&mut bytes).is_ok_and(|count| count > 0);
            let Some(Ok(state)) = read.then(|| tls.process_new_packets()) else {
                // The peer's own connection is of no use any more.
                self.note("gives up TLS", b"");
                self.end(Direction::ToServer, Ended::Reset);
                return self.tell(far, Told::Ended(Ended::Reset));
            };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            if tls.reader().read_exact(&mut plain).is_ok() && !plain.is_empty() {
                far.plain.push_back(plain.into());
            }
        }
        let up = far.securing && !tls.is_handshaking();
        self.flush_tls(far);
        if up {
            far.securing = false;
            match std::mem::replace(&mut far.opened, true) {
                true => self.tell(far, Told::Secured),
                false => self.tell(far, Told::Opened),
            }
        }
    }

    fn secure(self: &Arc<Self>, far: &mut Far) {
        far.tls = Some(Box::new(match self.opener {
            Opener::Client { .. } => peer_tls::client(),
            Opener::Server => peer_tls::server(),
        }));
        far.securing = true;
        self.flush_tls(far);
        let stream = Arc::clone(self);
        self.net.heap.after(ETERNAL, HANDSHAKE, move || stream.give_up());
    }

    /// The handshake did not end, for the network has fallen silent.
    fn give_up(self: &Arc<Self>) {
        let mut far = lock(&self.far);
        if std::mem::take(&mut far.securing) && !std::mem::replace(&mut far.told, true) {
            self.end(Direction::ToServer, Ended::Reset);
            self.tell(&mut far, Told::Ended(Ended::TimedOut));
        }
    }

    fn flush_tls(self: &Arc<Self>, far: &mut Far) {
        let Some(tls) = &mut far.tls else { return };
        let mut out = Vec::new();
        while tls.wants_write() {
            // A Vec takes all bytes.
            let _ = tls.write_tls(&mut out);
        }
        if !out.is_empty() {
            self.send(Direction::ToServer, out.into());
        }
    }

    fn tell(self: &Arc<Self>, far: &mut Far, what: Told) {
        let Some(peer) = &mut far.peer else { return };
        let (now, mut line) = (self.net.now(), Line::default());
        match what {
            Told::Opened => {
                self.note("opened", b"");
                peer.opened(now, &mut line);
            }
            Told::Received(mut bytes) => {
                if let Some(tamper) = &self.net.tamper {
                    bytes = tamper.heard(bytes);
                }
                self.note("<", &bytes);
                peer.received(now, &bytes, &mut line);
            }
            Told::Secured => {
                self.note("secured", b"");
                peer.secured(now, &mut line);
            }
            Told::Ended(how) => {
                self.note("ended", format!("{how:?}").as_bytes());
                peer.ended(now, how, &mut line);
            }
            Told::Woken => peer.woken(now, &mut line),
        }
        self.act(far, line);
    }

    /// Does what the peer wants.
    fn act(self: &Arc<Self>, far: &mut Far, mut line: Line) {
        if !line.out.is_empty() {
            self.note(">", &line.out);
            if let Some(tamper) = &self.net.tamper {
                line.out = tamper.said(line.out);
            }
            match &mut far.tls {
                Some(tls) => {
                    // Its buffer has no limit.
                    let _ = tls.writer().write_all(&line.out);
                    self.flush_tls(far);
                }
                None => self.send(Direction::ToServer, line.out.into()),
            }
        }
        if line.secure && far.tls.is_none() {
            self.secure(far);
        }
        if let Some(after) = line.wake {
            far.wake += 1;
            let (stream, count) = (Arc::clone(self), far.wake);
            self.net.heap.after(ETERNAL, after, move || stream.far_woken(count));
        }
        if let Some(paused) = line.pause {
            far.paused = paused;
            if !paused {
                let stream = Arc::clone(self);
                self.net.heap.after(ETERNAL, std::time::Duration::ZERO, move || {
                    stream.far_readable();
                });
            }
        }
        match line.close {
            None => {}
            Some(Close::Eof) => {
                if let Some(tls) = &mut far.tls {
                    tls.send_close_notify();
                    self.flush_tls(far);
                }
                self.note("closes", b"");
                self.end(Direction::ToServer, Ended::Eof);
            }
            Some(Close::Reset) => {
                self.note("resets", b"");
                self.end(Direction::ToServer, Ended::Reset);
                // Nothing that still comes reaches it.
                far.peer = None;
            }
        }
    }

    fn far_woken(self: &Arc<Self>, count: u64) {
        let mut far = lock(&self.far);
        if far.wake == count {
            self.tell(&mut far, Told::Woken);
        }
    }
}
