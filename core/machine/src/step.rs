//! The contract between a machine and whatever drives it.

use alloc::boxed::Box;

use bytes::Bytes;

use crate::session::Held;
use crate::ticket::{Answer, CallId};
use crate::time::{Now, Time};

/// What a shell drives. Any interleaving of the two methods is legal; forgetting one only delays.
pub trait Machine {
    /// A request to the world; each variant carries a [`crate::Ticket`].
    type Call;
    /// The sum of every ticket's type, with `From` for each.
    type Reply;
    /// News nobody asked for: a mailbox changed.
    type Notice;
    /// A typed log line or metric.
    type Fact;

    /// What it keeps for and of its peer, for a look from outside; nothing, without a peer.
    fn held(&self) -> Held {
        Held::default()
    }

    /// Takes one input. `now` must not run backwards in `mono`.
    fn handle(&mut self, now: Now, input: Input<Self>);

    /// Gives the next step; `room` is how many bytes a [`Step::Send`] may hold at most.
    /// The machine is drained when it answers [`Step::Wait`].
    fn poll(&mut self, room: usize) -> Step<Self>;
}

/// What happens to a machine.
pub enum Input<M: Machine + ?Sized> {
    /// Plain bytes from the peer; ownership moves in. At most [`Wait::read`] of them.
    Bytes(Bytes),
    /// The peer sends no more. What it sent before is still worked off, in order.
    Eof,
    /// The handshake asked for by [`Step::Secure`] is done.
    Secured(TlsInfo),
    /// A call has its outcome.
    Answer(Answer<M::Reply>),
    /// News from the world.
    Notice(M::Notice),
    /// `Wait.until` passed, or nothing did: always harmless.
    Tick,
    /// Shut down politely: 421, BYE.
    Stop,
    /// The connection is broken: nothing comes any more, and nothing that is sent arrives. Commits
    /// are waited for; nothing else is.
    Gone,
}

/// What a machine wants done.
#[must_use]
pub enum Step<M: Machine + ?Sized> {
    /// Send these bytes, in order.
    Send(Bytes),
    /// Ask the world, and hand the outcome to [`Input::Answer`].
    Call(M::Call),
    /// The outcome of this call is not wanted any more. A hint: a late answer is ignored.
    Cancel(CallId),
    /// Start TLS: all bytes before it go in clear, nothing is read until [`Input::Secured`].
    Secure(TlsRole),
    /// Log or count.
    Fact(M::Fact),
    /// Flush what was sent, then drop the connection. Exactly once, and last.
    Close(Why),
    /// Nothing more to do now.
    Wait(Wait),
}

/// What a drained machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Hand in a [`Input::Tick`] at this time.
    pub until: Option<Time>,
    /// How many bytes may be handed in now; 0: leave them in the socket.
    pub read: usize,
}

/// Which side of the handshake to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsRole {
    /// Ours is the certificate.
    Server,
    /// The peer's certificate must be good for this name.
    Client {
        /// A DNS name.
        name: Box<str>,
    },
}

/// What a handshake agreed on, as the Received header and the log lines show it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: &'static str,
    /// The OpenSSL name, `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// Key length of the cipher, in bits.
    pub bits: u16,
    /// The key exchange group, `X25519`; empty when unknown.
    pub key_exchange: &'static str,
    /// How the server signed, `ECDSA`, `RSA-PSS`; empty when unknown.
    pub signature: &'static str,
    /// The server's key, `P-256` or `2048 bits`; empty when unknown.
    pub signature_key: Box<str>,
    /// The digest of that signature, `SHA256`; empty when unknown.
    pub digest: &'static str,
    /// The name that the client asked for (SNI).
    pub server_name: Option<Box<str>>,
}

/// Why a machine closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The dialogue ended as it should: QUIT, LOGOUT.
    Done,
    /// The peer went away in mid-dialogue.
    Gone,
    /// The peer was silent for too long.
    Timeout,
    /// The shell asked for it.
    Stopped,
    /// Clear bytes were waiting behind STARTTLS (RFC 3207 6, RFC 8314).
    Injected,
    /// The peer broke a rule that ends the session: too many errors, more bytes than allowed.
    Refused,
}
