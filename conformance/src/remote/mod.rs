//! Other mail servers, as scripts: what a host says to us, what it wants to hear, and what is to come
//! of it. `script.rs` describes the notation; `play.rs` plays a case on a [`Side`]: `bare.rs`, the
//! client machine alone, or `wire.rs`, sockets that a whole daemon connects to.

pub mod bare;
pub mod certificates;
pub mod journal;
pub mod moody;
pub mod outside;
pub mod play;
pub mod script;
pub mod stand_in;
pub mod wire;

use std::time::Duration;

/// How long our side may take for its next step.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The client at the other end of a scripted host.
pub trait Side {
    /// Waits for a connection, to this host if one is named; the lines that follow are said and heard
    /// on it.
    ///
    /// # Errors
    /// None comes, or to another host, or the last one is still open.
    fn connection(&mut self, host: Option<&str>) -> Result<(), String>;

    /// What the client says next, with its line end; `None` when it has closed.
    ///
    /// # Errors
    /// It says nothing.
    fn line(&mut self) -> Result<Option<Vec<u8>>, String>;

    /// The next octets of the client, whatever they are.
    ///
    /// # Errors
    /// It says nothing, or closes before.
    fn octets(&mut self, count: usize) -> Result<Vec<u8>, String>;

    /// Says something. That nobody listens any more is no error: the script tells it later.
    fn say(&mut self, bytes: &[u8]);

    /// The handshake, as a host of this kind does it.
    ///
    /// # Errors
    /// It does not go as it should.
    fn secure(&mut self, how: script::Tls) -> Result<(), String>;

    /// The host closes the connection.
    fn close(&mut self);

    /// The host closes the connection with octets unread: its system breaks it.
    fn reset(&mut self);

    /// What came of a recipient in this attempt: `deferred 4.4.2 (lost connection with ...)`.
    ///
    /// # Errors
    /// Nothing is told.
    fn fate(&mut self, recipient: &str) -> Result<String, String>;

    /// Another attempt is to be made at once.
    ///
    /// # Errors
    /// It cannot be.
    fn retry(&mut self) -> Result<(), String>;
}
